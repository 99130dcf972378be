//! Chats, their members and what each set for themselves, in SQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;
use wa_core::chat::{AutoDeleteTimer, Chat, ChatCursor, ChatKind, Member, Membership, Personal, Role};
use wa_core::error::StoreError;
use wa_core::event::{Event, Fact};
use wa_core::group::GroupProfile;
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Rev, Seq};
use wa_core::ports::{ChatStore, Env, EnvExt as _, ListedChat, NewDirectChat, PersonalUpdate, Stored};

use super::cache::Kept;
use super::db::{Db, Row};
use super::message_store::first;
use super::statement::{Statement, Value};
use super::writer::{Tx, Writer};

/// Members of all memberships kept at hand together.
const MEMBERS: u64 = 500_000;

/// Memberships kept at hand; whoever changes one forgets it here.
pub(super) type Memberships = Kept<ChatId, Arc<Membership>>;

pub(super) fn memberships(keeps_for: Option<Duration>) -> Memberships {
    Kept::new(MEMBERS, keeps_for, |membership| u32::try_from(membership.members.len()).unwrap_or(u32::MAX).saturating_add(1))
}

/// Chats in SQL.
pub(crate) struct SqlChatStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
    memberships: Arc<Memberships>,
    env: Arc<dyn Env>,
}

/// What a listed chat is read from.
const LISTED: &str = "SELECT c.id, c.type, c.last_seq, c.rev, p.auto_delete_timer, c.created_at, c.updated_at, c.last_activity_at,
     p.is_muted, p.mute_until, p.is_pinned, g.name, g.description, g.avatar_url
     FROM chat_participants p JOIN chats c ON c.id = p.chat_id LEFT JOIN groups g ON g.chat_id = c.id WHERE p.left_seq IS NULL AND p.user_id = ";

fn listed(row: &Row) -> Stored<ListedChat> {
    let group = match row.maybe_text(11)? {
        Some(name) => Some(GroupProfile { name, description: row.text(12)?, avatar_url: row.text(13)? }),
        None => None,
    };
    Ok(ListedChat {
        chat: Chat { group, ..chat(row)? },
        personal: Personal { is_muted: row.flag(8)?, mute_until: row.maybe_time(9)?, is_pinned: row.flag(10)? },
    })
}

fn chat(row: &Row) -> Stored<Chat> {
    Ok(Chat {
        id: row.id(0)?,
        kind: kind(row, 1)?,
        last_seq: Seq::new(row.int(2)?),
        rev: Rev::new(row.int(3)?),
        auto_delete_timer: timer(row, 4)?,
        created_at: row.time(5)?,
        updated_at: row.time(6)?,
        last_activity_at: row.time(7)?,
        group: None,
    })
}

fn kind(row: &Row, column: usize) -> Stored<ChatKind> {
    let text = row.text(column)?;
    [ChatKind::Direct, ChatKind::Group].into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| row.corrupt("an unknown chat type"))
}

fn role(row: &Row, column: usize) -> Stored<Role> {
    let text = row.text(column)?;
    [Role::Admin, Role::Member].into_iter().find(|role| role.as_str() == text).ok_or_else(|| row.corrupt("an unknown role"))
}

fn timer(row: &Row, column: usize) -> Stored<AutoDeleteTimer> {
    let text = row.text(column)?;
    let timers = [AutoDeleteTimer::Off, AutoDeleteTimer::Day, AutoDeleteTimer::Week, AutoDeleteTimer::Quarter];
    timers.into_iter().find(|timer| timer.as_str() == text).ok_or_else(|| row.corrupt("an unknown timer"))
}

impl SqlChatStore {
    pub(super) fn new(db: Arc<Db>, writer: Arc<Writer>, memberships: Arc<Memberships>, env: Arc<dyn Env>) -> Self {
        Self { db, writer, memberships, env }
    }

    async fn load_membership(&self, chat: ChatId) -> Stored<Option<Arc<Membership>>> {
        membership(chat, &self.db.read_apart(Statement::fixed(MEMBERSHIP).bind(chat)).await?)
    }
}

/// What [`membership`] is read from.
pub(super) const MEMBERSHIP: &str =
    "SELECT c.type, c.membership_version, COALESCE(g.is_admin_only, FALSE), p.auto_delete_timer, p.user_id, p.role, p.joined_seq, p.joined_at, p.left_seq,
         c.type = 'direct' AND EXISTS (SELECT 1 FROM contacts b JOIN chat_participants o ON o.chat_id = c.id AND o.user_id = b.contact_id
                                       WHERE b.user_id = p.user_id AND b.is_blocked)
     FROM chats c JOIN chat_participants p ON p.chat_id = c.id LEFT JOIN groups g ON g.chat_id = c.id WHERE c.id = $1";

/// The membership that these rows are; `None` if there are none.
pub(super) fn membership(chat: ChatId, rows: &[Row]) -> Stored<Option<Arc<Membership>>> {
    let Some(head) = rows.first() else {
        return Ok(None);
    };
    let mut members = BTreeMap::new();
    for row in rows {
        let member = Member {
            user_id: row.id(4)?,
            role: role(row, 5)?,
            joined_seq: Seq::new(row.int(6)?),
            joined_at: row.time(7)?,
            left_seq: row.maybe_int(8)?.map(Seq::new),
            has_blocked: row.flag(9)?,
        };
        members.insert(member.user_id, member);
    }
    Ok(Some(Arc::new(Membership {
        chat_id: chat,
        kind: kind(head, 0)?,
        version: head.int(1)?,
        is_admin_only: head.flag(2)?,
        auto_delete_timer: timer(head, 3)?,
        members,
    })))
}

