//! Storage backends behind the ports of `wa-core`: SQL for what must last, memory for what need not. [`open`] is the only
//! place that picks a backend, by URL.

#[cfg(not(feature = "sqlite"))]
compile_error!("wa-storage needs a database: enable its feature `sqlite`");

mod blob;
mod cache;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "media")]
pub mod media;
mod memory;
pub mod migrate;
#[cfg(feature = "mongo")]
mod mongo;
mod open;
#[cfg(feature = "redis")]
mod redis;
mod sql;
pub mod transfer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use wa_core::error::StoreError;
use wa_core::limits::Limits;
use wa_core::link::{FileSigner, Links};
use wa_core::ports::{
    AnnotationStore, BlobStore, ChangeStore, ChatStore, ContactStore, DeviceTokenStore, Env, GroupStore, MediaStore, MediaUses, MessageStore, OtpStore,
    PresenceStore, PushQueue, RateLimiter, ReceiptStore, SearchStore, SessionStore, Staging, StatusStore, Stored, TypingStore, UserStore,
};

use cache::Cache;
pub use open::OpenError;
pub use sql::{Indexer, PoolUse, Relay};

/// What storage is made of.
#[derive(Clone)]
pub struct StorageConfig {
    /// `sqlite://path` with a relative or absolute path, `sqlite::memory:`, or `postgres://user:password@host:port/database`.
    pub database: String,
    /// `memory:`, or `redis://[user:password@]host[:port][/database]` (`rediss://` over TLS) for what many nodes share.
    pub cache: String,
    /// `mongodb://user:password@host:port/database` for what is known of files; `None`: the database.
    #[cfg(feature = "mongo")]
    pub messages: Option<String>,
    /// Where uploaded files lie.
    pub media: MediaConfig,
    /// Connections that read SQLite at the same time; two for each processor, unless said otherwise.
    pub readers: u32,
    /// Connections to PostgreSQL, all together: five of them write messages and lead the relay, the rest, at least two, do
    /// everything else.
    pub postgres_connections: u32,
    /// Typing notices held at a time.
    pub typing_notices: usize,
}

impl StorageConfig {
    /// This database, and memory for the rest.
    #[must_use]
    pub fn new(database: impl Into<String>) -> Self {
        let database = database.into();
        let media = MediaConfig::beside(&database);
        // More do not read faster from a file that is in memory, and each has pages and a thread of its own.
        let readers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 8) * 2;
        let readers = u32::try_from(readers).unwrap_or(4);
        Self {
            database,
            cache: "memory:".to_owned(),
            #[cfg(feature = "mongo")]
            messages: None,
            media,
            readers,
            postgres_connections: 20,
            typing_notices: Limits::default().typing_notices,
        }
    }

    /// Everything in memory, and files in a temporary folder, gone when it is closed: for tests and trying out.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new("sqlite::memory:")
    }
}

impl std::fmt::Debug for StorageConfig {
    /// URLs may hold passwords, so that only their schemes are shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = |url: &str| url.split(':').next().unwrap_or_default().to_owned();
        f.debug_struct("StorageConfig")
            .field("database", &scheme(&self.database))
            .field("cache", &scheme(&self.cache))
            .field("media", &self.media)
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}

/// Where uploaded files lie.
#[derive(Clone)]
pub struct MediaConfig {
    /// `file://path` with a relative or absolute path; `s3://[key:secret@]bucket?endpoint=…&region=…&public_endpoint=…`; or
    /// `temporary:` for a folder that goes when the store is closed.
    pub url: String,
    /// The folder for uploads under way; `None`: a temporary one. It should be on the disk on which the files lie.
    pub staging: Option<PathBuf>,
    /// Where people reach the server that hands files out.
    pub links: Arc<Links>,
    /// Signs addresses of files in a folder; `None`: a new one, with which addresses are good until the store is closed.
    pub key: Option<[u8; 32]>,
}

