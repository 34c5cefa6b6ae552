//! Accounts that were written after the posting checkpoint that is stored. Rows are flushed more
//! often than the checkpoint, so a kill leaves some that hold blocks which the checkpoint has not
//! taken.

use std::collections::BTreeMap;

use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::store::census;
use crate::store::db::{Db, StoreError};

/// So many of them are named.
const NAMED_MAX: usize = 10;

/// The accounts of one posting partition that are ahead of its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsAhead {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub named: Vec<Account>,
}

/// Looks at every account, page by page; those that are ahead, by posting partition. `next` says
/// for each posting partition where its checkpoint goes on in the log of this epoch.
pub(super) async fn rows_ahead(
    db: &dyn Db,
    epoch: Epoch,
    next: &[Offset],
) -> Result<BTreeMap<Partition, RowsAhead>, StoreError> {
    let mut found: BTreeMap<Partition, RowsAhead> = BTreeMap::new();
    for kind in AccountKind::ALL {
        let mut last: Option<Account> = None;
        census::rows(db, kind, |account, row| {
            let posting = account.partition(next.len() as u32);
            let is_ahead = row.fence.position.is_some_and(|position| {
                let next = next.get(posting.0 as usize);
                position.epoch == epoch && next.is_some_and(|next| position.offset >= *next)
            });
            // The rows of an account come together.
            if !is_ahead || last.as_ref() == Some(&account) {
                return;
            }
            let rows = found.entry(posting).or_default();
            rows.count += 1;
            if rows.named.len() < NAMED_MAX {
                rows.named.push(account.clone());
            }
            last = Some(account);
        })
        .await?;
    }
    Ok(found)
}
