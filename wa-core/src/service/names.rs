//! What users are called, kept at hand for the path every message takes. Bounded, and never older than the last change
//! made through this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::id::UserId;
use crate::limits::Limits;
use crate::ports::{Env, UserStore};
use crate::time::Timestamp;

#[derive(Default)]
struct Known {
    /// A name and when it was looked up.
    names: HashMap<UserId, (Arc<str>, Timestamp)>,
    /// Counts the changes, so that a look-up that a change overtook is not kept.
    changes: u64,
}

/// What users are called. Share one between the user and the message service.
pub struct Names {
    users: Arc<dyn UserStore>,
    env: Arc<dyn Env>,
    most: usize,
    fresh: Duration,
    known: Mutex<Known>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Names {
    /// Looks names up in this store.
    #[must_use]
    pub fn new(users: Arc<dyn UserStore>, env: Arc<dyn Env>, limits: &Limits) -> Self {
        Self { users, env, most: limits.names, fresh: limits.names_fresh, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A name or none: whatever a panicking thread left is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_name(&self, known: &Known, user: UserId, now: Timestamp) -> Option<Arc<str>> {
        known.names.get(&user).filter(|(_, since)| now.since(*since) < self.fresh).map(|(name, _)| Arc::clone(name))
    }

    /// The name others see of a user; empty for unknown ones.
    pub(super) async fn of(&self, user: UserId) -> Result<Arc<str>> {
        let kept = self.kept_name(&self.known(), user, self.env.now());
        match kept {
            Some(name) => Ok(name),
            None => Ok(self.all(&[user]).await?.remove(&user).unwrap_or_else(|| "".into())),
        }
    }

    /// The names of these users; unknown ones are left out.
    pub(super) async fn all(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>> {
        let now = self.env.now();
        let mut found = HashMap::with_capacity(users.len());
        let mut wanted = Vec::new();
        let changes = {
            let known = self.known();
            for user in users {
                match self.kept_name(&known, *user, now) {
                    Some(name) => _ = found.insert(*user, name),
                    None => wanted.push(*user),
                }
            }
            known.changes
        };
        if wanted.is_empty() {
            return Ok(found);
        }
        for user in self.users.get(&wanted).await? {
            found.insert(user.id, user.shown_name().into());
        }
        let mut known = self.known();
        if known.changes == changes {
            for user in wanted {
                let Some(name) = found.get(&user) else { continue };
                // Starting over is rare and costs one look-up each; keeping an order for it would cost every send.
                if known.names.len() >= self.most {
                    known.names.clear();
                }
                known.names.insert(user, (Arc::clone(name), now));
            }
        }
        Ok(found)
    }

    /// Forgets a name that has changed.
    pub(super) fn forget(&self, user: UserId) {
        let mut known = self.known();
        known.changes += 1;
        known.names.remove(&user);
    }

    /// How many names are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.known().names.len()
    }
}
