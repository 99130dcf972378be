//! Many receipts as a constant number of statements: marks are read, raised in memory, and written back, with one row of
//! history and one event per run of places that rose. No message is rewritten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use wa_core::error::StoreError;
use wa_core::event::{Cause, Event, Fact, MessageStatus};
use wa_core::id::{ChatId, EventId, MessageId, UserId};
use wa_core::message::Seq;
use wa_core::ports::Stored;
use wa_core::receipt::{Located, Marks, NewReceipt, Receipted, SeqRange, Status};
use wa_core::time::Timestamp;

use super::append::following;
use super::db::Row;
use super::statement::{Statement, Value, joined_rows, number, padded, pieces};
use super::writer::Tx;

/// A receipt, and the id of its first event.
#[derive(Debug, Clone)]
pub(super) struct Receive {
    pub(super) receipt: NewReceipt,
    pub(super) event_id: EventId,
    pub(super) cause: Option<Box<Cause>>,
}

/// Places that one transaction marks as read, at the most, so that nobody waits for long behind somebody who comes back to a
/// large chat. Tests of reliability want to see it happen often.
pub(super) const READ_AT_ONCE: i64 = if cfg!(feature = "planted") { 64 } else { 20_000 };

/// What came of a receipt.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    /// Whether anything rose.
    pub(super) rose: bool,
    /// Whether the same receipt is to be given again, as this took only [`READ_AT_ONCE`] of its places.
    pub(super) is_part: bool,
}

const UNREADABLE_RUNS: &str = "ranges of places that cannot be read";

/// Whose marks of which chat.
type Key = (ChatId, UserId);

/// A row of history to be written.
struct Risen {
    key: Key,
    status: Status,
    run: SeqRange,
    at: Timestamp,
}

/// The marks of participants, as they are after everything that was raised.
pub(super) type MarksOf = HashMap<Key, Marks>;

/// What came of receipts that are not stored yet.
pub(super) struct Raised {
    /// In the order of the receipts.
    pub(super) taken: Vec<Taken>,
    /// One for each run that rose.
    pub(super) events: Vec<Arc<Event>>,
    risen: Vec<Risen>,
    /// Whose marks rose.
    keys: BTreeSet<Key>,
}

/// Takes them all, and stores them; the answers are in their order.
pub(super) async fn receive_all(tx: &mut Tx<'_>, receives: &[Receive]) -> Stored<Vec<Taken>> {
    let mut marks = MarksOf::new();
    let Raised { taken, events, risen, keys } = raise(tx, &mut marks, receives).await?;
    events.into_iter().for_each(|event| tx.announce(event));
    save(tx, &keys.into_iter().collect::<Vec<_>>(), &mut marks, &risen).await?;
    Ok(taken)
}

/// Whether this needs nothing but marks to be taken.
pub(super) const fn is_delivery(receive: &Receive) -> bool {
    matches!(receive.receipt.what, Receipted::Delivered(_))
}

/// Raises the marks, without storing them. Of somebody who never was a participant nothing rises. What is read must be
/// in its table; what is delivered need not be.
pub(super) async fn raise(tx: &mut Tx<'_>, marks: &mut MarksOf, receives: &[Receive]) -> Stored<Raised> {
    let mut raised = Raised { taken: vec![Taken::default(); receives.len()], events: Vec::new(), risen: Vec::new(), keys: BTreeSet::new() };
    let keys = receives.iter().map(|receive| (receive.receipt.chat_id, receive.receipt.user_id)).filter(|key| !marks.contains_key(key));
    let missing: BTreeSet<Key> = keys.collect();
    load_marks(tx, &missing.into_iter().collect::<Vec<_>>(), marks).await?;
    let reads = load_read(tx, receives, marks).await?;
    for index in order(receives) {
        let receive = &receives[index];
        let key = (receive.receipt.chat_id, receive.receipt.user_id);
        let Some(marks) = marks.get_mut(&key) else { continue };
        let mut announced = 0;
        let runs = match &receive.receipt.what {
            Receipted::Delivered(located) => deliver(marks, &receive.receipt, located),
            Receipted::ReadUpTo(up_to) => {
                let (most, others) = reads.get(&key).map_or((up_to.seq, &[][..]), |(most, others)| (*most, others));
                let runs = read(marks, &receive.receipt, &Located { seq: up_to.seq.min(most), ..*up_to }, others);
                if up_to.seq > most {
                    raised.taken[index].is_part = true;
                    // Also over places of which nothing is told, so that the next part begins above them.
                    marks.read(most);
                    raised.keys.insert(key);
                }
                runs
            }
        };
        for run in runs {
            raised.taken[index].rose = true;
            raised.keys.insert(key);
            raised.risen.push(Risen { key, status: run.status, run: SeqRange { from: run.from, to: run.to }, at: receive.receipt.at });
            for event in run.events {
                let id = following(receive.event_id, announced);
                raised.events.push(Arc::new(Event { id, at: receive.receipt.at, fact: Fact::MessageStatus(event), cause: receive.cause.clone() }));
                announced += 1;
            }
        }
    }
    Ok(raised)
}

