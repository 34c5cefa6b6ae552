//! Where the values of a JSON text begin and end, also in a text that is not JSON everywhere.
//!
//! A strict parser refuses a batch for one broken item: Python's `json` writes `NaN` and
//! `Infinity`, and some senders cut texts in the middle of an escape. These functions look only at
//! quotes, brackets and commas. What they cut out is then parsed strictly, item by item, so that a
//! broken item costs itself only.
//!
//! Nothing inside a string is ever taken for structure: text that a client wrote into a prompt
//! cannot become an item. So where a closing quote is missing, the rest of the array is one broken
//! item.

use std::borrow::Cow;
use std::convert::Infallible;

use smallvec::SmallVec;

/// The text without the byte order mark that some systems write in front of it.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text).trim_start()
}

/// The text with an empty object in place of every number that JSON does not have, at the same
/// offsets. Where a number is needed, an object is refused; everywhere else it does not matter.
pub(super) fn without_bare_numbers(text: &str) -> Cow<'_, str> {
    const WORDS: [(&str, &str); 3] = [
        ("-Infinity", "{}       "),
        ("Infinity", "{}      "),
        ("NaN", "{} "),
    ];
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with('"') {
            let end = string_end(text, at);
            out.push_str(&text[at..end]);
            at = end;
        } else if let Some((word, with)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) {
            out.push_str(with);
            at += word.len();
        } else {
            let end = next_char(text, at);
            out.push_str(&text[at..end]);
            at = end;
        }
    }
    Cow::Owned(out)
}

/// Calls `visit` with each element of the array that the text begins with, as it is written, until
/// it returns an error. The result says whether the array ended as arrays do, and where.
pub(super) fn each_element<'a, E>(
    array: &'a str,
    mut visit: impl FnMut(&'a str) -> Result<(), E>,
) -> Result<Option<usize>, E> {
    debug_assert!(array.starts_with('['));
    let mut at = skip_space(array, 1);
    if array[at..].starts_with(']') {
        return Ok(Some(at + 1));
    }
    // Behind a bracket that closes nothing stands what is left of the object before it.
    let mut is_leftover = false;
    loop {
        let end = value_end(array, at);
        let element = array[at..end].trim_end();
        let is_there = !element.is_empty() || end < array.len();
        if is_there && !is_leftover && !is_member(element) {
            visit(element)?;
        }
        match array.as_bytes().get(end) {
            Some(b']') => return Ok(Some(end + 1)),
            Some(bracket) => {
                is_leftover = *bracket != b',';
                at = skip_space(array, end + 1);
            }
            None => return Ok(None),
        }
    }
}

/// Whether this is a name with its value: what is left of an object in which a wrong bracket
/// stands.
fn is_member(element: &str) -> bool {
    element.starts_with('"') && {
        let colon = skip_space(element, string_end(element, 0));
        element[colon..].starts_with(':')
    }
}

/// Calls `visit` with each of the values that the text strings together: after one another, with
/// space or a new line between them or nothing.
pub(super) fn each_value<'a>(text: &'a str, mut visit: impl FnMut(&'a str)) {
    let mut at = skip_space(text, 0);
    while at < text.len() {
        // What is not JSON ends with its line, or where an object begins.
        let end = match text.as_bytes()[at] {
            b'"' => string_end(text, at),
            b'{' | b'[' => at + 1 + inner_end(&text[at + 1..]),
            _ => at + text[at..].find(['\n', '{']).unwrap_or(text.len() - at),
        };
        visit(&text[at..end]);
        at = skip_space(text, end);
    }
}

/// Behind the bracket that closes what stands before the text.
fn inner_end(text: &str) -> usize {
    let mut at = 0;
    loop {
        at = value_end(text, at);
        match text.as_bytes().get(at) {
            Some(b',') => at += 1,
            Some(_) => return at + 1,
            None => return text.len(),
        }
    }
}

/// Calls `visit` with each name of the object that the text begins with, still quoted, and its
/// value, as they are written. A text that is no object has none.
pub(super) fn each_member<'a, E>(
    object: &'a str,
    mut visit: impl FnMut(&'a str, &'a str) -> Result<(), E>,
) -> Result<(), E> {
    if !object.starts_with('{') {
        return Ok(());
    }
    let mut at = skip_space(object, 1);
    while object[at..].starts_with('"') {
        let name_end = string_end(object, at);
        let colon = skip_space(object, name_end);
        if !object[colon..].starts_with(':') {
            return Ok(());
        }
        let begin = skip_space(object, colon + 1);
        let end = value_end(object, begin);
        visit(&object[at..name_end], object[begin..end].trim_end())?;
        if object.as_bytes().get(end) != Some(&b',') {
            return Ok(());
        }
        at = skip_space(object, end + 1);
    }
    Ok(())
}

/// The value of a member, as it is written.
pub(super) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut found = None;
    let visited: Result<(), Infallible> = each_member(object, |quoted, value| {
        if quoted.trim_matches('"') == name {
            found = Some(value);
        }
        Ok(())
    });
    visited.ok().and(found)
}

/// The brackets that close what is open. A batch may have millions of items, so few allocate.
#[derive(Default)]
struct Open {
    brackets: SmallVec<[u8; 32]>,
    /// How many of them are curly.
    objects: usize,
}

impl Open {
    fn is_empty(&self) -> bool {
        self.brackets.is_empty()
    }

    fn is_object(&self) -> bool {
        self.brackets.last() == Some(&b'}')
    }

    fn push(&mut self, bracket: u8) {
        self.objects += usize::from(bracket == b'}');
        self.brackets.push(bracket);
    }

