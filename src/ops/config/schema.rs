//! The JSON schema of a configuration file, for editors and for checks before a roll-out.
//!
//! Keys and kinds come from what the program asks for while it reads, explanations and defaults
//! from `config/tidemark.toml`, which a test holds equal to both.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

const EXPLAINED: &str = include_str!("../../../config/tidemark.toml");

/// A setting that the program asks for.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) allowed: String,
    pub(super) schema: Value,
}

/// The schema of a whole file.
pub(super) fn document(settings: &[Setting]) -> Value {
    let explanations = explanations(EXPLAINED);
    let defaults: toml::Table = EXPLAINED.parse().unwrap_or_default();
    let mut root = section();
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("tidemark configuration");
    for setting in settings {
        let mut schema = setting.schema.clone();
        let explained = explanations.get(setting.key).map_or("", String::as_str);
        let description = format!("{explained}\n\nAllowed: {}.", setting.allowed);
        schema["description"] = json!(description.trim());
        if let Some(default) = default_of(&defaults, setting.key) {
            schema["default"] = default;
        }
        insert(&mut root, setting.key, schema);
    }
    root
}

fn section() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}})
}

/// Puts a setting under its sections, which are made as needed.
fn insert(parent: &mut Value, key: &str, schema: Value) {
    let Some(properties) = parent["properties"].as_object_mut() else {
        return;
    };
    match key.split_once('.') {
        None => drop(properties.insert(key.to_owned(), schema)),
        Some((name, rest)) => {
            let inner = properties.entry(name.to_owned()).or_insert_with(section);
            insert(inner, rest, schema);
        }
    }
}

fn default_of(defaults: &toml::Table, key: &str) -> Option<Value> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    match defaults.get(first)? {
        toml::Value::Table(inner) if !rest.is_empty() => default_of(inner, rest),
        toml::Value::Table(_) => None,
        value => serde_json::to_value(value).ok(),
    }
}

/// The comment above each key of a file. Keys that follow each other directly share one.
fn explanations(file: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let (mut prefix, mut comment, mut is_used) = (String::new(), Vec::new(), false);
    for line in file.lines() {
        if let Some(text) = line.strip_prefix('#') {
            if std::mem::take(&mut is_used) {
                comment.clear();
            }
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if let Some(name) = line.strip_prefix('[') {
            prefix = format!("{}.", name.trim_end_matches(']'));
            comment.clear();
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.insert(format!("{prefix}{key}"), comment.join("\n"));
            is_used = true;
        } else {
            comment.clear();
        }
    }
    found
}

/// The schema of an object with these properties and no others.
pub(super) fn object(properties: Map<String, Value>, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}
