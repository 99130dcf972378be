//! How far the consumers are with what was published.

use std::collections::VecDeque;

use wa_core::ports::Progress;

use super::LOGS;

/// Batches that wait to be settled one by one; with more, the newest ones are settled together.
const WAITING: usize = 65_536;

/// What was published and not yet acknowledged by everybody.
#[derive(Debug, Default)]
pub(super) struct Settling {
    progress: Progress,
    waiting: VecDeque<Batch>,
    /// Up to here every consumer had acknowledged everything, when that was last asked.
    floors: Option<[u64; LOGS.len()]>,
    /// The last place of each log that was acknowledged to us.
    published_up_to: [u64; LOGS.len()],
}

/// Events that were published together: how many were by then, and the last place in each log.
#[derive(Debug, Clone, Copy)]
struct Batch {
    published: u64,
    places: [u64; LOGS.len()],
}

impl Settling {
    pub(super) const fn progress(&self) -> Progress {
        self.progress
    }

    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were published, in all.
    pub(super) const fn newest(&self) -> u64 {
        self.progress.published
    }

    /// The last place that a log is known to have.
    pub(super) const fn published_up_to(&self, log: usize) -> u64 {
        self.published_up_to[log]
    }

    /// Up to where every consumer of a log was, as far as is known.
    pub(super) fn floor(&self, log: usize) -> Option<u64> {
        self.floors.map(|floors| floors[log].min(self.published_up_to[log]))
    }

    /// So many events are in the logs, up to these places.
    pub(super) fn published(&mut self, events: usize, places: [u64; LOGS.len()]) {
        self.progress.published += events as u64;
        for (known, place) in self.published_up_to.iter_mut().zip(places) {
            *known = (*known).max(place);
        }
        let batch = Batch { published: self.progress.published, places };
        let is_full = self.waiting.len() >= WAITING;
        match self.waiting.back_mut() {
            Some(last) if is_full => {
                last.published = batch.published;
                for (place, new) in last.places.iter_mut().zip(places) {
                    *place = (*place).max(new);
                }
            }
            _ => self.waiting.push_back(batch),
        }
    }

    /// Of what was published up to that count, everything up to these places is acknowledged.
    pub(super) fn settle(&mut self, up_to: u64, floors: [u64; LOGS.len()]) {
        self.floors = Some(floors);
        while let Some(batch) = self.waiting.front() {
            if batch.published > up_to || batch.places.iter().zip(floors).any(|(place, floor)| *place > floor) {
                return;
            }
            self.progress.settled = batch.published;
            self.waiting.pop_front();
        }
    }

    /// What was not settled is lost.
    pub(super) fn lost(&mut self) {
        self.progress.restarts += 1;
        self.waiting.clear();
        self.floors = None;
        self.published_up_to = [0; LOGS.len()];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_settled_once_every_log_is_past_it() {
        let mut settling = Settling::default();
        settling.published(2, [2, 0]);
        settling.published(1, [0, 1]);
        settling.published(1, [3, 0]);
        settling.settle(4, [1, u64::MAX]);
        assert_eq!(settling.progress().settled, 0);
        settling.settle(4, [2, 0]);
        assert_eq!(settling.progress().settled, 2);
        // Published after it was asked.
        settling.settle(3, [u64::MAX, u64::MAX]);
        assert_eq!(settling.progress(), Progress { published: 4, settled: 3, restarts: 0 });
        settling.lost();
        assert_eq!((settling.progress(), settling.is_settled()), (Progress { published: 4, settled: 3, restarts: 1 }, true));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut settling = Settling::default();
        for place in 1..=(WAITING as u64 + 10) {
            settling.published(1, [place, 0]);
        }
        assert_eq!(settling.waiting.len(), WAITING);
        settling.settle(u64::MAX, [WAITING as u64, 0]);
        assert_eq!(settling.progress().settled, WAITING as u64 - 1);
        settling.settle(u64::MAX, [WAITING as u64 + 10, 0]);
        assert!(settling.is_settled());
    }
}
