//! The fields of one log entry, read one by one: what a gateway writes for "unknown" is unknown,
//! and what cannot be read is refused by its name.

use std::borrow::Cow;
use std::convert::Infallible;

use super::decimal::Decimal;
use super::json::{BROKEN_BYTE, Object, SCALAR_BYTES_MAX, Scalar, Unreadable};
use super::outcome::Refusal;
use super::session::{self, Session};
use super::structure::each_element;
use super::unknown::says_nothing;
use crate::domain::event::Reason;
use crate::domain::ids::check_id;
use crate::domain::time::Millis;

/// The last instant of the year 9999, ms.
const TIME_MS_MAX: i64 = 253_402_300_799_999;

const _: () = assert!(SCALAR_BYTES_MAX == 64 * 1024);
const TOO_LONG: &str = "is longer than 64 KiB";

/// How a gateway writes instants. Numbers count from 1970, and may be texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateways) enum Instant {
    /// RFC 3339, with an offset.
    Rfc3339,
    /// Seconds, with decimals.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Nanoseconds.
    Nanos,
}

impl Instant {
    const fn wanted(self) -> &'static str {
        match self {
            Instant::Rfc3339 => "RFC 3339 with an offset",
            Instant::Seconds => "seconds since 1970",
            Instant::Millis => "milliseconds since 1970",
            Instant::Nanos => "nanoseconds since 1970",
        }
    }

    /// Exactly, rounded down to the millisecond.
    fn read(self, value: &Scalar<'_>) -> Option<i64> {
        let shift = match self {
            Instant::Rfc3339 => match value {
                Scalar::Text(text) => return text.parse().ok().map(|Millis(millis)| millis),
                _ => return None,
            },
            Instant::Seconds => 3,
            Instant::Millis => 0,
            Instant::Nanos => -6,
        };
        let number = match value {
            Scalar::Text(text) => Decimal::parse_times(text, shift),
            Scalar::Number(text) => Decimal::parse_times(text, shift),
            _ => None,
        };
        number.map(Decimal::floor)
    }
}

/// An entry's fields. Paths as [`Object::at`] takes them.
pub(in crate::gateways) struct Fields<'a> {
    /// The entry.
    pub object: Object<'a>,
    /// Texts by which this gateway says that it knows nothing, besides those of every gateway.
    pub unset: &'static [&'static str],
    /// The record was no UTF-8, so that a text with a [`BROKEN_BYTE`] is not what the gateway
    /// wrote.
    pub is_repaired: bool,
}

