//! `tidemark season`, on a machine of one's own.

use serde_json::{Value, json};
use tidemark::app::queries::{SeasonBoards, SeasonPlace};
use tidemark::domain::rules::RateClass;
use tidemark::domain::time::{DAY_MS, Millis};
use tidemark::log::usage_partition;
use tidemark::ops::clock::{Clock as _, SystemClock};
use tidemark::store::pricing::{NewValue, Publish, publish};
use tidemark::store::seasons;

use super::halts::{run, store};
use super::verify::{ARCHIVE, until_archived};
use super::{Place, chat};

fn season(name: &str, from: Millis, to: Millis) -> Value {
    let classes = RateClass::NAMES.map(|name| (name.to_owned(), json!(15_000)));
    let multiplier = Value::Object(classes.into_iter().collect());
    json!({"name": name, "from": from.to_string(), "to": to.to_string(), "multiplier": multiplier})
}

/// Publishes a list of seasons, as it was done at an instant.
fn publish_at(place: &Place, at: Millis, seasons: &Value) {
    let publication = Publish {
        values: vec![NewValue {
            key: "rules.season".to_owned(),
            value: seasons.to_string(),
        }],
        effective_from: at,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: at,
        token: format!("{:x}", rand::random::<u64>()),
    };
    let published = run(async { publish(&store(place), &publication).await });
    published.unwrap();
}

fn boards(name: &str, from: Millis, to: Millis) -> SeasonBoards {
    let place = |rank, id: &str, points: &str| SeasonPlace {
        rank,
        id: id.to_owned(),
        points: points.parse().unwrap(),
    };
    SeasonBoards {
        name: name.to_owned(),
        from,
        to,
        rows: 3,
        users: vec![place(1, "alice", "12.5"), place(2, "bob", "0.000001")],
        providers: vec![place(1, "prov", "125")],
    }
}

#[test]
fn seasons_are_listed_with_their_state_and_frozen_ones_shown() {
    let place = Place::new();
    let _up = place.up(&[]);
    let said = place.tidemark(&["season", "list"]).ok();
    assert_eq!(said, "there are no seasons; rules.season lists them\n");
    let none: [Value; 0] = [];
    assert_eq!(place.tidemark(&["season", "list", "--json"]).lines(), none);

    let now = SystemClock.now();
    let day = |days: i64| Millis(now.plus(days * DAY_MS).0 / 1_000 * 1_000);
    let seasons = [
        ("High tide", day(-8), day(-7), "frozen"),
        ("Low tide", day(-6), day(-5), "ended"),
        ("Spring tide", day(-1), day(1), "now"),
        ("Neap tide", day(2), day(3), "upcoming"),
    ];
    let [high, low, spring, neap] = seasons.map(|(name, from, to, _)| season(name, from, to));
    publish_at(&place, day(-9), &json!([high, low]));
    publish_at(&place, now, &json!([neap, spring]));
    let frozen = boards("High tide", day(-8), day(-7));
    let body = serde_json::to_string(&frozen).unwrap();
    let kept =
        run(async { seasons::freeze(&store(&place), "High tide", &body, "a test", now).await });
    assert_eq!(kept.unwrap(), body);

    let listed = place.tidemark(&["season", "list", "--json"]).lines();
    let expected = seasons.map(|(name, from, to, state)| {
        json!({"name": name, "from": from.to_string(), "to": to.to_string(), "state": state})
    });
    assert_eq!(listed, expected);
    let said = place.tidemark(&["season", "list"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("season ") && lines[0].ends_with("state"),
        "{said}"
    );
    for (line, (name, from, to, state)) in lines[1..].iter().zip(&seasons) {
        let expected = [*name, &from.to_string(), &to.to_string(), *state];
        let cells = line.split("  ").filter(|cell| !cell.is_empty());
        let cells: Vec<&str> = cells.map(str::trim).collect();
        assert_eq!(cells, expected, "{said}");
    }
    assert_eq!(lines.len(), 5, "{said}");

    let shown = place.tidemark(&["season", "show", "High tide"]).ok();
    let head = format!("High tide: {} to {}, 3 records", day(-8), day(-7));
    let expected = [
        head.as_str(),
        "rank  user   points",
        "1     alice  12.5",
        "2     bob    0.000001",
        "rank  provider  points",
        "1     prov      125",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    let shown = place
        .tidemark(&["season", "show", "High tide", "--json"])
        .json();
    assert_eq!(shown, json!(frozen));
    for name in ["Low tide", "none"] {
        let said = place.tidemark(&["season", "show", name]).failed(2);
        for part in [name, "season list", "(season_not_frozen)"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

/// A user of each source partition.
fn users() -> Vec<String> {
    let of = |partition: u32| {
        let mut names = (0..).map(|n| format!("user-{n}"));
        names.find(|name| usage_partition(name, 4).0 == partition)
    };
    (0..4).map(|partition| of(partition).unwrap()).collect()
}

#[test]
fn a_season_is_frozen_from_the_archive_once_and_each_refusal_has_its_code() {
    let mut place = Place::new();
    place.env = ARCHIVE.to_vec();
    let _up = place.up(&[]);
    let now = SystemClock.now();
    let day = |days: i64| Millis(now.plus(days * DAY_MS).0 / 1_000 * 1_000);
    publish_at(
        &place,
        day(-9),
        &json!([season("High tide", day(-8), day(-7))]),
    );
    publish_at(
        &place,
        now,
        &json!([season("Spring tide", day(-1), day(1))]),
    );
    let refused = |name: &str, more: &[&str], exit: i32, parts: &[&str]| {
        let said = place.tidemark(&[&["season", "freeze", name], more].concat());
        let said = said.failed(exit);
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    refused(
        "none",
        &[],
        2,
        &["\"none\"", "season list", "(unknown_season)"],
    );
    refused(
        "High tide",
        &["--archive", "elsewhere"],
        2,
        &["there is no archive at elsewhere"],
    );
    // Nothing has been archived yet; then not yet all that counts for the season that goes on.
    let behind = [
        "try again later",
        "source partition 0",
        "(season_not_archived_yet)",
    ];
    std::fs::create_dir(place.path("empty")).unwrap();
    refused("High tide", &["--archive", "empty"], 1, &behind);
    let events: Vec<Value> = users()
        .iter()
        .map(|user| chat(&format!("1-{user}"), user))
        .collect();
    place.send(&events);
    place.wait();
    until_archived(&place, 4);
    refused("Spring tide", &[], 1, &behind);
    let said = place.tidemark(&["season", "show", "High tide"]).failed(2);
    assert!(said.contains("season_not_frozen"), "{said}");

    let frozen = place
        .tidemark(&["season", "freeze", "High tide", "--json"])
        .json();
    // What was sent now was not sent in it.
    let expected = SeasonBoards {
        rows: 0,
        users: Vec::new(),
        providers: Vec::new(),
        ..boards("High tide", day(-8), day(-7))
    };
    assert_eq!(frozen, json!(expected));
    for args in [
        &["season", "freeze", "High tide", "--json"],
        &["season", "show", "High tide", "--json"],
    ] {
        assert_eq!(place.tidemark(args).json(), frozen);
    }
    // With other dates it would be another season; what was frozen stays.
    publish_at(
        &place,
        day(-9).plus(1),
        &json!([season("High tide", day(-8), day(-6))]),
    );
    let otherwise = ["\"High tide\"", "which stay", "(season_frozen_otherwise)"];
    refused("High tide", &[], 2, &otherwise);
    assert_eq!(
        place
            .tidemark(&["season", "show", "High tide", "--json"])
            .json(),
        frozen
    );
}
