//! Instants, days and months; all UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds in a minute.
pub const MINUTE_MS: i64 = 60_000;
/// How long after a month's end events of it are still booked in it, by log time.
pub const MONTH_OPEN_MS: i64 = 72 * HOUR_MS;

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub i64);

/// A UTC day: days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// A UTC month: months since 1970-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub i32);

/// The text is not a day (`2026-11-22`) or month (`2026-11`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}")]
pub struct NotADate {
    /// What was given.
    pub text: String,
    /// What was wanted.
    pub what: &'static str,
}

impl Millis {
    /// The day that holds this instant.
    pub const fn day(self) -> Day {
        Day(self.0.div_euclid(DAY_MS) as i32)
    }

    /// The month that holds this instant.
    pub const fn month(self) -> Month {
        self.day().month()
    }

    /// This instant, `ms` later (or earlier, if negative); saturates at the ends of time.
    pub const fn plus(self, ms: i64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }
}

impl Day {
    /// The first instant of the day.
    pub const fn start(self) -> Millis {
        Millis(self.0 as i64 * DAY_MS)
    }

    /// The month that holds this day.
    pub const fn month(self) -> Month {
        let (year, month, _) = civil(self.0);
        Month((year - 1970) * 12 + month as i32 - 1)
    }

    /// 1 to 31.
    pub const fn of_month(self) -> u8 {
        civil(self.0).2
    }

    /// The day after.
    pub const fn next(self) -> Day {
        Day(self.0 + 1)
    }

    /// The day before.
    pub const fn previous(self) -> Day {
        Day(self.0 - 1)
    }
}

impl Month {
    /// The first day of the month.
    pub const fn first_day(self) -> Day {
        Day(days_from_civil(
            1970 + self.0.div_euclid(12),
            self.0.rem_euclid(12) as u8 + 1,
            1,
        ))
    }

    /// The last day of the month.
    pub const fn last_day(self) -> Day {
        self.next().first_day().previous()
    }

    /// The day `of_month` (1 to 31) of this month.
    pub const fn day(self, of_month: u8) -> Day {
        Day(self.first_day().0 + of_month as i32 - 1)
    }

    /// The first instant of the month.
    pub const fn start(self) -> Millis {
        self.first_day().start()
    }

    /// The month after.
    pub const fn next(self) -> Month {
        Month(self.0 + 1)
    }

    /// When the month closes, in log time: 72 h after its end. An event of it appended *after* that
    /// is late.
    pub const fn closes(self) -> Millis {
        self.next().start().plus(MONTH_OPEN_MS)
    }
}

/// Year, month (1–12) and day (1–31) of days since 1970-01-01: Howard Hinnant's `civil_from_days`
/// (public domain, <https://howardhinnant.github.io/date_algorithms.html>), checked against jiff in
/// the tests.
const fn civil(days: i32) -> (i32, u8, u8) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u8;
    let month = (if mp < 10 { mp + 3 } else { mp - 9 }) as u8;
    (yoe + era * 400 + (month <= 2) as i32, month, day)
}

/// The reverse of [`civil`].
const fn days_from_civil(year: i32, month: u8, day: u8) -> i32 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let m = month as i32;
    let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + day as i32 - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:02}",
            1970 + self.0.div_euclid(12),
            self.0.rem_euclid(12) + 1
        )
    }
}

impl fmt::Display for Millis {
    /// RFC 3339 with milliseconds, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_day = self.0.rem_euclid(DAY_MS);
        let (h, m, s, ms) = (
            in_day / HOUR_MS,
            in_day / MINUTE_MS % 60,
            in_day / 1_000 % 60,
            in_day % 1_000,
        );
        write!(f, "{}T{h:02}:{m:02}:{s:02}.{ms:03}Z", self.day())
    }
}

/// The text is not an instant as RFC 3339 writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an instant with an offset, such as 2026-11-22T07:01:02.123Z (RFC 3339)")]
pub struct NotAnInstant;

/// `YYYY-MM-DDTHH:MM:SS`.
const SECONDS_CHARS: usize = 19;
/// Decimals of a second that are read; what is finer is below a millisecond anyway.
const DECIMALS_MAX: usize = 9;

impl FromStr for Millis {
    type Err = NotAnInstant;
    /// Reads an instant as RFC 3339 writes it, offset required; what is finer than a millisecond is
    /// floored.
    fn from_str(text: &str) -> Result<Millis, NotAnInstant> {
        fast_instant(text.as_bytes())
            .or_else(|| slow_instant(text))
            .ok_or(NotAnInstant)
    }
}

