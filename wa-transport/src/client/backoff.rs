//! How long to wait before the next attempt: doubling, bounded, and spread so that many clients do not come back at once.

use std::time::Duration;

use uuid::Uuid;

/// Waits of `first`, twice that, and so on up to `max`, each cut by up to a half at random.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    pub(super) const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, attempt: 0 }
    }

    /// The next wait.
    pub(super) fn next_wait(&mut self) -> Duration {
        let full = self.first.saturating_mul(1 << self.attempt.min(16)).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * random_fraction())
    }

    /// How many waits there were since the last success.
    pub(super) const fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Starts over, after a success.
    pub(super) const fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// Evenly spread in 0..1, from the random bits of a fresh UUID.
fn random_fraction() -> f64 {
    let bytes = Uuid::now_v7().into_bytes();
    f64::from(u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]])) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_are_cut_by_at_most_a_half() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for full in [1, 2, 4, 8, 16, 30, 30] {
            let full = Duration::from_secs(full);
            let wait = backoff.next_wait();
            assert!(full / 2 <= wait && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }
}
