//! Where pushes go, in SQL.

use std::sync::Arc;

use async_trait::async_trait;
use wa_core::error::StoreError;
use wa_core::id::{DeviceId, UserId};
use wa_core::ports::{DeviceTokenStore, NewDeviceToken, Stored};
use wa_core::push::{DeviceToken, Platform, PushAddress, WebPushKeys};

use super::db::Row;
use super::message_store::{bound, first};
use super::statement::Statement;
use super::writer::{Tx, Writer};

/// Tokens in SQL.
#[derive(Debug)]
pub(crate) struct SqlDeviceTokenStore {
    writer: Arc<Writer>,
}

impl SqlDeviceTokenStore {
    pub(super) const fn new(writer: Arc<Writer>) -> Self {
        Self { writer }
    }
}

/// The columns that [`read`] expects, in its order, of the table under the name `t`.
pub(super) const COLUMNS_OF_T: &str = "t.id, t.user_id, t.device_id, t.platform, t.token, t.p256dh, t.auth, t.created_at, t.updated_at";

/// Reads the token whose columns start at this one.
pub(super) fn read(row: &Row, at: usize) -> Stored<DeviceToken> {
    let keys = match (row.maybe_text(at + 5)?, row.maybe_text(at + 6)?) {
        (Some(p256dh), Some(auth)) => Some(WebPushKeys::parse(&p256dh, &auth).map_err(|_| row.corrupt("keys of a subscription that are none"))?),
        _ => None,
    };
    Ok(DeviceToken {
        id: row.id(at)?,
        user_id: row.id(at + 1)?,
        device_id: row.id(at + 2)?,
        platform: Platform::parse(&row.text(at + 3)?).ok_or_else(|| row.corrupt("an unknown platform"))?,
        address: PushAddress { token: row.text(at + 4)?, keys },
        created_at: row.time(at + 7)?,
        updated_at: row.time(at + 8)?,
    })
}

/// Forgets the tokens of devices that are ended, in the transaction that ends them.
pub(super) async fn end_with(tx: &mut Tx<'_>, user: UserId, devices: &[DeviceId]) -> Stored<()> {
    for piece in devices.chunks(256) {
        let end = tx.build("DELETE FROM device_tokens WHERE user_id = ").value(user).text(" AND device_id IN (").list(piece.iter().copied()).text(")");
        tx.execute(end).await?;
    }
    Ok(())
}

async fn register(tx: &mut Tx<'_>, new: NewDeviceToken) -> Stored<Option<DeviceToken>> {
    // Nothing changes; but whoever ends the session meanwhile waits for this, and then finds the token. A host's own logins
    // are not known here.
    let hold = Statement::fixed("UPDATE sessions SET last_active_at = last_active_at WHERE device_id = $1 RETURNING revoked_at");
    if first(&tx.fetch(hold.bind(new.device_id)).await?, |row| row.maybe_time(0))?.flatten().is_some() {
        return Ok(None);
    }
    let PushAddress { token, keys } = &new.address;
    tx.hold_name(token).await?;
    // What waits for a device that is somebody else's now is not for them.
    let take_over = Statement::fixed("DELETE FROM device_tokens WHERE token = $1 AND user_id <> $2");
    tx.execute(take_over.bind(token.as_str()).bind(new.user_id)).await?;
    let upsert = Statement::fixed(
        "INSERT INTO device_tokens (id, user_id, device_id, token, platform, p256dh, auth, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
         ON CONFLICT (token) DO UPDATE SET device_id = excluded.device_id, platform = excluded.platform, p256dh = excluded.p256dh, auth = excluded.auth,
         updated_at = excluded.updated_at",
    );
    let upsert = upsert.bind(new.id).bind(new.user_id).bind(new.device_id).bind(token.as_str()).bind(new.platform.as_str());
    let (p256dh, auth) = (keys.as_ref().map(WebPushKeys::p256dh_text), keys.as_ref().map(WebPushKeys::auth_text));
    tx.execute(upsert.bind(p256dh.as_deref()).bind(auth.as_deref()).bind(new.at)).await?;
    let rest = Statement::fixed(
        "DELETE FROM device_tokens WHERE user_id = $1 AND id NOT IN (SELECT id FROM device_tokens WHERE user_id = $1 ORDER BY updated_at DESC, id DESC LIMIT $2)",
    );
    tx.execute(rest.bind(new.user_id).bind(bound(new.most))).await?;
    let query = tx.build("SELECT ").text(COLUMNS_OF_T).text(" FROM device_tokens t WHERE t.token = ").value(token.as_str());
    let found = first(&tx.fetch(query).await?, |row| read(row, 0))?;
    found.map(Some).ok_or_else(|| StoreError::other(tx.dialect().name(), "a token that was just registered is not there"))
}

#[async_trait]
impl DeviceTokenStore for SqlDeviceTokenStore {
    async fn register(&self, new: NewDeviceToken) -> Stored<Option<DeviceToken>> {
        self.writer.run_apart(move |tx| Box::pin(register(tx, new))).await
    }

    async fn remove(&self, user: UserId, token: &str) -> Stored<()> {
        let remove = Statement::fixed("DELETE FROM device_tokens WHERE user_id = $1 AND token = $2").bind(user).bind(token);
        self.writer.run_apart(move |tx| Box::pin(async move { tx.execute(remove).await.map(drop) })).await
    }

    async fn remove_of(&self, user: UserId, devices: &[DeviceId]) -> Stored<()> {
        let devices = devices.to_vec();
        self.writer.run_apart(move |tx| Box::pin(async move { end_with(tx, user, &devices).await })).await
    }

    async fn drop_stale(&self, token: &DeviceToken) -> Stored<()> {
        let remove = Statement::fixed("DELETE FROM device_tokens WHERE id = $1 AND updated_at = $2").bind(token.id).bind(token.updated_at);
        self.writer.run_apart(move |tx| Box::pin(async move { tx.execute(remove).await.map(drop) })).await
    }
}
