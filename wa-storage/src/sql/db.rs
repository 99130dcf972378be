//! Where SQLite and PostgreSQL are told apart: opening, settings, errors, placeholders, locks, column types; `postgres.rs`
//! has what is PostgreSQL's alone. Everything above speaks [`Statement`] and [`Row`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Row as _, SqliteConnection, SqlitePool};
use uuid::Uuid;
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::ports::Stored;

use super::deferred::Deferral;
#[cfg(feature = "postgres")]
use super::postgres;
use super::statement::{Statement, Text, Value};
use super::writer::read_through;
use crate::migrate;
use crate::open::OpenError;

/// The version whose fixes the store relies on (WAL reset race, see the release notes of SQLite 3.51.3).
const SQLITE_AT_LEAST: (u32, u32, u32) = (3, 51, 3);

/// How long a connection waits for a lock, and a reader for a connection. Every answer comes within 5 s.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How often, and after which pauses, a copy tries to have a server's database for itself: longer than a node that was killed
/// is taken to live.
#[cfg(feature = "postgres")]
const CLAIMS: usize = 12;
#[cfg(feature = "postgres")]
const CLAIM_PAUSE: Duration = Duration::from_millis(250);

/// Files up to this size are checked whole when they are opened; larger ones only as far as they are read.
const CHECKED_WHOLE: u64 = 64 << 20;

/// Pages of the log at which it is copied into the database file while many write: a longer log writes pages that change
/// often fewer times. While few do, they would wait for so much, and it is copied a little at a time. Tests of reliability
/// want to see it happen often.
const LOG_PAGES: i64 = if cfg!(feature = "planted") { 400 } else { 16_000 };
const FEW_LOG_PAGES: i64 = if cfg!(feature = "planted") { 400 } else { 1_000 };

/// Pages that a connection keeps, in KiB, which SQLite wants as a negative number. The writer comes back to the same inner
/// pages of its trees all the time; readers forget theirs with every commit, and find what they lack in the system's memory.
const WRITER_CACHE: &str = "-16384";
const READER_CACHE: &str = "-512";

/// Which database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres,
}

impl Dialect {
    /// Its name in errors and health reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres => "postgres",
        }
    }

    /// Appends the placeholder of the value with this number. Values stand in the order of their numbers.
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "SQLite counts by itself"))]
    pub(super) fn placeholder(self, number: usize, text: &mut String) {
        match self {
            // SQLite looks named placeholders up one by one, which is quadratic in long lists; anonymous ones are free.
            Self::Sqlite => text.push('?'),
            #[cfg(feature = "postgres")]
            Self::Postgres => {
                use std::fmt::Write as _;
                let _ = write!(text, "${number}");
            }
        }
    }

    /// Opens a transaction that is going to write.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            // Without IMMEDIATE the first write may fail because a snapshot was taken before.
            Self::Sqlite => "BEGIN IMMEDIATE",
            #[cfg(feature = "postgres")]
            Self::Postgres => "BEGIN",
        }
    }

    /// Whether messages and deliveries may stay in the outbox for a while: where this process alone writes.
    pub(super) const fn defers(self) -> bool {
        match self {
            Self::Sqlite => true,
            #[cfg(feature = "postgres")]
            Self::Postgres => false,
        }
    }

    /// Whether the operating system failed, as opposed to the database.
    fn is_failed_io(self, error: &sqlx::Error) -> bool {
        match self {
            // IOERR
            Self::Sqlite => sqlite_code(error) == Some(10),
            // That is the server's business.
            #[cfg(feature = "postgres")]
            Self::Postgres => false,
        }
    }

    /// Whether many rows are best inserted by a text of many statements, which takes one way to the database as well.
    pub(super) const fn inserts_row_by_row(self) -> bool {
        match self {
            // A statement of several rows copies every page it touches, so that it can take itself back; one of a single
            // row looks before it writes.
            Self::Sqlite => true,
            #[cfg(feature = "postgres")]
            Self::Postgres => false,
        }
    }

    /// What an insertion says that gives numbers which the database would give out by itself.
    pub(crate) const fn overriding(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            #[cfg(feature = "postgres")]
            Self::Postgres => " OVERRIDING SYSTEM VALUE",
        }
    }

    /// What follows a query of rows named `c`, in the order of their ids, that are not to change until the transaction ends.
    /// Where there is one writer they cannot.
    pub(super) const fn locked_in_order(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            #[cfg(feature = "postgres")]
            Self::Postgres => " ORDER BY c.id FOR NO KEY UPDATE OF c",
        }
    }

    /// What follows a query of tokens named `t`, of sessions named `s`, that are exchanged once.
    pub(super) const fn token_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            #[cfg(feature = "postgres")]
            Self::Postgres => " FOR NO KEY UPDATE OF s, t",
        }
    }

    /// What follows a query of accounts named `u`, in the order of their ids, that are not to be erased until the transaction
    /// ends.
    pub(super) const fn kept_in_order(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            #[cfg(feature = "postgres")]
            Self::Postgres => " ORDER BY u.id FOR SHARE OF u",
        }
    }

    /// Whether others write as well.
    pub(super) const fn is_shared(self) -> bool {
        match self {
            Self::Sqlite => false,
            #[cfg(feature = "postgres")]
            Self::Postgres => true,
        }
    }

    /// How old what is kept at hand may become, where others write as well.
    pub(super) const fn keeps_for(self) -> Option<Duration> {
        if self.is_shared() { Some(Duration::from_millis(500)) } else { None }
    }

    pub(super) fn error(self, error: sqlx::Error) -> StoreError {
        let kind = match &error {
            sqlx::Error::Database(_) => match self {
                Self::Sqlite => match sqlite_code(&error) {
                    // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL (https://sqlite.org/rescode.html)
                    Some(5..=10 | 13..=15) => StoreErrorKind::Unavailable,
                    // CORRUPT, NOTADB
                    Some(11 | 26) => StoreErrorKind::Corrupt,
                    _ => StoreErrorKind::Other,
                },
                #[cfg(feature = "postgres")]
                Self::Postgres => postgres::kind(&error),
            },
            // How a connection ends, or cannot be made.
            #[cfg(feature = "postgres")]
            sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) if self == Self::Postgres => StoreErrorKind::Unavailable,
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => StoreErrorKind::Unavailable,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Other,
        };
        StoreError { kind, backend: self.name(), source: Box::new(error) }
    }
}

