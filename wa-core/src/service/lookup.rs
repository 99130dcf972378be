//! What one part of a backend asks another about without a person asking (contract, section 4). Permission is not checked here:
//! whoever asks is a service that checks it itself. What a requester is named for is shown as that user may see it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::access::enter_by;
use super::attachments::Attachments;
use super::people::People;
use crate::chat::{LastMessage, Membership};
use crate::error::{Error, Missing, Result};
use crate::id::{ChatId, MediaId, MessageId, UserId};
use crate::link::Links;
use crate::media::MediaView;
use crate::message::{Message, Seq};
use crate::ports::{ChatStore, ContactStore, Env, MessageStore, PresenceStore, UserStore, Viewer};
use crate::privacy::PrivacySettings;
use crate::receipt::Located;
use crate::time::Timestamp;
use crate::user::Profile;

/// What look-ups stand on.
#[derive(Clone)]
pub struct LookupDeps {
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Who is connected.
    pub presence: Arc<dyn PresenceStore>,
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
    /// The log of every chat.
    pub messages: Arc<dyn MessageStore>,
    /// Files and their addresses.
    pub attachments: Arc<Attachments>,
    /// Where people reach the server.
    pub links: Arc<Links>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
}

impl fmt::Debug for LookupDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupDeps")
    }
}

/// Look-ups for other services.
#[derive(Debug, Clone)]
pub struct LookupService {
    deps: LookupDeps,
    people: People,
}

