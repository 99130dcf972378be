//! Statuses in SQL. The tables are apart from those of messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use wa_core::id::{StatusId, UserId};
use wa_core::ports::{StatusStore, Stored};
use wa_core::status_post::{StatusContent, StatusPost};
use wa_core::time::Timestamp;

use super::db::{Db, Row};
use super::message_store::{bound, first};
use super::statement::{Statement, padded};
use super::writer::Writer;

/// Statuses in SQL.
#[derive(Debug)]
pub(crate) struct SqlStatusStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
}

const COLUMNS: &str = "s.id, s.user_id, s.content, s.media_id, s.caption, s.bg_color, s.created_at, s.expires_at";

fn status(row: &Row) -> Stored<StatusPost> {
    let content = match row.maybe_id(3)? {
        Some(media) => StatusContent::Image(media),
        None => StatusContent::Text(row.text(2)?),
    };
    Ok(StatusPost {
        id: row.id(0)?,
        user_id: row.id(1)?,
        content,
        caption: row.text(4)?,
        bg_color: row.text(5)?,
        created_at: row.time(6)?,
        expires_at: row.time(7)?,
    })
}

impl SqlStatusStore {
    pub(super) const fn new(db: Arc<Db>, writer: Arc<Writer>) -> Self {
        Self { db, writer }
    }
}

#[async_trait]
impl StatusStore for SqlStatusStore {
    async fn create(&self, status: &StatusPost, most: usize) -> Stored<bool> {
        let status = status.clone();
        self.writer
            .run_apart(move |tx| {
                Box::pin(async move {
                    tx.hold_user(status.user_id).await?;
                    let shown = Statement::fixed("SELECT COUNT(*) FROM statuses WHERE user_id = $1 AND expires_at > $2");
                    let shown = first(&tx.fetch(shown.bind(status.user_id).bind(status.created_at)).await?, |row| row.int(0))?;
                    if shown.unwrap_or(0) >= bound(most) {
                        return Ok(false);
                    }
                    let (text, media) = match &status.content {
                        StatusContent::Text(text) => (text.as_str(), None),
                        StatusContent::Image(media) => ("", Some(*media)),
                    };
                    let insert = Statement::fixed(
                        "INSERT INTO statuses (id, user_id, content, media_id, caption, bg_color, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    );
                    let insert = insert.bind(status.id).bind(status.user_id).bind(text).bind(media).bind(status.caption).bind(status.bg_color);
                    tx.execute(insert.bind(status.created_at).bind(status.expires_at)).await?;
                    Ok(true)
                })
            })
            .await
    }

    async fn get(&self, id: StatusId, now: Timestamp) -> Stored<Option<StatusPost>> {
        let query = self.db.build("SELECT ").text(COLUMNS).text(" FROM statuses s WHERE s.id = ").value(id).text(" AND s.expires_at > ").value(now);
        first(&self.db.read_apart(query).await?, status)
    }

    async fn of(&self, users: &[UserId], now: Timestamp, limit: usize) -> Stored<Vec<StatusPost>> {
        let mut found = Vec::new();
        for piece in padded(users) {
            let query = self.db.build("SELECT ").text(COLUMNS).text(" FROM statuses s WHERE s.user_id IN (").list(piece.into_iter().copied());
            let query = query.text(") AND s.expires_at > ").value(now).text(" ORDER BY s.created_at DESC, s.id DESC LIMIT ").value(bound(limit));
            for row in self.db.read_apart(query).await? {
                found.push(status(&row)?);
            }
            // Of the pieces together no more than of each.
            found.sort_by_key(|status| std::cmp::Reverse((status.created_at, status.id)));
            found.truncate(limit);
        }
        Ok(found)
    }

    async fn viewers(&self, ids: &[StatusId], limit: usize) -> Stored<BTreeMap<StatusId, Vec<UserId>>> {
        let mut viewers: BTreeMap<StatusId, Vec<UserId>> = BTreeMap::new();
        for id in ids {
            let query = Statement::fixed("SELECT viewer_id FROM status_viewers WHERE status_id = $1 ORDER BY viewed_at, viewer_id LIMIT $2");
            let rows = self.db.read_apart(query.bind(*id).bind(bound(limit))).await?;
            viewers.insert(*id, rows.iter().map(|row| row.id(0)).collect::<Stored<_>>()?);
        }
        Ok(viewers)
    }

    async fn view(&self, id: StatusId, viewer: UserId, at: Timestamp) -> Stored<()> {
        let view = Statement::fixed(
            "INSERT INTO status_viewers (status_id, viewer_id, viewed_at) SELECT id, $2, $3 FROM statuses WHERE id = $1 ON CONFLICT (status_id, viewer_id) DO NOTHING",
        );
        let view = view.bind(id).bind(viewer).bind(at);
        self.writer.run_apart(move |tx| Box::pin(async move { tx.execute(view).await.map(drop) })).await
    }

    async fn delete(&self, owner: UserId, id: StatusId, now: Timestamp) -> Stored<bool> {
        let delete = Statement::fixed("DELETE FROM statuses WHERE id = $1 AND user_id = $2 AND expires_at > $3").bind(id).bind(owner).bind(now);
        self.writer.run_apart(move |tx| Box::pin(async move { Ok(tx.execute(delete).await? > 0) })).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Stored<bool> {
        let query = Statement::fixed("SELECT id FROM statuses WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2");
        let expired = self.db.read_apart(query.bind(now).bind(bound(limit))).await?;
        let expired: Vec<StatusId> = expired.iter().map(|row| row.id(0)).collect::<Stored<_>>()?;
        let may_be_more = expired.len() == limit;
        if !expired.is_empty() {
            self.writer
                .run_apart(move |tx| {
                    Box::pin(async move {
                        for piece in padded(&expired) {
                            let delete = tx.build("DELETE FROM statuses WHERE id IN (").list(piece.into_iter().copied()).text(")");
                            tx.execute(delete).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
        }
        Ok(may_be_more)
    }
}
