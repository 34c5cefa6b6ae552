//! Exact top-K lists. Accounts are disjoint between posting partitions, so each keeps the list of
//! its own, and a reader merges.
//!
//! Totals can fall (quality, corrections). A list therefore keeps a few times K candidates, and the
//! best that it ever left out: whoever is not on it stands at most there. While the Kth is better
//! than that, the first K are exact; when it is not, the list is built anew from the table.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::domain::amount::Points;
use crate::domain::ids::AccountKind;
use crate::domain::position::{Partition, WriteId};
use crate::domain::rules::Timeline;
use crate::domain::statement;
use crate::domain::time::Month;
use crate::ops::config::LEADERBOARD_SIZE_MAX;
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::{AccountFault, Failure, unreadable};
use crate::pipeline::retry::persist;
use crate::store::accounts;
use crate::store::checkpoints::{Ranked, TopList, Versioned};
use crate::store::db::StoreError;
use crate::store::set_aside::{FaultCode, Stood};

/// A list keeps so many times K candidates, if that many fit into its item.
const CANDIDATES_PER_PLACE: usize = 4;
// The largest list keeps at least half as many again as it ranks: with none to spare, every total
// that falls would cost a scan.
const _: () = assert!(TopList::RANKED_MAX >= LEADERBOARD_SIZE_MAX as usize * 3 / 2);

/// Best first: by total descending, then id ascending.
type Place = (std::cmp::Reverse<Points>, String);

fn place(ranked: &Ranked) -> Place {
    (std::cmp::Reverse(ranked.0), ranked.1.clone())
}

fn is_better(place: &Place, than: (std::cmp::Reverse<Points>, &str)) -> bool {
    (place.0, place.1.as_str()) < than
}

/// A list as it is read from the store.
pub type StoredTop = Versioned<TopList>;

/// A list in memory.
#[derive(Debug)]
pub struct Top {
    exact: usize,
    places: BTreeSet<Place>,
    totals: HashMap<String, Points>,
    left_out: Option<Place>,
    written: Option<WriteId>,
    changed: bool,
    /// It does not hold the accounts yet that stand in the table.
    unbuilt: bool,
}

impl Top {
    /// A list for the best `exact`, as it was stored. It counts as changed until it is written
    /// once: this session's write must follow any that a sleeping predecessor may still make under
    /// the same condition.
    pub fn new(exact: usize, stored: Option<StoredTop>) -> Top {
        let (list, written) = match stored {
            Some(stored) => (stored.value, Some(stored.write)),
            None => (
                TopList {
                    exact,
                    ..TopList::default()
                },
                None,
            ),
        };
        let grown = list.exact < exact;
        let mut top = Top {
            exact,
            places: list.ranked.iter().map(place).collect(),
            totals: list
                .ranked
                .into_iter()
                .map(|Ranked(points, id)| (id, points))
                .collect(),
            left_out: list.left_out.as_ref().map(place),
            written,
            changed: true,
            unbuilt: false,
        };
        if !grown {
            top.shrink();
        }
        top
    }

    /// Takes an account's present total.
    pub fn offer(&mut self, points: Points, id: &str) {
        let before = self.totals.get(id).copied();
        if before == Some(points) {
            return;
        }
        let new = (std::cmp::Reverse(points), id);
        match before {
            // Most accounts are far from the list: they would be taken onto a full one only to be
            // left out again.
            None if self.is_full()
                && self.places.last().is_some_and(|last| is_better(last, new)) =>
            {
                self.leave_out(new);
                return;
            }
            None => {}
            Some(before) => {
                let place = (std::cmp::Reverse(before), id.to_owned());
                self.places.remove(&place);
            }
        }
        self.totals.insert(id.to_owned(), points);
        self.places.insert((new.0, id.to_owned()));
        self.changed = true;
        self.shrink();
    }

    fn candidates_max(&self) -> usize {
        (self.exact * CANDIDATES_PER_PLACE).min(TopList::RANKED_MAX)
    }

    fn is_full(&self) -> bool {
        self.places.len() >= self.candidates_max()
    }

    /// Remembers the best that was left out.
    fn leave_out(&mut self, new: (std::cmp::Reverse<Points>, &str)) {
        if self
            .left_out
            .as_ref()
            .is_some_and(|best| is_better(best, new))
        {
            return;
        }
        if self
            .left_out
            .as_ref()
            .is_none_or(|best| (best.0, best.1.as_str()) != new)
        {
            self.left_out = Some((new.0, new.1.to_owned()));
            self.changed = true;
        }
    }

    fn shrink(&mut self) {
        while self.places.len() > self.candidates_max()
            && let Some(worst) = self.places.pop_last()
        {
            self.totals.remove(&worst.1);
            self.leave_out((worst.0, &worst.1));
        }
    }

    /// Whether it must be written.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// It is the first list of accounts that may have rows already: it is built from the table
    /// before it is written.
    pub fn must_be_built(&mut self) {
        self.unbuilt = true;
    }

    /// Whether an account that was left out might now belong among the first K.
    pub fn is_exhausted(&self) -> bool {
        if self.unbuilt {
            return true;
        }
        let Some(left_out) = &self.left_out else {
            return false;
        };
        self.places
            .iter()
            .nth(self.exact.saturating_sub(1))
            .is_none_or(|kth| kth > left_out)
    }

    /// The id of the stored list's last write.
    pub fn written(&self) -> Option<WriteId> {
        self.written
    }

    /// The list was written.
    pub fn saved(&mut self, write: WriteId) {
        self.written = Some(write);
        self.changed = false;
    }

    /// Begins again with every account there is.
    pub fn restart(&mut self, every: Vec<Ranked>) {
        self.places.clear();
        self.totals.clear();
        self.left_out = None;
        self.unbuilt = false;
        for Ranked(points, id) in every {
            self.offer(points, &id);
        }
        self.changed = true;
    }

    /// What is stored.
    pub fn list(&self) -> TopList {
        let ranked = |(std::cmp::Reverse(points), id): &Place| Ranked(*points, id.clone());
        TopList {
            exact: self.exact,
            ranked: self.places.iter().map(ranked).collect(),
            left_out: self.left_out.as_ref().map(ranked),
        }
    }
}

/// What a scan found.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) ranked: Vec<Ranked>,
    /// Accounts of this partition with a row that cannot be decoded. They are not ranked.
    pub(super) faults: Vec<AccountFault>,
}

/// Every account of a kind in this posting partition that has a row of the month, with its total.
/// All rows are written when this is called: the table is what memory is.
pub(super) async fn scan(
    ctx: &WorkerContext,
    (partition, partitions, kind, month): (Partition, u32, AccountKind, Month),
    timeline: &Timeline,
) -> Result<Scanned, Failure> {
    let mut found = Scanned::default();
    let mut after = None;
    loop {
        let page = persist(ctx, || ctx.db.scan(accounts::table(kind), after.clone())).await?;
        for item in &page.items {
            // The rows of other partitions are the matter of those.
            let Some((account, of)) = accounts::whose(kind, item)? else {
                continue;
            };
            if of != month || account.partition(partitions) != partition {
                continue;
            }
            match accounts::account_of(kind, item) {
                Ok(Some((_, stored))) => {
                    let total = statement::total(kind, &stored.row, timeline);
                    found.ranked.push(Ranked(total, account.id().to_owned()));
                }
                Ok(None) => {}
                Err(error @ StoreError::Corrupt { .. }) => found.faults.push(AccountFault {
                    code: FaultCode::RowUnreadable,
                    what: unreadable(&error),
                    stood: Stood::Unknown,
                    account,
                }),
                Err(error) => return Err(error.into()),
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}
