//! Instants, days and months, against jiff.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use tidemark::domain::time::{DAY_MS, Day, Millis, Month};

/// The first and the last instant of the years 0000 to 9999.
const YEARS: std::ops::Range<i64> = -62_167_219_200_000..253_402_300_800_000;
/// Those that jiff's timestamps reach.
const JIFF_YEARS: std::ops::Range<i64> = -62_167_219_200_000..253_402_207_200_000;

fn jiff_millis(text: &str) -> Option<i64> {
    let instant: Timestamp = text.parse().ok()?;
    i64::try_from(instant.as_nanosecond().div_euclid(1_000_000)).ok()
}

#[test]
fn instants_are_read_as_rfc_3339_writes_them() {
    for (text, millis) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("2026-11-22T07:01:02.123Z", 1_795_330_862_123),
        ("2026-11-22T07:01:02.123999999Z", 1_795_330_862_123),
        ("2026-11-22T07:01:02.1239999999999999Z", 1_795_330_862_123),
        ("2026-11-22T08:01:02.123+01:00", 1_795_330_862_123),
        ("2026-11-22T01:31:02.123-05:30", 1_795_330_862_123),
        ("2026-11-22t07:01:02.123z", 1_795_330_862_123),
        ("2026-11-22 07:01:02.123+00:00", 1_795_330_862_123),
        ("2026-11-22T07:01:02.123-00:00", 1_795_330_862_123),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ("9999-12-30T22:00:00Z", 253_402_207_200_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ] {
        assert_eq!(text.parse(), Ok(Millis(millis)), "{text}");
    }
    // A leap second is the last instant of its minute that other clocks know.
    assert_eq!(
        "2016-12-31T23:59:60Z".parse(),
        Ok(Millis(1_483_228_799_000))
    );
}

#[test]
fn days_and_months_are_read_as_they_are_shown() {
    for text in [
        "2026-11-22",
        "1970-01-01",
        "2024-02-29",
        "0001-01-01",
        "9999-12-31",
    ] {
        let day: Day = text.parse().expect("a day");
        assert_eq!(day.to_string(), text);
        let json = serde_json::to_string(&day).expect("serialises");
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Day>(&json).expect("reads"), day);
    }
    for text in [
        "2026-02-29",
        "2026-2-1",
        "2026-11-22T00:00:00Z",
        "",
        "20261122",
        "today",
    ] {
        assert!(text.parse::<Day>().is_err(), "{text}");
    }
    for text in ["2026-11", "1970-01", "2024-12"] {
        assert_eq!(text.parse::<Month>().expect("a month").to_string(), text);
    }
    for text in ["2026-13", "2026-1", "2026", "2026-11-01", ""] {
        assert!(text.parse::<Month>().is_err(), "{text}");
    }
}

#[test]
fn a_month_closes_72_hours_after_its_end() {
    let november: Month = "2026-11".parse().expect("a month");
    assert_eq!(november.closes().to_string(), "2026-12-04T00:00:00.000Z");
    assert_eq!(november.first_day().to_string(), "2026-11-01");
    assert_eq!(november.last_day().to_string(), "2026-11-30");
    assert_eq!(november.day(22).to_string(), "2026-11-22");
    assert_eq!(Millis(-1).day().to_string(), "1969-12-31");
    assert_eq!(Millis(-1).month().to_string(), "1969-12");
    assert_eq!(Millis(i64::MAX).plus(1), Millis(i64::MAX));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn the_calendar_is_jiffs(millis in JIFF_YEARS) {
        let instant = Timestamp::from_millisecond(millis).expect("in range");
        let date = instant.to_zoned(TimeZone::UTC).date();
        let day = Millis(millis).day();
        prop_assert_eq!(day.to_string(), date.to_string());
        prop_assert_eq!(i32::from(day.of_month()), i32::from(date.day()));
        prop_assert_eq!(day.month().to_string(), date.to_string()[..7].to_owned());
        prop_assert_eq!(day.month().day(day.of_month()), day);
        prop_assert!(day.start().0 <= millis && millis < day.next().start().0);
        prop_assert_eq!(day.next().previous(), day);
        prop_assert!(day.month().first_day() <= day && day <= day.month().last_day());
        prop_assert_eq!(day.month().last_day().next(), day.month().next().first_day());
        prop_assert_eq!(day.next().start().0 - day.start().0, DAY_MS);
    }

    #[test]
    fn every_instant_is_read_back_from_what_is_shown(millis in YEARS) {
        prop_assert_eq!(Millis(millis).to_string().parse(), Ok(Millis(millis)));
    }

    #[test]
    fn rfc_3339_is_read_as_jiff_reads_it(
        date in "[012][0-9]{3}-[01][0-9]-[0-3][0-9]",
        time in "[0-2][0-9]:[0-6][0-9]:[0-6][0-9]",
        separator in "[Tt ]",
        fraction in "|\\.[0-9]{1,9}",
        offset in "Z|z|[+-][01][0-9]:[0-6][0-9]",
    ) {
        let text = format!("{date}{separator}{time}{fraction}{offset}");
        let read = text.parse::<Millis>().ok().map(|millis| millis.0);
        prop_assert_eq!(read, jiff_millis(&text), "{}", text);
    }

    #[test]
    fn whatever_else_is_read_jiff_reads_too(text in "[0-9TtZz:. +-]{15,32}|.{0,30}") {
        if let Ok(millis) = text.parse::<Millis>() {
            prop_assert_eq!(Some(millis.0), jiff_millis(&text));
        }
    }
}
