//! Begins, continues and finishes a close.

use std::sync::Arc;

use serde_json::json;

use super::carry::{DIFFERS, LostFiles, close_file, unfinished};
use super::files::{DAMAGED, checked, damaged};
use super::missing::missing_of;
use super::view::{ClosePreview, CloseView};
use super::{ClosedFile, Closing, Room};
use crate::app::{CommandError, Refusal};
use crate::claims::{Claims, CloseTotals, FileKind, FileName};
use crate::domain::closing::{ClosedMonth, Terms, TermsError, TermsText};
use crate::domain::time::Month;
use crate::store::closes::{self, BegunClose, FinishedClose, StoredClose};
use crate::store::{audit, control};

/// What the audit trail calls it.
const ACTION: &str = "closes.close";

impl From<TermsError> for CommandError {
    fn from(error: TermsError) -> CommandError {
        Refusal::invalid(error.code(), error).into()
    }
}

/// What a close comes to.
struct Computed {
    closed: Arc<ClosedMonth>,
    /// The hash of the `close.json` before; `None`: there is none.
    previous: Option<String>,
}

/// How a close that was asked for relates to those that are there.
enum Start {
    /// It was begun or finished on these terms.
    There(Box<StoredClose>),
    /// It comes after these.
    After(Vec<StoredClose>),
}

impl Closing {
    /// What a close on these terms would pay, as of now. It writes nothing.
    pub async fn preview(
        &self,
        month: Month,
        terms: TermsText,
    ) -> Result<ClosePreview, CommandError> {
        let terms = Terms::try_from(terms)?;
        self.files()?;
        self.must_be_final(month).await?;
        let room = self.room()?;
        let (control, earlier) = match self.start(month, &terms).await? {
            Start::There(close) => (close.begun.control, self.earlier_than(month).await?),
            Start::After(earlier) => (control::head(self.db()).await?, earlier),
        };
        let before = self.before(&earlier, LostFiles::Leave, &room).await?;
        let closed = self
            .compute(month, &terms, control, before.carried, &room)
            .await?;
        must_concern_somebody(month, &closed, earlier.is_empty())?;
        let claims = Claims::of_close(&closed).entries().len();
        Ok(ClosePreview {
            month,
            control: control.0,
            terms: terms.into(),
            totals: CloseTotals::of(&closed.totals, claims),
            is_first: earlier.is_empty(),
        })
    }

    /// Closes a month, or finishes a close that was begun. `None` as terms: those with which it was
    /// begun. Closing again on the same terms changes nothing.
    pub async fn close(
        &self,
        month: Month,
        terms: Option<TermsText>,
        by: &str,
    ) -> Result<CloseView, CommandError> {
        let closed = self.close_now(month, terms, by).await;
        match &closed {
            Ok(_) => self.tell_closed(month),
            Err(CommandError::Refused(refusal)) if !matches!(refusal.code, DAMAGED | DIFFERS) => {}
            Err(error) => {
                self.metrics.closing_failures_total.inc();
                tracing::error!(event = "closing.failed", %month, %error, "a month was not closed");
            }
        }
        closed
    }

    async fn close_now(
        &self,
        month: Month,
        terms: Option<TermsText>,
        by: &str,
    ) -> Result<CloseView, CommandError> {
        let room = self.room()?;
        let terms = match terms {
            Some(terms) => Terms::try_from(terms)?,
            None => self.stored(month).await?.begun.terms,
        };
        self.files()?;
        let (close, computed) = match self.start(month, &terms).await? {
            Start::There(close) => (*close, None),
            Start::After(earlier) => self.begin(month, terms, &earlier, by, &room).await?,
        };
        match close.finished {
            Some(_) => {
                self.restore_files(&close, &room).await?;
                CloseView::of(&close)
            }
            None => self.finish(close.begun, computed, by, &room).await,
        }
    }

    /// Writes the files of a finished close again if one is gone or has another length.
    async fn restore_files(&self, close: &StoredClose, room: &Room) -> Result<(), CommandError> {
        let month = close.begun.month;
        let Some(file) = close_file(close)? else {
            return Ok(());
        };
        if missing_of(self.files()?, &file).await?.is_empty() {
            return Ok(());
        }
        let earlier = self.earlier_than(month).await?;
        let before = self.before(&earlier, LostFiles::WriteAgain, room).await?;
        self.close_again(close, &file, before, room).await?;
        Ok(())
    }

    async fn earlier_than(&self, month: Month) -> Result<Vec<StoredClose>, CommandError> {
        let mut closes = closes::all(self.db()).await?;
        closes.retain(|close| close.begun.month < month);
        Ok(closes)
    }

    fn tell_closed(&self, month: Month) {
        let begins = month.start().0 / 1_000;
        let gauge = &self.metrics.closing_last_closed_timestamp_seconds;
        gauge.set(gauge.get().max(begins));
    }

