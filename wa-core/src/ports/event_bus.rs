//! How events get from the stores to whoever acts on them.

use std::sync::Arc;

use async_trait::async_trait;

use super::Stored;
use crate::event::Event;

/// Acts on events.
#[async_trait]
pub trait EventHandler: Send + Sync {
    /// Acts on a batch, in order. It may see an event twice and must not mind.
    ///
    /// # Errors
    /// The batch was not acted on. If that is because something is unavailable, the bus hands it in again until it is taken;
    /// with any other error it may come to hand in one event at a time, and put aside what is never taken.
    async fn handle(&self, events: &[Arc<Event>]) -> Stored<()>;
}

/// Ends the subscription when dropped.
pub trait Subscription: Send + Sync {}

/// How far a bus has come, counted in events since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Events it was given.
    pub published: u64,
    /// Up to here it answers for them, whatever becomes of this process: every subscriber has acted on them, or they are
    /// kept where the next process finds them.
    pub settled: u64,
    /// How often it lost what it had not settled. Whoever published then begins again with the first event that is not.
    pub restarts: u64,
}

/// Carries events to every subscriber.
///
/// * `every_subscriber_gets_every_event_in_order`
/// * `a_subscriber_gets_what_is_published_after_it_subscribed`
/// * `dropping_the_subscription_ends_it`
/// * `an_event_is_settled_once_every_subscriber_has_handled_it`
/// * `what_could_not_be_handled_is_handed_in_again`
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Hands a batch to every subscriber, in order. Waits while a subscriber is behind.
    async fn publish(&self, events: &[Arc<Event>]) -> Stored<()>;

    /// How far it has come. Whoever published keeps what is not settled. A bus that is durable itself has nothing to settle,
    /// and says so by not counting.
    fn progress(&self) -> Progress {
        Progress::default()
    }

    /// What this process has just committed, before it is published, in the order of its commits. A bus that leaves the
    /// process uses it to go on serving those who are near while it cannot be reached.
    fn committed(&self, _events: &[Arc<Event>]) {}

    /// Calls the handler for everything published from now on, one batch at a time.
    async fn subscribe(&self, consumer: &'static str, handler: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>>;
}
