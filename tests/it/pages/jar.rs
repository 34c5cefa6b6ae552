//! A browser as far as HTTP goes: it keeps cookies, and finds forms and their tokens in pages.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tidemark::domain::rules::Network;

use crate::http::rows::rules;
use crate::http::stand::{Answer, Stand};

/// A service with rules.
pub async fn stand() -> Stand {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    stand
}

/// Cookies of one browser.
#[derive(Clone, Default)]
pub struct Jar {
    pub cookies: BTreeMap<String, String>,
}

/// The text of an answer.
pub fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// Where an answer leads.
#[track_caller]
pub fn location(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{}", text(answer));
    answer.headers[header::LOCATION].to_str().unwrap()
}

/// The value of a field of the page's first form that has it.
#[track_caller]
pub fn field(page: &str, name: &str) -> String {
    let at = format!("name=\"{name}\" value=\"");
    let (_, rest) = page
        .split_once(&at)
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split('"').next().unwrap().to_owned()
}

/// All of these stand in the page.
#[track_caller]
pub fn has(page: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(page.contains(wanted), "no {wanted} in {page}");
    }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

impl Jar {
    /// Somebody who signed in with a key of these scopes.
    pub async fn signed_in(stand: &Stand, scopes: &[&str]) -> Jar {
        let key = stand.key(scopes).await;
        Jar::with_key(stand, &key).await
    }

    /// Somebody who signed in with this key.
    pub async fn with_key(stand: &Stand, key: &str) -> Jar {
        let mut jar = Jar::default();
        let answer = jar.sign_in(stand, key).await;
        assert_eq!(location(&answer), "/");
        assert!(jar.cookies.contains_key("tidemark"), "{:?}", jar.cookies);
        jar
    }

    pub async fn sign_in(&mut self, stand: &Stand, key: &str) -> Answer {
        let page = text(&self.get(stand, "/signin").await);
        let token = field(&page, "form_token");
        let fields = [("form_token", token.as_str()), ("next", ""), ("key", key)];
        self.post_raw(stand, "/signin", &fields, &[]).await
    }

    fn cookie_header(&self) -> String {
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    async fn send(&mut self, stand: &Stand, mut request: Request<Body>) -> Answer {
        let headers = request.headers_mut();
        headers.insert(header::HOST, "localhost:8787".parse().unwrap());
        headers.insert(header::ACCEPT, "text/html,*/*".parse().unwrap());
        if !self.cookies.is_empty() {
            headers.insert(header::COOKIE, self.cookie_header().parse().unwrap());
        }
        let answer = stand.send(request).await;
        for set in answer.headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (pair, attributes) = set.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    pub async fn get(&mut self, stand: &Stand, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).unwrap();
        self.send(stand, request).await
    }

    /// A form exactly as given.
    pub async fn post_raw(
        &mut self,
        stand: &Stand,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request =
            Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(encoded(fields))).unwrap();
        self.send(stand, request).await
    }

    /// The token of this browser's forms; every page of a signed-in visitor has one.
    pub async fn token(&mut self, stand: &Stand) -> String {
        let path = if self.cookies.contains_key("tidemark") {
            "/leaderboard"
        } else {
            "/signin"
        };
        let page = text(&self.get(stand, path).await);
        field(&page, "form_token")
    }

    /// A form, as a browser sends it that was shown it.
    pub async fn post(&mut self, stand: &Stand, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token(stand).await;
        let mut all = vec![("form_token", token.as_str())];
        all.extend(fields);
        let headers = [
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://localhost:8787"),
        ];
        self.post_raw(stand, path, &all, &headers).await
    }
}
