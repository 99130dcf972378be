//! The streams and shared consumers of the contract, section 5.1: made when they are absent, never deleted.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PriorityPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use super::connect::NatsError;

const DAY: Duration = Duration::from_secs(86_400);

/// How long NATS itself remembers ids of messages. Nothing rests on it but comfort.
const DUPLICATES: Duration = Duration::from_secs(120);

/// How long a message may be worked on before it is handed out again.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);

/// Messages handed out and not yet acknowledged, at the most.
const IN_HAND: i64 = 2000;

/// After so long without a sign of the replica that has a consumer, another one gets it.
const PIN: Duration = Duration::from_secs(3);

/// The one priority group of every shared consumer: of all replicas one at a time has it.
pub(crate) const GROUP: &str = "wa";

/// A stream of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) name: &'static str,
    subjects: &'static [&'static str],
    retention: RetentionPolicy,
    max_age: Duration,
}

impl Stream {
    pub(crate) const MESSAGES: Self = Self::new("MESSAGES", &["msg.>"], RetentionPolicy::Limits, DAY.saturating_mul(7));
    pub(crate) const CHATS: Self = Self::new("CHATS", &["chat.>", "group.>"], RetentionPolicy::Limits, DAY.saturating_mul(7));
    pub(crate) const NOTIFICATIONS: Self = Self::new("NOTIFICATIONS", &["notif.>"], RetentionPolicy::WorkQueue, DAY.saturating_mul(3));
    pub(crate) const PRESENCE: Self = Self::new("PRESENCE", &["presence.>"], RetentionPolicy::Interest, Duration::from_secs(3600));
    pub(crate) const DLQ: Self = Self::new("DLQ", &["dlq.>"], RetentionPolicy::Limits, DAY.saturating_mul(30));

    const fn new(name: &'static str, subjects: &'static [&'static str], retention: RetentionPolicy, max_age: Duration) -> Self {
        Self { name, subjects, retention, max_age }
    }

    fn config(&self, replicas: usize) -> Config {
        Config {
            name: self.name.to_owned(),
            subjects: self.subjects.iter().map(ToString::to_string).collect(),
            retention: self.retention,
            max_age: self.max_age,
            storage: StorageType::File,
            num_replicas: replicas,
            duplicate_window: DUPLICATES,
            allow_direct: true,
            ..Config::default()
        }
    }

    /// In what an existing one cannot be used; less important differences are told in the log.
    fn differs(&self, found: &Config, replicas: usize) -> Option<String> {
        let mut subjects = found.subjects.clone();
        subjects.sort();
        if subjects != self.subjects {
            return Some(format!("subjects {subjects:?} for {:?}", self.subjects));
        }
        if found.retention != self.retention {
            return Some(format!("retention {:?} for {:?}", found.retention, self.retention));
        }
        let wanted = self.config(replicas);
        for (what, is_different) in [
            ("max_age", found.max_age != wanted.max_age),
            ("storage", found.storage != wanted.storage),
            ("num_replicas", found.num_replicas != wanted.num_replicas),
            ("max_bytes", found.max_bytes > 0),
            ("max_msgs", found.max_messages > 0),
        ] {
            if is_different {
                tracing::warn!(stream = self.name, what, "a stream of NATS is not configured as it would be made; it is used as it is");
            }
        }
        None
    }
}

/// All streams.
pub(crate) const STREAMS: [Stream; 5] = [Stream::MESSAGES, Stream::CHATS, Stream::NOTIFICATIONS, Stream::PRESENCE, Stream::DLQ];

/// A consumer that all replicas of a role share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) name: &'static str,
    pub(crate) stream: Stream,
    /// The only subject it takes, if not all.
    pub(crate) subject: &'static str,
}

/// All shared consumers.
pub(crate) const DURABLES: [Durable; 4] = [
    Durable { name: "ws-msg-consumer", stream: Stream::MESSAGES, subject: "" },
    Durable { name: "ws-chat-consumer", stream: Stream::CHATS, subject: "" },
    Durable { name: "notif-msg-consumer", stream: Stream::MESSAGES, subject: "msg.new" },
    Durable { name: "notif-group-consumer", stream: Stream::CHATS, subject: "group.member.added" },
];

impl Durable {
    /// As it is made.
    pub(crate) fn config(&self, from: DeliverPolicy) -> pull::Config {
        pull::Config {
            durable_name: Some(self.name.to_owned()),
            deliver_policy: from,
            filter_subject: self.subject.to_owned(),
            priority_policy: PriorityPolicy::PinnedClient,
            priority_groups: vec![GROUP.to_owned()],
            priority_timeout: PIN,
            ..explicit()
        }
    }
}

/// What all consumers have in common.
pub(crate) fn explicit() -> pull::Config {
    pull::Config { ack_policy: AckPolicy::Explicit, ack_wait: ACK_WAIT, max_ack_pending: IN_HAND, ..pull::Config::default() }
}

/// Makes a stream unless it is there. Returns whether it was made, and what it is.
pub(crate) async fn create(jetstream: &Context, stream: &Stream, replicas: usize) -> Result<(bool, Info), NatsError> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| NatsError::SetUp { what: format!("the stream {}", stream.name), source };
    match jetstream.get_stream(stream.name).await {
        Ok(found) => {
            let info = found.cached_info().clone();
            match stream.differs(&info.config, replicas) {
                None => Ok((false, info)),
                Some(difference) => Err(NatsError::Stream { name: stream.name, difference }),
            }
        }
        Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND) => {
            // Of nodes that start together one makes it, and the others find it.
            let made = jetstream.create_stream(stream.config(replicas)).await.map_err(|error| refused(Box::new(error)))?;
            tracing::info!(stream = stream.name, "a stream was made in NATS");
            Ok((true, made.cached_info().clone()))
        }
        Err(error) => Err(refused(Box::new(error))),
    }
}
