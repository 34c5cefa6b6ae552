//! The statement of a month.

use serde_json::json;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::Service;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{Carry, DayStats, LateStats, MonthRow, ServiceStats};
use tidemark::domain::posting::Charge;
use tidemark::domain::rules::Network;
use tidemark::domain::statement::{Statement, statement, streak, total};
use tidemark::domain::time::{Day, Month};

use super::helpers::{NO_SEASON, season, timeline, timeline_with};

fn november() -> Month {
    "2026-11".parse().expect("a month")
}

fn day(text: &str) -> Day {
    text.parse().expect("a day")
}

fn points(text: &str) -> Points {
    text.parse().expect("points")
}

fn account(kind: AccountKind) -> Account {
    Account::new(kind, "p").expect("an id")
}

/// A row of November with these days.
fn row(days: &[(u8, DayStats)]) -> MonthRow {
    MonthRow {
        days: days.to_vec(),
        ..MonthRow::new(november(), Carry::default())
    }
}

/// A day with successful requests only.
fn served(base: Points, requests: u64) -> DayStats {
    DayStats {
        base,
        requests,
        successful: requests,
        ..DayStats::default()
    }
}

fn state(kind: AccountKind, row: &MonthRow) -> Statement {
    statement(&account(kind), row, &timeline(Network::Testnet), false)
}

#[test]
fn a_providers_statement_has_exactly_its_form() {
    let mut row = row(&[(
        22,
        DayStats {
            latency_ms: 250,
            target_ms: 8_000,
            ..served(points("15"), 1)
        },
    )]);
    row.services[Service::CHAT_COMPLETIONS] = ServiceStats {
        requests: 1,
        successful: 1,
        failed: 0,
        points: points("15"),
        timed: 1,
        latency_ms: 250,
    };
    let statement = state(AccountKind::Provider, &row);
    let expected = concat!(
        r#"{"kind":"provider","id":"p","month":"2026-11","final":false,"#,
        r#""base":"15","multiplier":"0","streak":"0","referral":"0","bonus":"0","late":"0","total":"15","#,
        r#""requests":1,"successful":1,"failed":0,"#,
        r#""services":{"chat_completions":{"requests":1,"successful":1,"failed":0,"points":"15","meanLatencyMs":250}},"#,
        r#""days":{"2026-11-22":{"points":"15","requests":1,"successful":1,"failed":0,"streak":1}}}"#
    );
    assert_eq!(
        serde_json::to_string(&statement).expect("serialises"),
        expected
    );
}

#[test]
fn a_users_statement_has_usage_trial_and_costs() {
    let mut row = row(&[
        (
            1,
            DayStats {
                trial: points("5"),
                referral: points("0.3"),
                ..served(points("1.5"), 1)
            },
        ),
        (
            3,
            DayStats {
                requests: 2,
                failed: 1,
                ..DayStats::default()
            },
        ),
    ]);
    row.services[Service::TTS] = ServiceStats {
        requests: 1,
        successful: 1,
        points: points("1.5"),
        ..ServiceStats::default()
    };
    row.charge = Charge {
        cost: Money(150_000),
        shadow: Money(1),
    };
    row.bonus = points("100");
    row.late = LateStats {
        points: points("0.1"),
        requests: 3,
        successful: 1,
        failed: 1,
    };
    let statement = statement(
        &account(AccountKind::User),
        &row,
        &timeline(Network::Testnet),
        true,
    );
    let json = serde_json::to_string(&statement).expect("serialises");
    let expected = concat!(
        r#"{"kind":"user","id":"p","month":"2026-11","final":true,"#,
        r#""usage":"1.5","trial":"5","streak":"0","referral":"0.3","bonus":"100","late":"0.1","total":"106.9","#,
        r#""cost":"0.00015","shadowCost":"0.000000001","#,
        r#""requests":6,"successful":2,"failed":2,"#,
        r#""services":{"tts":{"requests":1,"successful":1,"failed":0,"points":"1.5","meanLatencyMs":null}},"#,
        r#""days":{"2026-11-01":{"points":"6.8","requests":1,"successful":1,"failed":0,"streak":1},"#,
        r#""2026-11-03":{"points":"0","requests":2,"successful":0,"failed":1,"streak":0}}}"#
    );
    assert_eq!(json, expected);
}

#[test]
fn an_empty_month_leaves_days_and_services_out() {
    let statement = state(AccountKind::User, &row(&[(7, DayStats::default())]));
    let json = serde_json::to_value(&statement).expect("serialises");
    assert_eq!((&json["days"], &json["services"]), (&json!({}), &json!({})));
    assert_eq!(json["total"], "0");
}

