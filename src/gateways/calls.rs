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
use super::kind::has_output;
use super::outcome::Skip;
use super::outcomes::Outcomes;
use super::{BodyError, ITEMS_MAX};

/// A framework, an SDK and a wrapper around both may report every call.
const REPORTS_PER_EVENT: usize = 3;

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
    pub fn iter(&self) -> impl Iterator<Item = &Report> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Report> {
        self.0.iter_mut()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// There are more than so many events could have.
    pub fn push(&mut self, report: Report) -> Result<(), BodyError> {
        if self.0.len() == REPORTS_PER_EVENT * ITEMS_MAX {
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
        // From here on nothing depends on the order in which they came.
        reports.sort_by_cached_key(content);
        let mut calls = Calls::of(&reports);
        let around = Around::of(&reports);
        let wrappers = around.wrappers(&mut calls);
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
        for reports in groups.into_values() {
            (1..reports.len()).for_each(|_| outcomes.skip(Skip::SameCall));
            if let Some((index, claim)) = merged(reports) {
                outcomes.keep(index, claim.outcome(index))?;
            }
        }
        Ok(())
    }
}

/// Whether two reports may be of the same time; one that is not known may be of any.
fn overlap(one: &Report, other: &Report) -> bool {
    let span = |report: &Report| {
        let start = report.claim.time.as_ref().ok()?.0;
        let took = i64::try_from(report.claim.latency_ms?).ok()?;
        Some((start, start.saturating_add(took)))
    };
    match (span(one), span(other)) {
        (Some((start, end)), Some((other_start, other_end))) => {
            start <= other_end && other_start <= end
        }
        _ => true,
    }
}

/// What a report says, but for its place: those that say the same may stand in any order.
fn content(report: &Report) -> impl Ord + use<> {
    let claim = &report.claim;
    let tokens = claim.tokens.clone().unwrap_or_default();
    let ids = [&report.call, &report.span, &report.parent].map(Clone::clone);
    (
        claim.user.is_err(),
        claim.user.clone().unwrap_or_default(),
        ids,
        claim.id.clone().unwrap_or_default(),
        claim.time.clone().unwrap_or_default(),
        claim.status.clone().unwrap_or_default(),
        // What says more comes first, and counts.
        Reverse((
            (tokens.input, tokens.output, tokens.cached),
            (tokens.written, tokens.reasoning),
            (claim.latency_ms, claim.audio_millis, claim.image_count),
        )),
        claim.model.clone().unwrap_or_default(),
        claim.provider.clone().unwrap_or_default(),
        (
            claim.endpoint.clone().unwrap_or_default(),
            claim.error_message.clone(),
            (claim.is_stream, claim.is_provider_made_up),
        ),
    )
}

/// Which report is around which, by their places.
struct Around {
    parents: BTreeMap<usize, usize>,
    children: BTreeMap<usize, Vec<usize>>,
}

/// How many reports with one id are looked at for another one's call. Those of a user stand
/// together, in the order of their times.
const SAME_ID_MAX: usize = 64;
/// Frameworks are wrapped in a few others. Parents may also go round in a circle.
const LEVELS_MAX: usize = 16;

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

    /// How many reports are around this one.
    fn depth(&self, mut at: usize) -> usize {
        for depth in 0..LEVELS_MAX {
            match self.parents.get(&at) {
                Some(parent) => at = *parent,
                None => return depth,
            }
        }
        LEVELS_MAX
    }

    /// A report around one other is about the same call. One that is around several is about none
    /// of its own: those are its calls. The innermost are looked at first.
    fn wrappers(&self, calls: &mut Calls) -> BTreeSet<usize> {
        let mut wrappers = BTreeSet::new();
        let mut parents: Vec<usize> = self.children.keys().copied().collect();
        parents.sort_by_key(|parent| (Reverse(self.depth(*parent)), *parent));
        for parent in parents {
            let children = &self.children[&parent];
            let own = calls.first(parent);
            if children.iter().any(|child| calls.first(*child) == own) {
                continue;
            }
            let is_around_wrapper = children.iter().any(|child| wrappers.contains(child));
            let inner = children
                .iter()
                .filter(|child| calls.may_unite(parent, **child));
            let inner: Vec<usize> = inner.copied().collect();
            let inner: BTreeSet<usize> =
                inner.into_iter().map(|child| calls.first(child)).collect();
            match inner.len() {
                0 => (),
                1 if !is_around_wrapper => {
                    inner.into_iter().for_each(|one| calls.unite(parent, one))
                }
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
    let outermost = reports.iter().filter(|report| !is_inner(report));
    let mut ids = outermost.filter_map(|report| report.claim.id.clone().ok());
    let id = ids.next();
    drop(ids);
    // It stays as it was among those that say as much.
    reports.sort_by_key(|report| {
        let claim = &report.claim;
        let says_most = (claim.is_readable(), claim.has_usage(), claim.user.is_ok());
        (Reverse(says_most), is_inner(report))
    });
    let mut reports = reports.into_iter();
    let Report {
        index, mut claim, ..
    } = reports.next()?;
    for other in reports {
        claim.complete_from(&other.claim);
    }
    if let Some(id) = id {
        claim.id = Ok(id);
    }
    Some((index, claim))
}

/// Sets of reports that are about one call: each place holds another one of its set, the first one
/// itself, and what identifies the call and the user.
struct Calls(Vec<Member>);

struct Member {
    up: usize,
    call: Option<String>,
    user: Option<String>,
    /// Whether it generates; embeddings do not.
    is_generation: Option<bool>,
}

impl Calls {
    /// By what identifies the call, and by the span, which may be sent twice.
    fn of(reports: &[Report]) -> Calls {
        let member = |(at, report): (usize, &Report)| Member {
            up: at,
            call: report.call.clone(),
            user: report.claim.user.clone().ok().map(Cow::into_owned),
            is_generation: report
                .claim
                .endpoint
                .as_ref()
                .ok()
                .map(|path| has_output(path)),
        };
        let mut calls = Calls(reports.iter().enumerate().map(member).collect());
        let mut known: BTreeMap<(bool, &str), Vec<usize>> = BTreeMap::new();
        for (at, report) in reports.iter().enumerate() {
            for (is_call, id) in [(true, &report.call), (false, &report.span)] {
                let Some(id) = id else { continue };
                let same = known.entry((is_call, id)).or_default();
                // Some servers count their responses from 0 to 999, so a trace may have an id
                // twice.
                let is_same =
                    |one: &&usize| overlap(&reports[**one], report) && calls.may_unite(**one, at);
                let last = &same[same.len().saturating_sub(SAME_ID_MAX)..];
                match last.iter().find(is_same) {
                    Some(one) => calls.unite(*one, at),
                    None => same.push(at),
                }
            }
        }
        calls
    }

    fn first(&mut self, mut at: usize) -> usize {
        while self.0[at].up != at {
            self.0[at].up = self.0[self.0[at].up].up;
            at = self.0[at].up;
        }
        at
    }

    fn root(&self, mut at: usize) -> &Member {
        while self.0[at].up != at {
            at = self.0[at].up;
        }
        &self.0[at]
    }

    /// Whether two reports may be about one call. Those of different users never are: a client may
    /// choose its trace. Nor are a chat and the embeddings that it looks something up with.
    fn may_unite(&self, one: usize, other: usize) -> bool {
        let (one, other) = (self.root(one), self.root(other));
        fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        agree(&one.user, &other.user)
            && agree(&one.call, &other.call)
            && agree(&one.is_generation, &other.is_generation)
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        if one == other {
            return;
        }
        let (first, second) = (one.min(other), one.max(other));
        let (call, user) = (self.0[second].call.take(), self.0[second].user.take());
        let is_generation = self.0[second].is_generation;
        self.0[second].up = first;
        let root = &mut self.0[first];
        root.call = root.call.take().or(call);
        root.user = root.user.take().or(user);
        root.is_generation = root.is_generation.or(is_generation);
    }
}
