//! What a change of the rules would do, before it is confirmed.

use maud::{Markup, html};
use serde_json::Value;

use super::super::Pages;
use super::super::words::counted;
use crate::domain::time::Millis;
use crate::http::admin::{At, Mode, Published, Wanted, publish, reason};
use crate::http::problem::Problem;
use crate::reads::WhatIf;

/// A change, as a form has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub key: String,
    /// JSON.
    pub value: String,
    /// An instant, UTC, as a browser's field gives it; empty: now.
    pub from: String,
    pub reason: String,
}

/// What it would do.
pub(super) struct Preview {
    pub published: Published,
    /// `None` while the rules are not complete.
    pub what_if: Option<WhatIf>,
}

impl Change {
    fn wanted(&self, mode: Mode) -> Result<Wanted, Problem> {
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
        })
    }

    /// Checks it, and says what it would do.
    pub async fn preview(&self, pages: &Pages, by: &str) -> Result<Preview, Problem> {
        let published = publish(&pages.service, by, self.wanted(Mode::DryRun)?).await?;
        let what_if = match &published.rules {
            [Some(before), Some(after)] => {
                let now = pages.service.clock.now();
                Some(pages.service.reads.what_if(before, after, now).await?)
            }
            _ => None,
        };
        Ok(Preview { published, what_if })
    }

    /// Publishes it.
    pub async fn publish(&self, pages: &Pages, by: &str) -> Result<Published, Problem> {
        publish(&pages.service, by, self.wanted(Mode::Write)?).await
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
pub(super) fn shown(preview: &Preview) -> Markup {
    let told = serde_json::to_value(&preview.published).unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let changes = list(&told["changes"]);
    html! {
        @if changes.is_empty() {
            p .note { "This changes nothing: the value is in force then anyway." }
        }
        @for change in &changes {
            section .card aria-label="What changes" {
                h2 { "What changes" }
                (table("Where", &list(&change["differences"]), "path"))
                @if let Some(further) = change["furtherDifferences"].as_u64() { p .help { "And " (further) " places more." } }
            }
        }
        @let examples = list(&told["examples"]);
        @if !examples.is_empty() {
            section .card aria-label="What that means" {
                h2 { "What that means for a request" }
                (table("What", &examples, "what"))
            }
        }
        @if let Some(found) = &preview.what_if { (what_if(found)) }
    }
}

fn table(title: &str, rows: &[Value], name: &str) -> Markup {
    html! {
        div .scroll tabindex="0" role="group" aria-label=(title) {
            table {
                thead { tr {
                    th scope="col" { (title) }
                    th .n scope="col" { "Now" }
                    th .n scope="col" { "Then" }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { (plain(&row[name])) }
                            td .n { del .before { (plain(&row["before"])) } }
                            td .n { ins .now { (plain(&row["after"])) } }
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

fn what_if(found: &WhatIf) -> Markup {
    html! {
        section #what-if .card aria-labelledby="what-if-h" {
            h2 #what-if-h { "Last week’s usage under these prices" }
            @if found.requests == 0 {
                p .empty { "No requests of the last " (found.days) " days are kept, so there is nothing to compare." }
            } @else {
                table {
                    thead { tr { th scope="col" { "On mainnet" } th .n scope="col" { "Now" } th .n scope="col" { "Then" } } }
                    tbody { tr {
                        th scope="row" { (counted(found.requests, "successful request")) }
                        td .n { (found.before) " USD" }
                        td .n { (found.after) " USD" }
                    } }
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
