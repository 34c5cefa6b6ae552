//! Reading and building items: getters that name the row and the attribute when something is wrong
//! with it.

use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::db::{Attr, Item, Key, StoreError};

/// How a key stands in error texts: `Checkpoints/control/head`.
pub fn key_text(key: &Key) -> String {
    let (table, hash, range) = (key.table.name(), &key.hash, &key.range);
    if range.is_empty() {
        format!("{table}/{hash}")
    } else {
        format!("{table}/{hash}/{range}")
    }
}

/// An item that was read, and where it stood.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    key: Key,
    item: &'a Item,
}

impl<'a> Row<'a> {
    /// The item that was read at `key`.
    pub fn new(key: Key, item: &'a Item) -> Row<'a> {
        Row { key, item }
    }

    /// The error that says `what` is wrong with this row.
    pub fn corrupt(&self, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            key: key_text(&self.key),
            what: what.into(),
        }
    }

    /// The error that says that a newer tidemark wrote this row.
    pub fn newer(&self, what: impl Into<String>) -> StoreError {
        StoreError::Newer {
            key: key_text(&self.key),
            what: what.into(),
        }
    }

    fn wrong(&self, name: &str, wanted: &str) -> StoreError {
        self.corrupt(match self.item.get(name) {
            None => format!("attribute {name} is missing"),
            Some(found) => format!("attribute {name} is {found:?}, not {wanted}"),
        })
    }

    /// A text that must be there.
    pub fn text(&self, name: &str) -> Result<&'a str, StoreError> {
        self.text_opt(name)?
            .ok_or_else(|| self.wrong(name, "a text"))
    }

    /// A text that may be absent.
    pub fn text_opt(&self, name: &str) -> Result<Option<&'a str>, StoreError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(Attr::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    /// An integer that must be there and fit `T`.
    pub fn number<T: TryFrom<i128>>(&self, name: &str) -> Result<T, StoreError> {
        self.number_opt(name)?
            .ok_or_else(|| self.wrong(name, "a number"))
    }

    /// An integer that may be absent.
    pub fn number_opt<T: TryFrom<i128>>(&self, name: &str) -> Result<Option<T>, StoreError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(Attr::N(number)) => T::try_from(*number)
                .map(Some)
                .map_err(|_| self.wrong(name, "in range")),
            Some(_) => Err(self.wrong(name, "a number")),
        }
    }

    /// A text that must be there and read as `T`.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<T, StoreError>
    where
        T::Err: Display,
    {
        self.text(name)?
            .parse()
            .map_err(|e: T::Err| self.corrupt(format!("attribute {name}: {e}")))
    }

    /// The same of a text that may be absent.
    pub fn parsed_opt<T: FromStr>(&self, name: &str) -> Result<Option<T>, StoreError>
    where
        T::Err: Display,
    {
        let text = self.text_opt(name)?;
        text.map(|_| self.parsed(name)).transpose()
    }

    /// A text that must be there and hold `T` as JSON.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        serde_json::from_str(self.text(name)?)
            .map_err(|e| self.corrupt(format!("attribute {name}: {e}")))
    }
}

/// An item in the making.
#[derive(Clone, Debug)]
pub struct Fields(Item);

impl Fields {
    /// Begins with the key's own attributes.
    pub fn of(key: &Key) -> Fields {
        Fields::of_owned(key.clone())
    }

    /// [`Fields::of`] a key that is not needed any more.
    pub fn of_owned(key: Key) -> Fields {
        Fields(key.into_item())
    }

    /// Adds a text.
    pub fn text(mut self, name: &'static str, value: impl ToString) -> Fields {
        self.0.insert(name, Attr::S(value.to_string()));
        self
    }

    /// Adds an integer.
    pub fn number(mut self, name: &'static str, value: impl Into<i128>) -> Fields {
        self.0.insert(name, Attr::N(value.into()));
        self
    }

    /// Adds an integer, or nothing.
    pub fn number_opt(self, name: &'static str, value: Option<impl Into<i128>>) -> Fields {
        match value {
            Some(value) => self.number(name, value),
            None => self,
        }
    }

    /// Adds a value as JSON text.
    pub fn json<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Fields {
        let text = serde_json::to_string(value)
            .expect("our own types hold no maps with keys that are not texts");
        self.text(name, text)
    }

    /// The item.
    pub fn item(self) -> Item {
        self.0
    }
}
