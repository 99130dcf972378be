//! Many appends as a constant number of statements: one lookup of repeats, one allocation of places for all chats, and
//! multi-row inserts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;
use wa_core::chat::ChatKind;
use wa_core::error::StoreError;
use wa_core::event::{Event, Fact, MessageNew};
use wa_core::id::{ChatId, ConnectionId, EventId, UserId};
use wa_core::message::{Fingerprint, Message, MessageView, Rev, Seq};
use wa_core::ports::{NewMessage, Stored};
use wa_core::receipt::{Located, Status};
use wa_core::time::Timestamp;

use super::message_row::{self, COLUMNS_OF_M};
use super::statement::{Statement, joined_rows, number, pieces};
use super::writer::Tx;

/// A message to be stored, as far as it could be made ready before its place is known.
#[derive(Debug)]
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
}

impl Append {
    /// Makes a message ready, and says how it is stored but for its place.
    pub(super) fn of(new: NewMessage) -> (Message, Self) {
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
        };
        (message, append)
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

/// Stores them all, in their order; the answers are in that order too.
pub(super) async fn append_all(tx: &mut Tx<'_>, appends: &[Append]) -> Stored<Vec<Placed>> {
    let mut placed: Vec<Option<Placed>> = appends.iter().map(|_| None).collect();
    let mut waiting: Vec<usize> = (0..appends.len()).collect();
    while !waiting.is_empty() {
        let now = take_distinct(appends, &mut waiting);
        append_distinct(tx, appends, now, &mut placed).await?;
    }
    placed.into_iter().map(|outcome| outcome.ok_or_else(|| StoreError::other(tx.dialect().name(), "an append was passed over"))).collect()
}

/// Of several with the same key only the first is taken; the next round finds it stored, or its refusal.
fn take_distinct(appends: &[Append], waiting: &mut Vec<usize>) -> Vec<usize> {
    let mut keys = HashSet::with_capacity(waiting.len());
    let (now, later) = std::mem::take(waiting).into_iter().partition(|&index| keys.insert(key(&appends[index])));
    *waiting = later;
    now
}

fn key(append: &Append) -> Key<'_> {
    (append.view.sender_id, &append.view.client_msg_id)
}

async fn append_distinct(tx: &mut Tx<'_>, appends: &[Append], now: Vec<usize>, placed: &mut [Option<Placed>]) -> Stored<()> {
    let stored = find_stored(tx, appends, &now).await?;
    let mut new = Vec::with_capacity(now.len());
    for index in now {
        match stored.iter().find(|(_, message)| (message.sender_id, message.client_msg_id.as_str()) == key(&appends[index])) {
            Some((fingerprint, message)) if *fingerprint == appends[index].fingerprint => placed[index] = Some(Placed::Duplicate(Box::new(message.clone()))),
            Some(_) => placed[index] = Some(Placed::KeyConflict),
            None => new.push(index),
        }
    }
    let mut places = allocate(tx, appends, &new).await?;
    let mut rows = Vec::with_capacity(new.len());
    for index in new {
        let append = &appends[index];
        let Some((version, seq, rev)) = places.get_mut(&append.view.chat_id).filter(|(version, ..)| *version == append.membership_version) else {
            placed[index] = Some(Placed::MembershipChanged);
            continue;
        };
        debug_assert_eq!(*version, append.membership_version);
        (*seq, *rev) = (seq.next(), rev.next());
        placed[index] = Some(Placed::At(*seq, *rev));
        rows.push((append, *seq, *rev));
        tx.announce(event(append, *seq, *rev));
    }
    for piece in pieces(&rows) {
        let rows = piece.iter().map(|(append, seq, rev)| message_row::values(&append.view, *seq, *rev, append.withheld_from, &append.fingerprint));
        let insert = Statement::insert(tx.dialect(), message_row::INSERT, rows, "");
        tx.execute(insert).await?;
    }
    Ok(())
}

