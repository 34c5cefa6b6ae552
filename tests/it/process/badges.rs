//! Credentials of badges, checked by libraries that others use: openbadgeslib (Open Badges 3.0) and
//! PyJWT.

use std::path::PathBuf;
use std::process::Command;

use axum::http::Method;
use serde_json::json;

use crate::http::badges::{grant_some, list, open, stand};

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers/openbadges")
}

/// Fails the test if the libraries are not installed.
fn tool() {
    let is_ready = Command::new(script()).arg("ready").status();
    if !is_ready.expect("the script runs").success() {
        crate::needs::missing("openbadgeslib", "tests/servers/openbadges fetch");
    }
}

#[tokio::test]
#[ignore = "needs openbadgeslib: .ci/run tools"]
async fn libraries_of_others_take_credentials_and_see_which_are_revoked() {
    tool();
    let stand = stand().await;
    grant_some(&stand).await;
    let place = tempfile::tempdir().expect("a directory");
    for (account, badge, name) in [
        ("users/alice", "week-streak", "Seven days"),
        ("providers/prov-1", "top-ten", "Top ten"),
    ] {
        let path = format!("/api/{account}/badges/{badge}/credential");
        let credential = stand.get(&path).await.body;
        let badges = list(&stand, &format!("/api/{account}/badges")).await;
        let public = badges[0]["path"].as_str().expect("a path").to_owned();
        let check = async || {
            let files = [
                ("jwks", open(&stand, "/.well-known/jwks.json").await.body),
                ("credential", credential.clone()),
                (
                    "status",
                    open(&stand, &format!("{public}/status")).await.body,
                ),
            ];
            let mut command = Command::new(script());
            command.arg("check");
            for (file, bytes) in files {
                let file = place.path().join(file);
                std::fs::write(&file, &bytes).expect("a file");
                command.arg(file);
            }
            let output = command.output().expect("the script runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success(),
                "{said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            said
        };
        let said = check().await;
        assert!(said.contains(&format!("badge {name}\n")), "{said}");
        assert!(
            said.contains("status valid\n") && said.contains("forged refused\n"),
            "{said}"
        );
        let kind = if account.starts_with("users") {
            "user"
        } else {
            "provider"
        };
        let (_, id) = account.split_once('/').expect("an id");
        let path = format!("/api/admin/badges/{kind}/{id}/{badge}");
        let body = json!({"revoked": true, "reason": "a test"});
        let answer = stand
            .ask(Some(&stand.admin), Method::PUT, &path, Some(&body))
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let said = check().await;
        assert!(
            said.contains("status Credential status 'revocation' is set"),
            "{said}"
        );
    }
}
