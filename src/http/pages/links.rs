//! Links that sign somebody in once: what `up` prints, so that nobody has to copy a key. They live
//! in the memory of the process that made them; what stands in a link is worth nothing after its
//! first use, and nothing after a day.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};

use crate::domain::access::Scope;
use crate::domain::time::{DAY_MS, Millis};

/// Most links that wait to be used.
const LINKS_MAX: usize = 1_000;

/// What a link signs in with.
#[derive(Clone)]
pub(super) struct Link {
    /// The API key.
    pub bearer: String,
    /// What of its rights the session gets; `None`: all.
    pub only: Option<Scope>,
    until: Millis,
}

/// Links that have not been used, by the hash of their tokens.
#[derive(Default)]
pub(super) struct Links(Mutex<HashMap<Vec<u8>, Link>>);

fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

impl Links {
    /// A new link's token.
    pub fn make(&self, bearer: &str, only: Option<Scope>, now: Millis) -> String {
        let token = BASE64.encode(rand::random::<[u8; 32]>());
        let mut links = self.lock();
        links.retain(|_, link| now < link.until);
        if links.len() < LINKS_MAX {
            let link = Link {
                bearer: bearer.to_owned(),
                only,
                until: now.plus(DAY_MS),
            };
            links.insert(hash(&token), link);
        }
        token
    }

    /// What a token would sign in as.
    pub fn look(&self, token: &str, now: Millis) -> Option<Link> {
        let link = self.lock().get(&hash(token)).cloned();
        link.filter(|link| now < link.until)
    }

    /// Uses a link up.
    pub fn take(&self, token: &str, now: Millis) -> Option<Link> {
        let link = self.lock().remove(&hash(token));
        link.filter(|link| now < link.until)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Link>> {
        // A panic elsewhere leaves it whole: each change of it is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
