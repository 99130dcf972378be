//! Groups as they are made and changed, in SQL. A command is decided inside the transaction that holds the lock of the
//! chat's row, so that no decision rests on what another one has changed.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;
use wa_core::chat::{ChatKind, Role};
use wa_core::error::{Error, Missing, StoreError};
use wa_core::event::{ChatChanges, ChatUpdated, Event, Fact, MemberChanged};
use wa_core::group::{ChatState, GroupProfile, InviteHash, ProfileChange, Step};
use wa_core::id::{ChatId, MessageId, UserId};
use wa_core::message::{Content, Fingerprint, Message, MessageView, Rev, Seq, System};
use wa_core::ports::{Applied, Command, Env, EnvExt as _, GroupStore, NewGroup, Stored};
use wa_core::receipt::Status;
use wa_core::time::Timestamp;

use super::append::{self, Append, Heads};
use super::chat_store::{MEMBERSHIP, Memberships, membership};
use super::db::Db;
use super::message_store::first;
use super::statement::{Statement, Value, pieces};
use super::writer::{Tx, Writer};

/// Groups in SQL.
pub(crate) struct SqlGroupStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
    memberships: Arc<Memberships>,
    env: Arc<dyn Env>,
}

impl SqlGroupStore {
    pub(super) fn new(db: Arc<Db>, writer: Arc<Writer>, memberships: Arc<Memberships>, env: Arc<dyn Env>) -> Self {
        Self { db, writer, memberships, env }
    }
}

/// A change being made.
struct Making<'a> {
    chat_id: ChatId,
    kind: ChatKind,
    version: i64,
    by: UserId,
    by_name: &'a str,
    at: Timestamp,
    env: &'a dyn Env,
}

impl Making<'_> {
    /// A system message as an append like any other.
    fn note(&self, id: MessageId, note: System, withheld_from: Option<UserId>) -> Append {
        let content = Content::System(note);
        let fingerprint = Fingerprint::of(self.chat_id, &content, None);
        let message = Message {
            id,
            chat_id: self.chat_id,
            sender_id: self.by,
            client_msg_id: id.to_string(),
            seq: Seq::ZERO,
            rev: Rev::ZERO,
            kind: content.kind(),
            content: Some(content),
            reply_to: None,
            forwarded_from: None,
            withheld_from,
            edited_at: None,
            expires_at: None,
            created_at: self.at,
            updated_at: self.at,
        };
        Append {
            view: MessageView::of(&message, Status::Sent, None),
            event_id: self.env.new_id(),
            chat_kind: self.kind,
            membership_version: self.version,
            sender_name: self.by_name.to_owned(),
            fingerprint,
            withheld_from,
            origin: None,
            answered: None,
            cause: None,
        }
    }

    fn announce(&self, tx: &mut Tx<'_>, fact: Fact) {
        tx.announce(Event { id: self.env.new_id(), at: self.at, fact, cause: None });
    }

    fn member_changed(&self, user_id: UserId, display_name: &str, group: &GroupProfile, rev: Rev) -> MemberChanged {
        MemberChanged { chat_id: self.chat_id, user_id, display_name: display_name.to_owned(), by: self.by, group_name: group.name.clone(), rev }
    }
}

