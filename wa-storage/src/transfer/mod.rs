//! Copies an installation from one database and store of files to others: from one machine to a cluster, and back. Neither
//! side may be in use meanwhile. A copy that was interrupted goes on where it stood, as the target itself says how far it
//! came; at its end everything is read again on both sides and compared, and only then a server starts on the target.

mod objects;
mod rows;
mod tables;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wa_core::error::StoreError;
use wa_core::ports::{BlobStore, Env, Stored};
use wa_core::time::Timestamp;

use self::objects::Objects;
use self::tables::TABLES;
use crate::migrate::{self, Schema};
use crate::sql::{Connection, Db, SqlStores, Statement};
use crate::{Location, MediaConfig, OpenError, Place, open_blobs};

/// Connections to a PostgreSQL.
#[cfg(feature = "postgres")]
const CONNECTIONS: u32 = 9;

/// One installation.
#[derive(Clone)]
pub struct Installation {
    /// The database, as [`StorageConfig::database`](crate::StorageConfig::database), but not one in memory.
    pub database: String,
    /// Where its files lie, as [`MediaConfig::url`], but not `temporary:`.
    pub media: Option<String>,
}

impl std::fmt::Debug for Installation {
    /// The URLs may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installation").finish_non_exhaustive()
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is changed: the source is read whole, counted and weighed, and the target looked at.
    DryRun,
    /// The target gets what it lacks, and is compared with the source.
    Copy,
    /// The target is compared with the source.
    Verify,
}

/// From where to where.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// What is copied. It stays as it is.
    pub from: Installation,
    /// What becomes a copy. Files are copied if both sides name a place for them.
    pub to: Installation,
}

/// How far it is. Counts are those of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum Step {
    /// Rows of a table were read, in a dry run.
    Reading { table: &'static str, rows: u64, bytes: u64 },
    /// Rows were written to a table of the target.
    Copying { table: &'static str, rows: u64, bytes: u64 },
    /// Rows of a table were compared.
    Comparing { table: &'static str, rows: u64, bytes: u64 },
    /// The messages of so many chats can be searched.
    Indexing { chats: u64 },
    /// Files were found, in a dry run.
    ReadingFiles { objects: u64, bytes: u64 },
    /// Files were written to the target.
    CopyingFiles { objects: u64, bytes: u64 },
    /// Files were compared.
    ComparingFiles { objects: u64, bytes: u64 },
}

/// Is told of every step.
pub type Watch<'a> = &'a (dyn Fn(Step) + Send + Sync);

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// Its name.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// How much they are, without what a database adds to them.
    pub bytes: u64,
    /// The hash of all its rows in the order of their keys, in hexadecimal.
    pub sha256: String,
}

/// What the store of files holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectsReport {
    /// How many: each file, and each small picture of one.
    pub objects: u64,
    /// How much they are.
    pub bytes: u64,
}

/// Something that is not as in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table, or the name of the file.
    pub place: String,
    /// What is different, without what the row says.
    pub what: String,
}

/// The state of the target before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It is not there yet, or holds nothing.
    Empty,
    /// A copy of this source began, and was interrupted.
    UnderWay,
    /// It was copied from this source.
    Copied,
    /// It holds something else; only a comparison goes on with that.
    Other,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The target, before.
    pub before: Before,
    /// What the source holds.
    pub tables: Vec<TableReport>,
    /// The files of the source; `None` if they were left alone.
    pub objects: Option<ObjectsReport>,
    /// Where the target differs; of each table the first row, and of files the first few.
    pub differences: Vec<Difference>,
}

