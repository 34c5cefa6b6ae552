//! A month as a file for finance: statements, their services and days, piece by piece.
//!
//! Memory stays bounded: a page of the table is read, encoded and handed on before the next is read. Rows
//! come in the order in which the table is read, users before providers. A file that was cut short can
//! be told from a whole one: CSV ends with a comment that counts the rows, FOCUS says the number of rows
//! in its last one.

mod csv;
mod focus;
mod statements;
mod table;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use super::statements::MonthView;
use super::{Queries, QueryError};
use crate::app::Refusal;
use crate::domain::ids::{Account, AccountKind, check_id};
use crate::domain::statement::Statement;
use crate::domain::time::{Millis, Month};
use crate::store::db::Item;
use csv::CsvRows;
pub use focus::FOCUS_VERSION;
use focus::{CHARGES, FocusRows, charge_of};
use statements::{DAYS, SERVICES, STATEMENTS, day_rows, service_rows, statement_row};
pub use table::{Column, ColumnKind, Sums};

/// Who issues the invoices in FOCUS files, unless something else is given.
pub const ISSUER_DEFAULT: &str = "tidemark";
/// Accounts that an error names.
const NAMED_MAX: usize = 10;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportWhat {
    /// One row per account.
    Statements,
    /// One row per account and service.
    Services,
    /// One row per account and day.
    Days,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values.
    Csv,
    /// Charges in FOCUS columns, as CSV.
    Focus,
}

/// A name that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not one of {}", .known.join(", "))]
pub struct UnknownName {
    given: String,
    known: &'static [&'static str],
}

/// Names there and back.
macro_rules! names {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Their names.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<$type, UnknownName> {
                match text {
                    $($name => Ok($type::$variant),)+
                    _ => Err(UnknownName { given: text.to_owned(), known: $type::NAMES }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

names!(ExportWhat { Statements => "statements", Services => "services", Days => "days" });
names!(ExportFormat { Csv => "csv", Focus => "focus" });

impl ExportFormat {
    /// As HTTP names it.
    pub const fn content_type(self) -> &'static str {
        match self {
            ExportFormat::Csv | ExportFormat::Focus => "text/csv; charset=utf-8",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            ExportFormat::Csv => "csv",
            ExportFormat::Focus => "focus.csv",
        }
    }
}

/// What is to be exported, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// Of which month.
    pub month: Month,
    /// Which rows.
    pub what: ExportWhat,
    /// In which form.
    pub format: ExportFormat,
    /// Ids and names stand in CSV as they are, also where a spreadsheet would take them for formulas.
    pub exact_text: bool,
    /// Who issues the invoices, in FOCUS files.
    pub issuer: String,
}

impl ExportRequest {
    /// Refuses what there is no file of.
    fn check(&self) -> Result<(), Refusal> {
        if self.format == ExportFormat::Focus && self.what != ExportWhat::Statements {
            let detail = format!(
                "FOCUS describes charges, and {} are not charges; export statements as focus, or {} as csv",
                self.what, self.what
            );
            return Err(Refusal::invalid("not_in_focus", detail));
        }
        check_id(&self.issuer)
            .map_err(|error| Refusal::invalid("invalid_issuer", format!("the issuer: {error}")))
    }
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Everything else has been written, but not these.
    #[error(
        "the file is incomplete: the rows of {count} accounts in {month} cannot be read, among them {named}. \
         Restore the rows and export again; `tidemark set-aside list` shows accounts that wait for that"
    )]
    Unreadable {
        /// The month.
        month: Month,
        /// How many accounts.
        count: u64,
        /// Some of them.
        named: String,
    },
}

/// A file in the making.
pub struct Export {
    queries: Arc<Queries>,
    view: MonthView,
    request: ExportRequest,
    encoder: Encoder,
    sums: Sums,
    stage: Stage,
    unreadable: Vec<Account>,
    unreadable_count: u64,
}

/// What comes next.
enum Stage {
    Header,
    /// A page of the table of this kind of account, after this item.
    Page(AccountKind, Option<Item>),
    End,
    Done,
}

enum Encoder {
    Csv(CsvRows),
    Focus(FocusRows),
}

