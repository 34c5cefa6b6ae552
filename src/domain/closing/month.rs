//! What a close pays, and what it carries on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bnum::cast::As as _;
use bnum::types::U512;

use super::terms::{Share, Terms};
use crate::domain::amount::{MICROPOINTS_PER_POINT, Points, WidePoints};
use crate::domain::ethereum::{Address, NO_UNITS, U256};
use crate::domain::ids::Account;

/// What an account brings along from earlier closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarriedAccount {
    /// Points that are taken off before anything is paid; not negative.
    pub debt: WidePoints,
    /// Tokens that could not be paid yet, in smallest units.
    pub unpaid: U256,
}

/// What a close hands on to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarriedOver {
    /// Accounts with debt or something unpaid.
    pub accounts: BTreeMap<Account, CarriedAccount>,
    /// What every address was paid so far.
    pub paid: BTreeMap<Address, U256>,
}

/// What became of an account in a close. The names are stable: they stand in files and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimStatus {
    /// It is paid: its address can claim.
    Claimable,
    /// What it has to get waits until it has a wallet.
    NoWallet,
    /// What it has to get waits until it is at least the minimum.
    BelowMinimum,
    /// It has nothing to get, and owes points that later closes take off first.
    Debt,
    /// It has nothing to get.
    Nothing,
    /// Its kind takes no part in this close.
    Excluded,
}

impl ClaimStatus {
    /// All of them.
    pub const ALL: [ClaimStatus; 6] = [
        ClaimStatus::Claimable,
        ClaimStatus::NoWallet,
        ClaimStatus::BelowMinimum,
        ClaimStatus::Debt,
        ClaimStatus::Nothing,
        ClaimStatus::Excluded,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            ClaimStatus::Claimable => "claimable",
            ClaimStatus::NoWallet => "no_wallet",
            ClaimStatus::BelowMinimum => "below_minimum",
            ClaimStatus::Debt => "debt",
            ClaimStatus::Nothing => "nothing",
            ClaimStatus::Excluded => "excluded",
        }
    }
}

impl fmt::Display for ClaimStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ClaimStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<ClaimStatus, String> {
        let mut all = ClaimStatus::ALL.into_iter();
        let found = all.find(|status| status.as_str() == text);
        found.ok_or_else(|| format!("'{text}' is not the status of a claim"))
    }
}

/// An account in a close. Amounts are in the token's smallest unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountOutcome {
    /// Who.
    pub account: Account,
    /// Its wallet as of the close's control position.
    pub address: Option<Address>,
    /// The total of its statement.
    pub total: Points,
    /// Its debt before.
    pub debt_before: WidePoints,
    /// The points that are paid for.
    pub eligible: Points,
    /// What they bring.
    pub amount: U256,
    /// What it had to get from earlier closes.
    pub carried: U256,
    /// What it is paid now: everything that it has to get, or nothing.
    pub paid: U256,
    /// What waits for a later close.
    pub unpaid: U256,
    /// Its debt after.
    pub debt: WidePoints,
    /// What became of it.
    pub status: ClaimStatus,
}

/// An address in a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payout {
    /// Where it goes.
    pub address: Address,
    /// What this close pays to it, for all accounts that have linked it.
    pub amount: U256,
    /// What it was paid so far, this close included.
    pub cumulative: U256,
}

/// Sums of a close. Amounts are in the token's smallest unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Accounts that have something to do with it.
    pub accounts: u64,
    /// Those that are paid.
    pub paid_accounts: u64,
    /// Those that wait for a wallet.
    pub without_wallet: u64,
    /// Those that wait for the minimum.
    pub below_minimum: u64,
    /// Those that owe points after it.
    pub in_debt: u64,
    /// The points that are paid for.
    pub points: WidePoints,
    /// The points that are owed after it.
    pub debt: WidePoints,
    /// What the points bring.
    pub amount: U256,
    /// What the floors leave in the pool; 0 if tokens are paid per point.
    pub remainder: U256,
    /// What earlier closes had not paid.
    pub carried: U256,
    /// What this close pays: what its claims sum up to.
    pub paid: U256,
    /// What waits for a later close.
    pub unpaid: U256,
    /// What all closes so far have paid.
    pub cumulative: U256,
}

