//! What must be done from time to time while the server runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use wa_core::api::{MediaApi, PresenceApi, Swept};
use wa_storage::Stores;
use wa_transport::Backend;
use wa_transport::metrics::Metrics;

/// How much later than at its time the end of typing may be told.
const TYPING: Duration = Duration::from_millis(250);

/// How often the sockets of this node are noted anew; after a minute without it they count as gone.
const RENEWAL: Duration = Duration::from_secs(15);

/// How soon after their time those are told to be gone whose node is.
const PRESENCE: Duration = Duration::from_secs(1);

/// How long after its time a message may still take up room; nobody sees it any more.
const EXPIRY: Duration = Duration::from_secs(5);

/// The same of a status.
const STATUS_EXPIRY: Duration = Duration::from_secs(60);

/// How old gauges may be.
const GAUGES: Duration = Duration::from_secs(1);

/// How soon the rows of ended groups are deleted: so many at a time, so that nobody's message waits for long, and so many
/// times in a row.
const PURGE: Duration = Duration::from_secs(1);
const PURGED_AT_A_TIME: usize = 500;
const PURGES: usize = 10;

/// How often files are looked for that nothing refers to (contract, section 7).
const SWEEP: Duration = Duration::from_secs(6 * 3600);

/// Deletes files that nothing has referred to for long, for ever.
pub(crate) async fn sweep(media: Arc<dyn MediaApi>) {
    let mut every = interval(SWEEP);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        match media.sweep().await {
            Ok(Swept { files: 0, objects: 0 }) => tracing::debug!("no file is without use"),
            Ok(Swept { files, objects }) => tracing::info!(files, objects, "files that nothing refers to were deleted"),
            Err(error) => tracing::warn!(%error, "files that nothing refers to are deleted later"),
        }
    }
}

/// A clock that beats every so often, and does not make up for what it missed.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Keeps what is known of who is here and who is typing true, for ever.
pub(crate) async fn presence(presence: Arc<dyn PresenceApi>) {
    let (mut typing, mut renewal, mut expiry) = (every(TYPING), every(RENEWAL), every(PRESENCE));
    loop {
        tokio::select! {
            _ = typing.tick() => {
                if let Err(error) = presence.expire_typing().await {
                    tracing::debug!(%error, "the end of typing notices could not be told");
                }
            }
            _ = renewal.tick() => {
                if let Err(error) = presence.renew().await {
                    tracing::debug!(%error, "the sockets of this node are noted anew in a moment");
                    renewal.reset_after(PRESENCE);
                }
            }
            _ = expiry.tick() => {
                if let Err(error) = presence.expire().await {
                    tracing::debug!(%error, "those whose node is gone are told of later");
                }
            }
        }
    }
}

/// Deletes messages and statuses whose time has come and what ended groups left, and keeps the gauges
/// true, for ever.
pub(crate) async fn run(backend: Backend, stores: Arc<Stores>) {
    let Backend { messages, statuses, metrics, .. } = backend;
    let (mut expiry, mut gauges, mut purge) = (every(EXPIRY), every(GAUGES), every(PURGE));
    let mut status_expiry = every(STATUS_EXPIRY);
    loop {
        tokio::select! {
            _ = expiry.tick() => match messages.expire().await {
                // One transaction after the other, with room for everybody else's in between.
                Ok(true) => expiry.reset_immediately(),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "expired messages are deleted later"),
            },
            _ = status_expiry.tick() => match statuses.expire().await {
                Ok(true) => status_expiry.reset_immediately(),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "expired statuses are deleted later"),
            },
            _ = gauges.tick() => measure(&stores, &metrics),
            _ = purge.tick() => purge_ended_groups(&stores).await,
        }
    }
}

async fn purge_ended_groups(stores: &Stores) {
    for _ in 0..PURGES {
        match stores.groups.purge(PURGED_AT_A_TIME).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::debug!(%error, "ended groups are deleted later"),
        }
    }
}

/// Sets the gauges.
pub(crate) fn measure(stores: &Stores, metrics: &Metrics) {
    let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    metrics.outbox_depth().set(gauge(stores.relay.depth()));
    let readers = stores.pool_use();
    metrics.pool_connections("database_readers", "idle", readers.idle.into());
    metrics.pool_connections("database_readers", "used", readers.open.saturating_sub(readers.idle).into());
    metrics.cache_circuit().set(if stores.cache_is_up() { 0 } else { 2 });
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    metrics.runtime_tasks().set(gauge(tasks as u64));
}
