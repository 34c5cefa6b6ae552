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
    /// The first month that it covers from its beginning, as it says itself.
    begins: Month,
    /// A source partition that has rated requests of which none are covered, and the first month
    /// into which none of those are booked.
    uncovered: Option<(Partition, Month)>,
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
            begins: first.unwrap_or(FIRST),
            uncovered: None,
            missing,
            sources: begun.iter().map(source).collect(),
        }
    }

    /// The first month that it covers from its beginning in every source partition.
    pub fn first(&self) -> Month {
        let uncovered = self.uncovered.map(|(_, first)| first);
        uncovered.map_or(self.begins, |first| first.max(self.begins))
    }

    /// The first month that it covers, if requests before it are not in it.
    pub fn begins_in(&self) -> Option<Month> {
        Some(self.first()).filter(|first| *first > FIRST)
    }

    /// A source partition of which nothing is covered has rated requests up to this log time.
    pub fn begin_after(&mut self, source: Partition, log_time: Millis) {
        let first = first_whole(log_time);
        if self.uncovered.is_none_or(|(_, known)| known < first) {
            self.uncovered = Some((source, first));
        }
        self.is_whole = false;
    }

    /// Why a month cannot be verified; `None`: it can.
    pub fn why_not(&self, month: Month) -> Option<String> {
        if month < self.begins {
            return Some(format!("the archive begins in or after {month}"));
        }
        if let Some((source, first)) = self.uncovered
            && month < first
        {
            return Some(not_yet(source));
        }
        let reason = self.missing.get(&month)?;
        Some(format!("the archive lacks requests of {month}: {reason}"))
    }

    /// Why months before the first one that it covers cannot be verified.
    pub fn why_first(&self) -> String {
        match self.uncovered {
            Some((source, first)) if first > self.begins => not_yet(source),
            _ => "the archive does not hold all of their requests".to_owned(),
        }
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

/// Why nothing is known of a source partition. Nearly always its first requests have only just come.
fn not_yet(source: Partition) -> String {
    format!(
        "source partition {source} has requests, and the archive has no file of them yet; the first \
         file of a partition is written archive.file_age_max (15 min by default) after its first \
         request, so try again then. If it stays so, `tidemark audit status` says whether the \
         partition is audited and archived"
    )
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

#[cfg(test)]
mod tests {
    use super::{AHEAD_MS_MAX, Coverage, Covered, Epoch, Millis, Month, Partition};
    use crate::domain::position::{Chunk, Offset};

    fn month(text: &str) -> Month {
        text.parse().unwrap()
    }

    /// The archive of a source partition, from its first request or from a later one.
    fn coverage(source: u32, from: Option<Millis>) -> Coverage {
        Coverage {
            chunk: Some(Chunk(1)),
            is_from_start: from.is_none(),
            log_time_from: from.unwrap_or_default(),
            ..Coverage::beginning("t", Epoch(0), Partition(source), Offset(0))
        }
    }

    /// Of several causes the one that does not pass by itself is named.
    #[test]
    fn what_is_not_covered_has_its_own_reason() {
        let november = month("2026-11").start().plus(1_000);
        let late = "the archive begins in or after ";
        let waits = "source partition 1 has requests, and the archive has no file of them yet";
        // Where the archive begins, up to when another partition has requests; what is said of
        // October, November and December.
        type Row<'r> = (Option<Millis>, Option<Millis>, [Option<&'r str>; 3]);
        let rows: [Row; 5] = [
            (None, None, [None; 3]),
            (Some(november), None, [Some(late), Some(late), None]),
            (None, Some(november), [Some(waits), Some(waits), None]),
            (
                Some(month("2026-10").start().plus(1)),
                Some(november),
                [Some(late), Some(waits), None],
            ),
            (
                None,
                Some(month("2026-12").start().plus(-AHEAD_MS_MAX)),
                [Some(waits); 3],
            ),
        ];
        for (from, uncovered, expected) in rows {
            let mut covered = Covered::of(&[coverage(0, from)], Epoch(0), false);
            if let Some(log_time) = uncovered {
                covered.begin_after(Partition(1), log_time);
                // One that has come less far changes nothing.
                covered.begin_after(Partition(2), Millis(0));
            }
            let what = format!("{from:?} {uncovered:?}");
            assert_eq!(covered.is_whole, from.is_none() && uncovered.is_none());
            let months = ["2026-10", "2026-11", "2026-12"].map(month);
            for (month, expected) in months.into_iter().zip(expected) {
                let why = covered.why_not(month);
                assert_eq!(why.is_some(), expected.is_some(), "{what} {month}");
                let why = why.unwrap_or_default();
                assert!(
                    why.starts_with(expected.unwrap_or_default()),
                    "{what}: {why}"
                );
                assert_eq!(
                    month < covered.first(),
                    expected.is_some(),
                    "{what} {month}"
                );
            }
        }
    }
}
