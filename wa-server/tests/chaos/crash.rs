//! The crash campaign: the server is killed again and again, by SIGKILL at random moments and at named failpoints, while
//! eight clients write and twelve read; then the clients' logs are compared with what is stored.
//!
//! A seed fixes what is done: who writes where, which kill comes when. It cannot fix how the machine schedules it, so a
//! failing seed is repeated more than once if need be.

mod check;
mod client;
mod log;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::check::{Chat, Person};
use self::client::Client;
use self::log::{Counts, Log};
use crate::support::{PATIENCE, Random, Run, Site, evidence, number, pause, seed};

/// Kills of the short form, and of one round of the long one.
const KILLS: u64 = 200;

/// People 0 to 7 write and read, 8 to 11 only read.
const PEOPLE: usize = 12;

/// Who has a chat with whom; the first writes, and in the first two chats the second does so too.
const CHATS: [(usize, usize); 10] = [(0, 1), (2, 3), (0, 8), (1, 9), (2, 8), (3, 10), (4, 9), (5, 10), (6, 11), (7, 11)];
const BOTH_WRITE: usize = 2;

/// The failpoints, and the passages among which one is chosen.
const FAILPOINTS: [(&str, u64); 5] = [("before_commit", 12), ("after_commit", 12), ("before_answer", 12), ("before_ack", 40), ("before_publish", 12)];

/// How a run of the server ends.
#[derive(Debug)]
enum Kill {
    /// While it starts.
    Starting(Duration),
    /// So long after it has acknowledged something.
    Working(Duration),
    /// At a failpoint.
    At(String),
}

impl Kill {
    fn draw(random: &mut Random) -> Self {
        match random.below(20) {
            0 => Self::Starting(Duration::from_millis(random.below(120))),
            1..=8 => Self::Working(Duration::from_micros(random.below(40_000))),
            _ => {
                let (name, passages) = FAILPOINTS[usize::try_from(random.below(FAILPOINTS.len() as u64)).unwrap()];
                Self::At(format!("{name}:{}", 1 + random.below(passages)))
            }
        }
    }
}

/// What is to be done.
struct Campaign {
    seed: u64,
    kills: u64,
    planted: Option<&'static str>,
    data: Data,
}

/// Where the server's data lie meanwhile.
#[derive(Debug, Clone, Copy)]
enum Data {
    /// In memory, if the system has a folder there: a killed process loses no page of the system either way, and without
    /// waiting for a disk more happens between two kills.
    Memory,
    Disk,
}

impl Data {
    fn folder(self) -> PathBuf {
        let memory = PathBuf::from("/dev/shm");
        match self {
            Self::Memory if memory.is_dir() => memory,
            _ => evidence(),
        }
    }
}

/// How it went.
#[derive(Debug, Default)]
struct Outcome {
    wrong: Vec<String>,
    kills: u64,
    at_failpoints: u64,
    acknowledged: usize,
    counts: Counts,
    folder: Option<PathBuf>,
}

impl Outcome {
    fn summary(&self) -> String {
        let Counts { connections, repeated, duplicates, resyncs, syncs } = self.counts;
        let Self { kills, at_failpoints, acknowledged, wrong, .. } = self;
        format!(
            "{kills} kills, {at_failpoints} of them at failpoints; {acknowledged} messages acknowledged, {repeated} repeated after a restart, {duplicates} of those known already; \
             {connections} connections, {syncs} syncs, {resyncs} resyncs; {} findings",
            wrong.len()
        )
    }
}

