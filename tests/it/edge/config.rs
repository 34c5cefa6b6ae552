use std::collections::{BTreeMap, BTreeSet};

use tidemark::domain::time::Millis;
use tidemark::ops::config::{
    CachedTokens, Config, LogFormat, Secret, Sources, StoreEngine, env_name,
};

const SHIPPED: &str = include_str!("../../../config/tidemark.toml");

fn file(text: &str) -> Sources {
    Sources {
        file: Some(("my.toml".into(), text.into())),
        ..Sources::default()
    }
}

fn env(name: &str, value: &str) -> Sources {
    Sources {
        env: vec![(name.into(), value.into())],
        ..Sources::default()
    }
}

fn faults(sources: &Sources) -> Vec<String> {
    let faults = Config::read(sources).expect_err("faulty").0;
    faults.iter().map(ToString::to_string).collect()
}

/// Every `section.key` of a TOML text, with its value as text.
fn values(text: &str) -> BTreeMap<String, String> {
    fn add(values: &mut BTreeMap<String, String>, prefix: &str, table: &toml::Table) {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                toml::Value::Table(inner) => add(values, &format!("{key}."), inner),
                toml::Value::String(text) => drop(values.insert(key, text.clone())),
                other => drop(values.insert(key, other.to_string())),
            }
        }
    }
    let mut values_found = BTreeMap::new();
    add(&mut values_found, "", &text.parse().unwrap());
    values_found
}

#[test]
fn the_shipped_file_is_the_defaults() {
    assert_eq!(Config::read(&file(SHIPPED)).unwrap(), Config::default());
}

