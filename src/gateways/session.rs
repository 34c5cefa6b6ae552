//! Clients that name a session where a user is expected.
//!
//! Claude Code writes `user_<device>_account_<account>_session_<session>` into `metadata.user_id`,
//! from which gateways fill the end user, and since version 2.1.78 the JSON form of the same,
//! `{"device_id": ..., "account_uuid": ..., "session_id": ...}`. Taken as it is, every session
//! would be another user. The account is the person on every device; it is empty if the client uses
//! an API key, and then the device is the best that is known.
//!
//! Other clients put JSON objects of their own into the same field. An object is never an account
//! id: its account, user or device counts if it names one under one of the usual names.

use serde_json::Value;

use super::unknown::says_nothing;

/// What a text says about the session that it may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// It names no session.
    No,
    /// A session of this account or device.
    Of(String),
    /// A session, without a word on whose.
    Anonymous,
}

/// Names of the account in an object, in the order in which they count.
const ACCOUNTS: [&str; 6] = [
    "account_uuid",
    "account_id",
    "accountId",
    "user_id",
    "userId",
    "user",
];
const DEVICES: [&str; 2] = ["device_id", "deviceId"];

#[derive(Default)]
struct SessionParts {
    device: Option<String>,
    account: Option<String>,
}

/// Which session a text names.
pub(super) fn classify(text: &str) -> Session {
    let text = text.trim();
    let Some(named) = in_json(text).or_else(|| in_words(text)) else {
        return Session::No;
    };
    let part = |part: Option<String>| part.filter(|part| !says_nothing(part));
    match part(named.account).or(part(named.device)) {
        Some(person) => Session::Of(person),
        None => Session::Anonymous,
    }
}

fn in_json(text: &str) -> Option<SessionParts> {
    if !text.starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    let part = |name: &&str| match object.get(*name)? {
        Value::String(text) if !says_nothing(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Some(SessionParts {
        device: DEVICES.iter().find_map(part),
        account: ACCOUNTS.iter().find_map(part),
    })
}

fn in_words(text: &str) -> Option<SessionParts> {
    let (rest, _) = text.strip_prefix("user_")?.rsplit_once("_session_")?;
    // A device without an account is followed by both underscores.
    let (device, account) = rest.split_once("_account_").or_else(|| {
        let device = rest.strip_suffix("_account")?;
        Some((device, ""))
    })?;
    Some(SessionParts {
        device: Some(device.to_owned()),
        account: Some(account.trim_matches('_').to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::{Session, classify};

    #[test]
    fn a_session_names_the_same_person_whatever_its_form() {
        let of = |person: &str| Session::Of(person.to_owned());
        for (text, session) in [
            ("user_c0ffee_account_9999-88_session_1111-22", of("9999-88")),
            ("user_c0ffee_account__session_1111-22", of("c0ffee")),
            ("user__account__session_1111-22", Session::Anonymous),
            (
                r#"{"device_id":"c0ffee","account_uuid":"9999-88","session_id":"1"}"#,
                of("9999-88"),
            ),
            (
                r#"{"device_id":"c0ffee","account_uuid":"","session_id":"1"}"#,
                of("c0ffee"),
            ),
            // What stands where nothing is known is nobody's name.
            ("user_c0ffee_account_none_session_1", of("c0ffee")),
            ("user_null_account_none_session_1", Session::Anonymous),
            (
                r#"{"account_uuid":"null","user_id":"undefined","device_id":"c0ffee"}"#,
                of("c0ffee"),
            ),
            (r#"{"account_uuid":"null","user":"anna"}"#, of("anna")),
            (r#"{"session_id":"1"}"#, Session::Anonymous),
            (r#" {"device_id":7,"session_id":"1"}"#, of("7")),
            // Objects of other clients.
            (r#"{"user_id":"anna","session_id":"1"}"#, of("anna")),
            (r#"{"user":"anna","device_id":"7"}"#, of("anna")),
            (r#"{"user":{"name":"anna"}}"#, Session::Anonymous),
            (r#"{"name":"anna"}"#, Session::Anonymous),
            ("{}", Session::Anonymous),
            ("{anna}", Session::No),
            ("anna", Session::No),
            ("user_1", Session::No),
            ("user_a_session_b", Session::No),
        ] {
            assert_eq!(classify(text), session, "{text}");
        }
    }
}
