//! Many appends as a constant number of statements: one lookup of repeats, places taken in memory, multi-row inserts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;
use wa_core::chat::ChatKind;
use wa_core::error::StoreError;
use wa_core::event::{Cause, Event, Fact, MessageNew};
use wa_core::id::{ChatId, ConnectionId, EventId, MessageId, UserId};
use wa_core::message::{Fingerprint, Message, MessageView, Rev, Seq};
use wa_core::ports::{NewMessage, Stored};
use wa_core::receipt::{Located, Status};
use wa_core::time::Timestamp;

use super::message_row::{self, COLUMNS_OF_M};
use super::statement::{Statement, joined_rows, number, padded, pieces};
use super::writer::Tx;

/// A message to be stored, as far as it could be made ready before its place is known.
#[derive(Debug, Clone)]
pub(super) struct Append {
    /// The message object of its event; `seq` and `rev` are still to come.
    pub(super) view: MessageView,
    pub(super) event_id: EventId,
    pub(super) chat_kind: ChatKind,
    pub(super) membership_version: i64,
    pub(super) sender_name: String,
    pub(super) fingerprint: Fingerprint,
    pub(super) withheld_from: Option<UserId>,
    pub(super) origin: Option<ConnectionId>,
    pub(super) answered: Option<Located>,
    pub(super) cause: Option<Box<Cause>>,
}

impl Append {
    /// Makes a message ready, and says how it is stored but for its place.
    pub(super) fn of(new: NewMessage, cause: Option<Box<Cause>>) -> (Message, Self) {
        let message = Message {
            id: new.id,
            chat_id: new.chat_id,
            sender_id: new.sender_id,
            client_msg_id: new.client_msg_id,
            seq: Seq::ZERO,
            rev: Rev::ZERO,
            kind: new.content.kind(),
            content: Some(new.content),
            reply_to: new.reply_to.as_ref().map(|reply| reply.preview.message_id),
            forwarded_from: new.forwarded_from,
            withheld_from: new.withheld_from,
            edited_at: None,
            expires_at: new.expires_at,
            created_at: new.created_at,
            updated_at: new.created_at,
        };
        let (preview, answered) = new.reply_to.map(|reply| (reply.preview, reply.at)).unzip();
        let append = Self {
            view: MessageView::of(&message, Status::Sent, preview),
            event_id: new.event_id,
            chat_kind: new.chat_kind,
            membership_version: new.membership_version,
            sender_name: new.sender_name,
            fingerprint: new.fingerprint,
            withheld_from: new.withheld_from,
            origin: new.origin,
            answered,
            cause,
        };
        (message, append)
    }

    fn key(&self) -> Key<'_> {
        (self.view.sender_id, &self.view.client_msg_id)
    }

    fn placed(self, seq: Seq, rev: Rev) -> New {
        let event = Event {
            id: self.event_id,
            at: self.view.created_at,
            fact: Fact::MessageNew(MessageNew {
                answered: self.answered,
                withheld_from: self.withheld_from,
                chat_kind: self.chat_kind,
                sender_name: self.sender_name,
                origin: self.origin,
                message: Arc::new(MessageView { seq, rev, ..self.view }),
            }),
            cause: self.cause,
        };
        New { event: Arc::new(event), fingerprint: self.fingerprint }
    }
}

/// What came of an append.
#[derive(Debug)]
pub(super) enum Placed {
    /// It was stored here.
    At(Seq, Rev),
    /// It had been stored before.
    Duplicate(Box<Message>),
    /// Its key was used for something else.
    KeyConflict,
    /// The membership is of another version.
    MembershipChanged,
}

type Key<'a> = (UserId, &'a str);

/// A message that has its place, as its event tells it.
#[derive(Debug, Clone)]
pub(super) struct New {
    pub(super) event: Arc<Event>,
    pub(super) fingerprint: Fingerprint,
}

impl New {
    pub(super) fn message(&self) -> Option<&MessageNew> {
        match &self.event.fact {
            Fact::MessageNew(new) => Some(new),
            _ => None,
        }
    }
}

/// How far a chat is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    version: i64,
    last_seq: Seq,
    rev: Rev,
}

/// The counters of chats as they are after everything that was placed.
pub(super) type Heads = HashMap<ChatId, Head>;

