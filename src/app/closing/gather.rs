//! What a close is made of: the totals of final statements, and wallets.

use std::sync::Arc;

use super::{Closing, Room};
use crate::app::{CommandError, Refusal};
use crate::domain::amount::Points;
use crate::domain::closing::{
    CarriedOver, CloseError, ClosedMonth, LEAVES_MAX, Terms, TreeError, close_month,
};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::{Control, Partition, Position};
use crate::domain::time::Month;
use crate::pipeline::progress::post_checkpoint;
use crate::store::wallets;

/// Accounts that a refusal names.
const NAMED_MAX: usize = 10;

impl Closing {
    /// Refuses a month in which anything can still change.
    pub(super) async fn must_be_final(&self, month: Month) -> Result<(), CommandError> {
        let statements = self.queries.statements(month, self.now()).await?;
        let Some(may_change) = statements.may_change_of() else {
            let detail = format!(
                "{month} is not final yet: it closes 72 hours after its end, once everything before \
                 that is rated and posted and no award of it is pending. Quiet partitions report once a \
                 minute, so after a start this can take two minutes; if it takes longer, \
                 `tidemark doctor` names what has stopped"
            );
            return Err(Refusal::conflict("month_not_final", detail).into());
        };
        match may_change.as_slice() {
            [] => Ok(()),
            accounts => Err(waiting_for(month, accounts)),
        }
    }

    /// The total of every account that has one.
    async fn totals(&self, month: Month) -> Result<Vec<(Account, Points)>, CommandError> {
        let statements = self.queries.statements(month, self.now()).await?;
        let (mut totals, mut unreadable) = (Vec::new(), Vec::new());
        for kind in AccountKind::ALL {
            let each = |account, total| totals.push((account, total));
            unreadable.extend(statements.each_total(kind, each).await?);
        }
        match unreadable.as_slice() {
            [] => Ok(totals),
            accounts => Err(waiting_for(month, accounts)),
        }
    }

    /// Computes a close. Neither final statements nor wallets as of a position ever change.
    pub(super) async fn compute(
        &self,
        month: Month,
        terms: &Terms,
        control: Control,
        carried: CarriedOver,
        room: &Room,
    ) -> Result<Arc<ClosedMonth>, CommandError> {
        let wallets = wallets::as_of(self.db(), control).await?;
        let totals = self.totals(month).await?;
        let terms = terms.clone();
        let room = Arc::clone(room);
        let work = move || {
            let _room = room;
            close_month(&terms, totals, carried, &wallets)
        };
        let closed = tokio::task::spawn_blocking(work).await;
        let closed = closed.map_err(|error| CommandError::Internal(error.to_string()))?;
        let closed = closed.map_err(|error| match error {
            CloseError::AmountOutOfRange => Refusal::invalid("amount_out_of_range", error),
        })?;
        must_fit(closed.payouts.len())?;
        Ok(Arc::new(closed))
    }

    /// How far every posting partition is.
    pub(super) async fn positions(&self) -> Result<Vec<Position>, CommandError> {
        let mut positions = Vec::new();
        for partition in (0..self.queries.partitions().posting).map(Partition) {
            let found = post_checkpoint(self.db(), partition).await?;
            let position = found.map(|found| Position {
                epoch: found.epoch,
                offset: found.next,
            });
            positions.push(position.unwrap_or_default());
        }
        Ok(positions)
    }
}

/// Refuses more addresses than a tree has leaves: before the close begins, as it could never be
/// finished.
fn must_fit(addresses: usize) -> Result<(), Refusal> {
    match addresses > LEAVES_MAX {
        true => Err(Refusal::invalid("too_many_claims", TreeError(addresses))),
        false => Ok(()),
    }
}

fn waiting_for(month: Month, accounts: &[Account]) -> CommandError {
    let named = accounts.iter().take(NAMED_MAX).map(Account::to_string);
    let named: Vec<String> = named.collect();
    let detail = format!(
        "{month} is not final for {} accounts that are set aside or cannot be read, among them {}; \
         `tidemark set-aside list` says what to do",
        accounts.len(),
        named.join(", ")
    );
    Refusal::conflict("accounts_set_aside", detail).into()
}

#[cfg(test)]
mod tests {
    use super::{LEAVES_MAX, must_fit};

    #[test]
    fn more_addresses_than_a_tree_has_leaves_are_refused() {
        assert!(must_fit(LEAVES_MAX).is_ok());
        let refused = must_fit(LEAVES_MAX + 1).unwrap_err();
        assert_eq!(refused.code, "too_many_claims");
    }
}
