//! Search in SQL. The index follows the log of each chat by its `rev`, outside the transactions that write messages: how
//! far it got is stored together with what it took, so a crash between the two loses nothing. What it lacks when somebody
//! searches is taken in first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use wa_core::faults::planted;
use wa_core::id::ChatId;
use wa_core::message::{Content, Message, MessageKind, Rev, Seq};
use wa_core::ports::{Env, SearchBounds, SearchStore, Stored, Viewer};
use wa_core::search::{SearchTerms, Searchable};
use wa_core::time::Timestamp;

use super::db::{Db, Row};
use super::message_row;
use super::search_index::{self, Shelf, Words};
use super::statement::{Statement, pieces};
use super::writer::{Tx, Writer};

/// Messages taken into the index in one transaction, at the most. The writer has to do nothing else meanwhile.
pub(super) const BATCH: usize = 256;

/// Chats one query goes through.
const CHATS_PER_QUERY: usize = 16;

/// Search in SQL.
pub(crate) struct SqlSearchStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
    env: Arc<dyn Env>,
}

impl std::fmt::Debug for SqlSearchStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlSearchStore")
    }
}

/// How far the index got with a chat.
#[derive(Debug, Clone, Copy)]
struct Progress {
    chat_id: ChatId,
    /// `None` if the index does not know the chat yet.
    shelf: Option<Shelf>,
    /// The index holds every change up to this revision,
    rev: Rev,
    /// and every message up to this place.
    last_seq: Seq,
    /// The revision of the chat.
    chat_rev: Rev,
}

/// What brings a chat's part of the index further.
#[derive(Debug, Clone)]
struct Step {
    shelf: Shelf,
    from: Rev,
    to: Rev,
    last_seq: Seq,
    /// Rows that are replaced or go.
    removed: Vec<i64>,
    added: Vec<(i64, Words)>,
    expiring: Vec<(Timestamp, i64)>,
}

/// A message as the index reads it.
struct Change {
    seq: Seq,
    rev: Rev,
    /// What it says; nothing if it was deleted, twice if its sender alone sees an edit.
    contents: Vec<Content>,
    is_edited: bool,
    expires_at: Option<Timestamp>,
}

impl Change {
    fn read(row: &Row) -> Stored<Self> {
        let kind = MessageKind::parse(&row.text(2)?).ok_or_else(|| row.corrupt("an unknown message type"))?;
        let mut contents = Vec::new();
        for payload in [row.maybe_text(3)?, row.maybe_text(6)?].into_iter().flatten() {
            contents.push(Content::from_stored(kind, &payload).map_err(|_| row.corrupt("a payload that is not of its type"))?);
        }
        Ok(Self {
            seq: Seq::new(row.int(0)?),
            rev: Rev::new(row.int(1)?),
            contents,
            is_edited: row.maybe_int(4)?.is_some() || row.maybe_int(7)?.is_some(),
            expires_at: row.maybe_int(5)?.map(Timestamp::from_millis),
        })
    }
}

impl SqlSearchStore {
    pub(super) fn new(db: Arc<Db>, writer: Arc<Writer>, env: Arc<dyn Env>) -> Self {
        Self { db, writer, env }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.db.is_closed()
    }

    async fn progress(&self, chats: &[ChatId]) -> Stored<Vec<Progress>> {
        let mut found = Vec::with_capacity(chats.len());
        for piece in pieces(chats) {
            let query = self
                .db
                .build("SELECT c.id, c.rev, s.number, COALESCE(s.rev, 0), COALESCE(s.last_seq, 0) FROM (VALUES ")
                .rows(piece.iter().map(|&chat| [chat.into()]))
                .text(") AS v CROSS JOIN chats c LEFT JOIN search_chats s ON s.chat_id = c.id WHERE c.id = v.column1");
            for row in self.db.read(query).await? {
                found.push(Progress {
                    chat_id: row.id(0)?,
                    chat_rev: Rev::new(row.int(1)?),
                    shelf: row.maybe_int(2)?.map(Shelf),
                    rev: Rev::new(row.int(3)?),
                    last_seq: Seq::new(row.int(4)?),
                });
            }
        }
        Ok(found)
    }

