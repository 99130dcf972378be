//! Statements as text and values, and rows as typed columns: what the stores say to a database without knowing which.
//! Which database it is, is `db.rs`' business alone.

use std::sync::Arc;

use uuid::Uuid;
use wa_core::error::StoreError;
use wa_core::ports::Stored;
use wa_core::time::Timestamp;

use super::db::{Dialect, Row};

/// A bound value. Absent values keep their type, as PostgreSQL wants to know it.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Flag(bool),
    Text(Option<Arc<str>>),
    Id(Option<Uuid>),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(Into::into))
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        time.as_millis().into()
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(time: Option<Timestamp>) -> Self {
        Self::Int(time.map(Timestamp::as_millis))
    }
}

impl From<wa_core::message::Seq> for Value {
    fn from(seq: wa_core::message::Seq) -> Self {
        seq.get().into()
    }
}

impl From<wa_core::message::Rev> for Value {
    fn from(rev: wa_core::message::Rev) -> Self {
        rev.get().into()
    }
}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Id(Some(id))
    }
}

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl From<wa_core::id::$id> for Value {
            fn from(id: wa_core::id::$id) -> Self {
                Self::Id(Some(id.as_uuid()))
            }
        }

        impl From<Option<wa_core::id::$id>> for Value {
            fn from(id: Option<wa_core::id::$id>) -> Self {
                Self::Id(id.map(wa_core::id::$id::as_uuid))
            }
        }
    )*};
}

ids!(UserId, DeviceId, ChatId, MessageId, MediaId, PushTokenId, StatusId);

/// A statement: its text and the values bound to it.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(super) text: Text,
    pub(super) values: Vec<Value>,
}

/// Fixed texts name their values `$1`, `$2` …; built ones use whatever placeholder the database reads fastest.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Fixed(&'static str),
    Built(Dialect, String),
}

impl Statement {
    /// A fixed text, whose values are then given by [`Self::bind`].
    pub(crate) const fn fixed(text: &'static str) -> Self {
        Self { text: Text::Fixed(text), values: Vec::new() }
    }

    /// A text of parts, between which values stand.
    pub(crate) fn build(dialect: Dialect, text: &str) -> Self {
        Self { text: Text::Built(dialect, text.to_owned()), values: Vec::new() }
    }

    /// Whether it names what messages and receipts change.
    pub(super) fn tells_of_messages(&self) -> bool {
        let text = match &self.text {
            Text::Fixed(text) => text,
            Text::Built(_, text) => text.as_str(),
        };
        [" messages", "receipt_", "last_seq", "last_activity_at"].iter().any(|name| text.contains(name))
    }

    /// Inserts these rows: `into` is the text up to the rows, `then` what follows each of them. At least one row must be given.
    pub(crate) fn insert<const N: usize>(dialect: Dialect, into: &'static str, rows: impl IntoIterator<Item = [Value; N]>, then: &'static str) -> Self {
        if !dialect.inserts_row_by_row() {
            return Self::build(dialect, into).text(" VALUES ").rows(rows).text(then);
        }
        let mut statement = Self::build(dialect, "");
        for row in rows {
            statement = statement.text(into).text(" VALUES ").rows([row]).text(then).text(";");
        }
        statement
    }

    /// Gives the next value of a fixed text.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Appends a part of the text. Parts are literals of this crate: nothing from outside ever becomes text.
    pub(crate) fn text(mut self, part: &'static str) -> Self {
        self.push(part);
        self
    }

    /// Appends a value.
    pub(crate) fn value(mut self, value: impl Into<Value>) -> Self {
        self.push_value(value.into());
        self
    }

    /// Appends values, separated by commas. The last is repeated up to a power of two, so that few texts are prepared;
    /// so this is for `IN` lists. At least one value must be given.
    pub(crate) fn list<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        let start = self.values.len();
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.push_value(value.into());
        }
        let count = self.values.len() - start;
        debug_assert!(count > 0, "an empty list is no SQL");
        if let Some(last) = self.values.last().cloned() {
            for _ in count..count.next_power_of_two() {
                self.push(",");
                self.push_value(last.clone());
            }
        }
        self
    }

    /// Appends `VALUES` rows: `(…),(…)`. At least one row must be given.
    pub(crate) fn rows<const N: usize>(mut self, rows: impl IntoIterator<Item = [Value; N]>) -> Self {
        for (index, row) in rows.into_iter().enumerate() {
            self.push(if index > 0 { ",(" } else { "(" });
            for (column, value) in row.into_iter().enumerate() {
                if column > 0 {
                    self.push(",");
                }
                self.push_value(value);
            }
            self.push(")");
        }
        self
    }

    fn push(&mut self, part: &str) {
        match &mut self.text {
            Text::Fixed(_) => debug_assert!(false, "a fixed text takes no parts"),
            Text::Built(_, text) => text.push_str(part),
        }
    }

    fn push_value(&mut self, value: Value) {
        self.values.push(value);
        let number = self.values.len();
        match &mut self.text {
            Text::Fixed(_) => debug_assert!(false, "a fixed text takes no parts"),
            Text::Built(dialect, text) => dialect.placeholder(number, text),
        }
    }
}

