//! The index of words as SQLite's FTS5 keeps it: the only file that speaks its language. Words are made by the core; each
//! is stored behind the key of its chat, so that every list of places that a search reads belongs to one chat.

use wa_core::message::Seq;
use wa_core::ports::Viewer;
use wa_core::search::{Clause, SearchTerms, Searchable};

use super::message_row::COLUMNS_OF_M;
use super::message_store::visible;
use super::statement::Statement;

/// Inserts an id and what [`words`] makes.
pub(super) const INSERT: &str = "INSERT INTO search_index (rowid, words)";

/// Removes the ids that follow.
pub(super) const DELETE: &str = "DELETE FROM search_index WHERE rowid IN (";

/// Which of the ids that follow are in the index.
pub(super) const IDS_AMONG: &str = "SELECT rowid FROM search_index WHERE rowid IN (";

/// Some of the ids of a range.
pub(super) const IDS_BETWEEN: &str = "SELECT rowid FROM search_index WHERE rowid > $1 AND rowid < $2 LIMIT $3";

/// Characters of a key. The migration's prefix indexes count them.
const KEY: usize = 6;

/// A chat as the index knows it: its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Shelf(pub(super) i64);

impl Shelf {
    /// Below every id of the chat.
    pub(super) const fn start(self) -> i64 {
        self.0 << 32
    }

    /// Above every id of the chat.
    pub(super) const fn end(self) -> i64 {
        (self.0 + 1) << 32
    }

    /// The id of the message in this place.
    pub(super) const fn id(self, seq: Seq) -> i64 {
        self.start() + seq.get()
    }

    /// What every word of the chat begins with: as many characters for every chat, so that no key begins another.
    fn key(self) -> String {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut key = vec![b'0'; KEY];
        let mut rest = usize::try_from(self.0).unwrap_or_default();
        for digit in key.iter_mut().rev() {
            *digit = DIGITS[rest % DIGITS.len()];
            rest /= DIGITS.len();
        }
        debug_assert_eq!(rest, 0, "two thousand million chats fit");
        String::from_utf8(key).expect("digits are ASCII")
    }
}

/// The words of a message, for [`INSERT`]. Between its texts the key stands alone, so that no phrase spans two of them.
pub(super) fn words(shelf: Shelf, message: &Searchable) -> String {
    let key = shelf.key();
    let mut text = String::new();
    for words in message.texts() {
        for word in words.iter().map(String::as_str).chain([""]) {
            text.push_str(&key);
            text.push_str(word);
            text.push(' ');
        }
    }
    text
}

/// What finds the terms in this chat. Words hold nothing that FTS5 would read as anything else.
fn expression(shelf: Shelf, terms: &SearchTerms) -> String {
    let key = shelf.key();
    let clause = |clause: &Clause| {
        let words: Vec<String> = clause.words.iter().map(|word| format!("{key}{word}")).collect();
        format!("\"{}\"{}", words.join(" "), if clause.is_open { " *" } else { "" })
    };
    terms.clauses().iter().map(clause).collect::<Vec<_>>().join(" AND ")
}

/// Appends a query for the newest messages of the viewer's chat that hold the terms and that the viewer can see. The
/// columns are those of a message.
pub(super) fn push_matches(statement: Statement, shelf: Shelf, terms: &SearchTerms, viewer: &Viewer, below: Option<Seq>, limit: i64) -> Statement {
    // The cross join says what to start from: the index, from its newest place downwards, until there are enough.
    let statement = statement
        .text("SELECT * FROM (SELECT ")
        .text(COLUMNS_OF_M)
        .text(" FROM search_index f CROSS JOIN messages m WHERE f.search_index MATCH ")
        .value(expression(shelf, terms))
        .text(" AND f.rowid > ")
        .value(shelf.id(viewer.above))
        .text(" AND f.rowid < ")
        .value(below.map_or(shelf.end(), |seq| shelf.id(seq)))
        .text(" AND m.seq = f.rowid - ")
        .value(shelf.start())
        .text(" AND m.payload IS NOT NULL AND ");
    visible(statement, viewer).text(" ORDER BY f.rowid DESC LIMIT ").value(limit).text(")")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_of_one_length_and_tell_chats_apart(a in 0..2_000_000_000_i64, b in 0..2_000_000_000_i64) {
            let (one, other) = (Shelf(a).key(), Shelf(b).key());
            prop_assert_eq!((one.len(), other.len()), (KEY, KEY));
            prop_assert_eq!(one == other, a == b);
        }
    }
}
