//! Rejects of all partitions at a glance: how many are kept, how many of the newest are open, and the newest of all.

use maud::{Markup, html};
use serde_json::Value;

use super::super::words::{counted, instant_of};
use super::preview::plain;
use super::rejects::{PAGE, PATH, of_page, table, told};
use crate::domain::position::{Offset, Partition};
use crate::http::admin::of_find;
use crate::http::ingest::of_log;
use crate::http::problem::Problem;
use crate::http::{RejectDetail, Service};
use crate::log::{Bounds, ReadLimit, Topic};
use crate::store::redrive;

/// So many of each partition's newest are looked at.
const NEWEST: u64 = 50;

/// A partition.
struct Line {
    partition: u32,
    bounds: Bounds,
    /// Of the newest.
    open: usize,
    /// When the newest was refused.
    newest: Option<String>,
}

impl Line {
    const fn kept(&self) -> u64 {
        self.bounds.end.0.saturating_sub(self.bounds.start.0)
    }
}

/// The page's body.
pub(super) async fn overview(service: &Service, partitions: u32) -> Result<Markup, Problem> {
    let (mut lines, mut newest) = (Vec::new(), Vec::new());
    for partition in 0..partitions {
        let (line, rows) = look(service, partition).await?;
        lines.push(line);
        newest.extend(rows);
    }
    newest.sort_by_cached_key(|row| std::cmp::Reverse(plain(&row["logTime"])));
    newest.truncate(PAGE);
    let kept: u64 = lines.iter().map(Line::kept).sum();
    Ok(html! {
        h1 { "Rejects" }
        @if kept == 0 {
            p .empty { "Nothing was refused, as far back as the log keeps it." }
        } @else {
            (partitions_card(&lines, kept))
            section .card aria-labelledby="newest-h" {
                h2 #newest-h { "The newest" }
                (table(&newest))
            }
        }
    })
}

/// A partition, and its newest rejects.
async fn look(service: &Service, number: u32) -> Result<(Line, Vec<Value>), Problem> {
    let (log, partition) = (&*service.log, Partition(number));
    let bounds = log.bounds(Topic::UsageRejected, partition).await;
    let bounds = bounds.map_err(of_log)?;
    let limit = ReadLimit {
        records: NEWEST as usize,
        ..of_page()
    };
    let from = Offset(bounds.end.0.saturating_sub(NEWEST));
    let listed = redrive::list(log, partition, from, limit).await;
    let found = listed.map_err(of_find)?.found;
    let fates = redrive::fates(&*service.db, &found).await?;
    let open = fates.iter().filter(|fate| fate.is_none()).count();
    let rows = found.iter().zip(fates);
    let rows: Vec<Value> = rows
        .map(|(found, fate)| told(&RejectDetail::new(found, fate)))
        .collect();
    let newest = rows.last().map(|row| instant_of(&plain(&row["logTime"])));
    let line = Line {
        partition: number,
        bounds,
        open,
        newest,
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
                                    @if let Some(newest) = &line.newest {
                                        a href=(format!("{path}&from={}", last_page(line.bounds))) { (newest) }
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

/// Where the last page of a partition begins.
pub(super) fn last_page(bounds: Bounds) -> u64 {
    let first = bounds.end.0.saturating_sub(PAGE as u64);
    first.max(bounds.start.0)
}
