//! What a change of the rules would do, before it is confirmed.

use maud::{Markup, html};
use serde_json::Value;

use super::super::Pages;
use super::super::words::counted;
use crate::domain::rules::check_value;
use crate::domain::time::Millis;
use crate::http::admin::{At, CHANGED_MEANWHILE, Mode, Onto, Published, Wanted, publish, reason};
use crate::http::problem::Problem;
use crate::http::strict::Verbatim;
use crate::reads::WhatIf;
use crate::store::pricing;

/// A change, as a form has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub key: String,
    /// JSON.
    pub value: String,
    /// An instant, UTC, as a browser's field gives it; empty: now.
    pub from: String,
    pub reason: String,
    /// What was looked at.
    pub onto: Option<Onto>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is published, as this version.
    Published(u32),
    /// It was published before, as this version: the form came twice.
    Before(u32),
    /// It is so already.
    Unchanged,
    /// What was looked at is not so any more.
    Changed,
}

impl Outcome {
    /// What the page says that shows it.
    pub fn query(self) -> String {
        match self {
            Outcome::Published(version) => format!("?done=published&version={version}"),
            Outcome::Before(version) => format!("?done=before&version={version}"),
            Outcome::Unchanged => "?done=unchanged".to_owned(),
            Outcome::Changed => String::new(),
        }
    }
}

/// What it would do.
pub(super) struct Preview {
    pub published: Published,
    /// `None` while the rules are not complete.
    pub what_if: Option<WhatIf>,
}

impl Change {
    fn wanted(&self, mode: Mode, onto: Option<Onto>) -> Result<Wanted, Problem> {
        once_each(&self.value)?;
        let from = from_field(&self.from).transpose().map_err(|()| {
            let detail = "the time cannot be read; give a day and a time, UTC, or nothing for now";
            Problem::new(
                axum::http::StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_time",
                detail,
            )
        })?;
        Ok(Wanted {
            values: vec![(self.key.clone(), self.value.clone())],
            effective_from: from.map(At),
            reason: reason(self.reason.clone())?,
            note: None,
            mode,
            onto,
        })
    }

    /// Checks it, and says what it would do.
    pub async fn preview(&self, pages: &Pages, by: &str) -> Result<Preview, Problem> {
        let published = publish(&pages.service, by, self.wanted(Mode::DryRun, None)?).await?;
        let what_if = match &published.rules {
            [Some(before), Some(after)] => {
                let now = pages.service.clock.now();
                Some(pages.service.reads.what_if(before, after, now).await?)
            }
            _ => None,
        };
        Ok(Preview { published, what_if })
    }

    /// Publishes it, if what was looked at still is so.
    pub async fn publish(&self, pages: &Pages, by: &str, onto: Onto) -> Result<Outcome, Problem> {
        let db = &*pages.service.db;
        // First: a form that comes again may say a moment that has passed by now.
        let before = pricing::published_under(db, &self.key, onto.seen, &onto.token).await?;
        if let Some(before) = before.filter(|before| self.is(&before.value)) {
            return Ok(Outcome::Before(before.version));
        }
        let wanted = self.wanted(Mode::Write, Some(onto))?;
        let control = match publish(&pages.service, by, wanted).await {
            Ok(published) => published.control,
            Err(problem) if problem.is(CHANGED_MEANWHILE) => return Ok(Outcome::Changed),
            Err(problem) => return Err(problem),
        };
        let Some(control) = control else {
            return Ok(Outcome::Unchanged);
        };
        let versions = pricing::history(db, &self.key).await?;
        let version = versions.iter().find(|version| version.control.0 == control);
        Ok(Outcome::Published(
            version.map_or(0, |version| version.version),
        ))
    }

    /// Whether it says this value.
    fn is(&self, value: &str) -> bool {
        check_value(&self.key, &self.value).is_ok_and(|checked| checked == value)
    }
}

/// That no object of a value has a member twice: it could mean either. What is no JSON at all is told by who checks the value.
fn once_each(value: &str) -> Result<(), Problem> {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    match serde_json::from_str::<Verbatim>(value) {
        Err(error) if is_json => Err(Problem::new(
            axum::http::StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_rules",
            error.to_string().replace('`', "'"),
        )),
        _ => Ok(()),
    }
}

/// `2026-11-23T05:00`, with seconds or without, as UTC; `None`: the field is empty.
fn from_field(text: &str) -> Option<Result<Millis, ()>> {
    if text.is_empty() {
        return None;
    }
    let whole = match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    Some(whole.parse().map_err(|_| ()))
}

