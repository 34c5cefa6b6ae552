//! `tidemark verify` at the end of a schedule: every row is what the archive and the awards come to.

use std::cell::Cell;
use std::sync::Arc;

use futures::executor::block_on;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tidemark::app::queries::Queries;
use tidemark::app::queries::verify::{Progress, Verified, VerifyError, VerifyRequest};
use tidemark::archive::ArchiveStore;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{DayStats, ServiceStats};
use tidemark::domain::service::Service;
use tidemark::log::Partitions;
use tidemark::store::accounts::{self, StoredRow};

use super::adapter::InstantDb;
use super::run::{Lean, run};
use crate::edge::memory_log::MemoryLog;

thread_local! {
    /// Schedules that were verified, and those of which the archive holds everything.
    static VERIFIED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// Schedules of which nothing could be compared.
    static NOT_COMPARED: Cell<u64> = const { Cell::new(0) };
    /// How many rows are to be changed by hand, and how many were.
    static INJECTED: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

type Found = Vec<(Account, String)>;

fn verify(
    db: &Arc<InstantDb>,
    store: &ArchiveStore,
    partitions: Partitions,
) -> Result<(Verified, Found), VerifyError> {
    let queries = Queries::new(db.clone(), Arc::new(MemoryLog::default()), partitions);
    let mut found = Found::new();
    let request = VerifyRequest {
        // Few, so that shares are split in many schedules.
        accounts_max: 8,
        ..VerifyRequest::default()
    };
    let tell = |progress| {
        if let Progress::Found(difference) = progress {
            let what = format!("{difference:?}");
            found.push((difference.account, what));
        }
    };
    let verified = block_on(queries.verify(store, &request, tell))?;
    Ok((verified, found))
}

/// Verifies the rows of a schedule that has ended.
pub fn check(
    db: &Arc<InstantDb>,
    store: &ArchiveStore,
    partitions: Partitions,
) -> Result<(), String> {
    let verified = match verify(db, store, partitions) {
        Ok((verified, found)) if found.is_empty() => verified,
        Ok((_, found)) => return Err(format!("verify finds {found:#?}")),
        // A worker died while it wrote one, and then tables were restored.
        Err(VerifyError::Empty(_) | VerifyError::Overlap(..)) => return Ok(()),
        // Every month that has rows is one of which the archive lacks requests.
        Err(VerifyError::NothingCompared(why)) => {
            eprintln!("nothing was compared: {why}");
            NOT_COMPARED.set(NOT_COMPARED.get() + 1);
            return Ok(());
        }
        Err(error) => return Err(format!("verify cannot run: {error}")),
    };
    let (all, whole) = VERIFIED.get();
    VERIFIED.set((all + 1, whole + u64::from(verified.is_whole)));
    match INJECTED.get() {
        Some((wanted, done)) if verified.is_whole && done < wanted => {
            INJECTED.set(Some((wanted, done + inject(db, store, partitions, done)?)));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// How many rows are changed by hand in one schedule.
const INJECTED_OF_SCHEDULE: u64 = 60;

/// Changes one value of one row at a time; each change must be found, and nothing else.
fn inject(
    db: &Arc<InstantDb>,
    store: &ArchiveStore,
    partitions: Partitions,
    seed: u64,
) -> Result<u64, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let rows: Vec<_> = AccountKind::ALL
        .into_iter()
        .flat_map(|kind| {
            let table = accounts::table(kind);
            let items = db.0.iter().filter(move |(key, _)| key.table == table);
            items.filter_map(move |(key, item)| {
                let (account, row) = accounts::account_of(kind, item).ok()??;
                Some((key.clone(), account, row))
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(0);
    }
    for _ in 0..INJECTED_OF_SCHEDULE {
        let (key, account, mut row) = rows.choose(&mut rng).unwrap().clone();
        let change = change(&mut rng, &account, &mut row);
        let mut changed = db.0.clone();
        changed.insert(key, accounts::encode(&account, &row));
        let (_, found) = verify(&Arc::new(InstantDb(changed)), store, partitions)
            .map_err(|error| format!("{change} of {account}: {error}"))?;
        let is_only = found.iter().all(|(of, _)| *of == account);
        if found.is_empty() || !is_only {
            return Err(format!(
                "{change} of {account} in {row:?}: verify finds {found:#?}"
            ));
        }
    }
    Ok(INJECTED_OF_SCHEDULE)
}

/// Changes one value of a row; which.
fn change(rng: &mut StdRng, account: &Account, stored: &mut StoredRow) -> &'static str {
    let by = rng.random_range(1..1_000_000u64);
    let signed = by as i64;
    let row = &mut stored.row;
    let is_head = stored.superseded_by.is_none();
    let service = *Service::DEFAULTS.choose(rng).unwrap();
    let services: &mut ServiceStats = &mut row.services[service];
    let day_count = row.days.len();
    match rng.random_range(0..30) {
        0 => row.bonus.0 += signed,
        1 => row.late.points.0 -= signed,
        2 => row.late.requests += by,
        3 => row.late.successful += by,
        4 => row.late.failed += by,
        5 => row.charge.cost.0 += i128::from(by),
        6 => row.charge.shadow.0 += i128::from(by),
        7 => row.cascade.0[0].0 += signed,
        8 => row.cascade.0[1].0 += signed,
        9 => row.cascade.0[2].0 += signed,
        10 => services.requests += by,
        11 => services.successful += by,
        12 => services.failed += by,
        13 => services.points.0 -= signed,
        14 => services.timed += by,
        15 => services.latency_ms += by,
        16 => row.carry.length += by as u32,
        17 => row.carry.longest += by as u32,
        18 => row.reversals.get_or_insert_default().late += by,
        19 if is_head => stored.lifetime.successes += by,
        20 if is_head && account.kind == AccountKind::User => {
            stored.lifetime.spent.0 += i128::from(by);
        }
        21 if is_head && account.kind == AccountKind::User => {
            stored.lifetime.services_used ^= service.bit();
        }
        22 if is_head && account.kind == AccountKind::User => {
            let at = stored.lifetime.fiftieth_at.unwrap_or_default();
            stored.lifetime.fiftieth_at = Some(at.plus(signed));
        }
        23 if day_count == 0 => row.days.push((15, DayStats::default())),
        23 => row.days.truncate(day_count - 1),
        24.. if day_count > 0 => {
            let day = &mut row.days[rng.random_range(0..day_count)].1;
            match rng.random_range(0..8) {
                0 => day.base.0 += signed,
                1 => day.referral.0 -= signed,
                2 => day.trial.0 += signed,
                3 => day.requests += by,
                4 => day.successful += by,
                5 => day.failed += by,
                6 => day.latency_ms += by,
                _ => day.target_ms += by,
            }
        }
        _ => {
            stored.superseded_by = match stored.superseded_by {
                Some(_) => None,
                None => Some(stored.row.month),
            };
            return "superseded_by";
        }
    }
    "a value"
}

#[test]
fn most_schedules_are_verified_from_the_beginning() {
    VERIFIED.set((0, 0));
    NOT_COMPARED.set(0);
    for seed in 7_000..7_030 {
        let outcome = run(seed, Lean::Everything, None, false);
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
    let ((all, whole), not) = (VERIFIED.get(), NOT_COMPARED.get());
    assert!(
        all + not >= 25 && all >= 20 && whole >= 10,
        "{all} verified, {whole} of them whole; of {not} there was nothing to compare"
    );
}

#[test]
fn each_of_1_000_rows_changed_by_hand_is_found() {
    const WANTED: u64 = 1_000;
    INJECTED.set(Some((WANTED, 0)));
    let injected = || INJECTED.get().map_or(0, |(_, done)| done);
    for seed in 7_100..7_300 {
        if injected() >= WANTED {
            break;
        }
        let outcome = run(seed, Lean::Everything, None, false);
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
    let done = injected();
    INJECTED.set(None);
    assert!(done >= WANTED, "{done}");
}