/// The copy cannot begin, or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// A side cannot be opened.
    #[error("{which}: {source}")]
    Open {
        /// Which side.
        which: &'static str,
        /// Why.
        source: OpenError,
    },
    /// A database in memory was named.
    #[error("{which}: a database in memory cannot be copied; name a file or a server")]
    Memory {
        /// Which side.
        which: &'static str,
    },
    /// Both sides are one.
    #[error("source and target are the same {what}; name another target")]
    Same {
        /// What is the same.
        what: &'static str,
    },
    /// There is nothing to copy.
    #[error("the source {database} holds no installation; check its address")]
    Absent {
        /// Which database.
        database: String,
    },
    /// The schema is of another version.
    #[error(
        "the {which} {database} has a schema of another version ({found}) than this program; bring it up to date with the wa-server of this release (wa-server migrate up), or use the program of its release"
    )]
    Version {
        /// Which side.
        which: &'static str,
        /// Which database.
        database: String,
        /// The version found.
        found: i64,
    },
    /// A server runs on it.
    #[error("the {which} {database} is in use by a running server; stop it first")]
    InUse {
        /// Which side.
        which: &'static str,
        /// Which database.
        database: String,
    },
    /// The target holds something else.
    #[error("the target {place} holds {what}; name an empty one, or empty it (of a database: wa-server migrate down --yes)")]
    Foreign {
        /// The database, or the store of files.
        place: String,
        /// What it holds.
        what: String,
    },
    /// A store failed.
    #[error("cannot {doing}: {}; run the same command again, and it goes on where it was", .source.source)]
    Failed {
        /// What was tried.
        doing: String,
        /// Why it failed.
        source: StoreError,
    },
}

impl Transfer {
    /// Does it. Dropping this is as good as any other interruption.
    ///
    /// # Errors
    /// If it cannot begin or go on. Differences are no error: they are in the report.
    pub async fn run(&self, mode: Mode, env: &Arc<dyn Env>, watch: Watch<'_>) -> Result<Report, TransferError> {
        self.check_places()?;
        let source = Side::open("source", &self.from.database, env).await?;
        let result = match mode {
            Mode::DryRun => self.plan(&source, env, watch).await,
            Mode::Copy | Mode::Verify => self.carry_out(&source, mode, env, watch).await,
        };
        source.close().await;
        result
    }

    async fn plan(&self, source: &Side, env: &Arc<dyn Env>, watch: Watch<'_>) -> Result<Report, TransferError> {
        let location = Location::of("target", &self.to.database)?;
        let before = match schema("target", &location).await? {
            Schema::Absent => Before::Empty,
            Schema::Same => {
                let target = Side::open("target", &self.to.database, env).await?;
                let before = target.state(&source.fingerprint().await?).await;
                target.close().await;
                before?.0
            }
            Schema::Other(found) => return Err(TransferError::Version { which: "target", database: location.shown(), found }),
        };
        refuse_others(before, &location)?;
        let mut tables = Vec::new();
        for table in TABLES {
            tables.push(rows::measure(source, table, watch).await?);
        }
        let objects = match self.media() {
            Some((from, to)) => {
                look_at_media("target", to).await?;
                match files(from) {
                    Files::None => Some(ObjectsReport::default()),
                    Files::At(from) => Some(objects::measure(&blobs("source", from, env).await?, watch).await?),
                }
            }
            None => None,
        };
        Ok(Report { before, tables, objects, differences: Vec::new() })
    }

    async fn carry_out(&self, source: &Side, mode: Mode, env: &Arc<dyn Env>, watch: Watch<'_>) -> Result<Report, TransferError> {
        let location = Location::of("target", &self.to.database)?;
        match schema("target", &location).await? {
            Schema::Absent if mode == Mode::Verify => return Err(TransferError::Absent { database: location.shown() }),
            Schema::Other(found) => return Err(TransferError::Version { which: "target", database: location.shown(), found }),
            Schema::Absent | Schema::Same => {}
        }
        let mut target = Side::create("target", &self.to.database, env).await?;
        let result = self.into(source, &mut target, mode, env, watch).await;
        target.close().await;
        result
    }

