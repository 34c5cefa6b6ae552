//! What a session's cookie holds, and who can read it.
//!
//! A cookie is the API key or token that was signed in with, sealed (ChaCha20-Poly1305) under a
//! secret that all processes of an installation share. So any of them opens it, none of them keeps
//! anything; and on every request the key or token is asked about as on requests of the API: a key
//! that was revoked ends its sessions within seconds, a token ends them when it expires.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::domain::access::Scope;
use crate::domain::time::Millis;
use crate::store::secrets::SECRET_BYTES;

/// Longest key or token that fits a cookie: browsers take 4,096 bytes with its name and attributes.
pub(super) const BEARER_BYTES_MAX: usize = 2_700;
/// What is sealed belongs to this purpose and form.
const PURPOSE: &[u8] = b"tidemark session 1";

/// What somebody signed in with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The API key or token.
    pub bearer: String,
    /// Set: the session may do this alone, although the key may do more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub only: Option<Scope>,
    /// When it ends, whatever the key does.
    pub until: Millis,
}

/// Seals and opens sessions, and makes the tokens of forms.
pub(super) struct Seal {
    cookies: LessSafeKey,
    forms: hmac::Key,
}

impl Seal {
    /// Two keys from the secret: what one signs is of no use to the other.
    pub fn new(secret: &[u8; SECRET_BYTES]) -> Seal {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let key = |purpose: &[u8]| hmac::sign(&root, purpose);
        let cookies = UnboundKey::new(&CHACHA20_POLY1305, key(b"cookies").as_ref());
        Seal {
            cookies: LessSafeKey::new(cookies.expect("a SHA-256 has the 32 bytes of a key")),
            forms: hmac::Key::new(hmac::HMAC_SHA256, key(b"forms").as_ref()),
        }
    }

    /// The value of a cookie.
    pub fn seal(&self, session: &Session) -> String {
        // The generator of `rand::random` is a cryptographic one. Of 2^32 sessions no two should
        // have the same.
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = serde_json::to_vec(session).expect("texts and a number always serialise");
        self.cookies
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(PURPOSE),
                &mut sealed,
            )
            .expect("a session is shorter than what one nonce can seal");
        BASE64.encode([&nonce[..], &sealed].concat())
    }

    /// The session of a cookie; `None` if it is not one of ours, was changed, or has ended.
    pub fn open(&self, cookie: &str, now: Millis) -> Option<Session> {
        let bytes = BASE64.decode(cookie).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .cookies
            .open_in_place(nonce, Aad::from(PURPOSE), &mut sealed)
            .ok()?;
        let session: Session = serde_json::from_slice(plain).ok()?;
        (now < session.until).then_some(session)
    }

    /// The token that forms carry which are shown to the holder of this cookie.
    pub fn form_token(&self, cookie: &str) -> String {
        BASE64.encode(hmac::sign(&self.forms, cookie.as_bytes()))
    }

    /// Whether a form was shown to the holder of this cookie. Takes the same time wherever a wrong
    /// token differs.
    pub fn is_form_token(&self, cookie: &str, token: &str) -> bool {
        let tag = BASE64.decode(token).unwrap_or_default();
        hmac::verify(&self.forms, cookie.as_bytes(), &tag).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{BEARER_BYTES_MAX, Seal, Session};
    use crate::domain::time::Millis;

    fn session(bearer: &str) -> Session {
        Session {
            bearer: bearer.to_owned(),
            only: Some("account:user:alice".parse().unwrap()),
            until: Millis(1_000),
        }
    }

    #[test]
    fn a_cookie_opens_under_its_own_secret_until_it_ends_and_only_unchanged() {
        let (seal, other) = (Seal::new(&[1; 32]), Seal::new(&[2; 32]));
        let cookie = seal.seal(&session("tmk_x"));
        assert!(seal.open(&cookie, Millis(999)) == Some(session("tmk_x")));
        assert!(seal.open(&cookie, Millis(1_000)).is_none());
        assert!(other.open(&cookie, Millis(0)).is_none());
        for at in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character may hold bits that stand for nothing, which base64 refuses to
            // ignore.
            assert!(seal.open(&changed, Millis(0)).is_none(), "{at}");
        }
        for bad in ["", "a", "=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(seal.open(bad, Millis(0)).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_form_token_belongs_to_one_cookie_and_one_secret() {
        let (seal, other) = (Seal::new(&[1; 32]), Seal::new(&[2; 32]));
        let token = seal.form_token("cookie");
        assert!(seal.is_form_token("cookie", &token));
        assert!(!seal.is_form_token("cookies", &token));
        assert!(!other.is_form_token("cookie", &token));
        for bad in ["", "x", "AAAA"] {
            assert!(!seal.is_form_token("cookie", bad), "{bad}");
        }
    }

    #[test]
    fn the_longest_bearer_fits_a_browsers_cookie() {
        let cookie = Seal::new(&[1; 32]).seal(&session(&"x".repeat(BEARER_BYTES_MAX)));
        assert!(cookie.len() < 3_900, "{}", cookie.len());
    }
}
