//! The schema's migrations, embedded in the program: up makes every table, down drops every table, both can be repeated.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::SqliteConnection;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::open::OpenError;
use crate::{Location, sql};

macro_rules! embedded {
    ($folder:literal: $($version:literal $name:literal,)*) => {
        &[$((
            $version,
            $name,
            include_str!(concat!("../migrations/", $folder, "/", $name, ".up.sql")),
            include_str!(concat!("../migrations/", $folder, "/", $name, ".down.sql")),
        ),)*]
    };
}

/// Version, file name, up and down.
type Embedded = (i64, &'static str, &'static str, &'static str);

/// Every migration of a kind of database: the same of each.
macro_rules! all {
    ($folder:literal) => {
        embedded! { $folder:
            1 "0001_users",
            2 "0002_contacts",
            3 "0003_chats",
            4 "0004_chat_participants",
            5 "0005_groups",
            6 "0006_device_tokens",
            7 "0007_refresh_tokens",
            8 "0008_privacy_settings",
            9 "0009_sessions",
            10 "0010_messages",
            11 "0011_hidden_messages",
            12 "0012_receipt_marks",
            13 "0013_receipt_history",
            14 "0014_outbox",
            15 "0015_health_probe",
            16 "0016_group_invites",
            17 "0017_ended_groups",
            19 "0019_reactions",
            20 "0020_stars",
            23 "0023_search",
            24 "0024_media",
            25 "0025_message_media",
            27 "0027_statuses",
            28 "0028_status_viewers",
            29 "0029_push_queue",
            40 "0040_transfer",
        }
    };
}

const SQLITE: &[Embedded] = all!("sqlite");
#[cfg(feature = "postgres")]
const POSTGRES: &[Embedded] = all!("postgres");

/// Makes or completes every table of the database at this URL. Opening a store does the same.
///
/// # Errors
/// If the URL is not supported, the database cannot be used, or its schema is newer than this release.
pub async fn up(url: &str) -> Result<(), OpenError> {
    match Location::database(url)? {
        Location::File(path) => {
            let db = sql::Db::open_file(&path, 1).await?;
            db.close().await;
            Ok(())
        }
        Location::Memory => Ok(()),
        #[cfg(feature = "postgres")]
        Location::Postgres(url) => {
            let db = sql::Db::open_postgres(&url, 1).await?;
            db.close().await;
            Ok(())
        }
    }
}

/// Drops every table of the database at this URL, and with them everything stored.
///
/// # Errors
/// As [`up`].
pub async fn down(url: &str) -> Result<(), OpenError> {
    match Location::database(url)? {
        Location::File(path) => sql::tear_down_file(&path).await,
        Location::Memory => Ok(()),
        #[cfg(feature = "postgres")]
        Location::Postgres(url) => sql::tear_down_postgres(&url).await,
    }
}

/// Makes the indexes of the MongoDB at this URL. Opening a store does the same.
///
/// # Errors
/// If the URL is not one, or the server cannot be used.
#[cfg(feature = "mongo")]
pub async fn mongo_indexes(url: &str) -> Result<(), OpenError> {
    crate::mongo::Mongo::open(url).await?.close().await;
    Ok(())
}

/// How the schema of a database stands to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// There is none, or no database.
    Absent,
    /// It is of the same version.
    Same,
    /// It is of this other version.
    Other(i64),
}

impl Schema {
    /// Of these migrations.
    fn of(made: &[i64], embedded: &[Embedded]) -> Self {
        match made.last() {
            None => Self::Absent,
            Some(_) if made.iter().eq(embedded.iter().map(|(version, ..)| version)) => Self::Same,
            Some(last) => Self::Other(*last),
        }
    }
}

/// The migrations that a database has seen.
pub(crate) const SEEN: &str = "SELECT version FROM _sqlx_migrations ORDER BY version";

/// Looks at the schema of a database, and changes nothing.
pub(crate) async fn schema(location: &Location) -> Result<Schema, OpenError> {
    match location {
        Location::File(path) => Ok(Schema::of(&sql::migrations_of_file(path).await?, SQLITE)),
        Location::Memory => Ok(Schema::Absent),
        #[cfg(feature = "postgres")]
        Location::Postgres(url) => Ok(Schema::of(&sql::migrations_of_postgres(url).await?, POSTGRES)),
    }
}

pub(crate) async fn run_up(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    migrator(SQLITE).run(connection).await
}

pub(crate) async fn run_down(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    migrator(SQLITE).undo(connection, 0).await
}

#[cfg(feature = "postgres")]
pub(crate) async fn run_up_postgres(connection: &mut sqlx::PgConnection) -> Result<(), MigrateError> {
    migrator(POSTGRES).run(connection).await
}

#[cfg(feature = "postgres")]
pub(crate) async fn run_down_postgres(connection: &mut sqlx::PgConnection) -> Result<(), MigrateError> {
    migrator(POSTGRES).undo(connection, 0).await
}

fn migrator(embedded: &'static [Embedded]) -> Migrator {
    let migration = |version, name: &'static str, kind, sql: &'static str| Migration::new(version, Cow::Borrowed(name), kind, sql.into_sql_str(), false);
    Migrator::with_migrations(
        embedded
            .iter()
            .flat_map(|&(version, name, up, down)| {
                [migration(version, name, MigrationType::ReversibleUp, up), migration(version, name, MigrationType::ReversibleDown, down)]
            })
            .collect(),
    )
}
