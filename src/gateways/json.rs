//! A JSON object whose fields are read one by one, and only those that are asked for. What nobody
//! asks for (prompts, headers, keys) is passed over as bytes: it is never decoded, and so cannot
//! end up anywhere.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Most fields of an object. LiteLLM's payloads have some forty; an object of more is refused, not
/// read in part: the field that was left out might be the one that names the user.
const FIELDS_MAX: usize = 4_096;
/// Longest text or number, as it is written. No field of an event is as long.
pub(in crate::gateways) const SCALAR_BYTES_MAX: usize = 64 * 1024;
/// Stands for a byte that is no UTF-8. It has the length of a byte: a body of broken bytes must not
/// grow by being looked at.
pub(in crate::gateways) const BROKEN_BYTE: char = '\u{7f}';

/// Bytes as text, in which [`BROKEN_BYTE`] stands for each that is no UTF-8; and whether there were
/// any.
pub(in crate::gateways) fn repaired(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (Cow::Borrowed(text), false);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| BROKEN_BYTE));
    }
    (Cow::Owned(text), true)
}

/// An object.
pub(in crate::gateways) struct Object<'a> {
    fields: Vec<Field<'a>>,
    /// It has more than [`FIELDS_MAX`].
    has_too_many: bool,
}

struct Field<'a> {
    name: Cow<'a, str>,
    raw: &'a RawValue,
    /// The value as an object, once somebody has looked into it.
    inner: OnceCell<Option<Object<'a>>>,
}

/// A value that is no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateways) enum Scalar<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A number as it was written.
    Number(&'a str),
    /// True or false.
    Bool(bool),
    /// An object or an array.
    Other,
}

/// A field that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateways) enum Unreadable {
    /// It stands there twice.
    Twice,
    /// It is a broken text.
    Broken,
    /// Its object has more than [`FIELDS_MAX`] fields.
    TooManyFields,
    /// It is longer than [`SCALAR_BYTES_MAX`].
    TooLong,
}

impl<'a> Object<'a> {
    /// The object that the text writes; `None`: it writes something else.
    pub fn parse(text: &'a str) -> Option<Object<'a>> {
        serde_json::from_str(text).ok()
    }

    /// An object of such fields: what other forms than a JSON object write as one.
    pub fn of(fields: impl IntoIterator<Item = (Cow<'a, str>, &'a RawValue)>) -> Object<'a> {
        let field = |(name, raw)| Field {
            name,
            raw,
            inner: OnceCell::new(),
        };
        Object {
            fields: fields.into_iter().map(field).collect(),
            has_too_many: false,
        }
    }

    /// The same object with these values in place of those that it has by their names.
    pub fn with(
        mut self,
        values: impl IntoIterator<Item = (&'static str, &'a RawValue)>,
    ) -> Object<'a> {
        for (name, raw) in values {
            if let Some(field) = self.fields.iter_mut().find(|field| field.name == name) {
                field.raw = raw;
                field.inner = OnceCell::new();
            }
        }
        self
    }

    /// The value at a path of names joined by dots; `None`: there is none, or it is null. A field
    /// whose own name has dots is found under it (Envoy writes `gen_ai.usage.input_tokens` as one
    /// name); the longest name counts first.
    pub fn at(&self, path: &str) -> Result<Option<Scalar<'a>>, Unreadable> {
        Ok(match self.raw(path)? {
            Some(raw) => scalar(raw)?,
            None => None,
        })
    }

    /// As [`Object::at`], but the bytes of the value, whatever it is.
    pub fn raw(&self, path: &str) -> Result<Option<&'a RawValue>, Unreadable> {
        if let Some(field) = self.field(path)? {
            return Ok(Some(field.raw).filter(|raw| raw.get() != "null"));
        }
        for (dot, _) in path.rmatch_indices('.') {
            let (name, rest) = (&path[..dot], &path[dot + 1..]);
            let inner = self.field(name)?.and_then(Field::inner);
            if let Some(found) = inner.map(|inner| inner.raw(rest)).transpose()?.flatten() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn field(&self, name: &str) -> Result<Option<&Field<'a>>, Unreadable> {
        if self.has_too_many {
            return Err(Unreadable::TooManyFields);
        }
        let mut found = self.fields.iter().filter(|field| field.name == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Unreadable::Twice),
            (field, None) => Ok(field),
        }
    }
}

