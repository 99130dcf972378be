//! The real clock and the real source of randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use wa_core::ports::Env;
use wa_core::time::Timestamp;

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
        // Without randomness no secret can be made, and no id: there is no way to go on.
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}
