//! Where two values differ: what a change of rules would change, and what an entry of the audit
//! trail has changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Most differences that are told of one value: an entry at the front of the catalogue moves every
/// other.
const DIFFERENCES_MAX: usize = 200;

/// One place at which two values differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where: `rules.streak.steps[0].multiplier`.
    pub path: String,
    /// The value before the change; null: none.
    pub before: Value,
    /// The value after the change; null: none.
    pub after: Value,
}

/// Where two values differ, at most the first 200 places; and how many there are beyond.
pub fn differences(key: &str, before: &Value, after: &Value) -> (Vec<Difference>, usize) {
    let mut found = Vec::new();
    compare(key.to_owned(), before, after, &mut found);
    let beyond = found.len().saturating_sub(DIFFERENCES_MAX);
    found.truncate(DIFFERENCES_MAX);
    (found, beyond)
}

fn compare(path: String, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => compare_members(&path, a, b, found),
        (Value::Array(a), Value::Array(b)) if are_named(a) && are_named(b) => {
            compare_named(&path, a, b, found);
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                let at = |list: &[Value]| list.get(i).cloned().unwrap_or_default();
                compare(format!("{path}[{i}]"), &at(a), &at(b), found);
            }
        }
        _ if before == after => (),
        _ => found.push(Difference {
            path,
            before: before.clone(),
            after: after.clone(),
        }),
    }
}

/// Whether elements are told apart by what they match, not by their places.
fn are_named(list: &[Value]) -> bool {
    list.iter().all(|entry| entry["match"].is_string())
}

fn compare_named(path: &str, before: &[Value], after: &[Value], found: &mut Vec<Difference>) {
    let name = |entry: &Value| entry["match"].as_str().unwrap_or_default().to_owned();
    let by_name = |list: &[Value]| -> BTreeMap<String, Value> {
        list.iter()
            .map(|entry| (name(entry), entry.clone()))
            .collect()
    };
    let [a, b] = [before, after].map(by_name);
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for one in names {
        let at = |map: &BTreeMap<String, Value>| map.get(one).cloned().unwrap_or_default();
        compare(format!("{path}[{one}]"), &at(&a), &at(&b), found);
    }
    // The first that matches counts.
    let kept = |list: &[Value], other: &BTreeMap<String, Value>| -> Vec<Value> {
        let kept = list
            .iter()
            .map(name)
            .filter(|name| other.contains_key(name));
        kept.map(Value::from).collect()
    };
    let [before, after] = [kept(before, &b), kept(after, &a)];
    if before != after {
        let first = before.iter().zip(&after).find(|(a, b)| a != b);
        let (before, after) = first
            .map(|(a, b)| (a.clone(), b.clone()))
            .unwrap_or_default();
        found.push(Difference {
            path: format!("{path} (first in another order)"),
            before,
            after,
        });
    }
}

fn compare_members(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    let new = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(new) {
        let member = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
        let path = format!("{path}.{name}");
        compare(path, &member(before), &member(after), found);
    }
}
