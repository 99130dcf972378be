//! Copies the write-ahead log into the database file beside the commits, on a connection of its own: who writes meanwhile
//! waits for the disk at the most, not for the copy.

use std::mem;

use tokio::task::JoinHandle;
use wa_core::error::StoreError;
use wa_core::ports::Stored;

use super::db::{Connection, Db};

/// Its connection, if it has one, and what it does.
#[derive(Debug, Default)]
pub(super) enum Copier {
    /// It has not been needed since the last failure.
    #[default]
    Unconnected,
    Idle(Connection),
    Copying(JoinHandle<Result<Connection, Failed>>),
}

/// A copy failed, and its connection is given up.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: StoreError,
    /// Whether the operating system failed to read, write or sync, so that a file may hold less than it seems to.
    pub(super) has_failed_io: bool,
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { error, has_failed_io: false }
    }
}

impl Copier {
    /// Whether the last copy is over.
    pub(super) fn is_idle(&self) -> bool {
        !matches!(self, Self::Copying(copying) if !copying.is_finished())
    }

    /// Starts to copy, once the last copy was [finished](Self::finish).
    pub(super) async fn start(&mut self, db: &Db) -> Stored<()> {
        let mut connection = match mem::take(self) {
            Self::Idle(connection) => connection,
            Self::Unconnected | Self::Copying(_) => db.copier().await?,
        };
        *self = Self::Copying(tokio::spawn(async move {
            match connection.copy_log().await {
                Ok(()) => Ok(connection),
                Err(error) => {
                    let has_failed_io = connection.has_failed_io();
                    connection.abandon().await;
                    Err(Failed { error, has_failed_io })
                }
            }
        }));
        Ok(())
    }

    /// Waits for the last copy, and tells whether it went well.
    pub(super) async fn finish(&mut self) -> Result<(), Failed> {
        *self = match mem::take(self) {
            Self::Copying(copying) => Self::Idle(copying.await.map_err(|panic| StoreError::other("store", panic))??),
            other => other,
        };
        Ok(())
    }

    /// Ends it. The log is the writer's to empty.
    pub(super) async fn close(&mut self) {
        if let Err(Failed { error, .. }) = self.finish().await {
            tracing::warn!(%error, "the log could not be copied into the database file");
        }
        if let Self::Idle(connection) = mem::take(self) {
            connection.abandon().await;
        }
    }
}