/// The primary result code of SQLite.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    Some(error.as_database_error()?.code()?.parse::<u32>().ok()? & 0xff)
}

/// A database: how to write to it, and a pool of connections that read.
#[derive(Debug)]
pub(crate) struct Db {
    backend: Backend,
    deferral: Deferral,
}

/// What PostgreSQL needs to be awaited is boxed: SQLite's tasks are none the larger for it.
#[derive(Debug)]
enum Backend {
    Sqlite(Sqlite),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Server),
}

/// A file, or memory, of this process alone.
#[derive(Debug)]
struct Sqlite {
    options: SqliteConnectOptions,
    readers: SqlitePool,
    /// The write-ahead log beside the file; none of a database in memory.
    log: Option<PathBuf>,
    /// Keeps a second process off the file: caches and the order of the outbox rest on being alone.
    _lock: Option<File>,
    /// Keeps a database in memory alive while no other connection is open.
    _anchor: Option<tokio::sync::Mutex<SqliteConnection>>,
}

/// How busy the readers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Connections that are open.
    pub open: u32,
    /// Those of them that wait for work.
    pub idle: u32,
}

impl Db {
    /// Opens the file, makes it if there is none, and brings its schema up to date.
    pub(crate) async fn open_file(path: &Path, readers: u32) -> Result<Self, OpenError> {
        make_folder(path)?;
        let lock = lock(path).await?;
        let log = log_of(path);
        settle_log(log.clone()).await.map_err(|source| OpenError::of_log(path, &source))?;
        let fresh = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
        let options = settings(SqliteConnectOptions::new().filename(path)).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let describe = |error| OpenError::of_file(path, &error);
        let mut first = connect(&options).await.map_err(describe)?;
        check_version(&mut first).await?;
        if !fresh {
            check_content(&mut first, path).await.map_err(describe)?;
        }
        migrate::run_up(&mut first).await.map_err(|error| OpenError::of_migration(&path.display().to_string(), error))?;
        #[cfg(feature = "planted")]
        if wa_core::faults::planted("trust_failed_sync") {
            // Its end would copy the log into the file, and so hide most of what trust in the log can lose.
            std::mem::forget(connect(&options).await.map_err(describe)?);
        }
        first.close().await.map_err(|error| describe(Dialect::Sqlite.error(error)))?;
        let readers = pool(options.clone().create_if_missing(false).pragma("query_only", "ON"), readers);
        let sqlite = Sqlite { options: options.create_if_missing(false), readers, log: Some(log), _lock: Some(lock), _anchor: None };
        Ok(Self { backend: Backend::Sqlite(sqlite), deferral: Deferral::new() })
    }

