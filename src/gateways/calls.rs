//! Reports of the same call, which count once.
//!
//! A framework and the SDK beneath it both write a span for one inference; two callbacks of a
//! gateway, or a stream's first and last one, report one call. Reports that come in one body become
//! one event here. Those that come apart have the same identity where the sender says what the call
//! was, so that the second is not counted again.
//!
//! The result does not depend on the order of the reports.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claim;
use super::outcome::Skip;
use super::outcomes::Outcomes;
use super::{BodyError, ITEMS_MAX};

/// One report of a call.
pub(super) struct Report {
    /// Its place among the items.
    pub index: usize,
    pub claim: Claim<'static>,
    /// What identifies the call for this sender, if anything does.
    pub call: Option<String>,
    /// The report's own id and that of the one around it: spans of a trace.
    pub span: Option<String>,
    pub parent: Option<String>,
}

/// The reports of a body.
#[derive(Default)]
pub(super) struct Reports(Vec<Report>);

impl Reports {
    /// # Errors
    /// There are more than [`ITEMS_MAX`].
    pub fn push(&mut self, report: Report) -> Result<(), BodyError> {
        if self.0.len() == ITEMS_MAX {
            return Err(BodyError::TooManyItems);
        }
        self.0.push(report);
        Ok(())
    }

    /// One outcome per call; every other report of it is skipped.
    ///
    /// # Errors
    /// There are too many outcomes.
    pub fn finish(self, outcomes: &mut Outcomes) -> Result<(), BodyError> {
        let mut reports = self.0;
        let mut calls = Calls::of(&reports);
        let around = Around::of(&reports);
        let wrappers = around.wrappers(&reports, &mut calls);
        for at in 0..reports.len() {
            if reports[at].claim.user.is_err()
                && let Some(user) = around.user_around(&reports, at, &wrappers)
            {
                reports[at].claim.user = Ok(user);
            }
        }
        let mut groups: BTreeMap<usize, Vec<Report>> = BTreeMap::new();
        for (at, report) in reports.into_iter().enumerate() {
            match wrappers.contains(&at) {
                true => outcomes.skip(Skip::SameCall),
                false => groups.entry(calls.first(at)).or_default().push(report),
            }
        }
        let mut whole: BTreeMap<usize, Claim<'static>> = BTreeMap::new();
        for reports in groups.into_values() {
            (1..reports.len()).for_each(|_| outcomes.skip(Skip::SameCall));
            whole.extend(merged(reports));
        }
        for (index, claim) in whole {
            outcomes.keep(index, claim.outcome(index))?;
        }
        Ok(())
    }
}

/// Which report is around which, by their places.
struct Around {
    parents: BTreeMap<usize, usize>,
    children: BTreeMap<usize, Vec<usize>>,
}

impl Around {
    fn of(reports: &[Report]) -> Around {
        let mut spans: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, report) in reports.iter().enumerate() {
            if let Some(span) = &report.span {
                spans.entry(span).or_insert(at);
            }
        }
        let mut around = Around {
            parents: BTreeMap::new(),
            children: BTreeMap::new(),
        };
        for (at, report) in reports.iter().enumerate() {
            let parent = report.parent.as_deref().and_then(|span| spans.get(span));
            if let Some(parent) = parent.filter(|parent| **parent != at) {
                around.parents.insert(at, *parent);
                around.children.entry(*parent).or_default().push(at);
            }
        }
        around
    }

    /// A report around one other is about the same call. One that is around several is about none
    /// of its own: those are its calls.
    fn wrappers(&self, reports: &[Report], calls: &mut Calls) -> BTreeSet<usize> {
        let mut wrappers = BTreeSet::new();
        for (&parent, children) in &self.children {
            let is_another = |child: &usize| {
                let (inner, outer) = (&reports[*child].call, &reports[parent].call);
                inner.is_some() && outer.is_some() && inner != outer
            };
            if children
                .iter()
                .any(|child| calls.first(*child) == calls.first(parent))
            {
                continue;
            }
            let mut inner: Vec<usize> = children.iter().copied().collect();
            inner.retain(|child| !is_another(child));
            inner.dedup_by_key(|child| calls.first(*child));
            match inner[..] {
                [] => (),
                [child] => calls.unite(parent, child),
                _ => drop(wrappers.insert(parent)),
            }
        }
        wrappers
    }

    /// The user of the nearest wrapper.
    fn user_around(
        &self,
        reports: &[Report],
        at: usize,
        wrappers: &BTreeSet<usize>,
    ) -> Option<Cow<'static, str>> {
        /// Frameworks are wrapped in a few others. Parents may also go round in a circle.
        const LEVELS_MAX: usize = 16;
        let mut at = at;
        for _ in 0..LEVELS_MAX {
            at = *self.parents.get(&at)?;
            let user = reports[at].claim.user.as_ref().ok();
            if let Some(user) = user.filter(|_| wrappers.contains(&at)) {
                return Some(user.clone());
            }
        }
        None
    }
}

/// What all reports of one call say together, and the place of the one that says most. The
/// outermost gives the id.
fn merged(mut reports: Vec<Report>) -> Option<(usize, Claim<'static>)> {
    let spans: BTreeSet<Option<String>> =
        reports.iter().map(|report| report.span.clone()).collect();
    let is_inner = |report: &Report| report.parent.is_some() && spans.contains(&report.parent);
    let id = |report: &Report| {
        report
            .claim
            .id
            .clone()
            .map(Cow::into_owned)
            .unwrap_or_default()
    };
    reports.sort_by_cached_key(|report| {
        let claim = &report.claim;
        let time = claim.time.clone().unwrap_or_default();
        let says_most = (Reverse(claim.has_usage()), Reverse(claim.user.is_ok()));
        (says_most, is_inner(report), time, id(report), report.index)
    });
    let outermost = reports.iter().filter(|report| !is_inner(report));
    let outermost = outermost
        .filter(|report| report.claim.id.is_ok())
        .min_by_key(|report| id(report));
    let outermost = outermost.map(|report| report.claim.id.clone());
    let mut reports = reports.into_iter();
    let Report {
        index, mut claim, ..
    } = reports.next()?;
    for other in reports {
        claim.complete_from(&other.claim);
    }
    claim.id = outermost.unwrap_or(claim.id);
    Some((index, claim))
}

/// Sets of reports that are about one call: each place holds another one of its set, the first one
/// itself.
struct Calls(Vec<usize>);

impl Calls {
    /// By what identifies the call, and by the span, which may be sent twice.
    fn of(reports: &[Report]) -> Calls {
        let mut calls = Calls((0..reports.len()).collect());
        let mut known: BTreeMap<(bool, &str), usize> = BTreeMap::new();
        for (at, report) in reports.iter().enumerate() {
            let ids = [(true, &report.call), (false, &report.span)];
            for (is_call, id) in ids {
                if let Some(id) = id {
                    let first = *known.entry((is_call, id)).or_insert(at);
                    calls.unite(first, at);
                }
            }
        }
        calls
    }

    fn first(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        self.0[one.max(other)] = one.min(other);
    }
}