/// Stores deliveries as their events tell them: one for each run.
pub(super) async fn store(tx: &mut Tx<'_>, delivered: impl Iterator<Item = &Arc<Event>>) -> Stored<()> {
    let runs = delivered.filter_map(|event| match &event.fact {
        Fact::MessageStatus(change) => {
            let run = SeqRange { from: change.from_seq.unwrap_or(change.seq), to: change.seq };
            Some(Risen { key: (change.chat_id, change.user_id), status: Status::Delivered, run, at: event.at })
        }
        _ => None,
    });
    let risen: Vec<Risen> = runs.collect();
    let keys: Vec<Key> = risen.iter().map(|risen| risen.key).collect::<BTreeSet<_>>().into_iter().collect();
    let mut marks = MarksOf::with_capacity(keys.len());
    load_marks(tx, &keys, &mut marks).await?;
    for risen in &risen {
        if let Some(marks) = marks.get_mut(&risen.key) {
            marks.deliver(risen.run);
        }
    }
    save(tx, &keys, &mut marks, &risen).await
}

/// Deliveries first, then the furthest reads: of concurrent receipts any order is as good, and in this one a read of
/// less than another one of the batch has nothing left to do.
fn order(receives: &[Receive]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..receives.len()).collect();
    order.sort_by_key(|&index| match &receives[index].receipt.what {
        Receipted::Delivered(_) => 0,
        Receipted::ReadUpTo(up_to) => -up_to.seq.get(),
    });
    // The stable sort puts reads, which are negative, before deliveries; turn the two around.
    order.sort_by_key(|&index| matches!(receives[index].receipt.what, Receipted::ReadUpTo(_)));
    order
}

/// A run of places that rose, and what is announced of it.
struct Run {
    status: Status,
    from: Seq,
    to: Seq,
    events: Vec<MessageStatus>,
}

/// A message of somebody else.
#[derive(Debug, Clone, Copy)]
struct Other {
    seq: Seq,
    message_id: MessageId,
    sender_id: UserId,
    withheld: bool,
}

fn deliver(marks: &mut Marks, receipt: &NewReceipt, located: &[Located]) -> Vec<Run> {
    let mut fresh: Vec<Other> = located
        .iter()
        .filter(|message| message.chat_id == receipt.chat_id && message.sender_id != receipt.user_id && message.withheld_from != Some(receipt.user_id))
        .filter(|message| marks.status_of(message.seq) == Status::Sent)
        .map(|message| Other { seq: message.seq, message_id: message.message_id, sender_id: message.sender_id, withheld: false })
        .collect();
    fresh.sort_unstable_by_key(|message| message.seq);
    fresh.dedup_by_key(|message| message.seq);
    let mut runs = Vec::new();
    for run in fresh.chunk_by(|a, b| a.seq.next() == b.seq) {
        let (from, to) = (run[0].seq, run[run.len() - 1].seq);
        marks.deliver(SeqRange { from, to });
        runs.push(Run { status: Status::Delivered, from, to, events: announce(receipt, Status::Delivered, run, receipt.announce) });
    }
    runs
}

