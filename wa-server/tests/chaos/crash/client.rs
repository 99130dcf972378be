//! One person's client: a raw socket that comes back whenever the server does, repeats what was not acknowledged, writes
//! on, confirms what it gets, and notes everything in its own log.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use super::log::{Log, Written};
use crate::support::{Login, Random, Site, pause};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Messages that wait for their acknowledgement at a time.
const IN_FLIGHT: usize = 4;

/// Frames taken in before anything is answered.
const AT_ONCE: usize = 16;

/// The connection is gone, or as good as gone.
struct Gone;

impl From<tokio_websockets::Error> for Gone {
    fn from(_: tokio_websockets::Error) -> Self {
        Self
    }
}

pub(super) struct Client {
    pub(super) site: Arc<Site>,
    pub(super) login: Login,
    /// The chats it writes into; a client that only reads has none.
    pub(super) writes: Vec<String>,
    pub(super) random: Random,
    pub(super) log: Arc<Mutex<Log>>,
    /// Whether to go on writing.
    pub(super) writing: watch::Receiver<bool>,
    /// Raised with everything that happens: acknowledgements, and events of any kind.
    pub(super) acknowledgements: Arc<watch::Sender<u64>>,
    pub(super) events: Arc<watch::Sender<u64>>,
}

/// What belongs to one connection.
#[derive(Default)]
struct Session {
    /// Confirms nothing this time, so that a backlog grows.
    sleepy: bool,
    /// Messages to confirm: id, chat and place.
    received: Vec<(String, String, i64)>,
    /// Confirmations under way, by request.
    confirming: HashMap<String, Confirming>,
    requests: u64,
    /// Keys to send once more.
    again: VecDeque<String>,
    /// Chats to fetch.
    resync: HashSet<String>,
    /// Whether the answer to a sync over the socket is under way. It may be older than what REST answers meanwhile, so
    /// the two are not mixed.
    syncing: bool,
}

enum Confirming {
    Delivered(Vec<(String, String, i64)>),
    Read(String, i64),
}

impl Client {
    /// Lives until its task is aborted.
    pub(super) async fn run(mut self) {
        loop {
            if let Some(socket) = self.connect().await {
                let Err(Gone) = self.session(socket).await;
            }
            pause(Duration::from_millis(8 + self.random.below(16))).await;
        }
    }

    async fn connect(&self) -> Option<Socket> {
        let url = format!("ws://{}/ws?token={}", self.site.address, self.login.token);
        let builder = ClientBuilder::new().uri(&url).unwrap();
        let (socket, _) = timeout(Duration::from_secs(5), builder.connect()).await.ok()?.ok()?;
        Some(socket)
    }

    async fn session(&mut self, mut socket: Socket) -> Result<std::convert::Infallible, Gone> {
        let mut session = Session { sleepy: *self.writing.borrow() && self.random.once_in(6), ..Session::default() };
        {
            let mut log = self.log.lock().unwrap();
            log.counts.connections += 1;
            session.again = log.open.iter().map(|written| written.key.clone()).collect();
            log.counts.repeated += log.open.len() as u64;
        }
        // Not each time, as most connections are too short for it.
        if self.random.once_in(4) {
            self.ask_sync(&mut session, &mut socket).await?;
        }
        loop {
            self.write(&mut session, &mut socket).await?;
            socket.flush().await?;
            let first = tokio::select! {
                frame = socket.next() => frame.ok_or(Gone)??,
                changed = self.writing.changed() => {
                    changed.map_err(|_| Gone)?;
                    // Whoever slept wakes up with a new connection, as everything unconfirmed then comes again.
                    if session.sleepy { return Err(Gone) } else { continue }
                }
            };
            let mut next = Some(first);
            let mut taken = 0;
            while let Some(frame) = next.take() {
                if let Some(text) = frame.as_text() {
                    let frame: Value = serde_json::from_str(text).unwrap();
                    self.take(&mut session, &mut socket, &frame).await?;
                }
                taken += 1;
                // A frame that is read must be taken in: none is read past the last one.
                if taken < AT_ONCE {
                    next = socket.next().now_or_never().flatten().transpose()?;
                }
            }
            if !session.resync.is_empty() && !session.syncing {
                self.resync(&mut session).await?;
            }
            self.confirm(&mut session, &mut socket).await?;
            self.events.send_modify(|events| *events += 1);
        }
    }

