//! The outbox' way to the bus where several nodes share a database: one of them publishes for all. It is whoever holds a lock
//! that the server gives to one session and takes away with it; the others wait for it, and tell it when there is something
//! to publish. Rows are deleted once the bus answers for them, so whoever takes over finds what was not.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{Instant, sleep, timeout};
use wa_core::event::Event;
use wa_core::ports::EventBus;

use super::postgres::Server;
use super::relay::{LONGEST_PAUSE, PAUSE, Progress, ROWS};

/// The lock of whoever publishes: one for each schema of a database, as each is an installation of its own.
pub(super) const LOCK: &str = "hashtextextended('wa_outbox/' || current_schema(), 0)";

/// What the others send through.
const CHANNEL: &str = "wa_outbox";

/// How often the table is looked at without being told, and the lock is tried.
const TICK: Duration = Duration::from_millis(250);

/// A session that says nothing for longer is ended by the server, so that a node that stands still leads no longer.
pub(super) const SILENCE: &str = "1500ms";

/// How long the server may take for what it is asked.
const WITHIN: Duration = Duration::from_secs(3);

/// Rows that may be published and not settled.
const UNSETTLED: usize = 4096;

/// How often the rows that wait are counted.
const COUNTED_EVERY: Duration = Duration::from_secs(5);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
    #[error("the server does not answer in time")]
    Late,
    #[error("the connection was closed")]
    Closed,
}

