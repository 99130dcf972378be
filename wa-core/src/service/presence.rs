//! Who is there and who is typing (contract, sections 3.3, 3.6, 7 and 10). What is said here is transient: it is sent
//! straight to the bus, and may be lost.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::access::enter;
use super::people::People;
use crate::api::PresenceApi;
use crate::chat::{ChatKind, Membership};
use crate::error::{Error, Result, StoreErrorKind};
use crate::event::{Event, Fact};
use crate::id::{ChatId, ConnectionId, UserId};
use crate::limits::Limits;
use crate::ports::{CameAndWent, ChatStore, ContactStore, Env, EnvExt, EventBus, PresenceStore, Stored, TypingStore, UserStore};
use crate::privacy::Field;
use crate::session::Caller;
use crate::user::PresenceView;

/// Users who are announced at a time, when many come or go at once.
const ANNOUNCED_AT_A_TIME: usize = 256;

/// What the presence service stands on.
#[derive(Clone)]
pub struct PresenceDeps {
    /// Who is connected.
    pub presence: Arc<dyn PresenceStore>,
    /// Who is typing.
    pub typing: Arc<dyn TypingStore>,
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Who is told.
    pub bus: Arc<dyn EventBus>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Limits.
    pub limits: Arc<Limits>,
}

impl fmt::Debug for PresenceDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresenceDeps")
    }
}

/// Presence and typing.
#[derive(Debug, Clone)]
pub struct PresenceService {
    deps: PresenceDeps,
    people: People,
}

/// Whether typing is kept from the other side of a direct chat: either has blocked the other.
pub(super) fn is_typing_withheld(membership: &Membership) -> bool {
    membership.kind == ChatKind::Direct && membership.everyone().any(|member| member.has_blocked)
}

impl PresenceService {
    /// Presence over these ports.
    #[must_use]
    pub fn new(deps: PresenceDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts));
        Self { deps, people }
    }

    async fn announce(&self, facts: impl IntoIterator<Item = Fact>) -> Result<()> {
        let env = &self.deps.env;
        let events: Vec<Arc<Event>> = facts.into_iter().map(|fact| Arc::new(Event { id: env.new_id(), at: env.now(), fact, cause: env.cause() })).collect();
        if events.is_empty() {
            return Ok(());
        }
        Ok(self.deps.bus.publish(&events).await?)
    }

    /// Notes and announces what was found out of itself.
    async fn announce_changes(&self, changes: CameAndWent) -> Result<()> {
        let now = self.deps.env.now();
        for went in changes.went.chunks(ANNOUNCED_AT_A_TIME) {
            let seen: Vec<_> = went.iter().map(|user| (*user, now)).collect();
            let noted = self.deps.users.set_last_seen(&seen).await;
            self.announce(went.iter().map(|user_id| Fact::Presence { user_id: *user_id, online: false, last_seen: Some(now) })).await?;
            noted?;
        }
        for came in changes.came.chunks(ANNOUNCED_AT_A_TIME) {
            let users = self.deps.users.get(came).await?;
            self.announce(users.iter().map(|user| Fact::Presence { user_id: user.id, online: true, last_seen: user.last_seen })).await?;
        }
        Ok(())
    }
}

/// An answer that a store cannot give now is none: what is said here may be lost.
fn unless_away<T>(answer: Stored<T>) -> Stored<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind == StoreErrorKind::Unavailable => {
            tracing::debug!(%error, "presence and typing are not known");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[async_trait]
impl PresenceApi for PresenceService {
    async fn connected(&self, caller: &Caller, connection: ConnectionId) -> Result<()> {
        let user_id = caller.user_id;
        if !self.deps.presence.connect(user_id, connection).await? {
            return Ok(());
        }
        let last_seen = self.deps.users.get(&[user_id]).await?.first().and_then(|user| user.last_seen);
        self.announce([Fact::Presence { user_id, online: true, last_seen }]).await
    }

    async fn disconnected(&self, caller: &Caller, connection: ConnectionId) -> Result<()> {
        let user_id = caller.user_id;
        if !self.deps.presence.disconnect(user_id, connection).await? {
            return Ok(());
        }
        let now = self.deps.env.now();
        let noted = self.deps.users.set_last_seen(&[(user_id, now)]).await;
        // Told even if it could not be noted: that they went is true all the same.
        self.announce([Fact::Presence { user_id, online: false, last_seen: Some(now) }]).await?;
        Ok(noted?)
    }

    async fn see(&self, caller: &Caller, users: &[UserId]) -> Result<Vec<PresenceView>> {
        let most = self.deps.limits.presence_subscriptions;
        if users.len() > most {
            return Err(Error::invalid("user_ids", format!("must have at most {most} entries")));
        }
        let mut seen = self.people.seen_by(caller.user_id, users).await?;
        seen.retain(|_, seen| !seen.user.is_deleted && seen.may_see(Field::Presence));
        let shown: Vec<UserId> = seen.keys().copied().collect();
        let online = if shown.is_empty() { Some(Vec::new()) } else { unless_away(self.deps.presence.online(&shown).await)? };
        // Who may be online now was not last seen then: what is not known is shown as what is hidden.
        let view = |user_id: &UserId| match (seen.get(user_id), &online) {
            (Some(seen), Some(online)) => PresenceView { user_id: *user_id, online: online.contains(user_id), last_seen: seen.user.last_seen },
            _ => PresenceView::hidden(*user_id),
        };
        Ok(users.iter().map(view).collect())
    }

    async fn typing(&self, caller: &Caller, chat: ChatId, is_typing: bool) -> Result<()> {
        let user_id = caller.user_id;
        let access = enter(&*self.deps.chats, chat, user_id).await?;
        if is_typing && is_typing_withheld(&access.membership) {
            // Neither side learns of the block by it.
            return Ok(());
        }
        let is_news = if is_typing {
            let until = self.deps.env.now().after(self.deps.limits.typing_ttl);
            unless_away(self.deps.typing.start(chat, user_id, until).await)?
        } else {
            unless_away(self.deps.typing.stop(chat, user_id).await)?
        };
        self.announce((is_news == Some(true)).then_some(Fact::Typing { chat_id: chat, user_id, is_typing })).await
    }

    async fn expire_typing(&self) -> Result<()> {
        let expired = self.deps.typing.take_expired(self.deps.env.now()).await?;
        self.announce(expired.into_iter().map(|(chat_id, user_id)| Fact::Typing { chat_id, user_id, is_typing: false })).await
    }

    async fn renew(&self) -> Result<()> {
        let changes = self.deps.presence.renew().await?;
        self.announce_changes(changes).await
    }

    async fn expire(&self) -> Result<()> {
        let changes = self.deps.presence.expire().await?;
        self.announce_changes(changes).await
    }
}