    async fn into(&self, source: &Side, target: &mut Side, mode: Mode, env: &Arc<dyn Env>, watch: Watch<'_>) -> Result<Report, TransferError> {
        let fingerprint = source.fingerprint().await?;
        let (before, about) = target.state(&fingerprint).await?;
        if mode == Mode::Copy && before == Before::Other {
            return Err(TransferError::Foreign { place: target.shown.clone(), what: about });
        }
        let objects = match self.media() {
            Some((from, to)) => Some(self.objects(from, to, env).await?),
            None => None,
        };
        let is_copying = mode == Mode::Copy && before != Before::Copied;
        if is_copying {
            if before == Before::Empty {
                if let Some(Objects { target: files, .. }) = &objects
                    && let Some(other) =
                        files.list(None, 1).await.map_err(|source| TransferError::Failed { doing: "list the files of the target".to_owned(), source })?.first()
                {
                    let what = format!("files already, such as {}", other.key);
                    return Err(TransferError::Foreign { place: "store of files".to_owned(), what });
                }
                target.begin(&source.shown, &fingerprint, env.now()).await?;
            }
            target.relax(true).await?;
            for table in TABLES {
                rows::copy(source, target, table, watch).await?;
            }
            target.index(watch).await?;
            if let Some(objects) = &objects {
                objects.copy(watch).await?;
            }
        }
        let (mut tables, mut differences) = (Vec::new(), Vec::new());
        for table in TABLES {
            let (report, difference) = rows::compare(source, target, table, watch).await?;
            tables.push(report);
            differences.extend(difference);
        }
        if target.lacks_index().await? {
            differences.push(Difference { place: "search_index".to_owned(), what: "it lacks messages".to_owned() });
        }
        let objects = match &objects {
            Some(objects) => {
                let (report, different) = objects.compare(watch).await?;
                differences.extend(different);
                Some(report)
            }
            None => None,
        };
        if is_copying && differences.is_empty() {
            target.relax(false).await?;
            target.finish(env.now()).await?;
        }
        Ok(Report { before, tables, objects, differences })
    }

    fn media(&self) -> Option<(&str, &str)> {
        self.from.media.as_deref().zip(self.to.media.as_deref())
    }

    async fn objects(&self, from: &str, to: &str, env: &Arc<dyn Env>) -> Result<Objects, TransferError> {
        let source = match files(from) {
            Files::At(from) => blobs("source", from, env).await?,
            Files::None => blobs("source", "temporary:", env).await?,
        };
        Ok(Objects { source, target: blobs("target", to, env).await? })
    }

    /// Refuses what could never go well, before anything is opened.
    fn check_places(&self) -> Result<(), TransferError> {
        let (from, to) = (Location::of("source", &self.from.database)?, Location::of("target", &self.to.database)?);
        if from.identity() == to.identity() {
            return Err(TransferError::Same { what: "database" });
        }
        if let Some((from, to)) = self.media() {
            for (which, url) in [("source", from), ("target", to)] {
                if url == "temporary:" {
                    return Err(TransferError::Memory { which });
                }
                Place::of(url).map_err(|source| TransferError::Open { which, source })?;
            }
            let folder = |url: &str| url.strip_prefix("file:").map(|path| canonical(Path::new(path.strip_prefix("//").unwrap_or(path))));
            if from == to || folder(from).is_some_and(|from| folder(to) == Some(from)) {
                return Err(TransferError::Same { what: "store of files" });
            }
        }
        Ok(())
    }
}

fn refuse_others(before: Before, location: &Location) -> Result<(), TransferError> {
    match before {
        Before::Other => Err(TransferError::Foreign { place: location.shown(), what: "data that is not of this copy".to_owned() }),
        Before::Empty | Before::UnderWay | Before::Copied => Ok(()),
    }
}

/// Where the files of the source are.
enum Files<'a> {
    /// Nobody has uploaded anything yet.
    None,
    At(&'a str),
}

/// A folder that is not there has no files, and is not made.
fn files(url: &str) -> Files<'_> {
    match Place::of(url) {
        Ok(Some(Place::Folder(folder))) if !folder.exists() => Files::None,
        _ => Files::At(url),
    }
}

async fn blobs(which: &'static str, url: &str, env: &Arc<dyn Env>) -> Result<Arc<dyn BlobStore>, TransferError> {
    let config = MediaConfig { url: url.to_owned(), staging: None, links: Arc::default(), key: None };
    Ok(open_blobs(&config, env).await.map_err(|source| TransferError::Open { which, source })?.blobs)
}

