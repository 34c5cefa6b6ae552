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

/// Items of a query, and whether they are all.
pub struct Found {
    /// The first of them.
    pub items: Vec<Item>,
    /// Whether there are no more.
    pub is_whole: bool,
}

/// The first items of a query, about `max` of them: a page more at the most.
pub async fn at_most(db: &dyn Db, mut query: Query, max: usize) -> Result<Found, StoreError> {
    let mut items = Vec::new();
    loop {
        let page = db.query(&query).await?;
        items.extend(page.items);
        query.after = page.next;
        let is_whole = query.after.is_none();
        if is_whole || items.len() >= max {
            return Ok(Found { items, is_whole });
        }
    }
}

/// The first `limit` items of a query, and whether they are all. One item more is read to know that:
/// a store that was asked for as many as there are cannot say that these were the last.
pub async fn first(db: &dyn Db, mut query: Query, limit: usize) -> Result<Found, StoreError> {
    let wanted = limit.saturating_add(1);
    let mut items = Vec::new();
    // A page of the store may end early, where its items are large.
    while items.len() < wanted {
        query.limit = Some(u32::try_from(wanted - items.len()).unwrap_or(u32::MAX));
        let page = db.query(&query).await?;
        items.extend(page.items);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let is_whole = items.len() <= limit;
    items.truncate(limit);
    Ok(Found { items, is_whole })
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
