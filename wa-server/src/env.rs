//! The real clock and the real source of randomness.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wa_core::event::Cause;
use wa_core::ports::Env;
use wa_core::time::Timestamp;
use wa_transport::context::RequestContext;

/// The system's clock and its source of random bytes fit for secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is a defect of the machine; what is told then is the start of 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn fill(&self, bytes: &mut [u8]) {
        POOL.with_borrow_mut(|pool| pool.fill(bytes));
    }
}

/// An environment in which events tell the request that brought them about.
pub(crate) struct Tracing(pub(crate) Arc<dyn Env>);

impl Env for Tracing {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn cause(&self) -> Option<Box<Cause>> {
        let context = RequestContext::current()?;
        Some(Box::new(Cause { request_id: context.request_id.to_string(), traceparent: context.traceparent.map(|parent| parent.to_string()) }))
    }
}

/// Random bytes that are fetched at a time: every message takes a few, and asking the system each time costs more than
/// the rest of making an id.
const POOLED: usize = 512;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOLED], left: 0 }) };
}

/// Bytes of the operating system that were not given out yet. None is given out twice, and none stays behind.
struct Pool {
    bytes: [u8; POOLED],
    left: usize,
}

impl Pool {
    fn fill(&mut self, wanted: &mut [u8]) {
        if wanted.len() > POOLED / 4 {
            return fetch(wanted);
        }
        if self.left < wanted.len() {
            fetch(&mut self.bytes);
            self.left = POOLED;
        }
        let rest = self.left - wanted.len();
        wanted.copy_from_slice(&self.bytes[rest..self.left]);
        self.bytes[rest..self.left].fill(0);
        self.left = rest;
    }
}

fn fetch(bytes: &mut [u8]) {
    // Without randomness no secret can be made, and no id: there is no way to go on.
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_random_bytes_are_given_out_twice() {
        let mut seen = HashSet::new();
        for length in [10, 16, 32, 100, 200, 1000] {
            for _ in 0..200 {
                let mut bytes = vec![0; length];
                SystemEnv.fill(&mut bytes);
                assert!(bytes.chunks_exact(10).all(|part| seen.insert(part.to_vec())), "{length} bytes");
            }
        }
    }
}
