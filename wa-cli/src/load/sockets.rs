//! Connecting, waiting, and coming back to what was stored meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::people::{Pair, User};
use super::source;
use super::wire::{Socket, field};

/// Sockets being opened at a time.
const AT_A_TIME: usize = 64;

/// How long stored messages may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sockets that were opened.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Connected {
    /// How many.
    pub sockets: usize,
    /// In how many seconds.
    pub seconds: f64,
    /// Opened in a second.
    pub per_second: f64,
}

/// What sockets take that do nothing.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Idle {
    /// How many.
    pub sockets: usize,
    /// Resident bytes of the server for each.
    pub bytes_per_socket: u64,
}

/// Sockets that were cut at once and came back.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Storm {
    /// How many.
    pub sockets: usize,
    /// In how many seconds all of them were back, from the cut on.
    pub seconds: f64,
    /// The longest that one took to connect, without the waits before, in milliseconds.
    pub slowest_ms: f64,
    /// How often one was refused and came again.
    pub refused: u64,
}

/// Stored messages that reached owners who came back.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Offline {
    /// How many.
    pub messages: u64,
    /// In how many seconds, from the first connection to the last message.
    pub seconds: f64,
    /// Arrived in a second.
    pub per_second: f64,
    /// Messages that never arrived.
    pub lost: u64,
    /// Messages that arrived more than once.
    pub duplicated: u64,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Sockets that are open; they are closed when this is dropped.
pub struct Open(Vec<Socket>);

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Open").field(&self.0.len()).finish()
    }
}

/// Opens a socket for each user, as fast as the server lets.
///
/// # Errors
/// If one cannot be opened.
pub async fn connect(target: SocketAddr, users: &[User]) -> io::Result<(Connected, Open)> {
    let users: Rc<[User]> = users.into();
    let (next, open) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::with_capacity(users.len()))));
    let start = Instant::now();
    let workers: Vec<_> = (0..AT_A_TIME.min(users.len()))
        .map(|_| {
            let (users, next, open) = (Rc::clone(&users), Rc::clone(&next), Rc::clone(&open));
            tokio::task::spawn_local(async move {
                while next.get() < users.len() {
                    let number = next.replace(next.get() + 1);
                    let user = &users[number];
                    let socket = Socket::open(target, source(target, number), &user.path, user.token.as_deref()).await?;
                    open.borrow_mut().push(socket);
                }
                io::Result::Ok(())
            })
        })
        .collect();
    for worker in workers {
        worker.await.map_err(io::Error::other)??;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok((Connected { sockets: users.len(), seconds, per_second: rate(users.len() as u64, seconds) }, Open(open.take())))
}

/// Opens a socket for each user, leaves them alone for a while, and tells what each takes of the server's memory, which
/// `memory` tells. What the server keeps for users however many sockets they have is there before: `memory` is asked first.
///
/// # Errors
/// If a socket cannot be opened or is closed meanwhile, or the memory is not told.
pub async fn idle(target: SocketAddr, users: &[User], settle: Duration, memory: impl Fn() -> io::Result<u64>) -> io::Result<(Connected, Idle)> {
    let before = memory()?;
    let (connected, open) = connect(target, users).await?;
    let ended = Rc::new(Cell::new(0_usize));
    let tasks: Vec<_> = open
        .0
        .into_iter()
        .map(|mut socket| {
            let ended = Rc::clone(&ended);
            tokio::task::spawn_local(async move {
                let _ = socket.stay().await;
                ended.set(ended.get() + 1);
            })
        })
        .collect();
    tokio::time::sleep(settle).await;
    let after = memory()?;
    for task in &tasks {
        task.abort();
    }
    if ended.get() > 0 {
        return Err(io::Error::other(format!("{} sockets were closed by the server", ended.get())));
    }
    Ok((connected, Idle { sockets: users.len(), bytes_per_socket: after.saturating_sub(before) / (users.len() as u64).max(1) }))
}

/// Opens a socket for each user, cuts all at once, and has all come back as clients do: after a wait of half a second to a
/// whole one, and twice that after each refusal. `cut` is told of the moment.
///
/// # Errors
/// If one cannot be opened at first, or not within a minute afterwards.
pub async fn storm(target: SocketAddr, users: &[User], cut: impl FnOnce()) -> io::Result<Storm> {
    drop(connect(target, users).await?.1);
    cut();
    let start = Instant::now();
    let tasks: Vec<_> = users.iter().cloned().enumerate().map(|(number, user)| tokio::task::spawn_local(come_back(target, number, user))).collect();
    let mut storm = Storm { sockets: users.len(), ..Storm::default() };
    let mut open = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (socket, took, refused) = timeout(PATIENCE, task).await.map_err(io::Error::other)?.map_err(io::Error::other)??;
        storm.slowest_ms = storm.slowest_ms.max(took.as_secs_f64() * 1000.0);
        storm.refused += refused;
        open.push(socket);
    }
    storm.seconds = start.elapsed().as_secs_f64();
    Ok(storm)
}

