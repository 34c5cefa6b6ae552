//! Our items and conditions as DynamoDB's, and back: as the AWS client has them, and as the embedded
//! engine does.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::refused;
use crate::domain::time::Millis;
use crate::store::db::{Attr, Condition, Item, Key, Query, RangeFilter, StoreError, Table};

/// A value as one of the two has it.
pub trait WireValue: Sized {
    /// From ours.
    fn from_attr(attr: Attr) -> Self;

    /// As ours. Errors: a type that we never write.
    fn into_attr(self) -> Result<Attr, String>;
}

impl WireValue for AttributeValue {
    fn from_attr(attr: Attr) -> AttributeValue {
        match attr {
            Attr::S(text) => AttributeValue::S(text),
            Attr::N(number) => AttributeValue::N(number.to_string()),
            Attr::B(bytes) => AttributeValue::B(Blob::new(Vec::from(bytes))),
        }
    }

    fn into_attr(self) -> Result<Attr, String> {
        match self {
            AttributeValue::S(text) => Ok(Attr::S(text)),
            AttributeValue::N(number) => integer(&number),
            AttributeValue::B(blob) => Ok(Attr::B(blob.into_inner().into())),
            other => Err(unknown_type(&other)),
        }
    }
}

impl WireValue for dynoxide::AttributeValue {
    fn from_attr(attr: Attr) -> dynoxide::AttributeValue {
        match attr {
            Attr::S(text) => dynoxide::AttributeValue::S(text),
            Attr::N(number) => dynoxide::AttributeValue::N(number.to_string()),
            Attr::B(bytes) => dynoxide::AttributeValue::B(Vec::from(bytes)),
        }
    }

    fn into_attr(self) -> Result<Attr, String> {
        match self {
            dynoxide::AttributeValue::S(text) => Ok(Attr::S(text)),
            dynoxide::AttributeValue::N(number) => integer(&number),
            dynoxide::AttributeValue::B(bytes) => Ok(Attr::B(bytes.into())),
            other => Err(unknown_type(&other)),
        }
    }
}

fn integer(number: &str) -> Result<Attr, String> {
    match number.parse() {
        Ok(integer) => Ok(Attr::N(integer)),
        Err(_) => Err(format!("{number} is not an integer")),
    }
}

fn unknown_type(value: &impl std::fmt::Debug) -> String {
    format!("{value:?} is neither text nor integer nor bytes")
}

/// An item on the wire.
pub type Wire<V = AttributeValue> = HashMap<String, V>;

/// An item for the wire.
pub fn to_wire<V: WireValue>(item: Item) -> Wire<V> {
    let values = item.into_iter();
    values
        .map(|(name, attr)| (name.into_string(), V::from_attr(attr)))
        .collect()
}

/// An item as we have it. Errors: [`StoreError::Corrupt`] for a type that we never write.
pub fn from_wire<V: WireValue>(table: Table, wire: Wire<V>) -> Result<Item, StoreError> {
    let mut item = Item::new();
    let mut fault = None;
    for (name, value) in wire {
        match value.into_attr() {
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

/// A key for the wire.
pub fn key_wire<V: WireValue>(key: &Key) -> Wire<V> {
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
#[derive(Clone, Debug)]
pub struct Expression<V = AttributeValue> {
    /// `None`: no condition.
    pub text: Option<String>,
    /// `#a` → attribute.
    pub names: Option<HashMap<String, String>>,
    /// `:v` → value.
    pub values: Option<HashMap<String, V>>,
}

/// The expression of a condition on an item of `table`. An item whose time to live is over counts
/// as absent, as it does for reads.
pub fn expression<V: WireValue>(table: Table, condition: &Condition, now: Millis) -> Expression<V> {
    let absent = match table.ttl() {
        Some(_) => "(attribute_not_exists(#h) OR #t <= :t)",
        None => "attribute_not_exists(#h)",
    };
    let (text, attr) = match condition {
        Condition::Always => {
            return Expression {
                text: None,
                names: None,
                values: None,
            };
        }
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
        let now = V::from_attr(Attr::N(seconds(now).into()));
        values.insert(":t".to_owned(), now);
    }
    if let Some((name, value)) = attr {
        names.insert("#a".to_owned(), (*name).to_owned());
        values.insert(":v".to_owned(), V::from_attr(value.clone()));
    }
    Expression {
        text: Some(text),
        names: Some(names),
        values: (!values.is_empty()).then_some(values),
    }
}

/// The key condition of a query.
pub fn key_condition<V: WireValue>(query: &Query) -> Result<Expression<V>, StoreError> {
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
        .map(|(n, v)| (n.to_owned(), V::from_attr(Attr::S(v))));
    Ok(Expression {
        text: Some(text),
        names: Some(names.collect()),
        values: Some(values.collect()),
    })
}

/// The write units of an item, estimated from its size (1 KiB each), its indexes left out.
pub fn write_units(item: &Item) -> u32 {
    let kibibytes = bytes(item).div_ceil(1024).max(1);
    u32::try_from(kibibytes).unwrap_or(u32::MAX)
}

/// The size of an item: names and values as DynamoDB counts them.
pub fn bytes(item: &Item) -> usize {
    let sizes = item.iter().map(|(name, attr)| name.len() + size(attr));
    sizes.sum()
}

fn size(attr: &Attr) -> usize {
    match attr {
        Attr::S(text) => text.len(),
        Attr::N(number) => number.to_string().len() / 2 + 2,
        Attr::B(bytes) => bytes.len(),
    }
}
