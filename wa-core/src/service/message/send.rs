//! Sending: the request is checked, permission is decided on the present membership, and the store refuses the append if
//! that membership has changed by then.

use super::MessageService;
use crate::api::{SendMessage, Sent};
use crate::chat::{ChatKind, Membership, Role};
use crate::error::{Denied, Error, FieldError, Missing, Result};
use crate::faults::planted;
use crate::id::{ChatId, ConnectionId, MessageId, UserId};
use crate::limits::Limits;
use crate::media::MediaKind;
use crate::message::{Content, Fingerprint, Message, MessageView};
use crate::ports::{Appended, EnvExt, NewMessage, Reply};
use crate::receipt::Status;
use crate::service::access::{Access, enter};
use crate::service::attachments::without_file;
use crate::session::Caller;

/// A request whose fields are in order.
struct Draft {
    chat_id: ChatId,
    client_msg_id: String,
    content: Content,
    fingerprint: Fingerprint,
    reply_to: Option<MessageId>,
    origin: Option<ConnectionId>,
}

impl Draft {
    fn check(message: SendMessage, limits: &Limits) -> Result<Self> {
        let mut errors = Vec::new();
        let most = limits.client_msg_id_length;
        if message.client_msg_id.is_empty() || message.client_msg_id.chars().nth(most).is_some() || message.client_msg_id.contains('\0') {
            let message = format!("must have 1 to {most} characters and no NUL character");
            errors.push(FieldError { field: "client_msg_id".to_owned(), message });
        }
        match Content::parse(&message.kind, &message.payload, limits) {
            Ok(content) if errors.is_empty() => Ok(Self {
                chat_id: message.chat_id,
                client_msg_id: message.client_msg_id,
                fingerprint: Fingerprint::of(message.chat_id, &content, message.reply_to_message_id),
                content,
                reply_to: message.reply_to_message_id,
                origin: message.origin,
            }),
            Ok(_) => Err(Error::Validation(errors)),
            Err(Error::Validation(more)) => {
                errors.extend(more);
                Err(Error::Validation(errors))
            }
            Err(error) => Err(error),
        }
    }

    fn to_message(&self, sender: UserId, sender_name: &str, decision: &Decision, ids: &(impl EnvExt + ?Sized)) -> NewMessage {
        let created_at = ids.now();
        NewMessage {
            id: ids.new_id(),
            event_id: ids.new_id(),
            chat_id: self.chat_id,
            chat_kind: decision.kind,
            membership_version: decision.version,
            sender_id: sender,
            sender_name: sender_name.to_owned(),
            client_msg_id: if planted("key_ignored") { format!("{} {}", self.client_msg_id, created_at) } else { self.client_msg_id.clone() },
            fingerprint: self.fingerprint,
            content: self.content.clone(),
            reply_to: decision.reply.clone(),
            forwarded_from: None,
            withheld_from: decision.withheld_from,
            expires_at: decision.lifetime.map(|lifetime| created_at.after(lifetime)),
            created_at,
            origin: self.origin,
        }
    }
}

/// That somebody may send, and what follows from the membership it was decided on.
struct Decision {
    kind: ChatKind,
    version: i64,
    withheld_from: Option<UserId>,
    lifetime: Option<std::time::Duration>,
    reply: Option<Reply>,
}

impl Decision {
    /// One that allows nothing: the store then looks for a repeat, and stores nothing.
    const fn to_find_a_repeat(kind: ChatKind) -> Self {
        Self { kind, version: Membership::NO_VERSION, withheld_from: None, lifetime: None, reply: None }
    }
}

/// Whether the member may send by the rules of the chat alone. Returns who never sees what they send.
pub(super) fn permission(access: &Access) -> Result<Option<UserId>> {
    let (membership, member) = (&access.membership, access.member()?);
    match membership.kind {
        ChatKind::Direct if planted("block_ignored") => Ok(None),
        ChatKind::Direct if member.has_blocked => Err(Error::Denied(Denied::UserBlocked)),
        ChatKind::Direct => Ok(membership.peer_of(member.user_id).filter(|peer| peer.has_blocked).map(|peer| peer.user_id)),
        ChatKind::Group if membership.is_admin_only && !planted("admin_only_ignored") && member.role != Role::Admin => {
            Err(Error::Denied(Denied::Forbidden("Only admins may send messages in this group")))
        }
        ChatKind::Group => Ok(None),
    }
}

/// Only people who are or were in the chat can be mentioned: one who has just left is no reason to lose a message.
pub(super) fn known_mentions(content: &Content, membership: &Membership) -> Result<()> {
    match content {
        Content::Text(text) if text.mentions.iter().any(|mention| !membership.members.contains_key(&mention.user_id)) => {
            Err(Error::invalid("payload.mentions", "must name people of this chat"))
        }
        _ => Ok(()),
    }
}

