//! Events that a consumer never could act on: the stream DLQ, to be looked at and published once more.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use serde::Serialize;
use serde_json::Value;

use super::connect::Connected;
use super::header;
use super::streams::{Stream, create};

/// Letters looked at in one call, at the most.
const MOST: usize = 1000;

/// How long the server may take for each.
const PATIENCE: Duration = Duration::from_secs(2);

/// An event that was put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Its number in the stream DLQ.
    pub number: u64,
    /// When it was put aside, in RFC 3339.
    pub at: String,
    /// Which consumer could not act on it.
    pub consumer: String,
    /// Where it was published.
    pub subject: String,
    /// How often it was tried.
    pub count: u64,
    /// Why it could not be acted on.
    pub error: String,
    /// The event's id.
    pub event_id: String,
    /// What it says; text that is no JSON as a string.
    pub payload: Value,
}

impl DeadLetter {
    fn of(message: &StreamMessage) -> Self {
        let header = |name: &str| message.headers.get(name).map(ToString::to_string).unwrap_or_default();
        Self {
            number: message.sequence,
            at: message.time.to_string(),
            consumer: header(header::CONSUMER),
            subject: header(header::SUBJECT),
            count: header(header::COUNT).parse().unwrap_or(0),
            error: header(header::ERROR),
            event_id: header(header::EVENT_ID),
            payload: serde_json::from_slice(&message.payload).unwrap_or_else(|_| String::from_utf8_lossy(&message.payload).into()),
        }
    }
}

/// The dead letters cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is none of this number.
    #[error("there is no dead letter {0}")]
    Absent(u64),
    /// NATS does not do it.
    #[error("NATS: {0}")]
    Nats(String),
}

fn failed(error: impl std::fmt::Display) -> DeadLetterError {
    DeadLetterError::Nats(error.to_string())
}

/// The stream DLQ.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    nats: Connected,
}

impl DeadLetters {
    /// Those of this NATS.
    #[must_use]
    pub const fn new(nats: Connected) -> Self {
        Self { nats }
    }

    /// The oldest letters from this number on, at most `limit`.
    ///
    /// # Errors
    /// [`DeadLetterError::Nats`] if they cannot be read.
    pub async fn list(&self, from: u64, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        // A server that never put one aside has no such stream yet.
        let (_, info) = create(&self.nats.jetstream, &Stream::DLQ, 1).await.map_err(failed)?;
        let stream = self.nats.jetstream.get_stream_no_info(Stream::DLQ.name).await.map_err(failed)?;
        let mut letters = Vec::new();
        let mut number = from.max(info.state.first_sequence).max(1);
        while letters.len() < limit.min(MOST) && number <= info.state.last_sequence {
            let next = stream.raw_message_builder().sequence(number).next_by_subject("dlq.>");
            let Ok(next) = tokio::time::timeout(PATIENCE, next.send()).await.map_err(failed)? else { break };
            number = next.sequence + 1;
            letters.push(DeadLetter::of(&next));
        }
        Ok(letters)
    }

    async fn message(&self, number: u64) -> Result<StreamMessage, DeadLetterError> {
        let stream = self.nats.jetstream.get_stream(Stream::DLQ.name).await.map_err(failed)?;
        stream.get_raw_message(number).await.map_err(|_| DeadLetterError::Absent(number))
    }

    /// The letter of this number.
    ///
    /// # Errors
    /// [`DeadLetterError`] if there is none, or it cannot be read.
    pub async fn show(&self, number: u64) -> Result<DeadLetter, DeadLetterError> {
        self.message(number).await.map(|message| DeadLetter::of(&message))
    }

    /// Publishes the event once more for the consumer that could not act on it, and takes it out of the stream.
    ///
    /// # Errors
    /// [`DeadLetterError`] if there is none, or it cannot be published; it then stays where it is.
    pub async fn replay(&self, number: u64) -> Result<DeadLetter, DeadLetterError> {
        let message = self.message(number).await?;
        let letter = DeadLetter::of(&message);
        let mut headers = HeaderMap::new();
        headers.insert(header::EVENT_ID, letter.event_id.as_str());
        headers.insert(header::REPLAY_FOR, letter.consumer.as_str());
        // NATS would take one of the event's own id for a repetition.
        let id = format!("dead-{number}-{}", message.time.unix_timestamp_nanos());
        let publish = PublishMessage::build().headers(headers).payload(message.payload).message_id(id);
        self.nats.jetstream.send_publish(letter.subject.clone(), publish).await.map_err(failed)?.await.map_err(failed)?;
        let stream = self.nats.jetstream.get_stream_no_info(Stream::DLQ.name).await.map_err(failed)?;
        stream.delete_message(number).await.map_err(failed)?;
        Ok(letter)
    }
}