impl Queries {
    /// Begins an export. What it is refused for is known before anything is read of the rows.
    pub async fn export(
        self: Arc<Queries>,
        request: ExportRequest,
        now: Millis,
    ) -> Result<Export, crate::app::CommandError> {
        request.check()?;
        if request.month > now.month() {
            let detail = format!("{} has not begun", request.month);
            return Err(Refusal::invalid("month_in_the_future", detail).into());
        }
        let view = self.month_view(request.month, now).await?;
        let (columns, encoder) = match request.format {
            ExportFormat::Csv => (
                columns_of(request.what),
                Encoder::Csv(CsvRows::new(request.exact_text)),
            ),
            ExportFormat::Focus => {
                let rows = FocusRows::new(request.exact_text, request.issuer.clone());
                (CHARGES, Encoder::Focus(rows))
            }
        };
        Ok(Export {
            queries: self,
            view,
            request,
            encoder,
            sums: Sums::new(columns),
            stage: Stage::Header,
            unreadable: Vec::new(),
            unreadable_count: 0,
        })
    }
}

fn columns_of(what: ExportWhat) -> &'static [Column] {
    match what {
        ExportWhat::Statements => STATEMENTS,
        ExportWhat::Services => SERVICES,
        ExportWhat::Days => DAYS,
    }
}

impl Export {
    /// What it is of.
    pub fn request(&self) -> &ExportRequest {
        &self.request
    }

    /// Whether nothing of the month can change any more. Rows of accounts that are set aside say for
    /// themselves that they are not final.
    pub fn is_final(&self) -> bool {
        self.view.is_final()
    }

    /// How many rows have been written so far, and what they sum up to.
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// A name for the file. It says so if the month is not final.
    pub fn file_name(&self) -> String {
        let ExportRequest {
            month,
            what,
            format,
            ..
        } = &self.request;
        let state = if self.is_final() { "" } else { "-not-final" };
        format!("tidemark-{month}-{what}{state}.{}", format.extension())
    }

    /// The next piece of the file; `None` after the last. After an error, the file is incomplete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        loop {
            let piece = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Done => return Ok(None),
                Stage::Header => {
                    self.stage = Stage::Page(AccountKind::ALL[0], None);
                    self.encoder.header(self.request.what)
                }
                Stage::Page(kind, after) => {
                    self.stage = self.page(kind, after).await?;
                    self.encoder.take()
                }
                Stage::End => {
                    self.check_complete()?;
                    self.encoder.end(&mut self.sums)
                }
            };
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
        }
    }

    async fn page(&mut self, kind: AccountKind, after: Option<Item>) -> Result<Stage, QueryError> {
        let statements = self.view.clone().of(&self.queries);
        let page = statements.page(kind, after).await?;
        for statement in &page.statements {
            self.encoder
                .statement(self.request.what, statement, &mut self.sums);
        }
        self.unreadable_count += page.unreadable.len() as u64;
        let room = NAMED_MAX.saturating_sub(self.unreadable.len());
        self.unreadable
            .extend(page.unreadable.into_iter().take(room));
        let mut kinds = AccountKind::ALL
            .into_iter()
            .skip_while(|other| *other != kind);
        Ok(match page.next {
            Some(next) => Stage::Page(kind, Some(next)),
            None => kinds
                .nth(1)
                .map_or(Stage::End, |next| Stage::Page(next, None)),
        })
    }

    fn check_complete(&self) -> Result<(), ExportError> {
        if self.unreadable_count == 0 {
            return Ok(());
        }
        let named: Vec<String> = self.unreadable.iter().map(Account::to_string).collect();
        Err(ExportError::Unreadable {
            month: self.request.month,
            count: self.unreadable_count,
            named: named.join(", "),
        })
    }
}

impl Encoder {
    fn header(&mut self, what: ExportWhat) -> Vec<u8> {
        match self {
            Encoder::Csv(rows) => rows.header(columns_of(what)),
            Encoder::Focus(rows) => rows.header(),
        }
        self.take()
    }

    fn statement(&mut self, what: ExportWhat, statement: &Statement, sums: &mut Sums) {
        match self {
            Encoder::Csv(rows) => {
                let mut each = |cells: &[table::Cell<'_>]| {
                    sums.add(cells);
                    rows.row(cells);
                };
                match what {
                    ExportWhat::Statements => statement_row(statement, &mut each),
                    ExportWhat::Services => service_rows(statement, &mut each),
                    ExportWhat::Days => day_rows(statement, &mut each),
                }
            }
            Encoder::Focus(rows) => {
                if let Some(charge) = charge_of(statement) {
                    rows.charge(charge, sums);
                }
            }
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Encoder::Csv(rows) => rows.take(),
            Encoder::Focus(rows) => rows.take(),
        }
    }

    fn end(&mut self, sums: &mut Sums) -> Vec<u8> {
        match self {
            Encoder::Csv(rows) => rows.trailer(sums),
            Encoder::Focus(rows) => rows.end(sums),
        }
    }
}