impl Campaign {
    async fn run(self) -> Outcome {
        let mut random = Random::new(self.seed);
        let folder = tempfile::Builder::new().prefix(&format!("wa-crash-{}-", self.seed)).tempdir_in(self.data.folder()).unwrap();
        let site = Arc::new(Site::new(folder.path(), self.planted, &mut random));
        let mut outcome = Outcome::default();

        let setting_up = site.start(None);
        let (mut people, mut chats) = (Vec::new(), Vec::new());
        for index in 0..PEOPLE {
            let login = site.login(&format!("+1555{:07}", 2_000_000 + index)).await;
            let log = Log { name: format!("P{index}"), user_id: login.user_id.clone(), ..Log::default() };
            people.push(Person { login, log: Arc::new(Mutex::new(log)) });
        }
        for (first, second) in CHATS {
            let body = json!({ "type": "direct", "participant_id": people[second].login.user_id });
            let chat = site.get(Some(&people[first].login.token), "/chats", Some(&body)).await;
            chats.push(Chat { id: chat["chat_id"].as_str().unwrap().to_owned(), people: [first, second] });
        }
        setting_up.kill().await;

        let (writing, still_writing) = watch::channel(true);
        let (acknowledgements, events) = (Arc::new(watch::channel(0).0), Arc::new(watch::channel(0).0));
        let mut clients = JoinSet::new();
        for (index, person) in people.iter().enumerate() {
            let writes = |(number, chat): &(usize, &Chat)| chat.people[0] == index || (*number < BOTH_WRITE && chat.people[1] == index);
            clients.spawn(
                Client {
                    site: Arc::clone(&site),
                    login: person.login.clone(),
                    writes: chats.iter().enumerate().filter(writes).map(|(_, chat)| chat.id.clone()).collect(),
                    random: Random::new(random.next()),
                    log: Arc::clone(&person.log),
                    writing: still_writing.clone(),
                    acknowledgements: Arc::clone(&acknowledgements),
                    events: Arc::clone(&events),
                }
                .run(),
            );
        }

        while outcome.kills < self.kills && outcome.wrong.is_empty() {
            let kill = Kill::draw(&mut random);
            if let Err(stuck) = one_run(&site, &kill, &acknowledgements, &mut outcome).await {
                outcome.wrong.push(stuck);
            }
            if outcome.kills % 50 == 0 {
                eprintln!("crash campaign: seed {}: {} kills", self.seed, outcome.kills);
            }
        }

        let last = site.start(None);
        writing.send_replace(false);
        self.finish(&site, &people, &chats, &acknowledgements, &events, &mut outcome).await;
        while let Some(ended) = clients.try_join_next() {
            outcome.wrong.push(format!("a client ended: {:?}", ended.err()));
        }
        clients.shutdown().await;
        last.kill().await;
        for person in &people {
            let log = person.log.lock().unwrap();
            outcome.acknowledged += log.acknowledged.len();
            outcome.counts.add(log.counts);
        }
        if !outcome.wrong.is_empty() {
            outcome.folder = Some(keep_evidence(&outcome.wrong, folder.path(), &people));
        }
        outcome
    }

    async fn finish(
        &self,
        site: &Site,
        people: &[Person],
        chats: &[Chat],
        acknowledgements: &watch::Sender<u64>,
        events: &watch::Sender<u64>,
        outcome: &mut Outcome,
    ) {
        let nothing_open = |_: &u64| people.iter().all(|person| person.log.lock().unwrap().open.is_empty());
        // If time runs out, the check below says which messages it was.
        let _ = tokio::time::timeout(PATIENCE, acknowledgements.subscribe().wait_for(nothing_open)).await;
        let (truth, mut wrong) = check::histories(site, people, chats).await;
        outcome.wrong.append(&mut wrong);
        outcome.wrong.append(&mut check::nothing_lost_or_doubled(people, &truth));
        if outcome.wrong.is_empty() {
            outcome.wrong.append(&mut check::everything_came(people, chats, &truth, events).await);
            outcome.wrong.append(&mut check::everybody_agrees(site, people, chats, &truth).await);
        }
    }
}

