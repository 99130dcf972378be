//! Mixed traffic with churn for a given time, and what it does to memory, file descriptors and tasks. `make soak` runs it for
//! `WA_SOAK_SECONDS`; without that it runs for as long as it takes to see that it works, and only reports.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::bounds::{login, resident};
use crate::embedded::http;
use crate::support::{Random, Site, number, pause, seed};

const CONFIG: &str = "[limits]\nenabled = false\n[dev]\necho_otp = true\n[telemetry]\nlog_level = \"warn\"\n";
/// Those who come and go at a time.
const BUSY: u64 = 6;
const PEOPLE: u64 = 24;
/// What is sent before anything is measured, by so many at a time, so much at once.
const FILLED: u64 = 120_000;
const FILLERS: u64 = 8;
const WINDOW: u64 = 50;

/// What was measured at a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    minutes: f64,
    values: [f64; 3],
}

/// What is measured: its name, and by how much a minute it may seem to grow by the noise of what is alive just then.
const MEASURES: [(&str, f64); 3] = [("memory (KB)", 256.0), ("file descriptors", 0.5), ("tasks", 0.5)];

/// A line through the samples: its slope a minute, and how unsure that is.
fn slope(samples: &[(f64, f64)]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let spread: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    let slope = samples.iter().map(|sample| (sample.0 - x) * (sample.1 - y)).sum::<f64>() / spread;
    let rest: f64 = samples.iter().map(|sample| (sample.1 - y - slope * (sample.0 - x)).powi(2)).sum();
    (slope, (rest / (count - 2.0) / spread).sqrt())
}

/// The table of slopes after the warm-up, and what clearly grows: by more than noise, and by more than chance.
fn report(samples: &[Sample]) -> (String, Vec<&'static str>) {
    let last = samples.last().map_or(0.0, |sample| sample.minutes);
    let warm: Vec<Sample> = samples.iter().copied().filter(|sample| sample.minutes >= last / 3.0).collect();
    let (mut table, mut growing) = (String::from("measure              at first      at last   a minute         +-\n"), Vec::new());
    for (index, (name, noise)) in MEASURES.into_iter().enumerate() {
        let line: Vec<(f64, f64)> = warm.iter().map(|sample| (sample.minutes, sample.values[index])).collect();
        let (slope, unsure) = slope(&line);
        let (first, end) = (line.first().map_or(0.0, |sample| sample.1), line.last().map_or(0.0, |sample| sample.1));
        writeln!(table, "{name:<18} {first:>10.0} {end:>12.0} {slope:>10.2} {unsure:>10.2}").unwrap();
        if slope > noise && slope > 3.0 * unsure {
            growing.push(name);
        }
    }
    (table, growing)
}

