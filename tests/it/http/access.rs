//! Who may do what: every route of the API document, with every kind of key.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::Value;
use tidemark::domain::access::Scope;
use tidemark::domain::time::Millis;
use tidemark::store::{audit, keys};

use super::stand::{NOON, Stand};

/// Values of the parameters in paths and queries; accounts of examples are user `alice` and provider `prov-1`.
fn value_of(parameter: &Value) -> String {
    let example = &parameter["example"];
    match example {
        Value::String(text) => text.clone(),
        Value::Null => panic!("the parameter {} has no example", parameter["name"]),
        other => other.to_string(),
    }
}

struct Operation {
    method: Method,
    path: String,
    body: Option<(String, Value)>,
    /// One of these scopes is needed; `None`: open to everybody.
    scopes: Option<Vec<Scope>>,
}

/// Every operation of the document, with the values of its examples.
fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(tidemark::http::document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push(operation_of(path, method, operation));
        }
    }
    found
}

fn operation_of(name: &str, method: &str, operation: &Value) -> Operation {
    let mut path = name.to_owned();
    let mut scopes: Option<Vec<String>> = operation["security"].as_array().map(|security| {
        let scope = |one: &Value| one["key"][0].as_str().expect("one scope each").to_owned();
        security.iter().map(scope).collect()
    });
    let mut fill = |name: &str, value: &str| {
        let hole = format!("{{{name}}}");
        path = path.replace(&hole, value);
        for scope in scopes.iter_mut().flatten() {
            *scope = scope.replace(&hole, value);
        }
    };
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "path" || parameter["required"] == true {
            fill(parameter["name"].as_str().unwrap(), &value_of(parameter));
        }
    }
    let body = operation["requestBody"]["content"].as_object().map(|all| {
        let (kind, content) = all
            .iter()
            .find(|(_, content)| !content["example"].is_null())
            .unwrap_or_else(|| panic!("{method} {name} has a body without an example"));
        (kind.clone(), content["example"].clone())
    });
    // What a scope takes from the body: `account:{userType}:{userId}`.
    if let Some((_, Value::Object(members))) = &body {
        for (name, value) in members {
            if let Value::String(text) = value {
                fill(name, text);
            }
        }
    }
    let parse = |scope: String| {
        scope
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    Operation {
        method: method.to_uppercase().parse().unwrap(),
        scopes: scopes.map(|all| all.into_iter().map(parse).collect()),
        path: path.clone(),
        body,
    }
}

