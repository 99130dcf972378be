//! Devices, sessions and refresh tokens in SQL.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;
use wa_core::event::{Event, Fact};
use wa_core::faults::planted;
use wa_core::id::{DeviceId, EventId, UserId};
use wa_core::ports::{Env, EnvExt as _, NewRotation, NewSession, SessionStore, Stored};
use wa_core::session::{Rotation, Session, TokenHash};
use wa_core::time::Timestamp;

use super::cache::Kept;
use super::db::{Db, Row};
use super::device_token_store;
use super::message_store::first;
use super::statement::Statement;
use super::user_store::phone;
use super::writer::{Tx, Writer};

/// Sessions kept at hand; whoever changes one forgets it here.
pub(super) type Sessions = Kept<DeviceId, Arc<Session>>;

pub(super) fn sessions(keeps_for: Option<Duration>) -> Sessions {
    Kept::new(100_000, keeps_for, |_| 1)
}

/// Sessions in SQL.
pub(crate) struct SqlSessionStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
    sessions: Arc<Sessions>,
    env: Arc<dyn Env>,
}

fn session(row: &Row) -> Stored<Session> {
    Ok(Session {
        device_id: row.id(0)?,
        user_id: row.id(1)?,
        phone: phone(row, 2)?,
        name: row.text(3)?,
        platform: row.maybe_text(4)?,
        created_at: row.time(5)?,
        last_active_at: row.time(6)?,
        revoked: row.maybe_time(7)?.is_some(),
    })
}

impl SqlSessionStore {
    pub(super) fn new(db: Arc<Db>, writer: Arc<Writer>, sessions: Arc<Sessions>, env: Arc<dyn Env>) -> Self {
        Self { db, writer, sessions, env }
    }
}

async fn insert_token(tx: &mut Tx<'_>, id: Uuid, session: &Session, hash: &TokenHash, expires_at: Timestamp, at: Timestamp) -> Stored<()> {
    let insert = Statement::fixed("INSERT INTO refresh_tokens (id, user_id, session_id, token_hash, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6)");
    tx.execute(insert.bind(id).bind(session.user_id).bind(session.device_id).bind(hash.as_str()).bind(expires_at).bind(at)).await?;
    Ok(())
}

/// Ends those of these sessions that are live, and announces it.
async fn end(tx: &mut Tx<'_>, user: UserId, devices: &[DeviceId], event_id: EventId, at: Timestamp) -> Stored<Vec<DeviceId>> {
    let mut ended = Vec::new();
    for piece in devices.chunks(256) {
        let end = tx.build("UPDATE sessions SET revoked_at = ").value(at).text(" WHERE revoked_at IS NULL AND user_id = ").value(user);
        let end = end.text(" AND device_id IN (").list(piece.iter().copied()).text(") RETURNING device_id");
        ended.extend(tx.fetch(end).await?.iter().map(|row| row.id(0)).collect::<Stored<Vec<DeviceId>>>()?);
        let spend = tx.build("UPDATE refresh_tokens SET revoked = TRUE WHERE user_id = ").value(user);
        tx.execute(spend.text(" AND session_id IN (").list(piece.iter().copied()).text(")")).await?;
    }
    device_token_store::end_with(tx, user, devices).await?;
    if !ended.is_empty() {
        ended.sort_unstable();
        tx.announce(Event { id: event_id, at, fact: Fact::SessionsRevoked { user_id: user, devices: ended.clone() }, cause: None });
    }
    Ok(ended)
}

async fn rotate(tx: &mut Tx<'_>, rotation: &NewRotation, token_id: Uuid) -> Stored<Rotation> {
    let query = tx
        .build(
            "SELECT s.device_id, s.user_id, u.phone, s.name, s.platform, s.created_at, s.last_active_at, s.revoked_at, t.expires_at, t.rotated_at, t.repeat_key
             FROM refresh_tokens t JOIN sessions s ON s.device_id = t.session_id JOIN users u ON u.id = s.user_id WHERE t.token_hash = ",
        )
        .value(rotation.old.as_str())
        .text(tx.dialect().token_locked());
    let rows = tx.fetch(query).await?;
    let Some(row) = rows.first() else {
        return Ok(Rotation::Refused);
    };
    let mut session = session(row)?;
    if session.revoked || row.time(8)? <= rotation.at {
        return Ok(Rotation::Refused);
    }
    if let Some(rotated_at) = row.maybe_time(9)? {
        let same_key = !planted("repeat_punished") && rotation.key.is_some() && row.maybe_text(10)?.as_deref() == rotation.key.as_ref().map(TokenHash::as_str);
        if same_key && rotation.at.since(rotated_at) <= rotation.repeat_window {
            return Ok(Rotation::Repeated(session, rotated_at));
        }
        if planted("reuse_forgiven") {
            return Ok(Rotation::Refused);
        }
        end(tx, session.user_id, &[session.device_id], rotation.event_id, rotation.at).await?;
        session.revoked = true;
        return Ok(Rotation::Reused(session));
    }
    let spend = Statement::fixed("UPDATE refresh_tokens SET rotated_at = $2, repeat_key = $3 WHERE token_hash = $1");
    tx.execute(spend.bind(rotation.old.as_str()).bind(rotation.at).bind(rotation.key.as_ref().map(TokenHash::as_str))).await?;
    // Expired ones cannot come back; without them a session holds as many rows as it rotated within one lifetime.
    let clean = Statement::fixed("DELETE FROM refresh_tokens WHERE session_id = $1 AND expires_at <= $2");
    tx.execute(clean.bind(session.device_id).bind(rotation.at)).await?;
    insert_token(tx, token_id, &session, &rotation.new, rotation.expires_at, rotation.at).await?;
    touch(tx, session.device_id, rotation.at).await?;
    session.last_active_at = session.last_active_at.max(rotation.at);
    Ok(Rotation::Rotated(session))
}