/// `others` tell of the messages of others between the mark as it was loaded and the furthest read of the batch.
fn read(marks: &mut Marks, receipt: &NewReceipt, up_to: &Located, others: &[Other]) -> Vec<Run> {
    if up_to.chat_id != receipt.chat_id {
        return Vec::new();
    }
    if wa_core::faults::planted("receipts_fall") && up_to.seq < marks.read_up_to {
        (marks.read_up_to, marks.delivered_up_to) = (up_to.seq, up_to.seq);
        return vec![Run { status: Status::Read, from: up_to.seq, to: up_to.seq, events: Vec::new() }];
    }
    let fresh: Vec<Other> = others.iter().filter(|other| other.seq > marks.read_up_to && other.seq <= up_to.seq).copied().collect();
    let mut runs = Vec::new();
    // Own messages lie within a run, as nobody asks about them there; withheld ones end it, as their sender must not see them rise.
    for run in fresh.split(|other| other.withheld).filter(|run| !run.is_empty()) {
        let mut events = Vec::new();
        if !receipt.announce {
            // That they were read stays with the reader, that they arrived does not. Some of them may be known to have.
            let arrived = run.partition_point(|other| other.seq <= marks.delivered_up_to);
            events.extend(announce(receipt, Status::Delivered, &run[arrived..], true));
        }
        events.extend(announce(receipt, Status::Read, run, receipt.announce));
        runs.push(Run { status: Status::Read, from: run[0].seq, to: run[run.len() - 1].seq, events });
    }
    if !runs.is_empty() {
        marks.read(up_to.seq);
    }
    runs
}

/// The event of a run: for the senders in it, or for the reader's own devices alone.
fn announce(receipt: &NewReceipt, status: Status, run: &[Other], to_senders: bool) -> Vec<MessageStatus> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Vec::new();
    };
    let senders: BTreeSet<UserId> = run.iter().map(|other| other.sender_id).collect();
    vec![MessageStatus {
        chat_id: receipt.chat_id,
        message_id: last.message_id,
        seq: last.seq,
        from_seq: (first.seq != last.seq).then_some(first.seq),
        user_id: receipt.user_id,
        status,
        sender_ids: if to_senders { senders.into_iter().collect() } else { Vec::new() },
        origin: receipt.origin,
    }]
}

/// The marks of these, as far as they are or were participants.
async fn load_marks(tx: &mut Tx<'_>, keys: &[Key], marks: &mut MarksOf) -> Stored<()> {
    for piece in padded(keys) {
        let query = tx
            .build(
                "SELECT string_agg(v.column1 || ':' || COALESCE(r.delivered_up_to, 0) || ':' || COALESCE(r.delivered_beyond, '') || ':'
                     || COALESCE(r.read_up_to, 0) || ':' || p.joined_seq, '|') FROM (VALUES ",
            )
            .rows((0_i64..).zip(&piece).map(|(index, &&(chat, user))| [index.into(), chat.into(), user.into()]))
            .text(
                ") AS v JOIN chat_participants p ON p.chat_id = v.column2 AND p.user_id = v.column3
                 LEFT JOIN receipt_marks r ON r.chat_id = p.chat_id AND r.user_id = p.user_id",
            );
        for [index, delivered, beyond, read, joined] in joined_rows(&tx.fetch(query).await?)? {
            let Some(key) = piece.get(usize::try_from(number(&index)?).unwrap_or(usize::MAX)) else { continue };
            let delivered_beyond = parse_runs(&beyond).ok_or_else(|| StoreError::corrupt(tx.dialect().name(), UNREADABLE_RUNS))?;
            let mut found = Marks { delivered_up_to: Seq::new(number(&delivered)?), delivered_beyond, read_up_to: Seq::new(number(&read)?) };
            // What came before they joined is not theirs to receive, and so no gap.
            let joined = Seq::new(number(&joined)?);
            if found.delivered_up_to < joined {
                found.deliver(SeqRange { from: Seq::ZERO.next(), to: joined });
            }
            marks.insert(**key, found);
        }
    }
    Ok(())
}

/// Reads marks whose three columns start at this one.
pub(super) fn read_marks(row: &Row, at: usize) -> Stored<Marks> {
    Ok(Marks {
        delivered_up_to: Seq::new(row.int(at)?),
        delivered_beyond: parse_runs(&row.text(at + 1)?).ok_or_else(|| row.corrupt(UNREADABLE_RUNS))?,
        read_up_to: Seq::new(row.int(at + 2)?),
    })
}

