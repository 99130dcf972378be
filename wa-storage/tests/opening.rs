//! Opening storage: everything that can be wrong with a database is a clear error that names it, and migrations go both ways.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use wa_core::testing::SimEnv;
use wa_storage::{OpenError, StorageConfig, Stores, migrate, open};

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

async fn open_at(path: &Path) -> Result<Stores, OpenError> {
    open(&StorageConfig::new(url(path)), Arc::new(SimEnv::new(1))).await
}

async fn refused(path: &Path) -> OpenError {
    open_at(path).await.map(drop).expect_err("it cannot be opened")
}

/// A database that was made, filled a little and closed.
async fn made(folder: &Path) -> PathBuf {
    let path = folder.join("wa.db");
    let stores = open_at(&path).await.expect("it is made");
    for state in stores.health(std::time::Duration::from_secs(20)).await {
        state.state.expect("it is healthy");
    }
    stores.close().await.expect("it closes");
    path
}

async fn query(path: &Path, sql: &'static str) -> Vec<String> {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("connects");
    let rows = sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("the query runs");
    connection.close().await.expect("closes");
    rows
}

#[tokio::test]
async fn the_folder_and_the_file_are_made_with_the_promised_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = made(&folder.path().join("a/b")).await;
    assert_eq!(query(&path, "PRAGMA journal_mode").await, ["wal"]);
    assert!(!path.with_file_name("wa.db-wal").exists(), "closing leaves no log behind");
    open_at(&path).await.expect("and it opens again").close().await.expect("closes");
}

#[tokio::test]
async fn a_relative_path_is_one() {
    // Relative to the package, where tests run.
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
    let name = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
    let stores = open(&StorageConfig::new(format!("sqlite://{name}/wa.db")), Arc::new(SimEnv::new(1))).await.expect("opens");
    assert!(folder.path().join("wa.db").is_file());
    stores.close().await.expect("closes");
}

#[tokio::test]
async fn what_this_build_does_not_have_is_named_without_its_password() {
    for database in ["mysql://user:secret@host/db", "mysql://h", "sqlite://", "sqlite:", "sqlite://x?mode=ro", "", "wa.db"] {
        let error = open(&StorageConfig::new(database), Arc::new(SimEnv::new(1))).await.map(drop).expect_err(database);
        assert!(matches!(error, OpenError::Unsupported { key: "database", .. }), "{database}: {error}");
        let text = error.to_string();
        assert!(text.contains("sqlite://<path>") && !text.contains("secret"), "{text}");
    }
    let config = StorageConfig { cache: "memcached://:secret@host".to_owned(), ..StorageConfig::in_memory() };
    let text = open(&config, Arc::new(SimEnv::new(1))).await.map(drop).expect_err("no memcached").to_string();
    assert!(text.contains("storage.cache") && text.contains("memory:") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wa.db");
    std::fs::write(&path, "these are notes, and more than sixteen bytes of them\n".repeat(200)).expect("written");
    let error = refused(&path).await;
    assert!(matches!(&error, OpenError::Corrupt { path: named, .. } if *named == path), "{error}");
    assert!(std::fs::read_to_string(&path).expect("read").starts_with("these are notes"), "and left alone");
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = made(folder.path()).await;
    let whole = std::fs::read(&path).expect("read");
    let mut overwritten = whole.clone();
    let middle = whole.len() / 2 / 4096 * 4096;
    overwritten[middle..middle + 4096].fill(0xAA);
    for (damage, bytes) in [("overwritten", &overwritten[..]), ("cut", &whole[..whole.len() / 2])] {
        std::fs::write(&path, bytes).expect("written");
        let error = refused(&path).await;
        assert!(matches!(error, OpenError::Corrupt { .. }), "{damage}: {error:?}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = made(folder.path()).await;
    query(&path, "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', TRUE, x'00', 0)").await;
    let error = refused(&path).await;
    assert!(matches!(error, OpenError::NewerSchema { version: 9999, .. }), "{error}");
    assert!(error.to_string().contains("newer release"), "{error}");
}

#[tokio::test]
async fn a_database_in_use_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wa.db");
    let first = open_at(&path).await.expect("opens");
    assert!(matches!(refused(&path).await, OpenError::InUse { .. }));
    assert!(matches!(migrate::down(&url(&path)).await, Err(OpenError::InUse { .. })));
    first.close().await.expect("closes");
    drop(first);
    open_at(&path).await.expect("now it opens").close().await.expect("closes");
}

#[tokio::test]
async fn a_path_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("written");
    let error = refused(&file.join("sub/wa.db")).await;
    assert!(matches!(&error, OpenError::Folder { path, .. } if *path == file.join("sub")), "{error}");
    let error = refused(folder.path()).await;
    assert!(matches!(&error, OpenError::Unusable { path, .. } if path == folder.path()), "{error}");
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn a_database_is_let_go_of_if_its_object_store_is_not_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wa.db");
    let mut config = StorageConfig::new(url(&path));
    // Nobody listens there.
    config.media.url = "s3://key:hunter2@whatsapp-media?endpoint=http://127.0.0.1:9".to_owned();
    let error = open(&config, Arc::new(SimEnv::new(1))).await.map(drop).expect_err("nobody answers");
    assert!(matches!(error, OpenError::ObjectStoreDown { .. }) && !error.to_string().contains("hunter2"), "{error}");
    open_at(&path).await.expect("it can be opened again").close().await.expect("it closes");
}

const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations' ORDER BY name";

#[tokio::test]
async fn migrations_go_up_and_down_again_and_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wa.db");
    migrate::down(&url(&path)).await.expect("there is nothing to drop");
    assert!(!path.exists());
    for _ in 0..2 {
        for _ in 0..2 {
            migrate::up(&url(&path)).await.expect("up");
            let tables = query(&path, TABLES).await;
            for table in ["chat_participants", "chats", "contacts", "device_tokens", "groups", "privacy_settings", "refresh_tokens", "users"] {
                assert!(tables.iter().any(|name| name == table), "{table} is not in {tables:?}");
            }
        }
        for _ in 0..2 {
            migrate::down(&url(&path)).await.expect("down");
            assert_eq!(query(&path, TABLES).await, [""; 0]);
        }
    }
}

