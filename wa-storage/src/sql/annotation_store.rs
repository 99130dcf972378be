//! Reactions and stars in SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use wa_core::emoji::Emoji;
use wa_core::event::{Fact, MessageReaction, MessageStarred};
use wa_core::id::UserId;
use wa_core::message::{Reaction, Seq};
use wa_core::ports::{AnnotationStore, Annotations, Change, Outcome, Revision, Starred, Stored, Viewer};
use wa_core::star::StarCursor;
use wa_core::time::Timestamp;

use super::change_store::{Found, announce, find, raise};
use super::db::Db;
use super::message_row::{self, COLUMNS_OF_M};
use super::message_store::{bound, first};
use super::statement::Statement;
use super::writer::{Tx, Writer};

/// Reactions and stars in SQL.
#[derive(Debug)]
pub(crate) struct SqlAnnotationStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
}

impl SqlAnnotationStore {
    pub(crate) const fn new(db: Arc<Db>, writer: Arc<Writer>) -> Self {
        Self { db, writer }
    }
}

async fn react(tx: &mut Tx<'_>, change: Change, emoji: Option<Emoji>, withheld_from: Option<UserId>) -> Stored<Outcome<Revision>> {
    let message = match find(tx, &change).await? {
        Found::Message(message, _) if message.is_deleted() => return Ok(Outcome::Deleted),
        Found::Message(message, _) => message,
        Found::Absent => return Ok(Outcome::Absent),
        Found::MembershipChanged => return Ok(Outcome::MembershipChanged),
    };
    let (chat_id, seq, user_id) = (message.chat_id, message.seq, change.viewer.user_id);
    let present = Statement::fixed("SELECT emoji, withheld_from FROM reactions WHERE chat_id = $1 AND seq = $2 AND user_id = $3");
    let rows = tx.fetch(present.bind(chat_id).bind(seq).bind(user_id)).await?;
    let present: Option<(String, Option<UserId>)> = first(&rows, |row| Ok((row.text(0)?, row.maybe_id(1)?)))?;
    if present.as_ref().map(|(emoji, _)| emoji.as_str()) == emoji.as_ref().map(Emoji::as_str) {
        return Ok(Outcome::Unchanged(Revision { seq, rev: message.rev }));
    }
    let Some(rev) = raise(tx, &change).await? else {
        return Ok(Outcome::MembershipChanged);
    };
    // Whoever never saw a reaction does not see it taken back either.
    let mut unseen_by = withheld_from;
    if let Some(emoji) = &emoji {
        let set = Statement::fixed(
            "INSERT INTO reactions (chat_id, seq, user_id, emoji, withheld_from, reacted_at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (chat_id, seq, user_id) DO UPDATE SET emoji = excluded.emoji, withheld_from = excluded.withheld_from, reacted_at = excluded.reacted_at",
        );
        tx.execute(set.bind(chat_id).bind(seq).bind(user_id).bind(emoji.as_str()).bind(withheld_from).bind(change.viewer.now)).await?;
    } else {
        unseen_by = present.and_then(|(_, from)| from);
        let clear = Statement::fixed("DELETE FROM reactions WHERE chat_id = $1 AND seq = $2 AND user_id = $3");
        tx.execute(clear.bind(chat_id).bind(seq).bind(user_id)).await?;
    }
    let touch = Statement::fixed("UPDATE messages SET rev = $1, updated_at = $2 WHERE chat_id = $3 AND seq = $4");
    tx.execute(touch.bind(rev).bind(change.viewer.now).bind(chat_id).bind(seq)).await?;
    let fact = Fact::MessageReaction(MessageReaction {
        message_id: message.id,
        chat_id,
        seq,
        rev,
        user_id,
        emoji,
        withheld_from: message.withheld_from.or(unseen_by),
        origin: change.origin,
    });
    announce(tx, &change, fact);
    Ok(Outcome::Made(Revision { seq, rev }))
}