/// For every participant who reads: of the messages of others above their mark, up to the furthest they read, those that
/// tell of all: both ends of every run that is withheld or not, and each sender's first, also past the delivered mark.
/// However much is read at once, these are few. With them comes the place up to which they tell.
async fn load_read(tx: &mut Tx<'_>, receives: &[Receive], marks: &MarksOf) -> Stored<HashMap<Key, (Seq, Vec<Other>)>> {
    let mut furthest: BTreeMap<Key, Seq> = BTreeMap::new();
    for Receive { receipt, .. } in receives {
        if let Receipted::ReadUpTo(up_to) = &receipt.what {
            let seq = furthest.entry((receipt.chat_id, receipt.user_id)).or_default();
            *seq = (*seq).max(up_to.seq);
        }
    }
    let wanted: Vec<_> = furthest
        .into_iter()
        .map(|(key, to)| {
            let marks = marks.get(&key);
            let from = marks.map_or(Seq::ZERO, |marks| marks.read_up_to);
            let to = to.min(Seq::new(from.get() + READ_AT_ONCE));
            (key, from, to, marks.map_or(Seq::ZERO, |marks| marks.delivered_up_to))
        })
        .filter(|(_, from, to, _)| from < to)
        .collect();
    let mut others: HashMap<Key, (Seq, Vec<Other>)> = wanted.iter().map(|(key, _, to, _)| (*key, (*to, Vec::new()))).collect();
    for piece in pieces(&wanted) {
        let query = tx
            .build(
                "SELECT place, seq, message_id, sender_id, withheld FROM (
                     SELECT place, seq, message_id, sender_id, withheld,
                         ROW_NUMBER() OVER (PARTITION BY place, sender_id, arrived ORDER BY seq) AS nth,
                         LAG(withheld) OVER (PARTITION BY place ORDER BY seq) AS before,
                         LEAD(withheld) OVER (PARTITION BY place ORDER BY seq) AS after
                     FROM (
                         SELECT v.column1 AS place, m.seq, m.message_id, m.sender_id,
                             CASE WHEN m.withheld_from = v.column3 THEN 1 ELSE 0 END AS withheld,
                             CASE WHEN m.seq > v.column6 THEN 1 ELSE 0 END AS arrived
                         FROM (VALUES ",
            )
            .rows(
                (0_i64..)
                    .zip(piece)
                    .map(|(index, &((chat, user), from, to, delivered))| [index.into(), chat.into(), user.into(), from.into(), to.into(), delivered.into()]),
            )
            .text(
                ") AS v JOIN messages m ON m.chat_id = v.column2 AND m.seq > v.column4 AND m.seq <= v.column5 WHERE m.sender_id <> v.column3) AS read
                 ) AS told WHERE nth = 1 OR before IS NULL OR after IS NULL OR before <> withheld OR after <> withheld ORDER BY place, seq",
            );
        for row in tx.fetch(query).await? {
            let Some((key, ..)) = piece.get(usize::try_from(row.int(0)?).unwrap_or(usize::MAX)) else { continue };
            let other = Other { seq: Seq::new(row.int(1)?), message_id: row.id(2)?, sender_id: row.id(3)?, withheld: row.int(4)? == 1 };
            others.entry(*key).or_default().1.push(other);
        }
    }
    Ok(others)
}

/// Lets `delivered_up_to` pass over places that hold nobody else's message: own and withheld ones leave no gap. Every
/// such place is looked at once, as the mark does not come back to it.
async fn close_gaps(tx: &mut Tx<'_>, keys: &[Key], marks: &mut MarksOf) -> Stored<()> {
    let mut open: Vec<Key> = keys.to_vec();
    loop {
        let gaps: Vec<_> = open
            .drain(..)
            .filter_map(|key| {
                let marks = marks.get(&key)?;
                Some((key, marks.delivered_up_to, marks.delivered_beyond.first()?.from))
            })
            .collect();
        if gaps.is_empty() {
            return Ok(());
        }
        for piece in pieces(&gaps) {
            let query = tx
                .build(
                    "SELECT string_agg(v.column1 || ':' || COALESCE((SELECT m.seq FROM messages m WHERE m.chat_id = v.column2 AND m.seq > v.column4
                     AND m.seq < v.column5 AND m.sender_id <> v.column3 AND (m.withheld_from IS NULL OR m.withheld_from <> v.column3)
                     ORDER BY m.seq LIMIT 1), 0), '|') FROM (VALUES ",
                )
                .rows((0_i64..).zip(piece).map(|(index, &((chat, user), from, to))| [index.into(), chat.into(), user.into(), from.into(), to.into()]))
                .text(") AS v");
            for [index, waiting] in joined_rows(&tx.fetch(query).await?)? {
                let Some((key, ..)) = piece.get(usize::try_from(number(&index)?).unwrap_or(usize::MAX)) else { continue };
                let Some(marks) = marks.get_mut(key) else { continue };
                let Some(beyond) = marks.delivered_beyond.first() else { continue };
                let from = marks.delivered_up_to.next();
                match number(&waiting)? {
                    // Nothing to wait for before the first range beyond: the gap closes, and the next one is looked at.
                    0 => {
                        let to = Seq::new(beyond.from.get() - 1);
                        marks.deliver(SeqRange { from, to });
                        open.push(*key);
                    }
                    seq if seq > from.get() => {
                        marks.deliver(SeqRange { from, to: Seq::new(seq - 1) });
                    }
                    _ => {}
                }
            }
        }
    }
}