async fn touch(tx: &mut Tx<'_>, device: DeviceId, at: Timestamp) -> Stored<()> {
    let touch = Statement::fixed("UPDATE sessions SET last_active_at = $2 WHERE device_id = $1 AND last_active_at < $2");
    tx.execute(touch.bind(device).bind(at)).await?;
    Ok(())
}

#[async_trait]
impl SessionStore for SqlSessionStore {
    async fn create(&self, new: NewSession) -> Stored<()> {
        let token_id = self.env.new_id();
        let (sessions, device) = (Arc::clone(&self.sessions), new.session.device_id);
        self.writer
            .run_apart(move |tx| {
                tx.when_settled(move || sessions.forget(device));
                Box::pin(async move {
                    let session = &new.session;
                    let insert = Statement::fixed(
                        "INSERT INTO sessions (device_id, user_id, name, platform, created_at, last_active_at) VALUES ($1, $2, $3, $4, $5, $6)",
                    );
                    let insert = insert.bind(session.device_id).bind(session.user_id).bind(session.name.as_str()).bind(session.platform.as_deref());
                    tx.execute(insert.bind(session.created_at).bind(session.last_active_at)).await?;
                    insert_token(tx, token_id, session, &new.refresh, new.expires_at, session.created_at).await
                })
            })
            .await
    }

    async fn get(&self, device: DeviceId) -> Stored<Option<Arc<Session>>> {
        let load = async {
            let query = Statement::fixed(
                "SELECT s.device_id, s.user_id, u.phone, s.name, s.platform, s.created_at, s.last_active_at, s.revoked_at
                 FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.device_id = $1",
            );
            Ok(first(&self.db.read_apart(query.bind(device)).await?, session)?.map(Arc::new))
        };
        self.sessions.get_or_load(device, load).await
    }

    async fn by_refresh(&self, token: &TokenHash) -> Stored<Option<Session>> {
        let query = Statement::fixed(
            "SELECT s.device_id, s.user_id, u.phone, s.name, s.platform, s.created_at, s.last_active_at, s.revoked_at
             FROM refresh_tokens t JOIN sessions s ON s.device_id = t.session_id JOIN users u ON u.id = s.user_id WHERE t.token_hash = $1",
        );
        first(&self.db.read_apart(query.bind(token.as_str())).await?, session)
    }

    async fn rotate(&self, rotation: NewRotation) -> Stored<Rotation> {
        let token_id = self.env.new_id();
        let sessions = Arc::clone(&self.sessions);
        self.writer
            .run_apart(move |tx| {
                Box::pin(async move {
                    let outcome = rotate(tx, &rotation, token_id).await?;
                    if let Rotation::Rotated(session) | Rotation::Reused(session) = &outcome {
                        let device = session.device_id;
                        tx.when_settled(move || sessions.forget(device));
                    }
                    Ok(outcome)
                })
            })
            .await
    }

    async fn revoke(&self, user: UserId, devices: &[DeviceId], event_id: EventId, at: Timestamp) -> Stored<Vec<DeviceId>> {
        let (sessions, devices) = (Arc::clone(&self.sessions), devices.to_vec());
        self.writer
            .run(move |tx| {
                let changed = devices.clone();
                tx.when_settled(move || changed.into_iter().for_each(|device| sessions.forget(device)));
                Box::pin(async move { end(tx, user, &devices, event_id, at).await })
            })
            .await
    }

    async fn list(&self, user: UserId) -> Stored<Vec<Session>> {
        let query = Statement::fixed(
            "SELECT s.device_id, s.user_id, u.phone, s.name, s.platform, s.created_at, s.last_active_at, s.revoked_at
             FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.user_id = $1 AND s.revoked_at IS NULL ORDER BY s.created_at DESC, s.device_id DESC",
        );
        self.db.read_apart(query.bind(user)).await?.iter().map(session).collect()
    }

    async fn touch(&self, device: DeviceId, at: Timestamp) -> Stored<()> {
        let sessions = Arc::clone(&self.sessions);
        self.writer
            .run_apart(move |tx| {
                tx.when_settled(move || sessions.forget(device));
                Box::pin(touch(tx, device, at))
            })
            .await
    }
}
