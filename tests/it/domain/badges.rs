//! Badges: what earns them, and what rules may say of them.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidemark::domain::amount::Points;
use tidemark::domain::badges::{Badge, Criterion, Evidence, Picture, Standing};
use tidemark::domain::ids::AccountKind;
use tidemark::domain::position::Control;
use tidemark::domain::rules::{RuleBook, RuleChange, check_value};
use tidemark::domain::service::{Service, Services};
use tidemark::domain::time::Month;

const KEY: &str = "rules.badges";
const SVG: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3"/></svg>"#;

fn of(criterion: Criterion) -> Badge {
    Badge {
        id: "b".parse().expect("an id"),
        name: "B".to_owned(),
        description: "A badge.".to_owned(),
        picture: Picture::Svg(SVG.to_owned()),
        criterion,
        kinds: AccountKind::ALL.to_vec(),
        retired: false,
    }
}

fn month(number: i32) -> Month {
    Month(12 * 56 + number)
}

fn points(text: &str) -> Points {
    text.parse().expect("points")
}

#[track_caller]
fn check(criterion: Criterion, is: Option<Evidence>, must: Option<Evidence>) {
    assert_eq!(is, must, "{criterion:?}");
}

#[test]
fn each_criterion_is_met_at_its_bound_and_not_below() {
    let services = Services::default();
    for (longest_streak, earned) in [(0, false), (6, false), (7, true), (8, true)] {
        let criterion = Criterion::StreakDays(7);
        let standing = Standing {
            longest_streak,
            services_used: 0,
        };
        let must = earned.then_some(Evidence::Streak {
            days: longest_streak,
        });
        let is = of(criterion.clone()).by_standing(standing, &services);
        check(criterion, is, must);
    }
    let tts = services.named("tts").expect("a service");
    for (services_used, earned) in [
        (0, false),
        (Service::CHAT_COMPLETIONS.bit(), false),
        (tts.bit(), true),
        (tts.bit() | 1, true),
    ] {
        let criterion = Criterion::FirstSuccess("tts".to_owned());
        let standing = Standing {
            longest_streak: 99,
            services_used,
        };
        let is = of(criterion.clone()).by_standing(standing, &services);
        check(criterion, is, earned.then_some(Evidence::Success));
    }
    for (count, earned) in [(0, false), (2, false), (3, true), (4, true)] {
        let criterion = Criterion::Milestones(3);
        let must = earned.then_some(Evidence::Milestones { count });
        check(criterion.clone(), of(criterion).by_milestones(count), must);
    }
    for (rank, earned) in [(1, true), (2, true), (3, false)] {
        let criterion = Criterion::MonthRank(2);
        let must = earned.then_some(Evidence::Rank {
            month: month(1),
            rank,
        });
        let is = of(criterion.clone()).by_rank(month(1), rank);
        check(criterion, is, must);
    }
}

#[test]
fn points_earn_a_badge_with_the_first_month_that_brings_enough() {
    type Row<'r> = (&'r [&'r str], Option<usize>, Option<(usize, &'r str)>);
    let rows: [Row<'_>; 7] = [
        (&[], None, None),
        (&["9.999999"], None, None),
        (&["10"], Some(0), Some((0, "10"))),
        (&["1", "10.000001", "11"], Some(1), Some((1, "11.000001"))),
        (&["5", "5"], None, Some((1, "10"))),
        // What falls later takes nothing back.
        (&["12", "-7"], Some(0), Some((0, "12"))),
        (&["9", "-5", "6"], None, Some((2, "10"))),
    ];
    for (totals, in_month, in_life) in rows {
        let totals: Vec<(Month, Points)> = (0..)
            .map(month)
            .zip(totals.iter().map(|text| points(text)))
            .collect();
        let criterion = Criterion::MonthPoints(points("10"));
        let must = in_month.map(|place| Evidence::MonthPoints {
            month: totals[place].0,
            points: totals[place].1,
        });
        check(criterion.clone(), of(criterion).by_months(&totals), must);
        let criterion = Criterion::LifePoints(points("10"));
        let must = in_life.map(|(place, sum)| Evidence::LifePoints {
            month: totals[place].0,
            points: points(sum),
        });
        check(criterion.clone(), of(criterion).by_months(&totals), must);
    }
}

