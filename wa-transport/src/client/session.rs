//! One socket of a connection, from its first frame to its last: frames in and out, and the fetching of what is missing.

use std::pin::Pin;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wa_core::api::{HistoryQuery, MessagePage, SyncAnswer};
use wa_core::id::{ChatId, UserId};
use wa_core::limits::Limits;
use wa_core::message::{Content, MessageView, Rev};
use wa_core::receipt::Status;

use super::backoff::Backoff;
use super::connection::End;
use super::driver::{Driver, MAX_QUEUED, hand_over, sleep_until_some};
use super::error::{ApiError, ClientError};
use super::events::{Annotated, Incoming, Sent, ServerEvent, Wire};
use super::outbox::Request;
use super::rest::Outgoing;
use super::socket::{Received, Socket, advised};

/// Messages of one answer while catching up.
const PAGE: i64 = 100;
/// How often the server hears of this client (contract, section 3.6).
const PING: Duration = Duration::from_secs(25);
/// After this long without a word the server is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// After this long without an answer to a request the server is gone.
const UNANSWERED: Duration = Duration::from_secs(15);
/// How long an older message may come by itself before it is fetched.
const GRACE: Duration = Duration::from_millis(300);
/// The least time between two syncs for what was noticed on the way.
const SYNC_SPACING: Duration = Duration::from_secs(1);
/// The longest wait after a failed fetch.
const MAX_FETCH_WAIT: Duration = Duration::from_secs(30);
/// Acknowledgements are gathered this long, so that they stay below the server's rate limit.
const ACK_SPACING: Duration = Duration::from_millis(250);
/// Messages of one acknowledgement.
const MAX_ACKS: usize = 500;

enum Fetched {
    Synced(Result<SyncAnswer, ClientError>),
    Walked(ChatId, Result<MessagePage, ClientError>),
}

type Fetch = Pin<Box<dyn Future<Output = Fetched> + Send>>;

/// Why a socket is no longer used.
pub(super) enum Left {
    /// It broke: connect again.
    Lost(String),
    /// The server went away, and asks to be left alone for so long.
    Away(String, Duration),
    /// This access token, or its session, is refused: renew, then connect again.
    Refused(String),
    /// The connection has ended for good.
    Ended(End),
}

impl From<ClientError> for Left {
    fn from(error: ClientError) -> Self {
        Self::Lost(error.to_string())
    }
}

/// What belongs to one socket.
struct Session {
    socket: Socket,
    /// Told once the server takes part.
    ready: Option<oneshot::Sender<()>>,
    is_up: bool,
    fetch: Option<Fetch>,
    /// The chat whose messages are being fetched.
    walking: Option<ChatId>,
    fetch_backoff: Backoff,
    /// Nothing is fetched before.
    fetch_at: Instant,
    /// No sync is made before, unless the last one was incomplete.
    sync_at: Instant,
    hole_since: Option<Instant>,
    ack_at: Instant,
    ping_at: Instant,
    heard_at: Instant,
}

impl Driver {
    /// Uses a socket until it breaks or the connection ends.
    pub(super) async fn session(&mut self, socket: Socket, ready: Option<oneshot::Sender<()>>) -> Left {
        let now = Instant::now();
        let mut session = Session {
            socket,
            ready,
            is_up: false,
            fetch: None,
            walking: None,
            fetch_backoff: Backoff::new(Duration::from_millis(500), MAX_FETCH_WAIT),
            fetch_at: now,
            sync_at: now,
            hole_since: None,
            ack_at: now,
            ping_at: now,
            heard_at: now,
        };
        self.view.lost();
        let left = self.converse(&mut session).await;
        if let Some(chat) = session.walking {
            self.view.walk_failed(chat, false);
        }
        self.queue.extend(self.view.take());
        if matches!(left, Left::Ended(End::Closed)) {
            session.socket.close().await;
        }
        left
    }

    async fn converse(&mut self, session: &mut Session) -> Left {
        if !self.watched.is_empty()
            && let Err(error) = session.socket.send("presence.subscribe", json!({"user_ids": self.watched}), None).await
        {
            return error.into();
        }
        loop {
            if let Err(left) = self.turn(session).await {
                return left;
            }
        }
    }

    /// Does what is due, then waits for one thing to happen.
    async fn turn(&mut self, session: &mut Session) -> Result<(), Left> {
        let now = Instant::now();
        self.outbox.expire(now);
        self.write(session, now).await?;
        self.queue.extend(self.view.take());
        let fetch_at = self.fetch(session, now);
        let silent_at = session.heard_at + SILENCE;
        let unanswered_at = self.outbox.unanswered_since().map(|since| since + UNANSWERED);
        if now >= silent_at || unanswered_at.is_some_and(|at| now >= at) {
            return Err(Left::Lost("the server does not answer".to_owned()));
        }
        let ack_at = (!self.acks.is_empty()).then_some(session.ack_at);
        let wake_at = [Some(session.ping_at), Some(silent_at), unanswered_at, self.outbox.wake_at(), fetch_at, ack_at].into_iter().flatten().min();
        let (events, fetch) = (self.events.clone(), &mut session.fetch);
        tokio::select! {
            () = self.close.cancelled() => return Err(Left::Ended(End::Closed)),
            received = session.socket.receive() => self.received(session, received)?,
            fetched = async { match fetch { Some(fetch) => fetch.await, None => std::future::pending().await } } => {
                session.fetch = None;
                self.fetched(session, fetched)?;
            }
            permit = events.reserve(), if !self.queue.is_empty() => match permit {
                Ok(permit) => hand_over(&mut self.queue, permit),
                // Nobody holds the connection any more.
                Err(_) => return Err(Left::Ended(End::Closed)),
            },
            command = self.commands.recv(), if !self.outbox.is_full() => match command {
                Some(command) => self.take_in(command),
                None => return Err(Left::Ended(End::Closed)),
            },
            () = self.acks.added.notified() => {}
            () = sleep_until_some(wake_at) => {}
        }
        Ok(())
    }

