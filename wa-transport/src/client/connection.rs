//! The live connection as its user holds it: events in, requests out. The work behind it is the driver's.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use wa_core::id::{ChatId, MessageId, UserId};
use wa_core::receipt::Status;

use super::Client;
use super::driver::{Command, Driver};
use super::error::ClientError;
use super::events::{Sent, ServerEvent};
use super::outbox::Request;
use super::rest::Outgoing;
use super::socket::DialError;
use super::track::{Position, State};
use super::view::Told;

/// Events that wait in the channel to the user; more wait in the driver.
const EVENTS: usize = 64;
/// Requests that wait for the driver.
const COMMANDS: usize = 64;
/// Users whose presence one connection watches (contract, section 3.3).
const MAX_WATCHED: usize = 500;

/// Bytes of a payload that surely fit into a frame of 64 KiB with all that goes with it.
const MAX_PAYLOAD: usize = 60 << 10;

/// From where the events of a connection start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    /// With the messages that no device of the user has received yet.
    #[default]
    Undelivered,
    /// With what happens from now on.
    Now,
    /// Where an earlier connection stopped; with an empty state, from the beginning of every chat.
    Resume(State),
}

/// How a connection behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// From where its events start.
    pub start: Start,
    /// Whether messages are acknowledged as delivered when they are handed to the user.
    pub acknowledge: bool,
    /// How long a request waits for its answer, over any number of reconnects.
    pub patience: Duration,
    /// The wait before the first reconnect; it doubles up to `max_wait` and is cut at random by up to a half.
    pub first_wait: Duration,
    /// The longest wait between reconnects.
    pub max_wait: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            start: Start::default(),
            acknowledge: true,
            patience: Duration::from_secs(60),
            first_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(30),
        }
    }
}

/// Why a connection has ended for good.
#[derive(Debug, Clone)]
pub(super) enum End {
    Closed,
    SessionEnded,
    ConnectedElsewhere,
    /// The server says that this program and it do not understand each other.
    Broken(String),
}

impl End {
    pub(super) fn error(&self) -> ClientError {
        match self {
            Self::Closed => ClientError::Closed,
            Self::SessionEnded => ClientError::SessionEnded,
            Self::ConnectedElsewhere => ClientError::ConnectedElsewhere,
            Self::Broken(why) => ClientError::Protocol(why.clone()),
        }
    }
}

/// Messages handed to the user, to be acknowledged by the driver.
#[derive(Debug, Default)]
pub(super) struct Acks {
    waiting: Mutex<Vec<MessageId>>,
    pub(super) added: Notify,
}

impl Acks {
    pub(super) fn add(&self, messages: impl IntoIterator<Item = MessageId>) {
        self.lock().extend(messages);
        self.added.notify_one();
    }

    /// At most this many of them.
    pub(super) fn take(&self, max: usize) -> Vec<MessageId> {
        let mut waiting = self.lock();
        let count = waiting.len().min(max);
        waiting.drain(..count).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<MessageId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A live connection: it reconnects by itself, tells every message once and in order, and repeats what it sends until that is
/// answered. Cloning shares it; it ends when the last clone is dropped, or with [`Self::close`].
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    user_id: UserId,
    acknowledge: bool,
    commands: mpsc::Sender<Command>,
    events: tokio::sync::Mutex<mpsc::Receiver<Told>>,
    /// How far the user has been told.
    state: Mutex<State>,
    acks: Arc<Acks>,
    end: Arc<OnceLock<End>>,
    ended: CancellationToken,
    close: CancellationToken,
    _close_on_drop: DropGuard,
}

impl Client {
    /// Connects with the default options: see [`Self::connect_with`].
    ///
    /// # Errors
    /// As for [`Self::connect_with`].
    pub async fn connect(&self) -> Result<Connection, ClientError> {
        self.connect_with(ConnectOptions::default()).await
    }

    /// Connects, and returns when the server takes part. From then on the connection comes back by itself when it breaks.
    ///
    /// # Errors
    /// If the first connection fails: [`ClientError::NotLoggedIn`], [`ClientError::SessionEnded`], or the server cannot be reached.
    pub async fn connect_with(&self, options: ConnectOptions) -> Result<Connection, ClientError> {
        let user_id = self.me().await?.id;
        let state = match &options.start {
            Start::Resume(state) => state.clone(),
            Start::Now => self.present(false).await?,
            Start::Undelivered => self.present(true).await?,
        };
        let socket = match self.dial().await {
            Err(DialError::Refused(token)) => {
                self.renew(&token).await?;
                self.dial().await
            }
            dialled => dialled,
        };
        let socket = socket.map_err(|error| match error {
            DialError::Refused(_) => ClientError::SessionEnded,
            DialError::Failed(error) => error,
        })?;
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (event_queue, events) = mpsc::channel(EVENTS);
        let (ready, is_ready) = oneshot::channel();
        let (acks, end, close, ended) = (Arc::<Acks>::default(), Arc::default(), CancellationToken::new(), CancellationToken::new());
        let shared = Shared {
            user_id,
            acknowledge: options.acknowledge,
            commands,
            events: tokio::sync::Mutex::new(events),
            state: Mutex::new(state.clone()),
            acks: acks.clone(),
            end: Arc::clone(&end),
            ended: ended.clone(),
            _close_on_drop: close.clone().drop_guard(),
            close: close.clone(),
        };
        let driver = Driver::new(self.clone(), user_id, &state, &options, command_queue, event_queue, acks, close);
        tokio::spawn(async move {
            // Dropped when the task ends in whichever way.
            let _ended = ended.drop_guard();
            let why = driver.run(socket, ready).await;
            let _ = end.set(why);
        });
        let connection = Connection { shared: Arc::new(shared) };
        match is_ready.await {
            Ok(()) => Ok(connection),
            Err(_) => Err(connection.end().await),
        }
    }

