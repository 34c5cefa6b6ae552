//! Months as files.

use std::path::Path;
use std::process::Command;

use super::{Place, chat};

/// A mainnet with requests of three users, one of whom has an id that is a formula.
fn place() -> (Place, super::Up, String) {
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "mainnet"]).ok();
    let up = place.up(&[]);
    let events: Vec<_> = ["ann", "bob", "=1+1"]
        .into_iter()
        .flat_map(|user| (0..3).map(move |n| chat(&format!("{user}-{n}"), user)))
        .collect();
    place.send(&events);
    place.wait();
    let month = place.statement("user", "ann")["month"].clone();
    let month = month.as_str().unwrap().to_owned();
    (place, up, month)
}

fn trailer(file: &str) -> &str {
    let last = file.lines().last().unwrap();
    assert!(last.starts_with("# end "), "{file}");
    last
}

#[test]
fn a_month_becomes_a_file_which_appears_when_it_is_whole() {
    let (place, up, month) = place();
    let args = ["export", "--month", &month, "--format", "csv"];
    let printed = place.tidemark(&args);
    let said = printed.err.clone();
    let printed = printed.ok();
    assert!(said.contains("is not final"), "{said}");
    let end = trailer(&printed);
    assert!(
        end.contains(" cost_usd=0.00135 ") && end.contains(" requests=18 "),
        "{end}"
    );
    assert!(printed.contains("\nuser,'=1+1,"), "{printed}");
    let written = place.tidemark(&[&args[..], &["-o", "month.csv"]].concat());
    assert_eq!(written.ok(), "");
    let file = std::fs::read_to_string(place.path("month.csv")).unwrap();
    assert_eq!(file, printed);
    assert!(!place.path("month.csv.part").exists());
    // The service gives the same.
    let (status, body) = up.get(&format!("/api/admin/exports/{month}/statements"));
    assert_eq!(status, 200);
    assert!(body.contains(end), "{body}");

    let exact = place
        .tidemark(&[&args[..], &["--exact-text"]].concat())
        .ok();
    assert!(exact.contains("\nuser,=1+1,"), "{exact}");
    let unwritable = place.tidemark(&[&args[..], &["-o", "nowhere/month.csv"]].concat());
    assert!(
        unwritable
            .failed(1)
            .contains("cannot write nowhere/month.csv.part")
    );
    let days = [
        "export", "--month", &month, "--format", "focus", "--what", "days",
    ];
    assert!(
        place
            .tidemark(&days)
            .failed(2)
            .contains("FOCUS describes charges")
    );
    let requests = [
        "export", "--month", &month, "--format", "csv", "--what", "requests",
    ];
    assert!(place.tidemark(&requests).failed(2).contains("--archive"));
    up.stop();
}

#[test]
fn a_parquet_file_has_the_rows_of_the_csv_file() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let (place, up, month) = place();
    for (what, rows) in [("statements", 4), ("services", 4), ("days", 4)] {
        let args = [
            "export",
            "--month",
            &month,
            "--what",
            what,
            "-o",
            "month.parquet",
        ];
        place
            .tidemark(&[&args[..], &["--format", "parquet"]].concat())
            .ok();
        let csv = ["export", "--month", &month, "--what", what, "--exact-text"];
        let csv = place
            .tidemark(&[&csv[..], &["--format", "csv"]].concat())
            .ok();
        let file = std::fs::File::open(place.path("month.parquet")).unwrap();
        let file = SerializedFileReader::new(file).unwrap();
        let metadata = file.metadata().file_metadata();
        assert_eq!(metadata.num_rows(), rows);
        let notes = metadata.key_value_metadata().unwrap();
        let is_final = notes
            .iter()
            .find(|note| note.key == "tidemark.final")
            .unwrap();
        assert_eq!(is_final.value.as_deref(), Some("false"));
        let mut lines = csv.lines().skip(1);
        for row in file.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let cells = row.get_column_iter().map(|(_, field)| cell(field));
            let cells = cells.collect::<Vec<_>>().join(",");
            assert_eq!(lines.next(), Some(cells.as_str()));
        }
        assert!(lines.next().unwrap().starts_with("# end"));
    }
    up.stop();
}

/// As the CSV file has it.
fn cell(field: &parquet::record::Field) -> String {
    use parquet::record::Field;
    match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Bool(flag) => flag.to_string(),
        Field::Long(number) => number.to_string(),
        Field::Date(day) => tidemark::domain::time::Day(*day).to_string(),
        Field::Decimal(decimal) => {
            let units = decimal
                .data()
                .iter()
                .fold(0_i128, |sum, byte| sum << 8 | i128::from(*byte));
            match decimal.scale() {
                6 => tidemark::domain::amount::WidePoints(units).to_string(),
                _ => tidemark::domain::amount::Money(units).to_string(),
            }
        }
        other => panic!("{other:?}"),
    }
}

fn tool() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/focus-validator");
    let home = std::env::var("SERVERS_HOME");
    let home = home.unwrap_or_else(|_| {
        let home = std::env::var("HOME").expect("a home directory");
        format!("{home}/.cache/servers")
    });
    let version = std::fs::read_to_string(&script).unwrap();
    let version = version
        .lines()
        .find_map(|line| line.strip_prefix("version="));
    let venv = format!("{home}/focus-validator-{}", version.expect("a version"));
    if !Path::new(&venv).join(".complete").exists() {
        crate::needs::missing("focus-validator", "tests/servers/focus-validator fetch");
    }
    Command::new(script)
}

/// It takes this rule by itself, though the specification has it as one of two cases: an id where there
/// is an invoice, none where there is none.
const MISREAD: &str = "InvoiceId-C-005-C";

#[test]
#[ignore = "needs focus-validator: .ci/run tools"]
fn the_validator_of_focus_finds_no_rule_that_a_file_breaks() {
    let mut validator = tool();
    let (place, up, month) = place();
    let args = [
        "export",
        "--month",
        &month,
        "--format",
        "focus",
        "-o",
        "charges.csv",
    ];
    place.tidemark(&args).ok();
    up.stop();
    let checked = validator
        .arg("check")
        .arg(place.path("charges.csv"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let faults = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}\n{faults}");
    let broken: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains(MISREAD))
        .collect();
    assert!(broken.is_empty(), "{said}");
}