    /// A database of this process alone, gone when it is closed.
    pub(crate) async fn open_memory(readers: u32) -> Result<Self, OpenError> {
        // The `memdb` VFS shares a database among connections with ordinary locks; `:memory:` with a shared cache would
        // fail readers at once where a writer is busy. Names that start with a slash are shared (https://sqlite.org/inmemorydb.html).
        let options = settings(SqliteConnectOptions::new().filename(format!("/wa-{}", Uuid::now_v7())).vfs("memdb")).create_if_missing(true);
        let describe = |error| OpenError::of_file(Path::new(":memory:"), &error);
        let mut anchor = connect(&options).await.map_err(describe)?;
        check_version(&mut anchor).await?;
        migrate::run_up(&mut anchor).await.map_err(|error| OpenError::of_migration(":memory:", error))?;
        let readers = pool(options.clone(), readers);
        let sqlite = Sqlite { options, readers, log: None, _lock: None, _anchor: Some(tokio::sync::Mutex::new(anchor)) };
        Ok(Self { backend: Backend::Sqlite(sqlite), deferral: Deferral::new() })
    }

    /// Connects to a database on a server, and brings its schema up to date.
    #[cfg(feature = "postgres")]
    pub(crate) async fn open_postgres(url: &str, connections: u32) -> Result<Self, OpenError> {
        let server = Box::pin(postgres::Server::open(url, connections)).await?;
        Ok(Self { backend: Backend::Postgres(server), deferral: Deferral::none() })
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match &self.backend {
            Backend::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Backend::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The server, where it is one.
    #[cfg(feature = "postgres")]
    pub(super) const fn server(&self) -> Option<&postgres::Server> {
        match &self.backend {
            Backend::Sqlite(_) => None,
            Backend::Postgres(server) => Some(server),
        }
    }

    /// Starts a statement that is built of parts.
    pub(crate) fn build(&self, text: &str) -> Statement {
        Statement::build(self.dialect(), text)
    }

    /// Runs a query on one of the readers. It sees everything committed before the call.
    pub(crate) async fn read(&self, statement: Statement) -> Stored<Vec<Row>> {
        if self.deferral.is_behind()
            && let Err(error) = self.deferral.settle().await
        {
            tracing::warn!(%error, "what is committed cannot be brought to its tables; it is read where it is");
            return if self.is_closed() { Err(error) } else { read_through(self, statement).await };
        }
        self.read_tables(statement).await
    }

    /// Runs a query for which messages, receipts and the counters of chats do not matter; it need not wait for them.
    pub(crate) async fn read_apart(&self, statement: Statement) -> Stored<Vec<Row>> {
        debug_assert!(!statement.tells_of_messages(), "messages and what hangs on them may not be in their tables yet");
        self.read_tables(statement).await
    }

    /// Runs a query on the tables as they are, whatever is not in them yet.
    pub(crate) async fn read_tables(&self, statement: Statement) -> Stored<Vec<Row>> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                let (text, arguments) = prepare(statement);
                let rows = sqlx::query_with(AssertSqlSafe(text), arguments).fetch_all(&sqlite.readers).await;
                Ok(rows.map_err(|error| self.dialect().error(error))?.into_iter().map(Row::Sqlite).collect())
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => Ok(Box::pin(server.fetch(statement)).await?.into_iter().map(Row::Postgres).collect()),
        }
    }

    /// Has everything that is committed brought to its tables.
    pub(crate) async fn bring_to_tables(&self) -> Stored<()> {
        if self.deferral.is_behind() { self.deferral.settle().await } else { Ok(()) }
    }