proptest! {
    /// Whatever comes after it: what was earned stays earned, and by the same months.
    #[test]
    fn more_months_take_no_badge_away(
        totals in prop::collection::vec(-20_000_000_i64..20_000_000, 0..12),
        least in 1_i64..40_000_000,
        seen in 0_usize..12,
    ) {
        let all: Vec<(Month, Points)> = (0..).map(month).zip(totals.into_iter().map(Points)).collect();
        let some = &all[..seen.min(all.len())];
        for criterion in [Criterion::MonthPoints(Points(least)), Criterion::LifePoints(Points(least))] {
            let badge = of(criterion);
            if let Some(evidence) = badge.by_months(some) {
                prop_assert_eq!(badge.by_months(&all), Some(evidence));
            }
        }
    }

    /// A higher standing, count or a better rank earns whatever a lower one does.
    #[test]
    fn earning_is_monotone(least in 1_u32..50, low in 0_u32..60, more in 0_u32..60) {
        let services = Services::default();
        let standing = |longest_streak| Standing { longest_streak, services_used: 0 };
        let streak = of(Criterion::StreakDays(least));
        let count = of(Criterion::Milestones(least));
        let rank = of(Criterion::MonthRank(least));
        let high = low + more;
        prop_assert!(
            streak.by_standing(standing(low), &services).is_none()
                || streak.by_standing(standing(high), &services).is_some()
        );
        prop_assert!(count.by_milestones(low).is_none() || count.by_milestones(high).is_some());
        prop_assert!(
            rank.by_rank(month(1), high.max(1)).is_none()
                || rank.by_rank(month(1), low.max(1)).is_some()
        );
    }
}

fn one(change: impl FnOnce(&mut Value)) -> String {
    let mut badge = json!({"id": "week", "name": "Seven days", "description": "Active for a week.",
        "picture": SVG, "criterion": {"streakDays": 7}});
    change(&mut badge);
    json!([badge]).to_string()
}

#[test]
fn a_value_in_its_canonical_form_means_the_same() {
    let values = [
        one(|_| ()),
        one(|b| b["criterion"] = json!({"monthPoints": "1000.5"})),
        one(|b| b["criterion"] = json!({"lifePoints": "1"})),
        one(|b| b["criterion"] = json!({"monthRank": 10})),
        one(|b| b["criterion"] = json!({"milestones": 5})),
        one(|b| b["criterion"] = json!({"firstSuccess": "tts"})),
        one(|b| b["kinds"] = json!(["provider"])),
        one(|b| b["retired"] = true.into()),
        one(|b| b["picture"] = "https://example.com/week.svg".into()),
        "[]".to_owned(),
    ];
    for value in values {
        let canonical = check_value(KEY, &value).expect("no fault");
        assert_eq!(
            check_value(KEY, &canonical).as_ref(),
            Ok(&canonical),
            "{value}"
        );
    }
    // Both kinds are what goes without saying.
    let both = one(|b| b["kinds"] = json!(["user", "provider"]));
    assert_eq!(check_value(KEY, &both), check_value(KEY, &one(|_| ())));
}