const BY_PAIR: &str = "SELECT c.id, c.type, c.last_seq, c.rev, p.auto_delete_timer, c.created_at, c.updated_at, c.last_activity_at
     FROM chats c JOIN chat_participants p ON p.chat_id = c.id WHERE c.pair_key = $1 LIMIT 1";

async fn insert_direct(tx: &mut Tx<'_>, new: &NewDirectChat, participants: [Uuid; 2]) -> Stored<(Chat, bool)> {
    let insert = Statement::fixed(
        "INSERT INTO chats (id, type, pair_key, last_activity_at, created_at, updated_at) VALUES ($1, 'direct', $2, $3, $3, $3)
         ON CONFLICT (pair_key) DO NOTHING",
    );
    let is_new = tx.execute(insert.bind(new.id).bind(new.pair.key()).bind(new.at)).await? > 0;
    if is_new {
        let rows = participants.into_iter().zip(new.pair.users()).map(|(id, user)| -> [Value; 4] { [id.into(), new.id.into(), user.into(), new.at.into()] });
        let insert = tx.build("INSERT INTO chat_participants (id, chat_id, user_id, joined_at) VALUES ").rows(rows);
        tx.execute(insert).await?;
        let fact = Fact::ChatCreated { chat_id: new.id, created_by: new.created_by, group: None };
        tx.announce(Event { id: new.event_id, at: new.at, fact, cause: None });
    }
    let rows = tx.fetch(Statement::fixed(BY_PAIR).bind(new.pair.key())).await?;
    let chat = first(&rows, chat)?.ok_or_else(|| StoreError::corrupt(tx.dialect().name(), "a direct chat without participants"))?;
    Ok((chat, is_new))
}

#[async_trait]
impl ChatStore for SqlChatStore {
    async fn create_direct(&self, new: NewDirectChat) -> Stored<(Chat, bool)> {
        let rows = self.db.read(Statement::fixed(BY_PAIR).bind(new.pair.key())).await?;
        if let Some(chat) = first(&rows, chat)? {
            return Ok((chat, false));
        }
        let participants = [self.env.new_id(), self.env.new_id()];
        let memberships = Arc::clone(&self.memberships);
        self.writer
            .run(move |tx| {
                tx.when_settled(move || memberships.forget(new.id));
                Box::pin(async move { insert_direct(tx, &new, participants).await })
            })
            .await
    }

    async fn membership(&self, chat: ChatId) -> Stored<Option<Arc<Membership>>> {
        self.memberships.get_or_load(chat, self.load_membership(chat)).await
    }

    fn changed(&self, chat: ChatId) {
        if self.db.dialect().is_shared() {
            self.memberships.forget(chat);
        }
    }

    async fn get(&self, user: UserId, chats: &[ChatId]) -> Stored<Vec<ListedChat>> {
        let mut found = Vec::with_capacity(chats.len());
        for piece in chats.chunks(256) {
            let query = self.db.build(LISTED).value(user).text(" AND p.chat_id IN (").list(piece.iter().copied()).text(")");
            for row in self.db.read(query).await? {
                found.push(listed(&row)?);
            }
        }
        Ok(found)
    }

    async fn list(&self, user: UserId, after: Option<ChatCursor>, limit: usize) -> Stored<Vec<ListedChat>> {
        let mut query = self.db.build(LISTED).value(user);
        if let Some(after) = after {
            query = query.text(" AND (p.is_pinned, c.last_activity_at, c.id) < (").value(after.is_pinned).text(", ");
            query = query.value(after.last_activity_at).text(", ").value(after.chat_id).text(")");
        }
        query = query.text(" ORDER BY p.is_pinned DESC, c.last_activity_at DESC, c.id DESC LIMIT ").value(i64::try_from(limit).unwrap_or(i64::MAX));
        self.db.read(query).await?.iter().map(listed).collect()
    }

    async fn revs(&self, user: UserId) -> Stored<Vec<(ChatId, Rev)>> {
        let query = Statement::fixed(
            "SELECT c.id, c.rev FROM chat_participants p JOIN chats c ON c.id = p.chat_id WHERE p.user_id = $1 AND p.left_seq IS NULL ORDER BY c.id",
        );
        self.db.read(query.bind(user)).await?.iter().map(|row| Ok((row.id(0)?, Rev::new(row.int(1)?)))).collect()
    }

    async fn set_personal(&self, user: UserId, chat: ChatId, update: PersonalUpdate) -> Stored<bool> {
        self.writer
            .run(move |tx| {
                Box::pin(async move {
                    let set = tx.build("UPDATE chat_participants SET ");
                    let set = match update {
                        PersonalUpdate::Mute(until) => set.text("is_muted = TRUE, mute_until = ").value(until),
                        PersonalUpdate::Unmute => set.text("is_muted = FALSE, mute_until = NULL"),
                        PersonalUpdate::Pin(is_pinned) => set.text("is_pinned = ").value(is_pinned),
                    };
                    let set = set.text(" WHERE left_seq IS NULL AND user_id = ").value(user).text(" AND chat_id = ").value(chat);
                    Ok(tx.execute(set).await? > 0)
                })
            })
            .await
    }
}
