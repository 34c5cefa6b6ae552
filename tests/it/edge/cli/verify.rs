//! `tidemark verify`: rows of a real `up` against its archive, rows that were changed by hand, and
//! what cannot be verified.

use std::path::PathBuf;

use serde_json::{Value, json};
use tidemark::app::queries::verify::Share;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::ids::{Account, AccountKind, AccountRef};
use tidemark::domain::service::Service;
use tidemark::domain::time::Month;
use tidemark::log::usage_partition;
use tidemark::store::accounts::{self, StoredRow, row_key};
use tidemark::store::db::{Attr, Condition, Db as _, Item, Key, Write};

use super::halts::{run, store};
use super::progress::on_a_terminal;
use super::reversals::reversal;
use super::{Place, Up, chat, until};

/// Files end at once, as it were.
pub(super) const ARCHIVE: &[(&str, &str)] = &[
    ("TIDEMARK_ARCHIVE_LOCATION", "archive"),
    ("TIDEMARK_ARCHIVE_FILE_AGE_MAX", "1s"),
];
/// What [`place`] archives: six requests, and that one of them is taken back.
const RECORDS: u64 = 7;

/// Users of two source partitions.
fn users() -> [String; 2] {
    let first = "user-0".to_owned();
    let own = usage_partition(&first, 4);
    let mut names = (1..).map(|n| format!("user-{n}"));
    let second = names.find(|name| usage_partition(name, 4) != own).unwrap();
    [first, second]
}

/// Waits until the archive holds so many records.
pub(super) fn until_archived(place: &Place, records: u64) {
    until("the archive holds every record", || {
        let parts = place.tidemark(&["audit", "status", "--json"]).lines();
        let held = parts.iter().map(|part| part["archive"]["records"].as_u64());
        (held.flatten().sum::<u64>() == records).then_some(())
    });
}

fn month_of(place: &Place, user: &str) -> Month {
    let statement = place.statement("user", user);
    statement["month"].as_str().unwrap().parse().unwrap()
}

/// Three requests of each of two users, all in the archive. The first user's first one is taken back;
/// the second user has an award.
fn place() -> (Place, Up, [String; 2], Month) {
    let mut place = Place::new();
    place.env = ARCHIVE.to_vec();
    let up = place.up(&[]);
    let users = users();
    let events: Vec<Value> = users
        .iter()
        .flat_map(|user| (0..3).map(move |n| chat(&format!("{user}-{n}"), user)))
        .collect();
    place.send(&events);
    place.wait();
    place.send(&[reversal("take-back", &events[0])]);
    let adjust = ["award", "adjust", "user", &users[1], "2.5"];
    let reason = ["--reason", "a test", "--key", "ticket-1"];
    place.tidemark(&[&adjust[..], &reason[..]].concat()).ok();
    place.wait();
    until_archived(&place, RECORDS);
    let month = month_of(&place, &users[0]);
    (place, up, users, month)
}

fn account(user: &str) -> Account {
    Account::new(AccountKind::User, user).unwrap()
}

/// The row of a user, as it is stored by the `up` that runs.
fn stored(place: &Place, user: &str, month: Month) -> (Key, Item) {
    let key = row_key(&account(user), month);
    let item = run(async { store(place).get(&key).await.unwrap().unwrap() });
    (key, item)
}

fn put(place: &Place, key: &Key, item: Item) {
    let write = Write::Put {
        table: key.table,
        item,
        condition: Condition::Always,
    };
    run(async { store(place).write(write).await.unwrap() });
}

/// Changes the row of a user by hand; how it was.
fn change(
    place: &Place,
    user: &str,
    month: Month,
    change: impl FnOnce(&mut StoredRow),
) -> (Key, Item) {
    let (key, item) = stored(place, user, month);
    let mut row = accounts::decode(key.clone(), &item).unwrap();
    change(&mut row);
    put(place, &key, accounts::encode(&account(user), &row));
    (key, item)
}

/// What is printed as JSON lines, whatever the exit code.
fn json_lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(parse).collect()
}