#[test]
fn what_is_wrong_with_a_badge_is_named() {
    let svg = |inside: &str| SVG.replace("<circle", &format!("{inside}<circle"));
    let rows = [
        ("{}".to_owned(), "rules.badges: is not a list"),
        (
            one(|b| b["id"] = "Week".into()),
            "rules.badges[0].id: is \"Week\"",
        ),
        (
            one(|b| b["id"] = "7-days".into()),
            "rules.badges[0].id: is \"7-days\"",
        ),
        (
            one(|b| b["name"] = "".into()),
            "rules.badges[0].name: is \"\"",
        ),
        (
            one(|b| b["criterion"] = json!({})),
            "rules.badges[0].criterion: has 0 criteria; allowed: exactly one of",
        ),
        (
            one(|b| b["criterion"] = json!({"streakDays": 1, "monthRank": 1})),
            "rules.badges[0].criterion: has 2 criteria",
        ),
        (
            one(|b| b["criterion"] = json!({"streakDays": 0})),
            "rules.badges[0].criterion.streakDays: is 0; allowed: a whole number from 1",
        ),
        (
            one(|b| b["criterion"] = json!({"monthRank": 101})),
            "rules.badges[0].criterion.monthRank: is 101; allowed: a whole number from 1 to 100",
        ),
        (
            one(|b| b["criterion"] = json!({"monthPoints": 5})),
            "rules.badges[0].criterion.monthPoints: is 5; allowed: a decimal in quotes",
        ),
        (
            one(|b| b["criterion"] = json!({"lifePoints": "0"})),
            "rules.badges[0].criterion.lifePoints: is \"0\"",
        ),
        (
            one(|b| b["criterion"] = json!({"likes": 5})),
            "rules.badges[0].criterion.likes: is not known",
        ),
        (
            one(|b| b["kinds"] = json!([])),
            "rules.badges[0].kinds: is empty",
        ),
        (
            one(|b| {
                b["criterion"] = json!({"firstSuccess": "tts"});
                b["kinds"] = json!(["provider"]);
            }),
            "rules.badges[0].kinds[0]: is \"provider\"; allowed: \"user\"",
        ),
        (
            one(|b| b["picture"] = "http://example.com/a.png".into()),
            "rules.badges[0].picture: is no picture",
        ),
        (
            one(|b| b["picture"] = "https://example.com/\"x".into()),
            "rules.badges[0].picture: is no picture",
        ),
        (
            one(|b| b["picture"] = "<svg></svg>".into()),
            "rules.badges[0].picture: is no picture",
        ),
        (
            one(|b| b["picture"] = svg(&"<g></g>".repeat(3_000)).into()),
            "rules.badges[0].picture: is no picture",
        ),
        (
            one(|b| b["picture"] = svg("<SCRIPT>1</SCRIPT>").into()),
            "rules.badges[0].picture: contains <script",
        ),
        (
            one(|b| b["picture"] = svg("<g OnLoad = 'x()'/>").into()),
            "rules.badges[0].picture: contains an on… attribute",
        ),
        (
            one(|b| b["picture"] = svg("<image href='https://example.com/a'/>").into()),
            "rules.badges[0].picture: contains a reference to another document",
        ),
        (
            one(|b| b["picture"] = svg("<g style='fill:url(https://example.com)'/>").into()),
            "rules.badges[0].picture: contains a reference to another document",
        ),
    ];
    for (value, said) in rows {
        let faults = check_value(KEY, &value).expect_err(&value);
        let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(text.join("\n").contains(said), "{value}\n{text:?}\n{said}");
    }
    let inside = svg("<linearGradient id='g'/><use href='#g'/><g style='fill:url(#g)'/>");
    assert!(check_value(KEY, &one(|b| b["picture"] = inside.into())).is_ok());
    let twice: Value = serde_json::from_str(&one(|_| ())).expect("JSON");
    let twice = json!([twice[0], twice[0]]).to_string();
    let faults = check_value(KEY, &twice).expect_err("twice");
    assert!(
        faults[0].to_string().contains("more than once"),
        "{faults:?}"
    );
}

fn change(value: String, first: bool) -> RuleChange {
    RuleChange {
        key: KEY.to_owned(),
        value,
        effective_from: (!first).then_some(tidemark::domain::time::Millis(1)),
    }
}

#[test]
fn a_badge_keeps_what_it_is_granted_for_and_stays_in_the_list() {
    let mut book = RuleBook::default();
    book.apply(Control(1), &[change(one(|_| ()), true)])
        .expect("no fault");
    let allowed = [
        one(|b| b["name"] = "A week".into()),
        one(|b| b["retired"] = true.into()),
        one(|b| b["picture"] = "https://example.com/week.svg".into()),
    ];
    for value in allowed {
        assert_eq!(
            book.check(&[change(value.clone(), false)]),
            Ok(()),
            "{value}"
        );
    }
    let refused = [
        ("[]".to_owned(), "lacks \"week\""),
        (
            one(|b| b["criterion"] = json!({"streakDays": 8})),
            "changes what \"week\" is granted for",
        ),
        (
            one(|b| b["kinds"] = json!(["user"])),
            "changes what \"week\" is granted for",
        ),
    ];
    for (value, said) in refused {
        let faults = book
            .check(&[change(value.clone(), false)])
            .expect_err(&value);
        assert!(faults[0].to_string().contains(said), "{value}: {faults:?}");
    }
}

#[test]
fn a_badge_for_a_service_needs_that_service() {
    let book = RuleBook::default();
    let images = one(|b| b["criterion"] = json!({"firstSuccess": "images"}));
    let faults = book
        .check(&[change(images.clone(), true)])
        .expect_err("unknown");
    let said = faults[0].to_string();
    assert!(
        said.contains("rules.badges[0].criterion.firstSuccess: is \"images\""),
        "{said}"
    );
    let services = json!([{"number": 9, "name": "images", "endpoints": ["/images/generations"],
        "counts": "requests", "price": "0.02", "points": "4", "targetMs": 9_000}]);
    let services = RuleChange {
        key: "rules.services".to_owned(),
        value: services.to_string(),
        effective_from: None,
    };
    assert_eq!(book.check(&[change(images, true), services]), Ok(()));
}
