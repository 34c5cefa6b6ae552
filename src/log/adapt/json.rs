//! A JSON object whose fields are read one by one, and only those that are asked for. What nobody asks for (prompts, headers, keys)
//! is passed over as bytes: it is never decoded, and so cannot end up anywhere.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object.
pub(in crate::log) struct Object<'a>(Vec<Field<'a>>);

struct Field<'a> {
    name: Cow<'a, str>,
    raw: &'a RawValue,
    /// The value as an object, once somebody has looked into it.
    inner: OnceCell<Option<Object<'a>>>,
}

/// A value that is no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) enum Scalar<'a> {
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
pub(in crate::log) enum Unreadable {
    /// It stands there twice.
    Twice,
    /// It is a broken text.
    Broken,
}

impl<'a> Object<'a> {
    /// The object that `raw` writes; `None`: it writes something else.
    pub fn parse(raw: &'a RawValue) -> Option<Object<'a>> {
        serde_json::from_str(raw.get()).ok()
    }

    /// An object of such fields: what other forms than a JSON object write as one.
    pub fn of(fields: impl IntoIterator<Item = (Cow<'a, str>, &'a RawValue)>) -> Object<'a> {
        let field = |(name, raw)| Field {
            name,
            raw,
            inner: OnceCell::new(),
        };
        Object(fields.into_iter().map(field).collect())
    }

    /// The value at a path of names joined by dots; `None`: there is none, or it is null. A field whose own name has dots is found under it
    /// (Envoy writes `gen_ai.usage.input_tokens` as one name); the longest name counts first.
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
        let mut found = self.0.iter().filter(|field| field.name == name);
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
                .then(|| Object::parse(self.raw))
                .flatten()
        };
        self.inner.get_or_init(parse).as_ref()
    }
}

fn scalar(raw: &RawValue) -> Result<Option<Scalar<'_>>, Unreadable> {
    let text = raw.get();
    Ok(Some(match text.as_bytes().first() {
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
        deserializer.deserialize_map(Fields).map(Object)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<Field<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Field<'de>>, A::Error> {
        let mut fields = Vec::new();
        while let Some((Text(name), raw)) = map.next_entry()? {
            fields.push(Field {
                name,
                raw,
                inner: OnceCell::new(),
            });
        }
        Ok(fields)
    }
}
