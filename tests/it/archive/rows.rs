//! Rows into files and back.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tidemark::archive::{
    ArchiveError, ArchiveFile, ArchiveWriter, ArchivedRequest, Column, Columns, Posted,
    RequestKind, Rows,
};
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::Service;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition};
use tidemark::domain::tier::Tier;
use tidemark::domain::time::{Day, Millis, Month};

/// The texts and numbers of a row: many, so that rows differ in every column.
#[derive(Clone, Debug)]
struct Seed {
    texts: Vec<String>,
    optional_texts: Vec<Option<String>>,
    counts: Vec<Option<u64>>,
    points: Vec<i64>,
    money: [i128; 2],
    small: [u32; 5],
    is: [bool; 2],
    kind: RequestKind,
    tier: Option<Tier>,
    /// Of referrers.
    kinds: Vec<Option<AccountKind>>,
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof!["[a-d]{1,3}", "\\PC{1,20}"]
}

fn seed() -> impl Strategy<Value = Seed> {
    let nanos = -(10_i128.pow(25))..10_i128.pow(25);
    (
        (
            vec(id(), 5),
            vec(option::of(id()), 11),
            vec(option::of(prop_oneof![0..5_u64, 0..1_u64 << 40]), 21),
        ),
        (
            vec(-1_000_000_000_000_i64..1_000_000_000_000, 10),
            [nanos.clone(), nanos],
        ),
        (
            [0..9_u32, 0..600, 0..100_000, 0..70_000, 0..9],
            any::<[bool; 2]>(),
            select(&RequestKind::ALL[..]),
            option::of(select(&Tier::ALL[..])),
            vec(option::of(select(&AccountKind::ALL[..])), 6),
        ),
    )
        .prop_map(
            |((texts, optional_texts, counts), (points, money), (small, is, kind, tier, kinds))| {
                Seed {
                    texts,
                    optional_texts,
                    counts,
                    points,
                    money,
                    small,
                    is,
                    kind,
                    tier,
                    kinds,
                }
            },
        )
}

impl Seed {
    fn row(&self) -> ArchivedRequest<'_> {
        let text = |place: usize| self.texts[place].as_str();
        let maybe = |place: usize| self.optional_texts[place].as_deref();
        let count = |place: usize| self.counts[place];
        let points = |place: usize| Points(self.points[place]);
        let number = |place: usize| self.counts[place].unwrap_or(7);
        let day = Day(self.small[2] as i32);
        ArchivedRequest {
            kind: self.kind,
            source: text(0),
            id: text(1),
            user: text(2),
            provider: maybe(0),
            endpoint: text(3),
            service_name: text(4),
            service: Service::numbered(self.small[0] as u8).unwrap(),
            model: maybe(1),
            tier: self.tier,
            status: self.small[1] as u16,
            latency_ms: count(0),
            input_tokens: count(1),
            output_tokens: count(2),
            cached_input_tokens: count(3),
            cache_write_tokens: count(4),
            reasoning_tokens: count(5),
            audio_ms: count(6),
            image_count: count(7),
            request_bytes: count(8),
            response_bytes: count(9),
            stream: self.is[0],
            time: Millis(self.points[0]),
            log_time: Millis(self.points[1]),
            epoch: Epoch(self.small[3]),
            partition: Partition(self.small[0]),
            offset: Offset(number(0)),
            chunk: Chunk(number(1)),
            chunk_log_time: Millis(self.points[2]),
            control: Control(number(2)),
            semantics: self.small[4],
            month: Month(self.small[1] as i32),
            booked_on: self.is[1].then_some(day),
            user_points: points(0),
            provider_points: points(1),
            cost: Money(self.money[0]),
            shadow_cost: Money(self.money[1]),
            target_ms: number(3),
            trial_points: self.is[0].then(|| points(2)),
            user_referrer_1: maybe(2),
            user_referrer_1_kind: self.kinds[0],
            user_referrer_2: maybe(3),
            user_referrer_2_kind: self.kinds[1],
            user_referrer_3: maybe(4),
            user_referrer_3_kind: self.kinds[2],
            user_referral_1: points(3),
            user_referral_2: points(4),
            user_referral_3: points(5),
            provider_referrer_1: maybe(5),
            provider_referrer_1_kind: self.kinds[3],
            provider_referrer_2: maybe(6),
            provider_referrer_2_kind: self.kinds[4],
            provider_referrer_3: maybe(7),
            provider_referrer_3_kind: self.kinds[5],
            provider_referral_1: points(6),
            provider_referral_2: points(7),
            provider_referral_3: points(8),
            original_offset: count(10).map(Offset),
            original_epoch: count(11).map(|epoch| Epoch((epoch % 1_000) as u32)),
            original_source: maybe(8),
            original_id: maybe(9),
            provider_is_new: self.is[1],
            earlier_model: maybe(10),
            earlier_latency_ms: count(12),
            earlier_target_ms: count(13),
            earlier_input_tokens: count(14),
            earlier_output_tokens: count(15),
            earlier_cached_input_tokens: count(16),
            earlier_cache_write_tokens: count(17),
            earlier_reasoning_tokens: count(18),
            earlier_audio_ms: count(19),
            earlier_image_count: count(20),
        }
    }
}

