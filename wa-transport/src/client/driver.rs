//! The task behind a connection, from socket to socket: it takes requests in, hands events over, and comes back when it breaks.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use wa_core::id::{ChatId, MessageId, UserId};

use super::Client;
use super::backoff::Backoff;
use super::connection::{Acks, ConnectOptions, End};
use super::events::ServerEvent;
use super::outbox::{Outbox, Reply, Request};
use super::session::Left;
use super::socket::{DialError, Socket};
use super::track::State;
use super::view::{Told, View};

/// Events that wait for the user, before further ones are fetched later instead.
pub(super) const MAX_QUEUED: usize = 1024;

/// What the user of the connection wants.
#[derive(Debug)]
pub(super) enum Command {
    Request { request: Request, reply: Reply },
    Typing { chat: ChatId, is_typing: bool },
}

/// The state of a connection that outlives its sockets.
pub(super) struct Driver {
    pub(super) client: Client,
    pub(super) me: UserId,
    pub(super) view: View,
    pub(super) outbox: Outbox,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<Told>,
    /// What is told but not handed over yet.
    pub(super) queue: VecDeque<Told>,
    pub(super) acks: Arc<Acks>,
    /// Acknowledgements that the server has not confirmed.
    pub(super) acks_sent: HashMap<u64, Vec<MessageId>>,
    pub(super) watched: BTreeSet<UserId>,
    pub(super) typing: Option<(ChatId, bool)>,
    pub(super) close: CancellationToken,
    pub(super) backoff: Backoff,
    last_id: u64,
}

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "called from one place, which makes each of them")]
    pub(super) fn new(
        client: Client,
        me: UserId,
        state: &State,
        options: &ConnectOptions,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Told>,
        acks: Arc<Acks>,
        close: CancellationToken,
    ) -> Self {
        Self {
            client,
            me,
            view: View::new(me, state),
            outbox: Outbox::new(options.patience),
            commands,
            events,
            queue: VecDeque::new(),
            acks,
            acks_sent: HashMap::new(),
            watched: BTreeSet::new(),
            typing: None,
            close,
            backoff: Backoff::new(options.first_wait, options.max_wait),
            last_id: 0,
        }
    }

    /// Runs until the connection ends for good. `ready` is told when the server takes part for the first time.
    pub(super) async fn run(mut self, first: Socket, ready: oneshot::Sender<()>) -> End {
        let mut socket = first;
        let mut ready = Some(ready);
        let end = loop {
            let left = self.session(socket, ready.take()).await;
            self.outbox.disconnected();
            self.acks.add(std::mem::take(&mut self.acks_sent).into_values().flatten());
            socket = match self.come_back(left).await {
                Ok(socket) => socket,
                Err(end) => break end,
            };
        };
        tracing::debug!(?end, "a connection has ended");
        self.outbox.fail(|| end.error());
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Request { reply, .. } = command {
                let _ = reply.send(Err(end.error()));
            }
        }
        self.flush_queue().await;
        end
    }

    /// Hands over what was told before the end, as long as somebody takes it.
    async fn flush_queue(&mut self) {
        while let Some(told) = self.queue.pop_front() {
            tokio::select! {
                () = self.close.cancelled() => return,
                sent = self.events.send(told) => if sent.is_err() { return },
            }
        }
    }

    /// Connects again, as often as it takes.
    async fn come_back(&mut self, left: Left) -> Result<Socket, End> {
        let (mut reason, mut refused, mut advised) = match left {
            Left::Ended(end) => return Err(end),
            Left::Lost(reason) => (reason, None, None),
            Left::Away(reason, wait) => (reason, None, Some(wait)),
            Left::Refused(token) => ("the server asks for a new token".to_owned(), Some(token), None),
        };
        let mut renewed = false;
        loop {
            if let Some(token) = refused.clone().filter(|_| !renewed) {
                let client = self.client.clone();
                match self.meanwhile(async move { client.renew(&token).await }).await? {
                    Ok(()) => renewed = true,
                    Err(error) if error.is_auth() => return Err(End::SessionEnded),
                    Err(error) => reason = error.to_string(),
                }
            }
            // With a new token there is no reason to wait, unless new tokens have not helped before.
            let helps_at_once = renewed && self.backoff.attempts() == 0;
            let wait = self.backoff.next_wait();
            // The server spreads its clients better than they do by themselves.
            let retry_in = advised.take().unwrap_or(wait);
            if !helps_at_once {
                self.tell(ServerEvent::Disconnected { reason: reason.clone(), retry_in });
                self.meanwhile(sleep(retry_in)).await?;
            }
            let client = self.client.clone();
            match self.meanwhile(async move { client.dial().await }).await? {
                Ok(socket) => return Ok(socket),
                Err(DialError::Refused(_)) if renewed => return Err(End::SessionEnded),
                Err(DialError::Refused(token)) => (reason, refused) = ("the access token is refused".to_owned(), Some(token)),
                Err(DialError::Failed(error)) if error.is_auth() => return Err(End::SessionEnded),
                Err(DialError::Failed(error)) => (reason, refused, renewed) = (error.to_string(), None, false),
            }
        }
    }

    /// Waits for something while there is no socket; requests are taken in and events handed over meanwhile.
    async fn meanwhile<T>(&mut self, wanted: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(wanted);
        let events = self.events.clone();
        loop {
            self.outbox.expire(Instant::now());
            let wake_at = self.outbox.wake_at();
            tokio::select! {
                () = self.close.cancelled() => return Err(End::Closed),
                result = &mut wanted => return Ok(result),
                command = self.commands.recv(), if !self.outbox.is_full() => match command {
                    Some(command) => self.take_in(command),
                    None => return Err(End::Closed),
                },
                permit = events.reserve(), if !self.queue.is_empty() => match permit {
                    Ok(permit) => hand_over(&mut self.queue, permit),
                    Err(_) => return Err(End::Closed),
                },
                () = sleep_until_some(wake_at) => {}
            }
            // Nobody is told of typing that was.
            self.typing = None;
        }
    }

    pub(super) fn take_in(&mut self, command: Command) {
        match command {
            Command::Typing { chat, is_typing } => self.typing = Some((chat, is_typing)),
            Command::Request { request, reply } => {
                match &request {
                    Request::Watch(users) => self.watched.extend(users),
                    Request::Unwatch(users) => self.watched.retain(|user| !users.contains(user)),
                    Request::Send { .. } | Request::Read { .. } => {}
                }
                let id = self.new_id();
                self.outbox.push(id, request, reply, Instant::now());
            }
        }
    }

    pub(super) const fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Tells something that no chat's position depends on; dropped where too much waits already.
    pub(super) fn tell(&mut self, event: ServerEvent) {
        self.queue.extend(self.view.take());
        if self.queue.len() < MAX_QUEUED {
            self.queue.push_back(Told { event: Some(event), position: None });
        }
    }
}

/// Gives the user the oldest event.
pub(super) fn hand_over(queue: &mut VecDeque<Told>, permit: mpsc::Permit<'_, Told>) {
    if let Some(told) = queue.pop_front() {
        permit.send(told);
    }
}

/// Sleeps until then; for ever without a time.
pub(super) async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
