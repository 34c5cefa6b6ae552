//! A real LiteLLM proxy, from PyPI, with mock responses: what it tells us of its calls stands in the statements of its users.
//!
//! Needs LiteLLM: `tests/servers/litellm fetch`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::site::{Site, Up};

/// How long LiteLLM may take to tell us of its calls.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// Calls at the same time, so that some are made while others are being told.
const CROWD: u64 = 24;

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers/litellm")
}

/// Fails the test if LiteLLM is missing.
fn needs_litellm() {
    let is_ready = Command::new(script()).arg("ready").status();
    if !is_ready.expect("the script runs").success() {
        crate::needs::missing("LiteLLM", "tests/servers/litellm fetch");
    }
}

/// A key for a proxy.
fn key(site: &Site) -> String {
    let key = site.run(&["keys", "create", "litellm", "--scope", "ingest"]);
    key.trim().to_owned()
}

/// A running proxy. Stopped when dropped.
struct Proxy {
    port: u16,
}

impl Proxy {
    /// Tells `generic` by its `generic_api` callback, and `meter` by the others.
    fn start(env: &[(&str, &str)]) -> Proxy {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let proxy = Proxy { port };
        let mut command = Command::new(script());
        command.args(["up", &port.to_string()]);
        let output = command.envs(env.iter().copied()).output();
        let output = output.expect("the script runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        proxy
    }

    /// Calls the proxy as the owner of the key `sk-<user>`; the status.
    fn call(&self, user: &str, path: &str, body: &Value) -> u16 {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        let request = agent
            .post(&url)
            .header("authorization", &format!("Bearer sk-{user}"));
        let mut answer = request.send_json(body).expect("an answer");
        // A stream ends when it has been read.
        let text = answer.body_mut().read_to_string().expect("a body");
        let status = answer.status().as_u16();
        eprintln!("{user} {path}: {status} {text:.120}");
        status
    }

    fn chat(&self, user: &str, extra: Value) -> u16 {
        let mut body =
            json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "PROMPT-SECRET"}]});
        let (body_fields, extra) = (body.as_object_mut().expect("one"), extra);
        body_fields.extend(extra.as_object().expect("fields").clone());
        self.call(user, "/v1/chat/completions", &body)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let down = Command::new(script())
            .args(["wipe", &self.port.to_string()])
            .status();
        assert!(down.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Waits until so many events were rated and so many items refused.
fn wait_for(site: &Site, up: &mut Up, events: f64, refused: f64) {
    let start = Instant::now();
    let metric = |up: &Up, name| up.metric(name).unwrap_or(0.0);
    loop {
        let rated = metric(up, "tidemark_events_rated_total");
        let kept = metric(up, "tidemark_ingest_refused_total");
        if rated >= events && kept >= refused {
            break;
        }
        up.must_run();
        assert!(
            start.elapsed() < TOLD_WITHIN,
            "only {rated} of {events} events and {kept} of {refused} refusals came"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    site.run(&["wait", "--timeout", "1m"]);
}

fn statement(site: &Site, kind: &str, id: &str) -> Value {
    serde_json::from_str(&site.run(&["statement", kind, id, "--json"])).expect("JSON")
}

/// Requests, successful ones, failed ones, and points of usage by service.
fn sums(statement: &Value) -> Value {
    let services = statement["services"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let points: serde_json::Map<String, Value> = services
        .into_iter()
        .map(|(name, service)| (name, service["points"].clone()))
        .collect();
    json!([
        statement["requests"],
        statement["successful"],
        statement["failed"],
        points
    ])
}

/// One of everything, and a crowd at once.
fn make_calls(proxy: &Proxy) {
    assert_eq!(proxy.chat("anna", json!({})), 200);
    assert_eq!(proxy.chat("anna", json!({"stream": true})), 200);
    assert_eq!(
        proxy.chat(
            "anna",
            json!({"stream": true, "stream_options": {"include_usage": true}})
        ),
        200
    );
    assert_eq!(proxy.chat("anna", json!({"user": "customer-7"})), 200);
    assert_eq!(proxy.chat("nobody", json!({})), 200);
    let embedding = json!({"model": "text-embedding-3-small", "input": "PROMPT-SECRET"});
    assert_eq!(proxy.call("anna", "/v1/embeddings", &embedding), 200);
    let completion = json!({"model": "gpt-4o", "prompt": "PROMPT-SECRET"});
    assert_eq!(proxy.call("anna", "/v1/completions", &completion), 200);
    assert_eq!(proxy.chat("ben", json!({"model": "limited"})), 429);
    assert_eq!(proxy.chat("ben", json!({"model": "broken"})), 500);
    for _ in 0..2 {
        assert_eq!(
            proxy.chat("carl", json!({"cache": {"use-cache": true}})),
            200
        );
    }
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| assert_eq!(proxy.chat("crowd", json!({})), 200));
        }
    });
}