/// One value that is changed by hand: the change, the name by which it is found (`DAY` is the day of
/// the month), what the row holds then, and what it should hold.
type Changed = (fn(&mut StoredRow), &'static str, &'static str, &'static str);

const CHANGES: &[Changed] = &[
    // Two requests of 0.3 points are left of three.
    (
        |stored| stored.row.days[0].1.base = Points(600_001),
        "days.DAY.base",
        "0.600001",
        "0.6",
    ),
    (
        |stored| stored.row.days[0].1.trial = Points::whole(6),
        "days.DAY.trial",
        "6",
        "5",
    ),
    (
        |stored| stored.row.bonus = Points(-2_500_000),
        "bonus",
        "-2.5",
        "0",
    ),
    // $0.00015 each: what mainnet would have charged.
    (
        |stored| stored.row.charge.shadow = Money(300_001),
        "charge.shadow",
        "0.000300001",
        "0.0003",
    ),
    (
        |stored| stored.row.services[Service::CHAT_COMPLETIONS].successful = 3,
        "services.0.successful",
        "3",
        "2",
    ),
    (
        |stored| stored.row.reversals = None,
        "reversals.days.DAY",
        "0",
        "1",
    ),
    (
        |stored| stored.lifetime.successes = 3,
        "successes",
        "3",
        "2",
    ),
    (
        |stored| stored.lifetime.spent = Money(1),
        "spent",
        "0.000000001",
        "0",
    ),
];

#[test]
fn a_row_that_was_changed_by_hand_is_found_by_its_name() {
    let (place, up, [ann, bob], month) = place();
    let verify = || place.tidemark(&["verify"]);
    let well = "3 accounts compared with 7 requests in the archive: no difference\n";
    let said = verify();
    assert_eq!((said.code, &*said.err, &*said.out), (Some(0), "", well));
    let summary = place.tidemark(&["verify", "--json"]).json();
    let must = json!({
        "differences": 0, "accounts": 3, "skipped": 0, "requests": RECORDS, "firstMonth": null,
        "monthsLeftOut": [], "lifetimeCompared": true,
    });
    assert_eq!(summary, must);

    for (by_hand, field, holds, expected) in CHANGES {
        let mut day = 0;
        let (key, good) = change(&place, &ann, month, |stored| {
            day = stored.row.days[0].0;
            by_hand(stored);
        });
        let field = field.replace("DAY", &day.to_string());
        let said = verify();
        let lines: Vec<&str> = said.out.lines().collect();
        let line =
            format!("user:{ann} {month} {field}: the row holds {holds}, expected {expected}");
        assert_eq!(lines[0], line, "{}", said.out);
        // Whoever takes away a reversal takes it away from the service, too.
        let count = match field.starts_with("reversals") {
            true => "2 differences",
            false => "1 difference",
        };
        let end = format!("3 accounts compared with 7 requests in the archive: {count}");
        assert_eq!(lines.last(), Some(&&*end), "{}", said.out);
        assert_eq!((said.code, &*said.err), (Some(1), ""), "{field}");
        put(&place, &key, good);
    }

    // Of one month, and of another one; as JSON.
    let (key, good) = change(&place, &ann, month, |stored| {
        stored.row.bonus = Points(2_500_000);
    });
    let of_month = |month: Month| {
        let month = month.to_string();
        place.tidemark(&["verify", "--month", &month, "--json"])
    };
    let said = of_month(month);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let lines = json_lines(&said.out);
    let must = json!({
        "account": format!("user:{ann}"), "month": month.to_string(), "field": "bonus",
        "stored": "2.5", "expected": "0",
    });
    assert_eq!(lines[0], must);
    assert_eq!(
        (lines.len(), &lines[1]["differences"]),
        (2, &json!(1)),
        "{lines:?}"
    );
    assert_eq!(of_month(month.next()).json()["differences"], 0);
    put(&place, &key, good);

    // A row that cannot be read, and one that is gone.
    let (key, good) = stored(&place, &ann, month);
    let mut bad = good.clone();
    bad.insert("fence", Attr::S("?".to_owned()));
    put(&place, &key, bad);
    let said = verify();
    assert_eq!(said.code, Some(1), "{}", said.err);
    let first = said.out.lines().next().unwrap_or_default();
    assert!(
        first.starts_with(&format!("user:{ann} {month} UserPoints/{ann}/{month}: "))
            && first.ends_with(", expected a readable row"),
        "{}",
        said.out
    );
    put(&place, &key, good);
    let (key, good) = stored(&place, &bob, month);
    let delete = Write::Delete {
        key: key.clone(),
        condition: Condition::Present,
    };
    run(async { store(&place).write(delete).await.unwrap() });
    let said = verify();
    let first = said.out.lines().next();
    let line = format!("user:{bob} {month} row: the row holds none, expected a row");
    assert_eq!((said.code, first), (Some(1), Some(&*line)), "{}", said.out);
    put(&place, &key, good);
    assert_eq!(verify().ok(), well);
    up.stop();
}

/// Every file of the archive that holds rows.
fn files(place: &Place) -> Vec<PathBuf> {
    let mut open = vec![place.path("archive")];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let within = std::fs::read_dir(path).unwrap();
            open.extend(within.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "parquet") {
            files.push(path);
        }
    }
    files
}

