//! Address books and blocks.

use std::collections::HashMap;

use async_trait::async_trait;

use super::Stored;
use crate::id::UserId;
use crate::privacy::Relation;
use crate::time::Timestamp;
use crate::user::Contact;

/// Address books and blocks.
///
/// * `saving_contacts_adds_and_never_removes`
/// * `a_block_alone_makes_no_contact`
/// * `unblocking_a_contact_keeps_it`
/// * `blocking_twice_is_blocking_once`
/// * `relations_tell_both_directions_apart`
/// * `a_relation_to_an_unknown_user_is_a_strangers`
#[async_trait]
pub trait ContactStore: Send + Sync {
    /// Puts users into the owner's contacts; those already there stay as they are.
    async fn save(&self, owner: UserId, contacts: &[UserId], at: Timestamp) -> Stored<()>;

    /// The owner's contacts and blocked users, oldest first.
    async fn list(&self, owner: UserId) -> Stored<Vec<Contact>>;

    /// Blocks or unblocks. In the same transaction the membership of the pair's direct chat, if there is one, takes a
    /// new version. Repeating it changes nothing.
    async fn set_blocked(&self, owner: UserId, target: UserId, blocked: bool, at: Timestamp) -> Stored<()>;

    /// How each viewer stands to each owner, for these (viewer, owner) pairs.
    async fn relations(&self, pairs: &[(UserId, UserId)]) -> Stored<HashMap<(UserId, UserId), Relation>>;
}
