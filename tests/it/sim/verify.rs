//! `tidemark verify` at the end of a schedule: every row is what the archive and the awards come to.

use std::cell::Cell;
use std::sync::Arc;

use futures::executor::block_on;
use tidemark::app::queries::Queries;
use tidemark::app::queries::verify::{Progress, Share, VerifyError, VerifyRequest};
use tidemark::archive::ArchiveStore;
use tidemark::log::Partitions;

use super::adapter::InstantDb;
use super::run::{Lean, run};
use crate::edge::memory_log::MemoryLog;

thread_local! {
    /// Schedules that were verified, and those of which the archive holds everything.
    static VERIFIED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Verifies the rows of a schedule that has ended.
pub fn check(
    db: &Arc<InstantDb>,
    store: &ArchiveStore,
    partitions: Partitions,
) -> Result<(), String> {
    let queries = Queries::new(db.clone(), Arc::new(MemoryLog::default()), partitions);
    let mut found = Vec::new();
    let request = VerifyRequest {
        // Few, so that shares are split in many schedules.
        accounts_max: 8,
        ..VerifyRequest::default()
    };
    let mut split = 0;
    let verified = block_on(queries.verify(store, &request, |progress| match progress {
        Progress::Found(difference) => found.push(difference),
        Progress::Split(Share { .. }) => split += 1,
        _ => {}
    }));
    match verified {
        Ok(verified) if verified.differences == 0 => {
            let (all, whole) = VERIFIED.get();
            VERIFIED.set((all + 1, whole + u64::from(verified.is_whole)));
            Ok(())
        }
        Ok(_) => Err(format!("verify finds {found:#?}")),
        Err(VerifyError::Empty(_)) => Ok(()),
        Err(error) => Err(format!("verify cannot run: {error}")),
    }
}

#[test]
fn most_schedules_are_verified_from_the_beginning() {
    VERIFIED.set((0, 0));
    for seed in 7_000..7_030 {
        let outcome = run(seed, Lean::Everything, None, false);
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
    let (all, whole) = VERIFIED.get();
    assert!(
        all >= 25 && whole >= 10,
        "{all} verified, {whole} of them whole"
    );
}
