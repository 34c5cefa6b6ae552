//! REVERSE: what a reversal takes back, or why it does not. Pure; a part of the fold.
//!
//! The row of the original is never changed. The reversal has a row of its own beside it, which
//! holds the position of the reversal that won: that is how a second reversal is told from a rerun
//! of the first.

use super::archived::ArchivedReversal;
use super::candidate::{PendingReversal, Reject};
use super::chunk::ChunkState;
use super::originals::{Original, Party, provider_of, service_of};
use super::usage_rows::row_ahead;
use crate::domain::amount::Points;
use crate::domain::event::{Reason, Rejection};
use crate::domain::posting::Charge;
use crate::domain::rating::is_successful;
use crate::pipeline::failure::Failure;
use crate::pipeline::follower::Chains;
use crate::store::db::Key;
use crate::store::usage::{self, RatedEvent, StoredReversal};

/// What becomes of a reversal.
enum Judgement {
    /// The event as it was rated, and the key of the row that says so.
    Accepted(Key, Box<RatedEvent>),
    /// The same reversal came before.
    Repeat,
    Refused(Rejection),
}

impl<'r> ChunkState<'r> {
    /// Takes a reversal. Everything before it in the log is folded.
    pub(super) fn reverse(
        &mut self,
        pending: &PendingReversal<'r>,
        chains: &Chains,
    ) -> Result<(), Failure> {
        match self.judge_reversal(pending)? {
            Judgement::Accepted(key, rated) => {
                self.accept_reversal(pending, (&key, &rated), chains)?;
            }
            Judgement::Repeat => self.intake.duplicates += 1,
            Judgement::Refused(rejection) => {
                self.intake.rejects.push(Reject {
                    record: pending.record,
                    log_time: pending.log_time,
                    rejection,
                });
            }
        }
        Ok(())
    }

    fn judge_reversal(&self, pending: &PendingReversal<'_>) -> Result<Judgement, Failure> {
        let refused = |rejection| Ok(Judgement::Refused(rejection));
        if !self.rows.is_on {
            return refused(unknown_original(
                "usage rows are switched off, so that no request can be looked up",
            ));
        }
        if pending.is_too_old() {
            return refused(too_old(pending));
        }
        let key = &pending.original;
        let own = self.rows.position(pending.record.offset);
        let Some((rated_key, rated)) = self.rated_before(key, own)? else {
            return refused(unknown_original(
                "no accepted request has this user, source, id and time",
            ));
        };
        if !is_successful(rated.status) || earned_nothing(&rated) {
            return refused(nothing_to_reverse());
        }
        match self.reversal_of(key)? {
            Some(found) if found.position > own => Err(row_ahead(own, found.position)),
            Some(found) if found.position < own => match is_same(&found, pending) {
                true => Ok(Judgement::Repeat),
                false => refused(already_reversed(&found)),
            },
            _ => Ok(Judgement::Accepted(rated_key, Box::new(rated))),
        }
    }

    fn accept_reversal(
        &mut self,
        pending: &PendingReversal<'_>,
        (key, rated): (&Key, &RatedEvent),
        chains: &Chains,
    ) -> Result<(), Failure> {
        let control = self
            .protections
            .rules_of_original(rated.control, self.rows.control);
        let timeline = self.rules_as_of(control);
        let provider = provider_of(rated);
        let original = Original {
            rated,
            service: service_of(&pending.original, rated, &timeline)?,
            timeline: &timeline,
            user: Party::of(pending.user(), chains, control),
            provider: provider.map(|provider| Party::of(provider, chains, control)),
        };
        let slot = self.fold.take_back(&original, pending.log_time);
        if let Some(mut archived) = self.archived.take() {
            if let Some(item) = self.row(key) {
                let taken = ArchivedReversal {
                    pending,
                    original: &original,
                    event: &usage::event_of(key, item)?,
                    slot,
                };
                archived.reversal(&taken, &self.rows);
            }
            self.archived = Some(archived);
        }
        self.items.push(self.rows.reversal_item(pending, slot));
        self.tally.reversed += 1;
        Ok(())
    }
}

fn earned_nothing(rated: &RatedEvent) -> bool {
    let points = [rated.provider_points, rated.user_points];
    points == [Points::ZERO; 2] && rated.charge == Charge::default()
}

fn is_same(found: &StoredReversal, pending: &PendingReversal<'_>) -> bool {
    found.source == pending.reversal.source && found.id == pending.reversal.id
}

fn refusal(reason: Reason, field: Option<&'static str>, detail: impl Into<String>) -> Rejection {
    Rejection {
        reason,
        field,
        detail: detail.into(),
    }
}

fn unknown_original(detail: &str) -> Rejection {
    refusal(Reason::UnknownOriginal, Some("data"), detail)
}

fn too_old(pending: &PendingReversal<'_>) -> Rejection {
    let (time, log_time) = (pending.reversal.original.time, pending.log_time);
    let detail = format!(
        "the request's time {time} is more than 35 days behind the log's, {log_time}; correct it by an adjustment"
    );
    refusal(Reason::TooOld, Some("data.time"), detail)
}

fn nothing_to_reverse() -> Rejection {
    let detail = "the request earned and cost nothing";
    refusal(Reason::NothingToReverse, Some("data"), detail)
}

pub(super) fn already_reversed(found: &StoredReversal) -> Rejection {
    let detail = format!(
        "the request was reversed before, by '{}' of '{}'",
        found.id, found.source
    );
    refusal(Reason::AlreadyReversed, Some("data"), detail)
}