/// Whether all of these have an account, which they then keep until the transaction ends.
async fn all_exist(tx: &mut Tx<'_>, users: &[UserId]) -> Stored<bool> {
    for piece in pieces(users) {
        let query = tx.build("SELECT COUNT(*) FROM (SELECT u.id FROM (VALUES ").rows(piece.iter().map(|&user| [user.into()]));
        let query = query.text(") AS v CROSS JOIN users u WHERE u.id = v.column1 AND NOT u.is_deleted").text(tx.dialect().kept_in_order()).text(") AS kept");
        let count = first(&tx.fetch(query).await?, |row| row.int(0))?;
        if count != i64::try_from(piece.len()).ok() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts these into a chat, or back into it.
async fn let_in(tx: &mut Tx<'_>, making: &Making<'_>, users: &[(UserId, Role)], timer: &'static str, joined_seq: Seq) -> Stored<()> {
    const INTO: &str = "INSERT INTO chat_participants (id, chat_id, user_id, role, auto_delete_timer, joined_at, joined_seq)";
    // Whoever comes back starts anew.
    const THEN: &str = " ON CONFLICT (chat_id, user_id) DO UPDATE SET role = excluded.role, auto_delete_timer = excluded.auto_delete_timer,
         joined_at = excluded.joined_at, joined_seq = excluded.joined_seq, left_seq = NULL, is_muted = FALSE, mute_until = NULL, is_pinned = FALSE";
    for piece in pieces(users) {
        let rows = piece.iter().map(|&(user, role)| -> [Value; 7] {
            let id: Uuid = making.env.new_id();
            [id.into(), making.chat_id.into(), user.into(), role.as_str().into(), timer.into(), making.at.into(), joined_seq.into()]
        });
        let insert = Statement::insert(tx.dialect(), INTO, rows, THEN);
        tx.execute(insert).await?;
    }
    Ok(())
}

async fn create(tx: &mut Tx<'_>, group: NewGroup, env: &dyn Env) -> Stored<Applied> {
    let NewGroup { view, members, created_by, note_id, note } = group;
    let users: Vec<UserId> = members.iter().map(|member| member.user_id).collect();
    if !all_exist(tx, &users).await? {
        return Ok(Applied::UserGone);
    }
    let (chat_id, at) = (view.chat_id, view.created_at);
    let insert = Statement::fixed(
        "INSERT INTO chats (id, type, rev, last_activity_at, created_at, updated_at) VALUES ($1, 'group', 0, $2, $2, $2) RETURNING membership_version",
    );
    let version = first(&tx.fetch(insert.bind(chat_id).bind(at)).await?, |row| row.int(0))?;
    let version = version.ok_or_else(|| StoreError::other(tx.dialect().name(), "a chat that was just made is not there"))?;
    let insert = Statement::fixed("INSERT INTO groups (chat_id, name, description, created_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)");
    tx.execute(insert.bind(chat_id).bind(view.name.as_str()).bind(view.description.as_str()).bind(created_by).bind(at)).await?;
    let by_name = members.first().map_or("", |member| &member.name);
    let making = Making { chat_id, kind: ChatKind::Group, version, by: created_by, by_name, at, env };
    let roles: Vec<(UserId, Role)> = members.iter().map(|member| (member.user_id, member.role)).collect();
    let_in(tx, &making, &roles, view.auto_delete_timer.as_str(), Seq::ZERO).await?;
    append::append_all(tx, &mut Heads::new(), vec![making.note(note_id, note, None)]).await?.into_iter().try_for_each(|placed| placed.map(drop))?;
    tx.execute(Statement::fixed("UPDATE chats SET rev = $2 WHERE id = $1").bind(chat_id).bind(NewGroup::REV)).await?;
    let profile = GroupProfile { name: view.name.clone(), ..GroupProfile::default() };
    making.announce(tx, Fact::ChatCreated { chat_id, created_by, group: Some(view) });
    for member in members.iter().filter(|member| member.user_id != created_by) {
        making.announce(tx, Fact::MemberAdded(making.member_changed(member.user_id, &member.name, &profile, NewGroup::REV)));
    }
    Ok(Applied::Done)
}

/// Locks the chat's row and reads the chat as it is. Returns it with its last place.
async fn locked(tx: &mut Tx<'_>, chat: ChatId) -> Stored<Option<(ChatState, Seq)>> {
    // A change that changes nothing is the lock that every database knows.
    let lock = Statement::fixed("UPDATE chats SET rev = rev WHERE id = $1 RETURNING last_seq");
    let Some(last_seq) = first(&tx.fetch(lock.bind(chat)).await?, |row| row.int(0))? else {
        return Ok(None);
    };
    let Some(membership) = membership(chat, &tx.fetch(Statement::fixed(MEMBERSHIP).bind(chat)).await?)? else {
        return Ok(None);
    };
    let profile = Statement::fixed("SELECT name, description, avatar_url FROM groups WHERE chat_id = $1");
    let profile =
        first(&tx.fetch(profile.bind(chat)).await?, |row| Ok(GroupProfile { name: row.text(0)?, description: row.text(1)?, avatar_url: row.text(2)? }))?;
    Ok(Some((ChatState { membership, profile: profile.unwrap_or_default() }, Seq::new(last_seq))))
}

async fn change(tx: &mut Tx<'_>, command: Command, env: &dyn Env) -> Stored<Applied> {
    let Command { chat_id, by, by_name, at, invite, decide } = command;
    let absent = || Applied::Refused(Error::not_found(Missing::Chat));
    let Some((state, last_seq)) = locked(tx, chat_id).await? else {
        return Ok(absent());
    };
    if let Some(invite) = invite {
        let query = Statement::fixed("SELECT 1 FROM group_invites WHERE chat_id = $1 AND code_hash = $2");
        if tx.fetch(query.bind(chat_id).bind(hash(invite))).await?.is_empty() {
            return Ok(absent());
        }
    }
    let change = match decide(&state) {
        Ok(change) => change,
        Err(refusal) => return Ok(Applied::Refused(refusal)),
    };
    if change.steps.is_empty() {
        return Ok(Applied::Done);
    }
    let joining: Vec<UserId> = change.steps.iter().filter_map(|step| if let Step::Join { user_id, .. } = step { Some(*user_id) } else { None }).collect();
    if !all_exist(tx, &joining).await? {
        return Ok(Applied::UserGone);
    }
    let membership = &state.membership;
    let making = Making { chat_id, kind: membership.kind, version: membership.version, by, by_name: &by_name, at, env };
    let leaving = change.steps.iter().filter(|step| matches!(step, Step::Leave { .. })).count();
    if leaving > 0 && membership.everyone().count() == leaving && joining.is_empty() {
        end(tx, &making, &state, &change.steps).await?;
        return Ok(Applied::Done);
    }
    let notes: Vec<Append> = change.notes.into_iter().map(|note| making.note(env.new_id(), note, change.withheld_from)).collect();
    append::append_all(tx, &mut Heads::new(), notes).await?.into_iter().try_for_each(|placed| placed.map(drop))?;
    let members: Vec<(UserId, Role)> = joining.into_iter().map(|user| (user, Role::Member)).collect();
    let_in(tx, &making, &members, membership.auto_delete_timer.as_str(), last_seq).await?;
    let raise = Statement::fixed("UPDATE chats SET rev = rev + $2, membership_version = membership_version + 1, updated_at = $3 WHERE id = $1 RETURNING rev");
    let count = i64::try_from(change.steps.len()).unwrap_or(i64::MAX);
    let rev = first(&tx.fetch(raise.bind(chat_id).bind(count).bind(at)).await?, |row| row.int(0))?;
    let mut rev = Rev::new(rev.ok_or_else(|| StoreError::other(tx.dialect().name(), "a locked chat is gone"))? - count);
    let mut profile = state.profile.clone();
    for step in change.steps {
        rev = rev.next();
        take(tx, &making, &mut profile, step, last_seq, rev).await?;
    }
    Ok(Applied::Done)
}

/// Takes one step and announces it.
async fn take(tx: &mut Tx<'_>, making: &Making<'_>, profile: &mut GroupProfile, step: Step, last_seq: Seq, rev: Rev) -> Stored<()> {
    let chat_id = making.chat_id;
    let updated = |changes| Fact::ChatUpdated(ChatUpdated { chat_id, chat_kind: making.kind, changes, updated_by: making.by, rev });
    let fact = match step {
        Step::Join { user_id, name } => Fact::MemberAdded(making.member_changed(user_id, &name, profile, rev)),
        Step::Leave { user_id, name } => {
            let leave = Statement::fixed("UPDATE chat_participants SET left_seq = $3, role = 'member', is_pinned = FALSE WHERE chat_id = $1 AND user_id = $2");
            tx.execute(leave.bind(chat_id).bind(user_id).bind(last_seq)).await?;
            Fact::MemberRemoved(making.member_changed(user_id, &name, profile, rev))
        }
        Step::Role { user_id, role } => {
            let set = Statement::fixed("UPDATE chat_participants SET role = $3 WHERE chat_id = $1 AND user_id = $2");
            tx.execute(set.bind(chat_id).bind(user_id).bind(role.as_str())).await?;
            updated(ChatChanges { user_id: Some(user_id), role: Some(role), ..ChatChanges::default() })
        }
        Step::Profile(change) => {
            let ProfileChange { name, description, avatar_url, is_admin_only } = &change;
            profile.name.clone_from(name.as_ref().unwrap_or(&profile.name.clone()));
            let mut set = tx.build("UPDATE groups SET updated_at = ").value(making.at);
            let texts = [(", name = ", name), (", description = ", description), (", avatar_url = ", avatar_url)];
            for (column, text) in texts.into_iter().filter_map(|(column, text)| Some((column, text.as_deref()?))) {
                set = set.text(column).value(text);
            }
            if let Some(is_admin_only) = is_admin_only {
                set = set.text(", is_admin_only = ").value(*is_admin_only);
            }
            tx.execute(set.text(" WHERE chat_id = ").value(chat_id)).await?;
            updated(ChatChanges { profile: change, ..ChatChanges::default() })
        }
        Step::Timer(timer) => {
            // Of former members too: it is one value for the chat.
            let set = Statement::fixed("UPDATE chat_participants SET auto_delete_timer = $2 WHERE chat_id = $1");
            tx.execute(set.bind(chat_id).bind(timer.as_str())).await?;
            updated(ChatChanges { auto_delete_timer: Some(timer), ..ChatChanges::default() })
        }
    };
    making.announce(tx, fact);
    Ok(())
}

/// The last ones leave: from now on there is no such group. What it left is deleted by [`GroupStore::purge`].
async fn end(tx: &mut Tx<'_>, making: &Making<'_>, state: &ChatState, steps: &[Step]) -> Stored<()> {
    let chat_id = making.chat_id;
    let raise = Statement::fixed("UPDATE chats SET rev = rev + 1, membership_version = membership_version + 1, updated_at = $2 WHERE id = $1 RETURNING rev");
    let rev = first(&tx.fetch(raise.bind(chat_id).bind(making.at)).await?, |row| row.int(0))?.unwrap_or_default();
    for gone in ["DELETE FROM chat_participants WHERE chat_id = $1", "DELETE FROM groups WHERE chat_id = $1", "DELETE FROM group_invites WHERE chat_id = $1"] {
        tx.execute(Statement::fixed(gone).bind(chat_id)).await?;
    }
    tx.execute(Statement::fixed("INSERT INTO ended_groups (chat_id, ended_at) VALUES ($1, $2)").bind(chat_id).bind(making.at)).await?;
    for step in steps {
        if let Step::Leave { user_id, name } = step {
            making.announce(tx, Fact::MemberRemoved(making.member_changed(*user_id, name, &state.profile, Rev::new(rev))));
        }
    }
    Ok(())
}

async fn set_invite(tx: &mut Tx<'_>, command: Command, invite: Option<InviteHash>) -> Stored<Applied> {
    let Command { chat_id, by, at, decide, .. } = command;
    let Some((state, _)) = locked(tx, chat_id).await? else {
        return Ok(Applied::Refused(Error::not_found(Missing::Chat)));
    };
    if let Err(refusal) = decide(&state) {
        return Ok(Applied::Refused(refusal));
    }
    match invite {
        Some(invite) => {
            let upsert = Statement::fixed(
                "INSERT INTO group_invites (chat_id, code_hash, created_by, created_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (chat_id) DO UPDATE SET code_hash = excluded.code_hash, created_by = excluded.created_by, created_at = excluded.created_at",
            );
            tx.execute(upsert.bind(chat_id).bind(hash(invite)).bind(by).bind(at)).await?;
        }
        None => _ = tx.execute(Statement::fixed("DELETE FROM group_invites WHERE chat_id = $1").bind(chat_id)).await?,
    }
    Ok(Applied::Done)
}

fn hash(invite: InviteHash) -> Value {
    Value::Bytes(invite.as_bytes().to_vec())
}

/// Deletes up to this many rows of the oldest group that ended. Returns whether there may be more.
async fn purge(tx: &mut Tx<'_>, limit: i64) -> Stored<bool> {
    let oldest = Statement::fixed("SELECT chat_id FROM ended_groups ORDER BY ended_at, chat_id LIMIT 1");
    let Some(chat) = first(&tx.fetch(oldest).await?, |row| row.id::<ChatId>(0))? else {
        return Ok(false);
    };
    for some in [
        "DELETE FROM messages WHERE chat_id = $1 AND seq IN (SELECT seq FROM messages WHERE chat_id = $1 ORDER BY seq LIMIT $2)",
        "DELETE FROM reactions WHERE (chat_id, seq, user_id) IN (SELECT chat_id, seq, user_id FROM reactions WHERE chat_id = $1 LIMIT $2)",
        "DELETE FROM stars WHERE (user_id, chat_id, seq) IN (SELECT user_id, chat_id, seq FROM stars WHERE chat_id = $1 LIMIT $2)",
        "DELETE FROM hidden_messages WHERE (user_id, chat_id, seq) IN (SELECT user_id, chat_id, seq FROM hidden_messages WHERE chat_id = $1 LIMIT $2)",
        "DELETE FROM receipt_history WHERE (chat_id, user_id, status, to_seq) IN (SELECT chat_id, user_id, status, to_seq FROM receipt_history WHERE chat_id = $1 LIMIT $2)",
    ] {
        if tx.execute(Statement::fixed(some).bind(chat).bind(limit)).await? > 0 {
            return Ok(true);
        }
    }
    // Few rows are left, such as one mark per former member.
    tx.execute(Statement::fixed("DELETE FROM chats WHERE id = $1").bind(chat)).await?;
    Ok(true)
}

#[async_trait]
impl GroupStore for SqlGroupStore {
    async fn create(&self, group: NewGroup) -> Stored<Applied> {
        let (memberships, env, chat) = (Arc::clone(&self.memberships), Arc::clone(&self.env), group.view.chat_id);
        self.writer
            .run(move |tx| {
                tx.when_settled(move || memberships.forget(chat));
                Box::pin(async move { create(tx, group, &*env).await })
            })
            .await
    }

    async fn change(&self, command: Command) -> Stored<Applied> {
        let (memberships, env, chat) = (Arc::clone(&self.memberships), Arc::clone(&self.env), command.chat_id);
        self.writer
            .run(move |tx| {
                tx.when_settled(move || memberships.forget(chat));
                Box::pin(async move { change(tx, command, &*env).await })
            })
            .await
    }

    async fn set_invite(&self, command: Command, invite: Option<InviteHash>) -> Stored<Applied> {
        self.writer.run(move |tx| Box::pin(set_invite(tx, command, invite))).await
    }

    async fn invited_to(&self, invite: InviteHash) -> Stored<Option<ChatId>> {
        let query = Statement::fixed("SELECT chat_id FROM group_invites WHERE code_hash = $1").bind(hash(invite));
        first(&self.db.read(query).await?, |row| row.id(0))
    }

    async fn purge(&self, limit: usize) -> Stored<bool> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        if self.db.read(Statement::fixed("SELECT 1 FROM ended_groups LIMIT 1")).await?.is_empty() {
            return Ok(false);
        }
        self.writer.run(move |tx| Box::pin(purge(tx, limit))).await
    }
}