    /// Where every chat stands now: at its end, or (where something is unread) at what was delivered.
    async fn present(&self, from_delivered: bool) -> Result<State, ClientError> {
        let mut state = State::default();
        let mut cursor = None;
        loop {
            let page = self.chats(cursor.as_deref(), Some(100)).await?;
            for chat in page.chats {
                let seq = (!from_delivered || chat.unread_count == 0).then_some(chat.last_seq);
                state.chats.insert(chat.chat_id, Position { rev: chat.rev, seq, behind: false });
            }
            cursor = page.next_cursor;
            if !page.has_more || cursor.is_none() {
                return Ok(state);
            }
        }
    }
}

impl Connection {
    /// The user whose connection it is.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.shared.user_id
    }

    /// The next event. Safe to abandon while it waits. Of several callers each event goes to one.
    ///
    /// # Errors
    /// When the connection has ended for good: [`ClientError::Closed`], [`ClientError::SessionEnded`], [`ClientError::ConnectedElsewhere`].
    pub async fn next(&self) -> Result<ServerEvent, ClientError> {
        let mut events = self.shared.events.lock().await;
        loop {
            let Some(Told { event, position }) = events.recv().await else { return Err(self.end().await) };
            if let Some((chat, position)) = position {
                let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                match position {
                    Some(position) => drop(state.chats.insert(chat, position)),
                    None => drop(state.chats.remove(&chat)),
                }
            }
            if let Some(event) = event {
                if let ServerEvent::Message(message) = &event
                    && self.shared.acknowledge
                    && message.sender_id != self.shared.user_id
                    && message.status == Status::Sent
                {
                    self.shared.acks.add([message.message_id]);
                }
                return Ok(event);
            }
        }
    }

    /// How far [`Self::next`] has told. Whoever keeps it can resume from it later, in another process too, and is told no message twice.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a text under a fresh key: see [`Self::send`].
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn send_text(&self, chat: ChatId, body: impl Into<String>) -> Result<Sent, ClientError> {
        self.send(chat, Outgoing::text(body)).await
    }

    /// Sends a message and returns when it is durable. Repeated under its key over reconnects until it is answered; messages of a chat keep
    /// the order of the calls.
    ///
    /// # Errors
    /// The server's refusal; [`ClientError::Timeout`] after the connection's patience; why the connection has ended.
    pub async fn send(&self, chat: ChatId, message: Outgoing) -> Result<Sent, ClientError> {
        if message.payload.to_string().len() > MAX_PAYLOAD {
            return Err(ClientError::Invalid(format!("a message holds at most {MAX_PAYLOAD} bytes")));
        }
        let sent = self.request(Request::Send { chat, message }).await?;
        sent.ok_or_else(|| ClientError::Protocol("a message was acknowledged without its place".to_owned()))
    }

    /// Marks everything in a chat up to a message as read, and returns when the server has noted it.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn mark_read(&self, chat: ChatId, up_to: MessageId) -> Result<(), ClientError> {
        self.request(Request::Read { chat, up_to }).await.map(drop)
    }

    /// Acknowledges messages as delivered, where the connection does not do so by itself.
    pub fn mark_delivered(&self, messages: &[MessageId]) {
        self.shared.acks.add(messages.iter().copied());
    }

    /// Says that the user types, or no longer does. It holds for 5 s. Said in vain while the connection is broken.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub async fn typing(&self, chat: ChatId, is_typing: bool) -> Result<(), ClientError> {
        self.command(Command::Typing { chat, is_typing }).await
    }

    /// Subscribes to the presence of users: their present state is told at once, then every change, over reconnects too.
    ///
    /// # Errors
    /// As for [`Self::send`]; [`ClientError::Invalid`] for more than 500 users.
    pub async fn watch(&self, users: &[UserId]) -> Result<(), ClientError> {
        if users.len() > MAX_WATCHED {
            return Err(ClientError::Invalid(format!("a connection watches at most {MAX_WATCHED} users")));
        }
        self.request(Request::Watch(users.to_vec())).await.map(drop)
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// As for [`Self::watch`].
    pub async fn unwatch(&self, users: &[UserId]) -> Result<(), ClientError> {
        if users.len() > MAX_WATCHED {
            return Err(ClientError::Invalid(format!("a connection watches at most {MAX_WATCHED} users")));
        }
        self.request(Request::Unwatch(users.to_vec())).await.map(drop)
    }

    /// Ends the connection and returns when it has ended. What was not answered yet fails with [`ClientError::Closed`].
    pub async fn close(&self) {
        self.shared.close.cancel();
        self.shared.ended.cancelled().await;
    }

    async fn request(&self, request: Request) -> Result<Option<Sent>, ClientError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Request { request, reply }).await?;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(self.end().await),
        }
    }

    async fn command(&self, command: Command) -> Result<(), ClientError> {
        match self.shared.commands.send(command).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.end().await),
        }
    }

    /// Why it has ended, once it has.
    async fn end(&self) -> ClientError {
        self.shared.ended.cancelled().await;
        self.shared.end.get().map_or(ClientError::Closed, End::error)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("user_id", &self.shared.user_id).finish_non_exhaustive()
    }
}
