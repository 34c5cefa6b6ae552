//! Leaderboards: the exact top lists of all posting partitions, merged.

use super::checkpoints::{self, TopList, Versioned};
use super::db::{Db, StoreError};
use crate::domain::ids::AccountKind;
use crate::domain::position::Partition;
use crate::domain::time::Month;

pub use super::checkpoints::Ranked;

/// The best accounts of a kind in a month: by total, descending, then by id, ascending. Every place that is given is exact; how many
/// there are depends on the lists' size.
pub async fn leaderboard(
    db: &dyn Db,
    posting_partitions: u32,
    kind: AccountKind,
    month: Month,
) -> Result<Vec<Ranked>, StoreError> {
    let mut lists = Vec::new();
    for partition in (0..posting_partitions).map(Partition) {
        let key = checkpoints::top_key(partition, kind, month);
        let stored: Option<Versioned<TopList>> = checkpoints::get(db, &key).await?;
        lists.extend(stored.map(|stored| stored.value));
    }
    Ok(merge(lists))
}

/// The order of a leaderboard.
fn place(ranked: &Ranked) -> (std::cmp::Reverse<crate::domain::amount::Points>, &str) {
    (std::cmp::Reverse(ranked.0), &ranked.1)
}

/// Accounts are disjoint between the lists. An account that a list leaves out comes after the last one that it knows exactly, so the
/// merged list ends where the first of the lists does.
fn merge(lists: Vec<TopList>) -> Vec<Ranked> {
    let mut merged = Vec::new();
    let mut ends: Vec<Ranked> = Vec::new();
    for list in lists {
        let is_complete = list.left_out.is_none();
        let known = if is_complete {
            list.ranked.len()
        } else {
            list.exact
        };
        let known: Vec<Ranked> = list.ranked.into_iter().take(known).collect();
        if !is_complete {
            ends.extend(known.last().cloned());
        }
        merged.extend(known);
    }
    merged.sort_by(|a, b| place(a).cmp(&place(b)));
    if let Some(first_end) = ends.iter().min_by(|a, b| place(a).cmp(&place(b))) {
        merged.retain(|ranked| place(ranked) <= place(first_end));
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::amount::Points;

    fn list(exact: usize, ranked: &[(i64, &str)], left_out: Option<(i64, &str)>) -> TopList {
        let ranked_of = |(points, id): &(i64, &str)| Ranked(Points(*points), (*id).to_owned());
        TopList {
            exact,
            ranked: ranked.iter().map(ranked_of).collect(),
            left_out: left_out.as_ref().map(ranked_of),
        }
    }

    fn ids(lists: Vec<TopList>) -> String {
        merge(lists)
            .iter()
            .map(|ranked| ranked.1.as_str())
            .collect()
    }

    #[test]
    fn lists_merge_by_total_then_id() {
        let one = list(10, &[(9, "d"), (5, "b")], None);
        let two = list(10, &[(9, "c"), (5, "a"), (-1, "e")], None);
        assert_eq!(ids(vec![one, two]), "cdabe");
    }

    #[test]
    fn no_place_is_given_that_an_account_left_out_could_hold() {
        // In `one`, c may be wrong already: exact are two. Whoever was left out has at most what b has.
        let one = list(2, &[(9, "a"), (7, "b"), (6, "c")], Some((6, "x")));
        let two = list(2, &[(8, "d"), (7, "a2"), (3, "e")], None);
        assert_eq!(ids(vec![one, two]), "ada2b");
    }

    #[test]
    fn nothing_merges_to_nothing() {
        assert_eq!(ids(vec![]), "");
        assert_eq!(ids(vec![TopList::default()]), "");
    }
}
