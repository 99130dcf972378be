//! Answers kept at hand, bounded, and never older than the last change committed through this process.

use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use wa_core::ports::Stored;

/// Locks that keys share; more means less waiting.
const STRIPES: usize = 64;

/// A cache whose loads cannot overtake a change: what was read before a change and comes back after it is not kept.
pub(super) struct Kept<K, V> {
    entries: Cache<K, V>,
    /// How many changes the keys of each stripe have seen.
    changes: Vec<Mutex<u64>>,
    hasher: std::hash::RandomState,
}

impl<K, V> std::fmt::Debug for Kept<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl<K, V> Kept<K, V>
where
    K: Hash + Eq + Copy + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Holds entries up to this total weight, and for so long where others may change what they tell of.
    pub(super) fn new(capacity: u64, keeps_for: Option<Duration>, weigh: fn(&V) -> u32) -> Self {
        let entries = Cache::builder().max_capacity(capacity).weigher(move |_, value| weigh(value));
        Self {
            entries: match keeps_for {
                Some(long) => entries.time_to_live(long).build(),
                None => entries.build(),
            },
            changes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            hasher: std::hash::RandomState::new(),
        }
    }

    /// The entry, or else what the load gives. Absence is not kept.
    pub(super) async fn get_or_load(&self, key: K, load: impl Future<Output = Stored<Option<V>>>) -> Stored<Option<V>> {
        if let Some(value) = self.entries.get(&key) {
            return Ok(Some(value));
        }
        let seen = *self.stripe(key);
        let loaded = load.await?;
        if let Some(value) = &loaded {
            let changes = self.stripe(key);
            if *changes == seen {
                self.entries.insert(key, value.clone());
            }
        }
        Ok(loaded)
    }

    /// Forgets the entry, as it has changed; loads that are under way will not be kept. To be called after the commit and
    /// before anybody is told of it.
    pub(super) fn forget(&self, key: K) {
        let mut changes = self.stripe(key);
        *changes += 1;
        self.entries.invalidate(&key);
    }

    fn stripe(&self, key: K) -> MutexGuard<'_, u64> {
        let index = usize::try_from(self.hasher.hash_one(key)).unwrap_or(0) % STRIPES;
        self.changes[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_a_change_overtook_is_not_kept() {
        let kept = Kept::new(10, None, |_: &i32| 1);
        let stale = kept.get_or_load(1, async {
            kept.forget(1);
            Ok(Some(1))
        });
        assert_eq!(stale.await.ok(), Some(Some(1)));
        assert_eq!(kept.get_or_load(1, async { Ok(Some(2)) }).await.ok(), Some(Some(2)));
        assert_eq!(kept.get_or_load(1, async { Ok(Some(3)) }).await.ok(), Some(Some(2)), "what was loaded in peace is kept");
    }
}