/// Cuts into pieces of 64, 32, 16 … 1, so that a multi-row text is one of seven and stays prepared.
pub(crate) fn pieces<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let fits = items.len().min(64);
        if fits == 0 {
            return None;
        }
        let size = if fits.is_power_of_two() { fits } else { fits.next_power_of_two() / 2 };
        let (piece, rest) = items.split_at(size);
        items = rest;
        Some(piece)
    })
}

/// Cuts into pieces of at most 256, each filled up to a power of two by repeating its last item, so that few texts are
/// prepared and most take one way to the database: for lookups, to which a repeat does nothing.
pub(crate) fn padded<T>(items: &[T]) -> impl Iterator<Item = Vec<&T>> {
    items.chunks(256).map(|chunk| {
        let fill = chunk.len().next_power_of_two() - chunk.len();
        chunk.iter().chain(chunk.last().into_iter().cycle().take(fill)).collect()
    })
}

/// Reads an answer of one row and one column, made by `string_agg(a || ':' || b, '|')`: many short rows as one. Every row
/// that comes out of a database wakes whoever waits for it, which costs more than the row itself.
pub(crate) fn joined_rows<const N: usize>(rows: &[Row]) -> Stored<Vec<[String; N]>> {
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let Some(text) = row.maybe_text(0)? else {
        return Ok(Vec::new());
    };
    let fields = |part: &str| part.split(':').map(str::to_owned).collect::<Vec<_>>().try_into().map_err(|_| row.corrupt("a joined row of another form"));
    text.split('|').map(fields).collect()
}

/// A number of a joined row.
pub(crate) fn number(field: &str) -> Stored<i64> {
    field.parse().map_err(|error| StoreError::corrupt("sql", error))
}

/// Typed ids as they come out of a row.
impl Row {
    pub(crate) fn id<T: From<Uuid>>(&self, column: usize) -> Stored<T> {
        self.uuid(column).map(T::from)
    }

    pub(crate) fn maybe_id<T: From<Uuid>>(&self, column: usize) -> Stored<Option<T>> {
        Ok(self.maybe_uuid(column)?.map(T::from))
    }

    pub(crate) fn time(&self, column: usize) -> Stored<Timestamp> {
        self.int(column).map(Timestamp::from_millis)
    }

    pub(crate) fn maybe_time(&self, column: usize) -> Stored<Option<Timestamp>> {
        Ok(self.maybe_int(column)?.map(Timestamp::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_powers_of_two_and_lose_nothing() {
        for count in 0..300_usize {
            let items: Vec<_> = (0..count).collect();
            let cut: Vec<_> = pieces(&items).collect();
            assert!(cut.iter().all(|piece| piece.len().is_power_of_two() && piece.len() <= 64), "{count}");
            assert_eq!(cut.concat(), items);
        }
    }

    #[test]
    fn padded_pieces_are_powers_of_two_and_hold_everything() {
        for count in 0..600_usize {
            let items: Vec<_> = (0..count).collect();
            let cut: Vec<_> = padded(&items).collect();
            assert!(cut.iter().all(|piece| piece.len().is_power_of_two() && piece.len() <= 256), "{count}");
            let mut all: Vec<usize> = cut.into_iter().flatten().copied().collect();
            all.dedup();
            assert_eq!(all, items);
        }
    }

    #[test]
    fn lists_are_padded_with_their_last_value() {
        let statement = Statement::build(Dialect::Sqlite, "IN (").list([1_i64, 2, 3]).text(")");
        assert_eq!(statement.values.len(), 4);
        assert!(matches!(statement.text, Text::Built(_, text) if text == "IN (?,?,?,?)"));
    }
}