    fn room(&self) -> Result<Room, CommandError> {
        let room = self.room.clone().try_acquire_owned();
        room.map(Arc::new).map_err(|_| {
            let detail =
                "a month is being closed or previewed by this process; wait until that is done";
            Refusal::conflict("close_running", detail).into()
        })
    }

    async fn start(&self, month: Month, terms: &Terms) -> Result<Start, CommandError> {
        let all = closes::all(self.db()).await?;
        if let Some(close) = all.iter().find(|close| close.begun.month == month) {
            must_be_on(close, terms)?;
            return Ok(Start::There(Box::new(close.clone())));
        }
        if let Some(newest) = all.last() {
            let next = newest.begun.month.next();
            if newest.finished.is_none() {
                return Err(unfinished(newest.begun.month));
            }
            if month != next {
                let detail = format!("months are closed in order; the next one is {next}");
                return Err(Refusal::conflict("months_out_of_order", detail).into());
            }
            must_be_the_same_token(&newest.begun.terms, terms)?;
        }
        self.must_not_be_forgotten(month, &all).await?;
        Ok(Start::After(all))
    }

    /// Refuses a month whose files are there without a record, and one before which there is such a
    /// month: closed again, it could pay other amounts than those that were published.
    async fn must_not_be_forgotten(
        &self,
        month: Month,
        earlier: &[StoredClose],
    ) -> Result<(), CommandError> {
        let before = earlier.is_empty().then_some(Month(month.0 - 1));
        for month in before.into_iter().chain([month]) {
            let kind = FileKind::Close;
            let name = FileName { month, kind };
            let is_there = self.files()?.size(&name.to_string()).await?.is_some();
            // Another process may have closed it since.
            if is_there && closes::get(self.db(), month).await?.is_none() {
                return Err(forgotten(name, self.files()?.place()));
            }
        }
        Ok(())
    }

    /// What a close comes to, after these.
    async fn computed(
        &self,
        begun: &BegunClose,
        earlier: &[StoredClose],
        room: &Room,
    ) -> Result<Computed, CommandError> {
        let before = self.before(earlier, LostFiles::WriteAgain, room).await?;
        let BegunClose {
            month,
            terms,
            control,
            ..
        } = begun;
        let closed = self.compute(*month, terms, *control, before.carried, room);
        Ok(Computed {
            closed: closed.await?,
            previous: before.sha256,
        })
    }

    /// The first step. What it came to is for the second one, unless somebody else began meanwhile.
    async fn begin(
        &self,
        month: Month,
        terms: Terms,
        earlier: &[StoredClose],
        by: &str,
        room: &Room,
    ) -> Result<(StoredClose, Option<Computed>), CommandError> {
        self.must_be_final(month).await?;
        let positions = self.positions().await?;
        let begun = BegunClose {
            month,
            control: control::head(self.db()).await?,
            terms: terms.clone(),
            positions,
            by: by.to_owned(),
            at: self.now(),
        };
        // What can be refused is refused before anything is written.
        let computed = self.computed(&begun, earlier, room).await?;
        must_concern_somebody(month, &computed.closed, earlier.is_empty())?;
        let previous = earlier.last().map(|close| close.begun.month);
        let stored = closes::begin(self.db(), &begun, previous).await?;
        let stored = stored.ok_or_else(|| {
            let detail = "another month was closed meanwhile; look at the closes and try again";
            CommandError::from(Refusal::conflict("months_out_of_order", detail))
        })?;
        must_be_on(&stored, &terms)?;
        tracing::info!(event = "closing.begun", %month, by, "a month is being closed");
        let is_ours = stored.begun == begun;
        Ok((stored, is_ours.then_some(computed)))
    }

    /// The second and the third step.
    async fn finish(
        &self,
        begun: BegunClose,
        computed: Option<Computed>,
        by: &str,
        room: &Room,
    ) -> Result<CloseView, CommandError> {
        let month = begun.month;
        self.must_be_final(month).await?;
        let Computed { closed, previous } = match computed {
            Some(computed) => computed,
            None => {
                let earlier = self.earlier_than(month).await?;
                self.computed(&begun, &earlier, room).await?
            }
        };
        let file = self.write_files(&begun, &closed, previous).await?;
        drop(closed);
        self.write_close_file(&file).await?;
        let text = String::from_utf8(file.bytes());
        let finished = FinishedClose {
            file: text.map_err(|error| CommandError::Internal(error.to_string()))?,
            by: by.to_owned(),
            at: self.now(),
        };
        let entry = audit::Entry {
            at: finished.at,
            action: ACTION.to_owned(),
            subject: month.to_string(),
            by: by.to_owned(),
            detail: json!({
                "begunBy": begun.by,
                "control": begun.control.0,
                "terms": begun.terms,
                "totals": file.totals,
                "roots": file.roots,
                "closeSha256": file.sha256(),
            }),
        };
        let stands = closes::finish(self.db(), &begun, &finished, &entry).await?;
        if stands.file != finished.file {
            return Err(closed_otherwise(month, &stands, self.files()?.place()));
        }
        tracing::info!(event = "closing.finished", %month, by, "a month was closed");
        CloseView::of(&StoredClose {
            begun,
            finished: Some(stands),
        })
    }
}

