//! Statements from what the days hold.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::rules::{Book, Rules};
use super::{Account, Streak};

pub const DAY_MS: i64 = 86_400_000;
/// No end of the control feed.
pub const ALL: u64 = u64::MAX;

/// Counts and sums of a day, or of a service in a month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub requests: i128,
    pub successful: i128,
    pub failed: i128,
    /// Successful requests that were taken back.
    pub reversed: i128,
    /// Step 1 (provider) or step 2 (user).
    pub base: i128,
    pub referral: i128,
    pub trial: i128,
    /// Successful requests that carry a latency.
    pub timed: i128,
    pub latency: i128,
    pub target: i128,
}

/// One month of one account.
#[derive(Clone, Debug, Default)]
pub struct Month {
    pub services: BTreeMap<&'static str, Sums>,
    pub late: Sums,
    pub late_points: i128,
    pub cost: i128,
    pub shadow: i128,
    pub bonus: i128,
}

/// Everything of one account. Days are numbered from 1970-01-01.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub days: BTreeMap<i64, Sums>,
    pub months: BTreeMap<String, Month>,
}

/// `floor(a / b)` for positive b.
pub fn floor(a: i128, b: i128) -> i128 {
    if a >= 0 { a / b } else { -((-a + b - 1) / b) }
}

/// The date of a day.
pub fn date(day: i64) -> jiff::civil::Date {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch
        .checked_add(jiff::Span::new().days(day))
        .expect("a day near the present")
}

pub fn month_of_day(day: i64) -> String {
    let date = date(day);
    format!("{:04}-{:02}", date.year(), date.month())
}

pub fn day_of(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS)
}

/// When the month of an instant closes, ms: 72 h after its end.
pub fn closes(ms: i64) -> i64 {
    let mut day = day_of(ms);
    let month = month_of_day(day);
    while month_of_day(day) == month {
        day += 1;
    }
    day * DAY_MS + 72 * 3_600_000
}

fn decimal(value: i128, decimals: usize) -> String {
    let unit = 10_i128.pow(decimals as u32);
    let sign = if value < 0 { "-" } else { "" };
    let value = value.abs();
    let text = format!("{}.{:0decimals$}", value / unit, value % unit);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{sign}{text}")
}

/// Points as a decimal string.
pub fn points(micros: i128) -> String {
    decimal(micros, 6)
}

/// Micropoints of a decimal string.
pub fn micros(value: &Value) -> i128 {
    let text = value.as_str().unwrap_or("0");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{whole}{fraction:0<6}");
    sign * padded.parse::<i128>().expect("a decimal")
}

pub fn is_active(kind: &str, day: &Sums, rules: &Rules) -> bool {
    match kind {
        _ if day.successful == 0 => false,
        "user" => true,
        _ => day.successful * 10_000 >= rules.active_bp * (day.successful + day.failed),
    }
}

/// Active days in a row that end at `day`.
fn run_length(kind: &str, ledger: &Ledger, day: i64, book: &Book) -> i128 {
    let active = |d: i64| {
        ledger
            .days
            .get(&d)
            .is_some_and(|sums| is_active(kind, sums, &book.at(ALL, d * DAY_MS)))
    };
    let mut length = 0;
    while active(day - length) {
        length += 1;
    }
    i128::from(length)
}

/// A curve of straight lines between points, flat outside; the way covered between two points is floored.
fn on_curve(points: &[(i128, i128)], r: i128) -> i128 {
    if r <= points[0].0 {
        return points[0].1;
    }
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        if r <= x1 && y1 >= y0 {
            return y0 + floor((r - x0) * (y1 - y0), x1 - x0);
        }
        if r <= x1 {
            return y0 - floor((r - x0) * (y0 - y1), x1 - x0);
        }
    }
    points[points.len() - 1].1
}

fn uptime_bp(day: &Sums, rules: &Rules) -> i128 {
    let r = floor(day.successful * 10_000, day.successful + day.failed);
    on_curve(&rules.quality.uptime, r)
}

fn latency_bp(day: &Sums, rules: &Rules) -> i128 {
    if day.timed == 0 {
        return 10_000;
    }
    on_curve(
        &rules.quality.latency,
        floor(day.latency * 10_000, day.target),
    )
}

pub fn multiplier(day: &Sums, rules: &Rules) -> i128 {
    if day.successful + day.failed < rules.quality.requests_min {
        return 0;
    }
    let bp = uptime_bp(day, rules) * latency_bp(day, rules);
    floor(day.base * bp, 100_000_000) - day.base
}

fn streak_points(day: &Sums, length: i128, rules: &Rules) -> i128 {
    let bp = rules
        .streak
        .iter()
        .filter(|(days, _)| length >= *days)
        .map(|(_, bp)| *bp)
        .max()
        .unwrap_or(10_000);
    floor(day.base * (bp - 10_000), 10_000)
}

/// The statements of an account, by month.
pub fn statements(account: &Account, ledger: &Ledger, book: &Book) -> BTreeMap<String, Value> {
    let mut months: Vec<String> = ledger.months.keys().cloned().collect();
    months.extend(ledger.days.keys().map(|day| month_of_day(*day)));
    months.sort();
    months.dedup();
    months
        .into_iter()
        .map(|month| (month.clone(), statement(account, ledger, &month, book)))
        .collect()
}

