//! The connection to Redis. One that fails or falls silent is given up at once, and every call fails without waiting until
//! a new one stands, which one task keeps trying: a dead Redis costs nothing per message. Answers are awaited for a short
//! time, and calls under way are bounded.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use wa_core::error::StoreError;
use wa_core::ports::{Env, EnvExt as _, Stored};

use super::BACKEND;
use crate::OpenError;

/// For one answer, and for a place among the calls under way: what is on a message's way must not wait for long.
const ANSWER: Duration = Duration::from_millis(400);
/// For a new connection, with all that is asked on it.
const CONNECT: Duration = Duration::from_secs(2);
/// Calls under way at a time.
const IN_FLIGHT: usize = 512;
/// The pause before a lost connection is tried again, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The oldest release that has every command the scripts use (ZMSCORE, ZADD GT).
const OLDEST: (u32, u32) = (6, 2);

/// Why a server will not do.
enum Refusal {
    Credentials,
    Permission,
    Version(String),
    Replica,
    Unreachable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials => f.write_str("it refuses the user or the password, or wants one; write redis://user:password@host:port"),
            Self::Permission => f.write_str("its user may not do what is needed; docs/operating.md names the commands"),
            Self::Version(version) => write!(f, "it is version {version}, and {}.{} or newer is needed", OLDEST.0, OLDEST.1),
            Self::Replica => f.write_str("it is a read-only replica; name the primary"),
            Self::Unreachable(why) => write!(f, "it does not answer: {why}; check that it runs, and its address"),
        }
    }
}

impl From<RedisError> for Refusal {
    fn from(error: RedisError) -> Self {
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => Self::Credentials,
            (ErrorKind::Server(ServerErrorKind::NoPerm), _) | (_, Some("NOPERM")) => Self::Permission,
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

/// A connection that stood when it was last heard of.
#[derive(Clone)]
struct Standing {
    connection: MultiplexedConnection,
    generation: u64,
}

struct Shared {
    client: Client,
    settings: AsyncConnectionConfig,
    standing: RwLock<Option<Standing>>,
    /// How many connections there were.
    generation: AtomicU64,
    lost: Notify,
    in_flight: Semaphore,
}

/// The connection of this process to Redis.
pub(crate) struct Link {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Link {
    /// Connects; from then on lost connections are replaced.
    pub(super) async fn open(info: ConnectionInfo, env: Arc<dyn Env>) -> Result<Self, OpenError> {
        let client = Client::open(info).map_err(|error| OpenError::Cache { reason: error.category().to_owned() })?;
        let settings =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER)).set_pipeline_buffer_size(IN_FLIGHT);
        let shared = Arc::new(Shared {
            client,
            settings,
            standing: RwLock::new(None),
            generation: AtomicU64::new(0),
            lost: Notify::new(),
            in_flight: Semaphore::new(IN_FLIGHT),
        });
        let connection = shared.connect().await.map_err(|refusal| OpenError::CacheDown { reason: refusal.to_string() })?;
        shared.stands(connection);
        let keeper = tokio::spawn(keep(Arc::clone(&shared), env));
        Ok(Self { shared, keeper })
    }

    /// How many connections there have been: what was said on an earlier one may be lost.
    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Whether there is a connection.
    pub(crate) fn is_up(&self) -> bool {
        self.shared.standing().is_some()
    }

    /// Whether Redis answers.
    pub(crate) async fn check(&self) -> Stored<()> {
        self.query::<String>(&::redis::cmd("PING")).await.map(drop)
    }

    /// Runs a command.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Stored<T> {
        let mut standing = self.standing()?;
        let _place = self.place().await?;
        let answer = command.query_async(&mut standing.connection);
        self.settle(standing.generation, answer).await
    }

    /// Runs a script, which is loaded where Redis does not have it.
    pub(super) async fn run<T: FromRedisValue + Send>(&self, script: &ScriptInvocation<'_>) -> Stored<T> {
        let mut standing = self.standing()?;
        let _place = self.place().await?;
        let answer = script.invoke_async(&mut standing.connection);
        self.settle(standing.generation, answer).await
    }

