//! What MongoDB keeps: what is known of uploaded files. Writes are acknowledged by a majority that has them in its journal.
//! Indexes are made at every start, and by `wa-server migrate mongo-indexes`.

mod media_store;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ::mongodb::bson::{Document, doc};
use ::mongodb::error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR};
use ::mongodb::options::{ClientOptions, WriteConcern};
use ::mongodb::{Client, Database};
use tokio::time::timeout;
use wa_core::error::StoreError;
use wa_core::ports::{MediaStore, Stored};

use crate::OpenError;

/// The name of this in errors and health reports.
const BACKEND: &str = "mongodb";
/// For one answer: below the five seconds within which every request is answered.
const ANSWER: Duration = Duration::from_secs(4);
/// For a server to be found, and for a connection to stand, so that a second attempt still has time.
const CONNECT: Duration = Duration::from_millis(1800);
/// Connections, unless the URL says otherwise.
const CONNECTIONS: u32 = 20;
/// The database, unless the URL names one.
const DATABASE: &str = "whatsapp";

/// The commands that make the indexes, embedded in the program. Each makes what is not there, and can be repeated.
const INDEXES: &[&str] = &[include_str!("../../migrations/mongo/0001_media.json")];

/// One database of a MongoDB.
pub(crate) struct Mongo {
    client: Client,
    database: Database,
}

impl Mongo {
    /// Connects, and makes the indexes.
    ///
    /// # Errors
    /// If the URL says something else, or the server does not answer, or not as it should. The text repeats no password.
    pub(crate) async fn open(url: &str) -> Result<Self, OpenError> {
        let wrong = |reason: &str| OpenError::Messages { reason: reason.to_owned() };
        let down = |error: &Error| OpenError::MessagesDown { reason: error.kind.to_string() };
        if !matches!(url.split_once("://"), Some(("mongodb" | "mongodb+srv", _))) {
            return Err(wrong("it is no URL of a MongoDB; write mongodb://user:password@host:port/database"));
        }
        let parsed = timeout(ANSWER, ClientOptions::parse(url)).await;
        let mut options = match parsed {
            // The library's words may repeat the URL.
            Ok(Err(error)) if matches!(*error.kind, ErrorKind::DnsResolve { .. }) => {
                return Err(OpenError::MessagesDown { reason: "the name in it cannot be resolved".to_owned() });
            }
            Ok(parsed) => parsed.map_err(|_| wrong("it cannot be read; write mongodb://user:password@host:port/database, with special signs as %XX"))?,
            Err(_) => return Err(OpenError::MessagesDown { reason: "the name in it is not resolved in time".to_owned() }),
        };
        options.app_name.get_or_insert_with(|| "wa-server".to_owned());
        options.connect_timeout.get_or_insert(CONNECT);
        options.server_selection_timeout.get_or_insert(CONNECT);
        options.max_pool_size.get_or_insert(CONNECTIONS);
        options.write_concern.get_or_insert_with(|| WriteConcern::builder().w(::mongodb::options::Acknowledgment::Majority).journal(true).build());
        let database = options.default_database.clone().unwrap_or_else(|| DATABASE.to_owned());
        let client = Client::with_options(options).map_err(|_| wrong("its options do not fit together"))?;
        let mongo = Self { database: client.database(&database), client };
        for command in INDEXES {
            let command: Document = serde_json::from_str(command).map_err(|error| OpenError::Library(error.to_string()))?;
            let made = timeout(CONNECT * 5, mongo.database.run_command(command)).await;
            made.map_err(|_| OpenError::MessagesDown { reason: "no answer in time".to_owned() })?.map_err(|error| down(&error))?;
        }
        Ok(mongo)
    }

    /// What is known of files.
    pub(crate) fn media(self: &Arc<Self>) -> Arc<dyn MediaStore> {
        Arc::new(media_store::MongoMediaStore::new(Arc::clone(self)))
    }

    /// Whether it answers.
    pub(crate) async fn check(&self) -> Stored<()> {
        answer(self.database.run_command(doc! { "ping": 1 })).await.map(drop)
    }

    /// Ends the connections.
    pub(crate) async fn close(&self) {
        self.client.clone().shutdown().immediate(true).await;
    }
}

/// Awaits an answer of the library, as far as anybody waits for it.
async fn answer<T>(call: impl IntoFuture<Output = Result<T, Error>, IntoFuture: Future + Send>) -> Stored<T> {
    match timeout(ANSWER, call.into_future()).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure(error)),
        Err(_) => Err(StoreError::unavailable(BACKEND, "no answer in time")),
    }
}

/// What a failed call means. Of a write that failed on its way nobody knows the outcome.
fn failure(error: Error) -> StoreError {
    match &*error.kind {
        ErrorKind::BsonDeserialization(_) => StoreError::corrupt(BACKEND, error),
        ErrorKind::InvalidArgument { .. } | ErrorKind::BsonSerialization(_) | ErrorKind::Bson(_) => StoreError::other(BACKEND, error),
        ErrorKind::Command(_) if !error.contains_label(RETRYABLE_WRITE_ERROR) => StoreError::other(BACKEND, error),
        _ => StoreError::unavailable(BACKEND, error),
    }
}
