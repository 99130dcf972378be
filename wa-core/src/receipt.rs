//! Receipts as forward-only marks: per chat and user, what was delivered and up to where was read, exact for every
//! message. Merging marks is commutative, so duplicates and reorderings are harmless.

use serde::{Deserialize, Serialize};

use crate::id::{ChatId, ConnectionId, MessageId, UserId};
use crate::message::Seq;
use crate::time::Timestamp;

/// How far a message got. It only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Stored by the server.
    Sent,
    /// Received by a device of the recipient.
    Delivered,
    /// Seen by the recipient.
    Read,
}

/// A run of consecutive places in a chat, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeqRange {
    /// The first.
    pub from: Seq,
    /// The last.
    pub to: Seq,
}

impl SeqRange {
    /// Whether it holds this place.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        self.from <= seq && seq <= self.to
    }
}

/// What one user has received and read of one chat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Everything up to here was delivered.
    pub delivered_up_to: Seq,
    /// What was delivered beyond, with gaps: sorted, apart from each other and from `delivered_up_to`.
    pub delivered_beyond: Vec<SeqRange>,
    /// Everything up to here was read.
    pub read_up_to: Seq,
}

impl Marks {
    /// How far the message at this place got with this user.
    #[must_use]
    pub fn status_of(&self, seq: Seq) -> Status {
        if seq <= self.read_up_to {
            Status::Read
        } else if seq <= self.delivered_up_to || self.delivered_beyond.iter().any(|range| range.contains(seq)) {
            Status::Delivered
        } else {
            Status::Sent
        }
    }

    /// Marks a run as delivered. Returns whether anything rose.
    pub fn deliver(&mut self, run: SeqRange) -> bool {
        let before = self.clone();
        self.delivered_beyond.push(run);
        self.settle();
        *self != before
    }

    /// Marks everything up to this place as read, and so as delivered. Returns whether anything rose.
    pub fn read(&mut self, up_to: Seq) -> bool {
        let before = self.clone();
        self.read_up_to = self.read_up_to.max(up_to);
        self.settle();
        *self != before
    }

    /// Takes over whatever the other marks have reached.
    pub fn merge(&mut self, other: &Self) {
        self.delivered_up_to = self.delivered_up_to.max(other.delivered_up_to);
        self.read_up_to = self.read_up_to.max(other.read_up_to);
        self.delivered_beyond.extend_from_slice(&other.delivered_beyond);
        self.settle();
    }

    /// Brings the marks into their one normal form.
    fn settle(&mut self) {
        self.delivered_up_to = self.delivered_up_to.max(self.read_up_to);
        let mut runs = std::mem::take(&mut self.delivered_beyond);
        runs.sort_unstable();
        for run in runs {
            if run.from <= self.delivered_up_to.next() {
                self.delivered_up_to = self.delivered_up_to.max(run.to);
                continue;
            }
            match self.delivered_beyond.last_mut() {
                Some(last) if run.from <= last.to.next() => last.to = last.to.max(run.to),
                _ => self.delivered_beyond.push(run),
            }
        }
    }
}

/// A receipt a user gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReceipt {
    /// The chat.
    pub chat_id: ChatId,
    /// Who received or read.
    pub user_id: UserId,
    /// What.
    pub what: Receipted,
    /// Whether others may be told (delivered always; read only while the user's read receipts are on).
    pub announce: bool,
    /// The socket it came over.
    pub origin: Option<ConnectionId>,
    /// When.
    pub at: Timestamp,
}

/// What a receipt covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipted {
    /// These messages, each named by the client, were delivered. Sorted by place.
    Delivered(Vec<Located>),
    /// Everything up to this message was read.
    ReadUpTo(Located),
}

/// Where a message stands and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The message.
    pub message_id: MessageId,
    /// Its chat.
    pub chat_id: ChatId,
    /// Its place there.
    pub seq: Seq,
    /// Its sender.
    pub sender_id: UserId,
    /// Who never sees it.
    pub withheld_from: Option<UserId>,
}

