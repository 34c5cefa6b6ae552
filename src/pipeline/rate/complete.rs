//! COMPLETE: what a later report of a request adds to the first. Pure; a part of the fold.
//!
//! The completed event takes the place of the original: it is rated with the original's rules and
//! links, and the difference is posted. The row of the original is never changed. The completion
//! has a row of its own beside it, which says everything that is known now and holds the position
//! of the completion that won: that is how a second completion is told from a rerun of the first.

use std::cmp::Ordering;

use super::archived::Completion;
use super::candidate::LaterReport;
use super::chunk::ChunkState;
use super::dedupe::conflict;
use super::fold::Completed;
use super::originals::{Original, Party, provider_of, service_of};
use super::reverse::already_reversed;
use super::tiers::Tiers;
use super::usage_rows::row_ahead;
use crate::domain::completion::{Comparison, compare};
use crate::domain::event::{Rejection, UsageEvent};
use crate::domain::ids::AccountRef;
use crate::domain::position::Position;
use crate::pipeline::failure::Failure;
use crate::pipeline::follower::Chains;
use crate::store::db::{Item, Key, StoreError};
use crate::store::usage::{self, RatedEvent};

/// What becomes of a later report.
enum Judgement {
    /// It completes the event whose row this is.
    Completes(Item),
    /// It says nothing new.
    Duplicate,
    Refused(Rejection),
}

impl<'r> ChunkState<'r> {
    /// Takes a later report of an event. Everything before it in the log is folded.
    pub(super) fn complete(
        &mut self,
        report: &LaterReport<'r>,
        chains: &Chains,
        tiers: &mut Tiers,
    ) -> Result<(), Failure> {
        match self.judge_report(report)? {
            Judgement::Completes(row) => self.accept_completion(report, &row, chains, tiers)?,
            Judgement::Duplicate => self.intake.duplicates += 1,
            Judgement::Refused(rejection) => {
                let reject = report.candidate.refused(rejection);
                self.intake.rejects.push(reject);
            }
        }
        Ok(())
    }

    fn judge_report(&self, report: &LaterReport<'_>) -> Result<Judgement, Failure> {
        let key = &report.original;
        let own = self.rows.position(report.candidate.record.offset);
        let Some(item) = self.row(key) else {
            return Ok(different(report));
        };
        if RatedEvent::of(key, item)?.position >= own {
            return Ok(different(report));
        }
        match compare(&usage::event_of(key, item)?, &report.candidate.event) {
            Comparison::Equal | Comparison::Less => return Ok(Judgement::Duplicate),
            Comparison::Other => return self.judge_repeat(report, own),
            Comparison::More(_) => {}
        }
        let completion = self.completion_of(key)?;
        if let Some((_, won)) = completion {
            match self.protections.order_of_completion(won.cmp(&own)) {
                Ordering::Less => return self.judge_repeat(report, own),
                Ordering::Equal => {}
                Ordering::Greater => return Err(row_ahead(own, won)),
            }
        }
        match self.reversal_of(key)? {
            Some(found) if found.position < own => Ok(Judgement::Refused(already_reversed(&found))),
            _ => Ok(Judgement::Completes(item.clone())),
        }
    }

    /// A report that does not complete the event: it may say no more than a completion before it.
    fn judge_repeat(&self, report: &LaterReport<'_>, own: Position) -> Result<Judgement, Failure> {
        if let Some((completed, won)) = self.completion_of(&report.original)?
            && won < own
            && let Comparison::Equal | Comparison::Less =
                compare(&completed, &report.candidate.event)
        {
            return Ok(Judgement::Duplicate);
        }
        Ok(different(report))
    }

    /// The event of this key as it was completed, and the position of the completion.
    fn completion_of(
        &self,
        original: &Key,
    ) -> Result<Option<(UsageEvent<'_>, Position)>, StoreError> {
        let key = usage::completion_key(original);
        let read = |item| Ok((usage::event_of(&key, item)?, usage::winner(&key, item)?.1));
        self.row(&key).map(read).transpose()
    }

    fn accept_completion(
        &mut self,
        report: &LaterReport<'_>,
        row: &Item,
        chains: &Chains,
        tiers: &mut Tiers,
    ) -> Result<(), Failure> {
        let (key, candidate) = (&report.original, &report.candidate);
        let (rated, reported) = (RatedEvent::of(key, row)?, usage::event_of(key, row)?);
        let Comparison::More(event) = compare(&reported, &candidate.event) else {
            return Ok(());
        };
        let timeline = self.rules_as_of(rated.control);
        let party = |account| Party::of(account, chains, rated.control);
        let original = Original {
            rated: &rated,
            service: service_of(key, &rated, &timeline)?,
            timeline: &timeline,
            user: party(candidate.user()),
            provider: provider_of(&rated).map(party),
        };
        let completed = Completed {
            event: &event,
            provider: event
                .provider
                .as_deref()
                .map(|id| party(AccountRef::provider(id))),
            model_was_known: reported.model.is_some(),
        };
        let now_rated = self
            .fold
            .complete(&original, &completed, candidate.log_time, tiers);
        let item = self
            .rows
            .completion_item(report, &original, &event, &now_rated);
        self.items.push(item);
        if let Some(archived) = &mut self.archived {
            let completion = Completion {
                report,
                original: &original,
                earlier: &reported,
                completed: &completed,
                rated: &now_rated,
            };
            archived.completion(&completion, &self.rows);
        }
        let services = timeline.services();
        self.tally
            .complete((&reported, &*event), original.service, services);
        Ok(())
    }
}

/// A report that differs from what was accepted. Only the window tells that it is not a copy: of
/// events which it has forgotten, a later one has always counted as one.
fn different(report: &LaterReport<'_>) -> Judgement {
    match report.candidate.is_slow() {
        true => Judgement::Duplicate,
        false => Judgement::Refused(conflict()),
    }
}
