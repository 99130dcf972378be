//! PostgreSQL as a client meets it: connections and the pool of them, what bounds a statement, what errors mean, and what
//! must be true of a server before anything is stored there.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPoolOptions, PgRow};
use sqlx::{Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, Postgres};
use tokio::time::timeout;
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::ports::Stored;

use super::db::{Dialect, PoolUse};
use super::statement::{Statement, Text, Value};
use crate::migrate;
use crate::open::OpenError;

/// `idle_session_timeout`, by which another node takes over from one that was stopped, came with it.
const AT_LEAST: i32 = 140_000;

/// Every answer comes within 5 s: so long for a connection, for a statement on the server, and for its answer to come here.
const CONNECT_WITHIN: Duration = Duration::from_millis(1500);
const STATEMENT_TIMEOUT: &str = "2500ms";
const LOCK_TIMEOUT: &str = "1500ms";
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A transaction whose client went away without a word holds its locks no longer.
const IDLE_IN_TRANSACTION: &str = "5s";

/// A connection that was idle for longer is asked whether it lives before it is used.
const FRESH: Duration = Duration::from_secs(1);

/// Connections that are tried when one turns out to be dead: the server may have been started again.
const TRIES: usize = 4;

/// Connections that write messages and receipts, the one that leads the relay or waits to, and the one for the turn of pushes.
pub(super) const LANES: u32 = 4;
const APART: u32 = LANES + 2;

/// A database on a server.
#[derive(Debug)]
pub(super) struct Server {
    options: PgConnectOptions,
    pool: PgPool,
}

impl Server {
    /// Connects, and brings the schema up to date. Nodes that start at once take turns.
    pub(super) async fn open(url: &str, connections: u32) -> Result<Self, OpenError> {
        let (options, shown) = options(url)?;
        let mut first = first(&options, &shown).await?;
        let is_lax = check(&mut first, &shown).await?;
        // The schema need not wait for the disk: whatever is acknowledged later is written after it.
        sqlx::query("SET synchronous_commit = off").execute(&mut first).await.map_err(|error| unusable(&shown, &error))?;
        migrate::run_up_postgres(&mut first).await.map_err(|error| OpenError::of_migration(&shown, error))?;
        close(first).await;
        let options = bounded(options, is_lax);
        let pool = PgPoolOptions::new()
            .max_connections(connections.saturating_sub(APART).max(2))
            .acquire_timeout(CONNECT_WITHIN)
            .idle_timeout(Duration::from_secs(300))
            .max_lifetime(Duration::from_secs(1800))
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.clone());
        Ok(Self { options, pool })
    }

    /// Reads on one of the pool's connections. One that was lost is replaced, as reading twice does no harm.
    pub(super) async fn fetch(&self, statement: Statement) -> Stored<Vec<PgRow>> {
        let (text, arguments) = prepare(statement);
        let mut left = TRIES;
        loop {
            left -= 1;
            let mut connection = self.acquire().await?;
            let query = sqlx::query_with(AssertSqlSafe(text.clone()), arguments.clone()).fetch_all(&mut *connection);
            match timeout(ANSWER_WITHIN, query).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) if is_lost(&error) => {
                    drop(connection.detach());
                    if left == 0 {
                        return Err(Dialect::Postgres.error(error));
                    }
                }
                Ok(Err(error)) => return Err(Dialect::Postgres.error(error)),
                Err(_) => {
                    drop(connection.detach());
                    return Err(late());
                }
            }
        }
    }

    async fn acquire(&self) -> Stored<PoolConnection<Postgres>> {
        self.pool.acquire().await.map_err(|error| Dialect::Postgres.error(error))
    }

    /// A connection of the pool, for one transaction.
    pub(super) async fn pooled(&self) -> Stored<Link> {
        self.acquire().await.map(Link::Pooled)
    }

    /// A connection of its own.
    pub(super) async fn own(&self) -> Stored<Link> {
        self.connect().await.map(Link::Own)
    }

    async fn connect(&self) -> Stored<PgConnection> {
        match timeout(CONNECT_WITHIN, self.options.connect()).await {
            Ok(connection) => connection.map_err(|error| Dialect::Postgres.error(error)),
            Err(_) => Err(late()),
        }
    }

    /// For listeners, which the library makes of pools.
    pub(super) const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(super) fn pool_use(&self) -> PoolUse {
        PoolUse { open: self.pool.size(), idle: u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    pub(super) async fn close(&self) {
        if timeout(ANSWER_WITHIN, self.pool.close()).await.is_err() {
            tracing::warn!("connections to PostgreSQL were not given back in time");
        }
    }
}

/// A connection, and where it goes afterwards.
#[derive(Debug)]
pub(super) enum Link {
    Own(PgConnection),
    Pooled(PoolConnection<Postgres>),
}

impl Link {
    fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Own(connection) => connection,
            Self::Pooled(connection) => connection,
        }
    }

    pub(super) async fn fetch(&mut self, statement: Statement) -> Result<Vec<PgRow>, sqlx::Error> {
        let (text, arguments) = prepare(statement);
        in_time(sqlx::query_with(AssertSqlSafe(text), arguments).fetch_all(self.connection())).await
    }

    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        let (text, arguments) = prepare(statement);
        in_time(sqlx::query_with(AssertSqlSafe(text), arguments).execute(self.connection())).await.map(|done| done.rows_affected())
    }

    pub(super) async fn close(self) {
        if let Self::Own(connection) = self {
            close(connection).await;
        }
    }

    /// Cuts it; the server takes back whatever its transaction did.
    pub(super) fn abandon(self) {
        match self {
            Self::Own(connection) => drop(connection),
            Self::Pooled(connection) => drop(connection.detach()),
        }
    }
}

