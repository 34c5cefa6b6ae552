//! Cookies: how they are set and read.

use axum::http::{HeaderMap, header};

use crate::domain::time::Millis;

/// How cookies are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookies {
    /// Browsers keep them from plain HTTP, and from other names of the domain. Not on this
    /// machine's own addresses, where some browsers would take none.
    pub secure: bool,
}

impl Cookies {
    /// The name of the session's cookie.
    pub const fn session(self) -> &'static str {
        if self.secure {
            "__Host-tidemark"
        } else {
            "tidemark"
        }
    }

    /// The name of the cookie of those who are not signed in.
    pub const fn guest(self) -> &'static str {
        if self.secure {
            "__Host-tidemark-guest"
        } else {
            "tidemark-guest"
        }
    }

    /// The header that sets one.
    pub fn set(self, name: &str, value: &str, secs: i64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Strict{secure}")
    }

    /// The header that sets the session's.
    pub fn set_session(self, sealed: &str, until: Millis, now: Millis) -> String {
        let secs = (until.0 - now.0).max(0) / 1_000;
        self.set(self.session(), sealed, secs)
    }

    /// The header that ends the session.
    pub fn end_session(self) -> String {
        self.set(self.session(), "", 0)
    }
}

/// A cookie of the request.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let pairs = all.filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}
