//! Which installation the tables belong to: an item in table Checkpoints, and a marker in every
//! other table. A table that was deleted and created again has no marker, also while nobody touches
//! a row of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::accounts::ACCOUNT_ITEM;
use super::checkpoints::{self, Versioned};
use super::db::{Condition, Db, Item, Key, StoreError, Table, Write};
use super::marker::MARKER;
use super::row::{Fields, Row};
use crate::domain::position::WriteId;
use crate::domain::time::Millis;

/// An installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installation {
    /// Drawn at random.
    pub id: String,
    /// When this item was written.
    pub created_at: Millis,
    /// The tables that have a marker.
    pub tables: Vec<String>,
}

impl Installation {
    /// Whether a table had its marker.
    pub fn has_marked(&self, table: Table) -> bool {
        self.tables.iter().any(|name| name == table.name())
    }
}

/// The tables that have markers: all but the one that holds the installation itself.
pub fn marked_tables() -> impl Iterator<Item = Table> {
    Table::ALL
        .into_iter()
        .filter(|table| *table != Table::Checkpoints)
}

/// The key of the installation.
pub fn key() -> Key {
    Key::new(Table::Checkpoints, "installation", "it")
}

/// The key of a table's marker.
pub fn marker_key(table: Table) -> Key {
    // Reads of whole account tables pass over account items.
    let range = table.keys().1.map_or("", |_| ACCOUNT_ITEM);
    Key::new(table, MARKER, range)
}

/// The write that marks a table.
pub fn mark(table: Table, id: &str) -> Write {
    Write::Put {
        table,
        item: Fields::of(&marker_key(table))
            .text("installation", id)
            .item(),
        condition: Condition::Absent,
    }
}

/// The write that stores the installation over the one that was last seen.
pub fn put(installation: &Installation, previous: Option<WriteId>, write: WriteId) -> Write {
    checkpoints::put(&key(), installation, previous, write)
}

/// What the tables say of their installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The installation; `None` before the first worker of this version.
    pub installation: Option<Versioned<Installation>>,
    /// The installation that each table names.
    pub markers: BTreeMap<Table, Option<String>>,
}

/// Reads them. The installation is stored before its tables are marked, and read before their
/// markers are; another worker may store and mark in between.
pub async fn read(db: &dyn Db) -> Result<Marks, StoreError> {
    let marks = read_once(db).await?;
    let is_torn = marks.installation.is_none() && marks.markers.values().any(Option::is_some);
    match is_torn {
        true => read_once(db).await,
        false => Ok(marks),
    }
}

async fn read_once(db: &dyn Db) -> Result<Marks, StoreError> {
    let installation = checkpoints::get(db, &key()).await?;
    let tables: Vec<Table> = marked_tables().collect();
    let keys: Vec<Key> = tables.iter().map(|table| marker_key(*table)).collect();
    let items = db.batch_get(&keys).await?;
    let named = |(key, item): (&Key, Option<Item>)| {
        let item = item?;
        let row = Row::new(key.clone(), &item);
        Some(row.text("installation").map(str::to_owned))
    };
    let names = keys.iter().zip(items).map(|of| named(of).transpose());
    let markers = tables.into_iter().zip(names);
    let markers: Result<BTreeMap<_, _>, StoreError> =
        markers.map(|(table, name)| Ok((table, name?))).collect();
    Ok(Marks {
        installation,
        markers: markers?,
    })
}

/// The tables that the store does not have, with what it said.
pub async fn missing_tables(db: &dyn Db) -> Result<Vec<(Table, String)>, StoreError> {
    let mut missing = Vec::new();
    for table in Table::ALL {
        match db.get(&marker_key(table)).await {
            Ok(_) => {}
            Err(StoreError::Refused(why)) => missing.push((table, why)),
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

impl Marks {
    /// What contradicts itself: a table that has lost its marker, or has another installation's.
    pub fn contradiction(&self) -> Option<String> {
        let Some(Versioned { value, .. }) = &self.installation else {
            let (table, _) = self.markers.iter().find(|(_, name)| name.is_some())?;
            return Some(format!(
                "table {} is empty or another one: it does not know its installation, but table {} does",
                Table::Checkpoints.name(),
                table.name()
            ));
        };
        for (table, name) in &self.markers {
            let what = match name {
                Some(name) if *name == value.id => continue,
                Some(_) => "belongs to another installation",
                None if value.has_marked(*table) => {
                    "was created again: it does not hold the marker of this installation"
                }
                None => continue,
            };
            return Some(format!("table {} {what}", table.name()));
        }
        None
    }

    /// The tables that are still to be marked.
    pub fn unmarked(&self) -> Vec<Table> {
        let unmarked = self.markers.iter().filter(|(_, name)| name.is_none());
        unmarked.map(|(table, _)| *table).collect()
    }
}
