//! What became of a request after it was rated, in plain sentences.

use super::after::{DayStep, QualityStep};
use super::shares::Beneficiary;
use super::view::{Explanation, View};
use crate::app::words::{counted, in_points, percent, span, times};
use crate::domain::amount::{Bp, Money, Points};

pub(super) fn log(of: &Explanation) -> Vec<String> {
    let log = &of.log;
    let behind = match u64::try_from(log.behind_ms) {
        Ok(0) => "at the moment of the request".to_owned(),
        Ok(late) => format!("{} after the request", span(late)),
        Err(_) => format!(
            "{} before the time that the event gives",
            span(log.behind_ms.unsigned_abs())
        ),
    };
    let taken = match (log.partition, &log.position) {
        (Some(partition), Some(position)) => format!(
            "Partition {partition} of usage.events took the event at {}, {behind}, at position {position}.",
            log.log_time
        ),
        _ => format!("usage.events took the event at {}, {behind}.", log.log_time),
    };
    let but = match of.completion {
        Some(_) => ", except for the one that completed it",
        None => "",
    };
    vec![
        taken,
        format!(
            "No earlier event of this user had this source and id, so it counted. Later copies are duplicates and do not count{but}."
        ),
    ]
}

pub(super) fn booking(of: &Explanation) -> Vec<String> {
    let (booking, time) = (&of.booking, of.request.time);
    vec![match (booking.booked_on, booking.booked_late_in) {
        (Some(day), _) => format!(
            "It is booked on its own day, {day}, because {} was still open: events of it are taken until {}.",
            time.month(),
            booking.month_closes
        ),
        (None, Some(month)) => format!(
            "It came too late for its own month: {} had closed at {}. So it is booked as late in {month}, in no day: it makes no day active, and neither quality nor a streak changes it.",
            time.month(),
            booking.month_closes
        ),
        (None, None) => return Vec::new(),
    }]
}

pub(super) fn days(of: &Explanation) -> Vec<String> {
    let mut said: Vec<String> = of.days.iter().flat_map(|day| day_of(of, day)).collect();
    if !said.is_empty() && of.beneficiaries.iter().any(|b| b.role == "referrer") {
        said.push("Points from referrals get neither quality nor streak.".to_owned());
    }
    said
}

fn day_of(of: &Explanation, step: &DayStep) -> Vec<String> {
    let who = match (of.view, step.kind) {
        (View::Admin, kind) => format!("{kind} {}", step.id),
        (_, kind) => format!("the {kind}"),
    };
    let mut said = Vec::new();
    if let Some(quality) = &step.quality {
        said.push(format!(
            "On {}, {}",
            step.day,
            quality_of(&who, quality, step)
        ));
    }
    said.push(match step.streak_days {
        0 => format!(
            "{} is not an active day of {who}, so no streak counts.",
            step.day
        ),
        days => format!(
            "{} is day {days} in a row for {who}, which counts {}: {} points for the day.",
            step.day,
            times(Bp(step.streak_bp)),
            step.streak
        ),
    });
    if step.trial != Points::ZERO {
        said.push(format!(
            "On that day {who} also got {} points for first uses of a service; they belong to the account, not to a request, and a reversal does not take them back.",
            step.trial
        ));
    }
    if of.service.successful && of.counts_on_its_day() {
        said.push(format!(
            "For this request alone that is {} points. The day is rounded down once, over all its requests.",
            signed(step.for_this_request)
        ));
    }
    said
}

fn quality_of(who: &str, quality: &QualityStep, step: &DayStep) -> String {
    if quality.requests < quality.requests_min {
        return format!(
            "{who} has {}, successful and failed. Quality counts from {} on, so it does not change the day.",
            counted(quality.requests, "request"),
            quality.requests_min
        );
    }
    let ratio = |ratio: Option<u64>| ratio.map_or_else(|| "unknown".to_owned(), percent);
    format!(
        "{who} has an uptime of {}, which counts {}, and a latency of {} of the target, which counts {}: {} points for the day.",
        ratio(quality.uptime_ratio_bp),
        times(Bp(quality.uptime_bp)),
        ratio(quality.latency_ratio_bp),
        times(Bp(quality.latency_bp)),
        signed(step.multiplier)
    )
}

fn signed(points: Points) -> String {
    let sign = if points > Points::ZERO { "+" } else { "" };
    format!("{sign}{points}")
}

pub(super) fn completion(of: &Explanation) -> Vec<String> {
    let Some(step) = &of.completion else {
        return Vec::new();
    };
    let completion = &step.completion;
    let booked = match (completion.booked_on, completion.booked_late_in) {
        (_, Some(month)) => format!("late in {month}, because its own month had closed"),
        (Some(day), None) => format!("on its own day, {day}"),
        (None, None) => "nowhere".to_owned(),
    };
    let user = step.user_before.as_ref().zip(step.cost_before.as_ref());
    let user = user.map_or_else(String::new, |(points, cost)| {
        format!(", the user's {points} points, and the cost {cost} USD")
    });
    vec![
        format!(
            "A later report at {} told what the first had left open. Everything here is about both together, by the rules and referrals of the first.",
            completion.log_time
        ),
        format!(
            "By the first report alone, the provider's amount had been {}{user}. The difference is booked {booked}.",
            in_points(step.provider_before)
        ),
    ]
}

pub(super) fn reversal(of: &Explanation) -> Vec<String> {
    if let Some(sent) = &of.reversal_sent {
        let by = sent.by.as_ref();
        let by = by.map_or_else(|| "an admin".to_owned(), Clone::clone);
        return vec![format!(
            "Reversal sent by {by} at {}, reason: {}. It is not rated yet, which takes a moment; if it stays so, look for its key {} among the rejects.",
            sent.at, sent.reason, sent.key
        )];
    }
    let Some(step) = &of.reversal else {
        return Vec::new();
    };
    let reversal = &step.reversal;
    let by = match &step.by {
        Some(by) => format!("by {by}"),
        None => format!("by {}", reversal.source),
    };
    let which = match &*reversal.id {
        "" => String::new(),
        id => format!(" (reversal {id} of {})", reversal.source),
    };
    let mut said = vec![format!("Reversed {by} at {}{which}.", reversal.log_time)];
    said.extend(
        reversal
            .reason
            .as_ref()
            .map(|reason| format!("Reason: {reason}.")),
    );
    said.push(match (reversal.booked_on, reversal.booked_late_in) {
        (_, Some(month)) => format!(
            "The month of the request had closed, so the reversal is booked as late in {month}, and the closed month stays as it is."
        ),
        (Some(day), None) => format!(
            "It is booked on the day of the request, {day}: quality and streak of that day are computed without the request."
        ),
        (None, None) => String::new(),
    });
    said.retain(|sentence| !sentence.is_empty());
    said.push("It took back:".to_owned());
    said.extend(step.took_back.iter().map(fall));
    let cost = step.cost.as_ref();
    let cost = cost.filter(|cost| **cost != Money::ZERO.to_string());
    let network = of.cost.as_ref().map_or("", |cost| cost.network);
    said.extend(cost.map(|cost| match network {
        "mainnet" => format!("The user's charge: -{cost} USD."),
        _ => format!("The cost noted for the user on testnet: -{cost} USD."),
    }));
    said
}

/// What a reversal took from somebody.
fn fall(of: &Beneficiary) -> String {
    format!(
        "{}: {}.",
        of.title(),
        in_points(Points::ZERO.minus(of.points))
    )
}
