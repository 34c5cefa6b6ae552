//! Months as files.

use std::path::Path;
use std::process::Command;

use tidemark::archive::{ArchiveWriter, ArchivedRequest, FileName, Folder, RequestKind, Rows};
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::Service;
use tidemark::domain::ids::AccountKind;
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition};
use tidemark::domain::rules::Network;
use tidemark::domain::semantics::Semantics;
use tidemark::domain::tier::Tier;
use tidemark::domain::time::Millis;
use tidemark::store::audits::coverage::Coverage;

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
                .fold(0_i128, |sum, byte| (sum << 8) | i128::from(*byte));
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

/// A request of `ann` as the mainnet's rules have it: 3 points for `prov`, 0.3 for `ann`, $0.00015.
fn archived(kind: RequestKind, id: &str) -> ArchivedRequest<'_> {
    let time: Millis = "2026-10-05T12:00:00Z".parse().unwrap();
    let sign = if kind == RequestKind::Reversal { -1 } else { 1 };
    ArchivedRequest {
        kind,
        source: "s",
        id,
        user: "ann",
        provider: Some("prov"),
        endpoint: "/v1/chat/completions",
        service_name: "chat_completions",
        service: Service::CHAT_COMPLETIONS,
        model: Some("llama-3-8b"),
        tier: Some(Tier::BlueSurge),
        status: 200,
        latency_ms: Some(250),
        input_tokens: Some(150),
        output_tokens: Some(75),
        cached_input_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        audio_ms: None,
        image_count: None,
        request_bytes: None,
        response_bytes: None,
        stream: false,
        time,
        log_time: time,
        epoch: Epoch(0),
        partition: Partition(0),
        offset: Offset(0),
        chunk: Chunk(1),
        chunk_log_time: time,
        control: Control(1),
        semantics: Semantics::NOW.number(),
        month: time.month(),
        booked_on: (kind == RequestKind::Event).then(|| time.day()),
        user_points: Points(sign * 300_000),
        provider_points: Points(sign * 3_000_000),
        cost: Money(i128::from(sign) * 150_000),
        shadow_cost: Money::ZERO,
        target_ms: 2_000,
        trial_points: None,
        user_referrer_1: None,
        user_referrer_1_kind: None,
        user_referrer_2: None,
        user_referrer_2_kind: None,
        user_referrer_3: None,
        user_referrer_3_kind: None,
        user_referral_1: Points::ZERO,
        user_referral_2: Points::ZERO,
        user_referral_3: Points::ZERO,
        provider_referrer_1: Some("vic"),
        provider_referrer_1_kind: Some(AccountKind::Provider),
        provider_referrer_2: None,
        provider_referrer_2_kind: None,
        provider_referrer_3: None,
        provider_referrer_3_kind: None,
        provider_referral_1: Points(sign * 600_000),
        provider_referral_2: Points::ZERO,
        provider_referral_3: Points::ZERO,
        original_offset: None,
        original_epoch: None,
        original_source: None,
        original_id: None,
        provider_is_new: false,
        earlier_model: None,
        earlier_latency_ms: None,
        earlier_target_ms: None,
        earlier_input_tokens: None,
        earlier_output_tokens: None,
        earlier_cached_input_tokens: None,
        earlier_cache_write_tokens: None,
        earlier_reasoning_tokens: None,
        earlier_audio_ms: None,
        earlier_image_count: None,
    }
}

/// An archive of October in `archive`.
fn write_archive(place: &Place, requests: &[ArchivedRequest<'_>]) {
    let mut rows = Rows::default();
    requests.iter().for_each(|request| rows.push(request));
    let mut writer = ArchiveWriter::new().unwrap();
    writer.append(&rows).unwrap();
    let folder = Folder {
        month: requests[0].month,
        day: requests[0].log_time.day(),
    };
    let name = FileName {
        epoch: Epoch(0),
        source: Partition(0),
        from: Offset(0),
        to: Offset(requests.len() as u64),
    };
    let path = place.path("archive").join(name.path_in(folder));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, writer.finish().unwrap()).unwrap();
    let rows = requests.len() as u64;
    let coverage = Coverage {
        to: name.to,
        chunk: Some(Chunk(1)),
        is_from_start: true,
        rows,
        rows_of_month: [(folder.month, rows)].into(),
        ..Coverage::beginning("t", name.epoch, name.source, Offset(0))
    };
    let said = place.path("archive").join("_coverage");
    std::fs::create_dir_all(&said).unwrap();
    let said = said.join("e0000000000-p00000-00000000000000000000.json");
    std::fs::write(said, serde_json::to_vec(&coverage).unwrap()).unwrap();
}