    async fn take(&mut self, session: &mut Session, socket: &mut Socket, frame: &Value) -> Result<(), Gone> {
        let (data, req_id) = (&frame["data"], frame["req_id"].as_str().unwrap_or_default());
        match frame["event"].as_str().unwrap_or_default() {
            "message.new" => {
                let (chat, seq) = self.log.lock().unwrap().push(data);
                if data["sender_id"] != self.login.user_id.as_str() {
                    session.received.push((data["message_id"].as_str().unwrap_or_default().to_owned(), chat, seq));
                }
            }
            "message.sent" => {
                self.log.lock().unwrap().acknowledge(data);
                self.acknowledgements.send_modify(|count| *count += 1);
            }
            "message.status" => self.log.lock().unwrap().announce(data),
            "sync.result" => {
                session.syncing = false;
                let complete = self.log.lock().unwrap().sync(data);
                if !complete {
                    self.ask_sync(session, socket).await?;
                }
            }
            "resync" => session.resync.extend(data["chat_ids"].as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned)),
            "ack" => match session.confirming.remove(req_id) {
                Some(Confirming::Delivered(messages)) => {
                    let mut log = self.log.lock().unwrap();
                    for (_, chat, seq) in messages {
                        log.confirmed_delivered.entry(chat).or_default().insert(seq);
                    }
                }
                Some(Confirming::Read(chat, seq)) => {
                    let mut log = self.log.lock().unwrap();
                    let up_to = log.confirmed_read.entry(chat).or_default();
                    *up_to = (*up_to).max(seq);
                }
                None => {}
            },
            "error" if data["code"] == 5003 => match session.confirming.remove(req_id) {
                Some(Confirming::Delivered(messages)) => session.received.extend(messages),
                Some(Confirming::Read(..)) => {}
                None if req_id == "sync" => self.ask_sync(session, socket).await?,
                None => {
                    self.log.lock().unwrap().refused = true;
                    session.again.push_back(req_id.to_owned());
                }
            },
            "chat.created" | "presence" | "pong" => {}
            _ => self.log.lock().unwrap().wrong(&format!("an unexpected frame: {frame}")),
        }
        Ok(())
    }

    /// Repeats what must be repeated, in the order in which it was written, then writes something new.
    async fn write(&mut self, session: &mut Session, socket: &mut Socket) -> Result<(), Gone> {
        let mut due = Vec::new();
        {
            let mut log = self.log.lock().unwrap();
            for key in session.again.drain(..) {
                due.extend(log.open.iter().find(|written| written.key == key).cloned());
            }
            if *self.writing.borrow() && !self.writes.is_empty() {
                for _ in log.open.len()..IN_FLIGHT {
                    let number = log.written.len() + 1;
                    let chat = self.writes[usize::try_from(self.random.below(self.writes.len() as u64)).unwrap()].clone();
                    let written = Written { chat, key: format!("{}-{number}", log.name), body: format!("{} writes {number}", log.name) };
                    log.written.push(written.clone());
                    log.open.push(written.clone());
                    due.push(written);
                }
            }
        }
        for Written { chat, key, body } in due {
            let data = json!({ "chat_id": chat, "client_msg_id": key, "type": "text", "payload": { "body": body } });
            feed(socket, "message.send", &data, &key).await?;
        }
        Ok(())
    }

    async fn confirm(&mut self, session: &mut Session, socket: &mut Socket) -> Result<(), Gone> {
        if session.sleepy || session.received.is_empty() {
            session.received.clear();
            return Ok(());
        }
        let received = std::mem::take(&mut session.received);
        for messages in received.chunks(500) {
            session.requests += 1;
            let req_id = format!("delivered-{}", session.requests);
            let ids: Vec<&str> = messages.iter().map(|(id, ..)| id.as_str()).collect();
            feed(socket, "message.delivered", &json!({ "message_ids": ids }), &req_id).await?;
            session.confirming.insert(req_id, Confirming::Delivered(messages.to_vec()));
        }
        if self.random.once_in(8)
            && let Some((id, chat, seq)) = received.last()
        {
            session.requests += 1;
            let req_id = format!("read-{}", session.requests);
            feed(socket, "message.read", &json!({ "chat_id": chat, "up_to_message_id": id }), &req_id).await?;
            session.confirming.insert(req_id, Confirming::Read(chat.clone(), *seq));
        }
        Ok(())
    }

    /// Follows the log over the socket. What it brings is noted and not confirmed, so that it hides nothing that must
    /// come by itself.
    async fn ask_sync(&mut self, session: &mut Session, socket: &mut Socket) -> Result<(), Gone> {
        session.syncing = true;
        let revs = self.log.lock().unwrap().revs.clone();
        let limit = 10 + self.random.below(90);
        feed(socket, "sync", &json!({ "chats": revs, "limit": limit }), "sync").await
    }

    /// Fetches over REST what the server said it did not push.
    async fn resync(&mut self, session: &mut Session) -> Result<(), Gone> {
        self.log.lock().unwrap().counts.resyncs += 1;
        loop {
            let known = self.log.lock().unwrap().revs.clone();
            let answer = self.site.ask(Some(&self.login.token), "/sync", Some(&json!({ "chats": known, "limit": 200 }))).await;
            let Some((200, answer)) = answer else { return Err(Gone) };
            if self.log.lock().unwrap().sync(&answer) {
                break;
            }
        }
        let mut log = self.log.lock().unwrap();
        for chat in session.resync.drain() {
            let synced = log.synced.get(&chat).cloned().unwrap_or_default();
            let pushed = log.pushed.entry(chat.clone()).or_default();
            for (seq, seen) in synced {
                if seen.sender != self.login.user_id {
                    session.received.push((seen.message_id.clone(), chat.clone(), seq));
                }
                pushed.entry(seq).or_insert(seen);
            }
        }
        let confirmed = &log.confirmed_delivered;
        session.received.retain(|(_, chat, seq)| confirmed.get(chat).is_none_or(|seqs| !seqs.contains(seq)));
        Ok(())
    }
}

async fn feed(socket: &mut Socket, event: &str, data: &Value, req_id: &str) -> Result<(), Gone> {
    Ok(socket.feed(Message::text(json!({ "event": event, "data": data, "req_id": req_id }).to_string())).await?)
}
