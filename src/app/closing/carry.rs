//! What the closes before carried over: read from the files of the newest, or computed again.

use super::{Closing, Room};
use crate::app::{CommandError, Refusal};
use crate::claims::{
    Claims, CloseFile, CloseTotals, FileError, FileKind, read_accounts, read_leaves,
};
use crate::domain::closing::{CarriedAccount, CarriedOver, ClosedMonth, Shape};
use crate::domain::time::Month;
use crate::store::closes::StoredClose;

/// What a close is built on.
pub(super) struct Before {
    /// What was carried over.
    pub carried: CarriedOver,
    /// The hash of the `close.json` before; `None`: there is none.
    pub sha256: Option<String>,
}

/// What becomes of files of earlier closes that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LostFiles {
    /// They are written again.
    WriteAgain,
    /// They stay away: nothing is written.
    Leave,
}

/// The `close.json` of a finished close.
pub(super) fn close_file(close: &StoredClose) -> Result<Option<CloseFile>, CommandError> {
    let Some(finished) = &close.finished else {
        return Ok(None);
    };
    let file = CloseFile::read(finished.file.as_bytes());
    file.map(Some).map_err(|error| {
        let month = close.begun.month;
        CommandError::Internal(format!("the record of the close of {month}: {error}"))
    })
}

impl Closing {
    /// What these closes carried over, which are all that came before, oldest first. What
    /// stood in files that are gone is computed again.
    pub(super) async fn before(
        &self,
        closes: &[StoredClose],
        lost: LostFiles,
        room: &Room,
    ) -> Result<Before, CommandError> {
        let mut known = None;
        let mut again = Vec::new();
        for close in closes.iter().rev() {
            let file = close_file(close)?.ok_or_else(|| unfinished(close.begun.month))?;
            if let Some(carried) = self.read_carried(&file).await? {
                let sha256 = Some(file.sha256());
                known = Some(Before { carried, sha256 });
                break;
            }
            again.push((close, file));
        }
        let mut before = known.unwrap_or_else(|| Before {
            carried: CarriedOver::default(),
            sha256: None,
        });
        for (close, file) in again.into_iter().rev() {
            before = match lost {
                LostFiles::WriteAgain => self.close_again(close, &file, before, room).await?,
                LostFiles::Leave => self.compute_again(close, &file, before, room).await?,
            };
        }
        Ok(before)
    }

    /// `None`: a file is gone.
    async fn read_carried(&self, file: &CloseFile) -> Result<Option<CarriedOver>, CommandError> {
        let Some(accounts) = self.read_whole(file, FileKind::Accounts).await? else {
            return Ok(None);
        };
        let mut carried = CarriedOver::default();
        let month = file.month;
        let broken =
            |error: FileError| CommandError::Internal(format!("the close of {month}: {error}"));
        let name = FileKind::Accounts.to_string();
        let each = &mut |row: crate::claims::AccountRow| {
            let (debt, unpaid) = (row.debt, row.unpaid);
            let account = CarriedAccount { debt, unpaid };
            if account != CarriedAccount::default() {
                carried.accounts.insert(row.account, account);
            }
        };
        read_accounts(&name, &accounts, each).map_err(broken)?;
        drop(accounts);
        if file.entry(FileKind::CumulativeTree).is_some() {
            let Some(tree) = self.read_whole(file, FileKind::CumulativeTree).await? else {
                return Ok(None);
            };
            let name = FileKind::CumulativeTree.to_string();
            let leaves = read_leaves(&name, &tree, Shape::Standard).map_err(broken)?;
            carried.paid = leaves
                .iter()
                .map(|leaf| (leaf.address, leaf.amount))
                .collect();
        }
        Ok(Some(carried))
    }

    /// Computes a close again, and writes what is gone of its files.
    pub(super) async fn close_again(
        &self,
        close: &StoredClose,
        file: &CloseFile,
        before: Before,
        room: &Room,
    ) -> Result<Before, CommandError> {
        let begun = &close.begun;
        tracing::warn!(
            event = "closing.recomputed", month = %begun.month,
            "files of an earlier close are gone; they are computed and written again"
        );
        let Before { carried, sha256 } = before;
        let closed = self
            .compute(begun.month, &begun.terms, begun.control, carried, room)
            .await?;
        must_come_out_as(&closed, file)?;
        // Nothing is written that is not what the record says, byte for byte.
        let made = self.hash_files(begun, &closed, sha256.clone()).await?;
        if made != *file {
            return Err(came_out_differently(begun.month));
        }
        let made = self.write_files(begun, &closed, sha256).await?;
        self.write_close_file(&made).await?;
        Ok(Before {
            carried: closed.carried_over(),
            sha256: Some(made.sha256()),
        })
    }

    /// Computes a close again, and writes nothing.
    async fn compute_again(
        &self,
        close: &StoredClose,
        file: &CloseFile,
        before: Before,
        room: &Room,
    ) -> Result<Before, CommandError> {
        let begun = &close.begun;
        let closed = self
            .compute(
                begun.month,
                &begun.terms,
                begun.control,
                before.carried,
                room,
            )
            .await?;
        must_come_out_as(&closed, file)?;
        Ok(Before {
            carried: closed.carried_over(),
            sha256: Some(file.sha256()),
        })
    }
}

/// Refuses other sums than those of the close's record: before any file is written.
fn must_come_out_as(closed: &ClosedMonth, file: &CloseFile) -> Result<(), CommandError> {
    let claims = Claims::of_close(closed).entries().len();
    match CloseTotals::of(&closed.totals, claims) == file.totals {
        true => Ok(()),
        false => Err(came_out_differently(file.month)),
    }
}

/// The code of a close that does not come out as it did.
pub(super) const DIFFERS: &str = "close_differs";

fn came_out_differently(month: Month) -> CommandError {
    let detail = format!(
        "the close of {month} came out differently when it was computed again; rows or the control \
         feed were changed since, or another version of tidemark closed it. Nothing was written. \
         Restore its files from a backup, or repeat this with the version that closed it"
    );
    Refusal::conflict(DIFFERS, detail).into()
}

/// An earlier month whose close was begun and not finished.
pub(super) fn unfinished(month: Month) -> CommandError {
    let detail = format!(
        "the close of {month} was begun and not finished; finish it first: `tidemark close {month}`"
    );
    Refusal::conflict("close_unfinished", detail).into()
}
