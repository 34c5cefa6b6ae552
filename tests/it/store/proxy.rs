//! A server between the real client and a real store that breaks things on demand: throttles, fails before or after the
//! work is done, lets an answer get lost, does a part of a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidemark::ops::retry::{Backoff, RetryPolicy};
use tidemark::store::dynamo::DynamoSettings;

/// What happens to one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// Answered with this error code and status 400, without doing it.
    Code(&'static str),
    /// A transaction cancelled for these reasons, without doing it; any other write meets a transaction conflict.
    Canceled(&'static [&'static str]),
    /// Status 500 without doing it.
    Fails,
    /// Status 500 although it is done.
    FailsAfter,
    /// Never answered, and not done.
    Lost,
    /// Never answered, but done.
    LostAfter,
    /// Never answered in time, and done later.
    Late,
    /// Only so many items of a batch are done; the others are handed back.
    Part(usize),
    /// Done, but one after the other, each taking so long; also those that nobody waits for any more.
    OneByOne(Duration),
}

/// Longer than the client of these tests waits.
const TOO_LONG: Duration = Duration::from_millis(3_000);

/// Attempts of [`impatient`] clients.
pub const ATTEMPTS_MAX: u32 = 15;

type Plan = dyn Fn(u64, &str) -> Fault + Send + Sync;

struct Proxy {
    upstream: String,
    agent: ureq::Agent,
    plan: Box<Plan>,
    /// Held while a request is served that is served alone.
    alone: tokio::sync::Mutex<()>,
    requests: Arc<AtomicU64>,
}

/// A proxy in front of `upstream`; must be called within a runtime. `plan` is asked with each request's number and
/// operation (`PutItem`). Returns its endpoint and a counter of the requests that it got.
pub async fn proxy(
    upstream: &str,
    plan: impl Fn(u64, &str) -> Fault + Send + Sync + 'static,
) -> (String, Arc<AtomicU64>) {
    let requests = Arc::new(AtomicU64::new(0));
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_idle_connections_per_host(64)
        .build();
    let state = Arc::new(Proxy {
        upstream: upstream.to_owned(),
        agent: config.into(),
        plan: Box::new(plan),
        alone: tokio::sync::Mutex::default(),
        requests: requests.clone(),
    });
    let app = Router::new().fallback(handle).with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), requests)
}

/// Impatient settings for a client behind a proxy.
pub fn impatient(settings: &DynamoSettings, endpoint: &str) -> DynamoSettings {
    DynamoSettings {
        endpoint: Some(endpoint.to_owned()),
        request_timeout: TOO_LONG / 2,
        retries: RetryPolicy {
            backoff: Backoff {
                base: Duration::from_millis(1),
                cap: Duration::from_millis(20),
            },
            attempts_max: ATTEMPTS_MAX,
            ..settings.retries
        },
        ..settings.clone()
    }
}

async fn handle(State(proxy): State<Arc<Proxy>>, headers: HeaderMap, body: Bytes) -> Response {
    let number = proxy.requests.fetch_add(1, Ordering::SeqCst);
    let target = headers.get("x-amz-target").unwrap().to_str().unwrap();
    let operation = target.split('.').next_back().unwrap().to_owned();
    match (proxy.plan)(number, &operation) {
        Fault::Pass => forward(&proxy, headers, body).await,
        Fault::Code(code) => error(StatusCode::BAD_REQUEST, json!({"__type": code})),
        Fault::Canceled(_) if operation != "TransactWriteItems" => {
            let code = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";
            error(StatusCode::BAD_REQUEST, json!({"__type": code}))
        }
        Fault::Canceled(reasons) => {
            let reasons: Vec<Value> = reasons.iter().map(|code| json!({"Code": code})).collect();
            let body = json!({"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                              "CancellationReasons": reasons});
            error(StatusCode::BAD_REQUEST, body)
        }
        Fault::Fails => internal(),
        Fault::FailsAfter => {
            forward(&proxy, headers, body).await;
            internal()
        }
        Fault::Lost => {
            tokio::time::sleep(TOO_LONG).await;
            internal()
        }
        Fault::LostAfter => {
            forward(&proxy, headers, body).await;
            tokio::time::sleep(TOO_LONG).await;
            internal()
        }
        Fault::Late => {
            // The client hangs up, which would cancel what is not spawned.
            let late = tokio::spawn(async move {
                tokio::time::sleep(TOO_LONG).await;
                forward(&proxy, headers, body).await;
            });
            late.await.unwrap();
            internal()
        }
        Fault::OneByOne(takes) => {
            let served = tokio::spawn(async move {
                let _alone = proxy.alone.lock().await;
                tokio::time::sleep(takes).await;
                forward(&proxy, headers, body).await
            });
            served.await.unwrap()
        }
        Fault::Part(count) => part(&proxy, headers, &body, &operation, count).await,
    }
}

fn internal() -> Response {
    let body = json!({"__type": "InternalServerError", "message": "injected"});
    error(StatusCode::INTERNAL_SERVER_ERROR, body)
}

fn error(status: StatusCode, body: Value) -> Response {
    let headers = [("content-type", "application/x-amz-json-1.0")];
    (status, headers, body.to_string()).into_response()
}

async fn forward(proxy: &Proxy, headers: HeaderMap, body: Bytes) -> Response {
    forward_to(&proxy.agent, &proxy.upstream, &headers, body).await
}

/// Hands a request of the AWS client on to a store, and its answer back.
pub async fn forward_to(
    agent: &ureq::Agent,
    upstream: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let mut request = agent.post(upstream);
    for name in [
        "content-type",
        "x-amz-target",
        "authorization",
        "x-amz-date",
        "x-amz-security-token",
    ] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value.to_str().unwrap());
        }
    }
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = request.send(&body[..])?;
        let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
        Ok::<_, ureq::Error>((status, answer.body_mut().read_to_vec()?))
    });
    // The store may hang up on a connection that was idle. Whether it has done the work is not known, which is what 500 says.
    let Ok((status, body)) = answer.await.unwrap() else {
        return internal();
    };
    let headers = [("content-type", "application/x-amz-json-1.0")];
    (status, headers, body).into_response()
}

/// Forwards the first `count` items of a batch of one table and hands the others back as unprocessed.
async fn part(
    proxy: &Proxy,
    headers: HeaderMap,
    body: &[u8],
    operation: &str,
    count: usize,
) -> Response {
    let mut request: Value = serde_json::from_slice(body).unwrap();
    let writes = operation == "BatchWriteItem";
    let mut left = json!({});
    let mut any = false;
    for (table, wanted) in request["RequestItems"].as_object_mut().unwrap() {
        let list = match writes {
            true => wanted.as_array_mut().unwrap(),
            false => wanted["Keys"].as_array_mut().unwrap(),
        };
        let rest = list.split_off(count.min(list.len()));
        any |= !list.is_empty();
        if !rest.is_empty() {
            left[table] = match writes {
                true => json!(rest),
                false => json!({"Keys": rest, "ConsistentRead": true}),
            };
        }
    }
    let name = if writes {
        "UnprocessedItems"
    } else {
        "UnprocessedKeys"
    };
    let mut answer = json!({});
    if any {
        let forwarded = forward(proxy, headers, request.to_string().into()).await;
        let bytes = axum::body::to_bytes(forwarded.into_body(), usize::MAX);
        answer = serde_json::from_slice(&bytes.await.unwrap()).unwrap();
    }
    answer[name] = left;
    error(StatusCode::OK, answer)
}

/// A number that looks random, for plans: the same for the same seed and request.
pub fn dice(seed: u64, number: u64) -> u64 {
    let z = (seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