    fn standing(&self) -> Stored<Standing> {
        self.shared.standing().ok_or_else(|| StoreError::unavailable(BACKEND, "there is no connection"))
    }

    async fn place(&self) -> Stored<tokio::sync::SemaphorePermit<'_>> {
        match timeout(ANSWER, self.shared.in_flight.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(closed)) => Err(StoreError::other(BACKEND, closed)),
            Err(_) => Err(StoreError::unavailable(BACKEND, "too many calls are under way")),
        }
    }

    async fn settle<T>(&self, generation: u64, answer: impl Future<Output = Result<T, RedisError>> + Send) -> Stored<T> {
        // A script that has to be loaded first is answered thrice.
        let Ok(answer) = timeout(ANSWER + ANSWER / 4, answer).await else {
            self.shared.give_up(generation, "no answer in time");
            return Err(StoreError::unavailable(BACKEND, "no answer in time"));
        };
        answer.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedReturnType | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoPerm) => StoreError::other(BACKEND, error),
            // Full, or not able to save: the connection is as good as any.
            ErrorKind::Extension if matches!(error.code(), Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY")) => StoreError::unavailable(BACKEND, error),
            _ => {
                self.shared.give_up(generation, &error.to_string());
                StoreError::unavailable(BACKEND, error)
            }
        })
    }
}

impl Shared {
    fn standing(&self) -> Option<Standing> {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stands(&self, connection: MultiplexedConnection) {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = Some(Standing { connection, generation });
    }

    /// Lets a connection go, unless it was replaced already.
    fn give_up(&self, generation: u64, why: &str) {
        let mut standing = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        if standing.as_ref().is_some_and(|standing| standing.generation == generation) {
            *standing = None;
            drop(standing);
            tracing::warn!(
                reason = why,
                "the connection to Redis is lost: no codes, presence and typing until it is back, and limits count on this node alone"
            );
            self.lost.notify_one();
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Refusal> {
        let connect = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&self.settings).await?;
            let about: String = ::redis::cmd("INFO").query_async(&mut connection).await?;
            acceptable(&about)?;
            Ok(connection)
        };
        timeout(CONNECT, connect).await.unwrap_or_else(|_| Err(Refusal::Unreachable("no answer in time".to_owned())))
    }
}

/// Whether what a server tells of itself will do.
fn acceptable(about: &str) -> Result<(), Refusal> {
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let version = field("redis_version").unwrap_or("unknown");
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
        return Err(Refusal::Version(version.to_owned()));
    }
    if field("role") == Some("slave") { Err(Refusal::Replica) } else { Ok(()) }
}

/// Replaces connections that are lost, for ever.
async fn keep(shared: Arc<Shared>, env: Arc<dyn Env>) {
    loop {
        shared.lost.notified().await;
        let mut pause = FIRST_PAUSE;
        loop {
            // Between half of it and all of it, so that nodes do not come back all at once.
            sleep(pause / 2 + pause * env.below(512) / 1024).await;
            match shared.connect().await {
                Ok(connection) => break shared.stands(connection),
                Err(refusal) => tracing::debug!(%refusal, "Redis is still away"),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tracing::info!("the connection to Redis is back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_and_replicas_will_not_do() {
        let said = |about: &str| acceptable(about).err().map(|refusal| refusal.to_string());
        assert_eq!(said("# Server\r\nredis_version:7.0.15\r\n# Replication\r\nrole:master\r\n"), None);
        assert_eq!(said("redis_version:6.2.0\r\n"), None);
        assert!(said("redis_version:6.0.16\r\n").is_some_and(|said| said.contains("6.0.16") && said.contains("6.2")));
        assert!(said("nothing").is_some());
        assert!(said("redis_version:7.2.1\r\nrole:slave\r\n").is_some_and(|said| said.contains("primary")));
    }
}
