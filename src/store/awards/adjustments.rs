//! Adjustments: what admins correct, once per account and idempotency key, and within bounds.

use serde_json::json;

use super::{Award, AwardKind, awards_of, grant_writes, read_award, record_key};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, IdError, check_id};
use crate::domain::text::{TextError, check_reason};
use crate::domain::time::Millis;
use crate::store::audit;
use crate::store::conditional::{Attempts, WriteOutcome};
use crate::store::db::{Attr, Condition, Db, Key, StoreError, Table, Write};
use crate::store::row::{Fields, Row};

/// An admin's correction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Whose points.
    pub account: Account,
    /// How much, plus or minus.
    pub points: Points,
    /// Why: 1 to 500 characters, see [`check_reason`].
    pub reason: String,
    /// Names this correction, so that a repeat counts once: 1 to 128 characters, unique per
    /// account.
    pub idempotency_key: String,
    /// Who makes it.
    pub by: String,
    /// When; it belongs to this month.
    pub now: Millis,
}

/// What a grant came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Just now.
    Now,
    /// Already, under the same key with the same content.
    Before,
}

/// The largest adjustment, up or down: one typing error must not ruin an account.
pub const ADJUSTMENT_MAX: Points = Points::whole(100_000_000);
/// How far an account may be adjusted in all, over its life: the sum of its adjustments, each
/// without its sign. It is one percent of the range of points. So whichever of them a month row
/// holds, and in whatever order they come, they alone never take it out of its range, which would
/// halt the poster of the account.
pub const ADJUSTED_MAX: Points = Points::whole(100_000_000_000);

/// Why an adjustment was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdjustmentError {
    /// The idempotency key is no id.
    #[error("the idempotency key: {0}")]
    Key(#[from] IdError),
    /// The reason cannot be kept.
    #[error(transparent)]
    Reason(#[from] TextError),
    /// It would change nothing.
    #[error("an adjustment of 0 points changes nothing")]
    Zero,
    /// More than one correction may be.
    #[error("{0} points are more than one adjustment may be: {ADJUSTMENT_MAX}, plus or minus")]
    TooMuch(Points),
    /// All corrections of the account together are more than they may be.
    #[error(
        "all adjustments of {account}, up and down together, are {adjusted} points; with this one of {points} they would be more than {ADJUSTED_MAX}"
    )]
    Exceeded {
        /// The account.
        account: Account,
        /// How far it was adjusted before.
        adjusted: Points,
        /// What was to be added.
        points: Points,
    },
    /// The key was used for another amount.
    #[error(
        "the idempotency key {key} was used for an adjustment of {before}; use a new key for another one"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// What was granted under it.
        before: Points,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Grants an adjustment, once per account and idempotency key, with one entry of the audit trail.
pub async fn adjustment(
    db: &dyn Db,
    adjustment: &Adjustment,
    partitions: u32,
) -> Result<Granted, AdjustmentError> {
    let Adjustment {
        idempotency_key,
        reason,
        points,
        ..
    } = adjustment;
    check_texts(idempotency_key, reason)?;
    let award = Award {
        id: adjustment_id(&adjustment.idempotency_key),
        account: adjustment.account.clone(),
        kind: AwardKind::Adjustment,
        month: adjustment.now.month(),
        points: adjustment.points,
        granted_at: adjustment.now,
        reason: format!("{} ({})", adjustment.reason, adjustment.by),
    };
    let keys = [
        record_key(&award.account, &award.id),
        sum_key(&award.account),
    ];
    let mut attempts = Attempts::new(db);
    let mut tried = false;
    loop {
        let items = db.batch_get(&keys).await?;
        if let Some(item) = &items[0] {
            let before = read_award(&Row::new(keys[0].clone(), item))?;
            if before.points != award.points {
                return Err(AdjustmentError::KeyReused {
                    key: adjustment.idempotency_key.clone(),
                    before: before.points,
                });
            }
            // After a lost answer "now" and "before" cannot be told apart, and need not be.
            return Ok(if tried { Granted::Now } else { Granted::Before });
        }
        check_points(*points)?;
        let known = items[1]
            .as_ref()
            .map(|item| Row::new(keys[1].clone(), item).number("adjusted"));
        let known = known.transpose()?.map(Points);
        tried = true;
        let mut writes = grant_writes(award.clone(), partitions);
        writes.push(sum_write(db, adjustment, known).await?);
        writes.push(audit_write(adjustment));
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(Granted::Now);
        }
    }
}

