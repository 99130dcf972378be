//! Address books and blocks in SQL.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;
use wa_core::chat::Pair;
use wa_core::id::{ChatId, UserId};
use wa_core::ports::{ContactStore, Env, EnvExt as _, Stored};
use wa_core::privacy::Relation;
use wa_core::time::Timestamp;
use wa_core::user::Contact;

use super::chat_store::Memberships;
use super::db::Db;
use super::message_store::first;
use super::statement::{Statement, Value, pieces};
use super::writer::{Tx, Writer};

/// Address books in SQL.
pub(crate) struct SqlContactStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
    memberships: Arc<Memberships>,
    env: Arc<dyn Env>,
}

impl SqlContactStore {
    pub(super) fn new(db: Arc<Db>, writer: Arc<Writer>, memberships: Arc<Memberships>, env: Arc<dyn Env>) -> Self {
        Self { db, writer, memberships, env }
    }
}

/// A block to be set or lifted.
#[derive(Clone)]
struct Block {
    row_id: Uuid,
    owner: UserId,
    target: UserId,
    blocked: bool,
    at: Timestamp,
}

/// Returns the pair's chat if its membership took a new version.
async fn set_blocked(tx: &mut Tx<'_>, block: &Block) -> Stored<Option<ChatId>> {
    let changed = if block.blocked {
        let upsert = Statement::fixed(
            "INSERT INTO contacts (id, user_id, contact_id, is_contact, is_blocked, created_at) VALUES ($1, $2, $3, FALSE, TRUE, $4)
             ON CONFLICT (user_id, contact_id) DO UPDATE SET is_blocked = TRUE WHERE NOT contacts.is_blocked",
        );
        tx.execute(upsert.bind(block.row_id).bind(block.owner).bind(block.target).bind(block.at)).await?
    } else {
        let alone = Statement::fixed("DELETE FROM contacts WHERE user_id = $1 AND contact_id = $2 AND is_blocked AND NOT is_contact");
        let both = Statement::fixed("UPDATE contacts SET is_blocked = FALSE WHERE user_id = $1 AND contact_id = $2 AND is_blocked");
        tx.execute(alone.bind(block.owner).bind(block.target)).await? + tx.execute(both.bind(block.owner).bind(block.target)).await?
    };
    let Some(pair) = Pair::of(block.owner, block.target).filter(|_| changed > 0) else {
        return Ok(None);
    };
    let raise = Statement::fixed("UPDATE chats SET membership_version = membership_version + 1 WHERE pair_key = $1 RETURNING id");
    first(&tx.fetch(raise.bind(pair.key())).await?, |row| row.id(0))
}

#[async_trait]
impl ContactStore for SqlContactStore {
    async fn save(&self, owner: UserId, contacts: &[UserId], at: Timestamp) -> Stored<()> {
        let mut contacts: Vec<UserId> = contacts.to_vec();
        contacts.sort_unstable();
        contacts.dedup();
        let rows: Vec<(Uuid, UserId)> = contacts.into_iter().map(|contact| (self.env.new_id(), contact)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.writer
            .run(move |tx| {
                Box::pin(async move {
                    for piece in pieces(&rows) {
                        let upsert = tx
                            .build("INSERT INTO contacts (id, user_id, contact_id, created_at) VALUES ")
                            .rows(piece.iter().map(|&(id, contact)| -> [Value; 4] { [id.into(), owner.into(), contact.into(), at.into()] }))
                            .text(" ON CONFLICT (user_id, contact_id) DO UPDATE SET is_contact = TRUE WHERE NOT contacts.is_contact");
                        tx.execute(upsert).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn list(&self, owner: UserId) -> Stored<Vec<Contact>> {
        let query = Statement::fixed("SELECT contact_id, nickname, is_blocked, created_at FROM contacts WHERE user_id = $1 ORDER BY created_at, id");
        let read = |row: &super::db::Row| Ok(Contact { user_id: row.id(0)?, nickname: row.text(1)?, is_blocked: row.flag(2)?, created_at: row.time(3)? });
        self.db.read_apart(query.bind(owner)).await?.iter().map(read).collect()
    }

    async fn set_blocked(&self, owner: UserId, target: UserId, blocked: bool, at: Timestamp) -> Stored<()> {
        let block = Block { row_id: self.env.new_id(), owner, target, blocked, at };
        let memberships = Arc::clone(&self.memberships);
        self.writer
            .run(move |tx| {
                Box::pin(async move {
                    if let Some(chat) = set_blocked(tx, &block).await? {
                        tx.when_settled(move || memberships.forget(chat));
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn relations(&self, pairs: &[(UserId, UserId)]) -> Stored<HashMap<(UserId, UserId), Relation>> {
        let mut relations: HashMap<_, _> =
            pairs.iter().map(|&(viewer, owner)| ((viewer, owner), Relation { is_self: viewer == owner, ..Relation::default() })).collect();
        let asked: Vec<_> = relations.keys().filter(|(viewer, owner)| viewer != owner).copied().collect();
        for piece in pieces(&asked) {
            let both = piece.iter().flat_map(|&(viewer, owner)| [(viewer, owner), (owner, viewer)]);
            let query = self
                .db
                .build("SELECT c.user_id, c.contact_id, c.is_contact, c.is_blocked FROM (VALUES ")
                .rows(both.map(|(user, contact)| -> [Value; 2] { [user.into(), contact.into()] }));
            let query = query.text(") AS v CROSS JOIN contacts c WHERE c.user_id = v.column1 AND c.contact_id = v.column2");
            for row in self.db.read_apart(query).await? {
                let (user, contact) = (row.id(0)?, row.id(1)?);
                let (is_contact, is_blocked) = (row.flag(2)?, row.flag(3)?);
                if let Some(relation) = relations.get_mut(&(user, contact)) {
                    (relation.owner_is_contact, relation.viewer_blocked_owner) = (is_contact, is_blocked);
                }
                if let Some(relation) = relations.get_mut(&(contact, user)) {
                    (relation.viewer_is_contact, relation.owner_blocked_viewer) = (is_contact, is_blocked);
                }
            }
        }
        Ok(relations)
    }
}