    /// Takes what changed in these chats into the index, at most so many messages, oldest change first. Returns whether
    /// that was all.
    pub(super) async fn catch_up(&self, chats: &[ChatId], limit: usize) -> Stored<bool> {
        let mut chats = chats.to_vec();
        chats.sort_unstable();
        chats.dedup();
        let mut left = limit;
        loop {
            let mut behind = self.progress(&chats).await?;
            behind.retain(|progress| progress.rev < progress.chat_rev);
            if behind.is_empty() {
                return Ok(true);
            }
            if left == 0 {
                return Ok(false);
            }
            chats = behind.iter().map(|progress| progress.chat_id).collect();
            let unknown: Vec<ChatId> = behind.iter().filter(|progress| progress.shelf.is_none()).map(|progress| progress.chat_id).collect();
            if !unknown.is_empty() {
                self.introduce(unknown).await?;
                continue;
            }
            let (steps, taken) = self.steps(&behind, left.min(BATCH)).await?;
            self.writer.run(move |tx| Box::pin(async move { apply(tx, steps).await })).await?;
            // Changes that touch no message count as well, so that this comes to an end.
            left = left.saturating_sub(taken.max(1));
        }
    }

    /// Gives these chats their numbers.
    async fn introduce(&self, chats: Vec<ChatId>) -> Stored<()> {
        self.writer
            .run(move |tx| {
                Box::pin(async move {
                    for piece in pieces(&chats) {
                        let rows = piece.iter().map(|&chat| [chat.into()]);
                        let insert = Statement::insert(tx.dialect(), "INSERT INTO search_chats (chat_id)", rows, " ON CONFLICT (chat_id) DO NOTHING");
                        tx.execute(insert).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// What brings these chats further, and how many messages that are.
    async fn steps(&self, behind: &[Progress], limit: usize) -> Stored<(Vec<Step>, usize)> {
        let now = self.env.now();
        let (mut steps, mut taken) = (Vec::new(), 0);
        for progress in behind.iter().take(limit) {
            let Some(shelf) = progress.shelf else { continue };
            let room = limit.saturating_sub(taken);
            if room == 0 {
                break;
            }
            let query = Statement::fixed(
                "SELECT seq, rev, type, payload, edited_at, expires_at, sender_payload, sender_edited_at FROM messages WHERE chat_id = $1 AND rev > $2 AND rev <= $3 ORDER BY rev LIMIT $4",
            );
            let query = query.bind(progress.chat_id).bind(progress.rev).bind(progress.chat_rev).bind(i64::try_from(room).unwrap_or(i64::MAX));
            let changes: Vec<Change> = self.db.read(query).await?.iter().map(Change::read).collect::<Stored<_>>()?;
            let to = changes.last().filter(|_| changes.len() == room).map_or(progress.chat_rev, |last| last.rev);
            taken += changes.len();
            let indexed = self.indexed_among(shelf, changes.iter().filter(|change| change.seq <= progress.last_seq)).await?;
            steps.push(step(shelf, progress, to, &changes, &indexed, now));
        }
        Ok((steps, taken))
    }

    /// The ids of those of these messages that the index holds.
    async fn indexed_among(&self, shelf: Shelf, changes: impl Iterator<Item = &Change>) -> Stored<HashSet<i64>> {
        let ids: Vec<i64> = changes.map(|change| shelf.id(change.seq)).collect();
        let mut indexed = HashSet::new();
        for piece in pieces(&ids) {
            let query = self.db.build(search_index::IDS_AMONG).list(piece.iter().copied()).text(")");
            for row in self.db.read(query).await? {
                indexed.insert(row.int(0)?);
            }
        }
        Ok(indexed)
    }

    /// Chats after this one of which the index lacks something, by their ids.
    pub(super) async fn behind(&self, after: ChatId, limit: usize) -> Stored<Vec<ChatId>> {
        let query = Statement::fixed(
            "SELECT c.id FROM chats c LEFT JOIN search_chats s ON s.chat_id = c.id WHERE c.id > $1 AND c.rev > COALESCE(s.rev, 0) ORDER BY c.id LIMIT $2",
        );
        self.db.read(query.bind(after).bind(i64::try_from(limit).unwrap_or(i64::MAX))).await?.iter().map(|row| row.id(0)).collect()
    }

    /// Takes expired messages out of the index, at most one batch of them. Returns whether that was all.
    pub(super) async fn remove_expired(&self) -> Stored<bool> {
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let query = Statement::fixed("SELECT expires_at, id FROM search_expiring WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2");
        let expired: Vec<(i64, i64)> =
            self.db.read(query.bind(self.env.now()).bind(limit)).await?.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect::<Stored<_>>()?;
        let Some(&last) = expired.last() else { return Ok(true) };
        let is_all = expired.len() < BATCH;
        self.writer
            .run(move |tx| {
                Box::pin(async move {
                    remove(tx, &expired.iter().map(|(_, id)| *id).collect::<Vec<_>>()).await?;
                    let delete = Statement::fixed("DELETE FROM search_expiring WHERE (expires_at, id) <= ($1, $2)");
                    tx.execute(delete.bind(last.0).bind(last.1)).await.map(|_| ())
                })
            })
            .await?;
        Ok(is_all)
    }

    /// Looks at so many of the chats that the index knows, from the one after this number on. Returns the last number, and
    /// the chats that are gone; `None` at the end.
    pub(super) async fn gone(&self, after: i64, limit: usize) -> Stored<Option<(i64, Vec<ChatId>)>> {
        let query = Statement::fixed(
            "SELECT s.number, s.chat_id, c.id IS NULL FROM search_chats s LEFT JOIN chats c ON c.id = s.chat_id WHERE s.number > $1 ORDER BY s.number LIMIT $2",
        );
        let (mut last, mut gone) = (None, Vec::new());
        for row in self.db.read(query.bind(after).bind(i64::try_from(limit).unwrap_or(i64::MAX))).await? {
            last = Some(row.int(0)?);
            if row.flag(2)? {
                gone.push(row.id(1)?);
            }
        }
        Ok(last.map(|last| (last, gone)))
    }

    /// Takes one batch of what was said in those of these chats that are gone out of the index. Returns whether that was
    /// all.
    pub(super) async fn remove_gone(&self, among: &[ChatId]) -> Stored<bool> {
        if among.is_empty() {
            return Ok(true);
        }
        let query = self.db.build("SELECT s.number FROM search_chats s WHERE s.chat_id IN (").list(among.iter().copied());
        let rows = self.db.read(query.text(") AND NOT EXISTS (SELECT 1 FROM chats c WHERE c.id = s.chat_id) LIMIT 1")).await?;
        let Some(row) = rows.first() else { return Ok(true) };
        let shelf = Shelf(row.int(0)?);
        let query = Statement::fixed(search_index::IDS_BETWEEN).bind(shelf.start()).bind(shelf.end()).bind(i64::try_from(BATCH).unwrap_or(i64::MAX));
        let ids: Vec<i64> = self.db.read(query).await?.iter().map(|row| row.int(0)).collect::<Stored<_>>()?;
        let is_emptied = ids.len() < BATCH;
        self.writer
            .run(move |tx| {
                Box::pin(async move {
                    remove(tx, &ids).await?;
                    if is_emptied {
                        tx.execute(Statement::fixed("DELETE FROM search_chats WHERE number = $1").bind(shelf.0)).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        Ok(false)
    }
}

/// What the index has to do about these changes of a chat.
fn step(shelf: Shelf, progress: &Progress, to: Rev, changes: &[Change], indexed: &HashSet<i64>, now: Timestamp) -> Step {
    let mut step = Step { shelf, from: progress.rev, to, last_seq: progress.last_seq, removed: Vec::new(), added: Vec::new(), expiring: Vec::new() };
    for change in changes {
        let id = shelf.id(change.seq);
        let is_indexed = indexed.contains(&id);
        step.last_seq = step.last_seq.max(change.seq);
        // With its first content it changed in something else, such as a reaction.
        if is_indexed && !change.is_edited && !change.contents.is_empty() {
            continue;
        }
        if is_indexed {
            step.removed.push(id);
        }
        if change.expires_at.is_some_and(|at| at <= now) {
            continue;
        }
        let words = search_index::words(shelf, change.contents.iter().map(Searchable::of));
        if !words.is_empty() {
            step.added.push((id, words));
            step.expiring.extend(change.expires_at.map(|at| (at, id)));
        }
    }
    step
}

/// Takes the steps whose chat still stands where they start; somebody else took the others.
async fn apply(tx: &mut Tx<'_>, steps: Vec<Step>) -> Stored<()> {
    let mut moved = HashSet::with_capacity(steps.len());
    for piece in pieces(&steps) {
        let update = tx
            .build("UPDATE search_chats SET rev = v.column3, last_seq = v.column4 FROM (VALUES ")
            .rows(piece.iter().map(|step| [step.shelf.0.into(), step.from.into(), step.to.into(), step.last_seq.into()]))
            .text(") AS v WHERE search_chats.number = v.column1 AND search_chats.rev = v.column2 RETURNING search_chats.number");
        for row in tx.fetch(update).await? {
            moved.insert(Shelf(row.int(0)?));
        }
    }
    let steps: Vec<Step> = steps.into_iter().filter(|step| moved.contains(&step.shelf)).collect();
    remove(tx, &steps.iter().flat_map(|step| step.removed.iter().copied()).collect::<Vec<_>>()).await?;
    let expiring: Vec<(Timestamp, i64)> = steps.iter().flat_map(|step| step.expiring.iter().copied()).collect();
    for piece in pieces(&expiring) {
        let rows = piece.iter().map(|&(at, id)| [at.into(), id.into()]);
        let insert = Statement::insert(tx.dialect(), "INSERT INTO search_expiring (expires_at, id)", rows, " ON CONFLICT (expires_at, id) DO NOTHING");
        tx.execute(insert).await?;
    }
    let added: Vec<(i64, Words)> = steps.into_iter().flat_map(|step| step.added).collect();
    for piece in pieces(&added) {
        tx.execute(search_index::insert(tx.dialect(), piece)).await?;
    }
    Ok(())
}

async fn remove(tx: &mut Tx<'_>, ids: &[i64]) -> Stored<()> {
    for piece in pieces(ids) {
        tx.execute(tx.build(search_index::DELETE).list(piece.iter().copied()).text(")")).await?;
    }
    Ok(())
}

#[async_trait]
impl SearchStore for SqlSearchStore {
    async fn matches(&self, terms: &SearchTerms, viewers: &[Viewer], bounds: SearchBounds) -> Stored<Vec<Message>> {
        if terms.clauses().is_empty() || viewers.is_empty() || bounds.limit == 0 {
            return Ok(Vec::new());
        }
        let chats: Vec<ChatId> = viewers.iter().map(|viewer| viewer.chat_id).collect();
        let mut progress = self.progress(&chats).await?;
        let behind: Vec<ChatId> = progress.iter().filter(|progress| progress.rev < progress.chat_rev).map(|progress| progress.chat_id).collect();
        if !behind.is_empty() && !planted("stale_search") {
            if let Err(error) = self.catch_up(&behind, bounds.catch_up).await {
                // A store that cannot be written to still tells what it knows.
                tracing::warn!(%error, "the search index could not be brought up to date before a search");
            }
            progress = self.progress(&chats).await?;
        }
        let shelves: HashMap<ChatId, Shelf> = progress.into_iter().filter_map(|progress| Some((progress.chat_id, progress.shelf?))).collect();
        let known: Vec<(Shelf, &Viewer)> = viewers.iter().filter_map(|viewer| Some((*shelves.get(&viewer.chat_id)?, viewer))).collect();
        let per_chat = i64::try_from(bounds.per_chat.min(bounds.limit)).unwrap_or(i64::MAX);
        let mut found = Vec::new();
        for piece in known.chunks(CHATS_PER_QUERY).flat_map(pieces) {
            let mut query = self.db.build("");
            for (index, (shelf, viewer)) in piece.iter().enumerate() {
                let joined = if index > 0 { query.text(" UNION ALL ") } else { query };
                query = search_index::push_matches(joined, self.db.dialect(), *shelf, terms, viewer, bounds.below, per_chat);
            }
            let rows = self.db.read(query).await?;
            found.extend(rows.iter().map(|row| message_row::read(row, 0, viewers[0].user_id)).collect::<Stored<Vec<Message>>>()?);
            if found.len() >= bounds.limit {
                found.truncate(bounds.limit);
                break;
            }
        }
        Ok(found)
    }
}