    /// Brackets that were left open inside of one end with it. One that closes nothing is passed
    /// over.
    fn close(&mut self, bracket: u8) {
        let lists = self.brackets.len() - self.objects;
        let is_open = if bracket == b'}' {
            self.objects > 0
        } else {
            lists > 0
        };
        while is_open && let Some(last) = self.brackets.pop() {
            self.objects -= usize::from(last == b'}');
            if last == bracket {
                return;
            }
        }
    }
}

/// Where the value that begins at `at` ends: before the comma or bracket behind it, or where the
/// text ends.
fn value_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut open = Open::default();
    let mut at = at;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' if open.is_empty() => return at,
            b'}' | b']' => open.close(*byte),
            // No object goes on like this: its closing bracket is missing, and the next item
            // begins.
            b',' if open.is_object() && text[skip_space(text, at + 1)..].starts_with('{') => {
                return at;
            }
            b',' if open.is_empty() => return at,
            _ => (),
        }
        at += 1;
    }
    at
}

/// Behind the string that begins at `at`; the end of the text if its quote is missing.
fn string_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn skip_space(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
    at + (rest.len() - rest.trim_start_matches(space).len())
}

fn next_char(text: &str, at: usize) -> usize {
    let length = text[at..].chars().next().map_or(1, char::len_utf8);
    at + length
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::{each_element, each_member, without_bare_numbers};

    fn elements(text: &str) -> (Vec<&str>, bool) {
        let mut found = Vec::new();
        let end = each_element::<Infallible>(text, |element| {
            found.push(element);
            Ok(())
        });
        (found, end == Ok(Some(text.len())))
    }

    #[test]
    fn an_array_is_cut_at_its_commas() {
        for (text, expected, is_whole) in [
            ("[]", vec![], true),
            ("[ ]", vec![], true),
            ("[1]", vec!["1"], true),
            ("[ 1 , {\"a\":[1,2]} ]", vec!["1", "{\"a\":[1,2]}"], true),
            ("[\"a,b]\",\"\\\",\"]", vec!["\"a,b]\"", "\"\\\",\""], true),
            // Broken inside.
            (
                "[{\"a\":[},{\"b\":1}]",
                vec!["{\"a\":[}", "{\"b\":1}"],
                true,
            ),
            ("[{\"a\":\"\\x\"},2]", vec!["{\"a\":\"\\x\"}", "2"], true),
            ("[1,,2]", vec!["1", "", "2"], true),
            ("[{\"a\":]},2]", vec!["{\"a\":]}", "2"], true),
            (r#"[{"a":[1},"b":{}},2]"#, vec![r#"{"a":[1}"#, "2"], true),
            // A bracket is missing.
            (
                r#"[{"a":{"b":1},{"c":2}]"#,
                vec![r#"{"a":{"b":1}"#, r#"{"c":2}"#],
                true,
            ),
            // Cut off.
            ("[1,", vec!["1"], false),
            ("[1,{\"a\":", vec!["1", "{\"a\":"], false),
            // A missing quote takes the rest along: it may be a client's text.
            (
                "[{\"a\":\"x},{\"b\":\"y\"}]",
                vec!["{\"a\":\"x},{\"b\":\"y\"}]"],
                false,
            ),
            ("[", vec![], false),
            ("[\"\\", vec!["\"\\"], false),
        ] {
            assert_eq!(elements(text), (expected, is_whole), "{text}");
        }
    }

    #[test]
    fn members_are_found_beside_broken_ones() {
        let mut found = Vec::new();
        let text = "{\"a\" : 1, \"b\":[NaN}, \"c\": {\"d\":\"}\"} , \"c\":2}";
        each_member::<Infallible>(text, |name, value| {
            found.push((name, value));
            Ok(())
        })
        .expect("nothing stops it");
        // Nobody knows where a list ends that is not closed.
        let rest = &text[text.find("[NaN").expect("a list")..];
        assert_eq!(found, [("\"a\"", "1"), ("\"b\"", rest)]);
        for text in ["", "[]", "{", "{\"a\"", "{\"a\":", "{7:1}"] {
            each_member::<Infallible>(text, |_, _| Ok(())).expect("nothing stops it");
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_become_objects_outside_of_strings() {
        for (text, expected) in [
            ("[1]", "[1]"),
            ("[NaN]", "[{} ]"),
            ("[-Infinity,Infinity]", "[{}       ,{}      ]"),
            ("[\"NaN\",\"\\\"Infinity\"]", "[\"NaN\",\"\\\"Infinity\"]"),
            ("\"ä\",NaN,\"ö", "\"ä\",{} ,\"ö"),
            ("ä NaN", "ä {} "),
        ] {
            assert_eq!(without_bare_numbers(text), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_cut(text in "[\\[\\]{}\",:\\\\1aäN ]{0,40}") {
            let array = format!("[{text}");
            let (found, _) = elements(&array);
            prop_assert!(found.iter().map(|element| element.len()).sum::<usize>() <= array.len());
            each_member::<Infallible>(&format!("{{{text}"), |_, _| Ok(())).expect("nothing stops it");
            prop_assert_eq!(without_bare_numbers(&array).len(), array.len());
        }

        #[test]
        fn json_is_cut_as_a_parser_cuts_it(values in prop::collection::vec("[a-z\",\\[{\\\\]{0,9}", 0..6)) {
            let text = serde_json::to_string(&[&values, &values]).expect("JSON");
            let parsed: Vec<&serde_json::value::RawValue> = serde_json::from_str(&text).expect("JSON");
            let parsed: Vec<&str> = parsed.iter().map(|raw| raw.get()).collect();
            prop_assert_eq!(elements(&text), (parsed, true));
        }
    }
}
