//! `tidemark config schema` accepts what the program accepts, and refuses wrong keys and values.

use regex::Regex;
use serde_json::{Value, json};
use tidemark::ops::config::{Config, Sources};

/// What is wrong with `value` by `schema`. Knows the keywords that our schema uses, and no others.
fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, limit) in schema.as_object().expect("a schema") {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" => true,
            "type" => is_of_type(limit, value),
            "enum" => limit.as_array().expect("a list").contains(value),
            "pattern" => value.as_str().is_none_or(|text| {
                let pattern = limit.as_str().expect("a pattern");
                Regex::new(pattern).expect(pattern).is_match(text)
            }),
            "minLength" => value
                .as_str()
                .is_none_or(|text| chars(text) >= limit.as_u64()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| chars(text) <= limit.as_u64()),
            "minimum" => value.as_i64().is_none_or(|n| Some(n) >= limit.as_i64()),
            "maximum" => value.as_i64().is_none_or(|n| Some(n) <= limit.as_i64()),
            "required" => value.as_object().is_none_or(|object| {
                let mut names = limit.as_array().expect("a list").iter();
                names.all(|name| object.contains_key(name.as_str().expect("a name")))
            }),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(limit, item, &format!("{at}[{index}]")));
                }
                true
            }
            "properties" | "additionalProperties" => true,
            other => panic!("the schema uses `{other}`, which this test does not know"),
        };
        if !holds {
            found.push(format!("{at}: {keyword} {limit}"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let known = schema.get("properties").and_then(|known| known.get(name));
        match (known, schema.get("additionalProperties")) {
            (Some(known), _) => found.extend(faults(known, member, &at)),
            (None, Some(Value::Bool(false))) => found.push(format!("{at}: no such setting")),
            (None, Some(other)) => found.extend(faults(other, member, &at)),
            (None, None) => (),
        }
    }
    found
}

fn chars(text: &str) -> Option<u64> {
    u64::try_from(text.chars().count()).ok()
}

fn is_of_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().expect("a type") {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        other => panic!("type {other}"),
    };
    wanted
        .as_array()
        .map_or_else(|| is(wanted), |names| names.iter().any(is))
}

fn by_schema(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().expect("TOML");
    let value = serde_json::to_value(table).expect("a value");
    faults(&Config::schema(), &value, "")
}

fn is_accepted(text: &str) -> bool {
    let file = Some(("my.toml".into(), text.into()));
    Config::read(&Sources {
        file,
        ..Sources::default()
    })
    .is_ok()
}

#[test]
fn the_shipped_file_fits_the_schema() {
    assert_eq!(
        by_schema(super::repository("config/tidemark.toml").as_str()),
        [""; 0]
    );
}