    /// Opens a connection that writes.
    pub(crate) async fn writer(&self) -> Stored<Connection> {
        Ok(Connection::over(match &self.backend {
            Backend::Sqlite(sqlite) => {
                let options = sqlite.options.clone().pragma("wal_autocheckpoint", "0").pragma("cache_spill", "OFF").pragma("cache_size", WRITER_CACHE);
                Inner::Sqlite(connect(&options).await?)
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => Inner::Postgres(Box::pin(server.own()).await?),
        }))
    }

    /// Opens a connection that copies the log into the database file, beside the one that writes.
    pub(crate) async fn copier(&self) -> Stored<Connection> {
        Ok(Connection::over(match &self.backend {
            Backend::Sqlite(sqlite) => Inner::Sqlite(connect(&sqlite.options.clone().pragma("wal_autocheckpoint", "0")).await?),
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => Inner::Postgres(Box::pin(server.own()).await?),
        }))
    }

    /// A connection for one transaction.
    #[cfg(feature = "postgres")]
    pub(super) async fn borrow(&self) -> Stored<Connection> {
        match self.server() {
            Some(server) => Ok(Connection::over(Inner::Postgres(Box::pin(server.pooled()).await?))),
            None => self.writer().await,
        }
    }

    /// Makes the log durable as it reads now, after a sync of it failed: nothing may be built on what only seems stored.
    pub(crate) async fn settle(&self) -> Stored<()> {
        match &self.backend {
            Backend::Sqlite(Sqlite { log: Some(log), .. }) => {
                settle_log(log.clone()).await.map_err(|error| StoreError::unavailable(self.dialect().name(), error))
            }
            _ => Ok(()),
        }
    }

    pub(super) const fn deferral(&self) -> &Deferral {
        &self.deferral
    }

    pub(crate) fn pool_use(&self) -> PoolUse {
        match &self.backend {
            Backend::Sqlite(sqlite) => PoolUse { open: sqlite.readers.size(), idle: u32::try_from(sqlite.readers.num_idle()).unwrap_or(u32::MAX) },
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => server.pool_use(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.readers.is_closed(),
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => server.is_closed(),
        }
    }

    /// Closes the readers; afterwards every read is refused as unavailable.
    pub(crate) async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.readers.close().await,
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => Box::pin(server.close()).await,
        }
    }
}

/// How long the write-ahead log is; nothing where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Log {
    pages: i64,
    copied: i64,
}

/// What is to be done about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogWork {
    /// It may grow.
    Nothing,
    /// Much of it is to be copied, beside the commits.
    Copy,
    /// Little is left to be copied; if no commit comes between, it begins anew.
    Finish,
}