#[test]
fn the_mean_latency_is_floored_and_left_out_where_there_is_none() {
    let mut row = row(&[]);
    row.services[Service::CHAT_COMPLETIONS] = ServiceStats {
        requests: 3,
        timed: 3,
        latency_ms: 299,
        ..ServiceStats::default()
    };
    row.services[Service::SCRAPE] = ServiceStats {
        requests: 1,
        ..ServiceStats::default()
    };
    let statement = state(AccountKind::Provider, &row);
    let latencies: Vec<_> = statement
        .services
        .iter()
        .map(|(s, line)| (s.as_str(), line.mean_latency_ms))
        .collect();
    assert_eq!(
        latencies,
        [("chat_completions", Some(99)), ("scrape", None)]
    );
}

#[test]
fn a_good_day_earns_the_worked_examples_multiplier() {
    let day = DayStats {
        base: points("3000"),
        requests: 1_000,
        successful: 995,
        failed: 5,
        latency_ms: 3_000,
        target_ms: 4_000,
        ..DayStats::default()
    };
    let statement = state(AccountKind::Provider, &row(&[(22, day)]));
    assert_eq!(statement.parts()[1], ("multiplier", points("676.995")));
    assert_eq!(statement.total, points("3676.995"));
    let as_user = state(AccountKind::User, &row(&[(22, day)]));
    assert_eq!(as_user.total, points("3000"));
}

#[test]
fn quality_counts_from_20_requests_on_and_can_take_points_away() {
    let day = |successful, failed, latency_ms, target_ms| DayStats {
        base: points("100"),
        requests: successful + failed,
        successful,
        failed,
        latency_ms,
        target_ms,
        ..DayStats::default()
    };
    for (stats, multiplier) in [
        // 19 requests that were served or failed, whatever the client did wrong.
        (
            DayStats {
                requests: 1_000,
                ..day(19, 0, 1, 1_000)
            },
            "0",
        ),
        (day(10, 9, 1, 1_000), "0"),
        (day(20, 0, 0, 0), "20"),
        (day(10, 10, 0, 0), "-20"),
        (day(20, 0, 500, 1_000), "32"),
        (day(20, 0, 2_000, 1_000), "8"),
        (day(10, 10, 9_000, 1_000), "-28"),
        (day(0, 20, 0, 0), "-20"),
    ] {
        let statement = state(AccountKind::Provider, &row(&[(22, stats)]));
        assert_eq!(statement.parts()[1].1, points(multiplier), "{stats:?}");
    }
}

#[test]
fn the_streak_bonus_begins_on_the_seventh_active_day_in_a_row() {
    let days: Vec<(u8, DayStats)> = (1..=15)
        .map(|of_month| (of_month, served(points("1"), 1)))
        .collect();
    let statement = state(AccountKind::User, &row(&days));
    let earned: Vec<String> = statement
        .days
        .iter()
        .map(|(_, line)| line.points.to_string())
        .collect();
    let plain = ["1"; 6];
    let tenth = ["1.1"; 7];
    let fifth = ["1.2"; 2];
    assert_eq!(earned, [&plain[..], &tenth, &fifth].concat());
    let lengths: Vec<u32> = statement.days.iter().map(|(_, line)| line.streak).collect();
    assert_eq!(lengths, (1..=15).collect::<Vec<u32>>());
    assert_eq!(statement.parts()[2], ("streak", points("1.1")));
}

#[test]
fn the_streak_bonus_is_floored_by_the_day() {
    let days: Vec<(u8, DayStats)> = (1..=8)
        .map(|of_month| (of_month, served(Points(9), 1)))
        .collect();
    assert_eq!(
        state(AccountKind::User, &row(&days)).parts()[2].1,
        Points(0)
    );
    let days: Vec<(u8, DayStats)> = (1..=8)
        .map(|of_month| (of_month, served(Points(19), 1)))
        .collect();
    assert_eq!(
        state(AccountKind::User, &row(&days)).parts()[2].1,
        Points(2)
    );
}

