//! Seals that an older tidemark stored go on to match after an upgrade, and to be compared.

use serde_json::json;
use tidemark::domain::position::WriteId;
use tidemark::pipeline::Settings;
use tidemark::store::db::{Key, Table};
use tidemark::store::row::Fields;

use super::adapter;
use super::quiet::Quiet;
use super::workload::{MINUTE, user};

fn hash(numbers: impl IntoIterator<Item = u64>) -> u64 {
    let bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// The numbers of which seals were made: chunk and end, sequences.
fn reached(quiet: &Quiet) -> ([u64; 2], Vec<u64>) {
    let rate = quiet
        .world
        .with(|inner| adapter::rate_checkpoint(&inner.db, 0))
        .unwrap();
    let sequences = rate.sequences.iter().map(|sequence| sequence.0).collect();
    ([rate.chunk.0, rate.to.0], sequences)
}

/// The second epoch was begun by an older tidemark, which stored this seal; the halts of today's.
fn halts_with(seal: impl FnOnce([u64; 2], Vec<u64>) -> u64) -> Vec<(String, String)> {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(Settings::default());
    quiet.chat("e-1", user(1).id());
    quiet.pass(MINUTE);
    quiet.next_epoch();
    let (end, sequences) = reached(&quiet);
    let body = json!({
        "epoch": 2, "source": 1, "posting": 1, "sequencesRestart": true, "postingSince": 0,
        "sealed": {"0": seal(end, sequences)},
    });
    let key = Key::new(Table::Checkpoints, "epochs", "0000000002");
    let write = WriteId {
        worker: 7,
        count: 1,
    };
    let fields = Fields::of(&key).json("body", &body);
    let item = fields.text("write", write).item();
    quiet.world.with(|inner| inner.db.items.insert(key, item));
    quiet.start_worker(Settings::default());
    quiet.chat("e-2", user(1).id());
    quiet.pass(MINUTE);
    let rate = quiet
        .world
        .with(|inner| adapter::rate_checkpoint(&inner.db, 0))
        .unwrap();
    let halts = quiet.halts();
    assert_eq!(rate.epoch.0 == 2, halts.is_empty(), "{rate:?}");
    halts
}

#[test]
fn a_seal_of_sequences_alone_matches() {
    assert_eq!(halts_with(|_, sequences| hash(sequences)), []);
}

#[test]
fn a_seal_of_today_in_the_old_place_matches() {
    let both = |end: [u64; 2], sequences: Vec<u64>| hash(end.into_iter().chain(sequences));
    assert_eq!(halts_with(both), []);
}

#[test]
fn a_source_partition_that_went_on_does_not_match_an_old_seal() {
    let halts = halts_with(|_, sequences| hash(sequences.iter().map(|sent| sent - 1)));
    let expected = [("rate/0".to_owned(), "log_recreated".to_owned())];
    assert_eq!(halts, expected);
}