/// Both callbacks tell of these, and alike.
fn successes_are_told(site: &Site) {
    let user = |id| sums(&statement(site, "user", id));
    // Three chats and a completion at 1.5 points, an embedding at 0.1.
    assert_eq!(
        user("anna"),
        json!([5, 5, 0, {"chat_completions": "6", "embeddings": "0.1"}])
    );
    assert_eq!(
        user("customer-7"),
        json!([1, 1, 0, {"chat_completions": "1.5"}])
    );
    assert_eq!(user("carl"), json!([2, 2, 0, {"chat_completions": "3"}]));
}

#[test]
#[ignore = "needs LiteLLM: .ci/run tools"]
fn what_a_real_litellm_proxy_serves_stands_in_its_users_statements() {
    needs_litellm();
    let (mut generic, meter) = (Site::new(), Site::new());
    // As for an operator whose own backend holds the keys, so that customers are told.
    generic.set(&[(
        "TIDEMARK_HTTP_GATEWAYS_LITELLM_USER",
        "end_user, metadata.user_api_key_end_user_id, metadata.user_api_key_user_id",
    )]);
    let (mut generic_up, mut meter_up) = (generic.up(), meter.up());
    generic_up.wait_ready();
    meter_up.wait_ready();
    let proxy = Proxy::start(&[
        ("TIDEMARK_URL", &generic.url("")),
        ("TIDEMARK_KEY", &key(&generic)),
        ("METER_URL", &meter.url("")),
        ("METER_KEY", &key(&meter)),
        ("CALLBACKS", "tidemark, openmeter"),
    ]);
    make_calls(&proxy);

    // generic_api tells of failures, providers and tokens. That which is nobody's is kept.
    wait_for(&generic, &mut generic_up, 10.0 + CROWD as f64, 1.0);
    successes_are_told(&generic);
    let user = |id| sums(&statement(&generic, "user", id));
    // A 429 is no success and no failure of the provider's.
    assert_eq!(user("ben"), json!([2, 0, 1, {"chat_completions": "0"}]));
    let crowd = CROWD as f64 * 1.5;
    assert_eq!(
        user("crowd"),
        json!([CROWD, CROWD, 0, {"chat_completions": format!("{crowd}")}])
    );
    // All but the answer from the cache.
    let served = 5 + 1 + 2 + 1 + CROWD;
    let provider = statement(&generic, "provider", "prov-9");
    assert_eq!(provider["requests"], served, "{provider}");
    let rejects = generic.run(&["rejects", "list", "--json"]);
    let rejects = rejects.lines().map(|line| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    // If it is slow, LiteLLM reports some failures twice, with other times: the second is a conflict. It also
    // posts some calls twice, word for word, and what is refused is kept as often as it is sent.
    let mut rejects: Vec<Value> = rejects.filter(|of| of["reason"] != "conflict").collect();
    rejects.dedup_by(|a, b| a["draft"] == b["draft"]);
    let [reject] = &rejects[..] else {
        panic!("{rejects:?}");
    };
    assert_eq!(
        (&reject["gateway"], &reject["reason"]),
        (&json!("litellm"), &json!("missing_field"))
    );
    assert_eq!(reject["draft"]["data"]["providerId"], "prov-9", "{reject}");

    // openmeter tells of successes that somebody made.
    wait_for(&meter, &mut meter_up, 8.0 + CROWD as f64, 0.0);
    successes_are_told(&meter);
    assert_eq!(sums(&statement(&meter, "user", "crowd"))[0], CROWD);

    // Nothing of what was asked or of any key is anywhere.
    for site in [&generic, &meter] {
        for topic in ["usage.events", "usage.rejected"] {
            let records = site.run(&["log", "cat", topic]);
            assert!(
                !records.contains("SECRET") && !records.contains("sk-"),
                "{records}"
            );
        }
    }
    drop(proxy);
    for up in [generic_up, meter_up] {
        assert_eq!(up.stop().0.code(), Some(0));
    }
    generic.log_is_clean();
    meter.log_is_clean();
}

#[test]
#[ignore = "needs LiteLLM: .ci/run tools"]
fn litellm_is_understood_in_each_of_its_log_formats() {
    needs_litellm();
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    let mut calls = 0;
    // LiteLLM loses what is queued while a batch is on its way, so only full ones are sent.
    for (format, batch, seconds) in [("ndjson", "3", "3600"), ("single", "1", "1")] {
        let (url, key) = (site.url(""), key(&site));
        let env = [
            ("TIDEMARK_URL", &*url),
            ("TIDEMARK_KEY", &*key),
            ("LOG_FORMAT", format),
            ("BATCH", batch),
            ("FLUSH", seconds),
        ];
        let proxy = Proxy::start(&env);
        for _ in 0..3 {
            assert_eq!(proxy.chat(format, json!({})), 200);
        }
        calls += 3;
        wait_for(&site, &mut up, f64::from(calls), 0.0);
        assert_eq!(
            sums(&statement(&site, "user", format)),
            json!([3, 3, 0, {"chat_completions": "4.5"}])
        );
    }
    assert_eq!(up.stop().0.code(), Some(0));
    site.log_is_clean();
}

/// Its own exporter, not one of the callbacks for metering. The users are those of the keys.
#[test]
#[ignore = "needs LiteLLM: .ci/run tools"]
fn what_litellms_otel_callback_exports_stands_in_its_users_statements() {
    needs_litellm();
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    let (url, key) = (site.url(""), key(&site));
    let proxy = Proxy::start(&[
        ("TIDEMARK_URL", &*url),
        ("TIDEMARK_KEY", &*key),
        ("CALLBACKS", "otel"),
    ]);
    assert_eq!(proxy.chat("anna", json!({})), 200);
    assert_eq!(proxy.chat("anna", json!({"stream": true})), 200);
    // Whoever a client names: it is still anna's key.
    assert_eq!(proxy.chat("anna", json!({"user": "customer-7"})), 200);
    let embedding = json!({"model": "text-embedding-3-small", "input": "PROMPT-SECRET"});
    assert_eq!(proxy.call("anna", "/v1/embeddings", &embedding), 200);
    assert_eq!(proxy.chat("ben", json!({"model": "broken"})), 500);
    assert_eq!(proxy.chat("nobody", json!({})), 200);
    wait_for(&site, &mut up, 5.0, 1.0);
    let user = |id| sums(&statement(&site, "user", id));
    assert_eq!(
        user("anna"),
        json!([4, 4, 0, {"chat_completions": "4.5", "embeddings": "0.1"}])
    );
    assert_eq!(user("ben"), json!([1, 0, 1, {"chat_completions": "0"}]));
    let provider = statement(&site, "provider", "prov-9");
    assert_eq!(provider["successful"], 4, "{provider}");
    for topic in ["usage.events", "usage.rejected"] {
        let records = site.run(&["log", "cat", topic]);
        assert!(
            !records.contains("SECRET") && !records.contains("sk-"),
            "{records}"
        );
    }
    drop(proxy);
    assert_eq!(up.stop().0.code(), Some(0));
    site.log_is_clean();
}