impl LookupService {
    /// Look-ups over these ports.
    #[must_use]
    pub fn new(deps: LookupDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts)).linked(Arc::clone(&deps.links));
        Self { deps, people }
    }

    /// These users as the requester may see them, in the order asked for; unknown ones are left out. Without a requester, as
    /// a stranger sees them.
    ///
    /// # Errors
    /// UNAVAILABLE, INTERNAL.
    pub async fn profiles(&self, requester: Option<UserId>, ids: &[UserId]) -> Result<Vec<Profile>> {
        let stranger = UserId::from_uuid(Uuid::nil());
        let seen = self.people.seen_by(requester.unwrap_or(stranger), ids).await?;
        let mut told = BTreeSet::new();
        Ok(ids.iter().filter(|id| told.insert(**id)).filter_map(|id| seen.get(id)).map(super::people::Seen::profile).collect())
    }

    /// Whether a user is online, and when their last device went.
    ///
    /// # Errors
    /// USER_NOT_FOUND, UNAVAILABLE, INTERNAL.
    pub async fn presence(&self, user: UserId) -> Result<(bool, Option<Timestamp>)> {
        let found = self.deps.users.get(&[user]).await?.into_iter().find(|user| !user.is_deleted).ok_or(Error::not_found(Missing::User))?;
        let online = self.deps.presence.online(&[user]).await?;
        Ok((!online.is_empty(), found.last_seen))
    }

    /// A user's privacy settings.
    ///
    /// # Errors
    /// USER_NOT_FOUND, UNAVAILABLE, INTERNAL.
    pub async fn privacy(&self, user: UserId) -> Result<PrivacySettings> {
        self.known(user).await?;
        self.deps.users.privacy(&[user]).await?.remove(&user).ok_or(Error::not_found(Missing::User))
    }

    /// Notes when a user's last device went; an older time than the one noted changes nothing.
    ///
    /// # Errors
    /// USER_NOT_FOUND, UNAVAILABLE, INTERNAL.
    pub async fn set_last_seen(&self, user: UserId, at: Timestamp) -> Result<()> {
        self.known(user).await?;
        Ok(self.deps.users.set_last_seen(&[(user, at)]).await?)
    }

    /// Who is in a chat, and what they may do.
    ///
    /// # Errors
    /// CHAT_NOT_FOUND, UNAVAILABLE, INTERNAL.
    pub async fn membership(&self, chat: ChatId) -> Result<Arc<Membership>> {
        self.deps.chats.membership(chat).await?.ok_or(Error::not_found(Missing::Chat))
    }

    /// The chats a user is present in.
    ///
    /// # Errors
    /// UNAVAILABLE, INTERNAL.
    pub async fn chat_ids(&self, user: UserId) -> Result<Vec<ChatId>> {
        Ok(self.deps.chats.revs(user).await?.into_iter().map(|(chat, _)| chat).collect())
    }

    /// The newest message of each of these chats that has one.
    ///
    /// # Errors
    /// UNAVAILABLE, INTERNAL.
    pub async fn last_messages(&self, chats: &[ChatId]) -> Result<BTreeMap<ChatId, LastMessage>> {
        // Somebody from whom nothing is hidden and nothing withheld.
        let nobody = UserId::from_uuid(Uuid::nil());
        let now = self.deps.env.now();
        let viewers: Vec<Viewer> = distinct(chats).into_iter().map(|chat_id| Viewer { chat_id, user_id: nobody, above: Seq::ZERO, now }).collect();
        let summaries = if viewers.is_empty() { Vec::new() } else { self.deps.messages.summaries(&viewers).await? };
        Ok(summaries.into_iter().filter_map(|summary| Some((summary.chat_id, LastMessage::of(&summary.last_message?)))).collect())
    }

    /// How many messages a user has not read in each of these chats; those they are not in are left out. Without chats, in
    /// all of theirs.
    ///
    /// # Errors
    /// UNAVAILABLE, INTERNAL.
    pub async fn unread(&self, user: UserId, chats: &[ChatId]) -> Result<BTreeMap<ChatId, u64>> {
        let chats = if chats.is_empty() { self.chat_ids(user).await? } else { distinct(chats) };
        let now = self.deps.env.now();
        let mut viewers = Vec::with_capacity(chats.len());
        for chat_id in chats {
            let Some(membership) = self.deps.chats.membership(chat_id).await? else { continue };
            let Some(member) = membership.present(user) else { continue };
            viewers.push(Viewer { chat_id, user_id: user, above: member.joined_seq, now });
        }
        let mut counts: BTreeMap<ChatId, u64> = viewers.iter().map(|viewer| (viewer.chat_id, 0)).collect();
        if !viewers.is_empty() {
            counts.extend(self.deps.messages.summaries(&viewers).await?.into_iter().map(|summary| (summary.chat_id, summary.unread)));
        }
        Ok(counts)
    }

    /// These files with fresh addresses, in the order asked for; unknown ones are left out.
    ///
    /// # Errors
    /// UNAVAILABLE, INTERNAL.
    pub async fn files(&self, ids: &[MediaId]) -> Result<Vec<MediaView>> {
        let found = self.deps.attachments.of(&ids.iter().copied().collect()).await?;
        let mut told = BTreeSet::new();
        Ok(ids.iter().filter(|id| told.insert(**id)).filter_map(|id| found.get(id)).map(|attached| attached.view.clone()).collect())
    }

    /// Where a message stands that this user can reach.
    ///
    /// # Errors
    /// MESSAGE_NOT_FOUND, NOT_CHAT_MEMBER, UNAVAILABLE, INTERNAL.
    pub async fn locate(&self, user: UserId, message: MessageId) -> Result<Located> {
        let located = self.deps.messages.locate(&[message]).await?.into_iter().next();
        Ok(enter_by(&*self.deps.chats, located, user).await?.1)
    }

    /// A message that somebody sent.
    ///
    /// # Errors
    /// MESSAGE_NOT_FOUND, UNAVAILABLE, INTERNAL.
    pub async fn sent(&self, sender: UserId, chat_id: ChatId, message: MessageId) -> Result<Message> {
        let viewer = Viewer { chat_id, user_id: sender, above: Seq::ZERO, now: self.deps.env.now() };
        self.deps.messages.get(&viewer, &[message]).await?.into_iter().next().ok_or(Error::not_found(Missing::Message))
    }

    /// What time it is here.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.deps.env.now()
    }

    async fn known(&self, user: UserId) -> Result<()> {
        match self.deps.users.get(&[user]).await?.iter().any(|user| !user.is_deleted) {
            true => Ok(()),
            false => Err(Error::not_found(Missing::User)),
        }
    }
}

fn distinct(chats: &[ChatId]) -> Vec<ChatId> {
    chats.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
}