async fn star(tx: &mut Tx<'_>, change: Change, is_starred: bool) -> Stored<Outcome<Revision>> {
    let message = match find(tx, &change).await? {
        Found::Message(message, _) if message.is_deleted() => return Ok(Outcome::Deleted),
        Found::Message(message, _) => message,
        Found::Absent => return Ok(Outcome::Absent),
        Found::MembershipChanged => return Ok(Outcome::MembershipChanged),
    };
    let (chat_id, seq, user_id) = (message.chat_id, message.seq, change.viewer.user_id);
    let present = Statement::fixed("SELECT is_starred, rev FROM stars WHERE user_id = $1 AND chat_id = $2 AND seq = $3");
    let rows = tx.fetch(present.bind(user_id).bind(chat_id).bind(seq)).await?;
    let present = first(&rows, |row| row.flag(0))?;
    if present.unwrap_or(false) == is_starred {
        return Ok(Outcome::Unchanged(Revision { seq, rev: message.rev }));
    }
    let Some(rev) = raise(tx, &change).await? else {
        return Ok(Outcome::MembershipChanged);
    };
    let set = Statement::fixed(
        "INSERT INTO stars (user_id, chat_id, seq, message_id, is_starred, rev, starred_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (user_id, chat_id, seq) DO UPDATE SET is_starred = excluded.is_starred, rev = excluded.rev, starred_at = excluded.starred_at",
    );
    tx.execute(set.bind(user_id).bind(chat_id).bind(seq).bind(message.id).bind(is_starred).bind(rev).bind(change.viewer.now)).await?;
    announce(tx, &change, Fact::MessageStarred(MessageStarred { message_id: message.id, chat_id, seq, rev, user_id, is_starred }));
    Ok(Outcome::Made(Revision { seq, rev }))
}

#[async_trait]
impl AnnotationStore for SqlAnnotationStore {
    async fn react(&self, change: Change, emoji: Option<Emoji>, withheld_from: Option<UserId>) -> Stored<Outcome<Revision>> {
        self.writer.run(move |tx| Box::pin(react(tx, change, emoji, withheld_from))).await
    }

    async fn star(&self, change: Change, is_starred: bool) -> Stored<Outcome<Revision>> {
        self.writer.run(move |tx| Box::pin(star(tx, change, is_starred))).await
    }

    async fn annotations(&self, viewer: &Viewer, places: &[Seq]) -> Stored<BTreeMap<Seq, Annotations>> {
        let mut found: BTreeMap<Seq, Annotations> = BTreeMap::new();
        for some in places.chunks(256) {
            // Stars come as reactions without an emoji: one question for both.
            let query = self
                .db
                .build("SELECT seq, user_id, emoji, reacted_at FROM reactions WHERE chat_id = ")
                .value(viewer.chat_id)
                .text(" AND (withheld_from IS NULL OR withheld_from <> ")
                .value(viewer.user_id)
                .text(") AND seq IN (")
                .list(some.iter().copied())
                .text(") UNION ALL SELECT seq, user_id, NULL, starred_at FROM stars WHERE is_starred AND user_id ")
                .text(if wa_core::faults::planted("star_shared") { "<> " } else { "= " })
                .value(viewer.user_id)
                .text(" AND chat_id = ")
                .value(viewer.chat_id)
                .text(" AND seq IN (")
                .list(some.iter().copied())
                .text(")");
            for row in self.db.read(query).await? {
                let annotations = found.entry(Seq::new(row.int(0)?)).or_default();
                match row.maybe_text(2)? {
                    Some(emoji) => annotations.reactions.push(Reaction { emoji, user_id: row.id(1)?, timestamp: row.time(3)? }),
                    None => annotations.is_starred = true,
                }
            }
        }
        for annotations in found.values_mut() {
            annotations.reactions.sort_unstable_by_key(|reaction| (reaction.timestamp, reaction.user_id));
        }
        Ok(found)
    }

    async fn starred(&self, user: UserId, now: Timestamp, after: Option<StarCursor>, limit: usize) -> Stored<Vec<Starred>> {
        let mut query = self
            .db
            .build("SELECT ")
            .text(COLUMNS_OF_M)
            // The cross joins say what to start from: the stars in their order.
            .text(
                ", s.starred_at FROM stars s CROSS JOIN chat_participants p CROSS JOIN messages m
                 WHERE p.chat_id = s.chat_id AND p.user_id = s.user_id AND p.left_seq IS NULL
                 AND m.chat_id = s.chat_id AND m.seq = s.seq AND m.seq > p.joined_seq AND m.payload IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM hidden_messages h WHERE h.chat_id = m.chat_id AND h.seq = m.seq AND h.user_id = s.user_id)
                 AND (m.withheld_from IS NULL OR m.withheld_from <> s.user_id) AND (m.expires_at IS NULL OR m.expires_at > ",
            )
            .value(now)
            .text(") AND s.is_starred AND s.user_id = ")
            .value(user);
        if let Some(after) = after {
            query = query.text(" AND (s.starred_at, s.message_id) < (").value(after.starred_at).text(", ").value(after.message_id).text(")");
        }
        let query = query.text(" ORDER BY s.starred_at DESC, s.message_id DESC LIMIT ").value(bound(limit));
        let starred = |row| Ok(Starred { message: message_row::read(row, 0, user)?, starred_at: row.time(message_row::COUNT)? });
        self.db.read(query).await?.iter().map(starred).collect()
    }
}
