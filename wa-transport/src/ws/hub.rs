//! All open sockets of this process, by user and by device, and who watches whose presence. It knows nothing of events
//! ([`super::Delivery`]) and nothing of connections ([`super::session`]).

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;
use wa_core::error::Unauthenticated;
use wa_core::id::{ConnectionId, DeviceId, UserId};
use wa_core::ports::FanOut;

use super::close::Close;
use super::socket::{Outgoing, Socket};
use crate::metrics::Metrics;

/// How many parts the maps have, so that threads rarely meet at a lock.
const SHARDS: usize = 64;

/// So many users are looked through one by one; more are looked up.
const FEW: usize = 16;

/// When sockets are asked to come back after a shutdown, in milliseconds: the first after half a second, then 500 in each, and
/// with more than 6,000 of them again from the first on.
const FIRST_BACK: u16 = 500;
const BACK_EVERY: usize = 2;
const LATEST_BACK: u16 = 12_500;

/// Brings events for users from other processes. A process alone needs none.
#[async_trait]
pub trait UserChannels: Send + Sync {
    /// One more socket of this user is here.
    fn join(&self, user: UserId);

    /// Waits until what is announced to this user from now on reaches this process, but not for ever.
    async fn joined(&self, user: UserId);

    /// One socket of this user less is here.
    fn leave(&self, user: UserId);
}

/// All open sockets of this process.
pub struct Hub {
    users: Sharded<UserId, Vec<Arc<Socket>>>,
    devices: Sharded<DeviceId, Vec<Arc<Socket>>>,
    watches: Sharded<UserId, Vec<Watch>>,
    open: AtomicUsize,
    limit: usize,
    shutting_down: AtomicBool,
    pub(super) tasks: TaskTracker,
    metrics: Metrics,
    channels: OnceLock<Arc<dyn UserChannels>>,
}

/// A socket's subscription to the presence of a user.
struct Watch {
    socket: Arc<Socket>,
    /// Whether it has been told the present state; until then a change tells it.
    told: bool,
}

struct Sharded<K, V> {
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<K, V>>]>,
}

impl<K: Hash + Eq, V> Sharded<K, V> {
    fn new() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect() }
    }

    fn of(&self, key: &K) -> MutexGuard<'_, HashMap<K, V>> {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> impl Iterator<Item = MutexGuard<'_, HashMap<K, V>>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes one value out of the list of a key, and the key with the last one.
fn remove<K: Hash + Eq, V>(map: &mut HashMap<K, Vec<V>>, key: &K, is_it: impl Fn(&V) -> bool) {
    if let Some(values) = map.get_mut(key) {
        values.retain(|value| !is_it(value));
        if values.is_empty() {
            map.remove(key);
        }
    }
}