#[test]
fn a_streak_goes_on_across_months_and_breaks_on_a_day_that_is_not_active() {
    let mut row = row(&[
        (1, served(points("1"), 1)),
        (
            2,
            DayStats {
                requests: 5,
                failed: 5,
                base: points("0"),
                ..DayStats::default()
            },
        ),
        (3, served(points("1"), 1)),
    ]);
    row.carry = Carry::new(Some(day("2026-10-31")), 89, 120);
    let statement = state(AccountKind::User, &row);
    let lengths: Vec<u32> = statement.days.iter().map(|(_, line)| line.streak).collect();
    assert_eq!(lengths, [90, 0, 1]);
    assert_eq!(statement.parts()[2].1, points("0.5"));
    let activity = timeline(Network::Testnet).activity();
    let streak = streak(AccountKind::User, &row, activity);
    assert_eq!((streak.current, streak.longest), (1, 120));
    assert_eq!(
        (streak.start, streak.last_active),
        (Some(day("2026-11-03")), Some(day("2026-11-03")))
    );
    row.carry = Carry::new(Some(day("2026-10-30")), 89, 120);
    assert_eq!(state(AccountKind::User, &row).days[0].1.streak, 1);
}

#[test]
fn a_providers_day_is_active_from_95_percent_on() {
    for (successful, failed, streak) in [
        (95, 5, 1),
        (94, 6, 0),
        (1, 0, 1),
        (0, 0, 0),
        (19, 1, 1),
        (18, 1, 0),
    ] {
        let stats = DayStats {
            requests: 200,
            successful,
            failed,
            ..DayStats::default()
        };
        let statement = state(AccountKind::Provider, &row(&[(22, stats)]));
        assert_eq!(
            statement.days[0].1.streak,
            streak,
            "{successful} of {}",
            successful + failed
        );
        let as_user = state(AccountKind::User, &row(&[(22, stats)]));
        assert_eq!(as_user.days[0].1.streak, u32::from(successful > 0));
    }
}

#[test]
fn day_amounts_use_the_rules_in_force_at_the_start_of_that_day() {
    // Seasons do not touch day amounts; they only make another interval begin at noon.
    let noon = season("2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z", [10_000; 7]);
    let timeline = timeline_with(&[(NO_SEASON, &noon)]);
    let row = row(&[
        (22, served(points("100"), 20)),
        (23, served(points("100"), 20)),
    ]);
    assert_eq!(total(AccountKind::Provider, &row, &timeline), points("240"));
    assert_eq!(later_quality(&row), points("225"));
}

/// The total under a quality rule that changes at noon of the 22nd: the 22nd keeps the old one (20), the 23rd has the new one (5).
fn later_quality(row: &MonthRow) -> Points {
    use tidemark::domain::position::Control;
    use tidemark::domain::rules::RuleChange;
    let document = super::helpers::shipped(Network::Testnet);
    let mut book = super::helpers::book(&document);
    let quality = document
        .changes()
        .into_iter()
        .find(|(key, _)| key == "rules.quality")
        .expect("there");
    let change = RuleChange {
        key: quality.0,
        value: quality.1.replace(
            r#""at":9990,"multiplier":12000"#,
            r#""at":9990,"multiplier":10500"#,
        ),
        effective_from: Some("2026-11-22T12:00:00Z".parse().expect("an instant")),
    };
    book.apply(Control(2), &[change]).expect("taken");
    let timeline = book.as_of(Control(2)).expect("complete");
    total(AccountKind::Provider, row, &timeline)
}

#[test]
fn a_sum_that_leaves_its_range_stays_at_its_end() {
    let timeline = timeline(Network::Testnet);
    let most = served(Points(i64::MAX), 1);
    for row in [
        row(&[(1, most), (2, most)]),
        row(&[(
            1,
            DayStats {
                successful: 20,
                ..most
            },
        )]),
    ] {
        let most = Points(i64::MAX);
        assert_eq!(total(AccountKind::Provider, &row, &timeline), most);
        let statement = statement(&account(AccountKind::Provider), &row, &timeline, false);
        assert_eq!(statement.total, most);
        assert!(row.is_saturated());
    }
}

#[test]
fn the_text_form_shows_every_part() {
    let mut row = row(&[(
        22,
        DayStats {
            trial: points("5"),
            ..served(points("1.5"), 1)
        },
    )]);
    row.services[Service::CHAT_COMPLETIONS] = ServiceStats {
        requests: 1,
        successful: 1,
        points: points("1.5"),
        ..ServiceStats::default()
    };
    row.charge.cost = Money(150_000);
    let text = state(AccountKind::User, &row).to_string();
    for part in [
        "user p  2026-11  (open)",
        "usage",
        "trial",
        "6.5 points",
        "0.00015 USD",
        "chat_completions",
        "2026-11-22",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
