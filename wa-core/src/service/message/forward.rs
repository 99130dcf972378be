//! Forwarding: every target is decided first, then all new messages are stored in one transaction, or none.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::MessageService;
use super::change::{restless, tombstone};
use super::send::permission;
use crate::api::{ForwardMessage, ForwardedMessage};
use crate::chat::Membership;
use crate::error::{Conflict, Error, Missing, Result};
use crate::id::{ChatId, MessageId, UserId};
use crate::message::{Content, Fingerprint, Mention, Source, Text};
use crate::ports::{EnvExt, Forward, Forwarded, NewMessage};
use crate::service::access::enter;
use crate::session::Caller;

impl MessageService {
    pub(super) async fn forward_message(&self, caller: &Caller, request: ForwardMessage) -> Result<Vec<ForwardedMessage>> {
        let most = self.deps.limits.forward_targets;
        if request.target_chat_ids.is_empty() || request.target_chat_ids.len() > most {
            return Err(Error::invalid("target_chat_ids", format!("must name 1 to {most} chats")));
        }
        let mut seen = BTreeSet::new();
        let targets: Vec<ChatId> = request.target_chat_ids.iter().copied().filter(|chat| seen.insert(*chat)).collect();
        let name = self.deps.names.of(caller.user_id).await?;
        for _ in 0..self.deps.limits.send_decisions {
            let reached = self.reach(caller, request.message_id).await?;
            reached.no_system()?;
            let message = &reached.message;
            let Some(content) = &message.content else { return Err(tombstone()) };
            if !self.deps.attachments.again(content).await? {
                return Err(Error::Conflict(Conflict::State("The file of this message is gone")));
            }
            // A forward of a forward names the first source.
            let source = message.forwarded_from.unwrap_or(Source { chat_id: message.chat_id, message_id: message.id });
            let mut messages = Vec::with_capacity(targets.len());
            for target in &targets {
                let access = enter(&*self.deps.chats, *target, caller.user_id).await?;
                let withheld_from = permission(&access)?;
                let membership = &access.membership;
                let created_at = self.deps.env.now();
                messages.push(NewMessage {
                    id: self.deps.env.new_id(),
                    event_id: self.deps.env.new_id(),
                    chat_id: *target,
                    chat_kind: membership.kind,
                    membership_version: membership.version,
                    sender_id: caller.user_id,
                    sender_name: name.to_string(),
                    client_msg_id: self.forward_key(caller.user_id, message.id, *target, request.key.as_deref()),
                    fingerprint: Fingerprint::of_forward(*target, message.id),
                    content: for_others(content, membership),
                    reply_to: None,
                    forwarded_from: Some(source),
                    withheld_from,
                    expires_at: membership.auto_delete_timer.lifetime().map(|lifetime| created_at.after(lifetime)),
                    created_at,
                    origin: None,
                });
            }
            let forward = Forward {
                viewer: reached.access.viewer(self.deps.env.now()),
                message_id: message.id,
                membership_version: reached.access.membership.version,
                messages,
            };
            match self.deps.changes.forward(forward).await? {
                Forwarded::Made(made) => return Ok(made.into_iter().map(|(chat_id, message_id)| ForwardedMessage { chat_id, message_id }).collect()),
                Forwarded::Absent => return Err(Error::not_found(Missing::Message)),
                Forwarded::Deleted => return Err(tombstone()),
                Forwarded::KeyConflict => return Err(Error::Conflict(Conflict::State("This key was used for another message; give every request its own"))),
                Forwarded::MembershipChanged => targets.iter().chain([&reached.message.chat_id]).for_each(|chat| self.deps.chats.changed(*chat)),
            }
        }
        Err(restless())
    }

    /// The key of a message that the server makes for a sender. Requests that name themselves get the same keys again.
    fn forward_key(&self, sender: UserId, message: MessageId, target: ChatId, key: Option<&str>) -> String {
        let id: Uuid = match key {
            None => self.deps.env.new_id(),
            Some(key) => {
                let hash = Sha256::new()
                    .chain_update(sender.as_uuid().as_bytes())
                    .chain_update(message.as_uuid().as_bytes())
                    .chain_update(target.as_uuid().as_bytes())
                    .chain_update(key)
                    .finalize();
                uuid::Builder::from_custom_bytes(std::array::from_fn(|index| hash[index])).into_uuid()
            }
        };
        format!("forward:{id}")
    }
}

/// What is said elsewhere: people who are not there are not mentioned.
fn for_others(content: &Content, membership: &Membership) -> Content {
    match content {
        Content::Text(Text { body, mentions }) => {
            let is_there = |mention: &&Mention| membership.present(mention.user_id).is_some();
            Content::Text(Text { body: body.clone(), mentions: mentions.iter().filter(is_there).cloned().collect() })
        }
        other => other.clone(),
    }
}
