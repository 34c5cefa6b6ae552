//! Snapshot's strategy `api-v2`, in its documented form, asks a running service for scores.
//!
//! Needs viem: `tests/servers/viem fetch`.

use std::time::Duration;

use serde_json::{Value, json};
use tidemark::http::{Hosts, router, serve};
use tidemark::ops::shutdown;
use tokio::net::TcpListener;

use super::wallets::{needs_viem, viem};
use crate::http::governance::{address, stand};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs viem: .ci/run tools"]
async fn snapshots_strategy_reads_scores_and_the_frozen_document() {
    needs_viem();
    let stand = stand().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "http://{}/api/governance/q1",
        listener.local_addr().expect("an address")
    );
    let (trigger, shutdown) = shutdown::channel();
    let connections = stand.service.connections();
    let router = router(stand.service.clone(), Hosts::Any);
    let ended = tokio::spawn(serve(
        listener,
        router,
        None,
        connections,
        shutdown,
        Duration::from_secs(10),
    ));
    let terms =
        json!({"from": "2026-10", "to": "2026-10", "formula": "square_root", "reason": "a vote"});
    let path = "/api/admin/governance/q1";
    let frozen = stand
        .ask(
            Some(&stand.admin),
            axum::http::Method::PUT,
            path,
            Some(&terms),
        )
        .await;
    assert_eq!(frozen.status, 200, "{:?}", frozen.body);

    let voters = [1, 2, 3].map(|number| address(number).to_string());
    for (kind, url) in [("api-post", format!("{url}/scores")), ("json", url)] {
        let asked = json!({
            "options": {"url": url, "type": kind, "decimals": 6}, "network": "1", "snapshot": 21_000_000, "addresses": voters,
        });
        let scores: Value = tokio::task::spawn_blocking(move || viem("scores", &asked))
            .await
            .expect("an answer");
        let [one, two, three] = &voters;
        assert_eq!(scores, json!({one: 9.949874, two: 5, three: 0}), "{kind}");
    }
    trigger.shut_down();
    ended.await.expect("it ends").expect("well");
}