/// The field for when a change begins.
pub(super) fn from_input(value: &str) -> Markup {
    html! {
        label for="from" { "From when on, UTC" }
        input #from name="from" type="datetime-local" value=(value) aria-describedby="from-help";
        p #from-help .help { "By the time of the events. Empty: from the moment on at which it is confirmed." }
    }
}

/// The field for why.
pub(super) fn reason_input(value: &str) -> Markup {
    html! {
        label for="reason" { "Why" }
        input #reason name="reason" value=(value) required maxlength="500" autocomplete="off" aria-describedby="reason-help";
        p #reason-help .help { "It stands in the history and in the audit trail." }
    }
}

/// The difference, for people.
pub(super) fn shown(change: &Change, preview: &Preview) -> Markup {
    let titles = match change.from.as_str() {
        "" => ["Now", "Then"],
        _ => ["In force then", "With the change"],
    };
    let told = serde_json::to_value(&preview.published).unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let changes = list(&told["changes"]);
    html! {
        @if changes.is_empty() {
            p .note { "This changes nothing: the value is in force then already. There is nothing to confirm." }
        }
        @for change in &changes {
            section .card aria-label="What changes" {
                h2 { "What changes" }
                (table(["Where", titles[0], titles[1]], &list(&change["differences"]), "path"))
                @if let Some(further) = change["furtherDifferences"].as_u64() { p .help { "And " (further) " places more." } }
            }
        }
        @let examples = list(&told["examples"]);
        @if !examples.is_empty() {
            section .card aria-label="What that means" {
                h2 { "What that means for a request" }
                (table(["What", titles[0], titles[1]], &examples, "what"))
            }
        }
        @if let Some(found) = &preview.what_if { (what_if(found, titles)) }
    }
}

fn table([title, before, after]: [&str; 3], rows: &[Value], name: &str) -> Markup {
    html! {
        div .scroll.cells tabindex="0" role="group" aria-label=(title) {
            table {
                thead { tr {
                    th scope="col" { (title) }
                    th .n scope="col" { (before) }
                    th .n scope="col" { (after) }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { (plain(&row[name])) }
                            td .n data-label=(before) { del .before { (plain(&row["before"])) } }
                            td .n data-label=(after) { ins .now { (plain(&row["after"])) } }
                        }
                    }
                }
            }
        }
    }
}

/// A JSON value for people.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn what_if(found: &WhatIf, [before, after]: [&str; 2]) -> Markup {
    html! {
        section #what-if .card aria-labelledby="what-if-h" {
            h2 #what-if-h { "Last week’s usage under these prices" }
            @if found.requests == 0 {
                p .empty { "No requests of the last " (found.days) " days are kept, so there is nothing to compare." }
            } @else {
                div .scroll.cells tabindex="0" role="group" aria-labelledby="what-if-h" {
                    table {
                        thead { tr { th scope="col" { "On mainnet" } th .n scope="col" { (before) } th .n scope="col" { (after) } } }
                        tbody { tr {
                            th scope="row" { (counted(found.requests, "successful request")) }
                            td .n data-label=(before) { (found.before) " USD" }
                            td .n data-label=(after) { (found.after) " USD" }
                        } }
                    }
                }
                p .help {
                    @if found.is_whole {
                        "Every request of the last " (found.days) " days that is kept."
                    } @else {
                        "A sample: some of the requests of the last " (found.days) " days, without a choice of users or days. The ratio is what it tells."
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::from_field;

    #[test]
    fn a_browsers_time_is_utc() {
        let read = |text| from_field(text).map(|at| at.map(|at| at.to_string()));
        assert_eq!(read(""), None);
        let wanted = |text: &str| Some(Ok(text.to_owned()));
        assert_eq!(read("2026-11-23T05:00"), wanted("2026-11-23T05:00:00.000Z"));
        assert_eq!(
            read("2026-11-23T05:00:07"),
            wanted("2026-11-23T05:00:07.000Z")
        );
        assert_eq!(
            read("2026-11-23T05:00:07Z"),
            wanted("2026-11-23T05:00:07.000Z")
        );
        for bad in ["tomorrow", "2026-11-23", "2026-13-23T05:00"] {
            assert_eq!(read(bad), Some(Err(())), "{bad}");
        }
    }
}
