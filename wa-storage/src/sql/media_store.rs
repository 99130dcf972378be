//! What is known of uploaded files, and what refers to them, in SQL.

use std::sync::Arc;

use async_trait::async_trait;
use wa_core::id::{ChatId, MediaId, UserId};
use wa_core::link::avatar_path;
use wa_core::media::{Checksum, Format, Media};
use wa_core::ports::{MediaStore, MediaUses, Showing, Stored, Unused};
use wa_core::time::Timestamp;

use super::db::{Db, Row};
use super::message_store::bound;
use super::statement::{Statement, Value, pieces};
use super::writer::Writer;

/// Files in SQL.
#[derive(Debug)]
pub(crate) struct SqlMediaStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
}

const COLUMNS: &str = "id, uploader_id, format, size_bytes, width, height, duration_ms, checksum, file_name, has_thumbnail, created_at, used_at, is_released";

fn media(row: &Row) -> Stored<Media> {
    let number = |column| -> Stored<Option<u32>> {
        row.maybe_int(column)?.map(|number| u32::try_from(number).map_err(|_| row.corrupt("a size or length that is none"))).transpose()
    };
    Ok(Media {
        id: row.id(0)?,
        uploader_id: row.id(1)?,
        format: Format::from_extension(&row.text(2)?).ok_or_else(|| row.corrupt("an unknown format of a file"))?,
        size_bytes: u64::try_from(row.int(3)?).map_err(|_| row.corrupt("a size that is none"))?,
        width: number(4)?,
        height: number(5)?,
        duration_ms: number(6)?,
        checksum: Checksum(row.bytes(7)?.try_into().map_err(|_| row.corrupt("a checksum of another length"))?),
        file_name: row.maybe_text(8)?,
        has_thumbnail: row.flag(9)?,
        created_at: row.time(10)?,
    })
}

impl SqlMediaStore {
    pub(super) const fn new(db: Arc<Db>, writer: Arc<Writer>) -> Self {
        Self { db, writer }
    }

    /// Does one statement, and tells how many rows it changed.
    async fn change(&self, statement: Statement) -> Stored<u64> {
        self.writer.run_apart(move |tx| Box::pin(async move { tx.execute(statement).await })).await
    }
}

#[async_trait]
impl MediaStore for SqlMediaStore {
    async fn insert(&self, media: &Media) -> Stored<()> {
        let number = |number: Option<u32>| Value::Int(number.map(i64::from));
        let insert = Statement::fixed(
            "INSERT INTO media (id, uploader_id, format, size_bytes, width, height, duration_ms, checksum, file_name, has_thumbnail, created_at, used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
        );
        let insert = insert.bind(media.id).bind(media.uploader_id).bind(media.format.extension()).bind(i64::try_from(media.size_bytes).unwrap_or(i64::MAX));
        let insert = insert.bind(number(media.width)).bind(number(media.height)).bind(number(media.duration_ms));
        let insert = insert.bind(Value::Bytes(media.checksum.0.to_vec())).bind(media.file_name.as_deref()).bind(media.has_thumbnail);
        self.change(insert.bind(media.created_at)).await.map(|_| ())
    }

    async fn get(&self, ids: &[MediaId]) -> Stored<Vec<Media>> {
        let mut found = Vec::with_capacity(ids.len());
        for piece in ids.chunks(256) {
            let query = self.db.build("SELECT ").text(COLUMNS).text(" FROM media WHERE NOT is_released AND id IN (").list(piece.iter().copied()).text(")");
            for row in self.db.read_apart(query).await? {
                found.push(media(&row)?);
            }
        }
        Ok(found)
    }

    async fn mark_used(&self, id: MediaId, at: Timestamp) -> Stored<bool> {
        let mark = "UPDATE media SET used_at = CASE WHEN used_at > $2 THEN used_at ELSE $2 END WHERE id = $1 AND NOT is_released";
        Ok(self.change(Statement::fixed(mark).bind(id).bind(at)).await? > 0)
    }

    async fn unused(&self, before: Timestamp, after: Option<(Timestamp, MediaId)>, limit: usize) -> Stored<Vec<Unused>> {
        let query = self.db.build("SELECT ").text(COLUMNS).text(" FROM media WHERE used_at < ").value(before);
        let query = match after {
            Some((used_at, id)) => query.text(" AND (used_at, id) > (").value(used_at).text(",").value(id).text(")"),
            None => query,
        };
        let rows = self.db.read_apart(query.text(" ORDER BY used_at, id LIMIT ").value(bound(limit))).await?;
        rows.iter().map(|row| Ok(Unused { media: media(row)?, used_at: row.time(11)?, is_released: row.flag(12)? })).collect()
    }

