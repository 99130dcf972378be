//! What goes to stdout: tables or JSON, colours only where a person sees them.

use std::io::{self, IsTerminal as _, Write as _};

use chrono::{DateTime, Local};
use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use wa_core::time::Timestamp;

use crate::failure::Failure;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: one JSON document; of a stream, one a line.
    Json,
}

/// Writes results to stdout. Messages for the person go to stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    colours: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, colours: !no_color && io::stdout().is_terminal() }
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// One line.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// A value as a line of JSON.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(&serde_json::to_string(value).map_err(|e| Failure::general(e.to_string()))?)
    }

    /// A list: all of it as JSON, or a table with these columns.
    pub(crate) fn list<T: Serialize, const N: usize>(self, items: &[T], columns: [&str; N], row: impl Fn(&T) -> [String; N]) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&items);
        }
        if items.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.map(|column| self.dim(column)));
        table.add_rows(items.iter().map(|item| row(item).map(|cell| plain(&cell))));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2)).set_cell_alignment(CellAlignment::Left);
        }
        self.line(&table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n"))
    }

    /// One thing: as JSON, or as lines of names and values.
    pub(crate) fn thing<const N: usize>(self, thing: &impl Serialize, fields: [(&str, String); N]) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(thing);
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in fields {
            self.line(&format!("{}  {}", self.dim(&format!("{name:width$}")), plain(&value)))?;
        }
        Ok(())
    }

    fn document(self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(&serde_json::to_string_pretty(value).map_err(|e| Failure::general(e.to_string()))?)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn blue(self, text: &str) -> String {
        self.paint("34", text)
    }

    fn paint(self, style: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text from others without control characters, which could do anything to a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A time of day, or a date where it is not today, in the person's own time zone.
pub(crate) fn when(at: Timestamp) -> String {
    let Some(time) = DateTime::from_timestamp_millis(at.as_millis()) else { return at.to_string() };
    let (time, now) = (time.with_timezone(&Local), Local::now());
    let format = if time.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    time.format(format).to_string()
}
