//! `tidemark verify`: rows of a real `up` against its archive, rows that were changed by hand, and
//! what cannot be verified.

use std::path::PathBuf;

use serde_json::{Value, json};
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::WriteId;
use tidemark::domain::service::Service;
use tidemark::domain::time::Month;
use tidemark::log::usage_partition;
use tidemark::store::accounts::{self, StoredRow, row_key};
use tidemark::store::db::{Attr, Condition, Db as _, Item, Key, Write};
use tidemark::store::set_aside;

use super::halts::{run, store};
use super::progress::on_a_terminal;
use super::reversals::reversal;
use super::{Place, Up, chat, until};
use crate::http::set_aside::record_of;

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
        "month": null, "differences": 0, "accounts": 3, "skipped": 0, "requests": RECORDS,
        "notCompared": [], "firstMonth": null, "monthsLeftOut": [], "lifetimeCompared": true,
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

#[test]
fn a_month_of_which_nothing_was_compared_is_not_called_free_of_differences() {
    let (place, up, [ann, _], month) = place();
    let verify = |month: Month, more: &[&str]| {
        let month = month.to_string();
        place.tidemark(&[&["verify", "--month", &month], more].concat())
    };
    let well =
        format!("3 accounts compared with 7 requests of {month} in the archive: no difference\n");
    assert_eq!(verify(month, &[]).ok(), well);
    let summary = verify(month, &["--json"]).json();
    let must = json!({
        "month": month.to_string(), "differences": 0, "accounts": 3, "skipped": 0,
        "requests": RECORDS, "notCompared": [], "firstMonth": null, "monthsLeftOut": [],
        "lifetimeCompared": true,
    });
    assert_eq!(summary, must);

    let before = Month(month.0 - 1);
    let long_ago: Month = "2019-01".parse().unwrap();
    let next = month.next();
    let nothing = |month: Month| {
        format!("nothing was compared: neither the archive nor the tables hold anything of {month}")
    };
    for (month, why) in [
        (before, nothing(before)),
        (long_ago, nothing(long_ago)),
        (next, format!("{next} has not begun")),
    ] {
        for more in [&[][..], &["--json"], &["--resume", "done.jsonl"]] {
            let said = verify(month, more);
            assert_eq!(said.out, "", "{month}");
            let refused = said.failed(2);
            assert!(refused.contains(&why), "{refused}");
            drop(std::fs::remove_file(place.path("done.jsonl")));
        }
    }
    // A row that should not be there is a difference, also where the archive holds nothing.
    put_row_of_month_before(&place, &ann, month);
    let said = verify(before, &[]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let end = format!("1 account compared with 0 requests of {before} in the archive: ");
    assert!(said.out.contains(&end), "{}", said.out);
    up.stop();
}

#[test]
fn accounts_that_are_skipped_are_not_counted_as_compared() {
    let (place, up, [ann, bob], month) = place();
    let provider = Account::new(AccountKind::Provider, "prov").unwrap();
    let verify = |more: &[&str]| place.tidemark(&[&["verify"][..], more].concat());
    let accounts = [account(&ann), account(&bob), provider];
    for (count, account) in (1..).zip(&accounts) {
        let record = record_of(account.clone());
        let aside = set_aside::put(&record, None, WriteId::default());
        run(async { store(&place).write(aside).await.unwrap() });
        // A row that is right needs no second look.
        let key = row_key(account, month);
        let item = run(async { store(&place).get(&key).await.unwrap().unwrap() });
        let mut row = accounts::decode(key.clone(), &item).unwrap();
        row.row.bonus = row.row.bonus.plus(Points(1));
        put(&place, &key, accounts::encode(account, &row));
        let skipped = match count {
            1 => "1 account was not compared".to_owned(),
            _ => format!("{count} accounts were not compared"),
        };
        // A run that continues says again which those are.
        for more in [
            &[][..],
            &["--resume", "done.jsonl"],
            &["--resume", "done.jsonl"],
        ] {
            let said = verify(more);
            let line = format!("{account}: not compared, because it is set aside");
            assert!(said.out.contains(&line), "{}", said.out);
            if count < accounts.len() {
                let left = ["1 account", "2 accounts"][accounts.len() - count - 1];
                let end = format!(
                    "{skipped}\n{left} compared with 7 requests in the archive: no difference\n"
                );
                assert!(said.out.ends_with(&end), "{}", said.out);
                assert_eq!((said.code, &*said.err), (Some(0), ""));
            } else {
                assert!(!said.out.contains("no difference"), "{}", said.out);
                let refused = said.failed(2);
                let all = format!("nothing was compared: {skipped}");
                assert!(refused.contains(&all), "{refused}");
            }
        }
        std::fs::remove_file(place.path("done.jsonl")).unwrap();
    }
    up.stop();
}

/// Copies a row into the month before, where nothing is.
fn put_row_of_month_before(place: &Place, user: &str, month: Month) {
    let (key, item) = stored(place, user, month);
    let mut row = accounts::decode(key, &item).unwrap();
    row.row.month = Month(month.0 - 1);
    let account = account(user);
    let key = row_key(&account, row.row.month);
    put(place, &key, accounts::encode(&account, &row));
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
    let (place, up, [ann, _], month) = place();
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
        // Whatever was done before: the numbers are those of all shares.
        let counts = ["differences", "accounts", "skipped", "requests"].map(|name| &summary[name]);
        assert_eq!(json!(counts), json!([1, 3, 0, RECORDS]), "{summary}");
    };
    run();
    let kept = std::fs::read_to_string(place.path("done.jsonl")).unwrap();
    let shares: Vec<&str> = kept.lines().filter(|line| !line.is_empty()).collect();
    assert!(shares.len() >= 3, "{kept}");

    // It was killed while it wrote down the second one.
    let half = &shares[1][..shares[1].len() / 2];
    place.write("done.jsonl", &format!("\n{}\n\n{half}", shares[0]));
    run();
    // Now everything is done: nothing is read, and what was found is said again.
    let kept = std::fs::read_to_string(place.path("done.jsonl")).unwrap();
    run();
    assert_eq!(
        std::fs::read_to_string(place.path("done.jsonl")).unwrap(),
        kept
    );
    // Versions before this one did not write down how many accounts a share had.
    let mut old: Value = serde_json::from_str(shares[0]).unwrap();
    let members = old.as_object_mut().unwrap();
    assert!(members.remove("counts").is_some() && members.remove("skipped").is_some());
    place.write("done.jsonl", &format!("\n{old}\n"));
    run();
    let none = place.tidemark(&["verify", "--accounts-max", "0"]).failed(2);
    assert!(none.contains("--accounts-max"), "{none}");

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
    for args in [&["verify"][..], &["verify", "--json"]] {
        let said = place.tidemark(args);
        assert_eq!(said.out, "", "{args:?}");
        let refused = said.failed(2);
        let next = month.next();
        for part in [
            "nothing was compared: ",
            &format!("months before {next} were not compared: the archive does not hold all of"),
            "facts of an account's whole life were not compared",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
    up.stop();
}

#[test]
fn what_a_partition_has_not_archived_yet_is_refused_with_how_long_to_wait() {
    let (mut place, up, [ann, bob], month) = place();
    up.stop();
    // Now files end late. Another partition than those two gets its first request.
    let used = [&ann, &bob].map(|user| usage_partition(user, 4));
    let mut names = (1..).map(|n| format!("new-{n}"));
    let new = names.find(|name| !used.contains(&usage_partition(name, 4)));
    let new = new.unwrap();
    place.env = vec![ARCHIVE[0]];
    let up = place.up(&[]);
    place.send(&[chat("first", &new)]);
    place.wait();
    let month = month.to_string();
    let why = format!(
        "source partition {} has requests, and the archive has no file of them yet",
        usage_partition(&new, 4)
    );
    let of_month = ["--month", &*month];
    for (command, more) in [
        ("verify", &of_month[..]),
        ("verify", &[]),
        ("replay", &of_month),
        (
            "export",
            &["--month", &*month, "--what", "requests", "--format", "csv"],
        ),
    ] {
        let refused = place.tidemark(&[&[command][..], more].concat()).failed(2);
        for part in [
            &*why,
            "archive.file_age_max (15 min by default)",
            "try again then",
        ] {
            assert!(refused.contains(part), "{command} {part}: {refused}");
        }
    }
    // A worker that stops writes its files.
    up.stop();
    let said = place.tidemark(&["verify"]).ok();
    assert!(
        said.ends_with(" compared with 8 requests in the archive: no difference\n"),
        "{said}"
    );
}

#[test]
fn files_that_are_missing_are_no_differences() {
    let (place, up, [ann, _], month) = place();
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
    let refused = place.tidemark(&["verify"]).failed(2);
    let left_out =
        format!("{month} was not compared: the archive lacks requests (its files were deleted)");
    assert!(
        refused.contains("nothing was compared: ") && refused.contains(&left_out),
        "{refused}"
    );
    let of_month = ["verify", "--month", &month.to_string()];
    let refused = place.tidemark(&of_month).failed(2);
    assert!(refused.contains("its files were deleted"), "{refused}");
    // A row of another month is compared, and counted by itself.
    put_row_of_month_before(&place, &ann, month);
    let said = place.tidemark(&["verify", "--json"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let lines = json_lines(&said.out);
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["accounts"], &summary["requests"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(summary["firstMonth"], Value::Null);
    assert_eq!(summary["monthsLeftOut"], json!([month.to_string()]));
    let must = [
        &*left_out,
        "facts of an account's whole life were not compared",
    ];
    assert_eq!(summary["notCompared"], json!(must));
    up.stop();
}

/// Bytes of a file that were changed, and what is said of it.
type Damage<'a> = (&'a str, PathBuf, Vec<u8>, &'a [&'a str]);

#[test]
fn a_file_that_was_damaged_or_copied_is_named_with_what_to_do() {
    let (place, up, _, month) = place();
    up.stop();
    let archive = place.path("archive");
    let files = files(&place);
    let [file, other, ..] = &files[..] else {
        panic!("{files:?}")
    };
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    let (bytes, name) = (read(file), file.file_name().unwrap());
    let in_day = |day: &str| file.parent().unwrap().with_file_name(day).join(name);
    let in_month = format!("month=2020-01/day=2020-01-05/{}", name.display());
    let mut broken = bytes.clone();
    // A page of a column.
    broken[40..60].fill(0xff);
    let unreadable = [
        "not a readable Parquet file",
        "is not written again: restore it from a copy (docs/archive.md#damaged-files)",
    ];
    let misplaced = [
        "does not belong into a file of this path",
        "restore the right one, or, if this path did not exist before, remove it",
    ];
    let damages: &[Damage] = &[
        (
            "cut short",
            file.clone(),
            bytes[..bytes.len() / 2].to_vec(),
            &unreadable,
        ),
        ("empty", file.clone(), Vec::new(), &unreadable),
        ("broken", file.clone(), broken, &["restore it from a copy"]),
        ("another", file.clone(), read(other), &misplaced),
        (
            "in another day",
            in_day("day=2020-01-05"),
            bytes.clone(),
            &misplaced,
        ),
    ];
    let month = month.to_string();
    let export = [
        "export", "--month", &month, "--what", "requests", "--format", "csv",
    ];
    for (what, path, damaged, parts) in damages {
        let before = path.exists().then(|| read(path));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, damaged).unwrap();
        let shown = path.strip_prefix(&archive).unwrap().display().to_string();
        let commands: [&[&str]; 3] = [&["verify"], &["replay", "--month", &month], &export];
        for args in commands {
            let said = place.tidemark(args);
            assert!(
                matches!(said.code, Some(1 | 2)),
                "{what} {args:?}: {}",
                said.out
            );
            for part in parts.iter().copied().chain([&*shown]) {
                assert!(
                    said.err.contains(part),
                    "{what} {args:?} {part}: {}",
                    said.err
                );
            }
        }
        place.tidemark(&["verify"]).failed(2);
        match before {
            Some(before) => std::fs::write(path, before).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
    }
    // Of another month, which only verify reads.
    let path = archive.join(&in_month);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let refused = place.tidemark(&["verify"]).failed(2);
    for part in misplaced.into_iter().chain([&*in_month]) {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    std::fs::remove_dir_all(archive.join("month=2020-01")).unwrap();

    // What says how far the archive goes.
    let covered = std::fs::read_dir(archive.join("_coverage")).unwrap();
    let covered: Vec<PathBuf> = covered.map(|file| file.unwrap().path()).collect();
    let [one, another, ..] = &covered[..] else {
        panic!("{covered:?}")
    };
    let before = read(one);
    for (bytes, why) in [
        (before[..before.len() / 2].to_vec(), "is damaged: "),
        (
            read(another),
            "is damaged: it holds what belongs into _coverage/",
        ),
    ] {
        std::fs::write(one, bytes).unwrap();
        let shown = one.strip_prefix(&archive).unwrap().display().to_string();
        let refused = place.tidemark(&["verify"]).failed(2);
        for part in [&*shown, why, "restore it from a copy, or remove it"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
    std::fs::write(one, before).unwrap();
    place.tidemark(&["verify"]).ok();
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