impl Log {
    /// Copying goes on beside the commits until little is left, which is then copied between two of them.
    pub(crate) const fn work(self, is_busy: bool) -> LogWork {
        let limit = if is_busy { LOG_PAGES } else { FEW_LOG_PAGES };
        let left = self.pages - self.copied;
        if self.pages < limit {
            LogWork::Nothing
        } else if left > limit / 16 && self.pages < limit * 8 {
            LogWork::Copy
        } else {
            LogWork::Finish
        }
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct Connection {
    inner: Inner,
    broken: bool,
    failed_io: bool,
    #[cfg(feature = "postgres")]
    failed: Failed,
}

/// What failed on a connection to PostgreSQL since its transaction began.
#[cfg(feature = "postgres")]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failed {
    /// Any statement: such a transaction is taken back even by a commit.
    pub(super) any: bool,
    /// One for what others did at the same moment: the transaction may well succeed when it is tried again.
    pub(super) passing: bool,
}

#[derive(Debug)]
enum Inner {
    Sqlite(SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Link),
}

impl Connection {
    const fn over(inner: Inner) -> Self {
        Self {
            inner,
            broken: false,
            failed_io: false,
            #[cfg(feature = "postgres")]
            failed: Failed { any: false, passing: false },
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match &self.inner {
            Inner::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Inner::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Whether the database failed under it, as opposed to refusing a statement. Its transaction may be gone, so
    /// nothing more can be said of it: the connection must not be used again.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the operating system failed to read, write or sync for it, so that the file may hold less than it seems to.
    pub(crate) const fn has_failed_io(&self) -> bool {
        self.failed_io
    }

    /// What failed since this was asked last.
    #[cfg(feature = "postgres")]
    pub(super) fn take_failed(&mut self) -> Failed {
        std::mem::take(&mut self.failed)
    }

    /// How long the log is.
    pub(crate) async fn log(&mut self) -> Stored<Log> {
        let rows = self.fetch(Statement::fixed("PRAGMA wal_checkpoint(NOOP)")).await?;
        let Some(row) = rows.first() else { return Ok(Log::default()) };
        Ok(Log { pages: row.int(1)?, copied: row.int(2)? })
    }

    /// Copies what the log holds into the database file, so that it can begin anew if nothing came to it meanwhile. SQLite
    /// would do so along with a commit, and keep to itself that it failed.
    pub(crate) async fn copy_log(&mut self) -> Stored<()> {
        self.fetch(Statement::fixed("PRAGMA wal_checkpoint(PASSIVE)")).await?;
        Ok(())
    }

    /// Keeps servers off the database while this connection lasts; `false` if one is there. A file is locked as it is.
    pub(crate) async fn claim(&mut self) -> Stored<bool> {
        #[cfg(feature = "postgres")]
        if self.dialect() == Dialect::Postgres {
            let lock = format!("SELECT pg_try_advisory_lock({})", super::leader::LOCK);
            // A server that was just ended gets a moment to let go.
            for _ in 0..CLAIMS {
                let rows = self.fetch(Statement::build(Dialect::Postgres, &lock)).await?;
                if rows.first().is_some_and(|row| row.flag(0).unwrap_or(false)) {
                    return Ok(true);
                }
                tokio::time::sleep(CLAIM_PAUSE).await;
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether commits may become durable a little later, in their order. The next one that may not makes all durable.
    pub(crate) async fn relax(&mut self, is_lax: bool) -> Stored<()> {
        #[cfg(feature = "postgres")]
        if self.dialect() == Dialect::Postgres {
            let setting = if is_lax { "SET synchronous_commit = off" } else { "RESET synchronous_commit" };
            self.execute(Statement::fixed(setting)).await?;
        }
        let _ = is_lax;
        Ok(())
    }

    /// Copies the log into the database file, where there is one.
    pub(crate) async fn shorten_log(&mut self) -> Stored<()> {
        if self.dialect() == Dialect::Sqlite { self.copy_log().await } else { Ok(()) }
    }

    /// Lets the outbox go on behind its last row, after rows came with their numbers.
    pub(crate) async fn renumber(&mut self) -> Stored<()> {
        #[cfg(feature = "postgres")]
        if self.dialect() == Dialect::Postgres {
            let set = "SELECT setval(pg_get_serial_sequence('outbox', 'id'), COALESCE(MAX(id), 0) + 1, false) FROM outbox";
            self.fetch(Statement::fixed(set)).await?;
        }
        Ok(())
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn fetch(&mut self, statement: Statement) -> Stored<Vec<Row>> {
        match &mut self.inner {
            Inner::Sqlite(inner) => {
                let (text, arguments) = prepare(statement);
                let result = sqlx::query_with(AssertSqlSafe(text), arguments).fetch_all(inner).await;
                Ok(self.judge(result)?.into_iter().map(Row::Sqlite).collect())
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(inner) => {
                let result = Box::pin(inner.fetch(statement)).await;
                Ok(self.judge(result)?.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Stored<u64> {
        match &mut self.inner {
            Inner::Sqlite(inner) => {
                let (text, arguments) = prepare(statement);
                let result = sqlx::query_with(AssertSqlSafe(text), arguments).execute(inner).await;
                Ok(self.judge(result)?.rows_affected())
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(inner) => {
                let result = Box::pin(inner.execute(statement)).await;
                self.judge(result)
            }
        }
    }

    /// Writes what the log holds into the database file, and closes.
    pub(crate) async fn close(self) -> Stored<()> {
        match self.inner {
            Inner::Sqlite(mut inner) => {
                let error = |error| Dialect::Sqlite.error(error);
                if !self.broken {
                    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut inner).await.map_err(error)?;
                }
                inner.close().await.map_err(error)
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(inner) => {
                Box::pin(inner.close()).await;
                Ok(())
            }
        }
    }

    /// Lets go of a broken connection, and with it of whatever its transaction held.
    pub(crate) async fn abandon(self) {
        match self.inner {
            Inner::Sqlite(inner) => {
                if let Ok(Err(error)) = tokio::time::timeout(LOCK_WAIT, inner.close_hard()).await {
                    tracing::debug!(%error, "a broken connection was not closed cleanly");
                }
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(inner) => inner.abandon(),
        }
    }

    fn judge<T>(&mut self, result: Result<T, sqlx::Error>) -> Stored<T> {
        let dialect = self.dialect();
        result.map_err(|error| {
            self.failed_io |= dialect.is_failed_io(&error);
            match dialect {
                Dialect::Sqlite => {
                    let error = dialect.error(error);
                    self.broken |= error.kind != StoreErrorKind::Other;
                    error
                }
                #[cfg(feature = "postgres")]
                Dialect::Postgres => {
                    self.broken |= postgres::is_lost(&error);
                    self.failed.any = true;
                    self.failed.passing |= postgres::is_passing(&error);
                    dialect.error(error)
                }
            }
        })
    }
}

/// A row of an answer; columns by their place, from 0.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::postgres::PgRow),
}

macro_rules! column {
    ($row:expr, $column:expr, $type:ty) => {
        match $row {
            Row::Sqlite(row) => row.try_get::<$type, _>($column).map_err(|error| Dialect::Sqlite.error(error)),
            // Unchecked, as numbers come in several widths; what cannot be read still is an error.
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get_unchecked::<$type, _>($column).map_err(|error| Dialect::Postgres.error(error)),
        }
    };
}

impl Row {
    pub(crate) fn int(&self, column: usize) -> Stored<i64> {
        column!(self, column, i64)
    }

    pub(crate) fn maybe_int(&self, column: usize) -> Stored<Option<i64>> {
        column!(self, column, Option<i64>)
    }

    pub(crate) fn flag(&self, column: usize) -> Stored<bool> {
        column!(self, column, bool)
    }

    pub(crate) fn text(&self, column: usize) -> Stored<String> {
        column!(self, column, String)
    }

    pub(crate) fn maybe_text(&self, column: usize) -> Stored<Option<String>> {
        column!(self, column, Option<String>)
    }

    pub(crate) fn bytes(&self, column: usize) -> Stored<Vec<u8>> {
        column!(self, column, Vec<u8>)
    }

    pub(crate) fn uuid(&self, column: usize) -> Stored<Uuid> {
        column!(self, column, Uuid)
    }

    pub(crate) fn maybe_uuid(&self, column: usize) -> Stored<Option<Uuid>> {
        column!(self, column, Option<Uuid>)
    }

    /// What is stored there is not what this program writes.
    pub(crate) fn corrupt(&self, what: &'static str) -> StoreError {
        match self {
            Self::Sqlite(_) => StoreError::corrupt(Dialect::Sqlite.name(), what),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => StoreError::corrupt(Dialect::Postgres.name(), what),
        }
    }
}

fn prepare(statement: Statement) -> (std::borrow::Cow<'static, str>, SqliteArguments) {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(statement.values.len(), 0);
    for value in statement.values {
        let bound = match value {
            Value::Int(number) => arguments.add(number),
            Value::Flag(flag) => arguments.add(flag),
            Value::Text(text) => arguments.add(text),
            Value::Id(id) => arguments.add(id),
            Value::Bytes(bytes) => arguments.add(bytes),
        };
        debug_assert!(bound.is_ok(), "plain values always encode");
    }
    let text: std::borrow::Cow<'static, str> = match statement.text {
        Text::Fixed(text) => text.into(),
        Text::Built(_, text) => text.into(),
    };
    #[cfg(test)]
    seen::note(&text);
    (text, arguments)
}

fn settings(options: SqliteConnectOptions) -> SqliteConnectOptions {
    #[cfg(feature = "planted")]
    let synchronous = if wa_core::faults::planted("synchronous_normal") { SqliteSynchronous::Normal } else { SqliteSynchronous::Full };
    #[cfg(not(feature = "planted"))]
    let synchronous = SqliteSynchronous::Full;
    options
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(LOCK_WAIT)
        .statement_cache_capacity(512)
        .row_buffer_size(512)
        // A stray write through a mapping, or an I/O error turned into a signal, is not worth the speed.
        .pragma("mmap_size", "0")
        .pragma("cell_size_check", "ON")
        .pragma("trusted_schema", "OFF")
        // What a statement needs to take itself back is kept in memory: it is worth nothing after a crash.
        .pragma("temp_store", "MEMORY")
        .pragma("journal_size_limit", "134217728")
        .disable_statement_logging()
}

fn pool(options: SqliteConnectOptions, readers: u32) -> SqlitePool {
    let options = options.pragma("cache_size", READER_CACHE);
    SqlitePoolOptions::new()
        .max_connections(readers.max(1))
        .acquire_timeout(LOCK_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

async fn connect(options: &SqliteConnectOptions) -> Stored<SqliteConnection> {
    options.connect().await.map_err(|error| Dialect::Sqlite.error(error))
}

/// Reverts every migration of a database, which drops every table.
pub(crate) async fn tear_down_file(path: &Path) -> Result<(), OpenError> {
    if !path.exists() {
        return Ok(());
    }
    let _lock = lock(path).await?;
    let mut connection = connect(&settings(SqliteConnectOptions::new().filename(path))).await.map_err(|error| OpenError::of_file(path, &error))?;
    migrate::run_down(&mut connection).await.map_err(|error| OpenError::of_migration(&path.display().to_string(), error))?;
    connection.close().await.map_err(|error| OpenError::of_file(path, &Dialect::Sqlite.error(error)))
}

/// The versions of the migrations that a file has seen; none of one that is not there.
pub(crate) async fn migrations_of_file(path: &Path) -> Result<Vec<i64>, OpenError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(OpenError::Unusable { path: path.to_owned(), reason: error.to_string() }),
        Ok(file) if file.len() == 0 => return Ok(Vec::new()),
        Ok(_) => {}
    }
    let _lock = lock(path).await?;
    let describe = |error| OpenError::of_file(path, &error);
    let mut connection = connect(&settings(SqliteConnectOptions::new().filename(path))).await.map_err(describe)?;
    let is_there = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations')").fetch_one(&mut connection).await;
    let versions = match is_there {
        Ok(true) => sqlx::query_scalar(migrate::SEEN).fetch_all(&mut connection).await,
        Ok(false) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let versions = versions.map_err(|error| describe(Dialect::Sqlite.error(error)));
    connection.close().await.map_err(|error| describe(Dialect::Sqlite.error(error)))?;
    versions
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(connection).await.map_err(|error| OpenError::Library(error.to_string()))?;
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < SQLITE_AT_LEAST {
        return Err(OpenError::Library(format!("SQLite {version} is linked, 3.51.3 or newer is needed: build with sqlx' bundled SQLite")));
    }
    Ok(())
}

/// Reads the whole of a small file, so that damage shows before anything is served from it.
async fn check_content(connection: &mut SqliteConnection, path: &Path) -> Stored<()> {
    let sql = if std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_WHOLE) { "PRAGMA quick_check(1)" } else { "SELECT name FROM sqlite_master" };
    let answer: Option<String> = sqlx::query_scalar(sql).fetch_optional(connection).await.map_err(|error| Dialect::Sqlite.error(error))?;
    match answer {
        Some(found) if sql.starts_with("PRAGMA") && found != "ok" => Err(StoreError::corrupt(Dialect::Sqlite.name(), found)),
        _ => Ok(()),
    }
}

/// Makes the folder of the file, in a way that its name outlives a power failure.
fn make_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let absent: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    std::fs::create_dir_all(folder)
        .and_then(|()| absent.iter().filter_map(|folder| folder.parent()).try_for_each(sync_folder))
        .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Writes the log as it reads now once more, and syncs it. After a failed sync, or one that a crash prevented, the system
/// may show what never reaches the disk, and a later sync need not bring it there. SQLite would take it for durable and
/// build on it. Nobody else must write to the log meanwhile; readers may go on, as they find the same bytes.
async fn settle_log(log: PathBuf) -> std::io::Result<()> {
    #[cfg(feature = "planted")]
    if wa_core::faults::planted("trust_failed_sync") {
        return Ok(());
    }
    tokio::task::spawn_blocking(move || rewrite(&log)).await.map_err(std::io::Error::other)?
}

fn rewrite(path: &Path) -> std::io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut piece = vec![0; 1 << 18];
    let mut at = 0;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&piece[..length])?;
        at += length as u64;
    }
    file.sync_all()?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Takes the lock file beside the database. It is the operating system's, so it ends with the process.
async fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(|source| match source.kind() {
        ErrorKind::IsADirectory => OpenError::Unusable { path: name.clone(), reason: "it is a folder".to_owned() },
        _ => OpenError::Unusable { path: name.clone(), reason: format!("{source}: make its folder writable for this user") },
    })?;
    // A predecessor that is just ending gets a moment to let go.
    for attempt in 0.. {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if attempt < 20 => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(source)) => return Err(OpenError::Unusable { path: name, reason: source.to_string() }),
        }
    }
    Err(OpenError::InUse { path: path.to_owned() })
}

/// Every text that went to a database, for the test that looks at their plans.
#[cfg(test)]
pub(super) mod seen {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    static TEXTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

    pub(super) fn note(text: &str) {
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        if !texts.contains(text) {
            texts.insert(text.to_owned());
        }
    }

    pub(in crate::sql) fn texts() -> BTreeSet<String> {
        TEXTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
