//! `[[adapters]]`: what may be configured.

use tidemark::domain::time::Millis;
use tidemark::log::Topic;
use tidemark::ops::config::{
    AdapterConfig, AdapterFormat, CachedTokens, Config, Endpoint, FieldPath, Sources,
};

use super::adapt::{APISIX, ENVOY, KONG, adapter};

fn file(text: &str) -> Sources {
    Sources {
        file: Some(("my.toml".into(), text.into())),
        ..Sources::default()
    }
}

fn faults(text: &str) -> Vec<String> {
    let faults = Config::read(&file(text)).expect_err("faulty").0;
    faults.iter().map(ToString::to_string).collect()
}

fn texts(paths: &[FieldPath]) -> Vec<&str> {
    paths.iter().map(FieldPath::as_str).collect()
}

#[test]
fn what_is_not_configured_is_as_the_format_has_it() {
    let check = |table: &str, user: &[&str], provider: &[&str], id: &[&str], endpoint: &[&str]| {
        let read = adapter(table);
        assert_eq!(texts(&read.user_from), user, "{table}");
        assert_eq!(texts(&read.provider_from), provider, "{table}");
        assert_eq!(texts(&read.id_from), id, "{table}");
        let Endpoint::From(paths) = &read.endpoint else {
            panic!("{table}");
        };
        assert_eq!(texts(paths), endpoint, "{table}");
        assert_eq!(read.cached_tokens, CachedTokens::Inside);
    };
    check(
        APISIX,
        &["consumer.username"],
        &["service_id"],
        &[],
        &["request.uri"],
    );
    check(
        KONG,
        &["consumer.username"],
        &[
            "ai.proxy.meta.provider_name",
            "ai.ai-proxy.meta.provider_name",
            "ai.ai-proxy-advanced.meta.provider_name",
            "ai.meta.provider_name",
        ],
        &["request.id"],
        &["request.uri"],
    );
    check(
        ENVOY,
        &["x-user-id"],
        &["gen_ai.provider.name"],
        &["x-request-id"],
        &["x-envoy-origin-path", "request.path"],
    );
}

#[test]
fn everything_about_an_adapter_can_be_configured_in_the_file_and_in_the_environment() {
    let table = "topic = 'k', format = 'kong', source = 's', user_from = ['a.b', 'c'], provider_from = [], id_from = 'd', \
                 endpoint_from = '/v1/embeddings', cached_tokens = 'outside', providers = 'x = prov-1'";
    let in_file = Config::read(&file(&format!(
        "[[adapters]]\n{}",
        table.replace(", ", "\n").replace("'a.b'\n", "'a.b', ")
    )))
    .unwrap();
    let in_environment = Config::read(&Sources {
        env: vec![("TIDEMARK_ADAPTERS".into(), format!("[{{{table}}}]"))],
        ..file("[[adapters]]\ntopic = 'of the file'")
    })
    .unwrap();
    assert_eq!(in_file.adapters, in_environment.adapters);
    let [
        AdapterConfig {
            topic,
            format,
            source,
            user_from,
            provider_from,
            id_from,
            endpoint,
            cached_tokens,
            providers,
        },
    ] = &in_file.adapters[..]
    else {
        panic!("{in_file:?}");
    };
    assert_eq!(
        (topic.as_str(), *format, source.as_str()),
        ("k", AdapterFormat::Kong, "s")
    );
    assert_eq!(
        (texts(user_from), texts(provider_from), texts(id_from)),
        (vec!["a.b", "c"], vec![], vec!["d"])
    );
    assert_eq!(providers.of("x", Millis(0)), Some("prov-1"));
    assert_eq!(*endpoint, Endpoint::Always("/v1/embeddings".into()));
    assert_eq!(*cached_tokens, CachedTokens::Outside);
}