/// A file of rows, in portions of this size.
fn file_of(seeds: &[Seed], portion: usize) -> bytes::Bytes {
    let mut writer = ArchiveWriter::new().unwrap();
    for portion in seeds.chunks(portion) {
        let mut rows = Rows::default();
        portion.iter().for_each(|seed| rows.push(&seed.row()));
        writer.append(&rows).unwrap();
    }
    assert_eq!(writer.rows(), seeds.len() as u64);
    writer.finish().unwrap()
}

/// The file with other names for the columns whose names end so, which are then unknown.
fn without_columns(file: &[u8], end: &str, other: &str) -> bytes::Bytes {
    let mut file = file.to_vec();
    for name in Column::ALL.iter().map(|column| column.name()) {
        let Some(stem) = name.strip_suffix(end) else {
            continue;
        };
        let other = format!("{stem}{other}");
        assert_eq!(name.len(), other.len(), "lengths are part of the file");
        let places: Vec<usize> = (0..file.len() - name.len())
            .filter(|place| file[*place..].starts_with(name.as_bytes()))
            .collect();
        assert!(!places.is_empty(), "{name}");
        for place in places {
            file[place..place + name.len()].copy_from_slice(other.as_bytes());
        }
    }
    file.into()
}

fn posted_of(row: &ArchivedRequest<'_>) -> Vec<(Account, Posted)> {
    let mut all = Vec::new();
    row.posted(|account, posted| all.push((account.to_account(), posted)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Decoding what was encoded gives the same rows; the same rows give the same bytes.
    #[test]
    fn decode_of_encode_is_the_identity(seeds in vec(seed(), 0..40), portion in 1..50_usize) {
        let bytes = file_of(&seeds, portion);
        prop_assert_eq!(&bytes, &file_of(&seeds, portion));
        let file = ArchiveFile::open(bytes).unwrap();
        prop_assert_eq!(file.rows(), seeds.len() as u64);
        let mut rest = seeds.iter();
        for batch in file.batches(Columns::ALL) {
            let batch = batch.unwrap();
            for row in 0..batch.len() {
                prop_assert_eq!(batch.row(row).unwrap(), rest.next().unwrap().row());
            }
        }
        prop_assert!(rest.next().is_none());
    }

    /// Files of older versions lack the kinds of referrers, and only those: each is then of the kind
    /// of the account that it referred.
    #[test]
    fn without_the_column_a_referrer_is_of_the_kind_of_its_referee(seeds in vec(seed(), 1..20)) {
        let bytes = without_columns(&file_of(&seeds, 7), "_kind", "_kine");
        let file = ArchiveFile::open(bytes).unwrap();
        let batch = file.read_group(0, Columns::ALL).unwrap();
        for (row, seed) in seeds.iter().enumerate() {
            let kinds = [AccountKind::User, AccountKind::Provider].map(|kind| [Some(kind); 3]);
            let known = Seed { kinds: kinds.concat(), ..seed.clone() };
            let unknown = Seed { kinds: vec![None; 6], ..seed.clone() };
            let read = batch.row(row).unwrap();
            prop_assert_eq!(read, unknown.row());
            prop_assert_eq!(posted_of(&read), posted_of(&known.row()));
        }
    }

    /// What is posted follows from fewer columns.
    #[test]
    fn the_columns_of_what_is_posted_suffice_for_it(seeds in vec(seed(), 1..20)) {
        let file = ArchiveFile::open(file_of(&seeds, 7)).unwrap();
        let batch = file.read_group(0, Columns::POSTED).unwrap();
        for (row, seed) in seeds.iter().enumerate() {
            prop_assert_eq!(posted_of(&batch.row(row).unwrap()), posted_of(&seed.row()));
        }
    }
}

#[test]
fn row_groups_are_bounded_and_columns_can_be_read_alone() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let tree = seed().new_tree(&mut runner).unwrap();
    let seed = proptest::strategy::ValueTree::current(&tree);
    let count = 150_000;
    let portion = 1_000;
    let seeds = vec![seed; portion];
    let mut rows = Rows::default();
    seeds.iter().for_each(|seed| rows.push(&seed.row()));
    let mut writer = ArchiveWriter::new().unwrap();
    for _ in 0..count / portion {
        writer.append(&rows).unwrap();
    }
    let file = ArchiveFile::open(writer.finish().unwrap()).unwrap();
    assert_eq!((file.rows(), file.groups()), (count as u64, 3));
    let columns = Columns::of(&[Column::user, Column::user_points, Column::cost]);
    let mut seen = 0;
    for batch in file.batches(columns) {
        let batch = batch.unwrap();
        assert!(batch.len() <= tidemark::archive::ROWS_PER_GROUP + portion);
        let users = batch.texts(Column::user).unwrap();
        assert_eq!(users.code_count(), 1);
        assert_eq!(users.get(0), Some(seeds[0].row().user));
        let points = batch.numbers(Column::user_points).unwrap();
        assert_eq!(points.get(0), Some(seeds[0].row().user_points.0));
        assert_eq!(
            batch.dollars(Column::cost).unwrap().values()[0],
            seeds[0].row().cost.0
        );
        assert!(batch.texts(Column::id).is_none(), "it was not asked for");
        seen += batch.len();
    }
    assert_eq!(seen, count);
}

#[test]
fn what_is_no_archive_file_is_refused() {
    let open = |bytes: &[u8]| ArchiveFile::open(bytes::Bytes::copy_from_slice(bytes));
    for bytes in [&b""[..], b"PAR1", b"not a file of the archive at all"] {
        let error = open(bytes).err().unwrap();
        assert!(matches!(error, ArchiveError::Parquet(_)), "{error}");
        assert_eq!(error.code(), "archive_unreadable");
    }
    let whole = file_of(&[], 1);
    let of_later = String::from_utf8_lossy(&whole).contains("tidemark.archive");
    assert!(of_later, "the format is written in the file");
    let mut later = whole.to_vec();
    let key = b"tidemark.archive";
    let place = later
        .windows(key.len())
        .position(|part| part == key)
        .unwrap();
    // The value follows the key: its field, its length, and `1`.
    let value = later[place + key.len()..]
        .iter()
        .position(|byte| *byte == b'1')
        .unwrap();
    later[place + key.len() + value] = b'2';
    let error = open(&later).err().unwrap();
    assert_eq!(error.code(), "archive_format", "{error}");
}

#[test]
fn names_of_columns_are_each_once_and_name_no_secret() {
    let names: std::collections::BTreeSet<&str> =
        Column::ALL.iter().map(|column| column.name()).collect();
    assert_eq!(names.len(), Column::ALL.len());
    for word in ["message", "reason", "prompt", "key", "secret"] {
        let named = names
            .iter()
            .find(|name| name.split('_').any(|part| part == word));
        assert_eq!(named, None, "no column holds free text");
    }
    assert!(
        Column::ALL
            .iter()
            .all(|column| !column.meaning().trim().is_empty())
    );
}