#[test]
fn an_archive_that_lacks_requests_is_exported_and_replayed_only_on_demand() {
    let (place, up, _, month) = place();
    up.stop();
    let month = month.to_string();
    let export = [
        "export", "--month", &month, "--what", "requests", "--format", "csv",
    ];
    let replay = ["replay", "--month", &month];
    let end = |csv: &str| csv.lines().last().unwrap_or_default().to_owned();
    let whole = place.tidemark(&export).ok();
    assert!(
        end(&whole).starts_with("# end rows=7 user_points="),
        "{whole}"
    );
    let report = place.tidemark(&[&replay[..], &["--json"]].concat()).json();
    assert_eq!(
        (&report["isWhole"], &report["missing"]),
        (&json!(true), &json!(null))
    );

    // The wrong place.
    std::fs::create_dir(place.path("empty")).unwrap();
    for args in [&export[..], &replay] {
        let said = place
            .tidemark(&[args, &["--archive", "empty"]].concat())
            .failed(2);
        assert!(said.contains("archive_incomplete"), "{said}");
        assert!(
            said.contains("it covers nothing of the present epoch"),
            "{said}"
        );
    }
    let partial = ["--archive", "empty", "--partial"];
    let said = place.tidemark(&[&export[..], &partial].concat());
    assert!(
        said.err.contains("are missing in the archive"),
        "{}",
        said.err
    );
    assert!(end(&said.ok()).starts_with("# end rows=0 partial=true "));

    // A file of several is gone, which is known at the end.
    let files = files(&place);
    assert!(files.len() > 1, "{files:?}");
    std::fs::remove_file(&files[0]).unwrap();
    let why = "it should hold 7 rows of the month, but its files hold ";
    for (args, code) in [(&export[..], 1), (&replay, 2)] {
        let said = place.tidemark(args).failed(code);
        assert!(
            said.contains("archive_incomplete") && said.contains(why),
            "{said}"
        );
    }
    let said = place.tidemark(&[&export[..], &["--partial"]].concat());
    assert!(said.err.contains(why), "{}", said.err);
    let csv = said.ok();
    assert!(end(&csv).contains(" partial=true "), "{csv}");
    let partial = ["--partial", "-o", "accounts.csv", "--json"];
    let report = place.tidemark(&[&replay[..], &partial].concat()).json();
    assert_eq!(report["isWhole"], false);
    assert!(
        report["missing"].as_str().unwrap().starts_with(why),
        "{report}"
    );
    let accounts = std::fs::read_to_string(place.path("accounts.csv")).unwrap();
    assert!(end(&accounts).contains(" partial=true "), "{accounts}");
}

#[test]
fn a_run_that_was_interrupted_goes_on_where_it_was() {
    let (place, up, [ann, bob], month) = place();
    change(&place, &ann, month, |stored| {
        stored.row.bonus = Points(2_500_000);
    });
    up.stop();
    // One account at a time, so that there are shares.
    let verify = [
        "verify",
        "--json",
        "--accounts-max",
        "1",
        "--resume",
        "done.jsonl",
    ];
    let run = || {
        let said = place.tidemark(&verify);
        assert_eq!((said.code, &*said.err), (Some(1), ""), "{}", said.out);
        let lines = json_lines(&said.out);
        let [difference, summary] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(difference["account"], format!("user:{ann}"));
        assert_eq!(difference["field"], "bonus");
        assert_eq!(summary["differences"], 1);
        summary["accounts"].as_u64().unwrap()
    };
    assert_eq!(run(), 3);
    let kept = std::fs::read_to_string(place.path("done.jsonl")).unwrap();
    let shares: Vec<&str> = kept.lines().filter(|line| !line.is_empty()).collect();
    assert!(shares.len() >= 3, "{kept}");

    // It was killed while it wrote down the second one.
    let half = &shares[1][..shares[1].len() / 2];
    place.write("done.jsonl", &format!("\n{}\n\n{half}", shares[0]));
    let done: Value = serde_json::from_str(shares[0]).unwrap();
    let done: Share = serde_json::from_value(done["share"].clone()).unwrap();
    let provider = Account::new(AccountKind::Provider, "prov").unwrap();
    let accounts = [account(&ann), account(&bob), provider];
    let left = accounts
        .iter()
        .filter(|account| !done.holds(AccountRef::from(*account)));
    assert_eq!(run(), left.count() as u64);
    // Now everything is done; what was found is said again.
    assert_eq!(run(), 0);

    let month = month.to_string();
    let of_month = ["verify", "--month", &month, "--resume", "done.jsonl"];
    let refused = place.tidemark(&of_month).failed(2);
    assert!(refused.contains("done.jsonl"), "{refused}");
    assert!(refused.contains("of another --month"), "{refused}");
    let nowhere = ["verify", "--resume", "nowhere/done.jsonl"];
    let refused = place.tidemark(&nowhere).failed(2);
    assert!(refused.contains("nowhere/done.jsonl"), "{refused}");
}

