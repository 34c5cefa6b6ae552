//! Leaderboards: the exact top lists of all posting partitions, merged.

use std::collections::BTreeMap;

use super::checkpoints::{self, TopList, Versioned};
use super::db::{Db, StoreError};
use super::layout;
use crate::domain::ids::{AccountKind, account_partition};
use crate::domain::position::{Epoch, Partition};
use crate::domain::time::Month;

pub use super::checkpoints::Ranked;

/// The best accounts of a kind in a month: by total, descending, then by id, ascending. Every place
/// that is given is exact; how many there are depends on the lists' size.
pub async fn leaderboard(
    db: &dyn Db,
    posting_partitions: u32,
    kind: AccountKind,
    month: Month,
) -> Result<Vec<Ranked>, StoreError> {
    let mut generations = Vec::new();
    for (posting, since) in divisions(db, posting_partitions).await? {
        let mut lists = BTreeMap::new();
        for partition in (0..posting).map(Partition) {
            let key = checkpoints::top_key(partition, kind, month, since);
            let stored: Option<Versioned<TopList>> = checkpoints::get(db, &key).await?;
            lists.extend(stored.map(|stored| (partition, stored.value)));
        }
        let is_whole = lists.len() == posting as usize;
        generations.push(Generation { posting, lists });
        if is_whole {
            break;
        }
    }
    Ok(merge(kind, generations))
}

/// The numbers of posting partitions among which accounts were ever divided, newest first, each
/// with the epoch since which its lists are written.
async fn divisions(db: &dyn Db, posting_partitions: u32) -> Result<Vec<(u32, Epoch)>, StoreError> {
    let layouts = layout::all(db).await?;
    let mut all: Vec<(u32, Epoch)> = Vec::new();
    for layout in layouts.iter().rev() {
        let division = (layout.posting, layout.posting_since);
        if !all.contains(&division) {
            all.push(division);
        }
    }
    if all.is_empty() {
        all.push((posting_partitions, Epoch(0)));
    }
    Ok(all)
}

/// The lists of one division of the accounts.
struct Generation {
    posting: u32,
    lists: BTreeMap<Partition, TopList>,
}

impl Generation {
    /// Whether it has the list in which this account stands, if it stands in any.
    fn covers(&self, kind: AccountKind, id: &str) -> bool {
        let partition = account_partition(kind, id, self.posting);
        self.lists.contains_key(&partition)
    }
}

/// The order of a leaderboard.
fn place(ranked: &Ranked) -> (std::cmp::Reverse<crate::domain::amount::Points>, &str) {
    (std::cmp::Reverse(ranked.0), &ranked.1)
}

/// Accounts are disjoint between the lists of one generation. An account that a list leaves out
/// comes after the last one that it knows exactly, so the merged list ends where the first of the
/// lists does. Lists of an older generation hold for the accounts for which there is no newer list
/// yet: nothing has changed in them since.
fn merge(kind: AccountKind, generations: Vec<Generation>) -> Vec<Ranked> {
    let mut merged = Vec::new();
    let mut ends: Vec<Ranked> = Vec::new();
    let mut newer: Vec<Generation> = Vec::new();
    for generation in generations {
        for list in generation.lists.values() {
            let is_complete = list.left_out.is_none();
            let known = if is_complete {
                list.ranked.len()
            } else {
                list.exact
            };
            let known = &list.ranked[..known.min(list.ranked.len())];
            if !is_complete {
                ends.extend(known.last().cloned());
            }
            let is_current =
                |ranked: &&Ranked| !newer.iter().any(|newer| newer.covers(kind, &ranked.1));
            merged.extend(known.iter().filter(is_current).cloned());
        }
        newer.push(generation);
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

    fn generation(lists: Vec<TopList>) -> Generation {
        Generation {
            posting: lists.len() as u32,
            lists: (0..).map(Partition).zip(lists).collect(),
        }
    }

    fn ids(lists: Vec<TopList>) -> String {
        merge(AccountKind::User, vec![generation(lists)])
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
        // In `one`, c may be wrong already: exact are two. Whoever was left out has at most what b
        // has.
        let one = list(2, &[(9, "a"), (7, "b"), (6, "c")], Some((6, "x")));
        let two = list(2, &[(8, "d"), (7, "a2"), (3, "e")], None);
        assert_eq!(ids(vec![one, two]), "ada2b");
    }

    #[test]
    fn an_older_list_holds_for_the_accounts_that_have_no_newer_one() {
        let old = generation(vec![list(
            10,
            &[(9, "a"), (8, "b"), (7, "c"), (6, "d")],
            None,
        )]);
        // Of two partitions only one has written its list; its accounts have other totals by now.
        let newer = |id: &str| account_partition(AccountKind::User, id, 2) == Partition(0);
        let moved: Vec<&str> = ["a", "b", "c", "d"]
            .into_iter()
            .filter(|id| newer(id))
            .collect();
        assert!((1..4).contains(&moved.len()), "{moved:?}");
        let ranked: Vec<(i64, &str)> = moved.iter().map(|id| (1, *id)).collect();
        let mut new = generation(vec![list(10, &ranked, None), list(10, &[], None)]);
        new.lists.remove(&Partition(1));
        let merged = merge(AccountKind::User, vec![new, old]);
        assert_eq!(merged.len(), 4, "{merged:?}");
        for Ranked(points, id) in merged {
            assert_eq!(points.0 == 1, newer(&id), "{id}");
        }
    }

    #[test]
    fn nothing_merges_to_nothing() {
        assert_eq!(ids(vec![]), "");
        assert_eq!(ids(vec![TopList::default()]), "");
    }
}