impl Hub {
    /// A hub for at most this many sockets (`Limits::ws_connections`).
    #[must_use]
    pub fn new(connections: usize, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            users: Sharded::new(),
            devices: Sharded::new(),
            watches: Sharded::new(),
            open: AtomicUsize::new(0),
            limit: connections,
            shutting_down: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            metrics,
            channels: OnceLock::new(),
        })
    }

    /// How many sockets are open or being opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Tells all sockets to go away (close 1001) once what they asked for is answered, takes no new ones, and waits until
    /// all are gone or `grace` has passed. Returns how many are left.
    pub async fn shutdown(&self, grace: Duration) -> usize {
        self.shutting_down.store(true, Ordering::SeqCst);
        self.send_away();
        self.tasks.close();
        let _ = tokio::time::timeout(grace, self.tasks.wait()).await;
        self.connections()
    }

    /// A place for one more socket; `None` if all are taken or the hub shuts down.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        if self.shutting_down.load(Ordering::SeqCst) {
            return None;
        }
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < self.limit).then_some(open + 1)).ok()?;
        self.metrics.ws_connections().inc();
        Some(Place { hub: self.clone() })
    }

    /// Has events for users come from other processes as well. To be said before the first socket comes.
    pub fn connect(&self, channels: Arc<dyn UserChannels>) {
        // Whoever comes second is of the same process.
        let _ = self.channels.set(channels);
    }

    /// Waits until what is announced to this user from now on reaches this process.
    pub(super) async fn reachable(&self, user: UserId) {
        if let Some(channels) = self.channels.get() {
            channels.joined(user).await;
        }
    }

    /// Everybody who is here, each once.
    pub(super) fn present(&self) -> Vec<UserId> {
        let mut users = Vec::new();
        for shard in self.users.all() {
            users.extend(shard.keys().copied());
        }
        users
    }

    /// Makes a socket known: from here on events and cuts reach it.
    pub(super) fn register(&self, socket: &Arc<Socket>) {
        if let Some(channels) = self.channels.get() {
            channels.join(socket.caller.user_id);
        }
        self.devices.of(&socket.caller.device_id).entry(socket.caller.device_id).or_default().push(socket.clone());
        self.users.of(&socket.caller.user_id).entry(socket.caller.user_id).or_default().push(socket.clone());
        // A shutdown that began meanwhile may have passed this socket by.
        if self.shutting_down.load(Ordering::SeqCst) {
            socket.close(Close::GoingAway(FIRST_BACK));
        }
    }

    /// Forgets a socket and its presence subscriptions.
    pub(super) fn unregister(&self, socket: &Socket, watched: &HashSet<UserId>) {
        remove(&mut self.devices.of(&socket.caller.device_id), &socket.caller.device_id, |other| other.id == socket.id);
        remove(&mut self.users.of(&socket.caller.user_id), &socket.caller.user_id, |other| other.id == socket.id);
        for user in watched {
            self.unwatch(socket, *user);
        }
        if let Some(channels) = self.channels.get() {
            channels.leave(socket.caller.user_id);
        }
    }

    /// Closes the other sockets of the device: the newest one replaces them.
    pub(super) fn replace_older(&self, socket: &Socket) {
        let mut device = self.devices.of(&socket.caller.device_id);
        let sockets = device.get_mut(&socket.caller.device_id).map_or(&[][..], |sockets| &sockets[..]);
        // Sockets stand in the order in which they came; of two that open at once, the later one stays.
        for older in sockets.iter().take_while(|other| other.id != socket.id) {
            older.close(Close::Replaced);
        }
    }

    /// Whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        self.connections() == 0
    }

    /// The sockets of these users but the one the event came over.
    pub(super) fn sockets(&self, users: &[UserId], except: Option<ConnectionId>) -> Vec<Arc<Socket>> {
        let mut sockets = Vec::new();
        for user in users {
            if let Some(of_user) = self.users.of(user).get(user) {
                sockets.extend(of_user.iter().filter(|socket| Some(socket.id) != except).cloned());
            }
        }
        sockets
    }

    /// Subscribes a socket to the presence of a user, who counts as not told yet.
    pub(super) fn watch(&self, socket: &Arc<Socket>, user: UserId) {
        let mut watches = self.watches.of(&user);
        let watches = watches.entry(user).or_default();
        match watches.iter_mut().find(|watch| watch.socket.id == socket.id) {
            Some(watch) => watch.told = false,
            None => watches.push(Watch { socket: socket.clone(), told: false }),
        }
    }

    /// Ends the subscription.
    pub(super) fn unwatch(&self, socket: &Socket, user: UserId) {
        remove(&mut self.watches.of(&user), &user, |watch| watch.socket.id == socket.id);
    }

    /// Tells a socket the present state of a user, unless a change overtook it or the subscription was ended.
    pub(super) fn tell_state(&self, socket: &Socket, user: UserId, frame: Outgoing) {
        let mut watches = self.watches.of(&user);
        if let Some(watch) = watches.get_mut(&user).and_then(|watches| watches.iter_mut().find(|watch| watch.socket.id == socket.id))
            && !watch.told
        {
            watch.told = true;
            watch.socket.push(frame);
        }
    }

    /// The users who watch a user's presence from here, each once.
    pub(super) fn watchers(&self, user: UserId) -> Vec<UserId> {
        let watches = self.watches.of(&user);
        let users: HashSet<_> = watches.get(&user).into_iter().flatten().map(|watch| watch.socket.caller.user_id).collect();
        users.into_iter().collect()
    }

    /// Tells those of the watching sockets that belong to these users of a change.
    pub(super) fn tell_change(&self, user: UserId, recipients: &[UserId], frame: &Outgoing) {
        let many: Option<HashSet<&UserId>> = (recipients.len() > FEW).then(|| recipients.iter().collect());
        let is_told = |watcher: &UserId| many.as_ref().map_or_else(|| recipients.contains(watcher), |many| many.contains(watcher));
        let mut watches = self.watches.of(&user);
        for watch in watches.get_mut(&user).into_iter().flatten().filter(|watch| is_told(&watch.socket.caller.user_id)) {
            watch.told = true;
            watch.socket.push(frame.clone());
        }
    }

    /// Tells every socket to go away, and each when to come back: one after the other, so that whoever takes them next is not
    /// overrun.
    fn send_away(&self) {
        let mut backs = (0..=LATEST_BACK - FIRST_BACK).step_by(BACK_EVERY).map(|after| FIRST_BACK + after).cycle();
        for shard in self.users.all() {
            for (socket, wait) in shard.values().flatten().zip(backs.by_ref()) {
                socket.close(Close::GoingAway(wait));
            }
        }
    }

    /// Closes every socket.
    pub(super) fn close_all(&self, why: Close) {
        for shard in self.users.all() {
            for socket in shard.values().flatten() {
                socket.close(why);
            }
        }
    }
}

#[async_trait]
impl FanOut for Hub {
    async fn cut(&self, devices: &[DeviceId]) {
        #[cfg(feature = "planted")]
        if wa_core::faults::planted("skip_cut") {
            return;
        }
        let mut cut = Vec::new();
        for device in devices {
            cut.extend(self.devices.of(device).get(device).into_iter().flatten().cloned());
        }
        for socket in &cut {
            socket.close(Close::Unauthorized(Unauthenticated::Invalid));
        }
        for socket in &cut {
            socket.quiescent().await;
        }
    }
}

/// A place in the hub, given back when dropped.
pub(super) struct Place {
    hub: Arc<Hub>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.open.fetch_sub(1, Ordering::Relaxed);
        self.hub.metrics.ws_connections().dec();
    }
}
