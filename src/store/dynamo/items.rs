//! Our items and conditions as DynamoDB's, and back.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::refused;
use crate::domain::time::Millis;
use crate::store::db::{Attr, Condition, Item, Key, Query, RangeFilter, StoreError, Table};

/// An item as the SDK has it.
pub type Wire = HashMap<String, AttributeValue>;

/// A value as the SDK has it.
pub fn to_value(attr: Attr) -> AttributeValue {
    match attr {
        Attr::S(text) => AttributeValue::S(text),
        Attr::N(number) => AttributeValue::N(number.to_string()),
        Attr::B(bytes) => AttributeValue::B(Blob::new(Vec::from(bytes))),
    }
}

/// An item as the SDK has it.
pub fn to_wire(item: Item) -> Wire {
    let values = item.into_iter();
    values
        .map(|(name, attr)| (name.into_string(), to_value(attr)))
        .collect()
}

/// An item as we have it. Errors: [`StoreError::Corrupt`] for a type that we never write.
pub fn from_wire(table: Table, wire: Wire) -> Result<Item, StoreError> {
    let mut item = Item::new();
    let mut fault = None;
    for (name, value) in wire {
        match from_value(value) {
            Ok(attr) => {
                item.insert(name, attr);
            }
            // The rest is read all the same, so that the key can be named.
            Err(what) => fault = Some(format!("attribute {name}: {what}")),
        }
    }
    match fault {
        None => Ok(item),
        Some(what) => Err(StoreError::Corrupt {
            key: format!("{}/{}", table.name(), names(table, &item)),
            what,
        }),
    }
}

/// What is known of an item's key.
fn names(table: Table, item: &Item) -> String {
    let (hash, range) = table.keys();
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) => text.clone(),
        _ => "?".to_owned(),
    };
    match range {
        Some(range) => format!("{}/{}", text(hash), text(range)),
        None => text(hash),
    }
}

fn from_value(value: AttributeValue) -> Result<Attr, String> {
    match value {
        AttributeValue::S(text) => Ok(Attr::S(text)),
        AttributeValue::N(number) => number
            .parse()
            .map(Attr::N)
            .map_err(|_| format!("{number} is not an integer")),
        AttributeValue::B(blob) => Ok(Attr::B(blob.into_inner().into())),
        other => Err(format!("{other:?} is neither text nor integer nor bytes")),
    }
}

/// A key as the SDK has it.
pub fn key_wire(key: &Key) -> Wire {
    to_wire(key.item())
}

/// The key of an item that was read.
pub fn key_of(table: Table, item: &Item) -> Option<Key> {
    let (hash, range) = table.keys();
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) => Some(text.clone()),
        _ => None,
    };
    let range = match range {
        Some(range) => text(range)?,
        None => String::new(),
    };
    Some(Key::new(table, text(hash)?, range))
}

/// Whether an item's time to live is over. DynamoDB deletes such items late, so that every read has
/// to look.
pub fn is_expired(table: Table, item: &Item, now: Millis) -> bool {
    let expires = table.ttl().and_then(|name| item.get(name));
    matches!(expires, Some(Attr::N(at)) if *at <= i128::from(seconds(now)))
}

fn seconds(now: Millis) -> i64 {
    now.0.div_euclid(1_000)
}

/// A condition as an expression with its placeholders. Names are always placeholders, since many
/// are reserved words.
#[derive(Clone, Debug, Default)]
pub struct Expression {
    /// `None`: no condition.
    pub text: Option<String>,
    /// `#a` → attribute.
    pub names: Option<HashMap<String, String>>,
    /// `:v` → value.
    pub values: Option<HashMap<String, AttributeValue>>,
}

/// The expression of a condition on an item of `table`. An item whose time to live is over counts
/// as absent, as it does for reads.
pub fn expression(table: Table, condition: &Condition, now: Millis) -> Expression {
    let absent = match table.ttl() {
        Some(_) => "(attribute_not_exists(#h) OR #t <= :t)",
        None => "attribute_not_exists(#h)",
    };
    let (text, attr) = match condition {
        Condition::Always => return Expression::default(),
        Condition::Absent => (absent.to_owned(), None),
        Condition::Present => (format!("NOT {absent}"), None),
        Condition::Equals(name, value) => (
            match table.ttl() {
                Some(_) => format!("#a = :v AND NOT {absent}"),
                None => "#a = :v".to_owned(),
            },
            Some((name, value)),
        ),
        Condition::AbsentOrAtMost(name, value) => {
            (format!("{absent} OR #a <= :v"), Some((name, value)))
        }
    };
    let mut names = HashMap::new();
    let mut values = HashMap::new();
    if text.contains("#h") {
        names.insert("#h".to_owned(), table.keys().0.to_owned());
    }
    if let Some(ttl) = table.ttl() {
        names.insert("#t".to_owned(), ttl.to_owned());
        let now = AttributeValue::N(seconds(now).to_string());
        values.insert(":t".to_owned(), now);
    }
    if let Some((name, value)) = attr {
        names.insert("#a".to_owned(), (*name).to_owned());
        values.insert(":v".to_owned(), to_value(value.clone()));
    }
    Expression {
        text: Some(text),
        names: Some(names),
        values: (!values.is_empty()).then_some(values),
    }
}

/// The key condition of a query.
pub fn key_condition(query: &Query) -> Result<Expression, StoreError> {
    let (hash, range) = match (query.index, query.table.index()) {
        (false, _) => query.table.keys(),
        (true, Some((_, key))) => (key, None),
        (true, None) => return Err(refused(format!("{} has no index", query.table.name()))),
    };
    let mut text = "#h = :h".to_owned();
    let mut names = vec![("#h", hash)];
    let mut values = vec![(":h", query.hash.clone())];
    match (&query.range, range) {
        (RangeFilter::All, _) => {}
        (_, None) => return Err(refused("the key asked has no sort key to filter by")),
        (RangeFilter::Prefix(prefix), Some(range)) => {
            text += " AND begins_with(#r, :p)";
            names.push(("#r", range));
            values.push((":p", prefix.clone()));
        }
        (RangeFilter::Between(from, to), Some(range)) => {
            text += " AND #r BETWEEN :from AND :to";
            names.push(("#r", range));
            values.push((":from", from.clone()));
            values.push((":to", to.clone()));
        }
    }
    let names = names.into_iter().map(|(n, a)| (n.to_owned(), a.to_owned()));
    let values = values
        .into_iter()
        .map(|(n, v)| (n.to_owned(), AttributeValue::S(v)));
    Ok(Expression {
        text: Some(text),
        names: Some(names.collect()),
        values: Some(values.collect()),
    })
}

/// The write units of an item, estimated from its size (1 KiB each): names and values as DynamoDB
/// counts them, its indexes left out.
pub fn write_units(item: &Item) -> u32 {
    let sizes = item.iter().map(|(name, attr)| name.len() + size(attr));
    let kibibytes = sizes.sum::<usize>().div_ceil(1024).max(1);
    u32::try_from(kibibytes).unwrap_or(u32::MAX)
}

fn size(attr: &Attr) -> usize {
    match attr {
        Attr::S(text) => text.len(),
        Attr::N(number) => number.to_string().len() / 2 + 2,
        Attr::B(bytes) => bytes.len(),
    }
}
