//! Keeps the search index up with the log in the background: in quiet moments, in large batches, and for no more than a
//! small share of the writer's time. It is told by events which chats changed; at its start it looks at all of them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;
use wa_core::event::{Audience, Event, Fact};
use wa_core::id::ChatId;
use wa_core::ports::{EventHandler, Stored};

use super::search_store::{BATCH, SqlSearchStore};

/// How long nothing must have happened before the index follows, and after how long it does so all the same. Nobody waits
/// for it: what it lacks is taken in when somebody searches.
const QUIET: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often messages that expired are looked for, and chats that are gone or were missed.
const SWEEP: Duration = Duration::from_secs(30);
const LOOK_AT_ALL: Duration = Duration::from_secs(3600);

/// Of the time that passes, one part in so many goes into the index while others want to write.
const SHARE: u32 = 8;

/// Chats that changed and are remembered one by one; past that, all are looked at.
const REMEMBERED: usize = 10_000;

/// Chats looked at in one query.
const LOOKED_AT: usize = 1000;

/// Chats taken at a time.
const CHATS: usize = 64;

/// Follows the log. Subscribe it to the event bus, and have exactly one [`Self::run`] under way.
#[derive(Debug)]
pub struct Indexer {
    store: Arc<SqlSearchStore>,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

/// What there is to do.
#[derive(Debug, Default)]
struct Waiting {
    chats: HashSet<ChatId>,
    /// Whether more chats changed than could be remembered.
    all: bool,
}

impl Indexer {
    pub(super) fn new(store: Arc<SqlSearchStore>) -> Self {
        Self { store, waiting: Mutex::default(), wake: Notify::new() }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Nothing in here panics half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the log for as long as it is polled. Dropping it loses nothing: another run goes on where it stood.
    pub async fn run(&self) {
        let mut all_looked_at = None;
        loop {
            if all_looked_at.is_none_or(|at: Instant| at.elapsed() >= LOOK_AT_ALL) {
                self.look_at_all().await;
                all_looked_at = Some(Instant::now());
            }
            if timeout(SWEEP, self.wake.notified()).await.is_ok() {
                self.wait_for_quiet().await;
            }
            self.repeatedly(|| self.store.remove_expired()).await;
            let (chats, all) = {
                let mut waiting = self.waiting();
                (std::mem::take(&mut waiting.chats), std::mem::take(&mut waiting.all))
            };
            if all {
                self.look_at_all().await;
            }
            self.follow(&chats.into_iter().collect::<Vec<_>>()).await;
        }
    }

    /// Takes everything in at once, without rests, and tells after how many chats it is.
    pub(crate) async fn complete(&self, told: &(dyn Fn(u64) + Send + Sync)) -> Stored<()> {
        let (mut after, mut count) = (ChatId::from_uuid(Uuid::nil()), 0);
        loop {
            let chats = self.store.behind(after, CHATS).await?;
            let Some(last) = chats.last() else { return Ok(()) };
            after = *last;
            while !self.store.catch_up(&chats, BATCH).await? {}
            count += chats.len() as u64;
            told(count);
        }
    }

    /// Whether it lacks anything.
    pub(crate) async fn is_behind(&self) -> Stored<bool> {
        Ok(!self.store.behind(ChatId::from_uuid(Uuid::nil()), 1).await?.is_empty())
    }

    async fn wait_for_quiet(&self) {
        let since = Instant::now();
        while since.elapsed() < LONGEST_WAIT && timeout(QUIET, self.wake.notified()).await.is_ok() {
            // Woken once more, at most so often.
            sleep(QUIET).await;
        }
    }

    /// Goes through every chat, also those that are gone.
    async fn look_at_all(&self) {
        let mut after = 0;
        while let Ok(Some((last, gone))) = self.store.gone(after, LOOKED_AT).await {
            self.repeatedly(|| self.store.remove_gone(&gone)).await;
            after = last;
        }
        let mut after = ChatId::from_uuid(Uuid::nil());
        loop {
            match self.store.behind(after, CHATS).await {
                Ok(chats) => {
                    let Some(last) = chats.last() else { return };
                    after = *last;
                    self.follow(&chats).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the chats that the search index lacks cannot be read; they are looked at again later");
                    return;
                }
            }
        }
    }

    async fn follow(&self, chats: &[ChatId]) {
        for chats in chats.chunks(CHATS) {
            self.repeatedly(|| self.store.catch_up(chats, BATCH)).await;
            self.repeatedly(|| self.store.remove_gone(chats)).await;
        }
    }

    /// Does the work batch by batch until it is done, resting in between.
    async fn repeatedly<Work: Future<Output = Stored<bool>>>(&self, work: impl Fn() -> Work) {
        loop {
            let start = Instant::now();
            match work().await {
                Ok(true) => return,
                Ok(false) => sleep(start.elapsed() * (SHARE - 1)).await,
                Err(error) => {
                    if !self.store.is_closed() {
                        tracing::warn!(%error, "the search index cannot follow now; it goes on later");
                    }
                    return self.waiting().all = true;
                }
            }
        }
    }
}

/// The chat whose messages may have changed.
fn changed(event: &Event) -> Option<ChatId> {
    match &event.fact {
        Fact::MessageNew(new) => Some(new.message.chat_id),
        Fact::MessageStatus(_) | Fact::Typing { .. } | Fact::Presence { .. } | Fact::SessionsRevoked { .. } => None,
        _ => match event.audience() {
            Audience::Chat { chat_id, .. } | Audience::MembersOf { chat_id, .. } => Some(chat_id),
            _ => None,
        },
    }
}

#[async_trait]
impl EventHandler for Indexer {
    async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
        let mut chats = events.iter().filter_map(|event| changed(event)).peekable();
        if chats.peek().is_none() {
            return Ok(());
        }
        {
            let mut waiting = self.waiting();
            if waiting.chats.len() < REMEMBERED {
                waiting.chats.extend(chats);
            } else {
                waiting.all = true;
            }
        }
        self.wake.notify_one();
        Ok(())
    }
}