#[test]
fn the_shipped_file_explains_every_setting() {
    let bogus = "x = 1\n[archive]\nx = 1\n[closing]\nx = 1\n[http]\nx = 1\n[pipeline]\nx = 1\n[log]\nx = 1\n[kafka]\nx = 1\n[worker]\nx = 1\n[serve]\nx = 1\n[store]\nx = 1\n[logging]\nx = 1\n[tracing]\nx = 1\n";
    let known: BTreeSet<String> = Config::read(&file(bogus))
        .expect_err("faulty")
        .0
        .iter()
        .flat_map(|fault| {
            fault
                .allowed
                .split(", ")
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(known, values(SHIPPED).into_keys().collect());
}

#[test]
fn every_shipped_line_can_also_come_from_the_environment() {
    let mut sources = Sources::default();
    for (key, text) in values(SHIPPED) {
        sources.env.push((env_name(&key), text));
    }
    assert_eq!(Config::read(&sources).unwrap(), Config::default());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let mut sources = file(
        "listen = '127.0.0.1:1'\ndata = 'from-file'\n[store]\nengine = 'dynamodb'\n[logging]\nformat = 'json'",
    );
    sources.env = vec![
        ("TIDEMARK_LISTEN".into(), "127.0.0.1:2".into()),
        ("TIDEMARK_STORE_ENGINE".into(), "embedded".into()),
    ];
    sources.flags = vec![("--listen", "listen", "127.0.0.1:3".into())];
    let config = Config::read(&sources).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.store.engine, StoreEngine::Embedded);
    assert_eq!(config.data.to_str(), Some("from-file"));
    assert_eq!(config.logging.format, LogFormat::Json);
}

#[test]
fn all_faults_come_at_once_each_with_origin_key_and_what_is_allowed() {
    let mut sources = file("lisen = 'x'\n[pipeline]\nflush_interval = 'soon'\nusage_rows = 3\n");
    sources.env = vec![("TIDEMARK_PIPELINE_CHUNK_RECORDS_MAX".into(), "0".into())];
    sources.flags = vec![("--listen", "listen", "here".into())];
    insta::assert_snapshot!(faults(&sources).join("\n"));
}

#[test]
fn what_is_wrong_is_refused() {
    let rows: &[(&str, &str)] = &[
        (
            "tls_certificate = 'a.pem'",
            "one is given without the other",
        ),
        ("tls_key = 'a.pem'", "one is given without the other"),
        (
            "[serve]\ntls_key = 'a.pem'",
            "one is given without the other",
        ),
        ("listen = 'here'", "not an IP address and port"),
        ("listen = 8787", "not a string"),
        ("data = ''", "empty"),
        ("drain_timeout = '20'", "20"),
        ("drain_timeout = '-5s'", "-5s"),
        ("[pipeline]\nflush_interval = 1", "not a string"),
        ("[pipeline]\nflush_interval = '0s'", "0s"),
        ("[pipeline]\nchunk_records_max = 1.5", "1.5"),
        ("[pipeline]\nchunk_records_max = -1", "-1"),
        ("[pipeline]\nusage_rows = 'yes'", "yes"),
        (
            "[pipeline]\ncached_accounts_max = 10\nflush_accounts_max = 11",
            "cached_accounts_max",
        ),
        (
            "[pipeline]\nusage_rows = false\nduplicate_window = '10m'",
            "at least 15m without usage rows",
        ),
        ("[pipeline]\nleaderboard_size = 501", "from 1 to 500"),
        (
            "[log]\nclock_confirmed_until = 'now'",
            "2026-11-30T00:00:00Z",
        ),
        ("[store]\nregion = 'a b'", "or an empty string"),
        ("[store]\nprotect_tables = 'yes'", "auto, on, off"),
        ("[store]\nprotect_tables = 'on'", "copy its directory"),
        ("[serve]\nmetrics_listen = 'here'", "or an empty string"),
        (
            "[serve]\nlisten = '0.0.0.0:80'\nmetrics_listen = '0.0.0.0:80'",
            "of its own",
        ),
        ("[store]\nengine = 'postgres'", "embedded, dynamodb"),
        (
            "[store]\nendpoint = 'localhost:8000'",
            "http://127.0.0.1:8000",
        ),
        ("[store]\ntable_prefix = 'a b'", "a b"),
        ("[logging]\nfilter = 'info,,=='", "info,,=="),
        (
            "[tracing]\nendpoint = 'collector:4317'",
            "not an http:// or https:// URL",
        ),
        (
            "[tracing]\nendpoint = 'http://me:secret@a'",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        ("[tracing]\npercent = 0", "1 to 100"),
        ("[log]\nengine = 'kafka'", "at least one broker"),
        ("[http]\nappend_timeout = '0s'", "100ms to 300s"),
        ("[http]\npublic_origin = 'points.example'", "without a path"),
        (
            "[http]\npublic_origin = 'https://points.example/'",
            "without a path",
        ),
        (
            "[http]\npublic_origin = 'https://me@points.example'",
            "without a path",
        ),
        (
            "[http]\npublic_origin = 'ftp://points.example'",
            "without a path",
        ),
        ("[http]\nhead_timeout = '0s'", "0s"),
        ("[http]\nshutdown_delay = '6m'", "0s to 300s"),
        ("[http]\nidle_timeout = '2h'", "2h"),
        ("[http]\nconnections_max = -1", "-1"),
        (
            "[http.gateways]\nlitellm_user = ''",
            "1 to 16 comma-separated field names",
        ),
        ("[http.gateways]\nproviders = 'gpt-4o'", "has no \"=\""),
        (
            "[http.gateways]\nlitellm_cached_tokens = 'by-provider'",
            "inside, outside",
        ),
        (
            "[http.gateways]\nlitellm_user = 'end_user,,id'",
            "not a field path",
        ),
        (
            "[http.gateways]\notlp_user = 'http.request.header.authorization'",
            "must never enter the log",
        ),
        (
            "[http.gateways]\notlp_user = 'a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a'",
            "has 17 fields",
        ),
        ("[http.jwt]\nissuer = 'x'", "without http.jwt.jwks_url"),
        (
            "[http.jwt]\njwks_url = 'https://a'\naudience = 'x'",
            "http.jwt.issuer is missing",
        ),
        (
            "[http.jwt]\njwks_url = 'https://a'\nissuer = 'x'",
            "http.jwt.audience is missing",
        ),
        (
            "[http.jwt]\njwks_url = 'https://a'\nissuer = 'x'\naudience = 'x'\nuser_claim = ''",
            "tokens would grant no access",
        ),
        (
            "[http.jwt]\njwks_url = 'http://login.example/keys'",
            "does not use TLS",
        ),
        (
            "[http.jwt]\njwks_url = 'https://me:secret@login.example/keys'",
            "password",
        ),
        ("[http.jwt]\njwks_url = 'login'", "not an http://"),
        ("[http.jwt]\nkey = 'x'", "http.jwt.jwks_url"),
        ("[kafka]\nbootstrap = 'kafka-1'", "not host:port"),
        ("[kafka.properties]\nacks = '1'", "in-sync replicas"),
        ("[kafka.properties]\nsasl.password = 'hunter2'", "env:NAME"),
        ("[nonsense]\nx = 1", "is not a setting"),
        ("data = ", "is not TOML"),
    ];
    for (text, expected) in rows {
        let faults = faults(&file(text));
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].contains(expected), "{text}: {faults:?}");
        assert!(faults[0].starts_with("my.toml: ") || faults[0].starts_with("configuration: "));
    }
}