impl MessageService {
    pub(super) async fn send_message(&self, caller: &Caller, message: SendMessage) -> Result<Sent> {
        let draft = Draft::check(message, &self.deps.limits)?;
        // Left after the first try: should the membership change under it, those behind are decided anew as well.
        let mut place = Some(self.order.join(caller.user_id, draft.chat_id));
        let name = self.deps.names.of(caller.user_id).await?;
        for _ in 0..self.deps.limits.send_decisions {
            let access = match enter(&*self.deps.chats, draft.chat_id, caller.user_id).await {
                Ok(access) => access,
                Err(denied @ Error::Denied(_)) => return self.repeat_or(denied, caller.user_id, None, &draft).await,
                Err(error) => return Err(error),
            };
            let decision = match self.decide(&access, &draft).await {
                Ok(decision) => decision,
                Err(refused @ (Error::Denied(_) | Error::Validation(_))) => return self.repeat_or(refused, caller.user_id, Some(&access), &draft).await,
                Err(error) => return Err(error),
            };
            let new = draft.to_message(caller.user_id, &name, &decision, &*self.deps.env);
            let append = self.deps.messages.append(new);
            let appended = match place.take() {
                Some(place) => place.begin(append).await,
                None => append.await,
            };
            match appended? {
                Appended::Stored(message) => {
                    let preview = decision.reply.map(|reply| reply.preview);
                    let mut sent = [MessageView::of(&message, Status::Sent, preview)];
                    self.deps.attachments.enrich(&mut sent).await;
                    let [message] = sent;
                    return Ok(Sent { message, duplicate: false });
                }
                Appended::Duplicate(message) => return self.repeated(Some(&access), message).await,
                Appended::KeyConflict => {
                    return Err(Error::Conflict(crate::error::Conflict::State("This client_msg_id was used for another message; give every message its own")));
                }
                Appended::MembershipChanged => self.deps.chats.changed(draft.chat_id),
            }
        }
        Err(Error::unavailable("the membership of the chat kept changing"))
    }

    async fn decide(&self, access: &Access, draft: &Draft) -> Result<Decision> {
        let withheld_from = permission(access)?;
        let membership = &access.membership;
        known_mentions(&draft.content, membership)?;
        if let (Some(id), Some(kind)) = (draft.content.media_id(), MediaKind::of_message(draft.content.kind())) {
            self.deps.attachments.own(access.user_id(), id, kind, "payload.media_id").await?;
        }
        let reply = match draft.reply_to {
            Some(id) => {
                let unknown = || Error::invalid("reply_to_message_id", "must be a message of this chat that you can see");
                Some(self.answered(access, id).await?.ok_or_else(unknown)?)
            }
            None => None,
        };
        Ok(Decision { kind: membership.kind, version: membership.version, withheld_from, lifetime: membership.auto_delete_timer.lifetime(), reply })
    }

    /// The message that is answered, if whoever answers can see it.
    pub(super) async fn answered(&self, access: &Access, id: MessageId) -> Result<Option<Reply>> {
        let Some(answered) = self.deps.messages.get(&access.viewer(self.deps.env.now()), &[id]).await?.into_iter().next() else {
            return Ok(None);
        };
        let sender_name = self.deps.names.of(answered.sender_id).await?;
        Ok(Some(Reply { preview: answered.reply_preview(sender_name.to_string()), at: answered.located() }))
    }

    /// Who repeats a message that was accepted gets it, though they could not send it any more: they only ask what
    /// became of it. Everybody else gets the refusal.
    async fn repeat_or(&self, refusal: Error, sender: UserId, access: Option<&Access>, draft: &Draft) -> Result<Sent> {
        let kind = access.map_or(ChatKind::Direct, |access| access.membership.kind);
        let probe = draft.to_message(sender, "", &Decision::to_find_a_repeat(kind), &*self.deps.env);
        match self.deps.messages.append(probe).await? {
            Appended::Duplicate(message) => self.repeated(access, message).await,
            Appended::KeyConflict | Appended::MembershipChanged => Err(refusal),
            Appended::Stored(_) => Err(Error::internal("a message was stored on a membership that does not exist")),
        }
    }

    async fn repeated(&self, access: Option<&Access>, message: Message) -> Result<Sent> {
        let view = match access {
            Some(access) => self.views(access, vec![message]).await?.into_iter().next().ok_or(Error::not_found(Missing::Message))?,
            // Who has left learns no more of the chat than that it was sent.
            None => without_file(MessageView::of(&message, Status::Sent, None)),
        };
        Ok(Sent { message: view, duplicate: true })
    }
}
