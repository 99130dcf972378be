//! Who gets an event, decided at the moment it is fanned out: by membership, blocks and privacy as they are then
//! (contract, section 7). What cannot be looked up is not sent.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::people::People;
use super::presence::is_typing_withheld;
use crate::api::FanOutApi;
use crate::chat::{ChatKind, Membership};
use crate::error::Result;
use crate::event::{Audience, Event, Fact, MessageStatus};
use crate::faults::planted;
use crate::id::{ChatId, UserId};
use crate::message::Seq;
use crate::ports::{ChatStore, ContactStore, UserStore};
use crate::privacy::{Field, may_see_reads};
use crate::receipt::Status;

/// What the fan-out service stands on.
#[derive(Clone)]
pub struct FanOutDeps {
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
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
            // Those let in after it do not see it.
            Fact::MessageNew(new) => present.filter(|member| member.joined_seq < new.message.seq).map(|member| member.user_id).collect(),
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

#[async_trait]
impl FanOutApi for FanOutService {
    async fn recipients(&self, event: &Event, watchers: &[UserId]) -> Result<Vec<UserId>> {
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
}
