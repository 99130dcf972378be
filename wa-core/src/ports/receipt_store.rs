//! Who received and read what.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Stored;
use crate::id::{ChatId, EventId, UserId};
use crate::message::Seq;
use crate::receipt::{Marks, NewReceipt, ReceiptTimes};

/// Receipts, exact for every message, without rewriting any.
///
/// * `a_delivered_receipt_covers_the_named_messages_only`
/// * `reading_covers_everything_older`
/// * `read_implies_delivered`
/// * `receipts_only_rise`
/// * `a_repeated_receipt_changes_and_announces_nothing`
/// * `own_messages_leave_no_gap_in_the_delivered_mark`
/// * `times_are_those_of_the_first_receipt`
/// * `an_unannounced_read_leaves_no_event_for_senders`
/// * `a_receipt_leaves_one_event_naming_the_senders`
/// * `concurrent_receipts_merge`
/// * `however_much_is_read_at_once_all_of_it_is_read`
#[async_trait]
pub trait ReceiptStore: Send + Sync {
    /// Takes a receipt, durably. Where anything rose, writes one event per run of places (with these senders, if
    /// `announce`) in the same transaction. Returns whether anything rose. A message that is withheld from the user, or
    /// their own, is left alone. `event_id` names the first event; further ones take ids derived from it. Very much that is
    /// read at once may be taken in parts; after an error the same receipt goes on where that came.
    async fn give(&self, receipt: NewReceipt, event_id: EventId) -> Stored<bool>;

    /// The marks of everybody in these chats. Users who never gave a receipt may be absent.
    async fn marks(&self, chats: &[ChatId]) -> Stored<BTreeMap<ChatId, BTreeMap<UserId, Marks>>>;

    /// When the message at this place was delivered to and read by each user who gave a receipt for it.
    async fn times(&self, chat: ChatId, seq: Seq) -> Stored<Vec<ReceiptTimes>>;
}
