//! Leaves a provider alone that keeps failing: after so many failures in a row nothing is sent for a while, then one push
//! tries whether it is back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which a provider rests.
const FAILURES: u32 = 5;

/// For how long, and the longest it does as it goes on failing.
const REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(120);

/// Providers whose state is kept; past these all begin anew.
const PROVIDERS: usize = 1024;

#[derive(Debug, Default, Clone, Copy)]
struct State {
    /// Failures in a row while it did not rest.
    failures: u32,
    /// How often in a row it rested.
    rests: u32,
    rests_until: Option<Instant>,
    /// Whether one push tries if it is back.
    is_tried: bool,
}

/// The state of each provider, by host.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<HashMap<String, State>>);

impl Breaker {
    fn states(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for leave to send. `Err` tells how long the provider still rests.
    pub(super) fn ask(&self, host: &str) -> Result<(), Duration> {
        let mut states = self.states();
        let Some(state) = states.get_mut(host) else { return Ok(()) };
        let Some(until) = state.rests_until else { return Ok(()) };
        let now = Instant::now();
        if now < until {
            return Err(until - now);
        }
        // This one tries; the others wait for what becomes of it.
        (state.rests_until, state.is_tried) = (Some(now + REST), true);
        Ok(())
    }

    /// It answered.
    pub(super) fn answered(&self, host: &str) {
        self.states().remove(host);
    }

    /// It did not answer, or said that it cannot.
    pub(super) fn failed(&self, host: &str) {
        let mut states = self.states();
        if states.len() >= PROVIDERS && !states.contains_key(host) {
            states.clear();
        }
        let state = states.entry(host.to_owned()).or_default();
        state.failures = state.failures.saturating_add(1);
        // Those that were on their way when it began to rest tell nothing new.
        let is_news = state.is_tried || state.rests_until.is_none() && state.failures >= FAILURES;
        if is_news {
            let rest = REST * 2_u32.saturating_pow(state.rests.min(8));
            *state = State { failures: 0, rests: state.rests.saturating_add(1), rests_until: Some(Instant::now() + rest.min(LONGEST_REST)), is_tried: false };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_keeps_failing_is_left_alone_for_a_while() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert_eq!(breaker.ask("a"), Ok(()));
            breaker.failed("a");
        }
        assert_eq!(breaker.ask("a"), Err(REST));
        breaker.failed("a");
        assert_eq!(breaker.ask("a"), Err(REST), "what was on its way makes it no longer");
        assert_eq!(breaker.ask("b"), Ok(()), "others are not concerned");
        tokio::time::advance(REST).await;
        assert_eq!(breaker.ask("a"), Ok(()), "one tries");
        assert_eq!(breaker.ask("a"), Err(REST), "and no second one");
        breaker.failed("a");
        assert_eq!(breaker.ask("a"), Err(REST * 2));
        tokio::time::advance(REST * 2).await;
        assert_eq!(breaker.ask("a"), Ok(()));
        breaker.answered("a");
        assert_eq!(breaker.ask("a"), Ok(()));
    }

    #[tokio::test]
    async fn no_more_providers_are_kept_than_may_be() {
        let breaker = Breaker::default();
        for number in 0..=PROVIDERS {
            breaker.failed(&number.to_string());
        }
        assert_eq!(breaker.states().len(), 1);
    }
}
