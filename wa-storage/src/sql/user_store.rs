//! Accounts and their privacy settings in SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use wa_core::error::StoreError;
use wa_core::event::{Event, Fact};
use wa_core::id::{ChatId, DeviceId, EventId, UserId};
use wa_core::phone::Phone;
use wa_core::ports::{Erased, NewUser, Stored, UserStore};
use wa_core::privacy::{PrivacySettings, ShownTo};
use wa_core::time::Timestamp;
use wa_core::user::{ProfileUpdate, User};

use super::chat_store::Memberships;
use super::db::{Db, Row};
use super::message_store::first;
use super::session_store::Sessions;
use super::statement::{Statement, Value, pieces};
use super::writer::{Tx, Writer};

/// Accounts in SQL.
#[derive(Debug)]
pub(crate) struct SqlUserStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
    sessions: Arc<Sessions>,
    memberships: Arc<Memberships>,
}

const COLUMNS: &str = "id, phone, display_name, avatar_url, status_text, last_seen, created_at, updated_at, is_deleted";

fn user(row: &Row) -> Stored<User> {
    Ok(User {
        id: row.id(0)?,
        phone: phone(row, 1)?,
        display_name: row.text(2)?,
        avatar_url: row.text(3)?,
        status_text: row.text(4)?,
        last_seen: row.maybe_time(5)?,
        created_at: row.time(6)?,
        updated_at: row.time(7)?,
        is_deleted: row.flag(8)?,
    })
}

/// A stored phone number.
pub(super) fn phone(row: &Row, column: usize) -> Stored<Option<Phone>> {
    row.maybe_text(column)?.map(|text| text.parse().map_err(|_| row.corrupt("a phone number that is none"))).transpose()
}

fn shown_to(row: &Row, column: usize) -> Stored<ShownTo> {
    ShownTo::parse(&row.text(column)?).ok_or_else(|| row.corrupt("an unknown privacy setting"))
}

impl SqlUserStore {
    pub(super) const fn new(db: Arc<Db>, writer: Arc<Writer>, sessions: Arc<Sessions>, memberships: Arc<Memberships>) -> Self {
        Self { db, writer, sessions, memberships }
    }
}

async fn insert(tx: &mut Tx<'_>, new: NewUser) -> Stored<(User, bool)> {
    let phone = new.phone.as_ref().map(Phone::as_str);
    let insert = Statement::fixed("INSERT INTO users (id, phone, display_name, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) ON CONFLICT DO NOTHING");
    let is_new = tx.execute(insert.bind(new.id).bind(phone).bind(new.display_name).bind(new.at)).await? > 0;
    // The phone names the account; the id does where there is none, or where the account it names has another phone.
    let query = tx.build("SELECT ").text(COLUMNS).text(" FROM users WHERE phone = ").value(phone).text(" OR id = ").value(new.id);
    let mut users = tx.fetch(query).await?.iter().map(user).collect::<Stored<Vec<_>>>()?;
    users.sort_by_key(|user| user.phone != new.phone);
    let user = users.into_iter().next().ok_or_else(|| StoreError::other(tx.dialect().name(), "an account that was just made is not there"))?;
    Ok((user, is_new))
}