/// Waits so long at the most, however long the server is silent.
async fn in_time<T>(doing: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(ANSWER_WITHIN, doing).await.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

pub(super) fn late() -> StoreError {
    StoreError::unavailable(Dialect::Postgres.name(), "the server does not answer in time")
}

async fn close(connection: PgConnection) {
    match timeout(CONNECT_WITHIN, connection.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection was not closed cleanly"),
        Err(_) => tracing::debug!("a connection was not closed in time"),
    }
}

fn prepare(statement: Statement) -> (std::borrow::Cow<'static, str>, PgArguments) {
    let mut arguments = PgArguments::default();
    arguments.reserve(statement.values.len(), 0);
    for value in statement.values {
        let bound = match value {
            Value::Int(number) => arguments.add(number),
            Value::Flag(flag) => arguments.add(flag),
            Value::Text(text) => arguments.add(text.as_deref()),
            Value::Id(id) => arguments.add(id),
            Value::Bytes(bytes) => arguments.add(bytes),
        };
        debug_assert!(bound.is_ok(), "plain values always encode");
    }
    let text = match statement.text {
        Text::Fixed(text) => text.into(),
        Text::Built(_, text) => text.into(),
    };
    (text, arguments)
}

/// Whether the connection is gone, as opposed to a statement having failed on it.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        // Administrators and crashes end sessions with 57P01 to 57P05; 08 is for connections.
        Some(said) => said.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        None => !matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnIndexOutOfBounds { .. }),
    }
}

/// Whether the transaction failed for what others did at the same moment, so that it may well succeed when it is tried again.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    // Serialization failure, deadlock, a row that somebody else inserts first (https://www.postgresql.org/docs/current/errcodes-appendix.html).
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| matches!(&*code, "40001" | "40P01" | "23505"))
}

