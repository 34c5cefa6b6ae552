//! What posting adds to accounts, from rows of the archive. Pure.

use super::row::{ArchivedRequest, RequestKind};
use crate::domain::amount::Points;
use crate::domain::event::Service;
use crate::domain::ids::{AccountKind, AccountRef};
use crate::domain::posting::{Cascade, Cell, Charge, Deduction, FirstSuccess, LEVELS, Slot};
use crate::domain::time::Month;

/// Something that a row adds to one account, as it stands in posting blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// What it counts and earns with a service.
    Cell(Slot, Service, Cell),
    /// What is taken back of that.
    Deduction(Slot, Service, Deduction),
    /// Points from a referral.
    Referral(Slot, Cascade),
    /// What the user is charged.
    Charge(Month, Charge),
    /// A success that may be the account's first with the service. Only the first in log order that
    /// an account has in its life brings it the points.
    First(FirstSuccess),
}

impl<'a> ArchivedRequest<'a> {
    /// Where it is booked.
    pub fn slot(&self) -> Slot {
        match self.booked_on {
            Some(day) => Slot::Day(day),
            None => Slot::Late(self.month),
        }
    }

    /// What is charged.
    pub const fn charge(&self) -> Charge {
        Charge {
            cost: self.cost,
            shadow: self.shadow_cost,
        }
    }

    /// Who referred the user, nearest first, and the points posted to each.
    pub fn user_referrals(&self) -> [(Option<AccountRef<'a>>, Points); LEVELS] {
        let of = |id: Option<&'a str>, kind| referrer(id, kind, AccountKind::User);
        [
            (
                of(self.user_referrer_1, self.user_referrer_1_kind),
                self.user_referral_1,
            ),
            (
                of(self.user_referrer_2, self.user_referrer_2_kind),
                self.user_referral_2,
            ),
            (
                of(self.user_referrer_3, self.user_referrer_3_kind),
                self.user_referral_3,
            ),
        ]
    }

    /// Who referred the provider, nearest first, and the points posted to each.
    pub fn provider_referrals(&self) -> [(Option<AccountRef<'a>>, Points); LEVELS] {
        let of = |id: Option<&'a str>, kind| referrer(id, kind, AccountKind::Provider);
        [
            (
                of(self.provider_referrer_1, self.provider_referrer_1_kind),
                self.provider_referral_1,
            ),
            (
                of(self.provider_referrer_2, self.provider_referrer_2_kind),
                self.provider_referral_2,
            ),
            (
                of(self.provider_referrer_3, self.provider_referrer_3_kind),
                self.provider_referral_3,
            ),
        ]
    }

    /// Gives everything that posting adds to an account because of this row: to the user, the
    /// provider and every referrer of both. The columns [`super::Columns::POSTED`] suffice.
    pub fn posted(&self, mut add: impl FnMut(AccountRef<'a>, Posted)) {
        if let Some(provider) = self.provider {
            let account = AccountRef::provider(provider);
            self.add_cells(
                account,
                self.provider_points,
                self.provider_is_new,
                &mut add,
            );
            self.add_referrals(self.provider_referrals(), &mut add);
        }
        let user = AccountRef::user(self.user);
        self.add_cells(user, self.user_points, false, &mut add);
        self.add_referrals(self.user_referrals(), &mut add);
        if self.charge() != Charge::default() {
            add(user, Posted::Charge(self.month, self.charge()));
        }
        if let Some(points) = self.trial_points {
            let (service, slot) = (self.service, self.slot());
            add(
                user,
                Posted::First(FirstSuccess {
                    service,
                    slot,
                    points,
                }),
            );
        }
    }

    fn add_cells(
        &self,
        account: AccountRef<'a>,
        points: Points,
        is_new: bool,
        add: &mut impl FnMut(AccountRef<'a>, Posted),
    ) {
        let (slot, service) = (self.slot(), self.service);
        let now = Cell::of_event(self.status, self.latency_ms, self.target_ms);
        match self.kind {
            RequestKind::Event => add(account, Posted::Cell(slot, service, Cell { points, ..now })),
            RequestKind::Completion => {
                let before = match is_new {
                    // It was not named before, so nothing was counted for it.
                    true => Cell::default(),
                    false => Cell::of_event(
                        self.status,
                        self.earlier_latency_ms,
                        self.earlier_target_ms.unwrap_or(0),
                    ),
                };
                let more = Cell {
                    points,
                    ..now.beyond(&before)
                };
                let less = Deduction {
                    target_ms: before.target_ms.saturating_sub(now.target_ms),
                    ..Deduction::default()
                };
                if more != Cell::default() {
                    add(account, Posted::Cell(slot, service, more));
                }
                if less != Deduction::default() {
                    add(account, Posted::Deduction(slot, service, less));
                }
            }
            RequestKind::Reversal => {
                let deduction = Deduction {
                    reversed: 1,
                    points: Points::ZERO.minus(points),
                    timed: now.timed,
                    latency_ms: now.latency_ms,
                    target_ms: now.target_ms,
                };
                add(account, Posted::Deduction(slot, service, deduction));
            }
        }
    }

    fn add_referrals(
        &self,
        referrals: [(Option<AccountRef<'a>>, Points); LEVELS],
        add: &mut impl FnMut(AccountRef<'a>, Posted),
    ) {
        let slot = self.slot();
        for (level, (referrer, points)) in referrals.into_iter().enumerate() {
            if let Some(referrer) = referrer
                && points != Points::ZERO
            {
                let brought = Cascade::at(level, points);
                add(referrer, Posted::Referral(slot, brought));
            }
        }
    }
}

/// A referrer of a row. Older versions wrote no kind; it is taken to be that of whom it referred.
fn referrer(
    id: Option<&str>,
    kind: Option<AccountKind>,
    of_referee: AccountKind,
) -> Option<AccountRef<'_>> {
    let kind = kind.unwrap_or(of_referee);
    id.map(|id| AccountRef { kind, id })
}
