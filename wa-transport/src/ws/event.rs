//! The data of every frame the server sends (contract, section 3.4).

use bytes::Bytes;
use serde::Serialize;
use wa_core::api::Sent;
use wa_core::chat::ChatView;
use wa_core::emoji::Emoji;
use wa_core::event::{ChatChanges, ChatUpdated, MemberChanged, MessageDeleted, MessageReaction, MessageStarred, MessageStatus};
use wa_core::id::{ChatId, MessageId, UserId};
use wa_core::message::{MessageView, Rev, Seq};
use wa_core::receipt::Status;
use wa_core::time::Timestamp;

use super::frame::{ReqId, encode};

/// Data that has an event's name.
pub(super) trait ServerEvent: Serialize {
    /// The event.
    const EVENT: &'static str;

    /// Writes the frame; `None`, and an entry in the log, if the data is not JSON after all.
    fn frame(&self, req_id: Option<&ReqId>, now: Timestamp) -> Option<Bytes> {
        encode(Self::EVENT, self, req_id, now).inspect_err(|error| tracing::error!(event = Self::EVENT, %error, "a frame could not be written")).ok()
    }
}

macro_rules! server_events {
    ($($type:ty => $event:literal,)*) => {$(
        impl ServerEvent for $type {
            const EVENT: &'static str = $event;
        }
    )*};
}

server_events! {
    NewMessage<'_> => "message.new",
    SentMessage<'_> => "message.sent",
    StatusChange => "message.status",
    Deletion => "message.deleted",
    EditedMessage<'_> => "message.edited",
    ReactionChange<'_> => "message.reaction",
    StarChange => "message.starred",
    Typing => "typing",
    wa_core::user::PresenceView => "presence",
    CreatedChat<'_> => "chat.created",
    UpdatedChat<'_> => "chat.updated",
    AddedMember<'_> => "group.member.added",
    RemovedMember<'_> => "group.member.removed",
    wa_core::api::SyncAnswer => "sync.result",
    Resync<'_> => "resync",
    Pong => "pong",
    Ack => "ack",
    super::error::ErrorData<'_> => "error",
}

#[derive(Serialize)]
pub(super) struct NewMessage<'a> {
    #[serde(flatten)]
    message: &'a MessageView,
    timestamp: Timestamp,
}

impl<'a> From<&'a MessageView> for NewMessage<'a> {
    fn from(message: &'a MessageView) -> Self {
        Self { message, timestamp: message.created_at }
    }
}

#[derive(Serialize)]
pub(super) struct SentMessage<'a> {
    message_id: MessageId,
    client_msg_id: &'a str,
    chat_id: ChatId,
    seq: Seq,
    /// Beyond the contract's keys: with it the sender need not sync to know the revision of its own message.
    rev: Rev,
    timestamp: Timestamp,
    created_at: Timestamp,
    duplicate: bool,
}

impl<'a> From<&'a Sent> for SentMessage<'a> {
    fn from(Sent { message, duplicate }: &'a Sent) -> Self {
        Self {
            message_id: message.message_id,
            client_msg_id: &message.client_msg_id,
            chat_id: message.chat_id,
            seq: message.seq,
            rev: message.rev,
            timestamp: message.created_at,
            created_at: message.created_at,
            duplicate: *duplicate,
        }
    }
}

#[derive(Serialize)]
pub(super) struct StatusChange {
    chat_id: ChatId,
    message_id: MessageId,
    user_id: UserId,
    status: Status,
    timestamp: Timestamp,
    /// Beyond the contract's keys: what was delivered past a gap does not cover the gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to_message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to_seq: Option<Seq>,
}

