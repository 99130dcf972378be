//! A circuit breaker (contract, section 4): closed, it counts failures in a row within 30 s; after five of them nothing goes out
//! for 10 s; then three probes, all of which must succeed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row, within one interval, after which nothing goes out.
pub(super) const FAILURES: u32 = 5;

/// After this time failures are forgotten.
const INTERVAL: Duration = Duration::from_secs(30);

/// For how long nothing goes out.
pub(super) const OPEN: Duration = Duration::from_secs(10);

/// Calls that try whether the peer is back; so many must succeed.
const PROBES: u32 = 3;

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32, since: Instant },
    Open { until: Instant },
    HalfOpen { asked: u32, answered: u32 },
}

impl State {
    /// As metrics show it.
    const fn number(self) -> i64 {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen { .. } => 1,
            Self::Open { .. } => 2,
        }
    }
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// What was asked for before the state changed tells nothing about the state that followed.
    generation: u64,
}

/// Lets calls to one peer through, or not.
pub(super) struct Breaker {
    inner: Mutex<Inner>,
    show: Box<dyn Fn(i64) + Send + Sync>,
}

/// Leave for one call. Dropped without a word on what came of it, it never was.
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    generation: u64,
    is_told: bool,
}

impl Breaker {
    /// Closed; every change of state is shown.
    pub(super) fn new(show: impl Fn(i64) + Send + Sync + 'static) -> Self {
        show(0);
        Self { inner: Mutex::new(Inner { state: State::Closed { failures: 0, since: Instant::now() }, generation: 0 }), show: Box::new(show) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every state is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, inner: &mut Inner, state: State) {
        inner.state = state;
        inner.generation += 1;
        (self.show)(state.number());
    }

    /// Asks for leave to call. `Err` tells for how long there is none.
    pub(super) fn ask(&self) -> Result<Leave<'_>, Duration> {
        let mut inner = self.inner();
        let now = Instant::now();
        match inner.state {
            State::Closed { since, .. } if now.duration_since(since) >= INTERVAL => inner.state = State::Closed { failures: 0, since: now },
            State::Closed { .. } => {}
            State::Open { until } if now < until => return Err(until - now),
            State::Open { .. } => self.change(&mut inner, State::HalfOpen { asked: 1, answered: 0 }),
            State::HalfOpen { asked, answered } if asked < PROBES => inner.state = State::HalfOpen { asked: asked + 1, answered },
            State::HalfOpen { .. } => return Err(Duration::from_millis(100)),
        }
        Ok(Leave { breaker: self, generation: inner.generation, is_told: false })
    }
}

impl Leave<'_> {
    /// The peer answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.is_told = true;
        let mut inner = self.breaker.inner();
        if inner.generation != self.generation {
            return;
        }
        match inner.state {
            State::Closed { since, .. } => inner.state = State::Closed { failures: 0, since },
            State::HalfOpen { answered, .. } if answered + 1 >= PROBES => {
                self.breaker.change(&mut inner, State::Closed { failures: 0, since: Instant::now() });
            }
            State::HalfOpen { asked, answered } => inner.state = State::HalfOpen { asked, answered: answered + 1 },
            State::Open { .. } => {}
        }
    }

    /// The peer could not be reached, or did not answer in time.
    pub(super) fn failed(mut self) {
        self.is_told = true;
        let mut inner = self.breaker.inner();
        if inner.generation != self.generation {
            return;
        }
        match inner.state {
            State::Closed { failures, since } if failures + 1 < FAILURES => inner.state = State::Closed { failures: failures + 1, since },
            State::Closed { .. } | State::HalfOpen { .. } => self.breaker.change(&mut inner, State::Open { until: Instant::now() + OPEN }),
            State::Open { .. } => {}
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        let mut inner = self.breaker.inner();
        if let (true, State::HalfOpen { asked, answered }) = (inner.generation == self.generation, inner.state) {
            inner.state = State::HalfOpen { asked: asked.saturating_sub(1), answered };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn breaker() -> (Breaker, Arc<AtomicI64>) {
        let shown = Arc::new(AtomicI64::new(-1));
        let show = Arc::clone(&shown);
        (Breaker::new(move |state| show.store(state, Ordering::SeqCst)), shown)
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.ask().expect("leave").failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_closes_after_three_probes() {
        let (breaker, shown) = breaker();
        fail(&breaker, FAILURES - 1);
        breaker.ask().expect("leave").answered();
        fail(&breaker, FAILURES - 1);
        assert_eq!(shown.load(Ordering::SeqCst), 0, "an answer in between begins the count anew");
        let late = breaker.ask().expect("leave");
        fail(&breaker, 1);
        assert_eq!((breaker.ask().err(), shown.load(Ordering::SeqCst)), (Some(OPEN), 2));
        late.answered();
        assert_eq!(shown.load(Ordering::SeqCst), 2, "what was asked for before tells nothing");
        tokio::time::advance(OPEN).await;
        let probes: Vec<_> = (0..PROBES).map(|_| breaker.ask().expect("a probe")).collect();
        assert_eq!(shown.load(Ordering::SeqCst), 1);
        assert!(breaker.ask().is_err(), "no more probes than three");
        for probe in probes {
            probe.answered();
        }
        assert_eq!(shown.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_opens_it_again_and_one_that_was_given_up_makes_place() {
        let (breaker, shown) = breaker();
        fail(&breaker, FAILURES);
        tokio::time::advance(OPEN).await;
        for _ in 0..10 {
            drop(breaker.ask().expect("a probe"));
        }
        fail(&breaker, 1);
        assert_eq!((breaker.ask().err(), shown.load(Ordering::SeqCst)), (Some(OPEN), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_another_interval_are_forgotten() {
        let (breaker, shown) = breaker();
        fail(&breaker, FAILURES - 1);
        tokio::time::advance(INTERVAL).await;
        fail(&breaker, FAILURES - 1);
        assert_eq!(shown.load(Ordering::SeqCst), 0);
    }
}
