//! Planning the write of an account's changed rows; see [`super::accounts`].

use std::collections::BTreeMap;

use super::accounts::{RowView, StoredHead, encode_view, item_key, table};
use super::db::{Attr, Condition, Item, Write};
use super::row::Fields;
use crate::domain::ids::Account;
use crate::domain::ledger::AccountRows;
use crate::domain::position::Fence;
use crate::domain::time::Month;

/// What is left out of a write on purpose, for the simulator only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omissions {
    /// The opening of a new head leaves the old head's row as it was.
    pub old_head: bool,
    /// The first row is written without the account item.
    pub account_item: bool,
    /// The head is written if its fence's position is not higher, whoever wrote it.
    pub lower_fence: bool,
}

/// A write of an account's changed rows.
pub struct AccountWrite<'a> {
    /// The account.
    pub account: &'a Account,
    /// What stands in the store, as this worker last saw it; `None` if nothing does.
    pub stored: Option<&'a StoredHead>,
    /// The rows as they shall be.
    pub rows: &'a AccountRows,
    /// Which of them changed, ascending.
    pub dirty: &'a [Month],
    /// The account's new fence.
    pub fence: Fence,
    /// Months before this one are closed for every source partition: the head need not name their
    /// rows any more.
    pub open_from: Month,
    /// Left out on purpose.
    pub omit: Omissions,
}

impl AccountWrite<'_> {
    /// The writes, all to be done in one transaction if there is more than one, and what stands in
    /// the store afterwards. `None` if the account has no row to write.
    pub fn build(&self) -> Option<(Vec<Write>, StoredHead)> {
        let head = self.rows.head()?;
        let opens = self.stored.is_some_and(|stored| stored.month < head);
        let older = self.older_after(head, opens);
        let mut writes = Vec::new();
        if self.stored.is_none() && !self.omit.account_item {
            let item = Fields::of_owned(item_key(self.account))
                .text("since", head)
                .item();
            writes.push(self.put(item, Condition::Absent));
        }
        for (month, row) in &self.rows.months {
            let was_head = self.stored.is_some_and(|stored| stored.month == *month);
            let moves = opens && was_head && !self.omit.old_head;
            if *month != head && !moves && !self.dirty.contains(month) {
                continue;
            }
            let view = RowView {
                row,
                fence: self.fence,
                lifetime: &self.rows.lifetime,
                older: &older,
                superseded_by: (*month != head).then_some(head),
            };
            let condition = match self.stored {
                Some(stored) if was_head && (moves || !opens) => self.fence_condition(stored.fence),
                _ if *month == head => Condition::Absent,
                _ => Condition::Always,
            };
            writes.push(self.put(encode_view(self.account, &view), condition));
        }
        Some((
            writes,
            StoredHead {
                month: head,
                fence: self.fence,
                older,
            },
        ))
    }

    fn fence_condition(&self, seen: Fence) -> Condition {
        match (self.omit.lower_fence, self.fence.position) {
            // '~' sorts after every write id of the same position.
            (true, Some(position)) => {
                Condition::AbsentOrAtMost("fence", Attr::S(format!("{position}/~")))
            }
            _ => Condition::Equals("fence", Attr::S(seen.to_string())),
        }
    }

    fn put(&self, item: Item, condition: Condition) -> Write {
        Write::Put {
            table: table(self.account.kind),
            item,
            condition,
        }
    }

    /// The older rows that the head names after this write.
    fn older_after(&self, head: Month, opens: bool) -> BTreeMap<Month, Fence> {
        let mut older = self
            .stored
            .map(|stored| stored.older.clone())
            .unwrap_or_default();
        if opens && let Some(stored) = self.stored {
            let fence = if self.omit.old_head {
                stored.fence
            } else {
                self.fence
            };
            older.insert(stored.month, fence);
            older.retain(|month, _| *month >= self.open_from);
        }
        for month in self.dirty.iter().filter(|month| **month < head) {
            older.insert(*month, self.fence);
        }
        older
    }
}