#[test]
fn traces_need_a_build_that_can_export_them() {
    let sources = file("[tracing]\nendpoint = 'http://127.0.0.1:4318'");
    if cfg!(feature = "otlp") {
        let config = Config::read(&sources).expect("valid").tracing;
        let endpoint = config.endpoint.as_deref();
        assert_eq!(endpoint, Some("http://127.0.0.1:4318/v1/traces"));
    } else {
        let faults = faults(&sources);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].contains("this binary was built without the feature otlp"),
            "{faults:?}"
        );
    }
}

#[test]
fn the_places_of_a_gateways_user_are_listed_by_commas() {
    let read = |sources: &Sources| Config::read(sources).expect("valid").http.gateways;
    let text = "[http.gateways]\nlitellm_user = ' metadata.user_api_key_user_id ,end_user'";
    let from = read(&file(text));
    assert_eq!(
        from.litellm_user,
        ["metadata.user_api_key_user_id", "end_user"]
    );
    assert_eq!(from.otlp_user, ["enduser.id", "user.id"]);
    let from = read(&env("TIDEMARK_HTTP_GATEWAYS_OTLP_USER", "tenant"));
    assert_eq!(from.otlp_user, ["tenant"]);
    let text = "[http.gateways]\notlp_cached_tokens = 'outside'\notlp_internal_spans = false\nproviders = 'a = b'";
    let settings = read(&file(text));
    assert_eq!(settings.otlp_cached_tokens, Some(CachedTokens::Outside));
    assert_eq!(settings.providers.of("a", Millis(0)), Some("b"));
    assert!(!settings.otlp_internal_spans);
}

#[test]
fn amounts_that_are_asked_about_are_decimals() {
    let read = |sources: &Sources| Config::read(sources).expect("valid").http;
    let http = read(&file(
        "[http]\nask_above_usd = '0.5'\nask_above_points = '0'",
    ));
    assert_eq!(http.ask_above_usd.to_string(), "0.5");
    assert_eq!(http.ask_above_points.to_string(), "0");
    let http = read(&file(""));
    assert_eq!(http.ask_above_usd.to_string(), "1000");
    assert_eq!(http.ask_above_points.to_string(), "100000");
    for value in ["-1", "much", "1e3", ""] {
        let text = format!("[http]\nask_above_usd = '{value}'");
        assert!(
            faults(&file(&text))[0].contains("http.ask_above_usd"),
            "{value}"
        );
    }
}

#[test]
fn a_misspelt_variable_of_a_section_is_refused_and_others_are_left_alone() {
    let misspelt = faults(&env("TIDEMARK_PIPELINE_FLUSH_INTERVALL", "1s"));
    assert!(misspelt[0].contains("TIDEMARK_PIPELINE_FLUSH_INTERVALL"));
    assert!(Config::read(&env("TIDEMARK_TARGET", "/tmp")).is_ok());
    assert!(Config::read(&env("HOME", "/root")).is_ok());
}

