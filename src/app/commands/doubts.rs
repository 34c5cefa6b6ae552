//! What a person confirms before money or points move: an account that does not exist yet, and an
//! unusually large amount. Both are likely typing errors. Programs are not asked: the API acts.

use std::fmt;

use super::Commands;
use crate::app::queries::{KEYS_LOOKED_MAX, QueryError};
use crate::app::words::grouped_decimal;
use crate::domain::amount::{Money, Points};
use crate::domain::ids::Account;

/// Why a confirmation is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// There is no such account yet.
    UnknownAccount {
        /// Which.
        account: Account,
        /// There are too many keys to say that it has none.
        are_keys_unsearched: bool,
    },
    /// More USD than the setting.
    MuchMoney {
        /// The setting.
        above: Money,
    },
    /// More points than the setting.
    ManyPoints {
        /// The setting.
        above: Points,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::UnknownAccount {
                account,
                are_keys_unsearched,
            } => write!(
                f,
                "there is no {} “{}” yet: {}",
                account.kind,
                account.id(),
                nothing_known(*are_keys_unsearched)
            ),
            Doubt::MuchMoney { above } => {
                write!(f, "this is more than {above} USD (http.ask_above_usd)")
            }
            Doubt::ManyPoints { above } => {
                write!(
                    f,
                    "this is more than {above} points (http.ask_above_points)"
                )
            }
        }
    }
}

impl Commands {
    /// What must be confirmed before credit is added for an account.
    pub async fn doubts_of_credit(
        &self,
        account: &Account,
        amount: Money,
        above: Money,
    ) -> Result<Vec<Doubt>, QueryError> {
        let mut doubts = self.unknown(account).await?;
        if amount.0.unsigned_abs() > above.0.unsigned_abs() {
            doubts.push(Doubt::MuchMoney { above });
        }
        Ok(doubts)
    }

    /// What must be confirmed before an account's points are adjusted.
    pub async fn doubts_of_adjustment(
        &self,
        account: &Account,
        points: Points,
        above: Points,
    ) -> Result<Vec<Doubt>, QueryError> {
        let mut doubts = self.unknown(account).await?;
        if points.0.unsigned_abs() > above.0.unsigned_abs() {
            doubts.push(Doubt::ManyPoints { above });
        }
        Ok(doubts)
    }

    async fn unknown(&self, account: &Account) -> Result<Vec<Doubt>, QueryError> {
        let traces = self.queries.traces_of(account).await?;
        let unknown = || Doubt::UnknownAccount {
            account: account.clone(),
            are_keys_unsearched: traces.are_keys_unsearched,
        };
        Ok(traces.is_empty().then(unknown).into_iter().collect())
    }
}

/// What there is not of an account that does not exist.
pub fn nothing_known(are_keys_unsearched: bool) -> String {
    let mut nothing = "no usage, no points, no referrals, no credits, no wallet, no key".to_owned();
    if are_keys_unsearched {
        let searched = grouped_decimal(&KEYS_LOOKED_MAX.to_string());
        nothing.push_str(&format!(" among the {searched} that were searched"));
    }
    nothing
}
