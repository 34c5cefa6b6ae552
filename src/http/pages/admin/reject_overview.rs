//! Rejects of all partitions at a glance: how many are kept, how many of the newest are open, and
//! the newest of all.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};

use super::super::words::{counted, instant, number};
use super::reject_table::{PAGE, PATH, last_page, of_page, table};
use crate::app::CommandError;
use crate::app::queries::{OPEN_LOOKED_MAX, Queries, RejectLine, RejectState};
use crate::domain::time::Millis;
use crate::log::{Bounds, ReadLimit};

/// So many of each partition's newest are looked at.
const NEWEST: u64 = OPEN_LOOKED_MAX;
/// How long the home page waits for them.
const CARD_WITHIN: Duration = Duration::from_secs(2);

/// A partition.
struct Line {
    partition: u32,
    bounds: Bounds,
    /// Of the newest.
    open: usize,
    /// When the newest was refused.
    newest: Option<Millis>,
}

impl Line {
    const fn kept(&self) -> u64 {
        self.bounds.end.0.saturating_sub(self.bounds.start.0)
    }
}

/// The page's body.
pub(super) async fn overview(queries: &Queries) -> Result<Markup, CommandError> {
    let (mut lines, mut newest) = (Vec::new(), Vec::new());
    for partition in 0..queries.reject_partitions().await? {
        let (line, rows) = newest_of(queries, partition).await?;
        lines.push(line);
        newest.extend(rows);
    }
    newest.sort_by_key(|row| std::cmp::Reverse(row.log_time));
    newest.truncate(PAGE);
    let kept: u64 = lines.iter().map(Line::kept).sum();
    Ok(html! {
        h1 { "Rejects" }
        @if kept == 0 {
            p .empty { "No rejects, as far back as the log keeps them." }
        } @else {
            (partitions_card(&lines, kept))
            section .card aria-labelledby="newest-h" {
                h2 #newest-h { "The newest" }
                (table(&newest))
            }
        }
    })
}

/// A card for the home page: how many of the newest rejects of each partition are open, by reason.
pub(super) async fn card(queries: &Queries) -> Markup {
    let found = tokio::time::timeout(CARD_WITHIN, queries.open_rejects()).await;
    let found = found.ok().and_then(Result::ok);
    let count = |open: &BTreeMap<&str, usize>| open.values().sum::<usize>();
    html! {
        section .card aria-labelledby="rejects-h" {
            div .row {
                h2 #rejects-h { "Rejects" }
                @match &found {
                    Some(open) if open.is_empty() => { span .chip { "None open" } }
                    Some(open) => { span .chip.bad { (number(count(open))) " open" } }
                    None => { span .chip.open { "Unknown" } }
                }
            }
            @match &found {
                Some(open) if open.is_empty() => { p .help { "All of the newest rejects were sent again or discarded, or there are none." } }
                Some(open) => {
                    p { "Events that were rejected and do not count, among the newest " (NEWEST) " of each partition:" }
                    dl .facts {
                        @for (reason, count) in open { div { dt { code { (reason) } } dd .n { (number(count)) } } }
                    }
                }
                None => { p .warn { "The log could not be read within two seconds." } }
            }
            p { a href=(PATH) { "Show rejects" } }
        }
    }
}

/// A partition, and its newest rejects.
async fn newest_of(
    queries: &Queries,
    partition: u32,
) -> Result<(Line, Vec<RejectLine>), CommandError> {
    let bounds = queries.reject_bounds(partition).await?;
    let limit = ReadLimit {
        records: NEWEST as usize,
        ..of_page()
    };
    let from = bounds.end.0.saturating_sub(NEWEST);
    let rows = queries.reject_page(partition, from, limit).await?.rejects;
    let is_open = |row: &&RejectLine| row.state == RejectState::Open;
    let line = Line {
        partition,
        bounds,
        open: rows.iter().filter(is_open).count(),
        newest: rows.last().map(|row| row.log_time),
    };
    Ok((line, rows))
}

fn partitions_card(lines: &[Line], kept: u64) -> Markup {
    html! {
        section .card aria-labelledby="partitions-h" {
            h2 #partitions-h { (counted(kept, "reject")) " kept" }
            p .help { "Open: neither sent again nor discarded; counted among the newest " (NEWEST) " of each partition." }
            div .scroll.cells tabindex="0" role="group" aria-labelledby="partitions-h" {
                table {
                    thead { tr {
                        th scope="col" { "Partition" }
                        th .n scope="col" { "Kept" }
                        th .n scope="col" { "Open" }
                        th scope="col" { "The newest" }
                    } }
                    tbody {
                        @for line in lines.iter().filter(|line| line.kept() > 0) {
                            @let path = format!("{PATH}?partition={}", line.partition);
                            tr {
                                th scope="row" { a href=(path) { "Partition " (line.partition) } }
                                td .n data-label="Kept" { (line.kept()) }
                                td .n data-label="Open" { (line.open) }
                                td data-label="The newest" {
                                    @if let Some(newest) = line.newest {
                                        a href=(format!("{path}&from={}", last_page(line.bounds))) { (instant(newest)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