#[test]
fn up_listens_on_any_address_and_may_speak_tls() {
    let text = "listen = '0.0.0.0:8787'\ntls_certificate = 'cert.pem'\ntls_key = 'key.pem'";
    let config = Config::read(&file(text)).unwrap();
    assert!(config.listen.ip().is_unspecified());
    let files = config.tls.unwrap();
    assert_eq!(files.certificate.to_str(), Some("cert.pem"));
    assert_eq!(files.key.to_str(), Some("key.pem"));
    assert_eq!(config.serve.tls, None);
}

#[test]
fn loopback_has_several_names() {
    for text in ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1"] {
        let config = Config::read(&file(&format!("listen = '{text}'"))).unwrap();
        assert!(config.listen.ip().is_loopback());
    }
}

#[test]
fn settings_of_librdkafka_are_passed_on_and_secrets_are_only_named() {
    let mut sources = file(
        "[kafka.properties]\nsecurity.protocol = 'sasl_ssl'\n'socket.timeout.ms' = 5000\nsasl.password = 'env:SECRET'",
    );
    sources.env = vec![(
        "TIDEMARK_KAFKA_PROPERTIES_SASL_USERNAME".into(),
        "me".into(),
    )];
    let kafka = Config::read(&sources).unwrap().kafka;
    let properties: Vec<(&str, &str)> = kafka
        .properties
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("sasl.username", "me"),
        ("security.protocol", "sasl_ssl"),
        ("socket.timeout.ms", "5000"),
    ];
    assert_eq!(properties, expected);
    assert_eq!(kafka.secrets["sasl.password"], Secret::Env("SECRET".into()));
    let refused = faults(&file("[kafka.properties]\nsasl.password = 'hunter2'"));
    assert!(!refused.join("").contains("hunter2"), "{refused:?}");
    assert!(refused[0].starts_with("my.toml: "), "{refused:?}");
    let refused = faults(&env("TIDEMARK_KAFKA_PROPERTIES_ACKS", "1"));
    let variable = "environment variable TIDEMARK_KAFKA_PROPERTIES_ACKS: ";
    assert!(refused[0].starts_with(variable), "{refused:?}");
}

#[test]
fn a_password_in_the_address_of_keys_is_not_repeated() {
    let text = "[http.jwt]\njwks_url = 'https://me:hunter2@login.example/keys'";
    let refused = faults(&file(text)).join("");
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn an_issuer_of_tokens_is_reached_by_tls_or_on_this_machine() {
    for url in [
        "https://login.example/keys",
        "http://localhost:8080/keys",
        "http://127.0.0.1/keys",
        "http://[::1]:1/keys",
    ] {
        let text = format!("[http.jwt]\njwks_url = '{url}'\nissuer = 'i'\naudience = 'a'");
        let jwt = Config::read(&file(&text)).unwrap().http.jwt.unwrap();
        assert_eq!(jwt.jwks_url, url);
        assert_eq!(jwt.user_claim.as_deref(), Some("sub"));
        assert_eq!(jwt.provider_claim, None);
    }
}

#[test]
fn a_public_origin_is_what_browsers_send_as_host() {
    let read = |text: &str| {
        let text = format!("[http]\npublic_origin = '{text}'");
        Config::read(&file(&text))
            .expect("valid")
            .http
            .public_origin
    };
    assert_eq!(read(""), None);
    for (text, is_https, host, shown) in [
        (
            "https://points.example",
            true,
            "points.example",
            "https://points.example",
        ),
        (
            "https://Points.Example:443",
            true,
            "points.example",
            "https://points.example",
        ),
        (
            "https://points.example:8443",
            true,
            "points.example:8443",
            "https://points.example:8443",
        ),
        ("http://[::1]:80", false, "[::1]", "http://[::1]"),
    ] {
        let origin = read(text).expect(text);
        assert_eq!((origin.is_https, &*origin.host), (is_https, host), "{text}");
        assert_eq!(origin.to_string(), shown);
    }
}
