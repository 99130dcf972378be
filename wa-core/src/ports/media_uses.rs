//! What refers to uploaded files.

use async_trait::async_trait;

use super::Stored;
use crate::id::{ChatId, MediaId, UserId};
use crate::media::Media;
use crate::time::Timestamp;

/// Something beside messages that shows a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Showing {
    /// The profile of this user has it as its picture.
    Profile(UserId),
    /// This group has it as its picture.
    Group(ChatId),
    /// A status of this user shows it.
    Status {
        /// Whose.
        owner: UserId,
        /// Until when.
        until: Timestamp,
    },
}

/// What refers to uploaded files, found in the rows that do so: there is no count of uses that could go wrong.
///
/// * `a_file_in_a_message_is_shown_to_those_who_can_see_the_message`
/// * `a_deleted_or_expired_message_shows_no_file`
/// * `profiles_and_groups_that_show_a_file_are_named`
/// * `a_user_whose_status_shows_a_file_is_named`
/// * `used_files_are_told_from_unused_ones`
#[async_trait]
pub trait MediaUses: Send + Sync {
    /// Whether a message that this user can see now shows the file.
    async fn is_sent_to(&self, id: MediaId, user: UserId, now: Timestamp) -> Stored<bool>;

    /// What else shows the file, at most `limit`: the uploader's own profile and statuses, and groups that the uploader is or was in. Others
    /// who only name its address do not keep it visible.
    async fn shown_by(&self, media: &Media, limit: usize) -> Stored<Vec<Showing>>;

    /// Those of these files that anything refers to, in no order.
    async fn used(&self, ids: &[MediaId]) -> Stored<Vec<MediaId>>;
}
