//! Editing, deleting for everyone and reacting: permission is decided on the present membership, and the store refuses the
//! change if that membership has changed by then.

use serde_json::Value;

use super::MessageService;
use super::send::{known_mentions, permission};
use crate::chat::{ChatKind, Role};
use crate::emoji::Emoji;
use crate::error::{Conflict, Denied, Error, Missing, Result};
use crate::event::{MessageDeleted, MessageReaction};
use crate::faults::planted;
use crate::id::{ConnectionId, MessageId};
use crate::message::{Message, MessageKind, MessageView};
use crate::ports::{Change, Edit, EnvExt, Outcome};
use crate::service::access::{Access, enter_by};
use crate::session::Caller;

/// A message as somebody finds it who wants to change it.
pub(super) struct Reached {
    pub(super) access: Access,
    pub(super) message: Message,
}

impl Reached {
    /// Notes of the server stay as they are.
    pub(super) fn no_system(&self) -> Result<()> {
        match self.message.kind {
            MessageKind::System => Err(Error::Denied(Denied::Forbidden("System messages cannot be changed or sent on"))),
            _ => Ok(()),
        }
    }
}

pub(super) const fn tombstone() -> Error {
    Error::Conflict(Conflict::State("This message was deleted"))
}

pub(super) fn restless() -> Error {
    Error::unavailable("the membership of the chat kept changing")
}

impl MessageService {
    /// What a change came to. `None`: decide it anew.
    pub(super) fn settled<T>(&self, reached: &Reached, outcome: Outcome<T>) -> Result<Option<T>> {
        match outcome {
            Outcome::Made(result) | Outcome::Unchanged(result) => Ok(Some(result)),
            Outcome::Absent => Err(Error::not_found(Missing::Message)),
            Outcome::Deleted => Err(tombstone()),
            Outcome::MembershipChanged => {
                self.deps.chats.changed(reached.message.chat_id);
                Ok(None)
            }
        }
    }

    /// A message that the request names, if the caller can see it.
    pub(super) async fn reach(&self, caller: &Caller, id: MessageId) -> Result<Reached> {
        let (access, _) = enter_by(&*self.deps.chats, self.locate(id).await?, caller.user_id).await?;
        let message = self.deps.messages.get(&access.viewer(self.deps.env.now()), &[id]).await?.into_iter().next();
        Ok(Reached { message: message.ok_or(Error::not_found(Missing::Message))?, access })
    }

    /// A change of this message on the membership that was looked at.
    pub(super) fn change(&self, reached: &Reached, origin: Option<ConnectionId>) -> Change {
        Change {
            viewer: reached.access.viewer(self.deps.env.now()),
            message_id: reached.message.id,
            membership_version: reached.access.membership.version,
            event_id: self.deps.env.new_id(),
            origin,
        }
    }

    pub(super) async fn edit_message(&self, caller: &Caller, id: MessageId, payload: &Value, origin: Option<ConnectionId>) -> Result<MessageView> {
        for _ in 0..self.deps.limits.send_decisions {
            let reached = self.reach(caller, id).await?;
            reached.no_system()?;
            let Reached { access, message } = &reached;
            let Some(content) = &message.content else { return Err(tombstone()) };
            if message.sender_id != caller.user_id {
                return Err(Error::Denied(Denied::Forbidden("Only its sender may edit a message")));
            }
            if self.deps.env.now().since(message.created_at) > self.deps.limits.edit_window {
                return Err(Error::Denied(Denied::Forbidden("The time in which this message could be edited is over")));
            }
            let blocker = permission(access)?;
            let content = content.edited(payload, &self.deps.limits)?;
            known_mentions(&content, &access.membership)?;
            // The other side never saw a message that was withheld from them; of another one they go on seeing what it said.
            let withheld_from = blocker.filter(|_| message.withheld_from.is_none());
            let reply = match message.reply_to {
                Some(answered) => self.answered(access, answered).await?,
                None => None,
            };
            let change = self.change(&reached, origin);
            if let Some(message) = self.settled(&reached, self.deps.changes.edit(change, Edit { content, withheld_from, reply }).await?)? {
                return self.views(&reached.access, vec![message]).await?.pop().ok_or(Error::not_found(Missing::Message));
            }
        }
        Err(restless())
    }

    pub(super) async fn bury(&self, caller: &Caller, id: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
        for _ in 0..self.deps.limits.send_decisions {
            let reached = self.reach(caller, id).await?;
            reached.no_system()?;
            let Reached { access, message } = &reached;
            if message.sender_id != caller.user_id {
                let is_admin = access.membership.kind == ChatKind::Group && access.member()?.role == Role::Admin;
                if !is_admin && !planted("anybody_buries") {
                    return Err(Error::Denied(Denied::Forbidden("Only its sender, or an admin of the group, may delete a message for everyone")));
                }
            }
            if let Some(deleted) = self.settled(&reached, self.deps.changes.delete(self.change(&reached, origin)).await?)? {
                return Ok(MessageDeleted {
                    message_id: id,
                    chat_id: message.chat_id,
                    seq: deleted.seq,
                    rev: deleted.rev,
                    deleted_by: caller.user_id,
                    for_everyone: true,
                    withheld_from: message.withheld_from,
                    origin,
                });
            }
        }
        Err(restless())
    }

    pub(super) async fn set_reaction(&self, caller: &Caller, id: MessageId, emoji: Option<&str>, origin: Option<ConnectionId>) -> Result<MessageReaction> {
        let emoji = match emoji {
            Some(text) => Some(Emoji::parse(text).ok_or_else(|| Error::invalid("emoji", format!("must be one emoji of at most {} bytes", Emoji::LONGEST)))?),
            None => None,
        };
        for _ in 0..self.deps.limits.send_decisions {
            let reached = self.reach(caller, id).await?;
            reached.no_system()?;
            let Reached { access, message } = &reached;
            let done = |seq, rev, withheld_from| MessageReaction {
                message_id: id,
                chat_id: message.chat_id,
                seq,
                rev,
                user_id: caller.user_id,
                emoji: emoji.clone(),
                withheld_from,
                origin,
            };
            // A tombstone has no reaction that could be taken back.
            if message.is_deleted() && emoji.is_none() {
                return Ok(done(message.seq, message.rev, message.withheld_from));
            }
            // Reactions are for everybody who is in, also where only admins send; but not past a block.
            let withheld_from = match access.membership.kind {
                _ if planted("reaction_past_block") => None,
                ChatKind::Direct if emoji.is_some() => permission(access)?,
                ChatKind::Direct | ChatKind::Group => None,
            };
            let change = self.change(&reached, origin);
            if let Some(reacted) = self.settled(&reached, self.deps.annotations.react(change, emoji.clone(), withheld_from).await?)? {
                return Ok(done(reacted.seq, reacted.rev, withheld_from.or(message.withheld_from)));
            }
        }
        Err(restless())
    }
}