async fn come_back(target: SocketAddr, number: usize, user: User) -> io::Result<(Socket, Duration, u64)> {
    // Evenly spread, as random waits of many are.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let spread = 0.5 + (number as f64 * 0.618_033_988_75).fract() / 2.0;
    let mut refused = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1 << refused.min(4)).mul_f64(spread)).await;
        let start = Instant::now();
        match Socket::open(target, source(target, number), &user.path, user.token.as_deref()).await {
            Ok(socket) => return Ok((socket, start.elapsed(), refused)),
            Err(error) if refused >= 5 => return Err(error),
            Err(_) => refused += 1,
        }
    }
}

/// Stores `messages` in each pair's chat while its receiver is away; then all receivers come back at once and take them.
///
/// # Errors
/// If a socket cannot be opened or is closed, or the server refuses.
pub async fn offline(target: SocketAddr, pairs: &[Pair], messages: usize) -> io::Result<Offline> {
    let run = std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_micros());
    let mut tasks = Vec::new();
    for (number, pair) in pairs.iter().cloned().enumerate() {
        tasks.push(tokio::task::spawn_local(async move { store(target, &pair, format!("off{run:x}-{number}-"), messages).await }));
    }
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    let start = Instant::now();
    let mut tasks = Vec::new();
    for (number, pair) in pairs.iter().cloned().enumerate() {
        tasks.push(tokio::task::spawn_local(async move { take(target, &pair, format!("off{run:x}-{number}-"), messages).await }));
    }
    let (mut arrived, mut duplicated, mut last) = (0, 0, start);
    for task in tasks {
        let (found, twice, at) = task.await.map_err(io::Error::other)??;
        arrived += found;
        duplicated += twice;
        last = last.max(at);
    }
    let (wanted, seconds) = ((pairs.len() * messages) as u64, (last - start).as_secs_f64());
    Ok(Offline { messages: wanted, seconds, per_second: rate(arrived, seconds), lost: wanted - arrived, duplicated })
}

/// Sends a few at a time until all are acknowledged.
async fn store(target: SocketAddr, pair: &Pair, key: String, messages: usize) -> io::Result<()> {
    let mut socket = Socket::open(target, source(target, 0), &pair.sender.path, pair.sender.token.as_deref()).await?;
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < messages {
        while sent < messages && sent - acknowledged < 16 {
            let text = format!(
                r#"{{"event":"message.send","data":{{"chat_id":"{}","client_msg_id":"{key}{sent}","type":"text","payload":{{"body":"Shall we meet at the harbour at eight? I bring the charts."}}}}}}"#,
                pair.chat
            );
            socket.push_text(&[text.as_bytes()]);
            sent += 1;
        }
        poll_fn(|cx| socket.poll_flush(cx)).await?;
        poll_fn(|cx| socket.poll_fill(cx)).await?;
        while let Some(text) = socket.text()? {
            match field(text, "\"event\":\"") {
                Some(b"message.sent") => acknowledged += 1,
                Some(b"error") => return Err(io::Error::other(String::from_utf8_lossy(text).into_owned())),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Comes back and takes what was stored. Returns how many came, how many twice, and when the last one did.
async fn take(target: SocketAddr, pair: &Pair, key: String, messages: usize) -> io::Result<(u64, u64, Instant)> {
    let mut socket = Socket::open(target, source(target, 0), &pair.receiver.path, pair.receiver.token.as_deref()).await?;
    let (mut found, mut twice, mut last) = (HashSet::with_capacity(messages), 0, Instant::now());
    let taken = timeout(PATIENCE, async {
        while found.len() < messages {
            poll_fn(|cx| socket.poll_fill(cx)).await?;
            let mut ids = Vec::new();
            while let Some(text) = socket.text()? {
                let Some(of) = field(text, "\"client_msg_id\":\"").filter(|of| of.starts_with(key.as_bytes())) else { continue };
                if !found.insert(of.to_vec()) {
                    twice += 1;
                }
                if let Some(id) = field(text, "\"message_id\":\"") {
                    ids.extend_from_slice(if ids.is_empty() { b"\"" } else { b",\"" });
                    ids.extend_from_slice(id);
                    ids.push(b'"');
                }
            }
            last = Instant::now();
            if !ids.is_empty() {
                socket.push_text(&[br#"{"event":"message.delivered","data":{"message_ids":["#, &ids, b"]}}"]);
                poll_fn(|cx| socket.poll_flush(cx)).await?;
            }
        }
        io::Result::Ok(())
    })
    .await;
    if let Ok(taken) = taken {
        taken?;
    }
    // The receipts are taken before the socket goes.
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok((found.len() as u64, twice, last))
}
