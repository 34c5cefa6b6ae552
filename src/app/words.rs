//! How numbers are written for people, wherever they are shown.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::domain::amount::{BP_ONE, Bp, Points};
use crate::domain::closing::TokenUnits;
use crate::domain::ethereum::U256;
use crate::domain::ids::{Account, AccountKind};

/// What may stand in a segment of a path, or in a value of a query, as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A text as a segment of a path or a value of a query.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// The page of an account.
pub fn account_path(account: &Account) -> String {
    format!("{}/{}", kind_path(account.kind), encoded(account.id()))
}

/// Where the pages of a kind of account are.
const fn kind_path(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::User => "/users",
        AccountKind::Provider => "/providers",
    }
}

/// Basis points as a multiplier: `×1.05`.
pub fn times(bp: Bp) -> String {
    format!("×{}", decimal(u64::from(bp.0), u64::from(BP_ONE)))
}

/// Basis points as a share: `98.1 %`.
pub fn percent(bp: u64) -> String {
    format!("{} %", decimal(bp, 100))
}

/// `value / unit` for a unit that is a power of ten, trailing zeros cut.
pub fn decimal(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let rest = format!("{rest:0width$}");
    format!("{whole}.{}", rest.trim_end_matches('0'))
}

/// A number of things: `1 request`, `2 requests`.
pub fn counted(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{s}")
}

/// An amount of points: `1 point`, `0.3 points`.
pub fn in_points(points: Points) -> String {
    format!("{points} {}", noun_of(points))
}

/// `point` or `points`.
pub fn noun_of(points: Points) -> &'static str {
    if points == Points::whole(1) {
        "point"
    } else {
        "points"
    }
}

/// A number with its thousands apart: `1,500,000`.
pub fn grouped(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A decimal with its thousands apart: `-1,234.5678`. Another text stays as it is.
pub fn grouped_decimal(text: &str) -> String {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<i128>() {
        Ok(number) if is_number => {
            let fraction = fraction.map(|fraction| format!(".{fraction}"));
            format!("{sign}{}{}", grouped(number), fraction.unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

/// A decimal with more than two places as a headline: two places, towards zero, and thousands
/// apart; `None` if it has no more than two.
pub fn headline(exact: &str) -> Option<String> {
    let (whole, fraction) = exact.split_once('.')?;
    let shown = fraction.get(..2).filter(|_| fraction.len() > 2)?;
    let is_zero = |digits: &str| digits.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    Some(
        match (is_zero(whole) && is_zero(shown), exact.starts_with('-')) {
            (false, _) => grouped_decimal(&format!("{whole}.{shown}")),
            (true, false) => "< 0.01".to_owned(),
            (true, true) => "> -0.01".to_owned(),
        },
    )
}

/// A time span: `250 ms`, `3.2 s`, `5 min`, `2 h 5 min`, `3 days 4 h`.
pub fn span(millis: u64) -> String {
    let (seconds, minutes) = (millis / 1_000, millis / 60_000);
    let (hours, days) = (minutes / 60, minutes / (24 * 60));
    let with = |whole: String, rest: u64, unit: &str| match rest {
        0 => whole,
        rest => format!("{whole} {rest} {unit}"),
    };
    match () {
        () if millis < 1_000 => format!("{millis} ms"),
        () if seconds < 60 => format!("{} s", decimal(millis / 100, 10)),
        () if minutes < 60 => with(format!("{minutes} min"), seconds % 60, "s"),
        () if hours < 24 => with(format!("{hours} h"), minutes % 60, "min"),
        () => with(counted(days, "day"), hours % 24, "h"),
    }
}

/// An amount in a token's smallest unit, as whole tokens; as it is if it is no amount.
pub fn tokens(units: &str, decimals: u32) -> String {
    let parsed = U256::from_str_radix(units, 10).ok();
    let amount = parsed.zip(u8::try_from(decimals).ok());
    amount.map_or_else(
        || units.to_owned(),
        |(units, decimals)| TokenUnits { units, decimals }.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::{grouped, grouped_decimal, headline, span};

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn decimals_keep_every_digit_and_headlines_two() {
        for (exact, all, short) in [
            ("0", "0", None),
            ("12.5", "12.5", None),
            ("999.99", "999.99", None),
            ("1234.5", "1,234.5", None),
            ("1234567.891", "1,234,567.891", Some("1,234,567.89")),
            (
                "-1234567.899999",
                "-1,234,567.899999",
                Some("-1,234,567.89"),
            ),
            ("12.9044", "12.9044", Some("12.90")),
            ("0.00015", "0.00015", Some("< 0.01")),
            ("-0.00015", "-0.00015", Some("> -0.01")),
            ("-0.01000001", "-0.01000001", Some("-0.01")),
            ("much", "much", None),
        ] {
            assert_eq!(grouped_decimal(exact), all);
            assert_eq!(headline(exact).as_deref(), short, "{exact}");
        }
    }

    #[test]
    fn spans_are_told_in_two_units_at_most() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (3_250, "3.2 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (7_500_000, "2 h 5 min"),
            (86_400_000, "1 day"),
            (3 * 86_400_000 + 4 * 3_600_000, "3 days 4 h"),
        ] {
            assert_eq!(span(millis), text);
        }
    }
}
