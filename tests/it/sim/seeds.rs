//! Many seeds of the whole pipeline; and every breakage must be found.

use std::sync::atomic::{AtomicU64, Ordering};

use tidemark::pipeline::Breakage;

use super::explain;
use super::run::{FOUND_BY_AUDIT, Lean, cure, run};

/// Seeds of the ordinary test run.
const SEEDS: u64 = 400;
/// So many requests are explained in them, and each explanation is compared with the oracle.
const EXPLAINED_MIN: u64 = 10_000;
/// In a run of fewer seeds.
const EXPLAINED_OF_SEED: u64 = 20;
/// Seeds of each lean that has a test of its own.
const SEEDS_OF_ONE_LEAN: u64 = 60;
/// Installations that are cured of a clock that jumped.
const SEEDS_CURED: u64 = 60;
/// A breakage must show within so many seeds.
const SEEDS_TO_FIND_MAX: u64 = 3_000;
/// So many of the leans take turns; the others have tests of their own.
const LEANS_IN_TURN: u64 = 12;
const LEANS: [Lean; 18] = [
    Lean::Everything,
    Lean::Rivals,
    Lean::FirstRows,
    Lean::Months,
    Lean::Awards,
    Lean::Window,
    Lean::Moves,
    Lean::Mishaps,
    Lean::Clocks,
    Lean::Restores,
    Lean::Crowd,
    Lean::Rollbacks,
    Lean::Kept,
    Lean::Damage,
    Lean::Reversals,
    Lean::Completions,
    Lean::RestoredTwice,
    Lean::Badges,
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// `TIDEMARK_SIM_LEAN=2` replays a seed as the third lean, as [`finds`] does.
fn lean_of(seed: u64) -> Lean {
    match number("TIDEMARK_SIM_LEAN") {
        Some(lean) => LEANS[(lean % LEANS.len() as u64) as usize],
        None => LEANS[(seed % LEANS_IN_TURN) as usize],
    }
}

/// Runs seeds on all cores until one fails; returns the lowest that was found to fail.
fn first_failure(seeds: u64, of: impl Fn(u64) -> Option<String> + Sync) -> Option<(u64, String)> {
    let next = AtomicU64::new(0);
    let lowest = AtomicU64::new(u64::MAX);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let found = std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds || seed > lowest.load(Ordering::Relaxed) {
                    return None;
                }
                if let Some(what) = of(seed) {
                    lowest.fetch_min(seed, Ordering::Relaxed);
                    return Some((seed, what));
                }
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let found = threads
            .into_iter()
            .filter_map(|t| t.join().expect("a run catches its panics"));
        found.collect::<Vec<_>>()
    });
    found.into_iter().min_by_key(|(seed, _)| *seed)
}

fn replay(seed: u64) -> ! {
    let told = run(seed, lean_of(seed), None, true)
        .failure
        .unwrap_or_else(|| "it does not fail when it is traced".into());
    panic!(
        "{told}\n\nreplay: TIDEMARK_SIM_SEED={seed} cargo test --test it sim::seeds::healthy -- --nocapture"
    );
}

#[test]
fn healthy_schedules_keep_every_invariant() {
    if let Some(seed) = number("TIDEMARK_SIM_SEED") {
        match run(seed, lean_of(seed), None, true).failure {
            Some(what) => panic!("{what}"),
            None => return,
        }
    }
    let seeds = number("TIDEMARK_SIM_SEEDS").unwrap_or(SEEDS);
    let explained = AtomicU64::new(0);
    let of = |seed| {
        let before = explain::explained();
        let outcome = run(seed, lean_of(seed), None, false);
        explained.fetch_add(explain::explained() - before, Ordering::Relaxed);
        outcome.failure
    };
    if let Some((seed, _)) = first_failure(seeds, of) {
        replay(seed);
    }
    let explained = explained.into_inner();
    let must = EXPLAINED_MIN.min(seeds * EXPLAINED_OF_SEED);
    assert!(explained >= must, "only {explained} requests are explained");
}

#[test]
fn the_pipeline_is_deterministic_under_the_simulator() {
    for seed in 0..6 {
        let once = run(seed, lean_of(seed), None, true);
        let again = run(seed, lean_of(seed), None, true);
        assert_eq!(
            (once.digest, once.steps),
            (again.digest, again.steps),
            "seed {seed}"
        );
    }
}

#[test]
fn an_installation_that_rated_a_clock_jump_is_cured_and_loses_no_event() {
    none_fails(SEEDS_CURED, |seed| cure(seed, None).err());
}

#[track_caller]
fn none_fails(seeds: u64, of: impl Fn(u64) -> Option<String> + Sync) {
    if let Some((seed, what)) = first_failure(seeds, of) {
        panic!("seed {seed}: {what}");
    }
}

#[track_caller]
fn no_schedule_fails(lean: Lean) {
    none_fails(SEEDS_OF_ONE_LEAN, |seed| {
        run(seed, lean, None, false).failure
    });
}

