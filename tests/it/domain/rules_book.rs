//! Versions of rules: what is in force when, as of which control position.

use std::sync::Arc;

use proptest::prelude::*;
use tidemark::domain::amount::{Bp, Money, Points};
use tidemark::domain::position::Control;
use tidemark::domain::rules::{Network, PriceKey, RateClass, RuleBook, RuleChange, RuleFault};
use tidemark::domain::time::Millis;

use super::helpers::{NO_SEASON, book, first_versions, season, shipped, timeline_with};

fn change(key: &str, value: &str, from: i64) -> RuleChange {
    RuleChange {
        key: key.to_owned(),
        value: value.to_owned(),
        effective_from: Some(Millis(from)),
    }
}

fn scrape(dollars: &str, from: i64) -> RuleChange {
    let value = format!(r#"{{"pricePerUnit":"{dollars}","unit":"request"}}"#);
    change("scrape", &value, from)
}

fn testnet() -> RuleBook {
    book(&shipped(Network::Testnet))
}

fn price_at(book: &mut RuleBook, control: u64, time: i64) -> String {
    let timeline = book.as_of(Control(control)).expect("complete rules");
    timeline
        .at(Millis(time))
        .price(PriceKey::Scrape)
        .to_string()
}

fn only_fault(applied: Result<(), Vec<RuleFault>>) -> String {
    let faults = applied.expect_err("a fault");
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].to_string()
}

#[test]
fn there_are_no_rules_before_every_key_has_a_version() {
    let mut all = first_versions(&shipped(Network::Testnet));
    let last = all.pop().expect("keys");
    let mut book = RuleBook::default();
    assert!(book.as_of(Control(9)).is_none());
    book.apply(Control(2), &all).expect("taken");
    assert!(book.as_of(Control(9)).is_none());
    book.apply(Control(5), &[last]).expect("taken");
    assert!(book.as_of(Control(4)).is_none());
    assert!(book.as_of(Control(5)).is_some());
    assert!(book.as_of(Control(9)).is_some());
}

#[test]
fn a_position_sees_the_versions_up_to_its_number_and_of_those_the_one_in_force_then() {
    let mut book = testnet();
    book.apply(Control(2), &[scrape("0.002", 1_000)])
        .expect("taken");
    book.apply(Control(3), &[])
        .expect("an entry about something else");
    book.apply(Control(4), &[scrape("0.004", 500)])
        .expect("taken");
    book.apply(Control(5), &[scrape("0.005", 1_000)])
        .expect("taken");
    for (control, time, price) in [
        (1, i64::MAX, "0.001"),
        (2, 999, "0.001"),
        (2, 1_000, "0.002"),
        (3, 1_000, "0.002"),
        (4, 499, "0.001"),
        (4, 500, "0.004"),
        (4, 999, "0.004"),
        (4, 1_000, "0.002"),
        (5, 999, "0.004"),
        (5, 1_000, "0.005"),
        (99, i64::MAX, "0.005"),
        (99, i64::MIN, "0.001"),
        (2, 1_000, "0.002"),
    ] {
        assert_eq!(
            price_at(&mut book, control, time),
            price,
            "as of {control} at {time}"
        );
    }
}

#[test]
fn the_first_version_of_a_key_has_no_beginning_whatever_it_says() {
    let mut changes = first_versions(&shipped(Network::Testnet));
    for change in &mut changes {
        change.effective_from = Some(Millis(1_000_000));
    }
    let mut book = RuleBook::default();
    book.apply(Control(1), &changes).expect("taken");
    assert_eq!(price_at(&mut book, 1, -1), "0.001");
}

#[test]
fn the_same_rules_have_the_same_id_and_others_another() {
    let mut book = testnet();
    book.apply(Control(2), &[scrape("0.002", 1_000)])
        .expect("taken");
    book.apply(Control(3), &[scrape("0.001", 2_000)])
        .expect("taken");
    let timeline = book.as_of(Control(3)).expect("complete");
    let id = |time| timeline.at(Millis(time)).id();
    assert_ne!(id(999), id(1_000));
    assert_eq!(id(999), id(2_000));
    let again = testnet().as_of(Control(1)).expect("complete");
    assert_eq!(again.at(Millis(0)).id(), id(0));
}

#[test]
fn positions_between_changes_share_one_timeline() {
    let mut book = testnet();
    let first = book.as_of(Control(1)).expect("complete");
    assert!(Arc::ptr_eq(
        &first,
        &book.as_of(Control(7)).expect("complete")
    ));
    book.apply(Control(8), &[scrape("0.002", 0)])
        .expect("taken");
    let second = book.as_of(Control(8)).expect("complete");
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(
        &second,
        &book.as_of(Control(9)).expect("complete")
    ));
}