/// Somebody comes, does what people do, and goes, again and again.
async fn churn(site: Arc<Site>, mut random: Random, until: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    while !until.load(Ordering::Relaxed) {
        let first = random.below(PEOPLE);
        let second = (first + 1 + random.below(PEOPLE - 1)) % PEOPLE;
        let phone = |who: u64| format!("+1555400{who:04}");
        let (Some(one), Some(other)) = (come(&site, &phone(first)).await, come(&site, &phone(second)).await) else { continue };
        // A machine that is too busy refuses now and then.
        let chat = one.post("/chats", json!({ "type": "direct", "participant_id": other.id })).await;
        let Some(chat) = chat.body["data"]["chat_id"].as_str().map(ToOwned::to_owned) else { continue };
        let (mut a, mut b) = (one.connect().await, other.connect().await);
        for _ in 0..1 + random.below(10) {
            a.try_ask("typing.start", json!({ "chat_id": chat })).await;
            let sent = json!({ "chat_id": chat, "client_msg_id": format!("{:x}", random.next()), "type": "text", "payload": { "body": "x".repeat(usize::try_from(random.below(500)).unwrap() + 1) } });
            a.try_ask("message.send", sent).await;
            b.try_ask("ping", json!({})).await;
            let ids: Vec<_> = b.passed("message.new").into_iter().map(|new| new["message_id"].clone()).collect();
            b.passed_over.clear();
            b.try_ask("message.delivered", json!({ "message_ids": ids })).await;
            if let Some(last) = ids.last() {
                b.try_ask("message.read", json!({ "chat_id": chat, "up_to_message_id": last })).await;
            }
            a.passed_over.clear();
        }
        one.get("/chats").await;
        // Half of them vanish without a word.
        if random.once_in(2) {
            a.close().await;
        }
        drop(b);
        one.call(Method::POST, "/auth/logout", None).await;
        other.call(Method::POST, "/auth/logout", None).await;
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fills what is kept at hand up to its bounds: pages of the database, and where the latest 100,000 messages stand. What
/// grows after that is a leak.
async fn fill(site: &Arc<Site>) {
    let writers = (0..FILLERS).map(|writer| {
        let site = Arc::clone(site);
        tokio::spawn(async move {
            let phone = |who: u64| format!("+1555401{who:04}");
            let reader = come(&site, &phone(2 * writer)).await.expect("a login");
            let person = come(&site, &phone(2 * writer + 1)).await.expect("a login");
            let chat = person.post("/chats", json!({ "type": "direct", "participant_id": reader.id })).await;
            let chat = chat.body["data"]["chat_id"].as_str().expect("a chat").to_owned();
            let mut socket = person.connect().await;
            for burst in 0..FILLED / FILLERS / WINDOW {
                for number in 0..WINDOW {
                    let sent = json!({ "chat_id": chat, "client_msg_id": format!("{burst}.{number}"), "type": "text", "payload": { "body": "x".repeat(200) } });
                    socket.send("message.send", sent).await;
                }
                for _ in 0..WINDOW {
                    socket.expect("message.sent").await;
                }
                socket.passed_over.clear();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("everything is sent");
    }
}

/// Logs in; of two who do so with one phone at a moment, the code of one is gone.
async fn come(site: &Site, phone: &str) -> Option<crate::embedded::Person> {
    let (_, code) = site.ask(None, "/auth/request-otp", Some(&json!({ "phone": phone }))).await?;
    let login = json!({ "phone": phone, "otp": code["otp"], "device_name": "Test" });
    let (status, login) = site.ask(None, "/auth/verify-otp", Some(&login)).await?;
    (status == 200).then(|| crate::embedded::Person::of(site.address, phone, &login))
}

async fn measure(site: &Site, process: u32, minutes: f64) -> Sample {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let metrics = http().get(format!("http://{}/metrics", site.address)).send().await.unwrap().text().await.unwrap();
    let tasks = metrics.lines().find_map(|line| line.strip_prefix("runtime_tasks ")).unwrap();
    Sample { minutes, values: [(resident(process) >> 10) as f64, descriptors as f64, tasks.trim().parse().unwrap()] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_traffic_leaves_nothing_behind() {
    let asked = number("WA_SOAK_SECONDS");
    let time = Duration::from_secs(asked.unwrap_or(12));
    let seed = seed();
    println!("soak: {} s, seed {seed}", time.as_secs());
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let site = Arc::new(Site::new(folder.path(), None, &mut random));
    std::fs::write(folder.path().join("wa.toml"), CONFIG).unwrap();
    let run = site.start(None);
    login(&site, "+15554009999").await;

    if asked.is_some() {
        fill(&site).await;
    }
    let (over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let busy: Vec<_> = (0..BUSY).map(|_| tokio::spawn(churn(Arc::clone(&site), Random::new(random.next()), Arc::clone(&over), Arc::clone(&rounds)))).collect();
    let (start, mut samples) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        pause((time / 120).max(Duration::from_millis(500))).await;
        samples.push(measure(&site, run.id(), start.elapsed().as_secs_f64() / 60.0).await);
    }
    over.store(true, Ordering::Relaxed);
    for busy in busy {
        busy.await.expect("the traffic went on to the end");
    }
    let rounds = rounds.load(Ordering::Relaxed);
    let (table, growing) = report(&samples);
    println!("{table}{rounds} rounds of two logins, {} samples", samples.len());
    assert!(rounds > 0 && samples.len() > 5, "nothing happened");
    if asked.is_some() {
        assert!(growing.is_empty(), "it grows: {growing:?}");
    }
    run.kill().await;
}

#[test]
fn growth_is_told_from_noise() {
    let mut random = Random::new(1);
    let mut series = |each: f64| -> Vec<Sample> {
        (0..120)
            .map(|number| Sample {
                minutes: f64::from(number) / 12.0,
                values: [f64::from(number) * each / 12.0 + random.below(400) as f64, 20.0 + random.below(9) as f64, 40.0],
            })
            .collect()
    };
    assert_eq!(report(&series(0.0)).1, [""; 0]);
    assert_eq!(report(&series(600.0)).1, ["memory (KB)"], "one leak of 100 KB every ten seconds");
}
