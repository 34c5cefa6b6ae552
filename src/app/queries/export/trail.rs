//! The audit trail as a CSV file, newest entry first: for finance every credit and every correction
//! of a time, with its amount and the sum of all.

use std::sync::Arc;

use bytes::Bytes;

use super::ExportError;
use super::csv::CsvRows;
use super::table::{Cell, Column, ColumnKind, Sums};
use crate::app::queries::{AuditEntry, AuditFilter, Queries};
use crate::domain::amount::{Money, Points};

/// The actions whose amounts are summed.
const CREDIT: &str = "credits.add";
const ADJUSTMENT: &str = "awards.adjust";

/// Entries that are read and handed on at a time.
const TOGETHER: usize = 500;

/// What the file says of an entry. Amounts stand in columns of their own; everything that an entry
/// says is in `detail`.
const COLUMNS: &[Column] = &[
    Column::new("at", ColumnKind::Time),
    Column::new("action", ColumnKind::Text),
    Column::new("subject", ColumnKind::Text),
    Column::new("by", ColumnKind::Text),
    Column::summed("amountUsd", ColumnKind::Money),
    Column::summed("points", ColumnKind::Points),
    Column::new("reason", ColumnKind::Text),
    Column::new("key", ColumnKind::Text),
    Column::new("detail", ColumnKind::Text),
    Column::new("changes", ColumnKind::Text),
    Column::new("furtherChanges", ColumnKind::Count),
];

/// The file, in the making.
pub struct TrailFile {
    queries: Arc<Queries>,
    filter: AuditFilter,
    rows: CsvRows,
    sums: Sums,
    stage: Stage,
}

enum Stage {
    Header,
    /// Entries older than this one.
    Entries(Option<String>),
    End,
    Done,
}

impl Queries {
    /// Begins a file of the entries that the filter takes.
    pub fn trail_file(self: Arc<Queries>, filter: AuditFilter, exact_text: bool) -> TrailFile {
        TrailFile {
            queries: self,
            filter,
            rows: CsvRows::new(exact_text),
            sums: Sums::new(COLUMNS),
            stage: Stage::Header,
        }
    }
}

impl TrailFile {
    /// Its name.
    pub fn file_name(&self) -> &'static str {
        "tidemark-audit.csv"
    }

    /// How many entries have been written so far, and what they sum up to.
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// The next piece of the file; `None` after the last. After an error, the file is incomplete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        loop {
            let piece = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Done => return Ok(None),
                Stage::Header => {
                    self.rows.header(COLUMNS);
                    self.stage = Stage::Entries(None);
                    self.rows.take()
                }
                Stage::Entries(before) => {
                    let before = before.as_deref();
                    let page = self.queries.audit_page(&self.filter, before, TOGETHER);
                    let page = page.await?;
                    for entry in &page.entries {
                        self.entry(entry);
                    }
                    let more = |next| Stage::Entries(Some(next));
                    self.stage = page.next.map_or(Stage::End, more);
                    self.rows.take()
                }
                Stage::End => self.rows.trailer(&self.sums, false),
            };
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
        }
    }

    fn entry(&mut self, entry: &AuditEntry) {
        let text = |name: &str| entry.detail[name].as_str();
        let of = |action: &str, name: &str| text(name).filter(|_| entry.action == action);
        let amount = of(CREDIT, "amount").and_then(|text| text.parse::<Money>().ok());
        let points = of(ADJUSTMENT, "points").and_then(|text| text.parse::<Points>().ok());
        let detail = entry.detail.to_string();
        let changes = serde_json::to_value(&entry.changes).unwrap_or_default();
        let changes = match entry.changes.is_empty() {
            true => String::new(),
            false => changes.to_string(),
        };
        let row = [
            Cell::Time(entry.at),
            Cell::Text(&entry.action),
            Cell::Text(&entry.subject),
            Cell::Text(&entry.by),
            amount.map_or(Cell::Empty, Cell::Money),
            points.map_or(Cell::Empty, Cell::Points),
            Cell::Text(text("reason").unwrap_or_default()),
            Cell::Text(text("idempotencyKey").unwrap_or_default()),
            Cell::Text(&detail),
            Cell::Text(&changes),
            match entry.further_changes {
                0 => Cell::Empty,
                count => Cell::count(Some(count as u64)),
            },
        ];
        self.rows.row(&row);
        self.sums.add(&row);
    }
}
