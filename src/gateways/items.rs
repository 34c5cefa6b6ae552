//! The items of a body, whichever way they are strung together.

use serde_json::value::RawValue;

use super::claim::at;
use super::{BodyError, ITEMS_MAX, Outcome, Refused};
use crate::domain::event::Reason;
use crate::gateways::fields::Fields;
use crate::gateways::json::{Object, repaired};
use crate::gateways::outcome::{Refusal, Skip};
use crate::log::json_array::{ArrayError, TooMany, elements};

/// How the items of one form are read.
pub(super) struct Items<F> {
    /// What the body should be, for who sent something else.
    pub wanted: &'static str,
    /// Texts by which this gateway says that it knows nothing.
    pub unset: &'static [&'static str],
    /// What becomes of an item, by its fields and its place.
    pub item: F,
}

impl<F: Fn(&Fields<'_>, usize) -> Outcome> Items<F> {
    /// An array of items, one item, or one a line: by what is there, since no sender says. A line that is no JSON costs only itself.
    pub fn read(&self, body: &[u8]) -> Result<Vec<Outcome>, BodyError> {
        let (text, is_repaired) = repaired(body);
        match elements(&text, ITEMS_MAX) {
            Ok(items) => {
                let one = |(index, raw)| self.one(Some(raw), index, is_repaired);
                return Ok(items.into_iter().enumerate().map(one).collect());
            }
            Err(ArrayError::Stopped(TooMany)) => return Err(BodyError::TooManyItems),
            Err(ArrayError::Json(_)) => (),
        }
        if let Ok(raw) = serde_json::from_str::<&RawValue>(&text) {
            return match raw.get().starts_with('{') {
                true => Ok(vec![self.one(Some(raw), 0, is_repaired)]),
                false => Err(self.unreadable()),
            };
        }
        self.lines(&text, is_repaired)
    }

    fn lines(&self, text: &str, is_repaired: bool) -> Result<Vec<Outcome>, BodyError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut raws: Vec<Option<&RawValue>> = Vec::new();
        for line in lines {
            if raws.len() == ITEMS_MAX {
                return Err(BodyError::TooManyItems);
            }
            raws.push(serde_json::from_str(line).ok());
        }
        if raws.iter().flatten().next().is_none() {
            return Err(self.unreadable());
        }
        let one = |(index, raw)| self.one(raw, index, is_repaired);
        Ok(raws.into_iter().enumerate().map(one).collect())
    }

    fn unreadable(&self) -> BodyError {
        BodyError::Unreadable {
            wanted: self.wanted,
        }
    }

    fn one(&self, raw: Option<&RawValue>, index: usize, is_repaired: bool) -> Outcome {
        if raw.is_some_and(|raw| raw.get() == "null") {
            return Outcome::Skipped(Skip::Empty);
        }
        match raw.and_then(Object::parse) {
            Some(object) => {
                let fields = Fields {
                    object,
                    unset: self.unset,
                    is_repaired,
                };
                (self.item)(&fields, index)
            }
            None => no_object(index),
        }
    }
}

/// The refusal of an item of which nothing can be read, not even a field.
pub(super) fn no_object(index: usize) -> Outcome {
    let refusal = Refusal::of_entry(Reason::Malformed, "the item is no JSON object");
    Outcome::Refused(Refused {
        refusal: at(refusal, index),
        draft: bytes::Bytes::new(),
    })
}