#[test]
fn epochs_on_topics_that_were_not_replaced_keep_every_invariant() {
    no_schedule_fails(Lean::Kept);
}

#[test]
fn damaged_rows_that_are_set_aside_and_released_keep_every_invariant() {
    no_schedule_fails(Lean::Damage);
}

#[test]
fn requests_that_are_completed_keep_every_invariant() {
    no_schedule_fails(Lean::Completions);
}

#[test]
fn requests_that_are_taken_back_keep_every_invariant() {
    no_schedule_fails(Lean::Reversals);
}

#[test]
fn badges_are_granted_once_whatever_happens() {
    no_schedule_fails(Lean::Badges);
}

#[test]
fn the_simulator_finds_badges_that_only_the_writer_of_rows_grants() {
    finds(Breakage::BadgesOfOwnWritesOnly, Lean::Badges);
}

#[test]
fn tables_that_are_restored_a_second_time_keep_every_invariant() {
    let twice = AtomicU64::new(0);
    none_fails(SEEDS_OF_ONE_LEAN, |seed| {
        let outcome = run(seed, Lean::RestoredTwice, None, false);
        twice.fetch_add(u64::from(outcome.restores > 1), Ordering::Relaxed);
        outcome.failure
    });
    let twice = twice.into_inner();
    assert!(twice >= SEEDS_OF_ONE_LEAN / 6, "only {twice} were");
}

#[track_caller]
fn finds(breakage: Breakage, lean: Lean) {
    finds_by(breakage, |seed, breakage| {
        run(seed, lean, breakage, false).failure
    });
}

/// Finds it in installations that are cured of a clock that jumped.
#[track_caller]
fn finds_after_a_cure(breakage: Breakage) {
    finds_by(breakage, |seed, breakage| cure(seed, breakage).err());
}

#[track_caller]
fn finds_by(breakage: Breakage, of: impl Fn(u64, Option<Breakage>) -> Option<String> + Sync) {
    let started = std::time::Instant::now();
    let seeds = number("TIDEMARK_SIM_SEEDS").unwrap_or(SEEDS_TO_FIND_MAX);
    let Some((seed, what)) = first_failure(seeds, |seed| of(seed, Some(breakage))) else {
        panic!("{seeds} seeds do not show {breakage:?}");
    };
    println!(
        "{breakage:?}: seed {seed} after {:.1} s: {}",
        started.elapsed().as_secs_f64(),
        what.lines().next().unwrap_or_default()
    );
    let healthy = of(seed, None);
    assert_eq!(healthy, None, "seed {seed} fails without {breakage:?} too");
}

#[test]
fn the_simulator_finds_a_checkpoint_ahead_of_the_flush() {
    finds(Breakage::CheckpointAheadOfFlush, Lean::Everything);
}

#[test]
fn the_simulator_finds_a_fence_without_a_write_id() {
    finds(Breakage::FenceWithoutWriteId, Lean::Awards);
}

#[test]
fn the_simulator_finds_a_lower_fence_and_two_writes_in_flight() {
    finds(Breakage::FenceLowerAndTwoInFlight, Lean::Rivals);
}

#[test]
fn the_simulator_finds_an_opened_head_that_leaves_the_old_ones_fence() {
    finds(Breakage::OpenedHeadLeavesOldFence, Lean::Months);
}

#[test]
fn the_simulator_finds_a_first_row_without_the_account_item() {
    finds(Breakage::FirstRowWithoutAccountItem, Lean::FirstRows);
}

#[test]
fn the_simulator_finds_older_rows_read_before_the_head() {
    finds(Breakage::OlderRowsBeforeHead, Lean::Months);
}

#[test]
fn the_simulator_finds_older_rows_taken_without_a_match() {
    finds(Breakage::OlderRowsUnmatched, Lean::Months);
}

#[test]
fn the_simulator_finds_a_pointer_that_outlives_its_award() {
    finds(Breakage::PointerOutlivesAward, Lean::Awards);
}

#[test]
fn the_simulator_finds_awards_that_do_not_fit_one_transaction() {
    finds(Breakage::AwardsInOneTransaction, Lean::Crowd);
}

#[test]
fn the_simulator_finds_a_window_that_ends_inside_the_chunk() {
    finds(Breakage::WindowEndsInsideChunk, Lean::Window);
}

#[test]
fn the_simulator_finds_a_slow_lane_without_the_five_minutes() {
    finds(Breakage::SlowLaneWithoutFiveMinutes, Lean::Window);
}

#[test]
fn the_simulator_finds_a_slow_lane_in_place_of_the_window() {
    finds(Breakage::SlowLaneInPlaceOfWindow, Lean::Window);
}

#[test]
fn the_simulator_finds_a_usage_row_key_without_the_identity() {
    finds(Breakage::UsageRowKeyWithoutIdentity, Lean::Window);
}

#[test]
fn the_simulator_finds_accepted_blocks_that_a_rater_ignores() {
    finds(Breakage::AcceptedBlocksIgnored, Lean::Mishaps);
}

