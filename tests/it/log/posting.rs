//! The posting block's format: a canonical form, whatever the block, and no panic, whatever the bytes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::Service;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Chunk, Control, Epoch, Partition, Sequence};
use tidemark::domain::posting::{
    Block, Cascade, Cell, Charge, Deduction, Deductions, Entry, FirstSuccess, Slot,
};
use tidemark::domain::time::{Day, Millis, Month};
use tidemark::log::posting::{
    BLOCK_BYTES_MAX, BlockHeader, FormatError, decode, encode, encode_blocks,
};

/// Small numbers and the extremes alike.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..3u64, 0..100_000u64, any::<u64>()]
}

fn points() -> impl Strategy<Value = Points> {
    prop_oneof![Just(0), -5..5i64, any::<i64>()].prop_map(Points)
}

fn money() -> impl Strategy<Value = Money> {
    prop_oneof![Just(0), -5..5i128, any::<i128>()].prop_map(Money)
}

fn month() -> impl Strategy<Value = Month> {
    prop_oneof![680..690i32, -23_640..=96_359i32].prop_map(Month)
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![
        4 => (20_700..20_800i32).prop_map(|day| Slot::Day(Day(day))),
        1 => (-719_528..=2_932_896i32).prop_map(|day| Slot::Day(Day(day))),
        1 => month().prop_map(Slot::Late),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    let of = |number| Service::numbered(number).expect("a number");
    prop_oneof![
        3 => prop::sample::select(Service::DEFAULTS.to_vec()),
        1 => (0..64u8).prop_map(of),
    ]
}

fn cell() -> impl Strategy<Value = Cell> {
    let counts = (count(), count(), count(), count(), count(), count());
    (counts, points(), any::<bool>()).prop_map(|(c, points, plain)| Cell {
        requests: c.0,
        successful: if plain { c.0 } else { c.1 },
        failed: if plain { 0 } else { c.2 },
        points,
        timed: c.3,
        latency_ms: c.4,
        target_ms: c.5,
    })
}

/// Ids that share prefixes, with characters of every width.
fn account() -> impl Strategy<Value = Account> {
    let id = prop_oneof!["user-[0-9]{1,4}", "[a-c]{1,3}", "[aé€𝄞]{1,4}", "[𝄞]{128}"];
    (id, any::<bool>()).prop_map(|(id, user)| {
        let kind = if user {
            AccountKind::User
        } else {
            AccountKind::Provider
        };
        Account::new(kind, &id).unwrap()
    })
}

fn deduction() -> impl Strategy<Value = Deduction> {
    let counts = (count(), count(), count(), count());
    (counts, points()).prop_map(|(c, points)| Deduction {
        reversed: c.0.max(1),
        points,
        timed: c.1,
        latency_ms: c.2,
        target_ms: c.3,
    })
}

/// Mostly none.
fn deductions() -> impl Strategy<Value = Deductions> {
    let some = prop::collection::btree_map((slot(), service()), deduction(), 1..4);
    let some = (some, count()).prop_map(|(by_service, peak)| Deductions {
        by_service: by_service
            .into_iter()
            .map(|((slot, service), deduction)| (slot, service, deduction))
            .collect(),
        peak,
    });
    prop_oneof![4 => Just(Deductions::default()), 1 => some]
}

prop_compose! {
    fn entry()(
        account in account(),
        cells in prop::collection::btree_map((slot(), service()), cell(), 0..20),
        referral in prop::collection::btree_map(slot(), [points(), points(), points()].prop_map(Cascade), 0..3),
        charges in prop::collection::btree_map(month(), (money(), money()), 0..3),
        firsts in prop::collection::btree_map(service(), (slot(), points()), 0..3),
        deductions in deductions(),
    ) -> Entry {
        Entry {
            account,
            cells: cells.into_iter().map(|((slot, service), cell)| (slot, service, cell)).collect(),
            referral: referral.into_iter().collect(),
            charges: charges.into_iter().map(|(month, (cost, shadow))| (month, Charge { cost, shadow })).collect(),
            firsts: firsts.into_iter().map(|(service, (slot, points))| FirstSuccess { service, slot, points }).collect(),
            deductions,
        }
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..12).prop_map(|entries| {
        let by_account: BTreeMap<_, _> = entries
            .into_iter()
            .map(|e| (e.account.clone(), e))
            .collect();
        by_account.into_values().collect()
    })
}

prop_compose! {
    fn block()(
        numbers in (any::<u32>(), any::<u32>(), count(), count(), count()),
        time in prop_oneof![Just(1_795_000_000_000), Just(i64::MIN), any::<i64>()],
        entries in entries(),
    ) -> Block {
        Block {
            epoch: Epoch(numbers.0),
            source: Partition(numbers.1),
            chunk: Chunk(numbers.2),
            sequence: Sequence(numbers.3),
            control: Control(numbers.4),
            source_log_time: Millis(time),
            entries,
        }
    }
}

proptest! {
    #[test]
    fn a_block_comes_back_as_it_was(block in block()) {
        let bytes = encode(&block);
        prop_assert_eq!(decode(&bytes).unwrap(), block.clone());
        prop_assert_eq!(encode(&block), bytes);
    }

    #[test]
    fn only_canonical_bytes_are_taken(block in block(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4)) {
        let mut bytes = encode(&block).to_vec();
        for (index, bit) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Ok(other) = decode(&bytes) {
            prop_assert_eq!(encode(&other), bytes);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut with_version = vec![1];
        with_version.extend_from_slice(&bytes);
        let _ = (decode(&bytes), decode(&with_version));
    }

    #[test]
    fn cut_or_lengthened_bytes_are_refused(block in block(), at: prop::sample::Index, more: u8) {
        let bytes = encode(&block);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        let mut longer = bytes.to_vec();
        longer.push(more);
        prop_assert!(decode(&longer).is_err());
    }

    #[test]
    fn a_block_survives_json(block in block()) {
        let json = serde_json::to_string(&block).unwrap();
        prop_assert_eq!(serde_json::from_str::<Block>(&json).unwrap(), block);
    }
}

fn header() -> BlockHeader {
    BlockHeader {
        epoch: Epoch(1),
        source: Partition(3),
        chunk: Chunk(9),
        control: Control(4),
        source_log_time: Millis(1_795_000_000_000),
    }
}

/// `count` accounts with `days` × four services each.
fn many(count: usize, days: i32) -> Vec<Entry> {
    let cells = |account: usize| {
        (0..days).flat_map(move |day| {
            Service::DEFAULTS.map(|service| {
                let n = account as u64 + day as u64;
                let cell = Cell {
                    requests: n + 2,
                    successful: n + 1,
                    failed: 1,
                    points: Points(n as i64 * 15_000_000),
                    timed: n,
                    latency_ms: n * 250,
                    target_ms: n * 1_000,
                };
                (Slot::Day(Day(20_775 + day)), service, cell)
            })
        })
    };
    (0..count)
        .map(|i| {
            let mut entry =
                Entry::new(Account::new(AccountKind::User, &format!("user-{i:08}")).unwrap());
            entry.cells = cells(i).collect();
            entry
        })
        .collect()
}

/// The blocks decoded again, after checking what holds for every split.
fn split(entries: &[Entry], first: u64) -> Vec<Block> {
    let encoded = encode_blocks(&header(), entries, Sequence(first));
    let blocks: Vec<Block> = encoded.iter().map(|bytes| decode(bytes).unwrap()).collect();
    for (n, (block, bytes)) in blocks.iter().zip(&encoded).enumerate() {
        assert_eq!(BlockHeader::of(block), header());
        assert_eq!(block.sequence, Sequence(first + n as u64));
        assert_eq!(encode(block), bytes, "a block of a split is like any other");
        assert!(bytes.len() <= BLOCK_BYTES_MAX || block.entries.len() == 1);
    }
    let joined: Vec<Entry> = blocks
        .iter()
        .flat_map(|block| block.entries.clone())
        .collect();
    assert_eq!(joined, entries);
    blocks
}

#[test]
fn nothing_to_post_is_one_empty_block() {
    let blocks = split(&[], 5);
    assert_eq!(blocks.len(), 1);
    assert!(blocks[0].entries.is_empty());
}

#[test]
fn a_split_keeps_order_and_content_and_fills_its_blocks() {
    let entries = many(20_000, 2);
    let blocks = split(&entries, 1);
    assert!(blocks.len() > 3, "{} blocks", blocks.len());
    for block in &blocks[..blocks.len() - 1] {
        assert!(
            encode(block).len() > BLOCK_BYTES_MAX - 512,
            "no block is much smaller than it may be"
        );
    }
}

#[test]
fn an_entry_over_the_limit_gets_a_block_of_its_own() {
    let mut entries = many(3, 1);
    entries[1].cells = many(1, 20_000).remove(0).cells;
    let blocks = split(&entries, 7);
    let sizes: Vec<usize> = blocks.iter().map(|block| block.entries.len()).collect();
    assert_eq!(sizes, [1, 1, 1]);
    assert!(encode(&blocks[1]).len() > BLOCK_BYTES_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_entries_split_and_join(entries in entries(), first in 1..1_000u64) {
        split(&entries, first);
    }
}

#[test]
fn a_cell_of_an_ordinary_day_takes_few_bytes() {
    let bytes = encode_blocks(&header(), &many(1_000, 1), Sequence(1))[0].len();
    assert!(bytes / 4_000 <= 20, "{} bytes a cell", bytes / 4_000);
}

/// The bytes of a block with one user `ab`, one cell and nothing else, and where its parts stand.
fn smallest() -> Vec<u8> {
    let mut entry = Entry::new(Account::new(AccountKind::User, "ab").unwrap());
    let slot = Slot::Day(Millis(0).day());
    entry.cells = vec![(
        slot,
        Service::EMBEDDINGS,
        Cell {
            requests: 1,
            successful: 1,
            ..Cell::default()
        },
    )];
    let block = Block {
        epoch: Epoch(0),
        source: Partition(0),
        chunk: Chunk(1),
        sequence: Sequence(1),
        control: Control(0),
        source_log_time: Millis(0),
        entries: vec![entry],
    };
    encode(&block).to_vec()
}

#[test]
fn the_layout_is_the_documented_one() {
    let expected: [u8; 19] = [
        2, 0, 0, 1, 1, 0,
        0, // version, epoch, source, chunk, sequence, control, source log time
        1, 0, 0, 0, // one entry
        0x10, 0, 2, b'a', b'b', // a user with one cell; no byte shared, two of its own
        0b101, 0, 1, // embeddings with a slot: the base day; one request
    ];
    assert_eq!(smallest(), expected);
}

#[test]
fn what_is_never_written_is_refused_with_its_place() {
    let rows: [(usize, &[u8], &str); 18] = [
        (0, &[1], "format version 1 is not the one"),
        (0, &[5], "format version 5 is not the one"),
        (0, &[4], "in the middle"),
        (0, &[3], "another version than its entries need"),
        (1, &[0x80, 0], "longer than it must be"),
        (1, &[0xff, 0xff, 0xff, 0xff, 0x1f], "over 32 bits"),
        (
            3,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            "over 64 bits",
        ),
        (7, &[2], "in the middle"),
        (7, &[0], "bytes after the last entry"),
        (11, &[0x12], "in the middle"),
        (12, &[1], "more shared bytes"),
        (14, &[0xff], "an id that is not UTF-8"),
        (14, &[7], "invalid id"),
        (16, &[1], "a first cell without its slot"),
        (16, &[0x85], "an unknown mark"),
        (16, &[0b100_0101, 7], "a service given twice"),
        (16, &[0b100_0100, 3], "a redundant number of a service"),
        (16, &[0b100_0100, 64], "an unknown service"),
    ];
    for (at, bytes, expected) in rows {
        let mut block = smallest();
        block.splice(at..=at, bytes.iter().copied());
        let error = decode(&block).unwrap_err().to_string();
        assert!(error.contains(expected), "{at}: {error}");
    }
    assert_eq!(decode(&[]), Err(FormatError::Truncated { at: 0 }));
}

/// An older tidemark refuses such a block as newer; it does not take it for another service.
#[test]
fn a_block_is_of_version_3_exactly_if_it_names_a_service_that_is_not_built_in() {
    let mut block = decode(&smallest()).unwrap();
    let added = Service::numbered(63).expect("a number");
    block.entries[0].cells[0].1 = added;
    let mut expected = smallest();
    expected[0] = 3;
    expected.splice(16..=16, [0b100_0100, 63]);
    assert_eq!(encode(&block), expected);
    assert_eq!(decode(&expected), Ok(block.clone()));
    expected[0] = 2;
    let error = decode(&expected).unwrap_err().to_string();
    assert!(error.contains("another version"), "{error}");
    // A split forgets the version together with the entry that does not fit.
    let mut entries = many(20_000, 2);
    let last = entries.last_mut().expect("entries");
    last.cells[0].1 = added;
    last.cells.truncate(1);
    let versions: Vec<u8> = encode_blocks(&header(), &entries, Sequence(1))
        .iter()
        .map(|bytes| bytes[0])
        .collect();
    let (last, before) = versions.split_last().expect("blocks");
    assert_eq!(
        (*last, before.iter().all(|version| *version == 2)),
        (3, true)
    );
    split(&entries, 1);
}

#[test]
fn hostile_counts_reserve_no_memory() {
    let mut bytes = smallest();
    bytes[7..11].copy_from_slice(&[0xff; 4]);
    assert!(decode(&bytes).is_err());
    // A cell count near 2^64, in an entry that ends there.
    let mut bytes = smallest()[..11].to_vec();
    bytes.extend_from_slice(&[
        0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 1, b'a',
    ]);
    assert!(decode(&bytes).is_err());
}

#[test]
fn accounts_that_share_nothing_but_their_kind_stay_in_order() {
    let ids: BTreeSet<&str> = ["a", "ab", "abc", "b", "ba"].into();
    let mut entries = Vec::new();
    for kind in AccountKind::ALL {
        entries.extend(
            ids.iter()
                .map(|id| Entry::new(Account::new(kind, id).unwrap())),
        );
    }
    split(&entries, 1);
}