/// Looks whether a store of files can be reached, without making anything.
async fn look_at_media(which: &'static str, url: &str) -> Result<(), TransferError> {
    match Place::of(url) {
        #[cfg(feature = "s3")]
        Ok(Some(Place::Bucket)) => crate::blob::S3BlobStore::look(url).await.map_err(|source| TransferError::Open { which, source }),
        Ok(_) => Ok(()),
        Err(source) => Err(TransferError::Open { which, source }),
    }
}

async fn schema(which: &'static str, location: &Location) -> Result<Schema, TransferError> {
    match migrate::schema(location).await {
        Err(OpenError::InUse { .. }) => Err(TransferError::InUse { which, database: location.shown() }),
        other => other.map_err(|source| TransferError::Open { which, source }),
    }
}

impl Location {
    fn of(which: &'static str, url: &str) -> Result<Self, TransferError> {
        match Self::database(url) {
            Ok(Self::Memory) => Err(TransferError::Memory { which }),
            other => other.map_err(|source| TransferError::Open { which, source }),
        }
    }

    /// For people, without a password.
    fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Memory => ":memory:".to_owned(),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => crate::sql::shown_postgres(url),
        }
    }

    /// What two names of one database have in common.
    fn identity(&self) -> String {
        match self {
            Self::File(path) => canonical(path).display().to_string(),
            Self::Memory => String::new(),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => url.clone(),
        }
    }
}

fn canonical(path: &Path) -> std::path::PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A database that is open, and that nobody else uses.
pub(crate) struct Side {
    which: &'static str,
    shown: String,
    stores: SqlStores,
    /// Writes, and keeps servers off a database that they share.
    hold: Connection,
}

impl Side {
    /// Opens a database that holds an installation of this version.
    async fn open(which: &'static str, url: &str, env: &Arc<dyn Env>) -> Result<Self, TransferError> {
        let location = Location::of(which, url)?;
        match schema(which, &location).await? {
            Schema::Same => {}
            Schema::Absent => return Err(TransferError::Absent { database: location.shown() }),
            Schema::Other(found) => return Err(TransferError::Version { which, database: location.shown(), found }),
        }
        Self::create(which, url, env).await
    }

    /// Opens a database, with its tables made if they are not there.
    async fn create(which: &'static str, url: &str, env: &Arc<dyn Env>) -> Result<Self, TransferError> {
        let location = Location::of(which, url)?;
        let shown = location.shown();
        let opened = match location {
            Location::File(path) => Db::open_file(&path, 2).await,
            Location::Memory => return Err(TransferError::Memory { which }),
            #[cfg(feature = "postgres")]
            Location::Postgres(url) => Db::open_postgres(&url, CONNECTIONS).await,
        };
        let db = match opened {
            Err(OpenError::InUse { .. }) => return Err(TransferError::InUse { which, database: shown }),
            opened => opened.map_err(|source| TransferError::Open { which, source })?,
        };
        let failed = |source| TransferError::Failed { doing: format!("use the {which} {shown}"), source };
        let mut hold = db.writer().await.map_err(failed)?;
        let stores = SqlStores::new(db, Arc::clone(env));
        let settled = async {
            let is_alone = hold.claim().await?;
            stores.database.db().bring_to_tables().await?;
            Ok(is_alone)
        };
        let is_alone = settled.await;
        let side = Self { which, shown: shown.clone(), stores, hold };
        match is_alone {
            Ok(true) => Ok(side),
            Ok(false) => {
                side.close().await;
                Err(TransferError::InUse { which, database: shown })
            }
            Err(error) => {
                side.close().await;
                Err(failed(error))
            }
        }
    }

    fn db(&self) -> &Db {
        self.stores.database.db()
    }

    fn failed(&self, doing: &str, what: &str, source: StoreError) -> TransferError {
        TransferError::Failed { doing: format!("{doing} {what} in the {} {}", self.which, self.shown), source }
    }

    fn unreadable(&self) -> impl Fn(StoreError) -> TransferError {
        |source| self.failed("read", "what it is", source)
    }

    fn unwritable(&self) -> impl Fn(StoreError) -> TransferError {
        let (which, shown) = (self.which, self.shown.clone());
        move |source| TransferError::Failed { doing: format!("write to the {which} {shown}"), source }
    }

