//! Tables as CSV (RFC 4180 with line feeds, UTF-8), which spreadsheets open without running
//! anything.

use std::borrow::Cow;

use csv::{Writer, WriterBuilder};

use super::table::{Cell, Column, Sums};

/// With what the last line begins. No other line does: fields that begin with it are quoted.
const COMMENT: u8 = b'#';

/// Rows of a CSV file.
pub(super) struct CsvRows {
    writer: Writer<Vec<u8>>,
    /// Ids and names stand as they are, also where a spreadsheet would take them for formulas.
    exact_text: bool,
}

fn writer() -> Writer<Vec<u8>> {
    let mut builder = WriterBuilder::new();
    builder.comment(Some(COMMENT)).from_writer(Vec::new())
}

impl CsvRows {
    pub(super) fn new(exact_text: bool) -> CsvRows {
        CsvRows {
            writer: writer(),
            exact_text,
        }
    }

    pub(super) fn header(&mut self, columns: &[Column]) {
        columns.iter().for_each(|column| self.field(column.name));
        self.end_line();
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) {
        for cell in cells {
            match cell {
                Cell::Empty => self.field(""),
                Cell::Text(text) if self.exact_text => self.field(text),
                Cell::Text(text) => self.field(&guarded(text)),
                other => self.field(&other.to_string()),
            }
        }
        self.end_line();
    }

    fn field(&mut self, text: &str) {
        let written = self.writer.write_field(text);
        written.expect("memory takes every field");
    }

    fn end_line(&mut self) {
        let written = self.writer.write_record(None::<&[u8]>);
        written.expect("every row has a field for each column");
    }

    /// The last line of a file that is whole: a comment with the number of rows and the sums. A
    /// file without it was cut short. It says so if rows are missing.
    pub(super) fn trailer(&mut self, sums: &Sums, is_partial: bool) -> Vec<u8> {
        let rows = ("rows", sums.rows().to_string());
        let partial = is_partial.then(|| ("partial", "true".to_owned()));
        let each = std::iter::once(rows).chain(partial).chain(sums.each());
        let words: Vec<String> = each.map(|(name, sum)| format!("{name}={sum}")).collect();
        let mut bytes = self.take();
        bytes.extend(format!("# end {}\n", words.join(" ")).into_bytes());
        bytes
    }

    /// What has been written since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let written = std::mem::replace(&mut self.writer, writer());
        written.into_inner().expect("memory takes every byte")
    }
}

/// Text that no spreadsheet takes for a formula: an apostrophe stands before what begins like one.
/// An apostrophe at the beginning gets another, so that the text can be had back: take one leading
/// apostrophe away.
pub(super) fn guarded(text: &str) -> Cow<'_, str> {
    let begins_formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    let is_guard = |c: char| c == '\'' || c.is_control();
    match text.chars().next() {
        Some(first) if begins_formula(first) || is_guard(first) => Cow::Owned(format!("'{text}")),
        _ => Cow::Borrowed(text),
    }
}
