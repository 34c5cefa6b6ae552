//! What is between two inference spans: spans of HTTP clients, of servers, of a program's own
//! steps.
//!
//! The span of a framework and that of an SDK need not be parent and child. Spans that name no
//! operation of a model are passed over as reports, and remembered as links, so that the inner span
//! finds the outer one. An operation in between (an agent, a tool) is a boundary: what is called
//! from a tool is another call.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use crate::gateways::calls::{Report, Reports};
use crate::gateways::structure::each_member;

/// Most spans between two reports of one call.
const LEVELS_MAX: usize = 32;

/// A span that was passed over, and the one around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateways) struct Link {
    pub trace: u128,
    pub span: u64,
    pub parent: u64,
}

impl Link {
    /// Of a span in JSON; `None`: it has no parent, or ids that are not hexadecimal.
    pub fn of_text(text: &str) -> Option<Link> {
        if !text.contains("parentSpanId") {
            return None;
        }
        let (mut trace, mut span, mut parent) = ("", "", "");
        let visited: Result<(), Infallible> = each_member(text, |name, value| {
            let value = value.trim_matches('"');
            match name {
                "\"traceId\"" => trace = value,
                "\"spanId\"" => span = value,
                "\"parentSpanId\"" => parent = value,
                _ => (),
            }
            Ok(())
        });
        visited.ok()?;
        Some(Link {
            trace: trace_of(trace)?,
            span: span_of(span)?,
            parent: span_of(parent)?,
        })
    }
}

fn trace_of(text: &str) -> Option<u128> {
    const CHARS: usize = 32;
    let trace = u128::from_str_radix(text, 16).ok()?;
    (text.len() == CHARS).then_some(trace)
}

fn span_of(text: &str) -> Option<u64> {
    const CHARS: usize = 16;
    let span = u64::from_str_radix(text, 16).ok()?;
    (text.len() == CHARS).then_some(span)
}

/// The links of a request.
#[derive(Default)]
pub(super) struct Links(HashMap<(u128, u64), u64>);

impl Extend<Link> for Links {
    fn extend<I: IntoIterator<Item = Link>>(&mut self, links: I) {
        for Link {
            trace,
            span,
            parent,
        } in links
        {
            // Of a span that is sent twice with different parents, one must count, in whichever
            // order they come.
            let known = self.0.entry((trace, span)).or_insert(parent);
            *known = parent.min(*known);
        }
    }
}

impl Links {
    /// Makes the nearest report around each report its parent, if they may be about one call.
    pub fn bridge(&self, reports: &mut Reports) {
        if self.0.is_empty() {
            return;
        }
        let mut spans: BTreeMap<&str, Counts> = BTreeMap::new();
        for report in reports.iter() {
            let Some(span) = report.span.as_deref() else {
                continue;
            };
            let counts = counts(report);
            let known = spans.entry(span).or_insert(counts);
            // Of a span that is sent twice, the report with counts is the better one.
            *known = counts.max(*known);
        }
        let parents: Vec<Option<String>> = reports
            .iter()
            .map(|report| {
                let outer = self.around(report, &spans)?;
                let (inner_counts, outer_counts) = (counts(report), *spans.get(&*outer)?);
                let is_unknown = inner_counts == UNKNOWN || outer_counts == UNKNOWN;
                (is_unknown || inner_counts == outer_counts).then_some(outer)
            })
            .collect();
        for (report, parent) in reports.iter_mut().zip(parents) {
            report.parent = parent.or(report.parent.take());
        }
    }

    /// The nearest of these spans around a report that is not its parent.
    fn around(&self, report: &Report, spans: &BTreeMap<&str, Counts>) -> Option<String> {
        let parent = report.parent.as_deref()?;
        if spans.contains_key(parent) {
            return None;
        }
        let (trace, span) = parent.split_once('/')?;
        let (trace, mut span) = (trace_of(trace)?, span_of(span)?);
        for _ in 0..LEVELS_MAX {
            span = *self.0.get(&(trace, span))?;
            let name = format!("{trace:032x}/{span:016x}");
            if spans.contains_key(&*name) {
                return Some(name).filter(|name| report.span.as_ref() != Some(name));
            }
        }
        None
    }
}

/// Token counts, by which two calls are told apart.
type Counts = (Option<u64>, Option<u64>);
const UNKNOWN: Counts = (None, None);

fn counts(report: &Report) -> Counts {
    let tokens = report.claim.tokens.as_ref().ok();
    tokens.map_or(UNKNOWN, |tokens| (tokens.input, tokens.output))
}