impl<'a> Fields<'a> {
    /// The value at a path; `None` where the gateway knows nothing.
    pub fn at(&self, path: &str) -> Result<Option<Scalar<'a>>, Refusal> {
        let value = self.object.at(path).map_err(|unreadable| {
            let (reason, problem) = match unreadable {
                Unreadable::Twice => (Reason::Malformed, "is in the entry more than once"),
                Unreadable::Broken => (Reason::Malformed, "is a broken text"),
                Unreadable::TooManyFields => (
                    Reason::TooLarge,
                    "cannot be looked up: the object has too many fields",
                ),
                Unreadable::TooLong => (Reason::TooLarge, TOO_LONG),
            };
            Refusal::new(reason, path, problem)
        })?;
        match value {
            Some(Scalar::Text(text)) if says_nothing(&text) || self.unset.contains(&&*text) => {
                Ok(None)
            }
            Some(Scalar::Text(text)) if self.is_repaired && text.contains(BROKEN_BYTE) => {
                Err(Refusal::new(Reason::Malformed, path, "is not UTF-8"))
            }
            value => Ok(value),
        }
    }

    /// The first of the paths that has a text, and that path; without any, all of them.
    pub fn first<P: AsRef<str>>(
        &self,
        paths: &[P],
    ) -> Result<(String, Option<Cow<'a, str>>), Refusal> {
        for path in paths {
            let path = path.as_ref();
            if let Some(value) = self.at(path)? {
                return Ok((path.to_owned(), Some(text(path, value)?)));
            }
        }
        let all: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
        Ok((all.join(" or "), None))
    }

    /// The user: the first of the paths whose text can be an account's id. A session's blob, as
    /// some clients write it, names a person only if no other place does. `None`: no place has
    /// anything.
    pub fn user<P: AsRef<str>>(&self, paths: &[P]) -> Result<Option<Cow<'a, str>>, Refusal> {
        let mut of_session = None;
        let mut refusal = None;
        for path in paths {
            let path = path.as_ref();
            match self.text(path) {
                Ok(Some(text)) => match session::classify(&text) {
                    Session::Of(person) if check_id(&person).is_ok() => {
                        of_session = of_session.or(Some(person));
                    }
                    Session::Of(_) | Session::Anonymous => (),
                    Session::No if check_id(&text).is_ok() => return Ok(Some(text)),
                    Session::No => {
                        let problem = "cannot be the id of an account";
                        refusal = refusal.or(Some(Refusal::new(Reason::InvalidId, path, problem)));
                    }
                },
                Ok(None) => (),
                Err(wrong) => refusal = refusal.or(Some(wrong)),
            }
        }
        match (of_session, refusal) {
            (Some(person), _) => Ok(Some(Cow::Owned(person))),
            (None, Some(refusal)) => Err(refusal),
            (None, None) => Ok(None),
        }
    }

    /// An instant from 1970 to 9999.
    pub fn instant(&self, path: &str, written: Instant) -> Result<Option<Millis>, Refusal> {
        let Some(value) = self.at(path)? else {
            return Ok(None);
        };
        let read = written.read(&value);
        let instant = read.filter(|millis| (0..=TIME_MS_MAX).contains(millis));
        instant.map(|millis| Some(Millis(millis))).ok_or_else(|| {
            let problem = format!("is not a time in {}", written.wanted());
            Refusal::new(Reason::InvalidTime, path, &problem)
        })
    }

    /// Microseconds since 1970, of an instant in seconds.
    pub fn micros(&self, path: &str) -> Option<i64> {
        let number = match self.at(path).ok()?? {
            Scalar::Text(text) => Decimal::parse_times(&text, 6),
            Scalar::Number(text) => Decimal::parse_times(text, 6),
            _ => None,
        };
        number.map(Decimal::floor)
    }

    /// A text, or a whole number as one.
    pub fn text(&self, path: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.at(path)?.map(|value| text(path, value)).transpose()
    }

    /// Whole, and not below zero: this is charged for.
    pub fn count(&self, path: &str) -> Result<Option<u64>, Refusal> {
        let Some(number) = self.number(path)? else {
            return Ok(None);
        };
        if number.has_fraction {
            return Err(Refusal::new(
                Reason::WrongType,
                path,
                "is not a whole number",
            ));
        }
        if number.is_negative {
            return Err(Refusal::new(Reason::OutOfRange, path, "is below zero"));
        }
        Ok(Some(number.whole))
    }

    /// Seconds with decimals, as milliseconds: rounded down; unknown where it is below zero or not
    /// a number, because no count depends on the rest of the item.
    pub fn seconds(&self, path: &str) -> Option<u64> {
        let number = match self.at(path).ok()?? {
            Scalar::Text(text) => Decimal::parse_times(&text, 3),
            Scalar::Number(text) => Decimal::parse_times(text, 3),
            _ => None,
        };
        number
            .filter(|number| !number.is_negative)
            .map(|number| number.whole)
    }

    /// How many elements the array at a path has; `None` if there is no array.
    pub fn elements(&self, path: &str) -> Option<u64> {
        let raw = self.object.raw(path).ok().flatten()?.get();
        if !raw.starts_with('[') {
            return None;
        }
        let mut count = 0;
        let ended: Result<Option<usize>, Infallible> = each_element(raw, |_| {
            count += 1;
            Ok(())
        });
        ended.ok().flatten().map(|_| count)
    }

    /// The text at a path in the first element of an array.
    pub fn first_of(&self, array: &str, path: &str) -> Option<String> {
        let raw = self.object.raw(array).ok().flatten()?.get();
        if !raw.starts_with('[') {
            return None;
        }
        let mut first = None;
        // It stops at the first element.
        let _: Result<Option<usize>, ()> = each_element(raw, |element| {
            first = Some(element);
            Err(())
        });
        match Object::parse(first?)?.at(path) {
            Ok(Some(Scalar::Text(text))) => Some(text.into_owned()),
            _ => None,
        }
    }

    /// A time or a size: rounded down; unknown where it is below zero, as it is when a clock was
    /// set back meanwhile.
    pub fn measure(&self, path: &str) -> Result<Option<u64>, Refusal> {
        let number = self.number(path)?;
        Ok(number
            .filter(|number| !number.is_negative)
            .map(|number| number.whole))
    }

    pub fn number(&self, path: &str) -> Result<Option<Decimal>, Refusal> {
        let parsed = match self.at(path)? {
            None => return Ok(None),
            Some(Scalar::Number(text)) => Decimal::parse(text),
            Some(Scalar::Text(text)) => Decimal::parse(&text),
            Some(_) => None,
        };
        let refusal = || Refusal::new(Reason::WrongType, path, "is not a number");
        parsed.map(Some).ok_or_else(refusal)
    }
}

/// A field that must be there is not.
pub(in crate::gateways) fn missing(path: &str) -> Refusal {
    Refusal::new(Reason::MissingField, path, "is missing")
}

/// A text, or a whole number as it was written: some systems number their users.
fn text<'a>(path: &str, value: Scalar<'a>) -> Result<Cow<'a, str>, Refusal> {
    match value {
        Scalar::Text(text) => Ok(text),
        Scalar::Number(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Cow::Borrowed(number))
        }
        _ => Err(Refusal::new(
            Reason::WrongType,
            path,
            "is neither a text nor a whole number",
        )),
    }
}

/// The path alone.
pub(in crate::gateways) fn without_query(path: Cow<'_, str>) -> Cow<'_, str> {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(&path[..end]),
        Cow::Owned(mut path) => {
            path.truncate(end);
            Cow::Owned(path)
        }
    }
}