/// Whether two of these have one key or id, so that one of them can only be judged when the other is stored.
pub(super) fn has_repeats(appends: &[Append]) -> bool {
    let (mut keys, mut ids) = (HashSet::with_capacity(appends.len()), HashSet::with_capacity(appends.len()));
    !appends.iter().all(|append| keys.insert(append.key()) && ids.insert(append.view.message_id))
}

/// Stores them all, in their order, within the transaction; the answers are in that order too. The heads are those of chats
/// that the transaction holds.
pub(super) async fn append_all(tx: &mut Tx<'_>, heads: &mut Heads, appends: Vec<Append>) -> Stored<Vec<Stored<Placed>>> {
    let mut placed = Vec::with_capacity(appends.len());
    let mut waiting = appends.into_iter().peekable();
    while waiting.peek().is_some() {
        // Up to the first repeat, which then finds the one before it stored.
        let mut now: Vec<Append> = Vec::with_capacity(waiting.len());
        while let Some(next) = waiting.next_if(|next| !now.iter().any(|append| append.key() == next.key() || append.view.message_id == next.view.message_id)) {
            now.push(next);
        }
        let (outcomes, new) = place(tx, heads, now).await?;
        placed.extend(outcomes);
        store(tx, &new.iter().collect::<Vec<_>>()).await?;
        new.into_iter().for_each(|new| tx.announce(new.event));
    }
    Ok(placed)
}

/// Gives each its place and revision, in their order, without storing it. None of them is a repeat of another.
pub(super) async fn place(tx: &mut Tx<'_>, heads: &mut Heads, appends: Vec<Append>) -> Stored<(Vec<Stored<Placed>>, Vec<New>)> {
    // The chats first: whoever waits for them finds what was stored meanwhile.
    load_heads(tx, heads, appends.iter().map(|append| append.view.chat_id)).await?;
    let (mut stored, taken) = find_stored(tx, &appends).await?;
    let mut placed = Vec::with_capacity(appends.len());
    let mut new = Vec::with_capacity(appends.len());
    for append in appends {
        let repeat = stored.iter().position(|(_, message)| (message.sender_id, message.client_msg_id.as_str()) == append.key());
        placed.push(if let Some(index) = repeat {
            let (fingerprint, message) = stored.swap_remove(index);
            Ok(if fingerprint == append.fingerprint { Placed::Duplicate(Box::new(message)) } else { Placed::KeyConflict })
        } else if taken.contains(&append.view.message_id) {
            Err(StoreError::other(tx.dialect().name(), "two messages cannot have one id"))
        } else if let Some(head) = heads.get_mut(&append.view.chat_id).filter(|head| head.version == append.membership_version || is_version_ignored()) {
            (head.last_seq, head.rev) = (head.last_seq.next(), head.rev.next());
            #[cfg(feature = "planted")]
            if wa_core::faults::planted("seq_gap") && head.last_seq.get() % 7 == 0 {
                head.last_seq = head.last_seq.next();
            }
            new.push(append.placed(head.last_seq, head.rev));
            Ok(Placed::At(head.last_seq, head.rev))
        } else {
            Ok(Placed::MembershipChanged)
        });
    }
    Ok((placed, new))
}

/// Brings placed messages to their table, and the counters of their chats with them.
pub(super) async fn store(tx: &mut Tx<'_>, new: &[&New]) -> Stored<()> {
    let mut chats: BTreeMap<ChatId, (Seq, Rev, Timestamp)> = BTreeMap::new();
    for (message, _) in rows(new) {
        let message = &message.message;
        let (seq, rev, at) = chats.entry(message.chat_id).or_insert((message.seq, message.rev, message.created_at));
        (*seq, *rev, *at) = (message.seq.max(*seq), message.rev.max(*rev), message.created_at.max(*at));
    }
    for piece in pieces(new) {
        let values = rows(piece).map(|(new, fingerprint)| message_row::values(&new.message, new.withheld_from, &fingerprint));
        tx.execute(Statement::insert(tx.dialect(), message_row::INSERT, values, "")).await?;
    }
    let chats: Vec<_> = chats.into_iter().collect();
    for piece in pieces(&chats) {
        let update = tx
            .build(
                "UPDATE chats SET last_seq = v.column2, rev = v.column3, updated_at = v.column4,
                 last_activity_at = CASE WHEN last_activity_at > v.column4 THEN last_activity_at ELSE v.column4 END
                 FROM (VALUES ",
            )
            .rows(piece.iter().map(|&(chat, (seq, rev, at))| [chat.into(), seq.into(), rev.into(), at.into()]))
            .text(") AS v WHERE chats.id = v.column1");
        tx.execute(update).await?;
    }
    Ok(())
}

fn rows<'a>(new: &[&'a New]) -> impl Iterator<Item = (&'a MessageNew, Fingerprint)> {
    new.iter().filter_map(|new| Some((new.message()?, new.fingerprint)))
}