#[test]
fn a_season_is_in_force_from_its_first_instant_to_just_before_its_last() {
    let edit = season("2026-12-01T00:00:00Z", "2026-12-08T00:00:00Z", [15_000; 7]);
    let timeline = timeline_with(&[(NO_SEASON, &edit)]);
    let (from, to) = (1_796_083_200_000, 1_796_688_000_000);
    for (time, earned) in [(from - 1, 2), (from, 3), (to - 1, 3), (to, 2)] {
        let rules = timeline.at(Millis(time));
        assert_eq!(
            rules.provider_earns(RateClass::Tts),
            Points::whole(earned),
            "{time}"
        );
    }
    assert_eq!(
        timeline.at(Millis(from - 1)).id(),
        timeline.at(Millis(to)).id()
    );
}

#[test]
fn a_later_version_of_the_seasons_takes_the_place_of_the_earlier_from_its_own_time_on() {
    let season = |from: i64, to: i64, multiplier: u32| {
        let multipliers: Vec<String> = RateClass::NAMES
            .iter()
            .map(|name| format!("\"{name}\":{multiplier}"))
            .collect();
        format!(
            r#"[{{"name":"s","from":"{}","to":"{}","multiplier":{{{}}}}}]"#,
            Millis(from),
            Millis(to),
            multipliers.join(",")
        )
    };
    let mut book = testnet();
    book.apply(
        Control(2),
        &[change("rules.season", &season(1_000, 9_000, 20_000), 0)],
    )
    .expect("taken");
    book.apply(
        Control(3),
        &[change("rules.season", &season(3_000, 5_000, 30_000), 2_000)],
    )
    .expect("taken");
    let timeline = book.as_of(Control(3)).expect("complete");
    for (time, earned) in [
        (0, 2),
        (1_000, 4),
        (1_999, 4),
        (2_000, 2),
        (3_000, 6),
        (4_999, 6),
        (5_000, 2),
        (9_000, 2),
    ] {
        assert_eq!(
            timeline.at(Millis(time)).provider_earns(RateClass::Tts),
            Points::whole(earned),
            "{time}"
        );
    }
}

#[test]
fn a_season_that_has_ended_is_known_as_it_was_and_keeps_its_name() {
    let list = |seasons: &[(&str, i64, i64)]| {
        let multipliers: Vec<String> = RateClass::NAMES
            .iter()
            .map(|name| format!("\"{name}\":20000"))
            .collect();
        let season = |(name, from, to): &(&str, i64, i64)| {
            format!(
                r#"{{"name":"{name}","from":"{}","to":"{}","multiplier":{{{}}}}}"#,
                Millis(*from),
                Millis(*to),
                multipliers.join(",")
            )
        };
        let all: Vec<String> = seasons.iter().map(season).collect();
        format!("[{}]", all.join(","))
    };
    let mut book = testnet();
    let first = list(&[("ebb", 1_000, 2_000), ("flood", 3_000, 9_000)]);
    book.apply(Control(2), &[change("rules.season", &first, 0)])
        .expect("taken");
    // The first is left out, the second ends earlier, and its old end is a season of another name.
    let second = list(&[("flood", 3_000, 5_000), ("neap", 6_000, 9_000)]);
    let second = change("rules.season", &second, 2_500);
    book.check(std::slice::from_ref(&second)).expect("taken");
    book.apply(Control(3), &[second]).expect("taken");
    let timeline = book.as_of(Control(3)).expect("complete");
    let known: Vec<(&str, i64, i64)> = timeline
        .seasons()
        .iter()
        .map(|season| (&*season.name, season.from.0, season.to.0))
        .collect();
    assert_eq!(
        known,
        [
            ("ebb", 1_000, 2_000),
            ("flood", 3_000, 5_000),
            ("neap", 6_000, 9_000)
        ]
    );
    let again = change("rules.season", &list(&[("ebb", 10_000, 11_000)]), 2_500);
    let fault = only_fault(book.check(std::slice::from_ref(&again)));
    assert!(
        fault.contains("is named \"ebb\", as the one from 1970"),
        "{fault}"
    );
    // What a control feed already holds is taken.
    book.apply(Control(4), &[again]).expect("taken");
}

