//! What appends say about whether events are taken.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidemark::domain::position::Partition;
use tidemark::log::{LogError, Topic};

use super::stand::Stand;

const EVENTS: &str = "/api/v1/events";
const LITELLM: &str = "/api/v1/events/litellm";

fn event() -> Value {
    json!({
        "requestId": "r-1", "userId": "anna", "endpoint": "/v1/scrape",
        "timestamp": "2026-11-22T07:01:02Z", "statusCode": 200,
    })
}

/// A stand whose log has failed to take an event with this error, and works again.
async fn after(error: LogError) -> Stand {
    let stand = Stand::new().await;
    *stand.log.append_fails.lock().unwrap() = Some(error);
    let answer = stand.post(EVENTS, &event()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    *stand.log.append_fails.lock().unwrap() = None;
    stand
}

#[tokio::test]
async fn a_failed_append_is_forgotten_only_when_usage_events_are_appended() {
    let stand = after(LogError::Unavailable("no leader".into())).await;
    // Nothing to append, then a reject alone.
    for (body, refused) in [(json!([]), 0), (json!([{}]), 1)] {
        let answer = stand.post(LITELLM, &body).await;
        assert!(answer.status.is_success(), "{answer:?}");
        assert_eq!(stand.log.all(Topic::UsageRejected).len(), refused);
        assert!(stand.health.appends_fail().is_some(), "{body}");
    }
    stand.post(EVENTS, &event()).await;
    assert_eq!(stand.health.appends_fail(), None);
}

#[tokio::test]
async fn a_damaged_partition_is_no_outage_of_all_appends() {
    let stand = after(LogError::Damaged {
        topic: Topic::UsageEvents,
        partition: Partition(0),
        what: "shorter than acknowledged".into(),
    })
    .await;
    assert_eq!(stand.health.appends_fail(), None);
}
