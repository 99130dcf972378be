//! Groups as they are made and changed, and invites.

use async_trait::async_trait;
use std::sync::Arc;

use super::Stored;
use crate::chat::{ChatView, Role};
use crate::error::{Error, Result};
use crate::group::{Change, ChatState, InviteHash};
use crate::id::{ChatId, MessageId, UserId};
use crate::message::{Rev, System};
use crate::time::Timestamp;

/// Somebody who is in a group from the beginning.
#[derive(Debug, Clone)]
pub struct FirstMember {
    /// Who.
    pub user_id: UserId,
    /// As what.
    pub role: Role,
    /// What they are called.
    pub name: String,
}

/// A group to be made.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// The group as everybody is told of it; its id, name, description and times are those that are stored. Its first
    /// message has the place 1 and the revision 1, and its revision is [`NewGroup::REV`].
    pub view: Arc<ChatView>,
    /// Everybody in it, the one who makes it first.
    pub members: Vec<FirstMember>,
    /// Who makes it.
    pub created_by: UserId,
    /// The id of its first message.
    pub note_id: MessageId,
    /// What its first message says.
    pub note: System,
}

impl NewGroup {
    /// The revision of a new group: its first message took one, and everything else of its making another.
    pub const REV: Rev = Rev::new(2);
}

/// Decides what a command changes, from the chat as it is inside the transaction; again where that has to be done again.
pub type Decide = Arc<dyn Fn(&ChatState) -> Result<Change> + Send + Sync>;

/// A command on a chat.
#[derive(Clone)]
pub struct Command {
    /// The chat.
    pub chat_id: ChatId,
    /// Whose command it is.
    pub by: UserId,
    /// What they are called.
    pub by_name: String,
    /// When.
    pub at: Timestamp,
    /// The invite by which they come; it must still be the chat's own.
    pub invite: Option<InviteHash>,
    /// What it changes.
    pub decide: Decide,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("chat_id", &self.chat_id).field("by", &self.by).finish_non_exhaustive()
    }
}

/// What came of making or changing a group.
#[derive(Debug)]
pub enum Applied {
    /// It is so, durably.
    Done,
    /// The decision was against it, or the chat or the invite is not there. Nothing was written.
    Refused(Error),
    /// Somebody who was to come in has no account, or none any more. Nothing was written.
    UserGone,
}

/// Groups as they are made and changed, and invites. Every change is one transaction with the system messages that tell of
/// it and all their events: the messages first, then one event per change, each with a revision of its own.
///
/// * `a_new_group_has_its_members_its_first_message_and_its_events`
/// * `a_group_with_an_unknown_user_is_not_made`
/// * `a_refused_decision_writes_nothing`
/// * `a_change_takes_a_rev_for_each_message_and_step`
/// * `a_change_of_members_makes_a_new_membership_version`
/// * `concurrent_changes_are_each_decided_on_the_one_before`
/// * `a_member_sees_from_joining_on_and_a_returning_one_from_the_return_on`
/// * `an_erased_user_is_not_let_in`
/// * `properties_roles_and_timer_read_back`
/// * `the_timer_of_a_direct_chat_is_one_for_both`
/// * `the_last_member_who_leaves_ends_the_group`
/// * `an_ended_group_is_purged_in_bounded_steps`
/// * `a_new_invite_revokes_the_one_before`
/// * `a_revoked_invite_lets_nobody_in`
#[async_trait]
pub trait GroupStore: Send + Sync {
    /// Makes a group. Its message, `chat.created` and one `group.member.added` for each of the others follow in this order.
    async fn create(&self, group: NewGroup) -> Stored<Applied>;

    /// Has a command decided on the chat as it is, and makes the change true in the same transaction.
    async fn change(&self, command: Command) -> Stored<Applied>;

    /// Sets the invite of a group, in place of any other, or takes it away. The admin is let do so by `decide`, whose change
    /// must be empty.
    async fn set_invite(&self, command: Command, invite: Option<InviteHash>) -> Stored<Applied>;

    /// The group this invite lets into.
    async fn invited_to(&self, invite: InviteHash) -> Stored<Option<ChatId>>;

    /// Deletes what is left of groups that ended, at most `limit` rows of any kind. Returns whether there may be more.
    async fn purge(&self, limit: usize) -> Stored<bool>;
}