async fn save(tx: &mut Tx<'_>, changed: &[Key], marks: &mut MarksOf, risen: &[Risen]) -> Stored<()> {
    close_gaps(tx, changed, marks).await?;
    for piece in pieces(changed) {
        let rows = piece.iter().filter_map(|key| {
            let marks = marks.get(key)?;
            Some([key.0.into(), key.1.into(), marks.delivered_up_to.into(), write_runs(&marks.delivered_beyond).into(), marks.read_up_to.into()])
        });
        let upsert = Statement::insert::<5>(
            tx.dialect(),
            "INSERT INTO receipt_marks (chat_id, user_id, delivered_up_to, delivered_beyond, read_up_to)",
            rows,
            " ON CONFLICT (chat_id, user_id) DO UPDATE SET delivered_up_to = excluded.delivered_up_to,
             delivered_beyond = excluded.delivered_beyond, read_up_to = excluded.read_up_to",
        );
        tx.execute(upsert).await?;
    }
    for piece in pieces(risen) {
        let rows = piece.iter().map(|risen| -> [Value; 6] {
            [risen.key.0.into(), risen.key.1.into(), status_text(risen.status).into(), risen.run.to.into(), risen.run.from.into(), risen.at.into()]
        });
        let insert = Statement::insert(tx.dialect(), "INSERT INTO receipt_history (chat_id, user_id, status, to_seq, from_seq, at)", rows, "");
        tx.execute(insert).await?;
    }
    Ok(())
}

const fn status_text(status: Status) -> &'static str {
    match status {
        Status::Sent => "sent",
        Status::Delivered => "delivered",
        Status::Read => "read",
    }
}

/// "5-7,9-9".
fn write_runs(runs: &[SeqRange]) -> String {
    let mut text = String::new();
    for run in runs {
        use std::fmt::Write as _;
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{}-{}", run.from, run.to);
    }
    text
}

/// The inverse of [`write_runs`].
fn parse_runs(text: &str) -> Option<Vec<SeqRange>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',')
        .map(|run| {
            let (from, to) = run.split_once('-')?;
            Some(SeqRange { from: Seq::new(from.parse().ok()?), to: Seq::new(to.parse().ok()?) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_read_back() {
        let run = |from, to| SeqRange { from: Seq::new(from), to: Seq::new(to) };
        for runs in [vec![], vec![run(5, 7)], vec![run(5, 7), run(9, 9), run(100, 2000)]] {
            assert_eq!(parse_runs(&write_runs(&runs)), Some(runs));
        }
        for bad in ["5", "5-", "-", "a-b", "5-7,"] {
            assert_eq!(parse_runs(bad), None, "{bad}");
        }
    }
}