/// What kind of failure the server reports.
pub(super) fn kind(error: &sqlx::Error) -> StoreErrorKind {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
    match &*code {
        "XX001" | "XX002" => StoreErrorKind::Corrupt,
        // A standby takes no writes; a database or a role may be on its way.
        "55P03" | "25006" | "3D000" => StoreErrorKind::Unavailable,
        // Connections, logins, rollbacks, resources, intervention, the system beneath.
        code if ["08", "28", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Other,
    }
}

/// What the URL says, and the database's name for people, without the password.
fn options(url: &str) -> Result<(PgConnectOptions, String), OpenError> {
    let options = PgConnectOptions::from_str(url).map_err(|error| OpenError::Database {
        database: "storage.database".to_owned(),
        reason: match error {
            sqlx::Error::Configuration(why) => why.to_string(),
            _ => "it is no URL of a database".to_owned(),
        },
        fix: "write postgres://user:password@host:5432/database, with special characters of the password percent-encoded",
        may_pass: false,
    })?;
    let name = options.get_database().unwrap_or(options.get_username());
    let shown = format!("postgres://{}:{}/{name}", options.get_host(), options.get_port());
    let options = if options.get_application_name().is_some() { options } else { options.application_name("wa-server") };
    Ok((options.statement_cache_capacity(512).disable_statement_logging(), shown))
}

/// The limits of every connection that serves.
fn bounded(options: PgConnectOptions, is_lax: bool) -> PgConnectOptions {
    let options = options.options([
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("lock_timeout", LOCK_TIMEOUT),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ("default_transaction_isolation", "read committed"),
        // Small statements in large numbers gain nothing from either, and answers stay in the order of their parts.
        ("max_parallel_workers_per_gather", "0"),
        ("jit", "off"),
    ]);
    // A server that acknowledges before it has written is asked not to; a stricter one is left as it is.
    if is_lax { options.options([("synchronous_commit", "on")]) } else { options }
}

async fn first(options: &PgConnectOptions, shown: &str) -> Result<PgConnection, OpenError> {
    match timeout(CONNECT_WITHIN * 2, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(unusable(shown, &error)),
        Err(_) => Err(OpenError::Database {
            database: shown.to_owned(),
            reason: "it does not answer".to_owned(),
            fix: "check that the server runs there and that no firewall is in between",
            may_pass: true,
        }),
    }
}

fn unusable(shown: &str, error: &sqlx::Error) -> OpenError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned();
    let fix = match (&*code, error) {
        ("28P01" | "28000", _) => "check the user and the password in storage.database, and pg_hba.conf of the server",
        ("3D000", _) => "make the database (createdb), or name another one in storage.database",
        ("53300", _) => "raise max_connections of the server, or lower storage.postgres_connections of its nodes",
        ("42501", _) => "let the user make tables there: GRANT ALL ON SCHEMA public, or make them the owner of the database",
        (_, sqlx::Error::Tls(_)) => "check sslmode and sslrootcert in storage.database, and the certificate of the server",
        (_, sqlx::Error::Io(_)) => "check that the server runs there, its port, and that it listens on that address",
        _ => "check the log of the server",
    };
    OpenError::Database { database: shown.to_owned(), reason: error.to_string(), fix, may_pass: true }
}

/// Refuses servers on which not everything would hold. Returns whether this one acknowledges before it has written.
async fn check(connection: &mut PgConnection, shown: &str) -> Result<bool, OpenError> {
    let about = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding'),
         pg_is_in_recovery(), current_setting('fsync') = 'on', current_setting('synchronous_commit') = 'off'";
    let about: (i32, String, String, bool, bool, bool) = sqlx::query_as(about).fetch_one(connection).await.map_err(|error| unusable(shown, &error))?;
    let (number, version, encoding, is_standby, is_synced, is_lax) = about;
    let refuse = |reason: String, fix, may_pass| Err(OpenError::Database { database: shown.to_owned(), reason, fix, may_pass });
    if number < AT_LEAST {
        return refuse(format!("PostgreSQL {version} is too old"), "upgrade the server to version 14 or newer", false);
    }
    if encoding != "UTF8" {
        return refuse(format!("its encoding is {encoding}"), "make a database with ENCODING 'UTF8'", false);
    }
    if is_standby {
        return refuse("it is a standby, which can only be read".to_owned(), "name the primary in storage.database", true);
    }
    if !is_synced {
        tracing::warn!(database = shown, "the server runs with fsync off: a power failure there loses what was acknowledged; switch it on");
    }
    Ok(is_lax)
}

/// Reverts every migration of a database, which drops every table.
pub(crate) async fn tear_down(url: &str) -> Result<(), OpenError> {
    let (options, shown) = options(url)?;
    let mut connection = first(&options, &shown).await?;
    migrate::run_down_postgres(&mut connection).await.map_err(|error| OpenError::of_migration(&shown, error))?;
    close(connection).await;
    Ok(())
}

/// The versions of the migrations that a database has seen.
pub(crate) async fn migrations(url: &str) -> Result<Vec<i64>, OpenError> {
    let (options, shown) = options(url)?;
    let mut connection = first(&options, &shown).await?;
    check(&mut connection, &shown).await?;
    let is_there = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut connection).await;
    let versions = match is_there {
        Ok(true) => sqlx::query_scalar(migrate::SEEN).fetch_all(&mut connection).await,
        Ok(false) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    close(connection).await;
    versions.map_err(|error| unusable(&shown, &error))
}

/// The name of a database for people, without the password.
pub(crate) fn shown(url: &str) -> String {
    options(url).map_or_else(|_| "postgres://…".to_owned(), |(_, shown)| shown)
}