/// When one recipient got and read one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptTimes {
    /// The recipient.
    pub user_id: UserId,
    /// When it was delivered.
    pub delivered_at: Option<Timestamp>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
}

/// A row of `GET /messages/:id/receipts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Receipt))]
pub struct ReceiptView {
    /// The recipient.
    pub user_id: UserId,
    /// How far the message got with them.
    pub status: Status,
    /// When it got there; when it was sent, for `sent`.
    pub timestamp: Timestamp,
    /// When it was delivered.
    pub delivered_at: Option<Timestamp>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
    /// The same as `timestamp`.
    pub updated_at: Timestamp,
}

/// A participant's present marks, in the answer to sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ReceiptMarks))]
pub struct MarksView {
    /// Whose.
    pub user_id: UserId,
    /// Everything up to here was delivered.
    pub delivered_up_to_seq: Seq,
    /// Everything up to here was read.
    pub read_up_to_seq: Seq,
    /// What was delivered past a gap, beyond the contract's keys.
    #[serde(default)]
    pub delivered_beyond: Vec<SeqRange>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Deliver(i64, i64),
        Read(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(1..40i64, 0..4i64).prop_map(|(from, more)| Step::Deliver(from, from + more)), (0..40i64).prop_map(Step::Read),]
    }

    fn apply(marks: &mut Marks, step: &Step) -> bool {
        match *step {
            Step::Deliver(from, to) => marks.deliver(SeqRange { from: Seq::new(from), to: Seq::new(to) }),
            Step::Read(up_to) => marks.read(Seq::new(up_to)),
        }
    }

    fn all(marks: &Marks) -> Vec<Status> {
        (1..=45).map(|seq| marks.status_of(Seq::new(seq))).collect()
    }

    proptest! {
        #[test]
        fn marks_answer_exactly_what_was_receipted(steps in prop::collection::vec(step(), 0..30)) {
            let mut marks = Marks::default();
            let mut expected = vec![Status::Sent; 45];
            for step in &steps {
                apply(&mut marks, step);
                for (index, status) in expected.iter_mut().enumerate() {
                    let seq = index as i64 + 1;
                    match *step {
                        Step::Deliver(from, to) if (from..=to).contains(&seq) => *status = (*status).max(Status::Delivered),
                        Step::Read(up_to) if seq <= up_to => *status = Status::Read,
                        _ => {}
                    }
                }
            }
            prop_assert_eq!(all(&marks), expected);
        }

        #[test]
        fn the_order_and_number_of_receipts_do_not_matter(steps in prop::collection::vec(step(), 0..20), seed in any::<u64>()) {
            let mut once = Marks::default();
            for step in &steps {
                apply(&mut once, step);
            }
            let mut shuffled: Vec<_> = steps.iter().chain(&steps).cloned().collect();
            let mut state = seed;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            let mut again = Marks::default();
            for step in &shuffled {
                apply(&mut again, step);
            }
            prop_assert_eq!(once, again);
        }

        #[test]
        fn receipts_only_rise(steps in prop::collection::vec(step(), 0..30)) {
            let mut marks = Marks::default();
            for step in &steps {
                let before = all(&marks);
                let rose = apply(&mut marks, step);
                let after = all(&marks);
                prop_assert!(before.iter().zip(&after).all(|(b, a)| b <= a));
                prop_assert_eq!(rose, before != after);
            }
        }

        #[test]
        fn merging_commutes(left in prop::collection::vec(step(), 0..15), right in prop::collection::vec(step(), 0..15)) {
            let (mut a, mut b) = (Marks::default(), Marks::default());
            left.iter().for_each(|step| { apply(&mut a, step); });
            right.iter().for_each(|step| { apply(&mut b, step); });
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.merge(&b);
            ba.merge(&a);
            prop_assert_eq!(ab, ba);
        }
    }
}
