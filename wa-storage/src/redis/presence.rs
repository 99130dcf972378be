//! Who is connected to any node. `presence:<user>` holds a lease for each connection, named `<node>:<connection>`, and the
//! sorted set `presence:leases` until when the last lease of each user runs. Whoever is in that set is online; whatever takes
//! a user in or out of it is announced, once.
//!
//! A node knows its own connections and renews their leases in bulk. What Redis could not be told, or may have forgotten, is
//! told with the next renewal. Leases that ran out are taken out by whichever node comes first, but not where nobody could
//! have renewed them: after a time in which no node got through to Redis, all leases run on for as long as they last.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::Script;
use async_trait::async_trait;
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::id::{ConnectionId, UserId};
use wa_core::ports::{CameAndWent, PresenceStore, Stored};

use super::{BACKEND, Redis, at_now};

/// How long a connection counts that its node does not renew (contract, section 3.6).
const LEASE: Duration = Duration::from_secs(60);
/// If for so long no node looked for leases that ran out, none could renew them either.
const SILENCE: Duration = Duration::from_secs(5);
/// Leases renewed by one script, which holds up all others meanwhile.
const RENEWED_AT_A_TIME: usize = 256;
/// Users taken out by one script.
const TAKEN_AT_A_TIME: usize = 500;
/// Connections that ended unnoticed and are remembered; the leases of further ones run out.
const REMEMBERED: usize = 100_000;

/// Notes a connection. 1 if the user came by it.
static CONNECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(at_now!(
        "local came = redis.call('ZADD', KEYS[2], 'GT', now + ARGV[2], ARGV[4])\n\
         redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])\n\
         return came"
    ))
});

/// Forgets a connection. 1 if the user went by it, 2 if they were not there.
static DISCONNECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('ZREM', KEYS[1], ARGV[1])\n\
         local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')\n\
         if last[2] then redis.call('ZADD', KEYS[2], 'XX', last[2], ARGV[2]); return 0 end\n\
         return 2 - redis.call('ZREM', KEYS[2], ARGV[2])",
    )
});

/// Renews leases, which come as pairs of user and connection, and clears away those of connections that ended long ago with
/// their nodes. The places of the pairs whose users came by it.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(at_now!(
        "local came, expiry = {}, now + ARGV[2]\n\
         for i = 4, #ARGV, 2 do\n\
           local key = ARGV[3] .. ARGV[i]\n\
           if redis.call('ZADD', KEYS[1], 'GT', expiry, ARGV[i]) == 1 then came[#came + 1] = (i - 4) / 2 end\n\
           redis.call('ZADD', key, expiry, ARGV[i + 1])\n\
           redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - ARGV[2]))\n\
         end\n\
         return came"
    ))
});

/// Takes out those whose leases ran out.
static EXPIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(at_now!(
        "local state = redis.call('HMGET', KEYS[2], 'looked_at', 'patient_until')\n\
         redis.call('HSET', KEYS[2], 'looked_at', now)\n\
         if not state[1] or now - state[1] > tonumber(ARGV[3]) then\n\
           redis.call('HSET', KEYS[2], 'patient_until', now + ARGV[2])\n\
           return {}\n\
         end\n\
         if state[2] and now < tonumber(state[2]) then return {} end\n\
         local users = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[5])\n\
         for _, user in ipairs(users) do redis.call('ZREM', KEYS[1], user); redis.call('DEL', ARGV[4] .. user) end\n\
         return users"
    ))
});

/// What Redis knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    /// It is being told.
    UnderWay,
    /// It was told.
    Noted,
    /// It could not be told, or did not answer: whether the user came by it, nobody knows.
    Doubtful,
}

#[derive(Default)]
struct Own {
    connections: HashMap<UserId, HashMap<ConnectionId, Note>>,
    /// Connections that ended when Redis did not answer.
    ended: HashSet<(UserId, ConnectionId)>,
    /// The connection to Redis over which all of them were noted.
    generation: u64,
}

impl Own {
    fn note(&mut self, user: UserId, connection: ConnectionId) -> Option<&mut Note> {
        self.connections.get_mut(&user)?.get_mut(&connection)
    }

