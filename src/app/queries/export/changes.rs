//! Every account of a replay as a table: what it has under either rules.

use ::parquet::errors::ParquetError;

use super::csv::CsvRows;
use super::parquet::ParquetRows;
use super::request::ExportFormat;
use super::table::{Cell, Column, ColumnKind, Sums};
use crate::app::queries::replay::AccountChange;
use crate::domain::ids::AccountKind;
use crate::domain::time::Month;

use ColumnKind::{Count, Money, Points, Text};

const CHANGES: &[Column] = &[
    Column::new("kind", Text),
    Column::new("id", Text),
    Column::summed("requests", Count),
    Column::summed("points_before", Points),
    Column::summed("points_after", Points),
    Column::summed("referral_points_before", Points),
    Column::summed("referral_points_after", Points),
    Column::summed("cost_usd_before", Money),
    Column::summed("cost_usd_after", Money),
    Column::summed("shadow_cost_usd_before", Money),
    Column::summed("shadow_cost_usd_after", Money),
];

/// A file of every account of a replay. Points are all that its requests and its referrals bring;
/// those from referrals stand beside them as well.
pub struct ChangesFile {
    rows: Rows,
    sums: Sums,
}

enum Rows {
    Csv(Box<CsvRows>),
    Parquet(Box<ParquetRows>),
}

impl ChangesFile {
    /// An empty file of a month; CSV, unless Parquet is asked for.
    ///
    /// # Errors
    /// None that memory does not bring.
    pub fn new(
        format: ExportFormat,
        exact_text: bool,
        month: Month,
    ) -> Result<ChangesFile, ParquetError> {
        let rows = match format {
            ExportFormat::Parquet => {
                let notes = vec![("month", month.to_string()), ("what", "replay".to_owned())];
                Rows::Parquet(Box::new(ParquetRows::new(CHANGES, notes)?))
            }
            ExportFormat::Csv | ExportFormat::Focus => {
                let mut rows = CsvRows::new(exact_text);
                rows.header(CHANGES);
                Rows::Csv(Box::new(rows))
            }
        };
        let sums = Sums::new(CHANGES);
        Ok(ChangesFile { rows, sums })
    }

    /// Adds an account.
    pub fn account(&mut self, kind: AccountKind, id: &str, change: &AccountChange) {
        let points = change.points();
        let row = [
            Cell::Text(kind.as_str()),
            Cell::Text(id),
            Cell::Count(change.requests.into()),
            Cell::Points(points.before),
            Cell::Points(points.after),
            Cell::Points(change.referral.before),
            Cell::Points(change.referral.after),
            Cell::Money(change.cost.before),
            Cell::Money(change.cost.after),
            Cell::Money(change.shadow_cost.before),
            Cell::Money(change.shadow_cost.after),
        ];
        self.sums.add(&row);
        match &mut self.rows {
            Rows::Csv(rows) => rows.row(&row),
            Rows::Parquet(rows) => rows.row(&row),
        }
    }

    /// What has been written since the last call.
    ///
    /// # Errors
    /// None that memory does not bring.
    pub fn take(&mut self) -> Result<Vec<u8>, ParquetError> {
        match &mut self.rows {
            Rows::Csv(rows) => Ok(rows.take()),
            Rows::Parquet(rows) => rows.take(),
        }
    }

    /// The rest of the file, which says so if requests are missing.
    ///
    /// # Errors
    /// None that memory does not bring.
    pub fn end(mut self, is_partial: bool) -> Result<Vec<u8>, ParquetError> {
        match &mut self.rows {
            Rows::Csv(rows) => Ok(rows.trailer(&self.sums, is_partial)),
            Rows::Parquet(rows) => rows.end(is_partial),
        }
    }
}
