//! What people add to messages: reactions, which everybody sees, and stars, which are one's own.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Change, Outcome, Revision, Stored, Viewer};
use crate::emoji::Emoji;
use crate::id::UserId;
use crate::message::{Message, Reaction, Seq};
use crate::star::StarCursor;
use crate::time::Timestamp;

/// What was added to a message, as one viewer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations {
    /// Everybody's reactions, oldest first.
    pub reactions: Vec<Reaction>,
    /// Whether the viewer starred it.
    pub is_starred: bool,
}

/// A message in a user's list of starred ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Starred {
    /// The message.
    pub message: Message,
    /// When it was starred.
    pub starred_at: Timestamp,
}

/// Reactions and stars.
///
/// * `a_reaction_takes_the_next_rev_and_leaves_one_event`
/// * `a_user_has_one_reaction_to_a_message`
/// * `reacting_alike_twice_changes_nothing`
/// * `a_withheld_reaction_is_not_shown_to_whom_it_is_withheld_from`
/// * `a_star_is_its_users_own`
/// * `starring_twice_changes_nothing`
/// * `the_starred_list_is_newest_star_first_and_pages_without_loss`
/// * `the_starred_list_holds_only_what_can_be_seen`
/// * `stars_and_reactions_come_with_the_changes_of_a_chat`
#[async_trait]
pub trait AnnotationStore: Send + Sync {
    /// Sets the viewer's reaction to a message, in place of any other, or takes it back. `withheld_from` never sees it.
    async fn react(&self, change: Change, emoji: Option<Emoji>, withheld_from: Option<UserId>) -> Stored<Outcome<Revision>>;

    /// Gives a message the viewer's star, or takes it back; the event is for their own devices.
    async fn star(&self, change: Change, is_starred: bool) -> Stored<Outcome<Revision>>;

    /// What was added to the messages at these places of the viewer's chat; places without anything may be absent.
    async fn annotations(&self, viewer: &Viewer, places: &[Seq]) -> Stored<BTreeMap<Seq, Annotations>>;

    /// The starred messages that the user can see, after the cursor, newest star first, at most `limit`.
    async fn starred(&self, user: UserId, now: Timestamp, after: Option<StarCursor>, limit: usize) -> Stored<Vec<Starred>>;
}