impl MediaConfig {
    /// Folders beside this database.
    fn beside(database: &str) -> Self {
        let folder = match Location::database(database) {
            Ok(Location::File(path)) => path.parent().map(std::path::Path::to_owned),
            // Of a server there is nothing beside.
            Ok(_) | Err(_) => None,
        };
        let url = folder.as_ref().map_or_else(|| "temporary:".to_owned(), |folder| format!("file://{}", folder.join("media").display()));
        Self { url, staging: folder.map(|folder| folder.join("staging")), links: Arc::default(), key: None }
    }
}

impl std::fmt::Debug for MediaConfig {
    /// The URL may hold a password, and the key is one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaConfig").field("staging", &self.staging).finish_non_exhaustive()
    }
}

/// Where a database is.
enum Location {
    File(PathBuf),
    Memory,
    #[cfg(feature = "postgres")]
    Postgres(String),
}

impl Location {
    fn database(url: &str) -> Result<Self, OpenError> {
        const SUPPORTED: &str = if cfg!(feature = "postgres") {
            "sqlite://<path>, sqlite::memory: and postgres://<server>/<database>"
        } else {
            "sqlite://<path> and sqlite::memory:"
        };
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        match (scheme, rest.strip_prefix("//").unwrap_or(rest)) {
            ("sqlite", ":memory:") => Ok(Self::Memory),
            ("sqlite", path) if !path.is_empty() && !path.contains('?') => Ok(Self::File(path.into())),
            #[cfg(feature = "postgres")]
            ("postgres" | "postgresql", _) => Ok(Self::Postgres(url.to_owned())),
            // The rest of a URL may hold a password, so that only its scheme is shown.
            ("sqlite", _) => Err(OpenError::Unsupported { key: "database", found: url.to_owned(), supported: SUPPORTED }),
            _ => Err(OpenError::Unsupported { key: "database", found: format!("{scheme}:…"), supported: SUPPORTED }),
        }
    }
}

/// Every store, by port.
pub struct Stores {
    /// The log of every chat.
    pub messages: Arc<dyn MessageStore>,
    /// Changes to messages that stand.
    pub changes: Arc<dyn ChangeStore>,
    /// Reactions and stars.
    pub annotations: Arc<dyn AnnotationStore>,
    /// Who received and read what.
    pub receipts: Arc<dyn ReceiptStore>,
    /// Chats and their members.
    pub chats: Arc<dyn ChatStore>,
    /// Groups as they are made and changed.
    pub groups: Arc<dyn GroupStore>,
    /// Accounts.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Devices and sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// One-time passwords.
    pub otps: Arc<dyn OtpStore>,
    /// Who is connected.
    pub presence: Arc<dyn PresenceStore>,
    /// Who is typing.
    pub typing: Arc<dyn TypingStore>,
    /// Token buckets.
    pub rate_limiter: Arc<dyn RateLimiter>,
    /// Finds messages by their words.
    pub search: Arc<dyn SearchStore>,
    /// Statuses and who has seen them.
    pub statuses: Arc<dyn StatusStore>,
    /// What is known of uploaded files.
    pub media: Arc<dyn MediaStore>,
    /// What refers to uploaded files.
    pub media_uses: Arc<dyn MediaUses>,
    /// Where uploaded files lie.
    pub blobs: Arc<dyn BlobStore>,
    /// Where uploads under way lie.
    pub staging: Arc<dyn Staging>,
    /// Tells the addresses of files that it signed; `None` where somebody else hands the files out.
    pub files: Option<FileSigner>,
    /// Where pushes go.
    pub device_tokens: Arc<dyn DeviceTokenStore>,
    /// Pushes that wait.
    pub push_queue: Arc<dyn PushQueue>,
    /// Keeps the search index up; somebody should [`Indexer::run`] it, and subscribe it to the events.
    pub indexer: Arc<Indexer>,
    /// Publishes what the stores announce; somebody must [`Relay::run`] it.
    pub relay: Arc<Relay>,
    database: sql::Database,
    cache: cache::CacheBackend,
    #[cfg(feature = "mongo")]
    mongo: Option<Arc<mongo::Mongo>>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("database", &self.database.name()).finish_non_exhaustive()
    }
}

