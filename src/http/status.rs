//! `/healthz` and `/readyz`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Operator;
use super::problem::Problem;
use crate::ops::health::TaskHealth;

/// The code of a process that is starting or stopping.
pub const NOT_READY: &str = "not_ready";

/// Alive, unless a partition has work before it and has made no progress for too long. A halted
/// partition does not count: a restart, which is what a failed probe brings, would not cure it; the
/// `tidemark_halted` metric and `tidemark doctor` show it.
#[utoipa::path(get, path = "/healthz", tag = "operators", responses(
    (status = 200, description = "Alive."),
    (status = 503, description = "A partition has work to do and makes no progress: `stalled` names it.")))]
pub(super) async fn alive(State(operator): State<Operator>) -> Response {
    let stalled = operator.health.stalled(operator.stalled_after);
    let (status, word) = if stalled.is_empty() {
        (StatusCode::OK, "alive")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stalled")
    };
    let stalled: Vec<String> = stalled.iter().map(|task| task.id.to_string()).collect();
    let partitions: Vec<Value> = operator.health.tasks().iter().map(task).collect();
    let body = json!({"status": word, "stalled": stalled, "partitions": partitions});
    (status, Json(body)).into_response()
}

/// Ready once log and store are open, while events can be appended, and until this process begins
/// to stop; a worker, while the topics of its roles are there.
#[utoipa::path(get, path = "/readyz", tag = "operators", responses(
    (status = 200, description = "Ready."),
    (status = 503, description = "Starting or stopping (`not_ready`); a topic is missing (`missing`); or events cannot be appended \
        (`log_unavailable`, `log_disk_full`, `log_clock_ahead`, `topic_missing`). The detail says why.")))]
pub(super) async fn ready(State(operator): State<Operator>) -> Response {
    let health = &operator.health;
    let missing = health.missing();
    let (code, detail) = match (health.is_ready(), health.appends_fail()) {
        (true, None) => return Json(json!({"status": "ready"})).into_response(),
        (true, Some(outage)) => (outage.code, outage.detail),
        (false, _) if missing.is_empty() => (
            NOT_READY,
            "this process is starting or stopping; retry shortly".to_owned(),
        ),
        (false, _) => (
            "missing",
            format!(
                "missing: {}. On a new installation `tidemark topics apply` creates tidemark's own, and work begins within seconds; \
                 a topic that held records must be brought back instead, see docs/runbook.md#a-topic-is-gone",
                missing.join(", ")
            ),
        ),
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        .retry_after(1)
        .into_response()
}

fn task(task: &TaskHealth) -> Value {
    let idle = u64::try_from(task.last_progress.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut value = json!({
        "partition": task.id.to_string(),
        "lagRecords": task.lag,
        "lastProgressMsAgo": idle,
        "loaded": task.is_loaded,
    });
    if let Some(next) = task.next {
        value["next"] = json!(next);
    }
    if task.set_aside > 0 {
        value["accountsSetAside"] = json!(task.set_aside);
    }
    if let Some(halted) = &task.halted {
        // The message may name an account, and anybody may read this.
        value["halted"] = json!({"code": halted.code});
    }
    value
}