    fn forget(&mut self, user: UserId, connection: ConnectionId) -> bool {
        let Entry::Occupied(mut of_user) = self.connections.entry(user) else { return false };
        let known = of_user.get_mut().remove(&connection).is_some();
        if of_user.get().is_empty() {
            of_user.remove();
        }
        known
    }
}

/// What a connection was that ended.
#[derive(PartialEq, Eq)]
enum Ended {
    /// One of several of its user.
    NotLast,
    /// The last one: its user went by it.
    Last,
    /// One of a user who was away already.
    Unknown,
}

/// Presence in Redis.
pub(crate) struct RedisPresenceStore {
    redis: Arc<Redis>,
    own: Mutex<Own>,
}

impl RedisPresenceStore {
    pub(crate) fn new(redis: Arc<Redis>) -> Self {
        let own = Own { generation: redis.link.generation(), ..Own::default() };
        Self { redis, own: Mutex::new(own) }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        // Every change is made whole before the lock is let go.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> String {
        self.redis.key("presence", "leases")
    }

    fn lease(&self, connection: ConnectionId) -> String {
        format!("{}:{connection}", self.redis.node)
    }

    async fn end(&self, user: UserId, connection: ConnectionId) -> Stored<Ended> {
        let redis = &self.redis;
        let mut script = DISCONNECT.key(redis.key("presence", user));
        let ended: u8 = redis.link.run(script.key(self.leases()).arg(self.lease(connection)).arg(user.to_string())).await?;
        Ok(match ended {
            0 => Ended::NotLast,
            1 => Ended::Last,
            _ => Ended::Unknown,
        })
    }

    /// Remembers connections whose end Redis could not be told.
    fn remember(&self, ended: impl IntoIterator<Item = (UserId, ConnectionId)>) {
        let mut own = self.own();
        let room = REMEMBERED.saturating_sub(own.ended.len());
        own.ended.extend(ended.into_iter().take(room));
    }

    /// Tells Redis of connections that ended while it did not answer.
    async fn end_remembered(&self, changes: &mut CameAndWent) -> Stored<()> {
        let mut ended: Vec<_> = std::mem::take(&mut self.own().ended).into_iter().collect();
        while let Some((user, connection)) = ended.last().copied() {
            match self.end(user, connection).await {
                // If they were away already it may be that the answer was lost: it is told again rather than never.
                Ok(how) => changes.went.extend((how != Ended::NotLast).then_some(user)),
                Err(error) => {
                    self.remember(ended);
                    return Err(error);
                }
            }
            ended.pop();
        }
        Ok(())
    }

    /// Renews the leases of these connections.
    async fn renew_some(&self, connections: &[(UserId, ConnectionId)], all_doubtful: bool, came: &mut BTreeSet<UserId>) -> Stored<()> {
        let redis = &self.redis;
        let mut script = RENEW.key(self.leases());
        script.arg(redis.now()).arg(LEASE.as_millis()).arg(redis.key("presence", ""));
        for (user, connection) in connections {
            script.arg(user.to_string()).arg(self.lease(*connection));
        }
        let came_by_it: HashSet<usize> = redis.link.run::<Vec<usize>>(&script).await?.into_iter().collect();
        let mut ended_meanwhile = Vec::new();
        {
            let mut own = self.own();
            for (place, &(user, connection)) in connections.iter().enumerate() {
                match own.note(user, connection) {
                    Some(note) => {
                        let is_news = came_by_it.contains(&place) || all_doubtful || *note == Note::Doubtful;
                        *note = Note::Noted;
                        came.extend(is_news.then_some(user));
                    }
                    None => ended_meanwhile.push((user, connection)),
                }
            }
        }
        // What was renewed after its end has come and gone without anybody's knowing.
        for (user, connection) in ended_meanwhile {
            self.end(user, connection).await?;
        }
        Ok(())
    }

