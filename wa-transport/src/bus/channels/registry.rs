//! Which users are here, and which of their channels are listened to: changes are gathered, and made many at a time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use wa_core::id::UserId;

use super::node::Arrived;
use super::{Channel, Link};

/// Channels that are begun or ended at a time.
const BATCH: usize = 500;

/// How long a channel is listened to after the last socket of its user went: many come again at once.
const LINGER: Duration = Duration::from_secs(5);

/// The pause after a link failed.
const PAUSE: Duration = Duration::from_millis(250);

/// The users who are here.
pub(super) struct Registry {
    state: Mutex<State>,
    /// Counts what was done, for those who wait.
    done: watch::Sender<u64>,
    wake: Vec<Notify>,
}

struct State {
    users: HashMap<UserId, Entry>,
    /// Of each link: users whose channels it does not listen to yet.
    came: Vec<HashSet<UserId>>,
}

struct Entry {
    sockets: usize,
    /// When the last socket went.
    left_at: Option<Instant>,
    /// By which links it is listened to.
    listened: Vec<bool>,
}

impl Registry {
    pub(super) fn new(links: usize) -> Self {
        let state = State { users: HashMap::new(), came: vec![HashSet::new(); links] };
        Self { state: Mutex::new(state), done: watch::Sender::new(0), wake: (0..links).map(|_| Notify::new()).collect() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, user: UserId) {
        let mut state = self.state();
        let State { users, came } = &mut *state;
        let entry = users.entry(user).or_insert_with(|| Entry { sockets: 0, left_at: None, listened: vec![false; came.len()] });
        entry.sockets += 1;
        entry.left_at = None;
        for ((came, wake), _) in came.iter_mut().zip(&self.wake).zip(&entry.listened).filter(|(_, listened)| !**listened) {
            came.insert(user);
            wake.notify_one();
        }
    }

    pub(super) fn leave(&self, user: UserId) {
        if let Some(entry) = self.state().users.get_mut(&user) {
            entry.sockets = entry.sockets.saturating_sub(1);
            if entry.sockets == 0 {
                entry.left_at = Some(Instant::now());
            }
        }
    }

    /// Waits until the user's channel is listened to by every link that is up.
    pub(super) async fn listens(&self, user: UserId, up: impl Fn() -> Vec<bool>) {
        let mut done = self.done.subscribe();
        loop {
            let is_there = self.state().users.get(&user).is_none_or(|entry| entry.listened.iter().zip(up()).all(|(listened, is_up)| *listened || !is_up));
            if is_there || done.changed().await.is_err() {
                return;
            }
        }
    }

    /// The next users whose channels a link is to listen to. Whoever cannot gives them back.
    fn take_came(&self, link: usize) -> Vec<UserId> {
        let mut state = self.state();
        let next: Vec<_> = state.came[link].iter().copied().take(BATCH).collect();
        for user in &next {
            state.came[link].remove(user);
        }
        next
    }

    fn give_back(&self, link: usize, users: Vec<UserId>) {
        self.state().came[link].extend(users);
    }

    fn listened(&self, link: usize, users: &[UserId]) {
        let mut state = self.state();
        for user in users {
            if let Some(entry) = state.users.get_mut(user) {
                entry.listened[link] = true;
            }
        }
        drop(state);
        self.done.send_modify(|count| *count += 1);
    }

    /// The next users whose channels a link need not listen to any more.
    fn take_gone(&self, link: usize) -> Vec<UserId> {
        let mut state = self.state();
        let has_gone = |entry: &Entry| entry.left_at.is_some_and(|at| at.elapsed() > LINGER);
        let gone: Vec<_> = state.users.iter().filter(|(_, entry)| has_gone(entry)).map(|(user, _)| *user).take(BATCH).collect();
        let mut ended = Vec::new();
        for user in gone {
            state.came[link].remove(&user);
            let Some(entry) = state.users.get_mut(&user) else { continue };
            if std::mem::take(&mut entry.listened[link]) {
                ended.push(user);
            }
            if !entry.listened.contains(&true) {
                state.users.remove(&user);
            }
        }
        ended
    }

    /// The link listens to nothing any more.
    fn forget(&self, link: usize) {
        let mut state = self.state();
        let State { users, came } = &mut *state;
        for (user, entry) in users {
            entry.listened[link] = false;
            if entry.sockets > 0 {
                came[link].insert(*user);
            }
        }
        drop(state);
        self.done.send_modify(|count| *count += 1);
    }
}

/// Has a link listen to the channels of those who are here, for ever. When it may have missed something, it says so once it
/// listens to all of them again.
pub(super) async fn keep_up(registry: Arc<Registry>, number: usize, link: Arc<dyn Link>, inbox: mpsc::Sender<Arrived>) {
    let mut generation = None;
    let mut has_missed = false;
    loop {
        if generation != Some(link.generation()) {
            if generation.is_some() {
                registry.forget(number);
                has_missed = true;
            }
            if !link.is_up() {
                link.changed().await;
                continue;
            }
            let begun = link.generation();
            if link.subscribe(&[Channel::Presence]).await.is_err() {
                has_missed = true;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            generation = Some(begun);
        }
        let came = registry.take_came(number);
        if came.is_empty() {
            if std::mem::take(&mut has_missed) && inbox.send(Arrived::Gap).await.is_err() {
                return;
            }
            tokio::select! {
                () = registry.wake[number].notified() => {}
                () = link.changed() => {}
                () = tokio::time::sleep(LINGER) => {
                    let gone: Vec<_> = registry.take_gone(number).into_iter().map(Channel::User).collect();
                    // To Redis, the end of none is the end of all.
                    if !gone.is_empty() {
                        link.unsubscribe(&gone).await;
                    }
                }
            }
            continue;
        }
        match link.subscribe(&came.iter().copied().map(Channel::User).collect::<Vec<_>>()).await {
            Ok(()) => registry.listened(number, &came),
            Err(error) => {
                tracing::debug!(%error, "channels cannot be listened to now");
                has_missed = true;
                registry.give_back(number, came);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    #[tokio::test(start_paused = true)]
    async fn channels_are_begun_and_ended_many_at_a_time() {
        let registry = Registry::new(2);
        for number in 0..BATCH as u128 + 10 {
            registry.join(user(number));
            registry.join(user(number));
        }
        let first = registry.take_came(0);
        assert_eq!(first.len(), BATCH);
        registry.listened(0, &first);
        registry.give_back(0, vec![first[0]]);
        let rest = registry.take_came(0);
        assert_eq!((rest.len(), registry.take_came(0).len(), registry.take_came(1).len()), (11, 0, BATCH));
        for number in 0..BATCH as u128 + 10 {
            registry.leave(user(number));
        }
        tokio::time::advance(LINGER * 2).await;
        assert!(registry.take_gone(0).is_empty(), "each still has a socket");
        first.iter().for_each(|user| registry.leave(*user));
        assert!(registry.take_gone(0).is_empty(), "they may come again at once");
        registry.join(first[1]);
        tokio::time::advance(LINGER * 2).await;
        assert_eq!(registry.take_gone(0).len(), BATCH - 1);
        assert!(registry.take_gone(0).is_empty());
    }

    /// Notes what it is asked to end.
    #[derive(Default)]
    struct Noting(Mutex<Vec<Vec<Channel>>>);

    #[async_trait::async_trait]
    impl Link for Noting {
        fn is_up(&self) -> bool {
            true
        }

        async fn publish(&self, _: &[(Channel, bytes::Bytes)]) -> wa_core::ports::Stored<()> {
            Ok(())
        }

        async fn subscribe(&self, _: &[Channel]) -> wa_core::ports::Stored<()> {
            Ok(())
        }

        async fn unsubscribe(&self, channels: &[Channel]) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(channels.to_vec());
        }

        fn generation(&self) -> u64 {
            0
        }

        async fn changed(&self) {
            std::future::pending::<()>().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_ended_while_everybody_stays() {
        let (registry, link) = (Arc::new(Registry::new(1)), Arc::new(Noting::default()));
        let (inbox, _arrived) = mpsc::channel(1);
        registry.join(user(1));
        let keeping = tokio::spawn(keep_up(Arc::clone(&registry), 0, Arc::clone(&link) as _, inbox));
        registry.listens(user(1), || vec![true]).await;
        tokio::time::sleep(LINGER * 5).await;
        assert!(link.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty(), "to end no channel could be understood as to end all");
        registry.leave(user(1));
        tokio::time::sleep(LINGER * 5).await;
        assert_eq!(*link.0.lock().unwrap_or_else(PoisonError::into_inner), [[Channel::User(user(1))]]);
        keeping.abort();
    }

    #[tokio::test]
    async fn whoever_waits_waits_for_the_links_that_are_up() {
        use futures_util::FutureExt as _;
        let registry = Registry::new(2);
        registry.join(user(1));
        let waits = |up: [bool; 2]| registry.listens(user(1), move || up.to_vec()).now_or_never().is_none();
        assert!(waits([true, false]) && waits([true, true]) && !waits([false, false]));
        registry.listened(0, &[user(1)]);
        assert!(!waits([true, false]) && waits([true, true]));
        registry.forget(0);
        assert!(waits([true, false]));
        assert_eq!(registry.take_came(0), [user(1)]);
    }
}
