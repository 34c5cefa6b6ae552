//! Queries and whole tables over all their pages.

use super::db::{Db, Item, Query, RangeFilter, StoreError, Table};
use super::marker;

/// The query of everything under one partition key, smallest sort key first.
pub fn whole(table: Table, hash: impl Into<String>) -> Query {
    Query {
        table,
        index: false,
        hash: hash.into(),
        range: RangeFilter::All,
        descending: false,
        limit: None,
        after: None,
    }
}

/// The items of all pages of a query. Keeps them in memory: for partitions of bounded size.
pub async fn all(db: &dyn Db, mut query: Query) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    loop {
        let page = db.query(&query).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(items),
        }
    }
}

/// Shows every item of a table but its marker, page by page. Costs what the table weighs.
pub async fn scan(
    db: &dyn Db,
    table: Table,
    mut each: impl FnMut(Item) -> Result<(), StoreError> + Send,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = db.scan(table, after.take()).await?;
        let items = page.items.into_iter();
        let mut rows = items.filter(|item| !marker::is_marker(table, item));
        rows.try_for_each(&mut each)?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