fn statement((kind, id): &Account, ledger: &Ledger, month: &str, book: &Book) -> Value {
    let empty = Month::default();
    let of_month = ledger.months.get(month).unwrap_or(&empty);
    let user = kind == "user";
    let (mut base, mut second, mut streak, mut referral) = (0, 0, 0, 0);
    let mut counts = of_month.late.clone();
    let mut days = Map::new();
    for (day, sums) in &ledger.days {
        if month_of_day(*day) != month {
            continue;
        }
        let rules = book.at(ALL, day * DAY_MS);
        let length = run_length(kind, ledger, *day, book);
        let of_streak = streak_points(sums, length, &rules);
        let of_second = if user {
            sums.trial
        } else {
            multiplier(sums, &rules)
        };
        base += sums.base;
        second += of_second;
        streak += of_streak;
        referral += sums.referral;
        counts.requests += sums.requests;
        counts.successful += sums.successful;
        counts.failed += sums.failed;
        counts.reversed += sums.reversed;
        let total = sums.base + of_second + of_streak + sums.referral;
        let mut line = json!({"points": points(total), "requests": sums.requests as i64,
            "successful": sums.successful as i64, "failed": sums.failed as i64, "streak": length as i64});
        if sums.reversed > 0 {
            line["reversed"] = (sums.reversed as i64).into();
        }
        days.insert(date(*day).to_string(), line);
    }
    let services: Map<String, Value> = of_month
        .services
        .iter()
        .map(|(name, sums)| ((*name).to_owned(), service(sums)))
        .collect();
    let total = base + second + streak + referral + of_month.bonus + of_month.late_points;
    let mut out = json!({
        "kind": kind, "id": id, "month": month,
        "streak": points(streak), "referral": points(referral), "bonus": points(of_month.bonus),
        "late": points(of_month.late_points), "total": points(total),
        "requests": counts.requests as i64, "successful": counts.successful as i64, "failed": counts.failed as i64,
        "services": services, "days": days,
    });
    if counts.reversed > 0 {
        out["reversed"] = (counts.reversed as i64).into();
    }
    let (first, other) = if user {
        out["cost"] = decimal(of_month.cost, 9).into();
        out["shadowCost"] = decimal(of_month.shadow, 9).into();
        ("usage", "trial")
    } else {
        ("base", "multiplier")
    };
    out[first] = points(base).into();
    out[other] = points(second).into();
    out
}

fn service(sums: &Sums) -> Value {
    let mut out = json!({"requests": sums.requests as i64, "successful": sums.successful as i64,
        "failed": sums.failed as i64, "points": points(sums.base)});
    if sums.reversed > 0 {
        out["reversed"] = (sums.reversed as i64).into();
    }
    if sums.timed > 0 {
        out["meanLatencyMs"] = (floor(sums.latency, sums.timed) as i64).into();
    }
    out
}

/// The streak at the end.
pub fn streak(account: &Account, ledger: &Ledger, book: &Book) -> Option<Streak> {
    let active: Vec<i64> = ledger
        .days
        .iter()
        .filter(|(day, sums)| is_active(&account.0, sums, &book.at(ALL, **day * DAY_MS)))
        .map(|(day, _)| *day)
        .collect();
    let last = *active.last()?;
    let current = run_length(&account.0, ledger, last, book);
    let longest = active
        .iter()
        .map(|day| run_length(&account.0, ledger, *day, book))
        .max()?;
    Some(Streak {
        current,
        longest,
        start: date(last - current as i64 + 1).to_string(),
        last_active: date(last).to_string(),
    })
}

/// Removes what a statement may have or leave out: nulls, empty days and services, `final`.
fn trimmed(statement: &Value) -> Value {
    match statement {
        Value::Object(map) => {
            let keep = |(name, value): (&String, &Value)| {
                let value = trimmed(value);
                let empty = value.is_null() || name == "final" || is_idle(&value);
                (!empty).then(|| (name.clone(), value))
            };
            Value::Object(map.iter().filter_map(keep).collect())
        }
        other => other.clone(),
    }
}

/// A day or a service in which nothing was counted.
fn is_idle(value: &Value) -> bool {
    let Some(map) = value.as_object() else {
        return false;
    };
    map.contains_key("points")
        && map
            .values()
            .all(|v| v == &Value::from(0) || v == &Value::from("0"))
}

/// Whether two statements say the same, `final` aside.
pub fn same_statement(a: &Value, b: &Value) -> bool {
    trimmed(a) == trimmed(b)
}

/// A statement that says nothing but zeros.
fn is_empty(statement: &Value) -> bool {
    let numbers = |v: &Value| v == &Value::from(0) || v == &Value::from("0");
    trimmed(statement).as_object().is_some_and(|map| {
        map.iter().all(|(name, value)| {
            ["kind", "id", "month"].contains(&name.as_str())
                || numbers(value)
                || value.as_object().is_some_and(Map::is_empty)
        })
    })
}

/// Compares all statements; the differences, in words. Statements of nothing but zeros may be missing on either side.
pub fn same_statements(
    is: &BTreeMap<(Account, String), Value>,
    must: &BTreeMap<(Account, String), Value>,
) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (key, want) in must {
        match is.get(key) {
            Some(have) if same_statement(have, want) => {}
            None if is_empty(want) => {}
            Some(have) => wrong.push(format!(
                "{key:?}\n  is   {}\n  must {}",
                trimmed(have),
                trimmed(want)
            )),
            None => wrong.push(format!("{key:?} is missing\n  must {}", trimmed(want))),
        }
    }
    for (key, have) in is {
        if !must.contains_key(key) && !is_empty(have) {
            wrong.push(format!("{key:?} must not be\n  is   {}", trimmed(have)));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} statements differ:\n{}",
            wrong.len(),
            wrong.join("\n")
        ))
    }
}
