//! Rows on their way: read in the order of their keys, a page at a time, written as they are, and compared. How far a table
//! got is told by its last row.

use sha2::{Digest as _, Sha256};
use wa_core::ports::Stored;

use super::tables::{Kind, Table};
use super::{Difference, Side, Step, TableReport, TransferError, Watch, hex};
use crate::sql::{Connection, Db, Row, Statement, Value};

/// The values of a row, in the order of the table's columns.
type Values = Vec<Value>;

/// Pages after which a target that keeps a log has it copied into its file.
const PAGES_PER_LOG: u64 = 32;

impl Table {
    /// The row that the table ends with so far: its key.
    async fn last(&self, db: &Db) -> Stored<Option<Values>> {
        let mut query = db.build("SELECT ");
        query = self.names(query, self.key, "");
        query = query.text(" FROM ").text(self.name).text(" ORDER BY ");
        query = self.names(query, self.key, " DESC").text(" LIMIT 1");
        db.read_tables(query).await?.first().map(|row| self.values(row, self.key)).transpose()
    }

    /// Whether it holds nothing.
    pub(super) async fn is_empty(&self, db: &Db) -> Stored<bool> {
        Ok(self.last(db).await?.is_none())
    }

    /// The rows that follow this key.
    async fn page(&self, db: &Db, after: Option<&[Value]>) -> Stored<Vec<Values>> {
        let mut query = self.names(db.build("SELECT "), self.columns.len(), "").text(" FROM ").text(self.name);
        if let Some(after) = after {
            query = self.names(query.text(" WHERE ("), self.key, "").text(") > (");
            for (index, value) in after.iter().enumerate() {
                query = if index > 0 { query.text(", ") } else { query }.value(value.clone());
            }
            query = query.text(")");
        }
        query = self.names(query.text(" ORDER BY "), self.key, "").text(" LIMIT ").value(self.page);
        db.read_tables(query).await?.iter().map(|row| self.values(row, self.columns.len())).collect()
    }

    /// Appends the names of the first so many columns, each followed by this.
    fn names(&self, mut statement: Statement, count: usize, then: &'static str) -> Statement {
        for (index, (name, _)) in self.columns.iter().take(count).enumerate() {
            statement = if index > 0 { statement.text(", ") } else { statement }.text(name).text(then);
        }
        statement
    }

    fn values(&self, row: &Row, count: usize) -> Stored<Values> {
        let value = |(index, (_, kind)): (usize, &(_, Kind))| {
            Ok(match kind {
                Kind::Id => Value::Id(row.maybe_uuid(index)?),
                Kind::Int => Value::Int(row.maybe_int(index)?),
                Kind::Flag => Value::Flag(row.flag(index)?),
                Kind::Text => Value::Text(row.maybe_text(index)?.map(Into::into)),
                Kind::Bytes => Value::Bytes(row.bytes(index)?),
            })
        };
        self.columns.iter().take(count).enumerate().map(value).collect()
    }

    async fn insert(&self, target: &mut Connection, rows: &[Values]) -> Stored<()> {
        let dialect = target.dialect();
        let mut insert = Statement::build(dialect, "INSERT INTO ").text(self.name).text(" (");
        insert = self.names(insert, self.columns.len(), "").text(")");
        if self.is_numbered {
            insert = insert.text(dialect.overriding());
        }
        insert = insert.text(" VALUES ");
        for (index, row) in rows.iter().enumerate() {
            insert = insert.text(if index > 0 { ",(" } else { "(" });
            for (column, value) in row.iter().enumerate() {
                insert = if column > 0 { insert.text(",") } else { insert }.value(value.clone());
            }
            insert = insert.text(")");
        }
        target.execute(insert).await.map(drop)
    }

