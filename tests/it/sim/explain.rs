//! Explanations of some requests, beneficiary by beneficiary, against the oracle.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tidemark::app::queries::{Beneficiary, Explanation, Queries, WhichRequest};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::time::Millis;
use tidemark::log::Partitions;

use super::adapter::{self, InstantDb};
use super::run::{Lean, run};
use crate::edge::memory_log::MemoryLog;
use crate::oracle::{Explained, Output};

/// How many requests of one schedule are explained, at most.
const REQUESTS: usize = 80;

thread_local! {
    /// Requests that were explained, and those of them that were reversed.
    static EXPLAINED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// How many requests this thread has explained.
pub fn explained() -> u64 {
    EXPLAINED.get().0
}

/// Explains requests of a schedule that has ended, drawn at random; half of them reversed ones, if
/// there are so many.
pub fn some(db: &Arc<InstantDb>, now: i64, must: &Output, seed: u64) -> Result<(), String> {
    let partitions = Partitions {
        source: 1,
        posting: 1,
        rejected: 1,
    };
    let queries = Queries::new(db.clone(), Arc::new(MemoryLog::default()), partitions);
    let lives = |of: &&Explained| adapter::usage_row_lives(of.time, now);
    let mut alive: Vec<&Explained> = must.explained.iter().filter(lives).collect();
    let (reversed, others): (Vec<_>, Vec<_>) = alive
        .drain(..)
        .partition(|explained| explained.reversal.is_some());
    let mut rng = StdRng::seed_from_u64(seed);
    let mut chosen = draw(&reversed, REQUESTS / 2, &mut rng);
    chosen.extend(draw(&others, REQUESTS - chosen.len(), &mut rng));
    // Rules as of one control position are compiled once.
    chosen.sort_by_key(|explained| explained.control);
    chosen
        .into_iter()
        .try_for_each(|must| one(&queries, now, must))
}

/// At most so many of them.
fn draw<'o>(all: &[&'o Explained], most: usize, rng: &mut StdRng) -> Vec<&'o Explained> {
    all.choose_multiple(rng, most).copied().collect()
}

fn one(queries: &Queries, now: i64, must: &Explained) -> Result<(), String> {
    let user = Account::new(AccountKind::User, &must.user).map_err(|e| e.to_string())?;
    let which = WhichRequest {
        user: &user,
        source: &must.source,
        id: &must.id,
        time: Some(Millis(must.time)),
    };
    let explained = InstantDb::answer(queries.explain(which, Millis(now)));
    let explained = explained.map_err(|error| format!("{must:?} cannot be explained: {error}"))?;
    if explained.code.is_some() {
        return Err(format!("{must:?}: {:?}", explained.differences));
    }
    let is = told(must, &explained);
    let (all, reversed) = EXPLAINED.get();
    EXPLAINED.set((all + 1, reversed + u64::from(must.reversal.is_some())));
    match is == *must {
        true => Ok(()),
        false => Err(format!(
            "an explanation differs\n  is   {is:?}\n  must {must:?}"
        )),
    }
}

/// What an explanation says, in the oracle's form.
fn told(of: &Explained, explained: &Explanation) -> Explained {
    let booking = &explained.booking;
    let booked = |on: Option<String>, late: Option<String>| on.or(late).unwrap_or_default();
    let cost = explained.cost.as_ref();
    Explained {
        shares: shares(&explained.beneficiaries),
        cost: cost.map_or(0, |cost| cost.cost.0),
        shadow: cost.map_or(0, |cost| cost.shadow_cost.0),
        booked: booked(
            booking.booked_on.map(|day| day.to_string()),
            booking.booked_late_in.map(|month| month.to_string()),
        ),
        reversal: explained.reversal.as_ref().map(|step| {
            let reversal = &step.reversal;
            let on = booked(
                reversal.booked_on.map(|day| day.to_string()),
                reversal.booked_late_in.map(|month| month.to_string()),
            );
            (reversal.source.clone(), reversal.id.clone(), on)
        }),
        control: explained.rules.control,
        ..of.clone()
    }
}

fn shares(of: &[Beneficiary]) -> BTreeMap<((String, String), usize, String), i128> {
    let share = |of: &Beneficiary| {
        let account = (of.kind.to_owned(), of.id.clone().unwrap_or_default());
        let whose = of.of.unwrap_or(of.role).to_owned();
        let place = (account, of.level.unwrap_or(0), whose);
        (place, i128::from(of.points.0))
    };
    of.iter().map(share).collect()
}

#[test]
fn schedules_explain_requests_and_reversed_ones_among_them() {
    let seeds = 6;
    for seed in 0..seeds {
        for lean in [Lean::Everything, Lean::Reversals] {
            assert_eq!(
                run(seed, lean, None, false).failure,
                None,
                "{seed} {lean:?}"
            );
        }
    }
    // What all seeds of a run come to is counted where they run: `seeds::healthy_schedules_...`.
    let (all, reversed) = EXPLAINED.get();
    assert!(all >= 2 * seeds * 25, "{all}");
    assert!(reversed >= seeds * 3, "{reversed}");
}