/// The messages stored under these keys, few as repeats are rare; and those of the ids that are taken.
async fn find_stored(tx: &mut Tx<'_>, appends: &[Append]) -> Stored<(Vec<(Fingerprint, Message)>, HashSet<MessageId>)> {
    let (mut found, mut taken) = (Vec::new(), HashSet::new());
    for piece in padded(appends) {
        // The cross joins say what to start from: an IN list of pairs would make SQLite read the whole table.
        let query = tx
            .build("SELECT ")
            .text(COLUMNS_OF_M)
            .text(", m.fingerprint FROM (VALUES ")
            .rows(piece.iter().map(|append| [append.view.sender_id.into(), append.view.client_msg_id.as_str().into()]))
            .text(") AS v CROSS JOIN messages m WHERE m.sender_id = v.column1 AND m.client_msg_id = v.column2 UNION ALL SELECT ")
            .text(COLUMNS_OF_M)
            .text(", m.fingerprint FROM (VALUES ")
            .rows(piece.iter().map(|append| [append.view.message_id.into()]))
            .text(") AS v CROSS JOIN messages m WHERE m.message_id = v.column1");
        for row in tx.fetch(query).await? {
            let message = message_row::read(&row, 0, row.id(2)?)?;
            let fingerprint =
                row.bytes(message_row::COUNT)?.try_into().map(Fingerprint::from_bytes).map_err(|_| row.corrupt("a fingerprint of another length"))?;
            taken.insert(message.id);
            found.push((fingerprint, message));
        }
    }
    Ok((found, taken))
}

/// Reads the counters of those of these chats that are not at hand. From then on the transaction holds the chats: nobody
/// else changes them, and who holds several took them in the order of their ids.
pub(super) async fn load_heads(tx: &mut Tx<'_>, heads: &mut Heads, chats: impl Iterator<Item = ChatId>) -> Stored<()> {
    let missing: BTreeSet<ChatId> = chats.filter(|chat| !heads.contains_key(chat)).collect();
    let missing: Vec<ChatId> = missing.into_iter().collect();
    let locked = tx.dialect().locked_in_order();
    for piece in padded(&missing) {
        let query = tx
            .build(
                "SELECT string_agg(head, '|') FROM (SELECT v.column1 || ':' || c.membership_version || ':' || c.last_seq || ':' || c.rev AS head FROM (VALUES ",
            )
            .rows((0_i64..).zip(&piece).map(|(index, &&chat)| [index.into(), chat.into()]))
            .text(") AS v JOIN chats c ON c.id = v.column2")
            .text(locked)
            .text(") AS heads");
        for [index, version, last_seq, rev] in joined_rows(&tx.fetch(query).await?)? {
            let Some(chat) = piece.get(usize::try_from(number(&index)?).unwrap_or(usize::MAX)) else { continue };
            heads.insert(**chat, Head { version: number(&version)?, last_seq: Seq::new(number(&last_seq)?), rev: Rev::new(number(&rev)?) });
        }
    }
    Ok(())
}

/// The planted defect `any_membership`: a message is stored whatever became of the membership it was decided on.
#[cfg(feature = "planted")]
fn is_version_ignored() -> bool {
    wa_core::faults::planted("any_membership")
}

#[cfg(not(feature = "planted"))]
const fn is_version_ignored() -> bool {
    false
}

/// The event that follows `first` in a series made from one id.
pub(super) fn following(first: EventId, number: usize) -> EventId {
    EventId::from_uuid(Uuid::from_u128(first.as_uuid().as_u128().wrapping_add(number as u128)))
}
