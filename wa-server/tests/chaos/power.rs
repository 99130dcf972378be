//! Power failure: the server's writes and syncs are recorded below the database while people send; then many disks are
//! made as a power failure could have left them, opened with the real store, and compared with what was acknowledged.
//!
//! WA_POWER_IMAGES and WA_POWER_MESSAGES make it longer, WA_CAMPAIGN_SEED repeats the choice of images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Content, Message, Seq};
use wa_core::ports::{Env as _, Page, Viewer};
use wa_server::SystemEnv;
use wa_storage::{StorageConfig, Stores};

use crate::image::{Disk, Kept, Record, records};
use crate::machine::{Fault, Machine, Person};
use crate::support::{Random, number, seed};

const PEOPLE: usize = 8;

/// A message that was acknowledged.
#[derive(Debug, Clone)]
struct Acknowledged {
    /// The length of the recording after the answer had come: whatever it promises is within.
    by: u64,
    chat: usize,
    seq: i64,
    id: String,
    text: String,
}

/// Everything that a run left behind.
struct Recording {
    root: PathBuf,
    bytes: Vec<u8>,
    people: Vec<Person>,
    /// Each with somebody who sees it.
    chats: Vec<(String, usize)>,
    /// When people and chats were all there.
    settled_by: u64,
    /// From where to where in the recording the server started again.
    restarts: Vec<(u64, u64)>,
    acknowledged: Vec<Acknowledged>,
    /// The data as it was at the end.
    last: BTreeMap<PathBuf, Vec<u8>>,
}

