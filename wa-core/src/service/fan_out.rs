//! Who gets an event, decided at the moment it is fanned out: by membership, blocks and privacy as they are then
//! (contract, section 7). What cannot be looked up is not sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::access::reaches;
use super::attachments::Attachments;
use super::people::People;
use super::presence::is_typing_withheld;
use crate::api::{FanOutApi, Share};
use crate::chat::{ChatKind, Member, Membership};
use crate::error::Result;
use crate::event::{Audience, Event, Fact, MessageDeleted, MessageEdited, MessageNew, MessageReaction, MessageStatus};
use crate::faults::planted;
use crate::id::{ChatId, UserId};
use crate::message::{MessageKind, MessageView, Seq};
use crate::ports::{ChatStore, ContactStore, MessageStore, UserStore};
use crate::privacy::{Field, may_see_reads};
use crate::receipt::{Located, Status};

/// What the fan-out service stands on.
#[derive(Clone)]
pub struct FanOutDeps {
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
    /// The log of every chat.
    pub messages: Arc<dyn MessageStore>,
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Files in messages.
    pub attachments: Arc<Attachments>,
}

impl fmt::Debug for FanOutDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FanOutDeps")
    }
}

/// Resolves audiences.
#[derive(Debug, Clone)]
pub struct FanOutService {
    deps: FanOutDeps,
    people: People,
}

impl FanOutService {
    /// Fan-out over these ports.
    #[must_use]
    pub fn new(deps: FanOutDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts));
        Self { deps, people }
    }

    async fn chat(&self, event: &Event, chat: ChatId, except: Option<UserId>) -> Result<Vec<UserId>> {
        let Some(membership) = self.deps.chats.membership(chat).await? else {
            return Ok(Vec::new());
        };
        let present = membership.everyone().filter(|member| Some(member.user_id) != except);
        Ok(match &event.fact {
            Fact::MessageNew(_) if planted("left_still_told") => membership.members.keys().copied().filter(|user| Some(*user) != except).collect(),
            // Those let in after it do not see it, and so nothing that becomes of it.
            Fact::MessageNew(MessageNew { message, .. }) => present_at(present, message.seq),
            Fact::MessageEdited(MessageEdited { message, hidden_by, .. }) => {
                present_at(present.filter(|member| !hidden_by.contains(&member.user_id)), message.seq)
            }
            Fact::MessageDeleted(MessageDeleted { seq, .. }) | Fact::MessageReaction(MessageReaction { seq, .. }) => present_at(present, *seq),
            Fact::Typing { .. } if is_typing_withheld(&membership) => Vec::new(),
            // Nobody is bothered with an empty chat by someone they have blocked; once it is of use, the list has it.
            Fact::ChatCreated { created_by, .. } if membership.kind == ChatKind::Direct => {
                present.filter(|member| member.user_id == *created_by || !member.has_blocked).map(|member| member.user_id).collect()
            }
            // Who came later is told of their own joining.
            Fact::ChatCreated { .. } => present.filter(|member| member.joined_seq == Seq::ZERO).map(|member| member.user_id).collect(),
            _ => present.map(|member| member.user_id).collect(),
        })
    }

    /// Everybody present, and this one, present or not.
    async fn chat_and(&self, chat: ChatId, user: UserId) -> Result<Vec<UserId>> {
        let membership = self.deps.chats.membership(chat).await?;
        let others = membership.iter().flat_map(|membership| membership.everyone()).map(|member| member.user_id).filter(|other| *other != user);
        Ok(others.chain([user]).collect())
    }

    /// A read is told to those senders who may know of it, and to the reader's own devices.
    async fn readers(&self, status: &MessageStatus, membership: &Membership, users: BTreeSet<UserId>) -> Result<Vec<UserId>> {
        let reader = status.user_id;
        let present: Vec<UserId> = users.into_iter().filter(|user| membership.present(*user).is_some()).collect();
        if status.status != Status::Read || present.iter().all(|user| *user == reader) {
            return Ok(present);
        }
        let mut asked = present.clone();
        asked.push(reader);
        let settings = self.people.settings(&asked).await?;
        Ok(present.into_iter().filter(|user| may_see_reads((reader, settings.get(&reader)), (*user, settings.get(user)))).collect())
    }

    async fn members(&self, event: &Event, chat: ChatId, users: Vec<UserId>) -> Result<Vec<UserId>> {
        let Some(membership) = self.deps.chats.membership(chat).await? else {
            return Ok(Vec::new());
        };
        let users: BTreeSet<UserId> = users.into_iter().collect();
        match &event.fact {
            Fact::MessageStatus(status) => self.readers(status, &membership, users).await,
            _ => Ok(users.into_iter().filter(|user| membership.present(*user).is_some()).collect()),
        }
    }
}

