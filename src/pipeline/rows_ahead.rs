//! Accounts that were written after the posting checkpoint that is stored. Rows are flushed more
//! often than the checkpoint, so a kill leaves some that hold blocks which the checkpoint has not
//! taken.

use std::collections::BTreeMap;

use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::{Epoch, Offset, Partition, Position};
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
        census::fences(db, kind, |account, fence| {
            let posting = account.partition(next.len() as u32);
            let next = next.get(posting.0 as usize);
            let is_beyond = |position: Position| {
                position.epoch == epoch && next.is_some_and(|next| position.offset >= *next)
            };
            // A row that does not say how far it is may be anywhere.
            let is_ahead = fence.is_none_or(|fence| fence.position.is_some_and(is_beyond));
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
