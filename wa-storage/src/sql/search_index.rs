//! The index of words as SQLite's FTS5 and PostgreSQL's text search keep it: the only file that speaks their languages. Words
//! are made by the core; each is stored behind the key of its chat, so that every list of places that a search reads belongs
//! to one chat.

use wa_core::message::Seq;
use wa_core::ports::Viewer;
use wa_core::search::{Clause, SearchTerms, Searchable};

use super::db::Dialect;
use super::message_row::COLUMNS_OF_M;
use super::message_store::visible;
use super::statement::Statement;

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

/// The words of a message in their order, each behind the key of its chat.
#[derive(Debug, Clone)]
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the database takes them.
    fn written(&self, dialect: Dialect) -> String {
        let mut text = String::new();
        #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "SQLite counts by itself"))]
        for (index, word) in self.0.iter().enumerate() {
            match dialect {
                Dialect::Sqlite => text.push_str(word),
                #[cfg(feature = "postgres")]
                Dialect::Postgres => {
                    use std::fmt::Write as _;
                    let _ = write!(text, "{}:{}", quoted(word), index + 1);
                }
            }
            text.push(' ');
        }
        text
    }
}

/// A word in a text of PostgreSQL's `tsvector` or `tsquery`.
#[cfg(feature = "postgres")]
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', "\\\\").replace('\'', "''"))
}

/// The words of what a message says. Between its texts the key stands alone, so that no phrase spans two of them.
pub(super) fn words(shelf: Shelf, messages: impl Iterator<Item = Searchable>) -> Words {
    let key = shelf.key();
    let mut all = Vec::new();
    for message in messages {
        for words in message.texts() {
            all.extend(words.iter().map(String::as_str).chain([""]).map(|word| format!("{key}{word}")));
        }
    }
    Words(all)
}

/// Inserts ids and their words.
pub(super) fn insert(dialect: Dialect, rows: &[(i64, Words)]) -> Statement {
    let values = rows.iter().map(|(id, words)| [(*id).into(), words.written(dialect).into()]);
    match dialect {
        Dialect::Sqlite => Statement::insert(dialect, "INSERT INTO search_index (rowid, words)", values, ""),
        #[cfg(feature = "postgres")]
        Dialect::Postgres => {
            Statement::build(dialect, "INSERT INTO search_index (rowid, words) SELECT v.column1, v.column2::tsvector FROM (VALUES ").rows(values).text(") AS v")
        }
    }
}

/// What finds the terms in this chat. Words hold nothing that a database would read as anything else.
fn expression(dialect: Dialect, shelf: Shelf, terms: &SearchTerms) -> String {
    let key = shelf.key();
    let clause = |clause: &Clause| {
        let words = clause.words.iter().map(|word| format!("{key}{word}"));
        match dialect {
            Dialect::Sqlite => format!("\"{}\"{}", words.collect::<Vec<_>>().join(" "), if clause.is_open { " *" } else { "" }),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => {
                format!("({}{})", words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" <-> "), if clause.is_open { ":*" } else { "" })
            }
        }
    };
    let both = match dialect {
        Dialect::Sqlite => " AND ",
        #[cfg(feature = "postgres")]
        Dialect::Postgres => " & ",
    };
    terms.clauses().iter().map(clause).collect::<Vec<_>>().join(both)
}

/// Appends a query for the newest messages of the viewer's chat that hold the terms and that the viewer can see. The
/// columns are those of a message.
pub(super) fn push_matches(
    statement: Statement,
    dialect: Dialect,
    shelf: Shelf,
    terms: &SearchTerms,
    viewer: &Viewer,
    below: Option<Seq>,
    limit: i64,
) -> Statement {
    // The cross join says what to start from: the index, from its newest place downwards, until there are enough.
    let statement = statement.text("SELECT * FROM (SELECT ").text(COLUMNS_OF_M).text(" FROM search_index f CROSS JOIN messages m WHERE ");
    let statement = match dialect {
        Dialect::Sqlite => statement.text("f.search_index MATCH ").value(expression(dialect, shelf, terms)),
        #[cfg(feature = "postgres")]
        Dialect::Postgres => statement.text("f.words @@ CAST(").value(expression(dialect, shelf, terms)).text(" AS tsquery)"),
    };
    let statement = statement
        .text(" AND f.rowid > ")
        .value(shelf.id(viewer.above))
        .text(" AND f.rowid < ")
        .value(below.map_or(shelf.end(), |seq| shelf.id(seq)))
        .text(" AND m.seq = f.rowid - ")
        .value(shelf.start())
        .text(" AND m.payload IS NOT NULL AND ");
    visible(statement, viewer).text(" ORDER BY f.rowid DESC LIMIT ").value(limit).text(") AS found")
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