impl StatusChange {
    pub(super) fn of(change: &MessageStatus, at: Timestamp) -> Self {
        let is_range = change.from_seq.is_some();
        Self {
            chat_id: change.chat_id,
            message_id: change.message_id,
            user_id: change.user_id,
            status: change.status,
            timestamp: at,
            from_seq: change.from_seq,
            up_to_message_id: is_range.then_some(change.message_id),
            up_to_seq: is_range.then_some(change.seq),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Deletion {
    message_id: MessageId,
    chat_id: ChatId,
    seq: Seq,
    rev: Rev,
    #[serde(rename = "for")]
    deleted_for: &'static str,
    deleted_by: UserId,
    deleted_for_everyone: bool,
    timestamp: Timestamp,
}

impl Deletion {
    pub(super) fn of(deletion: &MessageDeleted, at: Timestamp) -> Self {
        Self {
            message_id: deletion.message_id,
            chat_id: deletion.chat_id,
            seq: deletion.seq,
            rev: deletion.rev,
            deleted_for: if deletion.for_everyone { "everyone" } else { "me" },
            deleted_by: deletion.deleted_by,
            deleted_for_everyone: deletion.for_everyone,
            timestamp: at,
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct EditedMessage<'a>(pub(super) &'a MessageView);

#[derive(Serialize)]
pub(super) struct ReactionChange<'a> {
    message_id: MessageId,
    chat_id: ChatId,
    /// Beyond the contract's keys, as with a deletion: the place of the change beside its revision.
    seq: Seq,
    user_id: UserId,
    emoji: Option<&'a str>,
    removed: bool,
    rev: Rev,
    timestamp: Timestamp,
}

impl<'a> ReactionChange<'a> {
    pub(super) fn of(reaction: &'a MessageReaction, at: Timestamp) -> Self {
        Self {
            message_id: reaction.message_id,
            chat_id: reaction.chat_id,
            seq: reaction.seq,
            user_id: reaction.user_id,
            emoji: reaction.emoji.as_ref().map(Emoji::as_str),
            removed: reaction.emoji.is_none(),
            rev: reaction.rev,
            timestamp: at,
        }
    }
}

#[derive(Serialize)]
pub(super) struct StarChange {
    message_id: MessageId,
    chat_id: ChatId,
    seq: Seq,
    rev: Rev,
    is_starred: bool,
    timestamp: Timestamp,
}

impl StarChange {
    pub(super) fn of(star: &MessageStarred, at: Timestamp) -> Self {
        let MessageStarred { message_id, chat_id, seq, rev, is_starred, .. } = *star;
        Self { message_id, chat_id, seq, rev, is_starred, timestamp: at }
    }
}

#[derive(Serialize)]
pub(super) struct Typing {
    pub(super) chat_id: ChatId,
    pub(super) user_id: UserId,
    pub(super) is_typing: bool,
}

#[derive(Serialize)]
pub(super) struct CreatedChat<'a> {
    #[serde(flatten)]
    pub(super) chat: &'a ChatView,
    pub(super) created_by: UserId,
}

#[derive(Serialize)]
pub(super) struct UpdatedChat<'a> {
    chat_id: ChatId,
    changes: &'a ChatChanges,
    #[serde(flatten)]
    mirrored: &'a ChatChanges,
    updated_by: UserId,
    rev: Rev,
}

impl<'a> From<&'a ChatUpdated> for UpdatedChat<'a> {
    fn from(updated: &'a ChatUpdated) -> Self {
        Self { chat_id: updated.chat_id, changes: &updated.changes, mirrored: &updated.changes, updated_by: updated.updated_by, rev: updated.rev }
    }
}

#[derive(Serialize)]
pub(super) struct AddedMember<'a> {
    chat_id: ChatId,
    user_id: UserId,
    display_name: &'a str,
    added_by: UserId,
    rev: Rev,
}

impl<'a> From<&'a MemberChanged> for AddedMember<'a> {
    fn from(added: &'a MemberChanged) -> Self {
        Self { chat_id: added.chat_id, user_id: added.user_id, display_name: &added.display_name, added_by: added.by, rev: added.rev }
    }
}