    /// By what a copy knows its source again: the user with the first id.
    async fn fingerprint(&self) -> Result<Vec<u8>, TransferError> {
        let first = async {
            let rows = self.db().read_tables(Statement::fixed("SELECT id, created_at FROM users ORDER BY id LIMIT 1")).await?;
            let mut hash = Sha256::new();
            if let Some(row) = rows.first() {
                hash.update(row.uuid(0)?.as_bytes());
                hash.update(row.int(1)?.to_be_bytes());
            }
            Stored::Ok(hash.finalize().to_vec())
        };
        first.await.map_err(self.unreadable())
    }

    /// What is in it already, with words for it.
    async fn state(&self, fingerprint: &[u8]) -> Result<(Before, String), TransferError> {
        let look = async {
            let rows = self.db().read_tables(Statement::fixed("SELECT source, fingerprint, finished_at FROM transfer WHERE id = 1")).await?;
            if let Some(row) = rows.first() {
                return Ok(match (row.bytes(1)? == fingerprint, row.maybe_int(2)?) {
                    (true, None) => (Before::UnderWay, String::new()),
                    (true, Some(_)) => (Before::Copied, String::new()),
                    (false, _) => (Before::Other, format!("a copy of {}, or of a state of it that is gone", row.text(0)?)),
                });
            }
            for table in TABLES {
                if !table.is_empty(self.db()).await? {
                    return Ok((Before::Other, format!("data that is not of this copy (in the table {})", table.name)));
                }
            }
            Stored::Ok((Before::Empty, String::new()))
        };
        look.await.map_err(self.unreadable())
    }

    async fn begin(&mut self, source: &str, fingerprint: &[u8], at: Timestamp) -> Result<(), TransferError> {
        let begin = Statement::fixed("INSERT INTO transfer (id, source, fingerprint, started_at) VALUES (1, $1, $2, $3)");
        let begin = begin.bind(source).bind(crate::sql::Value::Bytes(fingerprint.to_vec())).bind(at);
        self.hold.execute(begin).await.map(drop).map_err(self.unwritable())
    }

    async fn finish(&mut self, at: Timestamp) -> Result<(), TransferError> {
        let finish = Statement::fixed("UPDATE transfer SET finished_at = $1 WHERE id = 1").bind(at);
        self.hold.execute(finish).await.map(drop).map_err(self.unwritable())
    }

    /// Whether what is written may become durable a little later, in its order.
    async fn relax(&mut self, is_lax: bool) -> Result<(), TransferError> {
        self.hold.relax(is_lax).await.map_err(self.unwritable())
    }

    async fn shorten_log(&mut self) -> Result<(), TransferError> {
        self.hold.shorten_log().await.map_err(self.unwritable())
    }

    async fn renumber(&mut self) -> Result<(), TransferError> {
        self.hold.renumber().await.map_err(self.unwritable())
    }

    /// Makes the search index of the messages.
    async fn index(&self, watch: Watch<'_>) -> Result<(), TransferError> {
        self.stores.indexer.complete(&|chats| watch(Step::Indexing { chats })).await.map_err(|error| self.failed("index", "messages", error))
    }

    async fn lacks_index(&self) -> Result<bool, TransferError> {
        self.stores.indexer.is_behind().await.map_err(self.unreadable())
    }