    async fn renew_all(&self, changes: &mut CameAndWent) -> Stored<()> {
        self.end_remembered(changes).await?;
        let generation = self.redis.link.generation();
        let (connections, all_doubtful) = {
            let own = self.own();
            let known = own.connections.iter().flat_map(|(user, connections)| connections.iter().map(|(connection, note)| (*user, *connection, *note)));
            let told = known.filter(|(_, _, note)| *note != Note::UnderWay).map(|(user, connection, _)| (user, connection));
            (told.collect::<Vec<_>>(), own.generation != generation)
        };
        let mut came = BTreeSet::new();
        let mut result = Ok(());
        for some in connections.chunks(RENEWED_AT_A_TIME) {
            result = self.renew_some(some, all_doubtful, &mut came).await;
            if result.is_err() {
                break;
            }
        }
        changes.came.extend(came);
        if result.is_ok() {
            self.own().generation = generation;
        }
        result
    }
}

/// What was found out counts even if the rest failed, which is tried again.
fn found(changes: CameAndWent, result: Stored<()>) -> Stored<CameAndWent> {
    match result {
        Err(error) if changes == CameAndWent::default() => Err(error),
        _ => Ok(changes),
    }
}

#[async_trait]
impl PresenceStore for RedisPresenceStore {
    async fn connect(&self, user: UserId, connection: ConnectionId) -> Stored<bool> {
        {
            let mut own = self.own();
            own.ended.remove(&(user, connection));
            match own.connections.entry(user).or_default().entry(connection) {
                // Its lease is renewed with all others.
                Entry::Occupied(_) => return Ok(false),
                Entry::Vacant(place) => _ = place.insert(Note::UnderWay),
            }
        }
        let redis = &self.redis;
        let mut script = CONNECT.key(redis.key("presence", user));
        let script = script.key(self.leases()).arg(redis.now()).arg(LEASE.as_millis()).arg(self.lease(connection)).arg(user.to_string());
        let came: Stored<bool> = redis.link.run(script).await;
        if let Some(note) = self.own().note(user, connection) {
            *note = if came.is_ok() { Note::Noted } else { Note::Doubtful };
        }
        known(came)
    }

    async fn disconnect(&self, user: UserId, connection: ConnectionId) -> Stored<bool> {
        if !self.own().forget(user, connection) {
            return Ok(false);
        }
        let ended = self.end(user, connection).await;
        if ended.is_err() {
            self.remember([(user, connection)]);
        }
        known(ended.map(|how| how == Ended::Last))
    }

    async fn online(&self, users: &[UserId]) -> Stored<Vec<UserId>> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = ::redis::cmd("ZMSCORE");
        command.arg(self.leases());
        for user in users {
            command.arg(user.to_string());
        }
        let leases: Vec<Option<f64>> = self.redis.link.query(&command).await?;
        Ok(users.iter().zip(leases).filter_map(|(user, lease)| lease.map(|_| *user)).collect())
    }

    async fn renew(&self) -> Stored<CameAndWent> {
        let mut changes = CameAndWent::default();
        let result = self.renew_all(&mut changes).await;
        found(changes, result)
    }

    async fn expire(&self) -> Stored<CameAndWent> {
        let redis = &self.redis;
        let mut script = EXPIRE.key(self.leases());
        let script = script.key(redis.key("presence", "expiry")).arg(redis.now()).arg(LEASE.as_millis()).arg(SILENCE.as_millis());
        let users: Vec<String> = redis.link.run(script.arg(redis.key("presence", "")).arg(TAKEN_AT_A_TIME)).await?;
        let unreadable = |_| StoreError::corrupt(BACKEND, "a lease is of no user");
        let went = users.iter().map(|user| user.parse().map_err(unreadable)).collect::<Stored<_>>()?;
        let mut changes = CameAndWent { went, came: Vec::new() };
        // On a new connection nobody waits for the next renewal: Redis may have lost what it knew.
        let is_new = self.own().generation != redis.link.generation();
        let result = if is_new { self.renew_all(&mut changes).await } else { Ok(()) };
        found(changes, result)
    }
}

/// While Redis is away nobody comes or goes as far as is known; the next renewal tells.
fn known(changed: Stored<bool>) -> Stored<bool> {
    match changed {
        Err(error) if error.kind == StoreErrorKind::Unavailable => {
            tracing::debug!(%error, "who is connected is told once Redis is back");
            Ok(false)
        }
        other => other,
    }
}
