//! Wallets on a running `up`, signed for by viem: by what the service issues, and by what viem's own
//! builder of messages makes of the same values. And by the command line.
//!
//! Needs viem: `tests/servers/viem fetch`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::site::Site;

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers/viem")
}

/// Fails the test if viem is not installed.
pub fn needs_viem() {
    let is_ready = Command::new(script()).arg("ready").status();
    if !is_ready.expect("the script runs").success() {
        crate::needs::missing("viem", "tests/servers/viem fetch");
    }
}

/// What a command of `run.mjs` makes of its input.
pub fn viem(command: &str, input: &Value) -> Value {
    let mut child = Command::new(script())
        .args(["run", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the script runs");
    let mut stdin = child.stdin.take().expect("its input");
    stdin
        .write_all(input.to_string().as_bytes())
        .expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "viem {command}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

const KEY: &str = "0x2222222222222222222222222222222222222222222222222222222222222222";
const ORIGIN: &str = "https://points.example:8443";

#[test]
#[ignore = "needs viem: .ci/run tools"]
fn what_viem_signs_links_and_so_does_a_message_that_viem_built() {
    needs_viem();
    let mut site = Site::new();
    site.set(&[
        ("TIDEMARK_HTTP_PUBLIC_ORIGIN", ORIGIN),
        ("TIDEMARK_HTTP_WALLET_CHAIN_ID", "137"),
    ]);
    site.run(&["init"]);
    let address = viem("address", &json!({"key": KEY}))["address"].clone();
    let typed = address.as_str().expect("text").to_ascii_lowercase();

    let issued = site.run(&["wallet", "message", "user", "a b/ü", &typed]);
    let message = issued.strip_suffix('\n').expect("a line");
    let host = ORIGIN.trim_start_matches("https://");
    let nonce = |message: &str| {
        let (_, rest) = message.split_once("Nonce: ").expect("a nonce");
        rest.split('\n').next().expect("a line").to_owned()
    };
    let seen = viem(
        "parse",
        &json!({"message": message, "domain": host, "nonce": nonce(message), "time": of(message, "Issued At: ")}),
    );
    assert_eq!(seen["isValid"], true, "{seen}");
    let fields = &seen["fields"];
    assert_eq!(
        (&fields["address"], &fields["chainId"]),
        (&address, &json!(137))
    );
    assert_eq!(
        fields["resources"],
        json!([format!("{ORIGIN}/users/a%20b%2F%C3%BC")])
    );

    let signed = viem("sign", &json!({"key": KEY, "message": message}));
    let signature = signed["signature"].as_str().expect("text").to_owned();
    let file = site.file("message.txt");
    std::fs::write(&file, &issued).expect("a file");
    let file = file.to_str().expect("a path").to_owned();
    let link = [
        "wallet",
        "link",
        "user",
        "a b/ü",
        "--message",
        &file,
        "--signature",
        &signature,
        "--reason",
        "a test",
        "--json",
    ];
    let wallet: Value = serde_json::from_str(&site.run(&link)).expect("JSON");
    assert_eq!(wallet["address"], address);
    let again = site.try_run(&link);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("nonce_used"), "{}", again.stderr);

    // Another service's code builds the text from the same values.
    let issued = site.run(&["wallet", "message", "provider", "p", &typed]);
    let issued = issued.strip_suffix('\n').expect("a line");
    let statement = issued.split("\n\n").nth(1).expect("a statement");
    let built = viem(
        "siwe",
        &json!({
            "address": address, "domain": host, "uri": ORIGIN, "version": "1", "chainId": 137, "nonce": nonce(issued),
            "statement": statement, "issuedAt": of(issued, "Issued At: "), "expirationTime": of(issued, "Expiration Time: "),
            "resources": [format!("{ORIGIN}/providers/p")],
        }),
    );
    let built = built["message"].as_str().expect("text");
    assert_eq!(built, issued);
    let signed = viem("sign", &json!({"key": KEY, "message": built}));
    let signature = signed["signature"].as_str().expect("text");
    std::fs::write(site.file("message.txt"), built).expect("a file");
    site.run(&[
        "wallet",
        "link",
        "provider",
        "p",
        "--message",
        &file,
        "--signature",
        signature,
        "--reason",
        "a test",
    ]);
    let shown = site.run(&["wallet", "show", "provider", "p"]);
    assert!(shown.contains(address.as_str().expect("text")), "{shown}");
    let gone = site.run(&["wallet", "unlink", "provider", "p", "--reason", "moved"]);
    assert!(
        gone.contains("no wallet") && gone.contains("moved"),
        "{gone}"
    );
}

/// The value of a field of a message.
fn of(message: &str, name: &str) -> String {
    let (_, rest) = message.split_once(name).expect("the field");
    rest.split('\n').next().expect("a line").to_owned()
}
