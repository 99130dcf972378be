//! Where fresh messages stand, kept at hand: whoever confirms one that has just come needs no lookup.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wa_core::id::MessageId;
use wa_core::receipt::Located;

/// Messages whose place is kept at hand.
const PLACES: usize = 100_000;

/// The places of the messages that were stored or looked up last: two halves, of which the older is given up when the
/// younger is full.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<[HashMap<MessageId, Located>; 2]>);

impl Places {
    fn halves(&self) -> MutexGuard<'_, [HashMap<MessageId, Located>; 2]> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps these at hand.
    pub(super) fn insert(&self, messages: impl IntoIterator<Item = Located>) {
        let mut halves = self.halves();
        for located in messages {
            if halves[0].len() >= PLACES / 2 {
                halves.swap(0, 1);
                halves[0].clear();
            }
            halves[0].insert(located.message_id, located);
        }
    }

    /// Those of these that are at hand.
    pub(super) fn of(&self, ids: &[MessageId]) -> HashMap<MessageId, Located> {
        let halves = self.halves();
        ids.iter().filter_map(|id| Some((*id, *halves.iter().find_map(|half| half.get(id))?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use wa_core::id::{ChatId, UserId};
    use wa_core::message::Seq;

    #[test]
    fn the_last_ones_are_at_hand_and_their_number_is_bounded() {
        let places = Places::default();
        let located = |number: usize| {
            let id = Uuid::from_u128(number as u128);
            Located { message_id: id.into(), chat_id: ChatId::from_uuid(id), seq: Seq::new(1), sender_id: UserId::from_uuid(id), withheld_from: None }
        };
        places.insert((0..PLACES * 2).map(located));
        assert_eq!(places.halves().iter().map(HashMap::len).sum::<usize>(), PLACES);
        let newest = located(PLACES * 2 - 1);
        assert_eq!(places.of(&[newest.message_id, located(0).message_id]), HashMap::from([(newest.message_id, newest)]));
    }
}
