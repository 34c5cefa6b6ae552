//! Who may see what: every page and every target of a form, as everybody; made from the table of pages, so that none can be forgotten.

use axum::http::{Method, header};
use tidemark::domain::access::Scope;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::http::{Needs, PageRoute, page_routes};

use super::jar::{Jar, location, stand, text};
use crate::http::stand::{Answer, Stand};

const ID: &str = "alice";

/// Every kind of key; and some whose account has the other kind, or another id.
const KEYS: [&str; 6] = [
    "ingest",
    "admin:read",
    "admin:write",
    "account:user:alice",
    "account:user:eve",
    "account:provider:alice",
];

/// Paths have no other holes than these.
fn path(route: &PageRoute) -> String {
    route
        .path
        .replace("{id}", ID)
        .replace("{key}", "scrape")
        .replace("{badge}", "week-streak")
        .replace("{partition}", "0")
        .replace("{offset}", "0")
        .replace("{month}", "2026-10")
        .replace("{file}", "close.json")
}

fn may(needs: Needs, scope: &Scope) -> bool {
    let own = |kind: AccountKind| Scope::Account(Account::new(kind, ID).unwrap());
    let any = |needed: &[Scope]| needed.iter().any(|needed| scope.covers(needed));
    match needs {
        Needs::Nothing | Needs::SignedIn => true,
        Needs::Read(kind) => any(&[own(kind), Scope::AdminRead]),
        Needs::Act(kind) => any(&[own(kind), Scope::AdminWrite]),
        Needs::AdminRead => any(&[Scope::AdminRead]),
        Needs::AdminWrite => any(&[Scope::AdminWrite]),
    }
}

async fn ask(stand: &Stand, jar: &mut Jar, route: &PageRoute) -> Answer {
    match route.method {
        Method::GET => jar.get(stand, &path(route)).await,
        _ => jar.post(stand, &path(route), &[]).await,
    }
}

fn leads_to_sign_in(answer: &Answer) -> bool {
    let to = answer.headers.get(header::LOCATION);
    answer.status == 303 && to.is_some_and(|to| to.to_str().unwrap().starts_with("/signin"))
}

#[tokio::test]
async fn every_page_lets_in_exactly_those_who_have_what_it_needs() {
    let stand = stand().await;
    let routes = page_routes();
    assert!(routes.len() >= 13, "{}", routes.len());
    for route in &routes {
        let name = format!("{} {}", route.method, route.path);
        assert!(
            !path(route).contains('{'),
            "{name} has a hole that is not filled"
        );
        let nobody = ask(&stand, &mut Jar::default(), route).await;
        if route.needs == Needs::Nothing {
            assert!(
                route.path.starts_with("/sign"),
                "{name} is open to everybody"
            );
            assert!(
                !nobody.status.is_server_error(),
                "{name}: {}",
                nobody.status
            );
            continue;
        }
        assert!(
            leads_to_sign_in(&nobody),
            "{name}, signed out: {}",
            nobody.status
        );
        for key in KEYS {
            let scope: Scope = key.parse().unwrap();
            // A new one each: nothing that a page did to the session matters to the next.
            let mut jar = Jar::signed_in(&stand, &[key]).await;
            let answer = ask(&stand, &mut jar, route).await;
            let status = answer.status.as_u16();
            assert!(!leads_to_sign_in(&answer), "{name} as {key}");
            assert_eq!(
                status != 403,
                may(route.needs, &scope),
                "{name} as {key}: {status}"
            );
            assert!(status < 500, "{name} as {key}: {status} {}", text(&answer));
        }
    }
}

#[tokio::test]
async fn what_changes_something_is_asked_for_by_a_form_and_needs_more_than_reading() {
    for route in page_routes() {
        match route.method {
            Method::GET => assert_ne!(route.needs, Needs::AdminWrite, "{}", route.path),
            Method::POST => assert!(
                matches!(
                    route.needs,
                    Needs::Nothing | Needs::Act(_) | Needs::AdminWrite
                ),
                "{} {:?}",
                route.path,
                route.needs
            ),
            other => panic!("{other} {}", route.path),
        }
    }
}

