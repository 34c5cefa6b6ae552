//! The fields of a form, read exactly: what could mean two things, or is no text, is refused.

use std::collections::HashMap;

use axum::http::StatusCode;
use percent_encoding::percent_decode;

use crate::http::problem::Problem;

fn unreadable(status: StatusCode, why: &str) -> Problem {
    Problem::new(status, "unreadable_form", why)
}

/// Most fields of a form; the largest of ours has some twenty.
const FIELDS_MAX: usize = 256;

/// A form that is larger than its page needs.
pub(super) fn too_large(bytes_max: usize) -> Problem {
    let why = format!(
        "The form is larger than {} KiB. Nothing was changed.",
        bytes_max / 1024
    );
    unreadable(StatusCode::PAYLOAD_TOO_LARGE, &why)
}

/// A body that did not come whole, or is no form.
pub(super) fn unread(status: StatusCode) -> Problem {
    let why = "The form arrived incomplete or malformed. Nothing was changed. Send it again.";
    unreadable(status, why)
}

/// The fields by name.
///
/// # Errors
/// 400: a field stands twice, or is no UTF-8. Browsers send neither from pages of ours.
pub(super) fn read(bytes: &[u8]) -> Result<HashMap<String, String>, Problem> {
    // Fields end at ASCII: if the whole is UTF-8, every field is.
    if percent_decode(bytes).decode_utf8().is_err() {
        let why = "The form is not valid UTF-8. Nothing was changed.";
        return Err(unreadable(StatusCode::BAD_REQUEST, why));
    }
    let mut fields = HashMap::new();
    for (name, value) in form_urlencoded::parse(bytes).into_owned() {
        if fields.len() == FIELDS_MAX {
            let why = "The form has too many fields. Nothing was changed.";
            return Err(unreadable(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        if fields.insert(name, value).is_some() {
            let why = "A field was sent twice, so its value is ambiguous. Nothing was changed.";
            return Err(unreadable(StatusCode::BAD_REQUEST, why));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_a_browser_sends_is_read_and_what_could_mean_two_things_is_refused() {
        let fields = read(b"a=1+2%2B&b=%C3%BC%3D=&c&&d=").unwrap();
        for (name, value) in [("a", "1 2+"), ("b", "\u{fc}=="), ("c", ""), ("d", "")] {
            assert_eq!(fields[name], value, "{name}");
        }
        for bad in ["a=1&a=1", "a=%FF", "%C3=1", "a=1&%61=2"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
