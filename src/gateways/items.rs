//! The items of a body, whichever way they are strung together.

use std::convert::Infallible;

use serde_json::value::RawValue;

use super::calls::{Report, Reports};
use super::claim::at;
use super::fields::Fields;
use super::json::{Object, Scalar, repaired};
use super::outcome::{Refusal, Skip};
use super::outcomes::{Outcome, Outcomes};
use super::structure::{each_element, member, without_bare_numbers, without_mark};
use super::{BodyError, ITEMS_MAX, Refused};
use crate::domain::event::Reason;

/// How the items of one format are read.
pub(super) struct ItemReader<F> {
    /// What the body should be, for who sent something else.
    pub wanted: &'static str,
    /// Texts by which this gateway says that it knows nothing.
    pub unset: &'static [&'static str],
    /// Where the pages of the gateway's API have their lists of items, by paths.
    pub lists: &'static [&'static str],
    /// What an item says, by its fields and its place; or why it says nothing.
    pub item: F,
}

impl<F: Fn(&Fields<'_>, usize) -> Result<Report, Skip>> ItemReader<F> {
    /// An array of items, one item, several in a row, or one per line: by what the body looks like,
    /// since no sender says. An item that is not JSON costs only itself.
    ///
    /// # Errors
    /// Nothing in the body can be read, or it has too many items.
    pub fn read(&self, body: &[u8]) -> Result<Outcomes, BodyError> {
        let (text, is_repaired) = repaired(body);
        let text = without_bare_numbers(&text);
        let text = without_mark(text.trim());
        let mut reading = Reading {
            reader: self,
            is_repaired,
            is_array: text.starts_with('['),
            items: 0,
            readable: 0,
            reports: Reports::default(),
            outcomes: Outcomes::default(),
        };
        if reading.is_array && !is_array_a_line(text) {
            let end = each_element(text, |item| reading.item(item))?;
            // What stands behind an array is nothing that can be cut into items.
            if end.is_some_and(|end| end < text.len()) {
                reading.item(&text[end.unwrap_or_default()..])?;
            }
        } else if let Some(list) = self.list_of_page(text) {
            reading.is_array = true;
            each_element(list, |item| reading.item(item))?;
        } else if let Some(is_empty) = self.is_empty_page(text) {
            reading.is_array = is_empty;
        } else if let Some(values) = values_in_a_row(text) {
            values.into_iter().try_for_each(|item| reading.item(item))?;
        } else {
            let mut lines = text.lines().map(str::trim);
            lines.try_for_each(|line| match line.bytes().next() {
                None => Ok(()),
                Some(b'[') => each_element(line, |item| reading.item(item)).map(drop),
                Some(_) => reading.item(line),
            })?;
        }
        reading.finish()
    }

    /// Of an answer of the gateway's own API that has no list: whether it is a page without items
    /// (Go writes null), and not what went wrong, such as an answer to a key that has expired.
    fn is_empty_page(&self, text: &str) -> Option<bool> {
        let page = Object::parse(text).filter(|_| !self.lists.is_empty())?;
        let is_item = ITEM.iter().any(|name| page.at(name) != Ok(None));
        let is_null = || self.lists.iter().any(|path| is_null_at(text, path));
        match (page.at("success"), page.at("code")) {
            _ if is_item => None,
            (Ok(None), Ok(None)) => None,
            (Ok(Some(Scalar::Bool(true))), _) => Some(is_null()),
            (Ok(None), Ok(Some(Scalar::Number("0")))) => Some(is_null()),
            _ => Some(false),
        }
    }

    /// The list of a page, as the gateway's own API answers.
    fn list_of_page<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.lists.is_empty() {
            return None;
        }
        let page = Object::parse(text)?;
        let list = |path: &&str| Some(page.raw(path).ok()??.get());
        self.lists
            .iter()
            .filter_map(list)
            .find(|list| list.starts_with('['))
    }
}

/// What answers of the gateways' own APIs never have beside `success` or `code`.
const ITEM: [&str; 2] = ["id", "created_at"];

/// Whether an object says null at a path. One that does not have it says nothing.
fn is_null_at(object: &str, path: &str) -> bool {
    match path.split_once('.') {
        None => member(object, path) == Some("null"),
        Some((name, rest)) => member(object, name).is_some_and(|inner| is_null_at(inner, rest)),
    }
}

/// Whether the first line is an array of its own, and there are more lines.
fn is_array_a_line(text: &str) -> bool {
    let Some((line, _)) = text.split_once('\n') else {
        return false;
    };
    let line = line.trim_end();
    let end = each_element::<Infallible>(line, |_| Ok(()));
    end == Ok(Some(line.len()))
}

/// One value, or several in a row whatever is between them, as programs print them that write no
/// lines; `None`: something in it is not JSON.
fn values_in_a_row(text: &str) -> Option<Vec<&str>> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let mut found = Vec::new();
    for value in values {
        let value = value.ok()?.get();
        // Longer rows are read as lines, which counts while it reads.
        if found.len() == ITEMS_MAX || value.starts_with('[') {
            return None;
        }
        found.push(value);
    }
    Some(found).filter(|found| !found.is_empty())
}

struct Reading<'r, F> {
    reader: &'r ItemReader<F>,
    is_repaired: bool,
    is_array: bool,
    items: usize,
    /// Items that are JSON objects, or null.
    readable: usize,
    reports: Reports,
    outcomes: Outcomes,
}

impl<F: Fn(&Fields<'_>, usize) -> Result<Report, Skip>> Reading<'_, F> {
    fn item(&mut self, text: &str) -> Result<(), BodyError> {
        let index = self.items;
        self.items += 1;
        if text == "null" {
            self.outcomes.skip(Skip::Empty);
            return Ok(());
        }
        let Some(object) = Object::parse(text) else {
            return self.outcomes.keep(index, no_object(index));
        };
        self.readable += 1;
        let fields = Fields {
            object,
            unset: self.reader.unset,
            is_repaired: self.is_repaired,
        };
        match (self.reader.item)(&fields, index) {
            Ok(report) => self.reports.push(report),
            Err(skip) => {
                self.outcomes.skip(skip);
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Result<Outcomes, BodyError> {
        let is_all_null = self.outcomes.kept.is_empty() && self.is_array;
        if self.readable == 0 && !is_all_null {
            return Err(BodyError::Unreadable {
                wanted: self.reader.wanted,
            });
        }
        self.reports.finish(&mut self.outcomes)?;
        Ok(self.outcomes)
    }
}

/// The refusal of an item of which nothing can be read, not even a field.
pub(super) fn no_object(index: usize) -> Outcome {
    unreadable(index, "the item is not a JSON object")
}

/// The refusal of a part of a body that is not JSON.
pub(super) fn broken_part(index: usize) -> Outcome {
    unreadable(index, "a part of the body is cut short or broken")
}

fn unreadable(index: usize, detail: &str) -> Outcome {
    let refusal = Refusal::of_entry(Reason::Malformed, detail);
    Outcome::Refused(Refused {
        refusal: at(refusal, index),
        draft: bytes::Bytes::new(),
    })
}
