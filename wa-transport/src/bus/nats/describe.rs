//! What payloads tell of a chat beside the event: its name and who is in it. For consumers outside; our own ask anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wa_core::chat::{ChatKind, Membership};
use wa_core::event::{Event, Fact};
use wa_core::id::{ChatId, UserId};
use wa_core::ports::ChatStore;

use super::payload::Described;

/// How old a group's name may be, and how many are kept.
const FRESH: Duration = Duration::from_secs(5);
const KEPT: usize = 10_000;

/// Knows chats. What cannot be looked up is left out.
pub struct Directory {
    chats: Arc<dyn ChatStore>,
    names: Mutex<HashMap<ChatId, (Instant, String)>>,
}

impl Directory {
    /// Of these chats.
    #[must_use]
    pub fn new(chats: Arc<dyn ChatStore>) -> Self {
        Self { chats, names: Mutex::default() }
    }

    pub(super) async fn describe(&self, event: &Event) -> Described {
        let chat = match &event.fact {
            Fact::MessageNew(new) => new.message.chat_id,
            Fact::ChatCreated { chat_id, .. } => *chat_id,
            Fact::ChatUpdated(updated) => updated.chat_id,
            _ => return Described::default(),
        };
        let Ok(Some(membership)) = self.chats.membership(chat).await else { return Described::default() };
        match &event.fact {
            Fact::MessageNew(new) => {
                let gets = |user: &UserId| *user != new.message.sender_id && Some(*user) != new.withheld_from;
                let users = membership.everyone().filter(|member| member.joined_seq < new.message.seq).map(|member| member.user_id).filter(gets).collect();
                Described { users, chat_name: self.name(&membership).await }
            }
            _ => Described { users: membership.everyone().map(|member| member.user_id).collect(), chat_name: String::new() },
        }
    }

    async fn name(&self, membership: &Membership) -> String {
        if membership.kind == ChatKind::Direct {
            return String::new();
        }
        let chat = membership.chat_id;
        let known = |names: &HashMap<ChatId, (Instant, String)>| names.get(&chat).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, name)| name.clone());
        if let Some(name) = known(&self.names.lock().unwrap_or_else(PoisonError::into_inner)) {
            return name;
        }
        let Some(member) = membership.everyone().next() else { return String::new() };
        let found = self.chats.get(member.user_id, &[chat]).await.ok().and_then(|chats| chats.into_iter().next());
        let name = found.and_then(|listed| listed.chat.group).map(|group| group.name).unwrap_or_default();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= KEPT {
            names.clear();
        }
        names.insert(chat, (Instant::now(), name.clone()));
        name
    }
}