/// How one dependency does.
#[derive(Debug)]
pub struct Health {
    /// What it serves as, such as `database`.
    pub name: &'static str,
    /// Whether it can be used now.
    pub state: Stored<()>,
}

impl Stores {
    /// Tries every dependency out, all at once: the database is read and written. One that takes longer does not work.
    pub async fn health(&self, patience: Duration) -> Vec<Health> {
        let late = |name| move |_| Err(StoreError::unavailable(name, "it does not answer in time"));
        let (database, cache, media) =
            tokio::join!(timeout(patience, self.database.probe()), timeout(patience, self.cache.check()), timeout(patience, self.blobs.check()));
        #[cfg_attr(not(feature = "mongo"), expect(unused_mut, reason = "there is no more then"))]
        let mut states = vec![
            Health { name: "database", state: database.unwrap_or_else(late("database")) },
            Health { name: "cache", state: cache.unwrap_or_else(late("cache")) },
            Health { name: "media", state: media.unwrap_or_else(late("media")) },
        ];
        #[cfg(feature = "mongo")]
        if let Some(mongo) = &self.mongo {
            states.push(Health { name: "messages", state: timeout(patience, mongo.check()).await.unwrap_or_else(late("messages")) });
        }
        states
    }

    /// How busy the readers of the database are.
    #[must_use]
    pub fn pool_use(&self) -> PoolUse {
        self.database.pool_use()
    }

    /// Whether the cache answered when it was last asked.
    #[must_use]
    pub fn cache_is_up(&self) -> bool {
        self.cache.is_up()
    }

    /// Commits what waits, writes the log into the database file and closes it. Later calls of any store fail as
    /// unavailable. End [`Relay::run`] first, so that what was committed is also published.
    ///
    /// # Errors
    /// If the file could not be completed; it then recovers on its next start.
    pub async fn close(&self) -> Stored<()> {
        #[cfg(feature = "mongo")]
        if let Some(mongo) = &self.mongo {
            mongo.close().await;
        }
        self.database.close().await
    }
}

/// Opens every backend the configuration names, and brings schemas up to date. Must be called within a tokio runtime, in
/// which the writer's task then lives.
///
/// # Errors
/// If a URL is not supported by this build, or what it names cannot be used; the text says what to do.
pub async fn open(config: &StorageConfig, env: Arc<dyn Env>) -> Result<Stores, OpenError> {
    #[cfg(feature = "mongo")]
    let mongo = match &config.messages {
        Some(url) => Some(Arc::new(mongo::Mongo::open(url).await?)),
        None => None,
    };
    let cache = Cache::open(&config.cache, config.typing_notices, &env).await?;
    let db = match Location::database(&config.database)? {
        Location::File(path) => sql::Db::open_file(&path, config.readers).await?,
        Location::Memory => sql::Db::open_memory(config.readers).await?,
        #[cfg(feature = "postgres")]
        Location::Postgres(url) => sql::Db::open_postgres(&url, config.postgres_connections).await?,
    };
    let sql = sql::SqlStores::new(db, Arc::clone(&env));
    let unfinished = sql.database.unfinished_copy().await.map_err(|error| OpenError::Library(format!("the database cannot be read: {}", error.source)))?;
    if let Some(source) = unfinished {
        if let Err(unclosed) = sql.database.close().await {
            tracing::warn!(error = %unclosed, "the database was not closed cleanly");
        }
        return Err(OpenError::UnfinishedCopy { source_name: source });
    }
    // Only whoever has the database may empty the folder of uploads under way.
    let Blobs { blobs, staging, files } = match open_blobs(&config.media, &env).await {
        Ok(blobs) => blobs,
        Err(error) => {
            if let Err(unclosed) = sql.database.close().await {
                tracing::warn!(error = %unclosed, "the database was not closed cleanly");
            }
            return Err(error);
        }
    };
    let media = sql.media;
    #[cfg(feature = "mongo")]
    let media = mongo.as_ref().map_or(media, |mongo| mongo.media());
    Ok(Stores {
        messages: sql.messages,
        changes: sql.changes,
        annotations: sql.annotations,
        receipts: sql.receipts,
        chats: sql.chats,
        groups: sql.groups,
        users: sql.users,
        contacts: sql.contacts,
        sessions: sql.sessions,
        otps: cache.otps,
        presence: cache.presence,
        typing: cache.typing,
        rate_limiter: cache.rate_limiter,
        search: sql.search,
        statuses: sql.statuses,
        media,
        media_uses: sql.media_uses,
        blobs,
        staging,
        files,
        device_tokens: sql.device_tokens,
        push_queue: sql.push_queue,
        indexer: sql.indexer,
        relay: sql.relay,
        database: sql.database,
        cache: cache.backend,
        #[cfg(feature = "mongo")]
        mongo,
    })
}