/// One run of the server, from its start to its violent end.
async fn one_run(site: &Site, kill: &Kill, acknowledgements: &watch::Sender<u64>, outcome: &mut Outcome) -> Result<(), String> {
    let before = *acknowledgements.borrow();
    let mut acknowledged = acknowledgements.subscribe();
    let mut works = async || tokio::time::timeout(PATIENCE, acknowledged.wait_for(|count| *count > before)).await.is_ok();
    let run: Run;
    match kill {
        Kill::Starting(after) => {
            run = site.start(None);
            pause(*after).await;
            run.kill().await;
        }
        Kill::Working(after) => {
            run = site.start(None);
            if !works().await {
                run.kill().await;
                return Err(format!("stuck: run {} acknowledged nothing within {PATIENCE:?}", outcome.kills));
            }
            pause(*after).await;
            run.kill().await;
        }
        Kill::At(failpoint) => {
            run = site.start(Some(failpoint));
            if !run.death(PATIENCE).await {
                return Err(format!("stuck: run {} never came to {failpoint} within {PATIENCE:?}", outcome.kills));
            }
            outcome.at_failpoints += 1;
        }
    }
    outcome.kills += 1;
    Ok(())
}

/// Leaves data and logs in `target/campaign`.
fn keep_evidence(wrong: &[String], data: &Path, people: &[Person]) -> PathBuf {
    let folder = evidence().join(format!("failed-{}", data.file_name().unwrap().display()));
    std::fs::create_dir_all(&folder).unwrap();
    for file in std::fs::read_dir(data).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
    let mut text = wrong.join("\n");
    for person in people {
        let _ = write!(text, "\n\n{:#?}", person.log.lock().unwrap());
    }
    std::fs::write(folder.join("findings.txt"), text).unwrap();
    folder
}

/// Runs it and fails with all that is needed to repeat it.
async fn must_hold(seed: u64, kills: u64, data: Data) -> Outcome {
    eprintln!("crash campaign: seed {seed}, {kills} kills");
    let started = Instant::now();
    let outcome = Campaign { seed, kills, planted: None, data }.run().await;
    eprintln!("crash campaign: seed {seed}: {} in {:?}", outcome.summary(), started.elapsed());
    let first: Vec<&String> = outcome.wrong.iter().take(10).collect();
    assert!(
        outcome.wrong.is_empty(),
        "{first:#?}\n{}\nall of it is in {:?}; repeat it by: make campaign SEED={seed} KILLS={kills}",
        outcome.summary(),
        outcome.folder
    );
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_crashes() {
    let kills = KILLS;
    let outcome = must_hold(seed(), kills, Data::Memory).await;
    // Otherwise it would have shown little.
    assert!(outcome.at_failpoints > kills / 4 && outcome.acknowledged as u64 > kills, "{}", outcome.summary());
    assert!(outcome.counts.duplicates > 0 && outcome.counts.resyncs > 0, "{}", outcome.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_before_the_commit_is_found_by_crashes() {
    let outcome = Campaign { seed: seed(), kills: 12, planted: Some("ack_before_commit"), data: Data::Memory }.run().await;
    assert!(outcome.wrong.iter().any(|what| what.starts_with("lost: ")), "{:#?}", outcome.wrong);
    // This evidence is of the planted defect only.
    std::fs::remove_dir_all(outcome.folder.unwrap()).unwrap();
}

/// The long form: rounds of [`KILLS`] kills, each with data and a seed of its own. It goes on where it was interrupted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form: make campaign"]
async fn nothing_acknowledged_is_lost_or_doubled_by_many_crashes() {
    let total = number("WA_CAMPAIGN_KILLS").unwrap_or(10 * KILLS);
    let progress = evidence().join("crash-progress.json");
    let before: serde_json::Value = std::fs::read(&progress).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let wanted = number("WA_CAMPAIGN_SEED");
    let goes_on = before["kills"] == total && before["done"] != total && wanted.is_none_or(|seed| before["seed"] == seed);
    let (first, mut done) = if goes_on { (before["seed"].as_u64().unwrap(), before["done"].as_u64().unwrap()) } else { (seed(), 0) };
    eprintln!("crash campaign: seed {first}, {done} of {total} kills done before");
    while done < total {
        let kills = KILLS.min(total - done);
        // The first round has the seed itself, so that a round's seed repeats that round.
        let seed = if done == 0 { first } else { Random::new(first ^ done).below(1_000_000_000) };
        must_hold(seed, kills, Data::Disk).await;
        done += kills;
        std::fs::write(&progress, json!({ "seed": first, "kills": total, "done": done }).to_string()).unwrap();
    }
}
