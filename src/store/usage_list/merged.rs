//! The requests of a user's day in order of their time. They lie under several partition keys, by
//! their identity: each is read piece by piece, and only as far as the page reaches.

use std::collections::VecDeque;

use futures::future::try_join_all;

use super::super::db::{Db, Item, Query, RangeFilter, StoreError, Table};
use super::super::pages;
use super::super::usage::{BUCKETS, day_keys};
use super::{DayRow, day_rows, is_amendment};
use crate::domain::time::Day;

/// What each piece has beyond its share of a page: identities spread evenly, but not exactly.
const PIECE_SPARE: u32 = 8;

/// The rows of a day, smallest sort key first.
pub(super) struct Merged {
    buckets: Vec<Bucket>,
}

/// One of the day's partition keys, as far as it was read.
struct Bucket {
    hash: String,
    /// Of what comes next; `None`: nothing does.
    query: Option<Query>,
    /// The last event that was read, with what was read of its amendments, which follow it.
    unfinished: Vec<Item>,
    rows: VecDeque<DayRow>,
    /// The row that the page before ended with.
    after: Option<String>,
}

impl Merged {
    /// Nothing is read yet. `limit`: how many rows are probably wanted.
    pub fn new(user: &str, day: Day, after: Option<&str>, limit: u32) -> Merged {
        let share = limit.div_ceil(u32::try_from(BUCKETS).unwrap_or(1));
        let piece = share.saturating_add(share / 4).saturating_add(PIECE_SPARE);
        let bucket = |hash: String| Bucket {
            query: Some(Query {
                range: match after {
                    // Of what may stand in a sort key nothing sorts behind '~'.
                    Some(after) => RangeFilter::Between(after.to_owned(), "~".to_owned()),
                    None => RangeFilter::All,
                },
                limit: Some(piece),
                ..pages::whole(Table::UsageTracking, &hash)
            }),
            hash,
            unfinished: Vec::new(),
            rows: VecDeque::new(),
            after: after.map(str::to_owned),
        };
        Merged {
            buckets: day_keys(user, day).map(bucket).collect(),
        }
    }

    /// The next rows, at most `wanted`.
    pub async fn first(&mut self, db: &dyn Db, wanted: usize) -> Result<Vec<DayRow>, StoreError> {
        let mut rows = Vec::new();
        while rows.len() < wanted {
            // The next row of all is known once the next of each is.
            let dry = self.buckets.iter_mut().filter(|bucket| bucket.is_dry());
            try_join_all(dry.map(|bucket| bucket.fill(db))).await?;
            while rows.len() < wanted && !self.buckets.iter().any(Bucket::is_dry) {
                let buckets = self.buckets.iter_mut();
                let with_rows = buckets.filter(|bucket| !bucket.rows.is_empty());
                let first = with_rows.min_by(|a, b| a.next_key().cmp(&b.next_key()));
                let Some(row) = first.and_then(|bucket| bucket.rows.pop_front()) else {
                    return Ok(rows);
                };
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

impl Bucket {
    /// Whether it has to be read before its next row is known.
    fn is_dry(&self) -> bool {
        self.rows.is_empty() && self.query.is_some()
    }

    fn next_key(&self) -> Option<&str> {
        self.rows.front().map(|row| row.key.range.as_str())
    }

    /// Reads pieces until there is a row, or no more.
    async fn fill(&mut self, db: &dyn Db) -> Result<(), StoreError> {
        while let Some(mut query) = self.query.take_if(|_| self.rows.is_empty()) {
            let page = db.query(&query).await?;
            let mut items = std::mem::take(&mut self.unfinished);
            items.extend(page.items);
            if let Some(next) = page.next {
                query.after = Some(next);
                self.query = Some(query);
                let last = items.iter().rposition(|item| !is_amendment(item));
                self.unfinished = items.split_off(last.unwrap_or(items.len()));
            }
            let rows = day_rows(&self.hash, items)?.into_iter();
            let after = self.after.as_deref();
            self.rows
                .extend(rows.filter(|row| Some(row.key.range.as_str()) != after));
        }
        Ok(())
    }
}