#[test]
fn the_examples_in_the_docs_fit_the_schema() {
    let mut checked = 0;
    for page in ["kafka", "dynamodb", "traces", "api-accounts", "adapters"] {
        let text = super::repository(&format!("docs/{page}.md"));
        for block in text.split("```toml\n").skip(1) {
            let example = block.split("```").next().expect("a block");
            assert_eq!(by_schema(example), [""; 0], "{page}: {example}");
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} examples");
}

#[test]
fn every_setting_is_in_the_schema_with_its_default_and_its_explanation() {
    fn visit(schema: &Value, shipped: &Value, at: &str) {
        for (name, shipped) in shipped.as_object().expect("a table") {
            let at = format!("{at}.{name}");
            let known = &schema["properties"][name];
            if shipped.is_object() {
                visit(known, shipped, &at);
            } else {
                assert_eq!(&known["default"], shipped, "{at}");
                let explained = known["description"].as_str().expect("a description");
                assert!(explained.contains("Allowed: "), "{at}: {explained}");
                assert!(!explained.starts_with("Allowed: "), "{at} has no comment");
            }
        }
    }
    let shipped: toml::Table = super::repository("config/tidemark.toml")
        .parse()
        .expect("TOML");
    let schema = Config::schema();
    visit(&schema, &json!(shipped), "");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn what_the_program_accepts_fits_the_schema() {
    for text in [
        "",
        "listen = 'localhost:1'",
        "listen = '[::1]:8787'",
        "listen = '0.0.0.0:8787'\ntls_certificate = 'cert.pem'\ntls_key = 'key.pem'",
        "data = '/var/lib/tidemark'\ndrain_timeout = '1m 30s'",
        "[pipeline]\nflush_interval = '0.5s'\nusage_rows = false\nchunk_records_max = 1_000",
        "[pipeline]\nflush_interval = 'PT1S'",
        "[serve]\nlisten = '0.0.0.0:80'\nmetrics_listen = '[::]:8790'",
        "[log]\nclock_confirmed_until = '2026-11-30T00:00:00Z'",
        "[log]\nengine = 'kafka'\n[kafka]\nbootstrap = 'kafka-1:9092, [::1]:9092,'",
        "[kafka.properties]\nsecurity.protocol = 'sasl_ssl'\n'socket.timeout.ms' = 5000",
        "[store]\nengine = 'dynamodb'\nendpoint = 'http://127.0.0.1:8000'\nregion = 'eu-west-1'",
        "[http]\npublic_origin = 'https://Points.Example:443'",
        "[http.jwt]\njwks_url = 'https://a/keys'\nissuer = 'i'\naudience = 'a'",
        "[http.gateways]\nlitellm_user = ' a.b ,c'\nproviders = 'a = b'",
        "[[adapters]]\ntopic = 'kong-logs'\nformat = 'kong'\nsource = 'kong'\nuser_from = ['a.b', 'c']",
    ] {
        assert!(is_accepted(text), "{text}");
        assert_eq!(by_schema(text), [""; 0], "{text}");
    }
}

#[test]
fn wrong_keys_and_values_are_refused_by_the_schema_as_by_the_program() {
    for text in [
        "lisen = '127.0.0.1:1'",
        "[nonsense]\nx = 1",
        "[http.jwt]\nkey = 'x'",
        "listen = 8787",
        "listen = 'here'",
        "data = ''",
        "drain_timeout = '20'",
        "drain_timeout = '-5s'",
        "[pipeline]\nflush_interval = 'soon'",
        "[pipeline]\nflush_interval = 1",
        "[pipeline]\nchunk_records_max = 0",
        "[pipeline]\nchunk_records_max = 1.5",
        "[pipeline]\nleaderboard_size = 501",
        "[pipeline]\nusage_rows = 'yes'",
        "[log]\nclock_confirmed_until = 'now'",
        "[log]\nengine = 'pulsar'",
        "[store]\nengine = 'postgres'",
        "[store]\nendpoint = 'localhost:8000'",
        "[store]\ntable_prefix = 'a b'",
        "[store]\nprotect_tables = 'yes'",
        "[serve]\nmetrics_listen = 'here'",
        "[http]\npublic_origin = 'points.example'",
        "[http]\npublic_origin = 'https://me@points.example'",
        "[http.jwt]\njwks_url = 'login'",
        "[http.gateways]\nlitellm_cached_tokens = 'by-provider'",
        "[tracing]\nendpoint = 'collector:4317'",
        "[tracing]\npercent = 0",
        "[kafka]\nbootstrap = 'kafka-1'",
        "adapters = 3",
        "[[adapters]]\ntopic = 'a'\nformat = 'kong'",
        "[[adapters]]\ntopic = 'a b'\nformat = 'kong'\nsource = 's'",
        "[[adapters]]\ntopic = 'a'\nformat = 'nginx'\nsource = 's'",
        "[[adapters]]\ntopic = 'a'\nformat = 'kong'\nsource = 's'\nuser = 'x'",
    ] {
        assert!(!is_accepted(text), "{text}");
        assert!(!by_schema(text).is_empty(), "{text}");
    }
}
