//! Changes to messages that stand.

use async_trait::async_trait;

use super::{NewMessage, Reply, Revision, Stored, Viewer};
use crate::id::{ChatId, ConnectionId, EventId, MessageId, UserId};
use crate::message::{Content, Message};
use crate::time::Timestamp;

/// Which message is changed, by whom, and on what standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Who changes it, where, and when.
    pub viewer: Viewer,
    /// The message, which the viewer must be able to see.
    pub message_id: MessageId,
    /// The version of the chat's membership on which the change was allowed.
    pub membership_version: i64,
    /// The id of its event.
    pub event_id: EventId,
    /// The socket it came over.
    pub origin: Option<ConnectionId>,
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// It is made, durably, and announced.
    Made(T),
    /// It stood like that before. Nothing was written.
    Unchanged(T),
    /// There is no such message that the viewer can see. Nothing was written.
    Absent,
    /// The message was deleted for everyone before. Nothing was written.
    Deleted,
    /// The membership is no longer of that version: decide again on the present one. Nothing was written.
    MembershipChanged,
}

/// What a message is to say from now on.
#[derive(Debug, Clone)]
pub struct Edit {
    /// What it says.
    pub content: Content,
    /// Who goes on seeing what it said before: in a direct chat the other side, who has blocked the sender since.
    pub withheld_from: Option<UserId>,
    /// The message it answers, for the event.
    pub reply: Option<Reply>,
}

/// A message to be sent on.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Who sends it on, and where they see it.
    pub viewer: Viewer,
    /// The message.
    pub message_id: MessageId,
    /// The version of the membership of its chat on which reading it was allowed.
    pub membership_version: i64,
    /// The new messages, each decided on the membership of its own chat.
    pub messages: Vec<NewMessage>,
}

/// What came of sending a message on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarded {
    /// All new messages stand, durably: in which chats, under which ids, in the order of the request. Those that were stored
    /// before under the same keys are named as they are.
    Made(Vec<(ChatId, MessageId)>),
    /// The source cannot be seen. Nothing was written.
    Absent,
    /// The source was deleted for everyone before. Nothing was written.
    Deleted,
    /// A key was used for another message. Nothing was written.
    KeyConflict,
    /// A membership is no longer of its version: decide again. Nothing was written.
    MembershipChanged,
}

/// Changes to messages that stand. Each takes the next revision of its chat and leaves its event, in one transaction.
///
/// * `an_edit_takes_the_next_rev_and_leaves_one_event`
/// * `an_edit_that_changes_nothing_writes_nothing`
/// * `an_edit_withheld_from_somebody_is_its_senders_alone`
/// * `a_deletion_leaves_a_tombstone_without_content_reactions_and_stars`
/// * `deleting_twice_changes_nothing`
/// * `a_tombstone_is_changed_no_more`
/// * `a_change_on_an_old_membership_writes_nothing`
/// * `a_message_that_cannot_be_seen_is_not_changed`
/// * `a_forward_reaches_all_its_chats_or_none`
/// * `a_repeated_forward_stores_nothing_new`
/// * `expired_messages_are_deleted_with_all_that_hangs_on_them`
/// * `expiry_takes_no_more_than_the_limit`
#[async_trait]
pub trait ChangeStore: Send + Sync {
    /// Changes what a message says. Returns the message as its sender sees it now.
    async fn edit(&self, change: Change, edit: Edit) -> Stored<Outcome<Message>>;

    /// Deletes a message for everyone: its place stays, its content, reactions and stars go.
    async fn delete(&self, change: Change) -> Stored<Outcome<Revision>>;

    /// Stores all these messages, or none.
    async fn forward(&self, forward: Forward) -> Stored<Forwarded>;

    /// Deletes messages whose time has come, with everything that hangs on them, at most `limit` of them. Returns how many.
    async fn expire(&self, now: Timestamp, limit: usize) -> Stored<usize>;
}
