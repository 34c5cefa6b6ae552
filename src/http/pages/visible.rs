//! Characters that nobody sees, or that turn the order of others, made visible: an account must not
//! look like another one.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::domain::ids::is_invisible;

/// A page in which every such character is written out as `\u{202e}`, wherever a text shows it.
/// Inside of tags (values of fields, addresses) it stays what it is, as a character reference:
/// there it is not seen but sent.
pub(super) fn shown(page: &str) -> Cow<'_, str> {
    if page.is_ascii() || !page.chars().any(is_invisible) {
        return Cow::Borrowed(page);
    }
    let mut shown = String::with_capacity(page.len() + 64);
    let mut is_in_tag = false;
    for c in page.chars() {
        match c {
            // Everywhere else these two are escaped.
            '<' => is_in_tag = true,
            '>' => is_in_tag = false,
            _ => (),
        }
        // Writing to a String cannot fail.
        let _ = match (is_invisible(c), is_in_tag) {
            (false, _) => shown.write_char(c),
            (true, false) => write!(shown, "\\u{{{:x}}}", u32::from(c)),
            (true, true) => write!(shown, "&#x{:x};", u32::from(c)),
        };
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_nobody_sees_is_written_out_in_texts_and_kept_in_values() {
        for (page, expected) in [
            ("<p>anna</p>", "<p>anna</p>"),
            ("<p>änna</p>", "<p>änna</p>"),
            ("<p>an\u{200b}na</p>", "<p>an\\u{200b}na</p>"),
            ("<p>\u{202e}anna</p>", "<p>\\u{202e}anna</p>"),
            (
                "<input value=\"an\u{200b}na\">\u{feff}",
                "<input value=\"an&#x200b;na\">\\u{feff}",
            ),
        ] {
            assert_eq!(shown(page), expected);
        }
    }
}
