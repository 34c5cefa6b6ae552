//! Which months the archive covers, and up to where. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::look_again::ArchivedSource;
use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::position::{Epoch, Partition};
use crate::domain::time::{Millis, Month};
use crate::store::audits::coverage::Coverage;

/// What the archive covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The present epoch.
    pub epoch: Epoch,
    /// Whether it goes back to the first request of all, without a gap.
    pub is_whole: bool,
    /// The first month that it covers from its beginning.
    pub first: Month,
    /// Later months of which something is missing, each with the reason.
    pub missing: BTreeMap<Month, String>,
    /// Up to where it holds what each source partition of the present epoch has sent.
    pub sources: BTreeMap<Partition, ArchivedSource>,
}

/// Before every month.
const FIRST: Month = Month(i32::MIN);

impl Covered {
    /// What these say, of an installation that is in this epoch. Whether everything of an epoch
    /// that has ended was archived is not known: of an installation with `earlier_epochs` only what
    /// came in this one is covered.
    pub fn of(coverages: &[Coverage], epoch: Epoch, earlier_epochs: bool) -> Covered {
        let begun = coverages.iter().filter(|coverage| coverage.chunk.is_some());
        let begun: Vec<&Coverage> = begun.filter(|coverage| coverage.epoch == epoch).collect();
        let late_starts = begun
            .iter()
            .filter(|coverage| earlier_epochs || !coverage.is_from_start);
        let first = late_starts
            .map(|coverage| first_whole(coverage.log_time_from))
            .max();
        let mut missing = BTreeMap::new();
        for coverage in &begun {
            for gap in &coverage.gaps {
                for month in booked(gap.log_time_from, gap.log_time_to) {
                    missing.entry(month).or_insert_with(|| gap.reason.clone());
                }
            }
        }
        let source = |coverage: &&Coverage| {
            let archived = ArchivedSource {
                log_time: coverage.log_time,
                to: coverage.to,
                sequences: coverage.sequences.clone(),
                postings: coverage.postings.clone(),
            };
            (coverage.source, archived)
        };
        Covered {
            epoch,
            is_whole: first.is_none() && missing.is_empty() && !earlier_epochs,
            first: first.unwrap_or(FIRST),
            missing,
            sources: begun.iter().map(source).collect(),
        }
    }

    /// The first month that it covers, if requests before it are not in it.
    pub fn begins_in(&self) -> Option<Month> {
        Some(self.first).filter(|first| *first > FIRST)
    }

    /// A source partition of which nothing is covered has rated requests up to this log time.
    pub fn begin_after(&mut self, log_time: Millis) {
        self.first = self.first.max(first_whole(log_time));
        self.is_whole = false;
    }

    /// Why a month cannot be verified; `None`: it can.
    pub fn why_not(&self, month: Month) -> Option<String> {
        if month < self.first {
            return Some(format!("the archive begins in or after {month}"));
        }
        let reason = self.missing.get(&month)?;
        Some(format!("the archive lacks requests of {month}: {reason}"))
    }

    /// Leaves a month out, for this reason.
    pub fn leave_out(&mut self, month: Month, why: &str) {
        self.missing.insert(month, why.to_owned());
        self.is_whole = false;
    }

    /// Months that are left out.
    pub fn left_out(&self) -> BTreeSet<Month> {
        self.missing.keys().copied().collect()
    }
}

/// The first month into which nothing was booked before this log time. An event may be a little
/// ahead of log time.
fn first_whole(log_time: Millis) -> Month {
    log_time.plus(AHEAD_MS_MAX).month().next()
}

/// The months into which records between these log times may be booked: months that had not closed,
/// and that of the log time.
fn booked(from: Millis, to: Millis) -> impl Iterator<Item = Month> {
    let mut first = from.month();
    while from <= Month(first.0 - 1).closes() {
        first = Month(first.0 - 1);
    }
    (first.0..=to.plus(AHEAD_MS_MAX).month().0).map(Month)
}