/// What gateways write: `2026-11-22T07:01:02Z` with up to nine decimals. Anything else, valid or
/// not, is left to [`slow_instant`].
fn fast_instant(text: &[u8]) -> Option<Millis> {
    let (date_time, rest) = text.split_first_chunk::<SECONDS_CHARS>()?;
    let fraction = match rest {
        [b'Z'] => &[],
        [b'.', fraction @ .., b'Z'] if (1..=DECIMALS_MAX).contains(&fraction.len()) => fraction,
        _ => return None,
    };
    let [
        _,
        _,
        _,
        _,
        b'-',
        _,
        _,
        b'-',
        _,
        _,
        b'T',
        _,
        _,
        b':',
        _,
        _,
        b':',
        _,
        _,
    ] = date_time
    else {
        return None;
    };
    let year = two_digits(date_time, 0)? * 100 + two_digits(date_time, 2)?;
    let (month, day) = (two_digits(date_time, 5)?, two_digits(date_time, 8)?);
    let (hour, minute) = (two_digits(date_time, 11)?, two_digits(date_time, 14)?);
    let second = two_digits(date_time, 17)?;
    // Days 29 to 31 of a month need a calendar: they are checked by the round trip.
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = days_from_civil(year as i32, month as u8, day as u8);
    if day > 28 && civil(date) != (year as i32, month as u8, day as u8) || day == 0 {
        return None;
    }
    let in_day =
        i64::from(hour) * HOUR_MS + i64::from(minute) * MINUTE_MS + i64::from(second) * 1_000;
    Some(Millis(Day(date).start().0 + in_day + millis_of(fraction)?))
}

fn two_digits(text: &[u8; SECONDS_CHARS], at: usize) -> Option<u32> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// The first three decimals, as milliseconds; all of them must be digits.
fn millis_of(fraction: &[u8]) -> Option<i64> {
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |i: usize| fraction.get(i).map_or(0, |b| i64::from(b - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2))
}

/// Every form that RFC 3339 allows, read by jiff, which also reads much that RFC 3339 does not
/// allow: the form is checked first.
fn slow_instant(text: &str) -> Option<Millis> {
    let (date_time, rest) = text.as_bytes().split_first_chunk::<SECONDS_CHARS>()?;
    let shaped = date_time.iter().enumerate().all(|(i, byte)| match i {
        4 | 7 => *byte == b'-',
        10 => matches!(byte, b'T' | b't' | b' '),
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let decimals = match rest.strip_prefix(b".") {
        Some(rest) => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        None => 0,
    };
    let offset_at = match rest.first()? {
        b'.' if decimals == 0 => return None,
        b'.' => SECONDS_CHARS + 1 + decimals,
        _ => SECONDS_CHARS,
    };
    let offset = text.get(offset_at..)?;
    if !shaped || !is_offset(offset.as_bytes()) {
        return None;
    }
    let kept = text.get(..offset_at.min(SECONDS_CHARS + 1 + DECIMALS_MAX))?;
    let instant: jiff::Timestamp = format!("{kept}{offset}").parse().ok()?;
    let millis = instant.as_nanosecond().div_euclid(1_000_000);
    i64::try_from(millis).ok().map(Millis)
}

/// `Z` or `±HH:MM`.
fn is_offset(offset: &[u8]) -> bool {
    match offset {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit())
                && [*h1, *h2] < [b'2', b'4']
                && *m1 < b'6'
        }
        _ => false,
    }
}

impl FromStr for Day {
    type Err = NotADate;
    fn from_str(text: &str) -> Result<Day, NotADate> {
        let bad = || NotADate {
            text: text.to_owned(),
            what: "day such as 2026-11-22",
        };
        let date: jiff::civil::Date = text.parse().map_err(|_| bad())?;
        let day = Day(days_from_civil(
            i32::from(date.year()),
            date.month() as u8,
            date.day() as u8,
        ));
        if day.to_string() == text {
            Ok(day)
        } else {
            Err(bad())
        }
    }
}

impl FromStr for Month {
    type Err = NotADate;
    fn from_str(text: &str) -> Result<Month, NotADate> {
        format!("{text}-01")
            .parse::<Day>()
            .map(Day::month)
            .map_err(|_| NotADate {
                text: text.to_owned(),
                what: "month such as 2026-11",
            })
    }
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(Day);
serde_as_text!(Month);
