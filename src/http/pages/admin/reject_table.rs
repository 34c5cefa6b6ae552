//! What pages of rejects have in common: their addresses, and a table of rejects.

use maud::{Markup, html};

use super::super::words::instant;
use super::coded;
use crate::app::queries::{RejectLine, RejectPlace, RejectState};
use crate::log::{Bounds, ReadLimit};

pub(super) const PATH: &str = "/admin/rejects";
/// Rejects of a page.
pub(super) const PAGE: usize = 25;

/// How much of the log is read for a page.
pub(super) const fn of_page() -> ReadLimit {
    ReadLimit {
        records: PAGE,
        bytes: 4 * 1024 * 1024,
    }
}

/// The page of a reject.
pub(super) fn path(RejectPlace { partition, offset }: RejectPlace) -> String {
    format!("{PATH}/{partition}/{offset}")
}

/// Where the last page of a partition begins.
pub(super) fn last_page(bounds: Bounds) -> u64 {
    let first = bounds.end.0.saturating_sub(PAGE as u64);
    first.max(bounds.start.0)
}

pub(super) fn state_chip(state: RejectState) -> Markup {
    html! {
        @match state {
            RejectState::Open => { span .chip.open { "Open" } }
            RejectState::Redriven => { span .chip { "Sent again" } }
            RejectState::Discarded => { span .chip.bad { "Discarded" } }
        }
    }
}

pub(super) fn table(rows: &[RejectLine]) -> Markup {
    html! {
        div .scroll.wide.cells tabindex="0" role="group" aria-label="Rejects" {
            table {
                thead { tr {
                    th scope="col" { "When" }
                    th scope="col" { "State" }
                    th scope="col" { "Reason" }
                    th scope="col" { "Field" }
                    th scope="col" { "In words" }
                } }
                tbody {
                    @for row in rows {
                        @let place = RejectPlace { partition: row.partition, offset: row.offset };
                        tr {
                            th .time scope="row" { a href=(path(place)) { (instant(row.log_time)) } }
                            td { (state_chip(row.state)) }
                            td data-label="Reason" { (row.reason) }
                            td data-label="Field" { (row.field.as_deref().unwrap_or("–")) }
                            td data-label="In words" { (coded(&row.detail)) }
                        }
                    }
                }
            }
        }
    }
}
