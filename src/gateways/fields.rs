//! The fields of one log entry, read one by one: what a gateway writes for "unknown" is unknown, and what cannot be read is refused by its name.

use std::borrow::Cow;

use super::decimal::Decimal;
use super::json::{BROKEN_BYTE, Object, SCALAR_BYTES_MAX, Scalar, Unreadable};
use super::outcome::Refusal;
use crate::domain::event::Reason;
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
    /// Texts by which this gateway says that it knows nothing, besides the empty one.
    pub unset: &'static [&'static str],
    /// The record was no UTF-8, so that a text with a [`BROKEN_BYTE`] is not what the gateway wrote.
    pub is_repaired: bool,
}

/// Token counts in the sense of the canonical event: input holds the cached ones.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::gateways) struct Tokens {
    /// Input.
    pub input: Option<u64>,
    /// Output.
    pub output: Option<u64>,
    /// How many of the input came from a cache.
    pub cached: Option<u64>,
}

impl Tokens {
    /// What a gateway says. Every inference has input: a gateway that says 0 means that it was told nothing. That is unknown, which is not the same
    /// as free.
    pub fn told(input: Option<u64>, output: Option<u64>, cached: Option<u64>) -> Tokens {
        let input = input.filter(|input| *input > 0);
        match input {
            Some(_) => Tokens {
                input,
                output,
                cached,
            },
            None => Tokens {
                output: output.filter(|output| *output > 0),
                ..Tokens::default()
            },
        }
    }
}

impl<'a> Fields<'a> {
    /// The value at a path; `None` where the gateway knows nothing.
    pub fn at(&self, path: &str) -> Result<Option<Scalar<'a>>, Refusal> {
        let value = self.object.at(path).map_err(|unreadable| {
            let (reason, problem) = match unreadable {
                Unreadable::Twice => (Reason::Malformed, "stands twice in one entry"),
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
            Some(Scalar::Text(text)) if text.is_empty() || self.unset.contains(&&*text) => Ok(None),
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

    /// An instant from 1970 to 9999.
    pub fn instant(&self, path: &str, written: Instant) -> Result<Option<Millis>, Refusal> {
        let Some(value) = self.at(path)? else {
            return Ok(None);
        };
        let read = written.read(&value);
        let instant = read.filter(|millis| (0..=TIME_MS_MAX).contains(millis));
        instant.map(|millis| Some(Millis(millis))).ok_or_else(|| {
            let problem = format!("is no instant as {}", written.wanted());
            Refusal::new(Reason::InvalidTime, path, &problem)
        })
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
            return Err(Refusal::new(Reason::WrongType, path, "is no whole number"));
        }
        if number.is_negative {
            return Err(Refusal::new(Reason::OutOfRange, path, "is below zero"));
        }
        Ok(Some(number.whole))
    }

    /// A time or a size: rounded down; unknown where it is below zero, as it is when a clock was set back meanwhile.
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
        let refusal = || Refusal::new(Reason::WrongType, path, "is no number");
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

/// More cached tokens than input: they were counted beside it.
pub(super) fn counted_once(tokens: Tokens) -> Tokens {
    match (tokens.input, tokens.cached) {
        (Some(input), Some(cached)) if cached > input => Tokens {
            input: Some(input.saturating_add(cached)),
            ..tokens
        },
        _ => tokens,
    }
}