/// Refuses what no adjustment may be, without the store: before a person is asked to confirm it.
pub fn check_adjustment(
    idempotency_key: &str,
    reason: &str,
    points: Points,
) -> Result<(), AdjustmentError> {
    check_texts(idempotency_key, reason)?;
    check_points(points)
}

fn check_texts(idempotency_key: &str, reason: &str) -> Result<(), AdjustmentError> {
    check_id(idempotency_key)?;
    Ok(check_reason(reason)?)
}

/// What one adjustment may be. What was granted before under its key is not asked.
fn check_points(points: Points) -> Result<(), AdjustmentError> {
    match points {
        Points::ZERO => Err(AdjustmentError::Zero),
        _ if points > ADJUSTMENT_MAX || points < Points(-ADJUSTMENT_MAX.0) => {
            Err(AdjustmentError::TooMuch(points))
        }
        _ => Ok(()),
    }
}

fn sum_key(account: &Account) -> Key {
    Key::new(Table::Checkpoints, format!("adjusted#{account}"), "sum")
}

/// The write that adds an adjustment to the sum of its account, if that is still `known` (`None`:
/// there is none yet); refused beyond the bound.
async fn sum_write(
    db: &dyn Db,
    adjustment: &Adjustment,
    known: Option<Points>,
) -> Result<Write, AdjustmentError> {
    let Adjustment {
        account, points, ..
    } = adjustment;
    let adjusted = match known {
        Some(adjusted) => adjusted,
        // The account's first, or those before were granted by a version that kept no sum.
        None => granted_before(db, account).await?,
    };
    let exceeded = || AdjustmentError::Exceeded {
        account: account.clone(),
        adjusted,
        points: *points,
    };
    let sum = adjusted.checked_plus(Points(points.0.abs()));
    let sum = sum.ok().filter(|sum| *sum <= ADJUSTED_MAX);
    let item = Fields::of(&sum_key(account)).number("adjusted", sum.ok_or_else(exceeded)?.0);
    Ok(Write::Put {
        table: Table::Checkpoints,
        item: item.item(),
        condition: match known {
            Some(adjusted) => Condition::Equals("adjusted", Attr::N(adjusted.0.into())),
            None => Condition::Absent,
        },
    })
}

async fn granted_before(db: &dyn Db, account: &Account) -> Result<Points, StoreError> {
    let awards = awards_of(db, account).await?;
    let adjustments = awards
        .iter()
        .filter(|award| award.kind == AwardKind::Adjustment);
    Ok(Points(adjustments.fold(0, |sum, award| {
        sum.saturating_add(award.points.0.saturating_abs())
    })))
}

/// The adjustment that was granted to an account under an idempotency key.
pub async fn adjustment_of(
    db: &dyn Db,
    account: &Account,
    idempotency_key: &str,
) -> Result<Option<Award>, StoreError> {
    let key = record_key(account, &adjustment_id(idempotency_key));
    let item = db.get(&key).await?;
    item.map(|item| read_award(&Row::new(key.clone(), &item)))
        .transpose()
}

fn adjustment_id(idempotency_key: &str) -> String {
    format!("adjustment#{idempotency_key}")
}

fn audit_write(adjustment: &Adjustment) -> Write {
    audit::write(&audit::Entry {
        at: adjustment.now,
        action: "awards.adjust".to_owned(),
        subject: adjustment.account.to_string(),
        by: adjustment.by.clone(),
        detail: json!({
            "points": adjustment.points.to_string(), "month": adjustment.now.month(),
            "reason": adjustment.reason, "idempotencyKey": adjustment.idempotency_key,
        }),
    })
}
