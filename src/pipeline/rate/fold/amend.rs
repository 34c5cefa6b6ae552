//! What amendments of earlier events change: reversals and completions. Pure.

use super::{Fold, Rated, detect};
use crate::domain::amount::{Bp, Points};
use crate::domain::event::{Service, UsageEvent};
use crate::domain::ids::AccountRef;
use crate::domain::posting::{Cascade, Cell, Charge, Deduction, LEVELS, Slot};
use crate::domain::rating::{is_successful, rate};
use crate::domain::rules::Rules;
use crate::domain::tier::Tier;
use crate::domain::time::Millis;
use crate::pipeline::follower::Chain;
use crate::pipeline::hashed::AccountHash;
use crate::pipeline::rate::originals::{Original, Party};
use crate::pipeline::rate::tiers::Tiers;

/// What an event is since a later report completed it.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline::rate) struct Completed<'a> {
    /// Everything that is known of it.
    pub event: &'a UsageEvent<'a>,
    /// Who served it.
    pub provider: Option<Party<'a>>,
    /// Whether the first report named the model. Then its tier was decided.
    pub model_was_known: bool,
}

impl Fold {
    /// Takes back what an event has earned and cost; where it is booked.
    pub fn take_back(&mut self, original: &Original<'_>, log_time: Millis) -> Slot {
        let Original { rated, service, .. } = *original;
        let slot = self.slot(rated.time, log_time);
        let rules = original.timeline.at(rated.time);
        let cell = cell_of_original(original, rules);
        let deduction = Deduction {
            reversed: 1,
            points: Points::ZERO,
            timed: cell.timed,
            latency_ms: cell.latency_ms,
            target_ms: cell.target_ms,
        };
        let cascade = rules.cascade();
        let parties = [
            original
                .provider
                .map(|party| (party, rated.provider_points)),
            Some((original.user, rated.user_points)),
        ];
        for (party, points) in parties.into_iter().flatten() {
            let number = self.number(party.account);
            let deduction = Deduction {
                points,
                ..deduction
            };
            self.room.gathered[number as usize].take_back(slot, service, &deduction);
            self.change_referrers(party.chain, slot, (points, Points::ZERO), cascade);
        }
        self.charge(original, slot, &Charge::default());
        slot
    }

    /// Puts a completed event in the place of the original: what it brings, less what that one has
    /// brought.
    pub(in crate::pipeline::rate) fn complete(
        &mut self,
        original: &Original<'_>,
        completed: &Completed<'_>,
        log_time: Millis,
        tiers: &mut Tiers,
    ) -> Rated {
        let (Original { rated, service, .. }, event) = (*original, completed.event);
        let slot = self.slot(event.time, log_time);
        let rules = original.timeline.at(event.time);
        let mut model = detect(event, service, rules, tiers);
        if let Some(tier) = rated.tier.filter(|_| completed.model_was_known) {
            model.tier = tier;
        }
        let amounts = rate(event, service, &model, rules);
        let (before, now) = (
            cell_of_original(original, rules),
            Cell::of_event(event.status, event.latency_ms, amounts.target_ms),
        );
        let cascade = rules.cascade();
        if let Some(provider) = completed.provider {
            // One that was not named has counted nothing.
            let (before, points) = match original.provider {
                Some(_) => (before, rated.provider_points),
                None => (Cell::default(), Points::ZERO),
            };
            let change = (points, amounts.provider);
            self.change(provider, slot, service, (&before, &now), change);
            self.change_referrers(provider.chain, slot, change, cascade);
        }
        let change = (rated.user_points, amounts.user);
        self.change(original.user, slot, service, (&before, &now), change);
        self.change_referrers(original.user.chain, slot, change, cascade);
        self.charge(original, slot, &amounts.charge);
        Rated {
            tier: model.tier,
            amounts,
            slot,
            trial: None,
        }
    }

    fn change(
        &mut self,
        party: Party<'_>,
        slot: Slot,
        service: Service,
        (cell_before, cell_now): (&Cell, &Cell),
        (points_before, points_now): (Points, Points),
    ) {
        let more = Cell {
            points: points_now.minus(points_before),
            ..cell_now.beyond(cell_before)
        };
        // A model that becomes known may have a shorter target.
        let less = Deduction {
            target_ms: cell_before.target_ms.saturating_sub(cell_now.target_ms),
            ..Deduction::default()
        };
        let number = self.number(party.account);
        let gathered = &mut self.room.gathered[number as usize];
        if more != Cell::default() {
            gathered.add(slot, service, &more);
        }
        if less != Deduction::default() {
            gathered.take_back(slot, service, &less);
        }
    }

    fn change_referrers(
        &mut self,
        chain: Option<&Chain>,
        slot: Slot,
        change: (Points, Points),
        cascade: [Bp; LEVELS],
    ) {
        let changes = referral_changes(chain, change, cascade);
        for (level, changed) in changes.into_iter().enumerate() {
            if let Some((referrer, points)) = changed
                && points != Points::ZERO
            {
                let number = self.number(referrer);
                self.room.refer(number, slot, &Cascade::at(level, points));
            }
        }
    }

    fn charge(&mut self, original: &Original<'_>, slot: Slot, now: &Charge) {
        let number = self.number(original.user.account);
        let change = now.less(&original.rated.charge);
        self.room.gathered[number as usize].charge(slot.month(), &change);
    }

    fn number(&mut self, account: AccountRef<'_>) -> u32 {
        self.room.number(AccountHash::of(account), account)
    }
}

/// Who referred an account, nearest first, and what changes for each when its amount changes.
pub(in crate::pipeline::rate) fn referral_changes(
    chain: Option<&Chain>,
    (before, now): (Points, Points),
    cascade: [Bp; LEVELS],
) -> [Option<(AccountRef<'_>, Points)>; LEVELS] {
    let mut changes = [None; LEVELS];
    let referrers = chain.map_or(&[][..], |chain| &chain.accounts);
    for (level, referrer) in referrers.iter().enumerate().take(LEVELS) {
        let [before, now] = [before, now].map(|points| points.times(cascade[level]));
        changes[level] = Some((AccountRef::from(referrer), now.minus(before)));
    }
    changes
}

/// What an event has added to the sums of each account that it named, without points.
fn cell_of_original(original: &Original<'_>, rules: &Rules) -> Cell {
    let rated = original.rated;
    let target_ms = target_of_original(original, rules);
    Cell::of_event(rated.status, rated.latency_ms, target_ms)
}

/// The latency that was expected of an event; 0 if it was not successful.
pub(in crate::pipeline::rate) fn target_of_original(original: &Original<'_>, rules: &Rules) -> u64 {
    let tier = original.rated.tier.unwrap_or(Tier::TidePool);
    match is_successful(original.rated.status) {
        true => rules.earnings(original.service, tier).target_ms,
        false => 0,
    }
}