fn present_at<'a>(present: impl Iterator<Item = &'a Member>, seq: Seq) -> Vec<UserId> {
    present.filter(|member| member.joined_seq < seq).map(|member| member.user_id).collect()
}

/// In what a message object differs from one recipient to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    may_read_source: bool,
    sees_answered: bool,
    has_starred: bool,
    /// Whose reactions they do not see.
    unseen: Vec<UserId>,
}

impl Difference {
    fn apply(&self, message: &MessageView) -> MessageView {
        let mut message = message.clone();
        message.forwarded_from = message.forwarded_from.filter(|_| self.may_read_source);
        message.reply_to_preview = message.reply_to_preview.filter(|_| self.sees_answered);
        message.is_starred = self.has_starred;
        message.reactions.retain(|reaction| !self.unseen.contains(&reaction.user_id));
        message
    }
}

#[async_trait]
impl FanOutApi for FanOutService {
    async fn recipients(&self, event: &Event, watchers: &[UserId]) -> Result<Vec<UserId>> {
        // So that what follows in the chat is for those who are in it by then, whichever process changed that. In the log of
        // messages it is the server's own note that tells.
        match &event.fact {
            Fact::MemberAdded(added) => self.deps.chats.changed(added.chat_id),
            Fact::MemberRemoved(removed) => self.deps.chats.changed(removed.chat_id),
            Fact::ChatUpdated(updated) => self.deps.chats.changed(updated.chat_id),
            Fact::MessageNew(new) if new.message.kind == MessageKind::System => self.deps.chats.changed(new.message.chat_id),
            _ => {}
        }
        match event.audience() {
            Audience::Chat { chat_id, except } => self.chat(event, chat_id, except).await,
            Audience::ChatAnd { chat_id, user_id } => self.chat_and(chat_id, user_id).await,
            Audience::MembersOf { chat_id, users } => self.members(event, chat_id, users).await,
            Audience::Watchers(owner) => {
                let watchers: BTreeSet<UserId> = watchers.iter().copied().collect();
                self.people.viewers_of(owner, Field::Presence, &watchers.into_iter().collect::<Vec<_>>()).await
            }
            Audience::Devices(_) => Ok(Vec::new()),
        }
    }

    async fn shares(&self, event: &Event, recipients: &[UserId]) -> Result<Vec<Share>> {
        let (message, answered, unseen, starred_by) = match &event.fact {
            Fact::MessageNew(new) => (&new.message, new.answered, &[][..], &[][..]),
            Fact::MessageEdited(edited) => (&edited.message, edited.answered, &edited.withheld_reactions[..], &edited.starred_by[..]),
            _ => return Ok(Vec::new()),
        };
        // Once for everybody: an address of a file is the same for all who may see the message.
        let message = &self.deps.attachments.enriched(message).await;
        if message.forwarded_from.is_none() && answered.is_none() && unseen.is_empty() && starred_by.is_empty() {
            return Ok(vec![Share { message: Arc::clone(message), users: recipients.to_vec() }]);
        }
        let membership = self.deps.chats.membership(message.chat_id).await?;
        let source = match message.forwarded_from {
            Some(source) => self.deps.messages.locate(&[source.message_id]).await?.into_iter().next(),
            None => None,
        };
        let source_membership = match source {
            Some(source) => self.deps.chats.membership(source.chat_id).await?,
            None => None,
        };
        let sees = |membership: &Option<Arc<Membership>>, message: Option<Located>, user| {
            membership.as_ref().zip(message).is_some_and(|(membership, message)| reaches(membership, &message, user))
        };
        let mut groups: BTreeMap<Difference, Vec<UserId>> = BTreeMap::new();
        for user in recipients.iter().copied() {
            let difference = Difference {
                may_read_source: sees(&source_membership, source, user),
                sees_answered: sees(&membership, answered, user),
                has_starred: starred_by.contains(&user),
                unseen: unseen.iter().filter(|(_, from)| *from == user).map(|(whose, _)| *whose).collect(),
            };
            groups.entry(difference).or_default().push(user);
        }
        Ok(groups.into_iter().map(|(difference, users)| Share { message: Arc::new(difference.apply(message)), users }).collect())
    }

    async fn chats_of(&self, user: UserId) -> Result<Vec<ChatId>> {
        Ok(self.deps.chats.revs(user).await?.into_iter().map(|(chat, _)| chat).collect())
    }
}
