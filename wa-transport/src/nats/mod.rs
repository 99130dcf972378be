//! What everybody who speaks to NATS shares: its address, the connection, the streams and consumers of the contract
//! (section 5.1), and the events that were put aside.

mod address;
mod connect;
mod dead_letters;
mod streams;

pub use address::{InvalidNatsUrl, NatsUrl};
pub use connect::{Connected, NatsError, connect};
pub use dead_letters::{DeadLetter, DeadLetterError, DeadLetters};
#[cfg(feature = "server")]
pub(crate) use streams::{ACK_WAIT, DURABLES, Durable, GROUP, STREAMS, Stream, create, explicit};

/// Headers of events, beside NATS' own for the id.
pub(crate) mod header {
    /// What kind of event it is: its subject.
    #[cfg(feature = "server")]
    pub(crate) const TYPE: &str = "Wa-Event-Type";
    /// The request that brought it about.
    #[cfg(feature = "server")]
    pub(crate) const REQUEST_ID: &str = "X-Request-Id";
    /// That request's place in a trace.
    #[cfg(feature = "server")]
    pub(crate) const TRACEPARENT: &str = "traceparent";
    /// The id of an event that is published once more, where NATS' own has another.
    pub(crate) const EVENT_ID: &str = "Wa-Event-Id";
    /// The one consumer that is to act on an event that is published once more.
    pub(crate) const REPLAY_FOR: &str = "Wa-Replay-For";
    /// Of a dead letter: where it was.
    pub(crate) const SUBJECT: &str = "Wa-Dead-Subject";
    /// Which consumer could not act on it.
    pub(crate) const CONSUMER: &str = "Wa-Dead-Consumer";
    /// Why.
    pub(crate) const ERROR: &str = "Wa-Dead-Error";
    /// How often it was tried.
    pub(crate) const COUNT: &str = "Wa-Dead-Count";
}