/// People who send as fast as they are answered, until they are told to stop.
struct Senders {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

/// Where acknowledgements are noted.
type Notes = Arc<Mutex<Vec<Acknowledged>>>;

impl Senders {
    fn start(machine: &Machine, people: &[Person], chats: &[(String, usize)], notes: &Notes, random: &mut Random) -> Self {
        let mut senders = Self { stop: Arc::default(), refused: Arc::default(), tasks: JoinSet::new() };
        for (index, person) in people.iter().enumerate() {
            // Two devices' worth of sends at a time.
            for _ in 0..2 {
                let (person, chat, notes, mut random) = (person.clone(), index / 2, Arc::clone(notes), Random::new(random.next()));
                let (id, stop, refused) = (chats[chat].0.clone(), Arc::clone(&senders.stop), Arc::clone(&senders.refused));
                let record = machine.record();
                senders.tasks.spawn(async move {
                    while !stop.load(Ordering::SeqCst) {
                        let text = format!("{:016x}", random.next()).repeat(1 + usize::try_from(random.below(150)).unwrap());
                        match person.say(&id, &text).await {
                            Some(Ok((seq, id))) => {
                                let by = std::fs::metadata(&record).unwrap().len();
                                notes.lock().unwrap().push(Acknowledged { by, chat, seq, id, text });
                            }
                            Some(Err(status)) => {
                                assert_eq!(status, 503, "a send is refused as unavailable or not at all");
                                refused.fetch_add(1, Ordering::SeqCst);
                            }
                            None => return,
                        }
                    }
                });
            }
        }
        senders
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// Waits until a count has come so far.
async fn until(what: &str, reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(240), waiting).await.unwrap_or_else(|_| panic!("{what} did not come"));
}

/// Lets the server run, fail, be killed and be ended under load, and returns what it wrote and said.
async fn record(planted: Option<&'static str>, messages: usize, random: &mut Random) -> Recording {
    let mut machine = Machine::recording(planted);
    machine.start().await;
    let (mut people, mut chats) = (Vec::new(), Vec::new());
    for index in 0..PEOPLE {
        people.push(machine.login(index).await);
    }
    for index in (0..PEOPLE).step_by(2) {
        chats.push((people[index].chat_with(&people[index + 1]).await, index));
    }
    let settled_by = machine.position();
    let notes = Notes::default();
    let count = || notes.lock().unwrap().len();

    // Killed under load.
    let senders = Senders::start(&machine, &people, &chats, &notes, random);
    until("the first messages", || count() >= messages / 4).await;
    machine.kill_between_changes().await;
    senders.end().await;

    // Syncs fail for a while, twice; the second time it does not live to see them work again.
    let mut restarts = vec![restart(&mut machine).await];
    let senders = Senders::start(&machine, &people, &chats, &notes, random);
    until("messages after a kill", || count() >= messages / 2).await;
    for again in [true, false] {
        let refused = senders.refused.load(Ordering::SeqCst);
        machine.set(Fault::Sync, true);
        until("refusals", || senders.refused.load(Ordering::SeqCst) >= refused + 40).await;
        if again {
            machine.set(Fault::Sync, false);
            let before = count();
            until("messages after failed syncs", || count() >= before + messages / 8).await;
        }
    }
    machine.kill_between_changes().await;
    machine.set(Fault::Sync, false);
    senders.end().await;

    // Ended in order, under load.
    restarts.push(restart(&mut machine).await);
    let senders = Senders::start(&machine, &people, &chats, &notes, random);
    let before = count();
    until("messages after failed syncs and a kill", || count() >= before + messages / 4).await;
    machine.stop().await;
    senders.end().await;

    let bytes = std::fs::read(machine.record()).unwrap();
    let data = machine.root().join("data");
    let last = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let last = last.filter(|path| !path.to_string_lossy().ends_with(".lock") && !path.to_string_lossy().ends_with("-shm"));
    let last = last.map(|path| (path.strip_prefix(machine.root()).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect();
    let acknowledged = std::mem::take(&mut *notes.lock().unwrap());
    Recording { root: machine.root().to_owned(), bytes, people, chats, settled_by, restarts, acknowledged, last }
}

async fn restart(machine: &mut Machine) -> (u64, u64) {
    let from = machine.position();
    machine.start().await;
    (from, machine.position())
}

/// A moment chosen by chance, as the number of records before it; every other one while the server started again, when
/// it puts in order what it found.
fn moment(recording: &Recording, records: &[Record<'_>], random: &mut Random) -> usize {
    let whole = (0, recording.bytes.len() as u64);
    let restart = recording.restarts[usize::try_from(random.below(recording.restarts.len() as u64)).unwrap()];
    let (from, to) = if random.once_in(2) { restart } else { whole };
    let (from, to) = (records.partition_point(|record| record.end <= from), records.partition_point(|record| record.end <= to));
    from + usize::try_from(random.below((to - from) as u64 + 1)).unwrap()
}

/// Makes images at moments chosen by chance, and returns what is wrong with each.
async fn examine(recording: Arc<Recording>, images: usize, mut random: Random) -> Vec<String> {
    let records: Vec<Record<'_>> = records(&recording.bytes);
    let mut cuts: Vec<usize> = (0..images).map(|_| moment(&recording, &records, &mut random)).collect();
    cuts.sort_unstable();
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let (mut disk, mut next) = (Disk::new(&recording.root), 0);
    let (at_a_time, mut checks, mut wrong) = (Arc::new(Semaphore::new(3)), JoinSet::new(), Vec::new());
    for (number, cut) in cuts.into_iter().enumerate() {
        while next < cut {
            disk.take(&records[next]);
            next += 1;
        }
        let permit = Arc::clone(&at_a_time).acquire_owned().await.unwrap();
        let (image, by) = (folder.path().join(number.to_string()), if cut == 0 { 0 } else { records[cut - 1].end });
        disk.write_image(&image, Kept::some(&mut random), &mut random);
        let recording = Arc::clone(&recording);
        let runtime = Handle::current();
        checks.spawn_blocking(move || {
            let found = runtime.block_on(check(&recording, &image, by));
            std::fs::remove_dir_all(&image).unwrap();
            drop(permit);
            found.map_err(|found| format!("image {number}, cut after record {cut} of the recording at {by}: {found}"))
        });
    }
    while let Some(checked) = checks.join_next().await {
        wrong.extend(checked.unwrap().err());
    }
    wrong.sort();
    wrong
}

/// Opens an image as the server would, and compares it with what had been acknowledged by then.
async fn check(recording: &Recording, image: &Path, by: u64) -> Result<(), String> {
    let path = image.join("data/wa.db");
    let stores = wa_storage::open(&StorageConfig::new(format!("sqlite://{}", path.display())), Arc::new(SystemEnv)).await.map_err(|error| error.to_string())?;
    let compared = compare(recording, &stores, by).await;
    stores.close().await.map_err(|error| error.to_string())?;
    compared?;
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.map_err(|error| error.to_string())?;
    let whole: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await.map_err(|error| error.to_string())?;
    connection.close().await.map_err(|error| error.to_string())?;
    if whole == "ok" { Ok(()) } else { Err(whole) }
}

async fn compare(recording: &Recording, stores: &Stores, by: u64) -> Result<(), String> {
    let ids: Vec<UserId> = recording.people.iter().map(|person| person.id.parse().unwrap()).collect();
    if recording.settled_by <= by {
        let found = stores.users.get(&ids).await.map_err(|error| error.to_string())?.len();
        if found != ids.len() {
            return Err(format!("{} people are lost", ids.len() - found));
        }
    }
    for (number, (chat, viewer)) in recording.chats.iter().enumerate() {
        let stored = read(stores, chat.parse().unwrap(), ids[*viewer]).await?;
        if let Some((index, message)) = stored.iter().enumerate().find(|(index, message)| message.seq.get() != *index as i64 + 1) {
            return Err(format!("chat {number} has seq {} in place {}", message.seq, index + 1));
        }
        for acknowledged in recording.acknowledged.iter().filter(|message| message.chat == number && message.by <= by) {
            let found = usize::try_from(acknowledged.seq - 1).ok().and_then(|index| stored.get(index));
            let Some(found) = found else {
                return Err(format!("seq {} of chat {number} was acknowledged by {} and is lost", acknowledged.seq, acknowledged.by));
            };
            let same_text = matches!(&found.content, Some(Content::Text(text)) if text.body == acknowledged.text);
            if found.id.to_string() != acknowledged.id || !same_text {
                return Err(format!("seq {} of chat {number} is another message than was acknowledged", acknowledged.seq));
            }
        }
    }
    Ok(())
}

async fn read(stores: &Stores, chat: ChatId, user: UserId) -> Result<Vec<Message>, String> {
    let viewer = Viewer { chat_id: chat, user_id: user, above: Seq::ZERO, now: SystemEnv.now() };
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let after = messages.last().map_or(Seq::ZERO, |message| message.seq);
        let page = stores.messages.page(&viewer, Page::After(after), 1000).await.map_err(|error| error.to_string())?;
        if page.is_empty() {
            return Ok(messages);
        }
        messages.extend(page);
    }
}

/// Whether the recording holds every change: played to its end, it gives the files as they are.
fn assert_complete(recording: &Recording) {
    let mut disk = Disk::new(&recording.root);
    records(&recording.bytes).iter().for_each(|record| disk.take(record));
    let folder = tempfile::tempdir().unwrap();
    disk.write_image(folder.path(), Kept::ALL, &mut Random::new(0));
    assert!(!recording.last.is_empty());
    for (path, content) in &recording.last {
        let played = std::fs::read(folder.path().join(path)).unwrap();
        assert!(played == *content, "{} as recorded is not as it is: {} bytes for {}", path.display(), played.len(), content.len());
    }
}

async fn run(planted: Option<&'static str>, messages: usize, images: usize) -> Vec<String> {
    let seed = seed();
    println!("power failures: seed {seed}; repeat the choices with WA_CAMPAIGN_SEED={seed}");
    let mut random = Random::new(seed);
    let recording = record(planted, messages, &mut random).await;
    assert_complete(&recording);
    println!(
        "{} messages acknowledged, {} records, {} bytes, {images} images",
        recording.acknowledged.len(),
        records(&recording.bytes).len(),
        recording.bytes.len()
    );
    examine(Arc::new(recording), images, random).await
}

fn size(variable: &str, short: usize) -> usize {
    number(variable).map_or(short, |number| usize::try_from(number).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_was_acknowledged_survives_a_power_failure() {
    let wrong = run(None, size("WA_POWER_MESSAGES", 800), size("WA_POWER_IMAGES", 250)).await;
    assert!(wrong.is_empty(), "{} images are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn commits_that_are_not_synced_are_caught() {
    let wrong = run(Some("synchronous_normal"), 300, 40).await;
    assert!(wrong.iter().any(|found| found.contains("is lost")), "no loss was found: {wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn trust_in_what_a_failed_sync_left_is_caught() {
    // A group that was cut short by the kill leaves nothing to trust.
    for _ in 0..4 {
        if !run(Some("trust_failed_sync"), 300, 60).await.is_empty() {
            return;
        }
    }
    panic!("nothing was found");
}
