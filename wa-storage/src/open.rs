//! Why storage cannot be opened, told to the person who runs it: what happened, where, and the fix.

use std::path::{Path, PathBuf};

use wa_core::error::{StoreError, StoreErrorKind};

/// Storage could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL names a backend that this build does not have, or is none.
    #[error("storage.{key} = \"{found}\" is not supported: this build knows {supported}")]
    Unsupported {
        /// The configuration key.
        key: &'static str,
        /// The scheme that was found.
        found: String,
        /// What can be written instead.
        supported: &'static str,
    },
    /// The folder of the database cannot be made.
    #[error("cannot make the folder {}: {source}; make its parent writable for this user, or name another path", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The file is damaged or no database.
    #[error("{} is damaged or no SQLite database ({reason}); restore it from a backup, or move it away to start afresh", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// The schema was made by a newer release.
    #[error("{database} has schema version {version}, which this release does not know; run the newer release that made it")]
    NewerSchema {
        /// Which database.
        database: String,
        /// The migration this release does not have.
        version: i64,
    },
    /// The schema is not what this release's migrations make.
    #[error("cannot bring the schema of {database} up to date: {reason}")]
    Schema {
        /// Which database.
        database: String,
        /// Why.
        reason: String,
    },
    /// The database is the target of a copy that did not come to its end.
    #[error(
        "the database is a copy of {source_name} that is not complete; run `wa migrate backend` again until it is, or empty it (wa-server migrate down --yes)"
    )]
    UnfinishedCopy {
        /// What is copied.
        source_name: String,
    },
    /// Another process has the database open.
    #[error("{} is in use by another process; stop it, or name another path", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A database on a server cannot be used.
    #[error("cannot use {database}: {reason}; {fix}")]
    Database {
        /// Which database, without its password.
        database: String,
        /// Why.
        reason: String,
        /// What to do.
        fix: &'static str,
        /// Whether it may help to try again.
        may_pass: bool,
    },
    /// What is said of the cache is not usable.
    #[error("storage.cache: {reason}")]
    Cache {
        /// What is wrong, and the fix. The URL, which may hold a password, is not repeated.
        reason: String,
    },
    /// The cache does not answer, or not as it should.
    #[error("storage.cache: Redis cannot be used: {reason}")]
    CacheDown {
        /// Why, and what to do.
        reason: String,
    },
    /// What is said of the MongoDB is not usable.
    #[error("storage.messages: {reason}")]
    Messages {
        /// What is wrong, and the fix. The URL, which may hold a password, is not repeated.
        reason: String,
    },
    /// The MongoDB does not answer, or not as it should.
    #[error("storage.messages: MongoDB cannot be used ({reason}); check that it runs, its address, and the user and password")]
    MessagesDown {
        /// Why.
        reason: String,
    },
    /// What is said of the object store is not usable.
    #[error("storage.media: {reason}")]
    ObjectStore {
        /// What is wrong, and the fix. The URL, which may hold a password, is not repeated.
        reason: String,
    },
    /// The object store does not answer, or not as it should.
    #[error("storage.media: the bucket cannot be used ({reason}); check that the server runs, its endpoint, and the credentials")]
    ObjectStoreDown {
        /// Why.
        reason: String,
    },
    /// The database library does not do.
    #[error("{0}")]
    Library(String),
}

impl OpenError {
    pub(crate) fn of_file(path: &Path, error: &StoreError) -> Self {
        let path = path.to_owned();
        match error.kind {
            StoreErrorKind::Corrupt => Self::Corrupt { path, reason: error.source.to_string() },
            StoreErrorKind::Unavailable | StoreErrorKind::Other => {
                Self::Unusable { path, reason: format!("{}; it must be a file this user can write, on a disk with space left", error.source) }
            }
        }
    }

    pub(crate) fn of_log(path: &Path, source: &std::io::Error) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            reason: format!("its write-ahead log cannot be made durable ({source}); check the disk, and that this user can write to it"),
        }
    }

    pub(crate) fn of_migration(database: &str, error: sqlx::migrate::MigrateError) -> Self {
        let database = database.to_owned();
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::NewerSchema { database, version },
            other => Self::Schema { database, reason: other.to_string() },
        }
    }
}
