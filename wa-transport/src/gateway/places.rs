//! Which of several processes that serve the same part of the HTTP interface is asked: somebody's requests go to the same one,
//! sockets to one after the other, and one that did not answer is left alone for a moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::rest::Area;

/// How long one is left alone that did not answer, if there are others.
const REST: Duration = Duration::from_secs(2);

/// Where each part of the HTTP interface is served.
pub(super) struct Places {
    of_area: BTreeMap<Area, Vec<Url>>,
    next: AtomicUsize,
    /// Until when those rest that did not answer.
    resting: Mutex<HashMap<Url, Instant>>,
}

impl Places {
    pub(super) fn new(of_area: BTreeMap<Area, Vec<Url>>) -> Self {
        Self { of_area, next: AtomicUsize::new(0), resting: Mutex::default() }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Url> {
        self.of_area.values().flatten()
    }

    fn resting(&self) -> MutexGuard<'_, HashMap<Url, Instant>> {
        // Each entry is whole.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes that serve a part, in the order in which they are to be asked: those with the same `key` get the same
    /// order, those without one take turns.
    pub(super) fn of(&self, area: Area, key: Option<u64>) -> Vec<&Url> {
        let all = self.of_area.get(&area).map_or(&[][..], |all| all);
        if all.len() < 2 {
            return all.iter().collect();
        }
        let first = match key {
            Some(key) => usize::try_from(key % all.len() as u64).unwrap_or_default(),
            None => self.next.fetch_add(1, Ordering::Relaxed) % all.len(),
        };
        let mut order: Vec<&Url> = all[first..].iter().chain(&all[..first]).collect();
        let resting = self.resting();
        if !resting.is_empty() {
            let now = Instant::now();
            order.sort_by_key(|url| resting.get(*url).is_some_and(|until| now < *until));
        }
        order
    }

    /// Whether anybody serves a part.
    pub(super) fn serve(&self, area: Area) -> bool {
        self.of_area.get(&area).is_some_and(|all| !all.is_empty())
    }

    /// This one did not answer.
    pub(super) fn rest(&self, url: &Url) {
        self.resting().insert(url.clone(), Instant::now() + REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(port: u16) -> Url {
        format!("http://127.0.0.1:{port}").parse().expect("a URL")
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_did_not_answer_is_asked_last_for_a_moment() {
        let places = Places::new(BTreeMap::from([(Area::Chats, vec![url(1), url(2), url(3)]), (Area::Media, vec![])]));
        let ports = |key| places.of(Area::Chats, key).iter().map(|url| url.port().unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!((ports(Some(1)), ports(Some(4))), (vec![2, 3, 1], vec![2, 3, 1]));
        assert_eq!((ports(None), ports(None)), (vec![1, 2, 3], vec![2, 3, 1]));
        places.rest(&url(2));
        assert_eq!(ports(Some(1)), [3, 1, 2]);
        tokio::time::advance(REST).await;
        assert_eq!(ports(Some(1)), [2, 3, 1]);
        assert!(places.serve(Area::Chats) && !places.serve(Area::Media) && !places.serve(Area::Auth));
    }
}
