//! What is exported, and in which form.

use std::fmt;
use std::str::FromStr;

use crate::app::Refusal;
use crate::domain::ids::check_id;
use crate::domain::time::Month;

/// Who issues the invoices in FOCUS files, unless something else is given.
pub const ISSUER_DEFAULT: &str = "tidemark";

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportWhat {
    /// One row per account.
    Statements,
    /// One row per account and service.
    Services,
    /// One row per account and day.
    Days,
    /// One row per archived record.
    Requests,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values.
    Csv,
    /// Parquet.
    Parquet,
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

names!(ExportWhat {
    Statements => "statements",
    Services => "services",
    Days => "days",
    Requests => "requests",
});
names!(ExportFormat {
    Csv => "csv",
    Parquet => "parquet",
    Focus => "focus",
});

impl ExportFormat {
    /// As HTTP names it.
    pub const fn content_type(self) -> &'static str {
        match self {
            ExportFormat::Csv | ExportFormat::Focus => "text/csv; charset=utf-8",
            ExportFormat::Parquet => "application/vnd.apache.parquet",
        }
    }

    pub(super) const fn extension(self) -> &'static str {
        match self {
            ExportFormat::Csv => "csv",
            ExportFormat::Parquet => "parquet",
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
    /// Ids and names stand in CSV as they are, also where a spreadsheet would take them for
    /// formulas.
    pub exact_text: bool,
    /// Who issues the invoices, in FOCUS files.
    pub issuer: String,
    /// Of requests: whether they are exported even if the archive lacks some of them.
    pub partial: bool,
}

impl ExportRequest {
    /// Refuses what there is no file of.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let is_charged = matches!(self.what, ExportWhat::Statements | ExportWhat::Requests);
        if self.format == ExportFormat::Focus && !is_charged {
            let detail = format!(
                "FOCUS describes charges, and {} are not charges; export statements or requests as focus, or {} as csv",
                self.what, self.what
            );
            return Err(Refusal::invalid("not_in_focus", detail));
        }
        check_id(&self.issuer)
            .map_err(|error| Refusal::invalid("invalid_issuer", format!("the issuer: {error}")))
    }
}
