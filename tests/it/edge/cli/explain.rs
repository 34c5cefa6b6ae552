//! `tidemark explain`: through a running `up`, and without one.

use serde_json::{Value, json};

use super::{Place, chat};

fn explain<'a>(event: &'a Value, more: &[&'a str]) -> Vec<&'a str> {
    let text = |name: &str| event[name].as_str().unwrap();
    let mut words = vec![
        "explain",
        text("userId"),
        "--source",
        "plain",
        "--id",
        text("requestId"),
    ];
    words.extend(more);
    words
}

#[test]
fn a_number_is_explained_from_the_endpoint_to_what_was_posted() {
    let place = Place::new();
    let up = place.up(&[]);
    let code = place
        .tidemark(&["referral", "code", "user", "vic", "--json"])
        .json();
    let code = code["code"].as_str().unwrap().to_owned();
    place
        .tidemark(&["referral", "signup", "user", "ann", &code])
        .ok();
    let event = chat("r/1", "ann");
    place.send(std::slice::from_ref(&event));
    place.wait();
    let time = event["timestamp"].as_str().unwrap();
    let by_time = place
        .tidemark(&explain(&event, &["--time", time, "--json"]))
        .json();
    let found = place.tidemark(&explain(&event, &["--json"])).json();
    assert_eq!(by_time, found);
    assert_eq!(found["code"], Value::Null);
    for sum in found["sums"].as_array().unwrap() {
        assert_eq!(sum["posted"], sum["computed"], "{sum}");
    }
    let got: Vec<(&Value, &Value)> = found["beneficiaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (&of["id"], &of["points"]))
        .collect();
    let statement = place.statement("user", "ann");
    let brought = place.statement("user", "vic");
    assert!(
        got.contains(&(&json!("ann"), &statement["usage"])),
        "{got:?}"
    );
    assert!(
        got.contains(&(&json!("vic"), &brought["referral"])),
        "{got:?}"
    );
    let text = place.tidemark(&explain(&event, &[])).ok();
    for line in [
        "Who got points\n",
        "referrer of the user at level 1",
        "  The steps come to exactly what was posted.\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let mut unknown = event.clone();
    unknown["requestId"] = "r-2".into();
    let refused = place.tidemark(&explain(&unknown, &[])).failed(2);
    assert!(
        refused.contains("no request of user ann has") && refused.contains("Check all four"),
        "{refused}"
    );
    up.stop();

    // A reversal is told with what it took back; `up` is not needed to ask.
    let reverse = [
        "reverse", "ann", "--source", "plain", "--id", "r/1", "--time", time, "--reason",
        "cut off", "--key", "t-1",
    ];
    place.tidemark(&reverse).ok();
    let waiting = place.tidemark(&explain(&event, &[])).ok();
    assert!(waiting.contains("It is not rated yet"), "{waiting}");
    let _up = place.up(&[]);
    place.wait();
    let reversed = place.tidemark(&explain(&event, &["--json"])).json();
    assert_eq!(reversed["reversal"]["tookBack"], reversed["beneficiaries"]);
    assert_eq!(reversed["reversal"]["reason"], "cut off");
    assert_eq!(place.statement("user", "vic")["referral"], "0");
}