#[test]
fn when_a_day_is_active_never_changes() {
    let mut book = testnet();
    let other = change("rules.activity", r#"{"providerUptime":9000}"#, 5);
    let fault = only_fault(book.apply(Control(2), &[other]));
    assert!(fault.starts_with("rules.activity: would change"), "{fault}");
    assert!(
        fault.ends_with(r#"its first value for ever: {"providerUptime":9500}"#),
        "{fault}"
    );
    let same = change("rules.activity", r#"{ "providerUptime": 9500 }"#, 5);
    book.apply(Control(3), &[same]).expect("says the same");
    let timeline = book.as_of(Control(3)).expect("complete");
    assert_eq!(timeline.activity().provider_uptime, Bp(9_500));
}

#[test]
fn nothing_is_taken_of_an_entry_with_a_fault() {
    let mut book = testnet();
    let bad = [
        scrape("0.002", 0),
        change("scrapes", "1", 0),
        change("rules.points", "{}", 0),
    ];
    let faults = book.apply(Control(2), &bad).expect_err("faults");
    assert_eq!(faults.len(), 8, "{faults:?}");
    assert_eq!(price_at(&mut book, 2, 0), "0.001");
    book.apply(Control(2), &[scrape("0.002", 0)])
        .expect("taken now");
    assert_eq!(price_at(&mut book, 2, 0), "0.002");
}

#[test]
fn what_is_checked_before_it_is_written_is_what_will_be_taken() {
    let mut book = testnet();
    let good = [scrape("0.002", 0)];
    let bad = [change("rules.activity", r#"{"providerUptime":1}"#, 0)];
    assert_eq!(book.check(&good), Ok(()));
    assert_eq!(book.check(&good), Ok(()));
    let checked = book.check(&bad);
    assert!(checked.is_err());
    assert_eq!(checked, book.apply(Control(2), &bad));
    assert_eq!(price_at(&mut book, 2, 0), "0.001");
    assert_eq!(RuleBook::default().check(&bad), Ok(()));
}

#[test]
fn entries_out_of_order_or_without_a_beginning_are_refused() {
    let mut book = testnet();
    let fault = only_fault(book.apply(Control(1), &[scrape("0.002", 0)]));
    assert!(
        fault.contains("comes with control number 1 after 1"),
        "{fault}"
    );
    let twice = [scrape("0.002", 0), scrape("0.003", 0)];
    let fault = only_fault(book.apply(Control(2), &twice));
    assert!(
        fault.starts_with("scrape: is in one change twice"),
        "{fault}"
    );
    let mut endless = scrape("0.002", 0);
    endless.effective_from = None;
    let fault = only_fault(book.apply(Control(2), &[endless]));
    assert!(fault.starts_with("scrape: has no beginning"), "{fault}");
}

#[test]
fn streak_steps_and_quality_curves_are_those_of_the_rules() {
    let timeline = testnet().as_of(Control(1)).expect("complete");
    let rules = timeline.at(Millis(0));
    for (length, multiplier) in [
        (0, 10_000),
        (6, 10_000),
        (7, 11_000),
        (13, 11_000),
        (14, 12_000),
        (29, 12_000),
        (30, 13_000),
        (89, 13_000),
        (90, 15_000),
        (u32::MAX, 15_000),
    ] {
        assert_eq!(rules.streak(length), Bp(multiplier), "{length}");
    }
    for (ratio, multiplier) in [
        (0, 8_000),
        (9_500, 8_000),
        (9_501, 8_008),
        (9_950, 11_673),
        (9_989, 11_991),
        (9_990, 12_000),
        (10_000, 12_000),
    ] {
        assert_eq!(rules.uptime(ratio), Bp(multiplier), "{ratio}");
    }
    for (ratio, multiplier) in [
        (0, 11_000),
        (5_000, 11_000),
        (5_004, 11_000),
        (5_005, 10_999),
        (7_500, 10_500),
        (10_000, 10_000),
        (10_009, 10_000),
        (10_010, 9_999),
        (19_999, 9_001),
        (20_000, 9_000),
        (u64::MAX, 9_000),
    ] {
        assert_eq!(rules.latency(ratio), Bp(multiplier), "{ratio}");
    }
}

/// The price in force by the definition, without intervals.
fn expected(versions: &[(u64, i64, u32)], control: u64, time: i64) -> Money {
    let seen = versions
        .iter()
        .filter(|(number, from, _)| *number <= control && *from <= time);
    let best = seen.max_by_key(|(number, from, _)| (*from, *number));
    best.map_or(Money(1_000_000), |(_, _, price)| Money(i128::from(*price)))
}

proptest! {
    #[test]
    fn intervals_answer_as_the_definition_does(
        versions in proptest::collection::vec((0i64..20, 0u32..1_000_000), 0..12),
        control in 1u64..14,
        times in proptest::collection::vec(-2i64..22, 1..20),
    ) {
        let numbered: Vec<(u64, i64, u32)> =
            versions.iter().enumerate().map(|(i, (from, price))| (i as u64 + 2, *from, *price)).collect();
        let mut book = testnet();
        for (number, from, price) in &numbered {
            let dollars = Money(i128::from(*price)).to_string();
            book.apply(Control(*number), &[scrape(&dollars, *from)]).expect("taken");
        }
        let timeline = book.as_of(Control(control)).expect("complete");
        for time in times {
            let price = timeline.at(Millis(time)).price(PriceKey::Scrape);
            prop_assert_eq!(price, expected(&numbered, control, time));
        }
    }

    #[test]
    fn better_service_is_never_worth_less(a in 0u64..30_000, b in 0u64..30_000) {
        let timeline = testnet().as_of(Control(1)).expect("complete");
        let rules = timeline.at(Millis(0));
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(rules.uptime(low) <= rules.uptime(high));
        prop_assert!(rules.latency(low) >= rules.latency(high));
        prop_assert!(rules.streak(low as u32) <= rules.streak(high as u32));
    }
}