impl<'a> Field<'a> {
    fn inner(&self) -> Option<&Object<'a>> {
        let parse = || {
            self.raw
                .get()
                .starts_with('{')
                .then(|| Object::parse(self.raw.get()))
                .flatten()
        };
        self.inner.get_or_init(parse).as_ref()
    }
}

fn scalar(raw: &RawValue) -> Result<Option<Scalar<'_>>, Unreadable> {
    let text = raw.get();
    let first = text.as_bytes().first();
    if text.len() > SCALAR_BYTES_MAX && !matches!(first, Some(b'{' | b'[')) {
        return Err(Unreadable::TooLong);
    }
    Ok(Some(match first {
        Some(b'"') => Scalar::Text(string(text)?),
        Some(b'{' | b'[') => Scalar::Other,
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        Some(b'n') | None => return Ok(None),
        Some(_) => Scalar::Number(text),
    }))
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn string(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    let Text(text) = serde_json::from_str(text).map_err(|_| Unreadable::Broken)?;
    Ok(text)
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((Text(name), raw)) = map.next_entry()? {
            if fields.len() == FIELDS_MAX {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Object {
                    fields: Vec::new(),
                    has_too_many: true,
                });
            }
            fields.push(Field {
                name,
                raw,
                inner: OnceCell::new(),
            });
        }
        Ok(Object {
            fields,
            has_too_many: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::{FIELDS_MAX, Object, SCALAR_BYTES_MAX, Unreadable, repaired};

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn an_object_of_too_many_fields_shows_none_of_them() {
        let of = |count: usize| {
            let fields: Vec<String> = (0..count).map(|n| format!("\"f{n}\":{n}")).collect();
            format!("{{{}}}", fields.join(","))
        };
        let (most, more) = (raw(&of(FIELDS_MAX)), raw(&of(FIELDS_MAX + 1)));
        assert!(
            Object::parse(most.get())
                .unwrap()
                .at("f0")
                .unwrap()
                .is_some()
        );
        let refused = Object::parse(more.get()).unwrap().at("f0");
        assert_eq!(refused, Err(Unreadable::TooManyFields));
        let nested = raw(&format!("{{\"a\":{}}}", of(FIELDS_MAX + 1)));
        let refused = Object::parse(nested.get()).unwrap().at("a.nothing");
        assert_eq!(refused, Err(Unreadable::TooManyFields));
        let broken = raw(&format!("[{}]", of(1)));
        assert!(Object::parse(broken.get()).is_none());
    }

    #[test]
    fn a_text_or_number_that_is_too_long_is_not_read() {
        let long = "1".repeat(SCALAR_BYTES_MAX);
        let object = raw(&format!("{{\"a\":\"{long}\",\"b\":{long}1,\"c\":{long}}}"));
        let object = Object::parse(object.get()).unwrap();
        assert_eq!(object.at("a"), Err(Unreadable::TooLong));
        assert_eq!(object.at("b"), Err(Unreadable::TooLong));
        assert!(object.at("c").unwrap().is_some());
    }

    #[test]
    fn broken_bytes_take_no_more_room_than_they_had() {
        let (text, is_repaired) = repaired(b"a\xff\xfe\xc3b\xe2\x82c");
        assert!(is_repaired);
        assert_eq!(text, "a\u{7f}\u{7f}\u{7f}b\u{7f}\u{7f}c");
        assert_eq!(repaired("ä".as_bytes()), ("ä".into(), false));
    }
}
