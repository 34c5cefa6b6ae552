//! Closes as people see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::carry::close_file;
use crate::app::CommandError;
use crate::app::queries::{optional_text, text};
use crate::claims::{CloseTotals, FileKind, Roots};
use crate::domain::closing::TermsText;
use crate::domain::time::{Millis, Month};
use crate::store::closes::{self, StoredClose};
use crate::store::db::{Db, StoreError};

/// How far a close is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CloseState {
    /// It was begun and not finished.
    Begun,
    /// It is finished.
    Closed,
}

/// A file of a close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClosedFileInfo {
    /// Its name.
    pub name: String,
    /// Its length; `null` for `close.json`.
    pub bytes: Option<u64>,
    /// Its SHA-256.
    pub sha256: String,
    /// Whether anybody may download it.
    pub public: bool,
}

/// A close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloseView {
    /// The month.
    #[schema(value_type = String, example = "2026-10")]
    pub month: Month,
    /// How far it is.
    pub state: CloseState,
    /// Who began it.
    pub begun_by: String,
    /// When.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub begun_at: Millis,
    /// Who finished it.
    pub closed_by: Option<String>,
    /// When.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub closed_at: Option<Millis>,
    /// Wallets are those as of this position of the control feed.
    pub control: u64,
    /// How far the posting partitions were when it began: `epoch/offset` of each.
    pub positions: Vec<String>,
    /// The terms, amounts in whole tokens.
    #[schema(value_type = Object)]
    pub terms: TermsText,
    /// Sums, amounts in the token's smallest unit.
    #[schema(value_type = Option<Object>)]
    pub totals: Option<CloseTotals>,
    /// Roots of the trees.
    #[schema(value_type = Option<Object>)]
    pub roots: Option<Roots>,
    /// Its files.
    pub files: Vec<ClosedFileInfo>,
}

/// What a close would pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClosePreview {
    /// The month.
    #[schema(value_type = String, example = "2026-10")]
    pub month: Month,
    /// Wallets are those as of this position of the control feed; a close takes the newest.
    pub control: u64,
    /// The terms, amounts in whole tokens.
    #[schema(value_type = Object)]
    pub terms: TermsText,
    /// Sums, amounts in the token's smallest unit.
    #[schema(value_type = Object)]
    pub totals: CloseTotals,
    /// Whether it would be the first close. Months before it can never be closed then.
    pub is_first: bool,
}

impl CloseView {
    /// The month that comes next if this is the newest close.
    pub const fn next_to_close(&self) -> Month {
        match self.state {
            CloseState::Begun => self.month,
            CloseState::Closed => self.month.next(),
        }
    }

    pub(super) fn of(close: &StoredClose) -> Result<CloseView, CommandError> {
        let StoredClose { begun, finished } = close;
        let file = close_file(close)?;
        let mut files = Vec::new();
        if let Some(file) = &file {
            files.push(ClosedFileInfo {
                name: FileKind::Close.to_string(),
                bytes: None,
                sha256: file.sha256(),
                public: true,
            });
            files.extend(file.files.iter().map(|entry| ClosedFileInfo {
                name: entry.name.clone(),
                bytes: Some(entry.bytes),
                sha256: entry.sha256.clone(),
                public: entry.name.parse().is_ok_and(FileKind::is_public),
            }));
        }
        let positions = begun.positions.iter();
        let position =
            |at: &crate::domain::position::Position| format!("{}/{}", at.epoch.0, at.offset.0);
        Ok(CloseView {
            month: begun.month,
            state: match finished {
                Some(_) => CloseState::Closed,
                None => CloseState::Begun,
            },
            begun_by: begun.by.clone(),
            begun_at: begun.at,
            closed_by: finished.as_ref().map(|finished| finished.by.clone()),
            closed_at: finished.as_ref().map(|finished| finished.at),
            control: begun.control.0,
            positions: positions.map(position).collect(),
            terms: begun.terms.clone().into(),
            totals: file.as_ref().map(|file| file.totals.clone()),
            roots: file.map(|file| file.roots),
            files,
        })
    }
}

/// The newest month that is closed, and one whose close was begun and not finished, with since
/// when.
pub async fn last_closed_and_unfinished(
    db: &dyn Db,
) -> Result<(Option<Month>, Option<(Month, Millis)>), StoreError> {
    let newest = closes::newest(db, None, 2).await?;
    let closed = newest.iter().find(|close| close.finished.is_some());
    let unfinished = newest.iter().find(|close| close.finished.is_none());
    Ok((
        closed.map(|close| close.begun.month),
        unfinished.map(|close| (close.begun.month, close.begun.at)),
    ))
}
