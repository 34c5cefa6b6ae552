//! What real OpenTelemetry SDKs exported, as `tests/servers/otel capture` wrote it down, and what it becomes. Their prompts and keys say SECRET.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidemark::gateways::{Format, GatewaySettings, Outcomes, read, read_otlp_protobuf};

use super::gateways::{RECEIVED, shown};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/wire/fixtures/otlp_sdks");
    let entries = fs::read_dir(folder).expect("the fixtures");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| !path.to_string_lossy().ends_with(".out.json"))
        .collect();
    files.sort();
    files
}

fn outcomes(path: &Path) -> Outcomes {
    let body = fs::read(path).expect("a fixture");
    let settings = GatewaySettings::default();
    match path.extension().is_some_and(|extension| extension == "pb") {
        true => read_otlp_protobuf(&body, &settings),
        false => read(Format::Otlp, &body, RECEIVED, &settings),
    }
    .expect("an export request")
}

#[test]
fn what_sdks_really_export_becomes_what_stands_beside_it() {
    let files = fixtures();
    assert_eq!(files.len(), 10);
    for path in files {
        let is = shown(&outcomes(&path));
        let golden = format!("{}.out.json", path.display());
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            let text = serde_json::to_string_pretty(&is).expect("JSON") + "\n";
            fs::write(&golden, text).expect("the golden file is written");
        }
        let must = fs::read(&golden).expect("a golden file");
        let must: Value = serde_json::from_slice(&must).expect("JSON");
        assert_eq!(is, must, "{golden}");
        assert!(!is.to_string().contains("SECRET"), "{golden}");
    }
}

/// The same calls, whichever way they are exported: but for ids and times, the same events.
#[test]
fn json_and_protobuf_of_one_sdk_say_the_same() {
    let without_place = |path: &Path| -> Vec<Value> {
        let shown = shown(&outcomes(path));
        let all = shown.as_array().expect("a list").iter();
        all.map(|outcome| match outcome.get("event") {
            Some(event) => {
                let mut data = event["data"].clone();
                data["latencyMs"] = Value::Null;
                data
            }
            None => outcome.clone(),
        })
        .collect()
    };
    let pairs = fixtures()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "json"));
    let mut seen = 0;
    for json in pairs {
        seen += 1;
        let protobuf = json.with_extension("pb");
        assert_eq!(
            without_place(&json),
            without_place(&protobuf),
            "{}",
            json.display()
        );
    }
    assert_eq!(seen, 3);
}