async fn erase(tx: &mut Tx<'_>, id: UserId, event_id: EventId, at: Timestamp) -> Stored<(Vec<DeviceId>, Vec<ChatId>)> {
    let blank = Statement::fixed(
        "UPDATE users SET phone = NULL, display_name = '', avatar_url = '', status_text = '', last_seen = NULL, is_deleted = TRUE, updated_at = $2
         WHERE id = $1 AND NOT is_deleted",
    );
    if tx.execute(blank.bind(id).bind(at)).await? == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    let devices = Statement::fixed("SELECT device_id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL ORDER BY device_id");
    let devices = tx.fetch(devices.bind(id)).await?.iter().map(|row| row.id(0)).collect::<Stored<Vec<DeviceId>>>()?;
    for statement in [
        "DELETE FROM contacts WHERE user_id = $1 OR contact_id = $1",
        "DELETE FROM privacy_settings WHERE user_id = $1",
        "DELETE FROM device_tokens WHERE user_id = $1",
        "DELETE FROM refresh_tokens WHERE user_id = $1",
        "DELETE FROM statuses WHERE user_id = $1",
        "DELETE FROM status_viewers WHERE viewer_id = $1",
    ] {
        tx.execute(Statement::fixed(statement).bind(id)).await?;
    }
    // The rows stay, so that their tokens are known to be of ended sessions.
    let end = Statement::fixed("UPDATE sessions SET name = '', platform = NULL, revoked_at = COALESCE(revoked_at, $2) WHERE user_id = $1");
    tx.execute(end.bind(id).bind(at)).await?;
    // Blocks in either direction are gone: whoever decided on them decides again.
    let chats = Statement::fixed(
        "UPDATE chats SET membership_version = membership_version + 1 WHERE id IN (SELECT chat_id FROM chat_participants WHERE user_id = $1) RETURNING id",
    );
    let chats = tx.fetch(chats.bind(id)).await?.iter().map(|row| row.id(0)).collect::<Stored<Vec<ChatId>>>()?;
    if !devices.is_empty() {
        tx.announce(Event { id: event_id, at, fact: Fact::SessionsRevoked { user_id: id, devices: devices.clone() }, cause: None });
    }
    Ok((devices, chats))
}

#[async_trait]
impl UserStore for SqlUserStore {
    async fn register(&self, new: NewUser) -> Stored<(User, bool)> {
        self.writer.run_apart(move |tx| Box::pin(insert(tx, new))).await
    }

    async fn get(&self, ids: &[UserId]) -> Stored<Vec<User>> {
        let mut found = Vec::with_capacity(ids.len());
        for piece in ids.chunks(256) {
            let query = self.db.build("SELECT ").text(COLUMNS).text(" FROM users WHERE id IN (").list(piece.iter().copied()).text(")");
            for row in self.db.read_apart(query).await? {
                found.push(user(&row)?);
            }
        }
        Ok(found)
    }

    async fn by_phones(&self, phones: &[Phone]) -> Stored<Vec<User>> {
        let mut found = Vec::new();
        for piece in phones.chunks(512) {
            let query = self.db.build("SELECT ").text(COLUMNS).text(" FROM users WHERE phone IN (").list(piece.iter().map(Phone::as_str)).text(")");
            for row in self.db.read_apart(query).await? {
                found.push(user(&row)?);
            }
        }
        Ok(found)
    }

    async fn update(&self, id: UserId, update: ProfileUpdate, at: Timestamp) -> Stored<Option<User>> {
        self.writer
            .run_apart(move |tx| {
                Box::pin(async move {
                    let set = Statement::fixed(
                        "UPDATE users SET display_name = COALESCE($2, display_name), status_text = COALESCE($3, status_text),
                         avatar_url = COALESCE($4, avatar_url), updated_at = $5 WHERE id = $1 AND NOT is_deleted
                         RETURNING id, phone, display_name, avatar_url, status_text, last_seen, created_at, updated_at, is_deleted",
                    );
                    let set = set.bind(id).bind(update.display_name.as_deref()).bind(update.status_text.as_deref()).bind(update.avatar_url.as_deref());
                    first(&tx.fetch(set.bind(at)).await?, user)
                })
            })
            .await
    }