/// Opens the token buckets of a cache (`memory:` or `redis://…`) alone, for a process that stores nothing: a gateway.
///
/// # Errors
/// As [`open`].
pub async fn open_rate_limiter(cache: &str, env: Arc<dyn Env>) -> Result<Arc<dyn RateLimiter>, OpenError> {
    Ok(Cache::open(cache, 0, &env).await?.rate_limiter)
}

/// What holds files.
struct Blobs {
    blobs: Arc<dyn BlobStore>,
    staging: Arc<dyn Staging>,
    files: Option<FileSigner>,
}

/// A place for files.
enum Place {
    Folder(PathBuf),
    #[cfg(feature = "s3")]
    Bucket,
}

impl Place {
    fn of(url: &str) -> Result<Option<Self>, OpenError> {
        match url.split_once(':') {
            Some(("temporary", "")) => Ok(None),
            Some(("file", path)) if !path.trim_start_matches('/').is_empty() => Ok(Some(Self::Folder(path.strip_prefix("//").unwrap_or(path).into()))),
            #[cfg(feature = "s3")]
            Some(("s3", _)) => Ok(Some(Self::Bucket)),
            _ => {
                let scheme = url.split(':').next().unwrap_or_default();
                let supported = if cfg!(feature = "s3") { "file://<path>, s3://<bucket> and temporary:" } else { "file://<path> and temporary:" };
                Err(OpenError::Unsupported { key: "media", found: format!("{scheme}:…"), supported })
            }
        }
    }
}

async fn open_blobs(config: &MediaConfig, env: &Arc<dyn Env>) -> Result<Blobs, OpenError> {
    let place = Place::of(&config.url)?;
    let goes = match (&place, &config.staging) {
        (Some(_), Some(_)) => None,
        _ => Some(tempfile::tempdir().map_err(|source| OpenError::Folder { path: std::env::temp_dir(), source })?),
    };
    let beside = |name: &str| goes.as_ref().map(|folder| folder.path().join(name)).unwrap_or_default();
    let folder = |path: &std::path::Path| {
        let path = path.to_owned();
        move |source| OpenError::Folder { path, source }
    };
    let staging = config.staging.clone().unwrap_or_else(|| beside("staging"));
    let staging: Arc<dyn Staging> = Arc::new(blob::LocalStaging::open(staging.clone()).map_err(folder(&staging))?);
    let root = match place {
        Some(Place::Folder(root)) => root,
        None => beside("media"),
        #[cfg(feature = "s3")]
        Some(Place::Bucket) => {
            let blobs = blob::S3BlobStore::open(&config.url, goes).await?;
            return Ok(Blobs { blobs: Arc::new(blobs), staging, files: None });
        }
    };
    let key = config.key.unwrap_or_else(|| {
        let mut key = [0; 32];
        env.fill(&mut key);
        key
    });
    let signer = FileSigner::new(key, Arc::clone(&config.links));
    let blobs = blob::LocalBlobStore::open(root.clone(), goes, signer.clone(), Arc::clone(env)).map_err(folder(&root))?;
    Ok(Blobs { blobs: Arc::new(blobs), staging, files: Some(signer) })
}
