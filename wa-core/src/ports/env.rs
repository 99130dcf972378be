//! Time and randomness as inputs, so that whole systems can be simulated from a seed.

use uuid::Uuid;

use crate::event::Cause;
use crate::time::Timestamp;

/// Where time and randomness come from.
pub trait Env: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;

    /// Fills the buffer with random bytes fit for secrets.
    fn fill(&self, bytes: &mut [u8]);

    /// The request for which something is done by whoever calls this, where events are to tell of it.
    fn cause(&self) -> Option<Box<Cause>> {
        None
    }
}

/// What follows from time and randomness.
pub trait EnvExt: Env {
    /// A new id: a UUIDv7 (RFC 9562, section 5.7) of the present millisecond.
    fn new_id<T: From<Uuid>>(&self) -> T {
        let mut random = [0; 10];
        self.fill(&mut random);
        let millis = u64::try_from(self.now().as_millis()).unwrap_or(0);
        T::from(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// A number below `bound`, each equally likely.
    fn below(&self, bound: u32) -> u32 {
        // Numbers past the last whole multiple of the bound are drawn again, or small results would be favoured.
        let limit = u32::MAX - u32::MAX % bound;
        loop {
            let mut bytes = [0; 4];
            self.fill(&mut bytes);
            let number = u32::from_le_bytes(bytes);
            if number < limit {
                return number % bound;
            }
        }
    }
}

impl<E: Env + ?Sized> EnvExt for E {}