/// The messages stored under these keys: few, as repeats are rare.
async fn find_stored(tx: &mut Tx<'_>, appends: &[Append], of: &[usize]) -> Stored<Vec<(Fingerprint, Message)>> {
    let mut found = Vec::new();
    for piece in pieces(of) {
        // The cross join says what to start from: an IN list of pairs would make SQLite read the whole table.
        let query = tx
            .build("SELECT ")
            .text(COLUMNS_OF_M)
            .text(", m.fingerprint FROM (VALUES ")
            .rows(piece.iter().map(|&index| [appends[index].view.sender_id.into(), appends[index].view.client_msg_id.as_str().into()]))
            .text(") AS v CROSS JOIN messages m WHERE m.sender_id = v.column1 AND m.client_msg_id = v.column2");
        for row in tx.fetch(query).await? {
            let message = message_row::read(&row, 0, row.id(2)?)?;
            let fingerprint =
                row.bytes(message_row::COUNT)?.try_into().map(Fingerprint::from_bytes).map_err(|_| row.corrupt("a fingerprint of another length"))?;
            found.push((fingerprint, message));
        }
    }
    Ok(found)
}

/// Takes places for these in every chat whose membership still is of their version, under the lock of the chat's row.
/// Returns, for each chat, the version, and the place and revision before the first taken.
async fn allocate(tx: &mut Tx<'_>, appends: &[Append], of: &[usize]) -> Stored<HashMap<ChatId, (i64, Seq, Rev)>> {
    let mut wanted: HashMap<(ChatId, i64), (i64, Timestamp)> = HashMap::new();
    for &index in of {
        let append = &appends[index];
        let (count, at) = wanted.entry((append.view.chat_id, append.membership_version)).or_default();
        *count += 1;
        *at = (*at).max(append.view.created_at);
    }
    #[cfg(feature = "planted")]
    if wa_core::faults::planted("seq_gap") {
        wanted.values_mut().for_each(|(count, _)| *count += 1);
    }
    let mut wanted: Vec<_> = wanted.into_iter().collect();
    // One order for everybody, so that two writers cannot wait for each other's chats.
    wanted.sort_unstable_by_key(|&((chat, version), _)| (chat, version));
    let mut places = HashMap::with_capacity(wanted.len());
    for piece in pieces(&wanted) {
        let update = tx
            .build(
                "UPDATE chats SET last_seq = last_seq + v.column3, rev = rev + v.column3, updated_at = v.column4,
                 last_activity_at = CASE WHEN last_activity_at > v.column4 THEN last_activity_at ELSE v.column4 END
                 FROM (VALUES ",
            )
            .rows(piece.iter().map(|&((chat, version), (count, at))| [chat.into(), version.into(), count.into(), at.into()]))
            .text(") AS v WHERE chats.id = v.column1")
            .text(if is_version_ignored() { "" } else { " AND chats.membership_version = v.column2" });
        tx.execute(update).await?;
        let query = tx
            .build("SELECT string_agg(v.column1 || ':' || c.last_seq || ':' || c.rev, '|') FROM (VALUES ")
            .rows((0_i64..).zip(piece).map(|(index, &((chat, version), _))| [index.into(), chat.into(), version.into()]))
            .text(") AS v JOIN chats c ON c.id = v.column2")
            .text(if is_version_ignored() { "" } else { " AND c.membership_version = v.column3" });
        for [index, last_seq, rev] in joined_rows(&tx.fetch(query).await?)? {
            let index = usize::try_from(number(&index)?).unwrap_or(usize::MAX);
            let Some(&((chat, version), (count, _))) = piece.get(index) else { continue };
            places.insert(chat, (version, Seq::new(number(&last_seq)? - count), Rev::new(number(&rev)? - count)));
        }
    }
    Ok(places)
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

fn event(append: &Append, seq: Seq, rev: Rev) -> Event {
    let message = Arc::new(MessageView { seq, rev, ..append.view.clone() });
    Event {
        id: append.event_id,
        at: append.view.created_at,
        fact: Fact::MessageNew(MessageNew {
            message,
            answered: append.answered,
            withheld_from: append.withheld_from,
            chat_kind: append.chat_kind,
            sender_name: append.sender_name.clone(),
            origin: append.origin,
        }),
    }
}

/// The event that follows `first` in a series made from one id.
pub(super) fn following(first: EventId, number: usize) -> EventId {
    EventId::from_uuid(Uuid::from_u128(first.as_uuid().as_u128().wrapping_add(number as u128)))
}