#[test]
fn what_cannot_be_verified_is_refused_with_the_reason() {
    let mut place = Place::new();
    place.tidemark(&["init"]).ok();
    let refused = |args: &[&str]| place.tidemark(&[&["verify"][..], args].concat()).failed(2);
    let none = refused(&[]);
    assert!(none.contains("no archive is configured"), "{none}");
    let named = ["--archive", "archive"];
    let missing = refused(&named);
    assert!(
        missing.contains("there is no archive at archive"),
        "{missing}"
    );
    std::fs::create_dir(place.path("archive")).unwrap();
    let empty = refused(&named);
    assert!(
        empty.contains("verify cannot run: the archive at ")
            && empty.contains(" covers nothing yet"),
        "{empty}"
    );

    // The archive begins behind the first request.
    let [ann, _] = users();
    let up = place.up(&[]);
    place.send(&[chat("1", &ann)]);
    place.wait();
    let source = usage_partition(&ann, 4).0;
    until("the first request is audited", || {
        let parts = place.tidemark(&["audit", "status", "--json"]).lines();
        let is_audited = |part: &Value| {
            part["sourcePartition"] == source && part["audited"].as_u64().is_some_and(|n| n > 0)
        };
        parts.iter().any(is_audited).then_some(())
    });
    up.stop();
    place.env = ARCHIVE.to_vec();
    let up = place.up(&[]);
    place.send(&[chat("2", &ann)]);
    place.wait();
    until_archived(&place, 1);
    let month = month_of(&place, &ann);
    let refused = place.tidemark(&["verify", "--month", &month.to_string()]);
    let refused = refused.failed(2);
    let reason = format!("{month} cannot be verified: the archive begins in or after {month}");
    assert!(refused.contains(&reason), "{refused}");
    let said = place.tidemark(&["verify"]).ok();
    let part = format!("compared from {}: the archive does not hold", month.next());
    assert!(said.starts_with(&part), "{said}");
    let summary = place.tidemark(&["verify", "--json"]).json();
    assert_eq!(summary["firstMonth"], month.next().to_string());
    assert_eq!(summary["lifetimeCompared"], false);
    up.stop();
}

#[test]
fn files_that_are_missing_are_no_differences() {
    let (place, up, _, month) = place();
    up.stop();
    let folder = place.path("archive").join(format!("month={month}"));
    let days = std::fs::read_dir(&folder).unwrap();
    let files: Vec<PathBuf> = days
        .flat_map(|day| std::fs::read_dir(day.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    assert!(files.len() >= 2, "{files:?}");
    std::fs::remove_file(&files[0]).unwrap();
    let refused = place.tidemark(&["verify"]).failed(2);
    let reason = format!("it has {RECORDS} rows of {month}, but its files have ");
    assert!(refused.contains(&reason), "{refused}");

    // A whole month that was deleted is left out.
    std::fs::remove_dir_all(&folder).unwrap();
    let said = place.tidemark(&["verify"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    let left_out =
        format!("{month} was not compared: the archive lacks requests (its files were deleted)");
    let must = [
        &*left_out,
        "facts of an account's whole life were not compared",
        "3 accounts compared with 0 requests in the archive: no difference",
    ];
    assert_eq!(lines, must);
    let summary = place.tidemark(&["verify", "--json"]).json();
    assert_eq!(summary["firstMonth"], Value::Null);
    assert_eq!(summary["monthsLeftOut"], json!([month.to_string()]));
    let of_month = ["verify", "--month", &month.to_string()];
    let refused = place.tidemark(&of_month).failed(2);
    assert!(refused.contains("its files were deleted"), "{refused}");
}

#[test]
#[ignore = "needs script (Debian: bsdutils): .ci/run tools"]
fn who_watches_is_told_how_much_of_the_archive_was_read() {
    let (place, up, ..) = place();
    let (code, shown) = on_a_terminal(&place, &["verify"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(" requests, "), "{shown}");
    up.stop();
}
