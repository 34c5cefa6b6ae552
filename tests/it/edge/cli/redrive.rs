//! `rejects show`, `rejects redrive`, `rejects discard`: through a running `up`, and without one.

use serde_json::{Value, json};

use super::{Place, chat};

#[test]
fn a_reject_is_mended_and_counts_once_whoever_sends_it_and_how_often() {
    let place = Place::new();
    let up = place.up(&[]);
    let mut strange = chat("1", "ann");
    strange["endpoint"] = "/v1/horoscopes".into();
    let mut other = chat("2", "ann");
    other["endpoint"] = "/v1/cards".into();
    place.send(&[strange.clone(), other]);
    place.wait();
    let listed = place.tidemark(&["rejects", "list", "--json"]).lines();
    let [first, second] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!(
        (&first["state"], &second["state"]),
        (&json!("open"), &json!("open"))
    );
    let [first, second] = [first, second].map(place_of);

    strange["endpoint"] = "/v1/chat/completions".into();
    place.write("mended.json", &strange.to_string());
    let redrive = [
        &["rejects", "redrive"][..],
        &as_args(&first),
        &["--event", "mended.json"],
    ]
    .concat();
    let said = place.tidemark(&redrive).ok();
    assert!(said.contains("sent edited to usage.events/"), "{said}");
    place.tidemark(&redrive).ok();
    place.wait();
    let earned = place.statement("user", "ann");
    assert_eq!(earned["requests"], 1, "{earned}");
    // As it was it is refused again, and that is a reject of its own.
    place
        .tidemark(&[&["rejects", "redrive"][..], &as_args(&second)].concat())
        .ok();
    place.wait();
    let listed = place.tidemark(&["rejects", "list", "--json"]).lines();
    let third = place_of(listed.iter().find(|line| line["state"] == "open").unwrap());
    let discard = [
        &["rejects", "discard"][..],
        &as_args(&third),
        &["--reason", "no service of ours"],
    ]
    .concat();
    let said = place.tidemark(&discard).ok();
    assert!(said.contains("no service of ours"), "{said}");
    let late = [&["rejects", "redrive"][..], &as_args(&third)].concat();
    let refused = place.tidemark(&late).failed(2);
    assert!(refused.contains("discarded"), "{refused}");
    up.stop();

    // Without `up` the command has the log to itself.
    let refused = place.tidemark(&late).failed(2);
    assert!(refused.contains("discarded"), "{refused}");
    place.tidemark(&redrive).ok();
    let shown: Value = serde_json::from_str(
        &place
            .tidemark(&[&["rejects", "show"][..], &as_args(&first)].concat())
            .ok(),
    )
    .unwrap();
    assert_eq!(shown["state"], "redriven");
    assert_eq!(shown["redriven"]["value"], strange.to_string());
    let nowhere = place.tidemark(&["rejects", "show", "0", "999"]).failed(2);
    assert!(nowhere.contains("tidemark rejects list"), "{nowhere}");
    let _up = place.up(&[]);
    place.wait();
    assert_eq!(place.statement("user", "ann"), earned);
}

fn place_of(line: &Value) -> [String; 2] {
    [&line["reject"]["partition"], &line["reject"]["offset"]].map(Value::to_string)
}

fn as_args(place: &[String; 2]) -> [&str; 2] {
    [&place[0], &place[1]]
}