#[test]
fn the_simulator_finds_partition_counts_that_are_ignored() {
    finds(Breakage::PartitionCountsIgnored, Lean::Mishaps);
}

#[test]
fn the_simulator_finds_a_new_epoch_that_forgets_where_users_came_from() {
    finds(Breakage::MovedUsersForgotten, Lean::Moves);
}

#[test]
fn the_simulator_finds_lists_that_are_not_rebuilt_after_a_move() {
    finds(Breakage::ListsNotRebuilt, Lean::Moves);
}

#[test]
fn the_simulator_finds_clocks_that_are_trusted() {
    finds(Breakage::ClocksTrusted, Lean::Clocks);
}

#[test]
fn the_simulator_finds_tables_that_are_not_marked() {
    finds(Breakage::TablesUnmarked, Lean::Mishaps);
}

#[test]
fn the_simulator_finds_witnesses_that_are_ignored() {
    finds(Breakage::WitnessesIgnored, Lean::Mishaps);
}

#[test]
fn the_simulator_finds_a_control_head_that_is_read_before_the_records() {
    finds(Breakage::ControlHeadBeforeRecords, Lean::Everything);
}

#[test]
fn the_simulator_finds_an_incomplete_chunk_that_recover_takes_as_complete() {
    finds(Breakage::IncompleteChunkTakenAsComplete, Lean::Restores);
}

#[test]
fn the_simulator_finds_a_recovery_that_does_not_put_posting_back() {
    finds(Breakage::PostingNotPutBack, Lean::Restores);
}

#[test]
fn the_simulator_finds_a_recovery_that_leaves_prices_and_links_of_another_moment() {
    finds(Breakage::FeedRowsNotMended, Lean::Restores);
}

#[test]
fn the_simulator_finds_later_epochs_that_are_ignored() {
    finds(Breakage::LaterEpochIgnored, Lean::Rollbacks);
}

#[test]
fn the_simulator_finds_seals_that_are_ignored() {
    finds(Breakage::SealIgnored, Lean::Rollbacks);
}

#[test]
fn the_simulator_finds_blocks_of_an_earlier_epoch_that_are_taken() {
    finds(Breakage::EarlierBlocksTaken, Lean::Kept);
}

#[test]
fn the_simulator_finds_an_account_that_is_set_aside_in_memory_only() {
    finds(Breakage::SetAsideInMemoryOnly, Lean::Damage);
}

#[test]
fn the_simulator_finds_a_release_without_what_was_missed() {
    finds(Breakage::ReleaseWithoutCatchUp, Lean::Damage);
}

#[test]
fn the_simulator_finds_older_rows_that_are_released() {
    finds(Breakage::OlderRowsReleased, Lean::Damage);
}

#[test]
fn the_simulator_finds_reversals_by_the_rules_of_now() {
    finds(Breakage::ReversedByRulesOfNow, Lean::Reversals);
}

#[test]
fn the_simulator_finds_originals_that_are_read_eventually() {
    finds(Breakage::OriginalsReadEventually, Lean::Reversals);
}

#[test]
fn the_simulator_finds_completions_that_are_decided_anew() {
    finds(Breakage::CompletionDecidedAnew, Lean::Completions);
}

#[test]
fn the_simulator_finds_contradictions_that_are_not_confirmed() {
    finds(Breakage::ContradictionsUnconfirmed, Lean::Damage);
}

#[test]
fn the_simulator_finds_applied_awards_whose_rows_are_not_checked() {
    finds(Breakage::AppliedAwardsUnchecked, Lean::FirstRows);
}

#[test]
fn the_simulator_finds_a_corrected_clock_that_forgets_what_was_dated_ahead() {
    finds_after_a_cure(Breakage::LatestEventForgotten);
}

#[test]
fn the_simulator_finds_an_upgrade_that_forgets_what_was_dated_ahead() {
    finds_after_a_cure(Breakage::LatestEventUnknown);
}

#[test]
fn the_simulator_finds_a_new_epoch_that_forgets_what_was_dated_ahead() {
    finds_after_a_cure(Breakage::LatestEventNotMoved);
}

#[test]
fn the_simulator_finds_what_is_forgotten_falling_back() {
    finds_after_a_cure(Breakage::ForgottenFallsBack);
}

#[test]
fn the_simulator_finds_what_only_an_audit_of_the_cuts_shows() {
    for breakage in FOUND_BY_AUDIT {
        finds(breakage, Lean::Everything);
    }
}

#[test]
fn the_simulator_finds_records_that_are_rated_twice() {
    finds(Breakage::RecordsCutAnew, Lean::Everything);
}

#[test]
fn the_simulator_finds_records_that_are_passed_over() {
    finds(Breakage::RecordsPassedOver, Lean::Everything);
}

#[test]
fn the_simulator_finds_sequences_that_are_passed_over() {
    finds(Breakage::SequencesPassedOver, Lean::Everything);
}