    async fn release(&self, id: MediaId, before: Timestamp) -> Stored<bool> {
        let release = "UPDATE media SET is_released = TRUE WHERE id = $1 AND (is_released OR used_at < $2)";
        Ok(self.change(Statement::fixed(release).bind(id).bind(before)).await? > 0)
    }

    async fn remove(&self, ids: &[MediaId]) -> Stored<()> {
        for piece in ids.chunks(256) {
            let remove = self.db.build("DELETE FROM media WHERE is_released AND id IN (").list(piece.iter().copied()).text(")");
            self.change(remove).await?;
        }
        Ok(())
    }

    async fn known(&self, ids: &[MediaId]) -> Stored<Vec<MediaId>> {
        let mut found = Vec::with_capacity(ids.len());
        for piece in ids.chunks(256) {
            let query = self.db.build("SELECT id FROM media WHERE id IN (").list(piece.iter().copied()).text(")");
            for row in self.db.read_apart(query).await? {
                found.push(row.id(0)?);
            }
        }
        Ok(found)
    }
}

/// What refers to files, in SQL.
#[derive(Debug)]
pub(crate) struct SqlMediaUses {
    db: Arc<Db>,
}

impl SqlMediaUses {
    pub(super) const fn new(db: Arc<Db>) -> Self {
        Self { db }
    }
}

#[async_trait]
impl MediaUses for SqlMediaUses {
    async fn is_sent_to(&self, id: MediaId, user: UserId, now: Timestamp) -> Stored<bool> {
        // The cross join says what to start from: the user's chats, not every chat that a file went round in.
        let query = Statement::fixed(
            "SELECT 1 FROM chat_participants p CROSS JOIN messages m WHERE p.user_id = $1 AND p.left_seq IS NULL
             AND m.media_id = $2 AND m.chat_id = p.chat_id AND m.seq > p.joined_seq
             AND (m.withheld_from IS NULL OR m.withheld_from <> $1) AND (m.expires_at IS NULL OR m.expires_at > $3)
             AND NOT EXISTS (SELECT 1 FROM hidden_messages h WHERE h.chat_id = m.chat_id AND h.seq = m.seq AND h.user_id = $1) LIMIT 1",
        );
        Ok(!self.db.read(query.bind(user).bind(id.to_string()).bind(now)).await?.is_empty())
    }

    async fn shown_by(&self, media: &Media, limit: usize) -> Stored<Vec<Showing>> {
        let query = Statement::fixed(
            "SELECT id, CAST(NULL AS UUID), NULL FROM users WHERE avatar_url = $1 AND avatar_url <> '' AND id = $2
             UNION ALL SELECT user_id, NULL, MAX(expires_at) FROM statuses WHERE media_id = $4 AND user_id = $2 GROUP BY user_id
             UNION ALL SELECT NULL, g.chat_id, NULL FROM groups g WHERE g.avatar_url = $1 AND g.avatar_url <> ''
             AND EXISTS (SELECT 1 FROM chat_participants p WHERE p.chat_id = g.chat_id AND p.user_id = $2) LIMIT $3",
        );
        let query = query.bind(avatar_path(media.id)).bind(media.uploader_id).bind(bound(limit)).bind(media.id);
        let rows = self.db.read_apart(query).await?;
        let showing = |row: &Row| match (row.maybe_id::<UserId>(0)?, row.maybe_time(2)?) {
            (Some(owner), Some(until)) => Ok(Showing::Status { owner, until }),
            (Some(user), None) => Ok(Showing::Profile(user)),
            (None, _) => row.id::<ChatId>(1).map(Showing::Group),
        };
        rows.iter().map(showing).collect()
    }

    async fn used(&self, ids: &[MediaId]) -> Stored<Vec<MediaId>> {
        let mut used = Vec::new();
        for piece in pieces(ids) {
            let query =
                self.db.build("SELECT v.column1 FROM (VALUES ").rows(piece.iter().map(|&id| [id.into(), id.to_string().into(), avatar_path(id).into()])).text(
                    ") AS v WHERE EXISTS (SELECT 1 FROM messages m WHERE m.media_id = v.column2)
                     OR EXISTS (SELECT 1 FROM users u WHERE u.avatar_url = v.column3 AND u.avatar_url <> '')
                     OR EXISTS (SELECT 1 FROM groups g WHERE g.avatar_url = v.column3 AND g.avatar_url <> '')
                     OR EXISTS (SELECT 1 FROM statuses s WHERE s.media_id = v.column1)",
                );
            for row in self.db.read(query).await? {
                used.push(row.id(0)?);
            }
        }
        Ok(used)
    }
}