    /// Sends what is due.
    async fn write(&mut self, session: &mut Session, now: Instant) -> Result<(), Left> {
        if now >= session.ping_at {
            session.socket.send("ping", json!({}), None).await?;
            session.ping_at = now + PING;
        }
        while let Some((id, request)) = self.outbox.next(now) {
            let (event, data) = request.frame();
            session.socket.send(event, data, Some(id)).await?;
        }
        if let Some((chat, is_typing)) = self.typing.take() {
            session.socket.send(if is_typing { "typing.start" } else { "typing.stop" }, json!({"chat_id": chat}), None).await?;
        }
        if now >= session.ack_at && !self.acks.is_empty() {
            let messages = self.acks.take(MAX_ACKS);
            let id = self.new_id();
            let sent = session.socket.send("message.delivered", json!({"message_ids": messages}), Some(id)).await;
            self.acks_sent.insert(id, messages);
            session.ack_at = now + ACK_SPACING;
            sent?;
        }
        Ok(())
    }

    fn received(&mut self, session: &mut Session, received: Received) -> Result<(), Left> {
        session.heard_at = Instant::now();
        match received {
            Received::Life => {}
            Received::Closed { code, reason } => {
                return Err(match code {
                    Some(4001) => Left::Refused(session.socket.token.clone()),
                    Some(4010) => Left::Ended(End::ConnectedElsewhere),
                    Some(code @ (1008 | 1009)) => Left::Ended(End::Broken(format!("it closed the connection ({code} {reason})"))),
                    Some(code) => match advised(code, &reason) {
                        Some(wait) => Left::Away("the server shuts down".to_owned(), wait),
                        None => Left::Lost(format!("the server closed the connection ({code} {reason})")),
                    },
                    None => Left::Lost(reason),
                });
            }
            Received::Text(text) => match Incoming::decode(&text) {
                Ok(frame) => self.incoming(session, frame),
                Err(error) => {
                    // Whatever it told is found by the next sync.
                    tracing::warn!(%error, "a frame was not understood");
                    self.view.lost();
                }
            },
        }
        Ok(())
    }

    fn incoming(&mut self, session: &mut Session, Incoming { req_id, event }: Incoming) {
        let id = req_id.and_then(|id| id.parse().ok()).unwrap_or(0);
        match event {
            Wire::Pong if session.is_up => {}
            Wire::Pong => {
                session.is_up = true;
                self.backoff.reset();
                self.tell(ServerEvent::Connected);
                if let Some(ready) = session.ready.take() {
                    let _ = ready.send(());
                }
            }
            Wire::Sent(sent) => {
                if let Some((request, reply)) = self.outbox.answered(id) {
                    self.sent(request, &sent);
                    let _ = reply.send(Ok(Some(sent)));
                }
            }
            Wire::Ack => {
                self.acks_sent.remove(&id);
                if let Some((_, reply)) = self.outbox.answered(id) {
                    let _ = reply.send(Ok(None));
                }
            }
            Wire::Error(error) => self.refused(session, id, error),
            event if self.queue.len() >= MAX_QUEUED => self.pass_over(&event),
            Wire::New(message) => {
                let (id, is_news) = (message.message_id, message.sender_id != self.me && message.status == Status::Sent);
                if self.view.message(message) && is_news {
                    // It was told before, but the server does not know.
                    self.acks.add([id]);
                }
            }
            Wire::Edited(message) => self.view.edited(message),
            Wire::Deleted(deleted) => self.view.deleted(&deleted),
            Wire::Reaction(Annotated { seq, rev, what }) => self.view.annotated(what.chat_id, seq, rev, ServerEvent::Reaction(what)),
            Wire::Starred(Annotated { seq, rev, what }) => self.view.annotated(what.chat_id, seq, rev, ServerEvent::Starred(what)),
            Wire::Status(receipt) => self.view.receipt(receipt),
            Wire::ChatCreated(chat) => self.view.created(chat),
            Wire::ChatChanged(change) => self.view.changed(&change),
            Wire::Typing(typing) => self.tell(ServerEvent::Typing(typing)),
            Wire::Presence(presence) => self.tell(ServerEvent::Presence(presence)),
            Wire::Resync => self.view.lost(),
            Wire::Unknown => {}
        }
    }

