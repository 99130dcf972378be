//! Delivery side by side: the server, and bare relays without login or store, under the same load on the same machine. A
//! table goes to stderr, JSON to stdout. `--quick` takes a fifth of the time.

mod child;
mod relay;

use std::io;
use std::time::Duration;

use child::Served;
use serde::Serialize;
use wa_cli::load::{self, Connected, Group, Idle, Offline, Pair, Plan, Quantiles, Traffic, User};

const PAIRS: usize = 100;
/// Members of the group, and how many of them send, each with a window of 4.
const MEMBERS: usize = 256;
const SENDERS: usize = 8;
const GROUP_WINDOW: usize = 4;
const SOCKETS: usize = 10_000;
const STORED: usize = 10_000;

/// One subject under one load.
#[derive(Debug, Serialize)]
struct Row {
    subject: &'static str,
    load: String,
    /// CPU seconds of the subject for 1,000 delivered messages.
    cpu_seconds_per_1000: f64,
    #[serde(flatten)]
    traffic: Traffic,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    one_to_one: Vec<Row>,
    /// Delivered messages of the server for each of the relay that syncs, by window.
    share_of_syncing_relay: Vec<(usize, f64)>,
    at_a_tenth_of_peak: Option<Row>,
    /// A message counts once for every other member.
    group: Vec<Row>,
    idle: Option<Idle>,
    connect: Option<Connected>,
    offline: Option<Offline>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--relay") {
        let log = arguments.get(1).map(|folder| std::fs::File::create(std::path::Path::new(folder).join("relay.log"))).transpose()?;
        return relay::serve(log);
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let only = arguments.iter().find_map(|argument| argument.strip_prefix("--only="));
    let wanted = |part: &str| only.is_none_or(|only| only.split(',').any(|one| one == part));
    let seconds = if quick { 2 } else { 10 };
    let mut report = Report::default();
    // On the disk, not in memory: syncing is part of what is measured.
    let folder = tempfile::Builder::new().prefix("wa-bench-").tempdir_in(std::env::current_dir()?)?;

