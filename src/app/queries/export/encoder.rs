//! Rows into the bytes of a format.

use ::parquet::errors::ParquetError;

use super::csv::CsvRows;
use super::focus::{FocusRows, charge_of};
use super::parquet::ParquetRows;
use super::request::ExportWhat;
use super::requests::{REQUESTS, charge_of_request, request_row};
use super::statements::{DAYS, SERVICES, STATEMENTS, day_rows, service_rows, statement_row};
use super::table::{Cell, Column, Sums};
use crate::archive::ArchivedRequest;
use crate::domain::statement::Statement;

/// A file in the making, in one of the formats.
pub(super) enum Encoder {
    Csv(CsvRows),
    Parquet(Box<ParquetRows>),
    Focus(FocusRows),
}

pub(super) fn columns_of(what: ExportWhat) -> &'static [Column] {
    match what {
        ExportWhat::Statements => STATEMENTS,
        ExportWhat::Services => SERVICES,
        ExportWhat::Days => DAYS,
        ExportWhat::Requests => REQUESTS,
    }
}

impl Encoder {
    pub(super) fn header(&mut self, what: ExportWhat) -> Result<Vec<u8>, ParquetError> {
        match self {
            Encoder::Csv(rows) => rows.header(columns_of(what)),
            Encoder::Focus(rows) => rows.header(),
            Encoder::Parquet(_) => {}
        }
        self.take()
    }

    pub(super) fn statement(&mut self, what: ExportWhat, statement: &Statement, sums: &mut Sums) {
        if let Encoder::Focus(rows) = self {
            if let Some(charge) = charge_of(statement) {
                rows.charge(charge, sums);
            }
            return;
        }
        let mut each = |cells: &[Cell<'_>]| self.row(cells, sums);
        match what {
            ExportWhat::Statements => statement_row(statement, &mut each),
            ExportWhat::Services => service_rows(statement, &mut each),
            ExportWhat::Days => day_rows(statement, &mut each),
            // They come from the archive.
            ExportWhat::Requests => {}
        }
    }

    pub(super) fn request(&mut self, row: &ArchivedRequest<'_>, is_final: bool, sums: &mut Sums) {
        match self {
            Encoder::Focus(rows) => {
                if let Some(charge) = charge_of_request(row, is_final) {
                    rows.charge(charge, sums);
                }
            }
            _ => request_row(row, &mut |cells| self.row(cells, sums)),
        }
    }

    /// A row of what is no FOCUS file.
    fn row(&mut self, cells: &[Cell<'_>], sums: &mut Sums) {
        sums.add(cells);
        match self {
            Encoder::Csv(rows) => rows.row(cells),
            Encoder::Parquet(rows) => rows.row(cells),
            Encoder::Focus(_) => {}
        }
    }

    pub(super) fn take(&mut self) -> Result<Vec<u8>, ParquetError> {
        match self {
            Encoder::Csv(rows) => Ok(rows.take()),
            Encoder::Parquet(rows) => rows.take(),
            Encoder::Focus(rows) => Ok(rows.take()),
        }
    }

    /// The rest of the file, which says so if rows are missing.
    pub(super) fn end(
        &mut self,
        sums: &mut Sums,
        is_partial: bool,
    ) -> Result<Vec<u8>, ParquetError> {
        match self {
            Encoder::Csv(rows) => Ok(rows.trailer(sums, is_partial)),
            Encoder::Parquet(rows) => rows.end(is_partial),
            Encoder::Focus(rows) => Ok(rows.end(sums)),
        }
    }
}
