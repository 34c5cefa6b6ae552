//! A month as bars, one a day. Its geometry is integers, as its numbers are.

use maud::{Markup, html};

use super::words::{counted, number};
use crate::domain::statement::DayLine;
use crate::domain::time::{Day, Month};

/// Height of the plot, in units of the drawing.
const HEIGHT: i64 = 160;
/// Width of a day.
const DAY: i64 = 20;
/// Room between two bars.
const GAP: i64 = 4;
/// What something that is not zero is drawn with at least.
const VISIBLE: i64 = 2;

/// Where a bar begins, from the top, and how high it is.
fn bar(points: i64, highest: i64, lowest: i64) -> (i64, i64) {
    let range = (i128::from(highest) - i128::from(lowest)).max(1);
    let scaled = |points: i64| {
        let units = i128::from(points.unsigned_abs()) * i128::from(HEIGHT) / range;
        i64::try_from(units).unwrap_or(HEIGHT)
    };
    let zero = scaled(highest).min(HEIGHT);
    let height = match points {
        0 => 0,
        points => scaled(points).max(VISIBLE),
    };
    if points >= 0 {
        ((zero - height).max(0), height)
    } else {
        (zero.min(HEIGHT - VISIBLE), height)
    }
}

/// Points per day. Days without activity are empty.
pub(super) fn per_day(month: Month, days: &[(Day, DayLine)]) -> Markup {
    let count = i64::from(month.last_day().of_month());
    let points = || days.iter().map(|(_, line)| line.points);
    let highest = points()
        .max()
        .unwrap_or_default()
        .max(crate::domain::amount::Points::ZERO);
    let lowest = points()
        .min()
        .unwrap_or_default()
        .min(crate::domain::amount::Points::ZERO);
    let view = format!("0 0 {} {HEIGHT}", count * DAY);
    html! {
        figure .chart {
            figcaption { "Points per day" }
            @if days.is_empty() {
                p .empty { "No points in this month." }
            } @else {
                p .axis { (number(highest)) }
                svg viewBox=(view) preserveAspectRatio="none" role="img" aria-label="Points per day, as bars; the table of days below has the numbers" {
                    @for (day, line) in days {
                        @let (top, height) = bar(line.points.0, highest.0, lowest.0);
                        @let left = (i64::from(day.of_month()) - 1) * DAY + GAP / 2;
                        rect .down[line.points.0 < 0] x=(left) y=(top) width=(DAY - GAP) height=(height) {
                            title { (day) ": " (number(line.points)) " points, " (counted(line.outcomes.requests, "request")) }
                        }
                    }
                }
                div .days aria-hidden="true" { span { "1" } span { (count / 2 + 1) } span { (count) } }
                @if lowest.0 < 0 { p .axis { "lowest: " (number(lowest)) } }
                (table(days))
            }
        }
    }
}

fn table(days: &[(Day, DayLine)]) -> Markup {
    html! {
        details {
            summary { "The days as a table" }
            div .scroll.cells.dense tabindex="0" role="group" aria-label="The days" {
                table {
                    thead { tr {
                        th scope="col" { "Day" }
                        th .n scope="col" { "Points" }
                        th .n scope="col" { "Requests" }
                        th .n scope="col" { "Successful" }
                        th .n scope="col" { "Failed" }
                        th .n scope="col" { "Streak" }
                    } }
                    tbody {
                        @for (day, line) in days.iter().rev() {
                            tr {
                                th scope="row" { (day) }
                                td .n data-label="Points" { (number(line.points)) }
                                td .n data-label="Requests" { (number(line.outcomes.requests)) }
                                td .n data-label="Successful" { (number(line.outcomes.successful)) }
                                td .n data-label="Failed" { (number(line.outcomes.failed)) }
                                td .n data-label="Streak" { (number(line.streak)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HEIGHT, bar};

    #[test]
    fn bars_stay_within_the_drawing_whatever_the_numbers_are() {
        let rows = [0, 1, -1, 5, -5, i64::MAX, i64::MIN];
        for highest in [0, 1, 5, i64::MAX] {
            for lowest in [0, -1, -5, i64::MIN] {
                for points in rows {
                    if points > highest || points < lowest {
                        continue;
                    }
                    let (top, height) = bar(points, highest, lowest);
                    assert!(
                        top >= 0 && height >= 0,
                        "{points} {highest} {lowest}: {top} {height}"
                    );
                    assert!(
                        top <= HEIGHT && height <= HEIGHT,
                        "{points} {highest} {lowest}: {top} {height}"
                    );
                    assert_eq!(height == 0, points == 0);
                }
            }
        }
        assert_eq!(bar(10, 10, 0), (0, HEIGHT));
        assert_eq!(bar(5, 10, 0), (HEIGHT / 2, HEIGHT / 2));
        assert_eq!(bar(-5, 5, -5), (HEIGHT / 2, HEIGHT / 2));
    }
}
