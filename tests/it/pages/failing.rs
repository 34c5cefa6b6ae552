//! What pages say while the store does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::http::header;
use tidemark::ops::clock::Clock;
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;

use super::jar::{Jar, field, has, location, stand, text};
use crate::http::slow_db::service_on;
use crate::http::stand::Stand;

/// A store that is out of service while it is switched off.
struct Switched {
    db: DynamoDb,
    is_off: AtomicBool,
}

impl Switched {
    fn check(&self) -> Result<(), StoreError> {
        match self.is_off.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable(
                "SECRET-HOST does not answer".to_owned(),
            )),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Db for Switched {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.check()?;
        self.db.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.check()?;
        self.db.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.check()?;
        self.db.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.check()?;
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.check()?;
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.check()?;
        self.db.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.check()?;
        self.db.put_all(table, items).await
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_told_as_a_page_and_the_session_goes_on_afterwards() {
    let stand = stand().await;
    let db = Arc::new(Switched {
        db: stand.db.clone(),
        is_off: AtomicBool::new(true),
    });
    let stand = Stand {
        service: service_on(&stand, db.clone()),
        ..stand
    };
    // A process that has not read anything yet.
    let answer = Jar::default().get(&stand, "/signin").await;
    assert_eq!(answer.status, 503);
    has(&text(&answer), &["Not available just now"]);

    db.is_off.store(false, Ordering::Relaxed);
    let mut jar = Jar::signed_in(
        &stand,
        &[
            "account:user:alice",
            "account:provider:alice",
            "admin:write",
        ],
    )
    .await;
    db.is_off.store(true, Ordering::Relaxed);
    for path in [
        "/users/alice",
        "/providers/alice",
        "/leaderboard",
        "/admin",
        "/admin/rules",
        "/admin/audit",
    ] {
        let answer = jar.get(&stand, path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.headers[header::RETRY_AFTER], "1", "{path}");
        let page = text(&answer);
        let again = format!("href=\"{path}\">Try again");
        has(&page, &["Nothing is lost", "Sign out", &again]);
        assert!(!page.contains("SECRET-HOST"), "{page}");
    }
    // A form may have done something: whoever sent it goes back to its page, not to its target.
    db.is_off.store(false, Ordering::Relaxed);
    let token = jar.token(&stand).await;
    db.is_off.store(true, Ordering::Relaxed);
    let fields = [("form_token", token.as_str())];
    let headers = [
        ("sec-fetch-site", "same-origin"),
        ("referer", "http://localhost:8787/users/alice?month=2026-11"),
    ];
    let answer = jar
        .post_raw(&stand, "/users/alice/code", &fields, &headers)
        .await;
    assert_eq!(answer.status, 503);
    has(
        &text(&answer),
        &[
            "this may or may not have been done",
            "href=\"/users/alice?month=2026-11\">Back to the form",
        ],
    );
    db.is_off.store(false, Ordering::Relaxed);
    assert_eq!(jar.get(&stand, "/users/alice").await.status, 200);
}

#[tokio::test]
async fn credit_that_met_a_store_that_is_down_comes_back_to_be_sent_again_under_the_same_name() {
    let stand = stand().await;
    let db = Arc::new(Switched {
        db: stand.db.clone(),
        is_off: AtomicBool::new(false),
    });
    let stand = Stand {
        service: service_on(&stand, db.clone()),
        ..stand
    };
    let mut jar = Jar::signed_in(&stand, &["admin:write"]).await;
    let page = text(&jar.get(&stand, "/admin/credits?user=alice").await);
    let once = field(&page, "once");
    let token = field(&page, "form_token");
    let fields = [
        ("form_token", token.as_str()),
        ("user", "alice"),
        ("once", once.as_str()),
        ("amount", "25"),
        ("reason", "a welcome"),
        ("confirmed", "yes"),
    ];
    db.is_off.store(true, Ordering::Relaxed);
    let answer = jar.post_raw(&stand, "/admin/credits", &fields, &[]).await;
    assert_eq!(answer.status, 503);
    let page = text(&answer);
    has(
        &page,
        &[
            "this may or may not have been added",
            "value=\"alice\"",
            "value=\"25\"",
            "value=\"a welcome\"",
        ],
    );
    assert_eq!(field(&page, "once"), once);
    db.is_off.store(false, Ordering::Relaxed);
    for done in ["added", "before"] {
        let answer = jar.post_raw(&stand, "/admin/credits", &fields, &[]).await;
        has(location(&answer), &[&format!("done={done}&entry={once}")]);
    }
}

#[tokio::test]
async fn an_adjustment_that_met_a_store_that_is_down_comes_back_under_the_same_name() {
    const PATH: &str = "/admin/adjustments";
    let stand = stand().await;
    let db = Arc::new(Switched {
        db: stand.db.clone(),
        is_off: AtomicBool::new(false),
    });
    let stand = Stand {
        service: service_on(&stand, db.clone()),
        ..stand
    };
    let mut jar = Jar::signed_in(&stand, &["admin:write"]).await;
    let here = format!("{PATH}?kind=user&id=alice");
    let page = text(&jar.get(&stand, &here).await);
    let once = field(&page, "once");
    let token = field(&page, "form_token");
    for confirmed in ["", "yes"] {
        let fields = [
            ("form_token", token.as_str()),
            ("kind", "user"),
            ("id", "alice"),
            ("once", once.as_str()),
            ("points", "25"),
            ("reason", "a welcome"),
            ("confirmed", confirmed),
        ];
        db.is_off.store(true, Ordering::Relaxed);
        let answer = jar.post_raw(&stand, PATH, &fields, &[]).await;
        assert_eq!(answer.status, 503);
        let page = text(&answer);
        has(
            &page,
            &[
                "this may or may not have been booked",
                "value=\"25\"",
                "value=\"a welcome\"",
            ],
        );
        assert_eq!(field(&page, "once"), once);
        db.is_off.store(false, Ordering::Relaxed);
    }
    let fields = [
        ("form_token", token.as_str()),
        ("kind", "user"),
        ("id", "alice"),
        ("once", once.as_str()),
        ("points", "25"),
        ("reason", "a welcome"),
        ("confirmed", "yes"),
    ];
    for done in ["adjusted", "before"] {
        let answer = jar.post_raw(&stand, PATH, &fields, &[]).await;
        has(location(&answer), &[&format!("done={done}")]);
    }
    // So does undoing it.
    let undo = [
        ("form_token", token.as_str()),
        ("kind", "user"),
        ("id", "alice"),
        ("undo", once.as_str()),
        ("confirmed", "yes"),
    ];
    db.is_off.store(true, Ordering::Relaxed);
    let answer = jar.post_raw(&stand, PATH, &undo, &[]).await;
    assert_eq!(answer.status, 503);
    let page = text(&answer);
    has(&page, &["this may or may not have been booked", ">Undo<"]);
    assert_eq!(field(&page, "undo"), once);
    db.is_off.store(false, Ordering::Relaxed);
    for done in ["adjusted", "before"] {
        let answer = jar.post_raw(&stand, PATH, &undo, &[]).await;
        has(location(&answer), &[&format!("done={done}")]);
    }
}

#[tokio::test]
async fn the_target_of_a_form_is_a_page_to_people_and_a_problem_to_programs() {
    let stand = stand().await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let answer = jar.get(&stand, "/users/alice/code").await;
    assert_eq!(answer.status, 405);
    has(
        &text(&answer),
        &["This page only accepts form submissions."],
    );
    let answer = jar.get(&stand, "/api/v1/events").await;
    assert_eq!(answer.status, 405);
    assert_eq!(
        answer.headers[header::CONTENT_TYPE],
        "application/problem+json"
    );
}