#[test]
fn archived_requests_are_exported_and_replayed_under_other_rules() {
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "mainnet"]).ok();
    let replay = ["replay", "--month", "2026-10", "--archive", "archive"];
    let nothing = place.tidemark(&replay).failed(2);
    assert!(
        nothing.contains("there is no archive at archive"),
        "{nothing}"
    );
    std::fs::create_dir(place.path("archive")).unwrap();
    let nothing = place.tidemark(&replay).failed(1);
    assert!(
        nothing.contains("nothing of 2026-10 in the archive at archive"),
        "{nothing}"
    );
    let ids = ["r-1", "=r-2"];
    let mut requests = ids.map(|id| archived(RequestKind::Event, id)).to_vec();
    requests.push(archived(RequestKind::Reversal, "take-back"));
    write_archive(&place, &requests);

    let export = [
        "export",
        "--month",
        "2026-10",
        "--what",
        "requests",
        "--archive",
        "archive",
    ];
    let csv = place
        .tidemark(&[&export[..], &["--format", "csv"]].concat())
        .ok();
    let end = trailer(&csv);
    assert!(
        end.starts_with("# end rows=3 user_points=0.3 provider_points=3 "),
        "{end}"
    );
    assert!(
        end.contains(" provider_referral_points=0.6 cost_usd=0.00015 "),
        "{end}"
    );
    assert!(
        csv.contains("event,ann,prov,s,'=r-2,2026-10-05T12:00:00.000Z,"),
        "{csv}"
    );
    let focus = place
        .tidemark(&[&export[..], &["--format", "focus"]].concat())
        .ok();
    let lines: Vec<&str> = focus.lines().collect();
    assert_eq!(lines.len(), 4, "{focus}");
    assert!(lines[3].starts_with("-0.00015,ann,"), "{focus}");
    assert!(
        lines[3].contains(",Usage,Correction,"),
        "it was booked late: {focus}"
    );
    assert!(
        lines[1].contains(",2026-10-06T00:00:00Z,2026-10-05T00:00:00Z,,1.0,Requests,"),
        "{focus}"
    );

    // Under the rules that there were: what was posted.
    let same = place.tidemark(&[&replay[..], &["--json"]].concat()).json();
    assert_eq!(same["rows"]["changed"], 0);
    assert_eq!(same["totals"]["cost"]["after"], "0.00015");
    assert_eq!(same["totals"]["providerReferralPoints"]["after"], "0.6");
    // Under others.
    let (_, text) = Network::Mainnet.document();
    place.write(
        "other.toml",
        &text.replace("pricePerUnit = \"0.0005\"", "pricePerUnit = \"0.001\""),
    );
    let other = [
        &replay[..],
        &["--rules", "other.toml", "-o", "accounts.csv"],
    ]
    .concat();
    let said = place.tidemark(&other).ok();
    assert!(
        said.contains("3 records of 2026-10 from 1 file in archive: 1 booked late"),
        "{said}"
    );
    assert!(
        said.lines().any(|line| line
            .split_whitespace()
            .eq(["charged,", "USD", "0.00015", "0.000225"])),
        "{said}"
    );
    let accounts = std::fs::read_to_string(place.path("accounts.csv")).unwrap();
    assert!(
        accounts.contains("\nuser,ann,2,0.3,0.3,0,0,0.00015,0.000225,0,0\n"),
        "{accounts}"
    );
    assert!(
        accounts.contains("\nprovider,vic,0,0.6,0.6,0.6,0.6,0,0,0,0\n"),
        "{accounts}"
    );
    assert!(
        trailer(&accounts).starts_with("# end rows=3 requests=4 "),
        "{accounts}"
    );
    // A record that was not rated so.
    requests[0].cost = Money(1);
    write_archive(&place, &requests);
    let differs = place.tidemark(&replay).failed(1);
    assert!(differs.contains("replay_differs"), "{differs}");
    place.write("broken.toml", "system_mainnet = 1");
    let broken = [&replay[..], &["--rules", "broken.toml"]].concat();
    assert!(place.tidemark(&broken).failed(2).contains("broken.toml"));
}
