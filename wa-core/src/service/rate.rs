//! Rate limits as the use cases apply them.

use crate::error::{Error, Result};
use crate::limits::RateLimit;
use crate::ports::{Admission, RateLimiter};

/// Takes a token from a bucket.
///
/// # Errors
/// RATE_LIMITED if there is none, UNAVAILABLE if that cannot be told: what a limit guards is not done without it.
pub(super) async fn take(limiter: &dyn RateLimiter, key: &str, limit: RateLimit) -> Result<()> {
    match limiter.take(key, limit).await.map_err(Error::unavailable)? {
        Admission::Granted => Ok(()),
        Admission::Refused { retry_after } => Err(Error::RateLimited { retry_after }),
    }
}
