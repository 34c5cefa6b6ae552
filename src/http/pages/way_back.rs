//! The way to the sign-in page, and from there back to where somebody was.

use super::words::encoded;

/// The sign-in page.
pub(super) const SIGN_IN: &str = "/signin";
/// Longest way back that is remembered.
const BACK_BYTES_MAX: usize = 1_000;

/// The sign-in page that leads back to `here`.
pub(super) fn path_back_to(here: &str) -> String {
    if here == "/" || !is_of_ours(here) {
        return SIGN_IN.to_owned();
    }
    format!("{SIGN_IN}?next={}", encoded(here))
}

/// The sign-in page for who sent a form when the session had ended; it leads back to the form.
pub(super) fn path_after_a_lost_form(form: Option<&str>) -> String {
    format!("{SIGN_IN}?done=lost&next={}", encoded(form.unwrap_or("/")))
}

/// Whether a text is a path of this service: a browser must not be led elsewhere.
pub(super) fn is_of_ours(path: &str) -> bool {
    let mut bytes = path.bytes();
    bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && path.len() <= BACK_BYTES_MAX
        && path
            .bytes()
            .all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::{is_of_ours, path_back_to};

    #[test]
    fn nobody_is_led_to_another_site() {
        for path in [
            "/",
            "/users/alice",
            "/leaderboard?kind=user&month=2026-11",
            "/users/a%2Fb",
        ] {
            assert!(is_of_ours(path), "{path}");
        }
        let long = format!("/{}", "x".repeat(2_000));
        for path in [
            "",
            "users",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb",
            "/a b",
            &long,
        ] {
            assert!(!is_of_ours(path), "{path:?}");
        }
        assert_eq!(
            path_back_to("/users/a?month=2026-11"),
            "/signin?next=%2Fusers%2Fa%3Fmonth%3D2026-11"
        );
        assert_eq!(path_back_to("/"), "/signin");
    }
}
