//! Statuses and who has seen them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Stored;
use crate::id::{StatusId, UserId};
use crate::status_post::StatusPost;
use crate::time::Timestamp;

/// Statuses and who has seen them.
///
/// * `a_status_reads_back`
/// * `statuses_of_many_come_newest_first_and_bounded`
/// * `an_expired_status_is_not_shown`
/// * `no_more_statuses_are_kept_than_a_user_may_have`
/// * `only_the_owner_deletes_a_status`
/// * `viewing_twice_is_viewing_once`
/// * `expired_statuses_are_deleted_in_bounded_steps`
/// * `statuses_and_views_go_with_their_account`
#[async_trait]
pub trait StatusStore: Send + Sync {
    /// Stores a status, durably, unless its user has `most` already that are still shown. Returns whether it is stored.
    async fn create(&self, status: &StatusPost, most: usize) -> Stored<bool>;

    /// A status that is still shown.
    async fn get(&self, id: StatusId, now: Timestamp) -> Stored<Option<StatusPost>>;

    /// The statuses of these users that are still shown, newest first, at most `limit`.
    async fn of(&self, users: &[UserId], now: Timestamp, limit: usize) -> Stored<Vec<StatusPost>>;

    /// Who has seen these statuses, in the order in which they did, at most `limit` of each.
    async fn viewers(&self, ids: &[StatusId], limit: usize) -> Stored<BTreeMap<StatusId, Vec<UserId>>>;

    /// Notes that a user has seen a status. Repeating it changes nothing; a status that is gone is passed over.
    async fn view(&self, id: StatusId, viewer: UserId, at: Timestamp) -> Stored<()>;

    /// Deletes a status of this user. Returns whether it was there and still shown.
    async fn delete(&self, owner: UserId, id: StatusId, now: Timestamp) -> Stored<bool>;

    /// Deletes what expired, at most `limit`. Returns whether more may be left.
    async fn expire(&self, now: Timestamp, limit: usize) -> Stored<bool>;
}