    /// The key of a row, for people.
    fn shown(&self, row: &[Value]) -> String {
        let parts = row.iter().take(self.key).zip(self.columns).map(|(value, (name, _))| format!("{name} {}", plain(value)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// A value of a key.
fn plain(value: &Value) -> String {
    match value {
        Value::Int(number) => number.map(|number| number.to_string()),
        Value::Flag(flag) => Some(flag.to_string()),
        Value::Text(text) => text.as_deref().map(str::to_owned),
        Value::Id(id) => id.map(|id| id.to_string()),
        Value::Bytes(bytes) => Some(hex(bytes)),
    }
    .unwrap_or_default()
}

/// A value as bytes that no other value has.
fn encoded(value: &Value) -> Vec<u8> {
    let (tag, bytes) = match value {
        Value::Int(None) | Value::Text(None) | Value::Id(None) => (0, Vec::new()),
        Value::Int(Some(number)) => (1, number.to_be_bytes().to_vec()),
        Value::Flag(flag) => (2, vec![u8::from(*flag)]),
        Value::Text(Some(text)) => (3, text.as_bytes().to_vec()),
        Value::Id(Some(id)) => (4, id.as_bytes().to_vec()),
        Value::Bytes(bytes) => (5, bytes.clone()),
    };
    let mut all = vec![tag];
    all.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    all.extend_from_slice(&bytes);
    all
}

/// What a table holds, as far as it was read.
#[derive(Default)]
struct Sum {
    rows: u64,
    bytes: u64,
    hash: Sha256,
}

impl Sum {
    fn add(&mut self, row: &[Value]) {
        self.rows += 1;
        for value in row {
            let bytes = encoded(value);
            // Without what says how long it is.
            self.bytes += bytes.len() as u64 - 9;
            self.hash.update(bytes);
        }
    }

    fn report(self, table: &Table) -> TableReport {
        TableReport { table: table.name, rows: self.rows, bytes: self.bytes, sha256: hex(&self.hash.finalize()) }
    }
}

/// Reads a table to its end.
pub(super) async fn measure(source: &Side, table: &'static Table, watch: Watch<'_>) -> Result<TableReport, TransferError> {
    let (mut sum, mut after) = (Sum::default(), None::<Values>);
    loop {
        let rows = read(source, table, after.as_deref()).await?;
        rows.iter().for_each(|row| sum.add(row));
        watch(Step::Reading { table: table.name, rows: sum.rows, bytes: sum.bytes });
        match rows.into_iter().next_back() {
            Some(last) => after = Some(key_of(table, last)),
            None => return Ok(sum.report(table)),
        }
    }
}

fn key_of(table: &Table, mut row: Values) -> Values {
    row.truncate(table.key);
    row
}

async fn read(source: &Side, table: &'static Table, after: Option<&[Value]>) -> Result<Vec<Values>, TransferError> {
    table.page(source.db(), after).await.map_err(|error| source.failed("read", table.name, error))
}

/// Writes what the target's table lacks at its end.
pub(super) async fn copy(source: &Side, target: &mut Side, table: &'static Table, watch: Watch<'_>) -> Result<(), TransferError> {
    let mut after = table.last(target.db()).await.map_err(|error| target.failed("read", table.name, error))?;
    let mut rows = read(source, table, after.as_deref()).await?;
    let (mut sum, mut pages) = (Sum::default(), 0_u64);
    while let Some(last) = rows.last() {
        after = Some(key_of(table, last.clone()));
        // The next page is read while this one is written.
        let (next, written) = tokio::join!(read(source, table, after.as_deref()), table.insert(&mut target.hold, &rows));
        written.map_err(|error| target.failed("write", table.name, error))?;
        rows.iter().for_each(|row| sum.add(row));
        rows = next?;
        pages += 1;
        if pages.is_multiple_of(PAGES_PER_LOG) {
            target.shorten_log().await?;
        }
        watch(Step::Copying { table: table.name, rows: sum.rows, bytes: sum.bytes });
    }
    if table.is_numbered {
        target.renumber().await?;
    }
    target.shorten_log().await
}

/// Reads a table on both sides, and finds where they first differ.
pub(super) async fn compare(source: &Side, target: &Side, table: &'static Table, watch: Watch<'_>) -> Result<(TableReport, Option<Difference>), TransferError> {
    let mut sums = [Sum::default(), Sum::default()];
    let mut after: [Option<Values>; 2] = [None, None];
    let mut difference = None;
    loop {
        let (here, there) = tokio::join!(table.page(source.db(), after[0].as_deref()), table.page(target.db(), after[1].as_deref()));
        let here = here.map_err(|error| source.failed("read", table.name, error))?;
        let there = there.map_err(|error| target.failed("read", table.name, error))?;
        here.iter().for_each(|row| sums[0].add(row));
        there.iter().for_each(|row| sums[1].add(row));
        if difference.is_none() {
            difference = first_difference(table, &here, &there);
        }
        watch(Step::Comparing { table: table.name, rows: sums[0].rows, bytes: sums[0].bytes });
        if here.is_empty() && there.is_empty() {
            break;
        }
        for (after, rows) in after.iter_mut().zip([here, there]) {
            if let Some(last) = rows.into_iter().next_back() {
                *after = Some(key_of(table, last));
            }
        }
    }
    let [here, there] = sums.map(|sum| sum.report(table));
    if here.rows != there.rows {
        let first = difference.map(|difference: Difference| format!("; {}", difference.what)).unwrap_or_default();
        let what = format!("{} rows instead of {}{first}", there.rows, here.rows);
        return Ok((here, Some(Difference { place: table.name.to_owned(), what })));
    }
    Ok((here, difference))
}

fn first_difference(table: &'static Table, here: &[Values], there: &[Values]) -> Option<Difference> {
    let place = || table.name.to_owned();
    for index in 0..here.len().max(there.len()) {
        let what = match (here.get(index), there.get(index)) {
            (Some(row), None) => format!("the row {} is missing", table.shown(row)),
            (None, Some(row)) => format!("the row {} is not of the source", table.shown(row)),
            (Some(one), Some(other)) => {
                let Some(column) = one.iter().zip(other).position(|(one, other)| encoded(one) != encoded(other)) else { continue };
                match table.columns.get(column) {
                    Some((name, _)) if column >= table.key => format!("{name} differs in the row {}", table.shown(one)),
                    _ => format!("the row {} stands where {} should", table.shown(other), table.shown(one)),
                }
            }
            (None, None) => continue,
        };
        return Some(Difference { place: place(), what });
    }
    None
}
