//! Witnesses: of each kind of account the one whose row was written last before a checkpoint. If
//! its row is gone or older, the account table was restored or created again, and rows that nobody
//! touches have lost what they had counted.

use super::went_back::OwnCheckpoint;
use super::{Cached, Poster};
use crate::ops::health::{Role, TaskId};
use crate::pipeline::failure::Failure;
use crate::pipeline::retry::persist;
use crate::pipeline::{WorkerContext, installation};
use crate::store::accounts::{self, HeadNow};
use crate::store::checkpoints::Witness;
use crate::store::set_aside::FaultCode;

/// How often a row that contradicts the checkpoint is read before the partition halts.
const READINGS_MAX: u32 = 8;

impl Poster<'_> {
    /// Once a minute: are the tables and the rows still there?
    pub(super) async fn check_tables(&mut self) -> Result<(), Failure> {
        if !self.next_check.is_due(self.ctx) {
            return Ok(());
        }
        self.former_queues.look_again();
        installation::check_tables(self.ctx).await?;
        let witnesses = self.checkpoint.witnesses.clone();
        self.check_witnesses(&witnesses).await
    }

    /// Halts unless the witnesses are found as new as they were. One that is set aside says nothing
    /// while it is.
    pub(super) async fn check_witnesses(&mut self, witnesses: &[Witness]) -> Result<(), Failure> {
        for witness in witnesses {
            if self.aside.is_waiting(&witness.account) {
                continue;
            }
            let check = check(self.ctx, self.own_checkpoint(), witness);
            let checked = self.ctx.protections.witnesses(check).await;
            self.without(checked).await?;
        }
        Ok(())
    }

    /// Notes which accounts were written last.
    pub(super) fn witness(&mut self, written: &[u32]) {
        for number in written {
            let Some(Cached {
                account,
                stored: Some(stored),
                ..
            }) = self.accounts.get(*number)
            else {
                continue;
            };
            let Some(position) = stored.fence.position else {
                continue;
            };
            let is_kind = |witness: &Witness| witness.account.kind == account.kind;
            match self.witnesses.iter_mut().find(|of| is_kind(of)) {
                Some(newest) if newest.position > position => {}
                Some(newest) => {
                    newest.account = account.clone();
                    newest.position = position;
                }
                None => self.witnesses.push(Witness {
                    account: account.clone(),
                    position,
                }),
            }
        }
    }
}

/// Halts unless a witness of a checkpoint is found as new as it was.
async fn check(ctx: &WorkerContext, own: OwnCheckpoint, witness: &Witness) -> Result<(), Failure> {
    // A plain read may show a row as it was before a transaction.
    let mut readings = ctx.readings(READINGS_MAX);
    while let Some(found) = regressed(ctx, witness).await? {
        if !readings.again().await {
            let Witness { account, position } = witness;
            let task = TaskId::new(Role::Post, own.partition);
            let what = format!(
                "the row of {account} is {found}, but the checkpoint of {task} was written after it had counted {position}: table {} is older than table Checkpoints",
                accounts::table(account.kind).name()
            );
            return Err(own.regressed(ctx, Some(*position), what).await);
        }
    }
    Ok(())
}

/// What was found if it is older than the witness.
async fn regressed(ctx: &WorkerContext, witness: &Witness) -> Result<Option<String>, Failure> {
    let account = &witness.account;
    let found = persist(ctx, || accounts::head_now(&*ctx.db, account)).await;
    let unreadable = |error| Failure::of_account(account, FaultCode::RowUnreadable, error);
    Ok(match found.map_err(unreadable)? {
        HeadNow::Fence(fence) if fence.position >= Some(witness.position) => None,
        HeadNow::Fence(fence) => Some(format!("at {fence}")),
        HeadNow::Bare | HeadNow::Absent => Some("gone".to_owned()),
    })
}