    eprintln!("{:<16} {:<12} {:>11} {:>10}  acknowledged p50/p95/p99, ms   delivered p50/p95/p99, ms  lost twice", "", "", "delivered/s", "CPU s/1000");
    if wanted("relays") {
        for (subject, log) in [("relay", None), ("syncing relay", Some(folder.path()))] {
            for window in [1, 16] {
                let served = Served::relay(log)?;
                let pairs: Vec<_> = (0..PAIRS).map(nobody).collect();
                report.one_to_one.push(row(subject, &served, &pairs, plan(window, seconds, true))?);
            }
        }
    }
    let data = folder.path().join("server");
    if wanted("traffic") {
        let served = Served::server(&data)?;
        let pairs = load::run(load::pairs(served.address, 0, PAIRS, true, |_| ()))?;
        for window in [1, 16] {
            report.one_to_one.push(row("wa-server", &served, &pairs, plan(window, seconds, false))?);
        }
        let peak = report.one_to_one.iter().filter(|row| row.subject == "wa-server").map(|row| row.traffic.delivered_per_second).fold(0.0, f64::max);
        let tenth = Plan { rate: Some(peak / 10.0), ..plan(64, seconds, false) };
        report.at_a_tenth_of_peak = Some(row("wa-server", &served, &pairs, tenth)?);
    }
    if wanted("group") {
        for (subject, log) in [("relay", None), ("syncing relay", Some(folder.path()))] {
            let served = Served::relay(log)?;
            let group = Group { members: (0..MEMBERS).map(|number| User::unknown(format!("/group/{number}"))).collect(), chat: CHAT.to_owned() };
            report.group.push(group_row(subject, &served, &group, plan(GROUP_WINDOW, seconds, true))?);
        }
        let served = Served::server(&data)?;
        let group = load::run(load::group(served.address, 200_000, MEMBERS / 2))?;
        report.group.push(group_row("wa-server", &served, &group, plan(GROUP_WINDOW, seconds, false))?);
    }
    if wanted("offline") {
        let served = Served::server(&data)?;
        report.offline = Some(load::run(async {
            let pairs = load::pairs(served.address, 0, PAIRS, true, |_| ()).await?;
            load::offline(served.address, &pairs, STORED / PAIRS).await
        })?);
        eprintln!("offline: {:?}", report.offline.unwrap_or_default());
    }
    if wanted("idle") {
        // Two runs of the server: one logs the users in, the other starts without what that left behind.
        let users = {
            let served = Served::server(&data)?;
            let pairs = load::run(load::pairs(served.address, 100_000, SOCKETS / 2, false, |_| ()))?;
            pairs.into_iter().flat_map(|pair| [pair.sender, pair.receiver]).collect::<Vec<_>>()
        };
        let served = Served::server(&data)?;
        let (connect, idle) = load::run(load::idle(served.address, &users, Duration::from_secs(5), || served.usage().map(|usage| usage.memory)))?;
        eprintln!("connect: {connect:?}\nidle: {idle:?}");
        (report.connect, report.idle) = (Some(connect), Some(idle));
    }
    for window in [1, 16] {
        let load = format!("window {window}");
        let of = |subject| report.one_to_one.iter().find(|row| row.subject == subject && row.load == load).map(|row| row.traffic.delivered_per_second);
        if let Some((server, relay)) = of("wa-server").zip(of("syncing relay")) {
            eprintln!("window {window}: {:.3} of the syncing relay", server / relay);
            report.share_of_syncing_relay.push((window, server / relay));
        }
    }
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// A chat of nobody: a relay does not ask.
const CHAT: &str = "0198f3f6-7b1c-7c4e-8a57-0242ac120002";

fn nobody(number: usize) -> Pair {
    Pair { sender: User::unknown(format!("/{number}/a")), receiver: User::unknown(format!("/{number}/b")), chat: CHAT.to_owned() }
}

fn plan(window: usize, seconds: u64, bare: bool) -> Plan {
    Plan { window, duration: Duration::from_secs(seconds), warm_up: Duration::from_secs(1), messages: None, rate: None, bare, receivers: None }
}

fn row(subject: &'static str, served: &Served, pairs: &[Pair], plan: Plan) -> io::Result<Row> {
    tell(subject, served, plan, |measuring| load::run(load::traffic(served.address, pairs, plan, |_, _| (), measuring)))
}

fn group_row(subject: &'static str, served: &Served, group: &Group, plan: Plan) -> io::Result<Row> {
    tell(subject, served, plan, |measuring| load::run(load::group_traffic(served.address, group, SENDERS, plan, measuring)))
}

fn tell(subject: &'static str, served: &Served, plan: Plan, run: impl FnOnce(&mut dyn FnMut(bool)) -> io::Result<Traffic>) -> io::Result<Row> {
    let mut cpu = [0.0; 2];
    let traffic = run(&mut |begins| {
        cpu[usize::from(!begins)] = served.usage().map_or(f64::NAN, |usage| usage.cpu);
    })?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let cpu_seconds_per_1000 = (cpu[1] - cpu[0]) * 1000.0 / traffic.delivered as f64;
    let load = plan.rate.map_or_else(|| format!("window {}", plan.window), |rate| format!("{rate:.0}/s"));
    let latency = |of: &Quantiles| format!("{:.2} / {:.2} / {:.2}", of.p50, of.p95, of.p99);
    eprintln!(
        "{subject:<16} {load:<12} {:>11.0} {cpu_seconds_per_1000:>10.4}  {:>29}  {:>26}  {} {}",
        traffic.delivered_per_second,
        if plan.bare { "-".to_owned() } else { latency(&traffic.acknowledged_ms) },
        latency(&traffic.delivered_ms),
        traffic.lost,
        traffic.duplicated
    );
    Ok(Row { subject, load, cpu_seconds_per_1000, traffic })
}