    async fn close(self) {
        if let Err(error) = self.hold.close().await {
            tracing::warn!(%error, "a database was not closed cleanly");
        }
        if let Err(error) = self.stores.database.close().await {
            tracing::warn!(%error, "a database was not closed cleanly");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sqlx::{Connection as _, SqliteConnection};

    use super::tables::{Kind, LEFT_OUT, TABLES};
    use crate::migrate;

    /// Columns of a table: name, type, place in the primary key.
    type Columns = Vec<(String, String, i64)>;

    async fn schema() -> Vec<(String, Columns)> {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("opens");
        migrate::run_up(&mut connection).await.expect("the migrations run");
        let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'search_index_%' AND name <> '_sqlx_migrations'";
        let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut connection).await.expect("read");
        let mut tables = Vec::new();
        for name in names {
            let columns = "SELECT name, type, pk FROM pragma_table_xinfo(?) ORDER BY cid";
            let columns = sqlx::query_as(columns).bind(&name).fetch_all(&mut connection).await.expect("read");
            tables.push((name, columns));
        }
        tables
    }

    #[tokio::test]
    async fn every_table_and_column_of_the_migrations_is_copied_or_left_out_for_a_reason() {
        let left_out: BTreeSet<&str> = LEFT_OUT.iter().map(|(what, _)| *what).collect();
        let mut found = BTreeSet::new();
        for (name, columns) in schema().await {
            if left_out.contains(name.as_str()) {
                found.insert(name);
                continue;
            }
            let table = TABLES.iter().find(|table| table.name == name).unwrap_or_else(|| panic!("{name} is neither copied nor left out"));
            let mut listed = table.columns.iter();
            for (index, (column, kind, key)) in columns.iter().enumerate() {
                let path = format!("{name}.{column}");
                if left_out.contains(path.as_str()) {
                    found.insert(path);
                    continue;
                }
                let (copied, as_kind) = listed.next().unwrap_or_else(|| panic!("{path} is neither copied nor left out"));
                assert_eq!(copied, column, "the columns of {name} stand in the order of the migrations");
                let fits = match as_kind {
                    Kind::Id | Kind::Bytes => kind == "BLOB",
                    Kind::Int | Kind::Flag => kind == "INTEGER",
                    Kind::Text => kind == "TEXT",
                };
                assert!(fits, "{path} is {kind}, not {as_kind:?}");
                let place = if index < table.key { i64::try_from(index + 1).expect("few") } else { 0 };
                assert_eq!(*key, place, "{path} in the primary key");
            }
            assert!(listed.next().is_none(), "{name} has no more columns");
        }
        assert_eq!(found.len(), left_out.len(), "what is left out exists");
    }

    /// PostgreSQL's own types tell numbers from flags, and ids from bytes.
    #[test]
    fn the_types_are_those_of_postgres() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
        for table in TABLES {
            let all = std::fs::read_dir(&folder).expect("the migrations are listed").map(|file| file.expect("a file").path());
            let made = format!("CREATE TABLE {} (", table.name);
            let text = all.filter_map(|file| std::fs::read_to_string(file).ok()).find(|text| text.contains(&made)).expect("a migration makes it");
            let body = text.split(&made).nth(1).and_then(|rest| rest.split("\n);").next()).expect("its columns");
            for (column, kind) in table.columns {
                let line = body.lines().map(str::trim).find(|line| line.split(' ').next() == Some(column)).expect("the column");
                let said = line.split_whitespace().nth(1).expect("a type").trim_end_matches(',');
                let fits = match kind {
                    Kind::Id => said == "UUID",
                    Kind::Int => said == "BIGINT",
                    Kind::Flag => said == "BOOLEAN",
                    Kind::Text => said == "TEXT" || said.starts_with("VARCHAR"),
                    Kind::Bytes => said == "BYTEA",
                };
                assert!(fits, "{}.{column} is {said}, not {kind:?}", table.name);
                assert!(line.contains("NOT NULL") || line.contains("PRIMARY KEY") || !matches!(kind, Kind::Flag | Kind::Bytes), "{column} is never absent");
            }
            assert_eq!(body.contains("GENERATED ALWAYS AS IDENTITY"), table.is_numbered, "{}", table.name);
        }
    }

    #[test]
    fn no_row_refers_to_a_table_that_comes_later() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
        let text: String = std::fs::read_dir(&folder)
            .expect("the migrations are listed")
            .filter_map(|file| std::fs::read_to_string(file.expect("a file").path()).ok())
            .collect();
        for (place, table) in TABLES.iter().enumerate() {
            let body = text.split(&format!("CREATE TABLE {} (", table.name)).nth(1).and_then(|rest| rest.split("\n)").next()).expect("its columns");
            for named in body.split("REFERENCES ").skip(1).filter_map(|rest| rest.split(' ').next()) {
                let target = TABLES.iter().position(|table| table.name == named).expect("it is copied");
                assert!(target < place, "{} refers to {named}", table.name);
            }
        }
    }
}