/// A close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedMonth {
    /// By account.
    pub accounts: Vec<AccountOutcome>,
    /// Every address that was paid so far, in order.
    pub payouts: Vec<Payout>,
    /// Sums.
    pub totals: Totals,
}

/// Why a month cannot be closed on these terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// A sum would be 2^256 or more.
    #[error(
        "an amount or a sum of amounts is 2^256 or more of the token's smallest unit; pay fewer tokens"
    )]
    AmountOutOfRange,
}

impl ClosedMonth {
    /// What the next close needs to know.
    pub fn carried_over(&self) -> CarriedOver {
        let accounts = self.accounts.iter().filter_map(|outcome| {
            let carried = CarriedAccount {
                debt: outcome.debt,
                unpaid: outcome.unpaid,
            };
            (carried != CarriedAccount::default()).then(|| (outcome.account.clone(), carried))
        });
        let paid = self.payouts.iter();
        CarriedOver {
            accounts: accounts.collect(),
            paid: paid
                .map(|payout| (payout.address, payout.cumulative))
                .collect(),
        }
    }
}

/// Closes a month. `totals` are those of its final statements, each account once, in any order.
///
/// # Errors
/// An amount leaves its range.
pub fn close_month(
    terms: &Terms,
    totals: Vec<(Account, Points)>,
    carried: CarriedOver,
    wallets: &BTreeMap<Account, Address>,
) -> Result<ClosedMonth, CloseError> {
    let CarriedOver { accounts, paid } = carried;
    let mut outcomes = with_points(terms, totals, accounts);
    let points: i128 = outcomes.iter().map(|one| i128::from(one.eligible.0)).sum();
    for outcome in &mut outcomes {
        outcome.address = wallets.get(&outcome.account).copied();
        outcome.pay(terms, points)?;
    }
    let payouts = payouts(&outcomes, paid)?;
    let totals = sums(terms, &outcomes, &payouts)?;
    Ok(ClosedMonth {
        accounts: outcomes,
        payouts,
        totals,
    })
}

/// The accounts that earn or owe points in this month, or bring something along; by account.
fn with_points(
    terms: &Terms,
    mut totals: Vec<(Account, Points)>,
    mut carried: BTreeMap<Account, CarriedAccount>,
) -> Vec<AccountOutcome> {
    // Debt is kept also for a kind that takes no part: otherwise a later close would pay for points
    // that were reversed.
    totals.retain(|(account, total)| {
        let takes_part = terms.kinds.has(account.kind);
        *total < Points::ZERO
            || (takes_part && *total != Points::ZERO)
            || carried.contains_key(account)
    });
    let mut outcomes = Vec::with_capacity(totals.len() + carried.len());
    for (account, total) in totals {
        let before = carried.remove(&account).unwrap_or_default();
        outcomes.push(AccountOutcome::of(terms, account, total, before));
    }
    for (account, before) in carried {
        outcomes.push(AccountOutcome::of(terms, account, Points::ZERO, before));
    }
    outcomes.sort_unstable_by(|one, other| one.account.cmp(&other.account));
    outcomes
}

impl AccountOutcome {
    /// Debt is taken off first. What an account earns whose kind takes no part neither counts nor
    /// pays off its debt.
    fn of(
        terms: &Terms,
        account: Account,
        total: Points,
        before: CarriedAccount,
    ) -> AccountOutcome {
        let counted = match terms.kinds.has(account.kind) {
            true => total.0,
            false => total.0.min(0),
        };
        let rest = i128::from(counted) - before.debt.0;
        AccountOutcome {
            account,
            address: None,
            total,
            debt_before: before.debt,
            eligible: Points::saturating(rest.max(0)),
            amount: NO_UNITS,
            carried: before.unpaid,
            paid: NO_UNITS,
            unpaid: NO_UNITS,
            debt: WidePoints((-rest).max(0)),
            status: ClaimStatus::Nothing,
        }
    }