async fn status(stand: &Stand, operation: &Operation, key: Option<&str>) -> u16 {
    let mut request = Request::builder()
        .method(operation.method.clone())
        .uri(&operation.path)
        .header(header::HOST, "localhost")
        .header("idempotency-key", "matrix-1");
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let body = match &operation.body {
        None => Body::empty(),
        Some((kind, example)) => {
            request = request.header(header::CONTENT_TYPE, kind);
            let text = match example {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Body::from(text)
        }
    };
    stand
        .send(request.body(body).unwrap())
        .await
        .status
        .as_u16()
}

/// `ingest:{source}` in the document: a key for whatever source.
fn is_any_source(needed: &Scope, held: &Scope) -> bool {
    needed.to_string() == "ingest:{source}" && matches!(held, Scope::IngestOf(_))
}

/// Every kind of key there is; and some whose account has the other kind, or another id.
const KEYS: [&str; 12] = [
    "ingest",
    "ingest:plain",
    "ingest:litellm",
    "ingest:sub2api",
    "ingest:otlp",
    "admin:read",
    "admin:write",
    "account:user:alice",
    "account:user:prov-1",
    "account:user:eve",
    "account:provider:prov-1",
    "account:provider:alice",
];

#[tokio::test]
async fn every_route_lets_in_exactly_the_keys_that_its_documentation_names() {
    let stand = Stand::new().await;
    let revoked = stand.key(&["ingest", "admin:read", "admin:write"]).await;
    let id = revoked.split('_').nth(1).unwrap();
    keys::revoke(&stand.db, id, "a test", NOON).await.unwrap();
    let mut keys = Vec::new();
    for scope in KEYS {
        keys.push((scope.parse::<Scope>().unwrap(), stand.key(&[scope]).await));
    }
    let operations = operations();
    assert!(operations.len() >= 8, "{}", operations.len());
    for operation in &operations {
        let name = format!("{} {}", operation.method, operation.path);
        let nobody = status(&stand, operation, None).await;
        let Some(needed) = &operation.scopes else {
            assert_ne!(nobody, 401, "{name}");
            continue;
        };
        assert_eq!(nobody, 401, "{name}, without a key");
        let wrong = status(&stand, operation, Some("tmk_000000000000_x")).await;
        assert_eq!(wrong, 401, "{name}, with a made up key");
        assert_eq!(
            status(&stand, operation, Some(&revoked)).await,
            401,
            "{name}, revoked"
        );
        assert!(!needed.is_empty(), "{name} names no scope");
        for (scope, key) in &keys {
            let found = status(&stand, operation, Some(key)).await;
            let may = needed
                .iter()
                .any(|needed| scope.covers(needed) || is_any_source(needed, scope));
            assert_ne!(found, 401, "{name} with {scope}");
            assert_eq!(found != 403, may, "{name} with {scope}: {found}");
            assert!(found < 500, "{name} with {scope}: {found}");
        }
    }
}

#[tokio::test]
async fn only_health_metrics_documents_and_what_is_public_are_open() {
    let open: Vec<String> = operations()
        .into_iter()
        .filter(|operation| operation.scopes.is_none())
        .map(|operation| operation.path)
        .collect();
    assert_eq!(
        open,
        [
            "/.well-known/jwks.json",
            "/api/closes/2026-10/close.json",
            "/api/governance/proposal-1",
            "/api/governance/proposal-1/scores",
            "/badges/achievements/week-streak",
            "/badges/issuer",
            "/badges/keys/kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "/badges/00112233445566778899aabbccddeeff",
            "/badges/00112233445566778899aabbccddeeff/picture",
            "/badges/00112233445566778899aabbccddeeff/status",
            "/docs",
            "/healthz",
            "/internal/listener",
            "/metrics",
            "/openapi.json",
            "/readyz"
        ]
    );
}

#[tokio::test]
async fn a_key_is_refused_whatever_is_wrong_with_it() {
    let stand = Stand::new().await;
    let good = stand.key(&["admin:read"]).await;
    let secret = good.splitn(3, '_').nth(2).unwrap();
    let head = good.strip_suffix(secret).unwrap().trim_end_matches('_');
    let flipped = if secret.starts_with('A') { "B" } else { "A" };
    let rows = [
        ("".to_owned(), "no_key"),
        (good.clone(), "no_key"),
        (format!("Basic {good}"), "no_key"),
        ("Bearer".to_owned(), "no_key"),
        ("Bearer ".to_owned(), "bad_key"),
        ("Bearer tmk_".to_owned(), "bad_key"),
        (format!("Bearer {head}_"), "bad_key"),
        (format!("Bearer {good}x"), "bad_key"),
        (
            format!("Bearer {head}_{flipped}{}", &secret[1..]),
            "bad_key",
        ),
    ];
    for (header, code) in rows {
        let request = Request::get("/internal/log")
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, &header)
            .body(Body::empty())
            .unwrap();
        let answer = stand.send(request).await;
        assert_eq!(answer.code(), (401, code.to_owned()), "{header}");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
        let said = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!said.contains(secret), "{said}");
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = Request::get("/internal/log")
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("{scheme} {good}"));
        let answer = stand.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), 200, "{scheme}");
    }
}

#[tokio::test]
async fn keys_leave_an_audit_trail_and_no_secret() {
    let stand = Stand::new().await;
    let key = stand.key(&["ingest", "account:user:alice"]).await;
    // The secret may hold the sign that parts it from the id.
    let mut parts = key.splitn(3, '_').skip(1);
    let (id, secret) = (parts.next().unwrap(), parts.next().unwrap());
    let later = Millis(NOON.0 + 1);
    let revoked = keys::revoke(&stand.db, id, "bob", later).await.unwrap();
    assert_eq!(revoked.unwrap().revoked_at, Some(later));
    // Again changes nothing.
    let again = keys::revoke(&stand.db, id, "eve", Millis(NOON.0 + 2)).await;
    assert_eq!(again.unwrap().unwrap().revoked_at, Some(later));
    assert_eq!(
        keys::revoke(&stand.db, "0", "eve", later).await.unwrap(),
        None
    );
    let page = audit::page(&stand.db, None, 10).await.unwrap();
    let told: Vec<(&str, &str)> = page
        .entries
        .iter()
        .filter(|entry| entry.subject == id)
        .map(|entry| (entry.action.as_str(), entry.by.as_str()))
        .collect();
    assert_eq!(told, [("keys.revoke", "bob"), ("keys.create", "a test")]);
    let listed = keys::page(&stand.db, None, 100).await.unwrap().keys;
    assert!(
        listed
            .iter()
            .any(|key| key.id == id && key.revoked_at == Some(later))
    );
    for text in [format!("{listed:?}"), format!("{page:?}")] {
        assert!(!text.contains(secret), "{text}");
    }
}
