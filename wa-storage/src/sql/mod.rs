//! SQL stores from one source: every statement fits SQLite and PostgreSQL, and `db.rs` alone knows which it speaks to.

mod annotation_store;
mod append;
mod cache;
mod change_store;
mod chat_store;
mod contact_store;
mod copier;
mod db;
mod deferred;
mod device_token_store;
mod group_store;
mod indexer;
#[cfg(feature = "postgres")]
mod lanes;
#[cfg(feature = "postgres")]
mod leader;
mod media_store;
mod message_row;
mod message_store;
mod places;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(all(test, feature = "postgres", feature = "conformance"))]
mod postgres_tests;
mod push_queue;
mod receipt_store;
mod receive;
mod relay;
mod search_index;
mod search_store;
mod session_store;
mod statement;
mod status_store;
#[cfg(all(test, feature = "conformance"))]
mod tests;
#[cfg(feature = "postgres")]
mod turn;
mod user_store;
mod writer;

use std::sync::Arc;

use wa_core::ports::{
    AnnotationStore, ChangeStore, ChatStore, ContactStore, DeviceTokenStore, Env, GroupStore, MediaStore, MediaUses, MessageStore, PushQueue, ReceiptStore,
    SearchStore, SessionStore, StatusStore, Stored, UserStore,
};

pub use db::PoolUse;
pub(crate) use db::{Connection, Db, Row, migrations_of_file, tear_down_file};
pub use indexer::Indexer;
#[cfg(feature = "postgres")]
pub(crate) use postgres::{migrations as migrations_of_postgres, shown as shown_postgres, tear_down as tear_down_postgres};
pub use relay::Relay;
pub(crate) use statement::{Statement, Value};
use writer::Writer;

/// Every port that SQL serves, over one database.
pub(crate) struct SqlStores {
    pub(crate) messages: Arc<dyn MessageStore>,
    pub(crate) changes: Arc<dyn ChangeStore>,
    pub(crate) annotations: Arc<dyn AnnotationStore>,
    pub(crate) receipts: Arc<dyn ReceiptStore>,
    pub(crate) chats: Arc<dyn ChatStore>,
    pub(crate) groups: Arc<dyn GroupStore>,
    pub(crate) users: Arc<dyn UserStore>,
    pub(crate) contacts: Arc<dyn ContactStore>,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) search: Arc<dyn SearchStore>,
    pub(crate) statuses: Arc<dyn StatusStore>,
    pub(crate) media: Arc<dyn MediaStore>,
    pub(crate) media_uses: Arc<dyn MediaUses>,
    pub(crate) device_tokens: Arc<dyn DeviceTokenStore>,
    pub(crate) push_queue: Arc<dyn PushQueue>,
    pub(crate) indexer: Arc<Indexer>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) database: Database,
}

/// The database itself: its health, use and end.
pub(crate) struct Database {
    db: Arc<Db>,
    writer: Arc<Writer>,
    env: Arc<dyn Env>,
}

impl SqlStores {
    pub(crate) fn new(db: Db, env: Arc<dyn Env>) -> Self {
        let db = Arc::new(db);
        let (handoff, relay_end) = relay::channel();
        let places = Arc::default();
        let writer = Arc::new(Writer::start(Arc::clone(&db), Arc::clone(&env), handoff, Arc::clone(&places)));
        let memberships = Arc::new(chat_store::memberships(db.dialect().keeps_for()));
        let kept_sessions = Arc::new(session_store::sessions(db.dialect().keeps_for()));
        let both = || (Arc::clone(&db), Arc::clone(&writer));
        let (messages, receipts, chats, groups, users, contacts, sessions) = (both(), both(), both(), both(), both(), both(), both());
        let search = Arc::new(search_store::SqlSearchStore::new(Arc::clone(&db), Arc::clone(&writer), Arc::clone(&env)));
        let (changes, annotations) = (Arc::clone(&writer), both());
        Self {
            messages: Arc::new(message_store::SqlMessageStore::new(messages.0, messages.1, places)),
            changes: Arc::new(change_store::SqlChangeStore::new(changes)),
            annotations: Arc::new(annotation_store::SqlAnnotationStore::new(annotations.0, annotations.1)),
            receipts: Arc::new(receipt_store::SqlReceiptStore::new(receipts.0, receipts.1)),
            chats: Arc::new(chat_store::SqlChatStore::new(chats.0, chats.1, Arc::clone(&memberships), Arc::clone(&env))),
            groups: Arc::new(group_store::SqlGroupStore::new(groups.0, groups.1, Arc::clone(&memberships), Arc::clone(&env))),
            users: Arc::new(user_store::SqlUserStore::new(users.0, users.1, Arc::clone(&kept_sessions), Arc::clone(&memberships))),
            contacts: Arc::new(contact_store::SqlContactStore::new(contacts.0, contacts.1, memberships, Arc::clone(&env))),
            sessions: Arc::new(session_store::SqlSessionStore::new(sessions.0, sessions.1, kept_sessions, Arc::clone(&env))),
            statuses: Arc::new(status_store::SqlStatusStore::new(Arc::clone(&db), Arc::clone(&writer))),
            device_tokens: Arc::new(device_token_store::SqlDeviceTokenStore::new(Arc::clone(&writer))),
            push_queue: Arc::new(push_queue::SqlPushQueue::new(Arc::clone(&db), Arc::clone(&writer))),
            indexer: Arc::new(Indexer::new(Arc::clone(&search))),
            search,
            media: Arc::new(media_store::SqlMediaStore::new(Arc::clone(&db), Arc::clone(&writer))),
            media_uses: Arc::new(media_store::SqlMediaUses::new(Arc::clone(&db))),
            relay: Arc::new(Relay::new(Arc::clone(&db), Arc::clone(&writer), relay_end)),
            database: Database { db, writer, env },
        }
    }
}

impl Database {
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// Whether it is the target of a copy that did not come to its end, and of what.
    pub(crate) async fn unfinished_copy(&self) -> Stored<Option<String>> {
        let rows = self.db.read_apart(Statement::fixed("SELECT source FROM transfer WHERE id = 1 AND finished_at IS NULL")).await?;
        rows.first().map(|row| row.text(0)).transpose()
    }

    /// Which database it is.
    pub(crate) fn name(&self) -> &'static str {
        self.db.dialect().name()
    }

    /// Reads, and writes durably: a full or read-only disk shows here as well.
    pub(crate) async fn probe(&self) -> Stored<()> {
        self.db.read_apart(Statement::fixed("SELECT checked_at FROM health_probe WHERE id = 1")).await?;
        let at = self.env.now();
        let write = "INSERT INTO health_probe (id, checked_at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at";
        self.writer.run_apart(move |tx| Box::pin(async move { tx.execute(Statement::fixed(write).bind(at)).await.map(|_| ()) })).await
    }

    pub(crate) fn pool_use(&self) -> PoolUse {
        self.db.pool_use()
    }

    /// Commits what waits and closes every connection.
    pub(crate) async fn close(&self) -> Stored<()> {
        self.db.close().await;
        self.writer.close().await
    }
}