    fn pay(&mut self, terms: &Terms, points: i128) -> Result<(), CloseError> {
        self.amount = match terms.share {
            _ if self.eligible == Points::ZERO => NO_UNITS,
            Share::Pool(pool) => share(pool, self.eligible, points)?,
            Share::PerPoint(tokens) => {
                share(tokens, self.eligible, i128::from(MICROPOINTS_PER_POINT))?
            }
        };
        let due = plus(self.carried, self.amount)?;
        self.status = match self.address {
            _ if !terms.kinds.has(self.account.kind) => ClaimStatus::Excluded,
            _ if due == NO_UNITS && self.debt.0 > 0 => ClaimStatus::Debt,
            _ if due == NO_UNITS => ClaimStatus::Nothing,
            None => ClaimStatus::NoWallet,
            Some(_) if due < terms.minimum => ClaimStatus::BelowMinimum,
            Some(_) => ClaimStatus::Claimable,
        };
        match self.status {
            ClaimStatus::Claimable => self.paid = due,
            _ => self.unpaid = due,
        }
        Ok(())
    }
}

/// `floor(tokens × part / whole)`, for a whole above zero.
fn share(tokens: U256, part: Points, whole: i128) -> Result<U256, CloseError> {
    let (part, whole): (U512, U512) = (part.0.as_(), whole.as_());
    let tokens: U512 = tokens.as_();
    narrow(tokens * part / whole)
}

/// A number of 512 bits that fits 256.
fn narrow(wide: U512) -> Result<U256, CloseError> {
    let narrow: U256 = wide.as_();
    match narrow.as_::<U512>() == wide {
        true => Ok(narrow),
        false => Err(CloseError::AmountOutOfRange),
    }
}

fn plus(one: U256, other: U256) -> Result<U256, CloseError> {
    one.checked_add(other).ok_or(CloseError::AmountOutOfRange)
}

/// What each address is paid now and was paid so far.
fn payouts(
    outcomes: &[AccountOutcome],
    paid_before: BTreeMap<Address, U256>,
) -> Result<Vec<Payout>, CloseError> {
    let mut now: Vec<(Address, U256)> = outcomes
        .iter()
        .filter(|outcome| outcome.paid != NO_UNITS)
        .filter_map(|outcome| Some((outcome.address?, outcome.paid)))
        .collect();
    now.sort_unstable();
    let before = paid_before.into_iter().map(|(address, cumulative)| Payout {
        address,
        amount: NO_UNITS,
        cumulative,
    });
    let now = now.into_iter().map(|(address, amount)| Payout {
        address,
        amount,
        cumulative: amount,
    });
    let mut all: Vec<Payout> = before.chain(now).collect();
    // Stable, and what was paid before comes first.
    all.sort_by_key(|payout| payout.address);
    let mut merged: Vec<Payout> = Vec::with_capacity(all.len());
    for payout in all {
        match merged.last_mut() {
            Some(last) if last.address == payout.address => {
                last.amount = plus(last.amount, payout.amount)?;
                last.cumulative = plus(last.cumulative, payout.cumulative)?;
            }
            _ => merged.push(payout),
        }
    }
    Ok(merged)
}

fn sums(
    terms: &Terms,
    outcomes: &[AccountOutcome],
    payouts: &[Payout],
) -> Result<Totals, CloseError> {
    let mut totals = Totals {
        accounts: outcomes.len() as u64,
        ..Totals::default()
    };
    for outcome in outcomes {
        match outcome.status {
            ClaimStatus::Claimable => totals.paid_accounts += 1,
            ClaimStatus::NoWallet => totals.without_wallet += 1,
            ClaimStatus::BelowMinimum => totals.below_minimum += 1,
            ClaimStatus::Debt | ClaimStatus::Nothing | ClaimStatus::Excluded => {}
        }
        totals.in_debt += u64::from(outcome.debt.0 > 0);
        totals.points.0 += i128::from(outcome.eligible.0);
        totals.debt.0 += outcome.debt.0;
        totals.amount = plus(totals.amount, outcome.amount)?;
        totals.carried = plus(totals.carried, outcome.carried)?;
        totals.paid = plus(totals.paid, outcome.paid)?;
        totals.unpaid = plus(totals.unpaid, outcome.unpaid)?;
    }
    for payout in payouts {
        totals.cumulative = plus(totals.cumulative, payout.cumulative)?;
    }
    if let Share::Pool(pool) = terms.share {
        // Floors of shares of a pool never sum up to more than the pool.
        totals.remainder = pool.saturating_sub(totals.amount);
    }
    Ok(totals)
}