#[derive(Serialize)]
pub(super) struct RemovedMember<'a> {
    chat_id: ChatId,
    user_id: UserId,
    display_name: &'a str,
    removed_by: UserId,
    rev: Rev,
}

impl<'a> From<&'a MemberChanged> for RemovedMember<'a> {
    fn from(removed: &'a MemberChanged) -> Self {
        Self { chat_id: removed.chat_id, user_id: removed.user_id, display_name: &removed.display_name, removed_by: removed.by, rev: removed.rev }
    }
}

#[derive(Serialize)]
pub(super) struct Resync<'a> {
    pub(super) chat_ids: &'a [ChatId],
}

#[derive(Serialize)]
pub(super) struct Pong {}

#[derive(Serialize)]
pub(super) struct Ack {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use uuid::Uuid;
    use wa_core::api::{SyncAnswer, SyncChat};
    use wa_core::chat::{AutoDeleteTimer, ChatKind, Participant, Peer, Role};
    use wa_core::error::Error;
    use wa_core::group::ProfileChange;
    use wa_core::message::{Content, MessageKind, ReplyPreview, Text};
    use wa_core::receipt::MarksView;
    use wa_core::star::StarMark;
    use wa_core::user::PresenceView;

    fn id<T: From<Uuid>>(number: u128) -> T {
        T::from(Uuid::from_u128(number))
    }

    fn message() -> MessageView {
        let at = Timestamp::from_millis(1_767_225_600_000);
        MessageView {
            message_id: id(1),
            chat_id: id(2),
            sender_id: id(3),
            client_msg_id: "key".to_owned(),
            seq: Seq::new(7),
            rev: Rev::new(9),
            kind: MessageKind::Text,
            payload: Content::Text(Text { body: "hé\"llo".to_owned(), mentions: vec![] }).payload(),
            reply_to_message_id: Some(id(4)),
            reply_to_preview: Some(ReplyPreview {
                message_id: id(4),
                sender_id: id(5),
                sender_name: "Bob".to_owned(),
                kind: MessageKind::Text,
                preview: "hi".to_owned(),
            }),
            forwarded: false,
            forwarded_from: None,
            status: Status::Sent,
            reactions: vec![],
            is_deleted: false,
            is_starred: false,
            edited_at: None,
            expires_at: None,
            created_at: at,
            updated_at: at,
        }
    }

    fn chat() -> ChatView {
        let at = Timestamp::from_millis(1_767_225_600_000);
        ChatView {
            chat_id: id(2),
            kind: ChatKind::Direct,
            name: "Bob".to_owned(),
            description: String::new(),
            avatar_url: None,
            participant: Some(Peer { id: id(5), display_name: "Bob".to_owned(), avatar_url: None }),
            participants: vec![Participant { user_id: id(5), display_name: "Bob".to_owned(), avatar_url: None, role: Role::Member, joined_at: at }],
            last_message: None,
            unread_count: 0,
            is_muted: false,
            mute_until: None,
            is_pinned: false,
            is_admin_only: false,
            auto_delete_timer: AutoDeleteTimer::Off,
            last_seq: Seq::ZERO,
            rev: Rev::new(1),
            created_at: at,
            updated_at: at,
        }
    }

    fn status(from_seq: Option<Seq>) -> StatusChange {
        let change = MessageStatus {
            chat_id: id(2),
            message_id: id(1),
            seq: Seq::new(7),
            from_seq,
            user_id: id(5),
            status: Status::Read,
            sender_ids: vec![id(3)],
            origin: None,
        };
        StatusChange::of(&change, Timestamp::from_millis(1))
    }

    fn deletion(for_everyone: bool) -> Deletion {
        let deletion = MessageDeleted {
            message_id: id(1),
            chat_id: id(2),
            seq: Seq::new(7),
            rev: Rev::new(10),
            deleted_by: id(3),
            for_everyone,
            withheld_from: None,
            origin: None,
        };
        Deletion::of(&deletion, Timestamp::from_millis(1))
    }

