//! Whose turn it is where several nodes share a database and one of them at a time may do something: it is whoever holds a
//! lock that the server gives to one session and takes away with it.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};
use tokio::sync::Mutex;
use tokio::time::timeout;
use wa_core::ports::{Stored, Turn};

use super::db::Dialect;
use super::leader::SILENCE;
use super::postgres::{Server, late};

/// How long the server may take for a connection, and for an answer.
const WITHIN: Duration = Duration::from_secs(1);

/// The turn of one name, as this node sees it.
#[derive(Debug, Default)]
pub(super) struct SharedTurn {
    session: Mutex<Option<Session>>,
}

#[derive(Debug)]
struct Session {
    connection: PgConnection,
    has_lock: bool,
}

impl SharedTurn {
    /// Takes the turn if nobody has it, and keeps it if it is this node's: until a second after this was called.
    pub(super) async fn take(&self, server: &Server, name: &str) -> Stored<Turn> {
        let mut kept = self.session.lock().await;
        // Unless all goes well the session is dropped, and the turn with it.
        let mut session = match kept.take() {
            Some(session) => session,
            None => {
                let options = server.options().clone().options([("idle_session_timeout", SILENCE)]);
                let connection = timeout(WITHIN, options.connect()).await.map_err(|_| late())?.map_err(|error| Dialect::Postgres.error(error))?;
                Session { connection, has_lock: false }
            }
        };
        // One lock for each schema of a database, as each is an installation of its own.
        let lock = format!("SELECT pg_try_advisory_lock(hashtextextended('{name}/' || current_schema(), 0))");
        let ask = if session.has_lock { "SELECT true".to_owned() } else { lock };
        let answer = timeout(WITHIN, sqlx::query_scalar(AssertSqlSafe(ask)).fetch_one(&mut session.connection)).await;
        let is_mine = answer.map_err(|_| late())?.map_err(|error| Dialect::Postgres.error(error))?;
        let turn = match (is_mine, std::mem::replace(&mut session.has_lock, is_mine)) {
            (true, true) => Turn::Kept,
            (true, false) => Turn::Gained,
            (false, _) => Turn::Elsewhere,
        };
        *kept = Some(session);
        Ok(turn)
    }
}