/// Tables and their columns, as a migration's text declares them.
fn declared(folder: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
    let mut tables = BTreeMap::new();
    for file in std::fs::read_dir(folder).expect("listed") {
        let path = file.expect("listed").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("read");
        let Some(number) = name.strip_suffix(".up.sql") else {
            let up = path.with_file_name(name.replace(".down.sql", ".up.sql"));
            assert!(up.is_file(), "{name} undoes nothing");
            continue;
        };
        assert!(path.with_file_name(format!("{number}.down.sql")).is_file(), "{name} cannot be undone");
        let mut table = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("CREATE TABLE ") {
                let name = name.trim_end_matches(" (").to_owned();
                assert!(tables.insert(name.clone(), (number.to_owned(), Vec::new())).is_none(), "{name} is made twice");
                table = Some(name);
            } else if let Some((name, arguments)) = line.strip_prefix("CREATE VIRTUAL TABLE ").and_then(|line| line.split_once(" USING fts5 (")) {
                // What is elsewhere the column `id` is SQLite's rowid; arguments with a `=` are settings.
                let columns = arguments.split(", ").filter(|argument| !argument.contains('=')).map(str::to_owned);
                tables.insert(name.to_owned(), (number.to_owned(), std::iter::once("id".to_owned()).chain(columns).collect()));
            } else if let Some(column) = line.strip_prefix("    ").and_then(|line| line.split_whitespace().next())
                && column.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && let Some((_, columns)) = table.as_ref().and_then(|table| tables.get_mut(table))
            {
                columns.push(column.to_owned());
            }
        }
    }
    tables
}

#[test]
fn both_databases_have_the_same_tables_from_the_same_migrations() {
    let (mut sqlite, mut postgres) = (declared("sqlite"), declared("postgres"));
    // Each has an index of words of its own kind.
    for tables in [&mut sqlite, &mut postgres] {
        assert!(tables.remove("search_index").is_some());
    }
    assert_eq!(sqlite, postgres);
    assert!(sqlite.len() >= 14, "{:?}", sqlite.keys());
    let first: Vec<&str> = ["users", "contacts", "chats", "chat_participants", "groups", "device_tokens", "refresh_tokens", "privacy_settings"].into();
    for (number, table) in (1..).zip(first) {
        assert_eq!(sqlite[table].0, format!("{number:04}_{table}"));
    }
}