    fn reaction(emoji: Option<Emoji>) -> MessageReaction {
        MessageReaction { message_id: id(1), chat_id: id(2), seq: Seq::new(7), rev: Rev::new(10), user_id: id(3), emoji, withheld_from: None, origin: None }
    }

    fn renamed() -> ProfileChange {
        ProfileChange { name: Some("Friends".to_owned()), is_admin_only: Some(true), ..ProfileChange::default() }
    }

    fn updated(changes: ChatChanges) -> ChatUpdated {
        ChatUpdated { chat_id: id(2), chat_kind: ChatKind::Group, changes, updated_by: id(5), rev: Rev::new(11) }
    }

    fn member_changed() -> MemberChanged {
        MemberChanged { chat_id: id(2), user_id: id(3), display_name: "Carol".to_owned(), by: id(5), group_name: "Friends".to_owned(), rev: Rev::new(12) }
    }

    fn text(event: &impl ServerEvent) -> String {
        let frame = event.frame(None, Timestamp::from_millis(2)).expect("encodes");
        let value: Value = serde_json::from_slice(&frame).expect("JSON");
        serde_json::to_string_pretty(&value).expect("encodes")
    }

    #[test]
    fn every_server_frame_has_its_shape() {
        let sent = Sent { message: message(), duplicate: false };
        let sync = SyncAnswer {
            chats: vec![SyncChat {
                chat: chat(),
                rev: Rev::new(1),
                history_from_seq: Seq::new(1),
                messages: vec![message()],
                hidden_message_ids: vec![id(6)],
                stars: vec![StarMark { message_id: id(1), is_starred: true }],
                receipts: vec![MarksView { user_id: id(5), delivered_up_to_seq: Seq::new(7), read_up_to_seq: Seq::new(6), delivered_beyond: vec![] }],
                limited: false,
            }],
            removed_chat_ids: vec![id(8)],
            complete: true,
        };
        let frames = [
            text(&NewMessage::from(&message())),
            text(&SentMessage::from(&sent)),
            text(&status(None)),
            text(&status(Some(Seq::new(5)))),
            text(&deletion(false)),
            text(&deletion(true)),
            text(&EditedMessage(&message())),
            text(&ReactionChange::of(&reaction(Emoji::parse("👍")), Timestamp::from_millis(1))),
            text(&ReactionChange::of(&reaction(None), Timestamp::from_millis(1))),
            text(&StarChange::of(
                &MessageStarred { message_id: id(1), chat_id: id(2), seq: Seq::new(7), rev: Rev::new(10), user_id: id(3), is_starred: true },
                Timestamp::from_millis(1),
            )),
            text(&Typing { chat_id: id(2), user_id: id(5), is_typing: true }),
            text(&PresenceView { user_id: id(5), online: false, last_seen: Some(Timestamp::from_millis(1)) }),
            text(&PresenceView::hidden(id(5))),
            text(&CreatedChat { chat: &chat(), created_by: id(5) }),
            text(&UpdatedChat::from(&updated(ChatChanges { profile: renamed(), auto_delete_timer: Some(AutoDeleteTimer::Day), ..ChatChanges::default() }))),
            text(&UpdatedChat::from(&updated(ChatChanges { user_id: Some(id(3)), role: Some(Role::Admin), ..ChatChanges::default() }))),
            text(&AddedMember::from(&member_changed())),
            text(&RemovedMember::from(&member_changed())),
            text(&sync),
            text(&Resync { chat_ids: &[id(2)] }),
            text(&Pong {}),
            text(&Ack {}),
            text(&super::super::error::ErrorData::from(&Error::invalid("chat_id", "must be a UUID"))),
        ];
        insta::assert_snapshot!(frames.join("\n"));
    }
}