#[tokio::test]
async fn a_form_is_taken_only_from_the_page_that_this_visitor_was_shown() {
    let stand = stand().await;
    let mut alice = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let mut eve = Jar::signed_in(&stand, &["account:user:eve"]).await;
    let (own, foreign) = (alice.token(&stand).await, eve.token(&stand).await);
    let target = "/users/alice/code";
    let refused: [(&str, &[(&str, &str)]); 7] = [
        ("", &[]),
        ("x", &[]),
        (&foreign, &[]),
        (&own, &[("sec-fetch-site", "cross-site")]),
        (&own, &[("sec-fetch-site", "same-site")]),
        (&own, &[("origin", "http://evil.example")]),
        (&own, &[("origin", "null")]),
    ];
    for (token, headers) in refused {
        let answer = alice
            .post_raw(&stand, target, &[("form_token", token)], headers)
            .await;
        assert_eq!(answer.status, 403, "{token} {headers:?}");
        assert!(
            text(&answer).contains("This was not sent"),
            "{}",
            text(&answer)
        );
        let shown = text(&alice.get(&stand, "/users/alice").await);
        assert!(shown.contains("Make my code"), "{shown}");
    }
    // What says nothing of where it comes from is no browser; it has the token.
    let taken: [&[(&str, &str)]; 3] = [
        &[],
        &[("origin", "http://localhost:8787")],
        &[("sec-fetch-site", "same-origin"), ("origin", "null")],
    ];
    for headers in taken {
        let answer = alice
            .post_raw(&stand, target, &[("form_token", &own)], headers)
            .await;
        assert_eq!(location(&answer), "/users/alice?done=code", "{headers:?}");
    }
}

#[tokio::test]
async fn pages_carry_nothing_that_the_policy_forbids_and_nothing_from_elsewhere() {
    let stand = stand().await;
    let mut jar = Jar::signed_in(
        &stand,
        &[
            "admin:write",
            "account:user:alice",
            "account:provider:alice",
        ],
    )
    .await;
    for route in page_routes()
        .iter()
        .filter(|route| route.method == Method::GET)
    {
        let answer = jar.get(&stand, &path(route)).await;
        if answer.status == 303 {
            continue;
        }
        let (page, name) = (text(&answer), route.path);
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        // A file to download is no page: it may load nothing at all.
        let kind = answer.headers[header::CONTENT_TYPE].to_str().unwrap();
        if !kind.starts_with("text/html") {
            assert_eq!(
                policy, "default-src 'none'; frame-ancestors 'none'",
                "{name}"
            );
            continue;
        }
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{policy}"
        );
        for part in [
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{name}");
        assert_eq!(
            answer.headers[header::X_CONTENT_TYPE_OPTIONS],
            "nosniff",
            "{name}"
        );
        for forbidden in [
            "style=",
            "<style",
            "onclick=",
            "onload=",
            "javascript:",
            "http://",
            "https://",
        ] {
            assert!(!page.contains(forbidden), "{name} has {forbidden}: {page}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!(
            scripts,
            page.matches("<script defer src=\"/assets/").count(),
            "{name}"
        );
        // Every form that changes something carries its token.
        let forms = page.matches("method=\"post\"").count();
        assert_eq!(forms, page.matches("name=\"form_token\"").count(), "{name}");
    }
}

#[tokio::test]
async fn assets_are_kept_for_good_under_their_content() {
    let stand = stand().await;
    let mut jar = Jar::default();
    let page = text(&jar.get(&stand, "/signin").await);
    let assets: Vec<&str> = page
        .split('"')
        .filter(|part| part.starts_with("/assets/"))
        .collect();
    assert_eq!(assets.len(), 4, "{assets:?}");
    for path in assets {
        let answer = jar.get(&stand, path).await;
        assert_eq!(answer.status, 200, "{path}");
        let kept = answer.headers[header::CACHE_CONTROL].to_str().unwrap();
        assert!(kept.contains("immutable"), "{kept}");
        let name = path.rsplit('/').next().unwrap();
        let stale = format!("/assets/0000000000000000/{name}");
        assert_eq!(jar.get(&stand, &stale).await.status, 404);
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_page_for_people_and_a_problem_for_programs() {
    let stand = stand().await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let answer = jar.get(&stand, "/nothing").await;
    assert_eq!(answer.status, 404);
    assert!(text(&answer).contains("There is no such page"));
    let answer = jar.get(&stand, "/api/nothing").await;
    assert_eq!(answer.code(), (404, "not_found".to_owned()));
    let answer = jar.get(&stand, "/users/alice?month=yesterday").await;
    assert_eq!(answer.status, 400);
    assert!(text(&answer).contains("This cannot be done"));
    let mut eve = Jar::signed_in(&stand, &["account:user:eve"]).await;
    let answer = eve.get(&stand, "/users/alice").await;
    assert_eq!(answer.status, 403);
    assert!(text(&answer).contains("This page is not yours"));
}