    /// Too much waits for the user: what comes now is fetched when there is room.
    fn pass_over(&mut self, event: &Wire) {
        match event {
            Wire::New(message) => self.view.missed(message.chat_id, message.seq),
            Wire::Typing(_) | Wire::Presence(_) => {}
            _ => self.view.lost(),
        }
    }

    /// A message of this connection is stored: it takes its place among the others.
    fn sent(&mut self, request: Request, sent: &Sent) {
        let Request::Send { chat, message } = request else { return };
        let own = sent.rev.filter(|_| !sent.duplicate && self.queue.len() < MAX_QUEUED).and_then(|rev| own_message(self.me, chat, message, sent, rev));
        match own {
            Some(message) => drop(self.view.message(Box::new(message))),
            None => self.view.missed(chat, sent.seq),
        }
    }

    fn refused(&mut self, session: &mut Session, id: u64, error: Box<ApiError>) {
        let now = Instant::now();
        let is_for_now = matches!(error.code.as_str(), "RATE_LIMITED" | "UNAVAILABLE");
        match self.acks_sent.remove(&id) {
            Some(messages) if is_for_now => {
                self.acks.add(messages);
                session.ack_at = now + error.retry_after.unwrap_or(ACK_SPACING).max(ACK_SPACING);
            }
            Some(_) => tracing::debug!(code = error.code, "an acknowledgement was refused"),
            None if id == 0 => tracing::debug!(code = error.code, "the server refused something"),
            None => self.outbox.refused(id, error, now),
        }
    }

    /// Begins to fetch what is missing, if it is time. Returns when it will be, if nothing happens before.
    fn fetch(&mut self, session: &mut Session, now: Instant) -> Option<Instant> {
        session.hole_since = self.view.has_holes().then(|| session.hole_since.unwrap_or(now));
        if session.fetch.is_some() || self.queue.len() >= MAX_QUEUED / 2 || !session.is_up {
            return None;
        }
        let walk_at = if self.view.must_walk() { Some(now) } else { session.hole_since.map(|since| since + GRACE) };
        let sync_at = self.view.wants_sync().then_some(session.sync_at);
        let due = walk_at.into_iter().chain(sync_at).min()?.max(session.fetch_at);
        if now < due {
            return Some(due);
        }
        let client = self.client.clone();
        let is_sync = sync_at.is_some_and(|at| at <= now) && !self.view.must_walk();
        if is_sync {
            session.sync_at = now + SYNC_SPACING;
            let request = self.view.start_sync(PAGE);
            session.fetch = Some(Box::pin(async move { Fetched::Synced(client.sync(&request).await) }));
        } else if let Some((chat, after)) = self.view.walk() {
            session.walking = Some(chat);
            let query = HistoryQuery { cursor: None, after_seq: Some(after.get()), limit: Some(PAGE) };
            session.fetch = Some(Box::pin(async move { Fetched::Walked(chat, client.history(chat, query).await) }));
        }
        None
    }

    fn fetched(&mut self, session: &mut Session, fetched: Fetched) -> Result<(), Left> {
        session.walking = None;
        let error = match fetched {
            Fetched::Synced(Ok(answer)) => {
                if !answer.complete {
                    session.sync_at = Instant::now();
                }
                self.view.synced(answer);
                session.fetch_backoff.reset();
                return Ok(());
            }
            Fetched::Walked(chat, Ok(page)) => {
                self.view.walked(chat, page);
                session.fetch_backoff.reset();
                return Ok(());
            }
            Fetched::Synced(Err(error)) => {
                self.view.lost();
                error
            }
            Fetched::Walked(chat, Err(error)) => {
                let is_gone = error.api().is_some_and(|error| matches!(error.status, 403 | 404));
                self.view.walk_failed(chat, is_gone);
                error
            }
        };
        if error.is_auth() {
            return Err(Left::Refused(session.socket.token.clone()));
        }
        let wait = session.fetch_backoff.next_wait().max(error.retry_after().unwrap_or_default()).min(MAX_FETCH_WAIT);
        tracing::debug!(%error, ?wait, "what is missing could not be fetched");
        session.fetch_at = Instant::now() + wait;
        Ok(())
    }
}

/// The message object of a message of this user, as the server will show it; `None` where only the server can tell.
fn own_message(me: UserId, chat_id: ChatId, message: Outgoing, sent: &Sent, rev: Rev) -> Option<MessageView> {
    if message.reply_to_message_id.is_some() {
        return None;
    }
    let content = Content::parse(message.kind.as_str(), &message.payload, &Limits::default()).ok()?;
    Some(MessageView {
        message_id: sent.message_id,
        chat_id,
        sender_id: me,
        client_msg_id: message.client_msg_id,
        seq: sent.seq,
        rev,
        kind: message.kind,
        payload: content.payload(),
        reply_to_message_id: None,
        reply_to_preview: None,
        forwarded: false,
        forwarded_from: None,
        status: Status::Sent,
        reactions: Vec::new(),
        is_deleted: false,
        is_starred: false,
        edited_at: None,
        expires_at: None,
        created_at: sent.created_at,
        updated_at: sent.created_at,
    })
}
