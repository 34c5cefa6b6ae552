//! `tidemark close` and `tidemark claims` on a machine of one's own.

use std::path::Path;

use tidemark::claims::FileKind;
use tidemark::domain::closing::Terms;
use tidemark::domain::position::Control;
use tidemark::domain::time::Month;
use tidemark::ops::clock::{Clock as _, SystemClock};
use tidemark::store::closes::{self, BegunClose};

use super::halts::{run, store};
use super::{Place, until};
use crate::claims::check::files;
use crate::domain::closing::{address, pool, user};
use crate::process::earned::{closable, earned};

/// Writes the claim files of a close into a folder, with `prefix` before each name.
fn write(folder: &Path, prefix: &str) {
    std::fs::create_dir_all(folder).unwrap();
    for (kind, bytes) in files().0 {
        std::fs::write(folder.join(format!("{prefix}{kind}")), bytes).unwrap();
    }
}

/// With another digit behind the last `before`; and its line.
fn with_another_digit(text: &str, before: &str) -> (String, usize) {
    let at = text.rfind(before).expect(before) + before.len();
    let other = match text[at..].starts_with('1') {
        true => "2",
        false => "1",
    };
    let line = 1 + text[..at].matches('\n').count();
    ([&text[..at], other, &text[at + 1..]].concat(), line)
}

#[test]
fn claim_files_in_a_folder_are_checked_under_both_of_their_names() {
    let place = Place::new();
    for prefix in ["", "2024-01-"] {
        let folder = place.path(&format!("files{prefix}"));
        write(&folder, prefix);
        let file = |name: &str| {
            let path = folder.join(format!("{prefix}{name}"));
            path.to_str().unwrap().to_owned()
        };
        let check = |name: &str| place.tidemark(&["claims", "check", &file(name)]);
        for kind in [
            FileKind::Close,
            FileKind::OpenZeppelin,
            FileKind::Cumulative,
            FileKind::Uniswap(0),
            FileKind::Sablier,
        ] {
            let said = check(&kind.to_string()).ok();
            assert!(said.contains("11 claims"), "{prefix}{kind}: {said}");
            assert!(!said.contains("note:"), "{prefix}{kind}: {said}");
        }
        // A file in which one digit is another is refused, and the line is named: by itself, and by
        // way of close.json.
        for (name, before) in [
            ("openzeppelin.json", "\",\""),
            ("openzeppelin.json", "\n\"0x"),
            ("cumulative.json", "\",\""),
            ("uniswap.json", "\"amount\":\"0x"),
            ("uniswap.json", "\"proof\":[\"0x"),
            ("sablier.csv", ","),
        ] {
            let text = std::fs::read_to_string(file(name)).unwrap();
            let (edited, line) = with_another_digit(&text, before);
            std::fs::write(file(name), edited).unwrap();
            let named = format!("line {line}: ");
            let said = check(name).failed(1);
            let path = format!("{}: {named}", file(name));
            assert!(
                said.contains(&path) && said.contains("(bad_"),
                "{path} {said}"
            );
            let said = check("close.json").failed(1);
            assert!(
                said.contains(&named) && said.contains(name),
                "{named} {said}"
            );
            std::fs::write(file(name), text).unwrap();
        }
        check("close.json").ok();
        // A file alone: what cannot be checked is said.
        for kind in [
            "openzeppelin.json",
            "cumulative.json",
            "uniswap.json",
            "sablier.csv",
        ] {
            std::fs::remove_file(file(kind)).unwrap();
        }
        let said = check("close.json").failed(1);
        assert!(said.contains("nothing_to_compare"), "{said}");
    }
    let missing = place.tidemark(&["claims", "check", "none.json"]);
    assert!(missing.failed(2).contains("none.json"));
}

#[test]
fn a_new_installation_has_closed_nothing_and_says_so() {
    let place = Place::new();
    let _up = place.up(&[]);
    let none = place.tidemark(&["close", "--json"]).json();
    assert_eq!(none, serde_json::json!([]));
    let said = place.tidemark(&["close", "2026-01"]).failed(2);
    assert!(said.contains("has not been closed"), "{said}");
    assert!(said.contains("(not_closed)"), "{said}");
    let terms = ["--pool", "100", "--decimals", "18"];
    let said = place.tidemark(&[&["close", "2999-01"], &terms[..]].concat());
    assert!(said.failed(2).contains("not final yet"));
    let said = place.tidemark(&[&["close", "2999-01", "--preview"], &terms[..]].concat());
    assert!(said.failed(2).contains("not final yet"));
    // Terms without a share would say nothing.
    for lonely in [
        ["--minimum", "5"],
        ["--decimals", "18"],
        ["--kinds", "users"],
    ] {
        let args = [&["close", "2026-01"], &lonely[..]].concat();
        let said = place.tidemark(&args).failed(2);
        assert!(said.contains("--pool"), "{said}");
    }
    let claims = place.tidemark(&["claims", "show", "user", "alice"]).json();
    assert_eq!(claims["closes"], serde_json::json!([]));
    assert_eq!(claims["id"], "alice");
}

/// A close that was begun an hour ago, and whoever began it is gone.
fn begin(place: &Place, month: Month, previous: Month) {
    let now = SystemClock.now();
    let begun = BegunClose {
        month,
        control: Control(1),
        terms: Terms::try_from(pool("7", 6)).unwrap(),
        positions: Vec::new(),
        by: "a test".to_owned(),
        at: now.plus(-3_600_000),
    };
    let stored = run(closes::begin(&store(place), &begun, Some(previous)));
    assert_eq!(stored.unwrap().expect("it is the next").begun, begun);
}

#[test]
fn the_doctor_names_a_close_that_is_not_finished_and_files_that_are_gone() {
    let place = Place::new();
    let _up = place.up(&[]);
    let next = closable();
    let month = Month(next.0 - 1);
    let ann = (user("ann"), 10, Some(address(1)));
    run(earned(&place.path("data"), month, &[ann]));
    let name = month.to_string();
    let close = ["close", &name, "--pool", "100", "--decimals", "6"];
    let preview = [&close[..], &["--preview"]].concat();
    until("the month is final", || {
        (place.tidemark(&preview).code == Some(0)).then_some(())
    });
    let doctor = || place.tidemark(&["doctor"]);
    assert!(!doctor().out.contains("closed months"));
    place.tidemark(&close).ok();
    let said = doctor().ok();
    assert!(
        said.contains("The files of all closed months are in"),
        "{said}"
    );

    let path = place.path(&format!("data/closing/{name}/sablier.csv"));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let said = doctor();
    assert_eq!(said.code, Some(1));
    for part in [
        format!("{name}/sablier.csv"),
        format!("tidemark close {name}"),
    ] {
        assert!(said.out.contains(&part), "{part}: {}", said.out);
    }
    place.tidemark(&["close", &name]).ok();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // A disk that is not mounted: it is said, and nothing is made in its place.
    let folder = place.path("data/closing");
    std::fs::rename(&folder, place.path("elsewhere")).unwrap();
    let said = doctor();
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("there is no directory"), "{}", said.out);
    assert!(!folder.exists());
    std::fs::rename(place.path("elsewhere"), &folder).unwrap();

    begin(&place, next, month);
    let said = doctor();
    assert_eq!(said.code, Some(1));
    let begun = format!("The close of {next} was begun at");
    assert!(said.out.contains(&begun), "{}", said.out);
    place.tidemark(&["close", &next.to_string()]).ok();
    doctor().ok();
}