/// Another process was first, and something else came of it: with files in one place it would have
/// found ours there.
fn closed_otherwise(month: Month, stands: &FinishedClose, place: &str) -> CommandError {
    let detail = format!(
        "{} closed {month} at {} with another result, which is kept: by another version of tidemark, \
         and with its files elsewhere. The files of {month} in {place} do not belong to it. Give all \
         processes the same version and the same closing.location, move the folder {month} in {place} \
         away, and run `tidemark close {month}`",
        stands.by, stands.at
    );
    Refusal::conflict(DIFFERS, detail).into()
}

fn forgotten(name: FileName, place: &str) -> CommandError {
    let month = name.month;
    let detail = format!(
        "{name} is in {place}, but the tables hold no record of that close: they were restored to a \
         moment before it, or the files belong to another installation. Restore the tables to a \
         moment after the close. If that is impossible, move the folder {month} away: the month is \
         then closed again, and may pay other amounts than those that were published"
    );
    Refusal::conflict("close_record_missing", detail).into()
}

fn must_be_on(close: &StoredClose, terms: &Terms) -> Result<(), CommandError> {
    if close.begun.terms == *terms {
        return Ok(());
    }
    let month = close.begun.month;
    let stands = TermsText::from(close.begun.terms.clone());
    let paid = match (stands.pool, stands.tokens_per_point) {
        (Some(pool), _) => format!("a pool of {pool}"),
        (None, per_point) => format!("{} per point", per_point.unwrap_or_default()),
    };
    let (kinds, minimum) = (
        stands.kinds.unwrap_or_default(),
        stands.minimum.unwrap_or_default(),
    );
    let detail = format!(
        "{month} was closed on other terms: {paid}, {} decimals, {kinds}, minimum {minimum}; a month is \
         closed once",
        stands.decimals
    );
    Err(Refusal::conflict("closed_on_other_terms", detail).into())
}

/// Refuses a first close that concerns no account: probably another month was meant, and every month
/// after it would have to be closed before that one.
fn must_concern_somebody(
    month: Month,
    closed: &ClosedMonth,
    is_first: bool,
) -> Result<(), Refusal> {
    if !is_first || closed.totals.accounts > 0 {
        return Ok(());
    }
    let detail = format!(
        "no account has points in {month}, and it would be the first close: months are closed in order \
         from then on. Begin with the first month that has points to pay for"
    );
    Err(Refusal::conflict("nothing_to_close", detail))
}

/// What is carried over is in units of the token.
fn must_be_the_same_token(before: &Terms, terms: &Terms) -> Result<(), CommandError> {
    if before.decimals == terms.decimals {
        return Ok(());
    }
    let detail = format!(
        "earlier months were closed with {} decimals, and what they carry over is in that unit; use the \
         same",
        before.decimals
    );
    Err(Refusal::conflict("decimals_changed", detail).into())
}

impl Closing {
    /// The close of a month.
    pub async fn show(&self, month: Month) -> Result<CloseView, CommandError> {
        CloseView::of(&self.stored(month).await?)
    }

    /// All closes, newest first.
    pub async fn list(&self) -> Result<Vec<CloseView>, CommandError> {
        let closes = closes::all(self.db()).await?;
        closes.iter().rev().map(CloseView::of).collect()
    }

    /// Opens a file of a finished close. A file of another length is refused at once; whether its
    /// bytes are those that the close recorded is known once they are read, so that the pieces of one
    /// with others end in an error.
    pub async fn open_file(
        &self,
        month: Month,
        kind: FileKind,
    ) -> Result<ClosedFile, CommandError> {
        let close = self.stored(month).await?;
        let file = close_file(&close)?.ok_or_else(|| unfinished(month))?;
        let name = FileName { month, kind };
        let expected = match kind {
            FileKind::Close => Some((file.bytes().len() as u64, file.sha256())),
            kind => {
                let entry = file.entry(kind);
                entry.map(|entry| (entry.bytes, entry.sha256.clone()))
            }
        };
        let gone = || {
            let detail = format!("the close of {month} has no file {kind}, or it is gone");
            CommandError::from(Refusal::not_found("no_such_file", detail))
        };
        let (expected, sha256) = expected.ok_or_else(gone)?;
        let files = self.files()?;
        let found = files.get_pieces(&name.to_string()).await?;
        let (bytes, pieces) = found.ok_or_else(gone)?;
        if bytes != expected {
            return Err(damaged(name));
        }
        Ok(ClosedFile {
            name,
            bytes,
            pieces: checked(name, files.place(), sha256, pieces),
        })
    }
}