    async fn set_last_seen(&self, seen: &[(UserId, Timestamp)]) -> Stored<()> {
        // One time each, the latest: an update from a list takes any of several rows.
        let latest: BTreeMap<UserId, Timestamp> = seen.iter().fold(BTreeMap::new(), |mut latest, &(user, at)| {
            let known = latest.entry(user).or_insert(at);
            *known = at.max(*known);
            latest
        });
        let latest: Vec<_> = latest.into_iter().collect();
        for some in latest.chunks(4096).map(<[_]>::to_vec) {
            self.writer
                .run_apart(move |tx| {
                    Box::pin(async move {
                        for piece in pieces(&some) {
                            let set = tx
                                .build("UPDATE users SET last_seen = v.column2 FROM (VALUES ")
                                .rows(piece.iter().map(|&(user, at)| -> [Value; 2] { [user.into(), at.into()] }))
                                .text(") AS v WHERE users.id = v.column1 AND NOT is_deleted AND (last_seen IS NULL OR last_seen < v.column2)");
                            tx.execute(set).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
        }
        Ok(())
    }

    async fn erase(&self, id: UserId, event_id: EventId, at: Timestamp) -> Stored<Erased> {
        let (sessions, memberships) = (Arc::clone(&self.sessions), Arc::clone(&self.memberships));
        self.writer
            .run(move |tx| {
                Box::pin(async move {
                    // Nobody lets them into a group meanwhile.
                    tx.hold_user(id).await?;
                    let groups = Statement::fixed(
                        "SELECT p.chat_id FROM chat_participants p JOIN chats c ON c.id = p.chat_id WHERE p.user_id = $1 AND p.left_seq IS NULL AND c.type = 'group'",
                    );
                    let groups = tx.fetch(groups.bind(id)).await?.iter().map(|row| row.id(0)).collect::<Stored<Vec<ChatId>>>()?;
                    if !groups.is_empty() {
                        return Ok(Erased::InGroups(groups));
                    }
                    // Ended sessions carried the phone as well.
                    let all = tx.fetch(Statement::fixed("SELECT device_id FROM sessions WHERE user_id = $1").bind(id)).await?;
                    let all = all.iter().map(|row| row.id(0)).collect::<Stored<Vec<DeviceId>>>()?;
                    let (devices, chats) = erase(tx, id, event_id, at).await?;
                    tx.when_settled(move || {
                        all.into_iter().for_each(|device| sessions.forget(device));
                        chats.into_iter().for_each(|chat| memberships.forget(chat));
                    });
                    Ok(Erased::Done(devices))
                })
            })
            .await
    }

    async fn privacy(&self, ids: &[UserId]) -> Stored<BTreeMap<UserId, PrivacySettings>> {
        let mut settings: BTreeMap<UserId, PrivacySettings> = ids.iter().map(|&id| (id, PrivacySettings::default())).collect();
        for piece in ids.chunks(256) {
            let query = self.db.build("SELECT user_id, last_seen, profile_photo, about, read_receipts FROM privacy_settings WHERE user_id IN (");
            for row in self.db.read_apart(query.list(piece.iter().copied()).text(")")).await? {
                let stored = PrivacySettings {
                    last_seen: shown_to(&row, 1)?,
                    profile_photo: shown_to(&row, 2)?,
                    about: shown_to(&row, 3)?,
                    read_receipts: row.flag(4)?,
                };
                settings.insert(row.id(0)?, stored);
            }
        }
        Ok(settings)
    }

    async fn set_privacy(&self, id: UserId, settings: PrivacySettings, at: Timestamp) -> Stored<()> {
        self.writer
            .run_apart(move |tx| {
                Box::pin(async move {
                    let upsert = Statement::fixed(
                        "INSERT INTO privacy_settings (user_id, last_seen, profile_photo, about, read_receipts, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
                         ON CONFLICT (user_id) DO UPDATE SET last_seen = excluded.last_seen, profile_photo = excluded.profile_photo,
                         about = excluded.about, read_receipts = excluded.read_receipts, updated_at = excluded.updated_at",
                    );
                    let upsert = upsert.bind(id).bind(settings.last_seen.as_str()).bind(settings.profile_photo.as_str()).bind(settings.about.as_str());
                    tx.execute(upsert.bind(settings.read_receipts).bind(at)).await?;
                    Ok(())
                })
            })
            .await
    }
}