#[test]
fn every_fault_of_every_adapter_is_named_at_once() {
    let faults = faults(&format!(
        "data = ''\n[[adapters]]\n{APISIX}[[adapters]]\n{APISIX}[[adapters]]\nformat = 'nginx'\nuser = 'x'\nid_from = 7\n[[adapters]]\ntopic = 't'\nformat = 'envoy'\nsource = ''"
    ));
    let expected = [
        "my.toml: data is empty",
        "my.toml: adapters[1].topic is already read by another adapter",
        "my.toml: adapters[2].user is not a setting; allowed: topic, format, source,",
        "my.toml: adapters[2].topic is missing",
        "my.toml: adapters[2].source is missing",
        "my.toml: adapters[2].format is \"nginx\"; allowed: apisix, kong, envoy",
        "my.toml: adapters[2].id_from is neither a string nor an array of strings",
        "my.toml: adapters[3].source is \"\"",
        "my.toml: adapters[3].user_from is missing",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (is, must) in faults.iter().zip(expected) {
        assert!(is.starts_with(must), "{is}");
    }
}

#[test]
fn what_is_wrong_with_an_adapter_is_refused() {
    let table = |line: &str| format!("[[adapters]]\n{APISIX}{line}");
    let long = format!("user_from = '{}'", "x".repeat(257));
    let rows = [
        ("adapters = 3".to_owned(), "not an array of tables"),
        ("adapters = [3]".to_owned(), "adapters[0] is not a table"),
        (
            "[adapters]\ntopic = 'x'".to_owned(),
            "adapters.topic is not a setting",
        ),
        (table("topics = 'x'"), "adapters[0].topics is not a setting"),
        (table("user_from = []"), "user_from is missing"),
        (table("user_from = ''"), "is not a field path"),
        (table("user_from = 'a..b'"), "is not a field path"),
        (table("user_from = ['a', 3]"), "neither a string"),
        (table("user_from = \"a\\u0000\""), "control characters"),
        (table(&long), "longer than 256"),
        (table("endpoint_from = ''"), "is not a field path"),
        (table("endpoint_from = \"/a\\n\""), "control characters"),
        (table("cached_tokens = 'both'"), "inside, outside"),
        (table("").replace("apisix-logs", "a b"), "adapters[0].topic"),
        (table("").replace("apisix-logs", ".."), "adapters[0].topic"),
        (
            table("").replace("apisix-logs", &"t".repeat(250)),
            "adapters[0].topic",
        ),
        (
            table("").replace("apisix-eu", &"s".repeat(129)),
            "adapters[0].source",
        ),
    ];
    for (text, expected) in rows {
        let faults = faults(&text);
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].contains(expected), "{text}: {faults:?}");
    }
}

#[test]
fn keys_addresses_and_content_can_never_be_chosen_as_an_id() {
    for path in [
        "request.headers.authorization",
        "request.headers.Authorization",
        "request.headers.cookie",
        "request.headers.x-api-key",
        "request.headers.apikey",
        "client_ip",
        "x-forwarded-for",
        "downstream_remote_address",
        "request.querystring.user",
        "request.body",
        "ai.proxy.payload.request",
        "llm_request.messages",
        "llm_response_text.content",
    ] {
        for name in ["user_from", "provider_from", "id_from", "endpoint_from"] {
            let faults = faults(&format!(
                "[[adapters]]\n{APISIX}{name} = ['consumer.username', '{path}']"
            ));
            assert_eq!(faults.len(), 1, "{path}: {faults:?}");
            assert!(
                faults[0].contains("must never enter the log"),
                "{path}: {faults:?}"
            );
        }
    }
}

#[test]
fn no_topic_of_tidemark_itself_is_adapted() {
    for topic in Topic::ALL {
        let faults = faults(&format!(
            "[[adapters]]\n{}",
            APISIX.replace("apisix-logs", topic.name())
        ));
        assert!(
            faults[0].contains("not one of tidemark's own topics"),
            "{faults:?}"
        );
    }
}

#[test]
fn a_failure_counts_for_the_account_of_the_cluster_that_it_was_sent_to() {
    let table = "provider_from = ['gen_ai.provider.name', 'upstream_cluster']\nproviders = 'outbound|443||eu = prov-9'";
    let adapter = super::adapt::adapter(&format!("{}{table}", super::adapt::ENVOY));
    let provider = |named: serde_json::Value, cluster: &str| {
        let entry = serde_json::json!({"start_time": "2026-11-22T07:01:02.123Z", "x-user-id": "anna", "x-request-id": "r-1",
            "x-envoy-origin-path": "/v1/chat/completions", "response_code": 503, "duration": 31, "gen_ai.request.model": "gpt-4o",
            "gen_ai.provider.name": named, "upstream_cluster": cluster});
        let shown = super::adapt::shown(&super::adapt::outcomes(
            &adapter,
            entry.to_string().as_bytes(),
        ));
        shown[0]["event"]["data"]["providerId"].clone()
    };
    assert_eq!(
        provider(serde_json::Value::Null, "outbound|443||eu"),
        "prov-9"
    );
    assert_eq!(provider(serde_json::Value::Null, "other"), "other");
    assert_eq!(provider("prov-1".into(), "outbound|443||eu"), "prov-1");
    assert_eq!(
        provider(serde_json::Value::Null, "-"),
        serde_json::Value::Null
    );
}