async fn in_time<T>(doing: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Lost> {
    Ok(timeout(WITHIN, doing).await.map_err(|_| Lost::Late)??)
}

/// Publishes, or waits to, until `shutdown` ends.
pub(super) async fn run(server: &Server, progress: &Progress, bus: &dyn EventBus, mut shutdown: Pin<&mut impl Future<Output = ()>>) {
    let mut pause = PAUSE;
    let mut is_ending = false;
    loop {
        let started = Instant::now();
        let error = match Session::open(server).await {
            Ok(session) => match session.serve(progress, bus, shutdown.as_mut(), &mut is_ending).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        progress.set_depth(0);
        if is_ending || server.is_closed() {
            tracing::info!(%error, "the outbox cannot be published any more; another node or the next start goes on");
            return;
        }
        tracing::warn!(%error, "the session that publishes the outbox, or waits to, was lost; trying again");
        if started.elapsed() > LONGEST_PAUSE {
            pause = PAUSE;
        }
        tokio::select! {
            () = sleep(pause) => {}
            // One more try, for what is committed by now.
            () = shutdown.as_mut(), if !is_ending => is_ending = true,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The session that has the lock, or waits for it.
struct Session {
    listener: PgListener,
    pool: PgPool,
    /// Rows that were published, and how far the bus must come before they are settled.
    published: BTreeMap<i64, u64>,
    /// How often the bus had lost what was not settled, when that was last looked at.
    restarts: u64,
}

impl Session {
    async fn open(server: &Server) -> Result<Self, Lost> {
        let options = server.options().clone().options([
            ("idle_session_timeout", SILENCE),
            // A row whose deletion is forgotten is published once more.
            ("synchronous_commit", "off"),
        ]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(WITHIN).connect_lazy_with(options);
        let mut listener = in_time(PgListener::connect_with(&pool)).await?;
        // With the connection the lock is gone: it must not come back by itself.
        listener.eager_reconnect(false);
        Ok(Self { listener, pool, published: BTreeMap::new(), restarts: 0 })
    }

    /// Waits for the lock, and then publishes, until `shutdown` ends.
    async fn serve(
        mut self,
        progress: &Progress,
        bus: &dyn EventBus,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
        is_ending: &mut bool,
    ) -> Result<(), Lost> {
        while !self.take_lock().await? {
            if *is_ending {
                return Ok(());
            }
            tokio::select! {
                () = progress.woken() => self.tell_leader().await?,
                () = sleep(TICK) => {}
                () = shutdown.as_mut() => {
                    // The leader publishes what was committed here.
                    self.tell_leader().await?;
                    return Ok(());
                }
            }
        }
        tracing::info!("this node publishes the outbox");
        self.restarts = bus.progress().restarts;
        in_time(self.listener.listen(CHANNEL)).await?;
        let mut counted: Option<Instant> = None;
        loop {
            self.publish_all(bus).await?;
            self.delete_settled(bus).await?;
            if *is_ending {
                progress.set_depth(0);
                in_time(sqlx::query(AssertSqlSafe(format!("SELECT pg_advisory_unlock({LOCK})"))).execute(&mut self.listener)).await?;
                drop(self.listener);
                let _ = timeout(WITHIN, self.pool.close()).await;
                return Ok(());
            }
            if counted.is_none_or(|at| at.elapsed() >= COUNTED_EVERY) {
                progress.set_depth(self.count().await?);
                counted = Some(Instant::now());
            }
            tokio::select! {
                () = progress.woken() => {}
                told = self.listener.try_recv() => if told?.is_none() { return Err(Lost::Closed) },
                () = sleep(TICK) => {}
                () = shutdown.as_mut() => *is_ending = true,
            }
        }
    }

    async fn take_lock(&mut self) -> Result<bool, Lost> {
        in_time(sqlx::query_scalar(AssertSqlSafe(format!("SELECT pg_try_advisory_lock({LOCK})"))).fetch_one(&mut self.listener)).await
    }

    async fn tell_leader(&mut self) -> Result<(), Lost> {
        in_time(sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&mut self.listener)).await.map(drop)
    }

    /// Says something, as a session that is silent is ended.
    async fn show_life(&mut self) -> Result<(), Lost> {
        in_time(sqlx::query("SELECT 1").execute(&mut self.listener)).await.map(|_| ())
    }

    /// How many rows are not published.
    async fn count(&mut self) -> Result<i64, Lost> {
        let rows: i64 = in_time(sqlx::query_scalar("SELECT COUNT(*) FROM outbox").fetch_one(&mut self.listener)).await?;
        Ok(rows.saturating_sub(i64::try_from(self.published.len()).unwrap_or(i64::MAX)).max(0))
    }

    /// Publishes what can be seen and was not. Transactions may end in another order than that of their ids, so what is left
    /// is told by the rows themselves; of each chat the order holds, as its rows can be seen one after the other.
    async fn publish_all(&mut self, bus: &dyn EventBus) -> Result<(), Lost> {
        self.note_losses(bus);
        while self.published.len() < UNSETTLED {
            let known: Vec<i64> = self.published.keys().copied().collect();
            let query = sqlx::query_as("SELECT id, events FROM outbox WHERE NOT (id = ANY($1)) ORDER BY id LIMIT $2").bind(known).bind(ROWS);
            let rows: Vec<(i64, String)> = in_time(query.fetch_all(&mut self.listener)).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (id, json) in rows {
                match serde_json::from_str::<Vec<Arc<Event>>>(&json) {
                    Ok(events) => {
                        if !self.publish(bus, id, &events).await? {
                            break;
                        }
                    }
                    Err(error) => {
                        // It will never be readable; what it announced can still be fetched from the store.
                        tracing::error!(%error, row = id, "a row of the outbox cannot be read and is passed over");
                        self.published.insert(id, 0);
                    }
                }
            }
            self.delete_settled(bus).await?;
        }
        Ok(())
    }

    /// If the bus has lost what it was given and had not settled, all of it is given again, from the first row on. Returns
    /// whether it has.
    fn note_losses(&mut self, bus: &dyn EventBus) -> bool {
        let restarts = bus.progress().restarts;
        let has_lost = self.restarts < restarts;
        if has_lost {
            tracing::warn!(rows = self.published.len(), "the event bus has lost what it was given; it is given again");
            self.published.clear();
            self.restarts = restarts;
        }
        has_lost
    }

    /// Publishes a row, however long the bus takes. The session is kept alive meanwhile, and if it ends, so does this:
    /// somebody else then publishes the row. Returns whether it was published: not if the bus has lost what came before it.
    async fn publish(&mut self, bus: &dyn EventBus, id: i64, events: &[Arc<Event>]) -> Result<bool, Lost> {
        #[cfg(feature = "failpoints")]
        wa_core::faults::pass("before_publish");
        let restarts = self.restarts;
        let published = async {
            let mut pause = PAUSE;
            while let Err(error) = bus.publish(events).await {
                if bus.progress().restarts > restarts {
                    return;
                }
                tracing::warn!(%error, "the event bus did not take a batch; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        let mut published = std::pin::pin!(published);
        loop {
            tokio::select! {
                biased;
                () = published.as_mut() => break,
                () = sleep(TICK) => self.show_life().await?,
            }
        }
        if self.note_losses(bus) {
            return Ok(false);
        }
        // By now others may have published more, which makes this row wait for theirs as well.
        self.published.insert(id, bus.progress().published);
        Ok(true)
    }

    async fn delete_settled(&mut self, bus: &dyn EventBus) -> Result<(), Lost> {
        let settled = bus.progress().settled;
        let done: BTreeSet<i64> = self.published.iter().filter(|(_, at)| **at <= settled).map(|(id, _)| *id).collect();
        if done.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = done.iter().copied().collect();
        in_time(sqlx::query("DELETE FROM outbox WHERE id = ANY($1)").bind(ids).execute(&mut self.listener)).await?;
        self.published.retain(|id, _| !done.contains(id));
        Ok(())
    }
}
