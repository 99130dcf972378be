//! The log of every chat.

use async_trait::async_trait;

use super::Stored;
use crate::chat::ChatKind;
use crate::id::{ChatId, ConnectionId, EventId, MessageId, UserId};
use crate::message::{Content, Fingerprint, Message, ReplyPreview, Rev, Seq, Source};
use crate::receipt::Located;
use crate::star::StarMark;
use crate::time::Timestamp;

/// A message to be stored, and what its event tells beyond the message itself.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// The id of its event.
    pub event_id: EventId,
    /// The chat.
    pub chat_id: ChatId,
    /// Direct or group.
    pub chat_kind: ChatKind,
    /// The version of the chat's membership on which sending was allowed; [`Membership::NO_VERSION`] to store nothing and
    /// only ask for a repeat.
    ///
    /// [`Membership::NO_VERSION`]: crate::chat::Membership::NO_VERSION
    pub membership_version: i64,
    /// The sender.
    pub sender_id: UserId,
    /// What the sender is called.
    pub sender_name: String,
    /// The sender's own key.
    pub client_msg_id: String,
    /// Tells a repeat from another message under the same key.
    pub fingerprint: Fingerprint,
    /// What it says.
    pub content: Content,
    /// The message it answers.
    pub reply_to: Option<Reply>,
    /// Where it was forwarded from.
    pub forwarded_from: Option<Source>,
    /// Who never sees it.
    pub withheld_from: Option<UserId>,
    /// When it disappears.
    pub expires_at: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The socket it came over.
    pub origin: Option<ConnectionId>,
}

/// The message that another one answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// A line of it.
    pub preview: ReplyPreview,
    /// Where it stands: the line is for those who can see it there.
    pub at: Located,
}

/// What came of an append.
#[derive(Debug, Clone, PartialEq)]
pub enum Appended {
    /// It is stored, durably, at this place.
    Stored(Message),
    /// The same message was stored before under the same key; this is it as it is now. Nothing was written.
    Duplicate(Message),
    /// The key was used for another message. Nothing was written.
    KeyConflict,
    /// The membership is no longer of that version: decide again on the present one. Nothing was written.
    MembershipChanged,
}

/// Somebody looking at a chat: what they may see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// The chat.
    pub chat_id: ChatId,
    /// Who looks.
    pub user_id: UserId,
    /// Only what stands above this place.
    pub above: Seq,
    /// Only what has not expired by now.
    pub now: Timestamp,
}

/// Which messages of a chat a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The newest, newest first.
    Newest,
    /// Those below this place, newest first.
    Before(Seq),
    /// Those above this place, oldest first.
    After(Seq),
}

/// What changed in a chat above a revision.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changed {
    /// The messages whose row changed, oldest change first.
    pub messages: Vec<Message>,
    /// The messages the viewer deleted for themselves.
    pub hidden: Vec<MessageId>,
    /// The messages the viewer starred, or took the star from.
    pub stars: Vec<StarMark>,
    /// The revision up to which this is complete.
    pub complete_to: Rev,
    /// Whether more changes lie between there and the chat's revision.
    pub limited: bool,
}

/// What waits for a user.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Undelivered {
    /// Messages nobody's device of theirs has confirmed, oldest first in each chat.
    pub messages: Vec<Message>,
    /// The chats in which more of them wait.
    pub more_in: Vec<ChatId>,
}

/// What the chat list tells of a chat's messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The chat.
    pub chat_id: ChatId,
    /// The newest message the viewer can see.
    pub last_message: Option<Message>,
    /// How many messages of others the viewer has not read.
    pub unread: u64,
}

/// A change to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// The place of the message.
    pub seq: Seq,
    /// The revision the change took.
    pub rev: Rev,
}

/// The log of every chat.
///
/// * `the_first_message_of_a_chat_takes_seq_one`
/// * `concurrent_appends_leave_no_gap_and_no_repeat`
/// * `a_retried_append_stores_nothing_new`
/// * `a_repeat_is_answered_whatever_the_membership`
/// * `a_key_used_for_another_message_is_a_conflict`
/// * `keys_of_different_senders_do_not_meet`
/// * `an_append_on_an_old_membership_stores_nothing`
/// * `every_append_takes_the_next_rev`
/// * `a_stored_message_leaves_one_event`
/// * `a_page_is_ordered_and_bounded`
/// * `a_page_after_a_seq_is_oldest_first`
/// * `a_viewer_sees_only_what_stands_above_their_joining`
/// * `a_withheld_message_is_never_shown_to_whom_it_is_withheld_from`
/// * `an_expired_message_is_not_shown`
/// * `a_hidden_message_is_hidden_for_its_user_only`
/// * `hiding_twice_changes_nothing`
/// * `changes_come_in_the_order_of_their_rev`
/// * `a_limited_answer_continues_without_loss`
/// * `undelivered_messages_come_oldest_first_per_chat`
/// * `undelivered_messages_past_the_limit_are_announced`
/// * `delivered_messages_are_not_undelivered`
/// * `unread_counts_only_what_others_sent_and_is_visible`
/// * `content_of_every_type_reads_back`
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Stores a message durably: gives it the next place and revision of its chat and writes its event, in one
    /// transaction. When this returns `Stored`, the message survives a crash. The sender's key is looked up before the
    /// membership's version is compared: whoever repeats an accepted message gets it, also when they could not send it now.
    async fn append(&self, message: NewMessage) -> Stored<Appended>;

    /// Where these messages stand; unknown ones are left out. The order is that of the ids.
    async fn locate(&self, ids: &[MessageId]) -> Stored<Vec<Located>>;

    /// Those of these messages of the viewer's chat that the viewer can see, in no order.
    async fn get(&self, viewer: &Viewer, ids: &[MessageId]) -> Stored<Vec<Message>>;

    /// A page of the messages the viewer can see, at most `limit`.
    async fn page(&self, viewer: &Viewer, page: Page, limit: usize) -> Stored<Vec<Message>>;

    /// What the viewer can see of the changes above `since`, at most `limit` messages.
    async fn changed(&self, viewer: &Viewer, since: Rev, limit: usize) -> Stored<Changed>;

    /// The messages that wait for this user over all their chats, at most `limit`.
    async fn undelivered(&self, user: UserId, now: Timestamp, limit: usize) -> Stored<Undelivered>;

    /// What the chat list tells of these chats; all viewers are of one user.
    async fn summaries(&self, viewers: &[Viewer]) -> Stored<Vec<Summary>>;

    /// Hides a message from the viewer alone, for ever, and writes the event for their other devices. One that was hidden
    /// before stays as it is, without an event; `None` if it cannot be seen.
    async fn hide(&self, viewer: &Viewer, id: MessageId, event_id: EventId, origin: Option<ConnectionId>) -> Stored<Option<Revision>>;
}
