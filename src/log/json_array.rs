//! JSON arrays, element by element: nothing is gathered before it has been counted.
//!
//! `serde_json::from_str::<Vec<&RawValue>>` takes 16 bytes per element, while an element can be two
//! bytes of text: a small packed body grows to gigabytes. Arrays of items that may be broken are
//! cut by `gateways::structure` instead.

use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why an array was not read to its end.
#[derive(Debug)]
pub enum ArrayError<E> {
    /// The text is not one JSON array.
    Json(serde_json::Error),
    /// The visitor of the elements wanted no more of them.
    Stopped(E),
}

/// More elements than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// Calls `visit` with each element as it was written, in order, until it returns an error.
///
/// # Errors
/// The text is no array (elements before the fault were visited already), or `visit` has stopped.
fn each_element<'a, E>(
    text: &'a str,
    visit: impl FnMut(&'a RawValue) -> Result<(), E>,
) -> Result<(), ArrayError<E>> {
    let mut stopped = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let visitor = Elements {
        visit,
        stopped: &mut stopped,
    };
    let read = json.deserialize_seq(visitor).and_then(|()| json.end());
    match (read, stopped) {
        (_, Some(error)) => Err(ArrayError::Stopped(error)),
        (Err(error), None) => Err(ArrayError::Json(error)),
        (Ok(()), None) => Ok(()),
    }
}

/// The elements, of which there are at most `max`.
///
/// # Errors
/// The text is no array, or has more elements: then the rest of it was not looked at.
pub fn elements(text: &str, max: usize) -> Result<Vec<&RawValue>, ArrayError<TooMany>> {
    let mut elements = Vec::new();
    each_element(text, |element| {
        if elements.len() == max {
            return Err(TooMany);
        }
        elements.push(element);
        Ok(())
    })?;
    Ok(elements)
}

struct Elements<'s, F, E> {
    visit: F,
    stopped: &'s mut Option<E>,
}

impl<'de, F, E> Visitor<'de> for Elements<'_, F, E>
where
    F: FnMut(&'de RawValue) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            if let Err(error) = (self.visit)(element) {
                *self.stopped = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ArrayError, TooMany, elements};

    #[test]
    fn elements_are_counted_while_they_are_read() {
        let texts = |text, max| {
            let elements = elements(text, max);
            elements.map(|all| all.iter().map(|raw| raw.get()).collect::<Vec<_>>())
        };
        assert_eq!(texts(" [ 1, {\"a\": [2]} ,\"b\" ] ", 3).unwrap().len(), 3);
        assert_eq!(texts("[]", 0).unwrap(), Vec::<&str>::new());
        // What follows the last element that is allowed is not looked at.
        let stopped = texts("[1,2,3, no JSON", 2).unwrap_err();
        assert!(matches!(stopped, ArrayError::Stopped(TooMany)));
        for text in ["", "{}", "[1", "[1] 2", "[1,]", "null"] {
            let error = texts(text, 9).unwrap_err();
            assert!(matches!(error, ArrayError::Json(_)), "{text}");
        }
    }
}
