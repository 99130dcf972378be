//! Devices, their sessions and their refresh tokens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Stored;
use crate::id::{DeviceId, EventId, UserId};
use crate::session::{Rotation, Session, TokenHash};
use crate::time::Timestamp;

/// A session to be started.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The session; its phone is looked up, not stored.
    pub session: Session,
    /// The hash of its first refresh token.
    pub refresh: TokenHash,
    /// When that token expires.
    pub expires_at: Timestamp,
}

/// A refresh token to be exchanged.
#[derive(Debug, Clone)]
pub struct NewRotation {
    /// The hash of the token presented.
    pub old: TokenHash,
    /// The hash of the token that follows it.
    pub new: TokenHash,
    /// When the new token expires.
    pub expires_at: Timestamp,
    /// The hash of the request's `Idempotency-Key`.
    pub key: Option<TokenHash>,
    /// How long a repeat with the same key gets the same answer.
    pub repeat_window: Duration,
    /// The id of the event, should the session have to be ended.
    pub event_id: EventId,
    /// Now.
    pub at: Timestamp,
}

/// Devices, their sessions and their refresh tokens.
///
/// * `a_refresh_token_rotates_once`
/// * `of_concurrent_rotations_one_wins`
/// * `a_repeat_with_the_same_key_in_time_is_answered_again`
/// * `a_repeat_with_another_key_or_too_late_is_reuse`
/// * `reuse_ends_the_session_and_leaves_its_event`
/// * `an_expired_or_unknown_refresh_token_is_refused`
/// * `the_token_of_an_ended_session_is_refused`
/// * `revoking_is_per_user_and_idempotent`
/// * `ended_sessions_are_not_listed`
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Starts a session, durably.
    async fn create(&self, new: NewSession) -> Stored<()>;

    /// The session of a device, ended ones included. Cheap: implementations keep it at hand, and never show a session
    /// as live that was ended through this process.
    async fn get(&self, device: DeviceId) -> Stored<Option<Arc<Session>>>;

    /// The session that a refresh token, spent or not, belongs to.
    async fn by_refresh(&self, token: &TokenHash) -> Stored<Option<Session>>;

    /// Exchanges a refresh token for the next, in one transaction with the detection of reuse.
    async fn rotate(&self, rotation: NewRotation) -> Stored<Rotation>;

    /// Ends these sessions of the user and writes the event that closes their sockets. Returns those that were live.
    async fn revoke(&self, user: UserId, devices: &[DeviceId], event_id: EventId, at: Timestamp) -> Stored<Vec<DeviceId>>;

    /// The user's live sessions, newest first.
    async fn list(&self, user: UserId) -> Stored<Vec<Session>>;

    /// Notes that a device was active.
    async fn touch(&self, device: DeviceId, at: Timestamp) -> Stored<()>;
}
