//! What raters and posters keep in memory, against what it stands for, kept naively.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemark::domain::amount::Points;
use tidemark::domain::event::{AHEAD_MS_MAX, ContentHash, Identity};
use tidemark::domain::ids::{AccountKind, ID_CHARS_MAX};
use tidemark::domain::position::{Epoch, Offset, Partition, WriteId};
use tidemark::domain::time::Millis;
use tidemark::ops::config::LEADERBOARD_SIZE_MAX;
use tidemark::pipeline::post::top::Top;
use tidemark::pipeline::rate::window::{Lane, Standing, Window, lane};
use tidemark::store::checkpoints::{self, Ranked, UsageRows, WindowCut};
use tidemark::store::db::{Attr, ITEM_BYTES_MAX, Write};

const RECORDS_MAX: u64 = 20;

/// Identities that differ in one of the parts that the window's table looks at, or in none of them.
fn identity(of: u8) -> Identity {
    let of = u128::from(of);
    Identity((of & 3) | (of >> 2 & 3) << 64 | (of >> 4 & 3) << 96)
}

/// A window of one record a second, after `seconds` of them, in chunks of ten.
fn window_of_seconds(seconds: u64, usage_rows: UsageRows) -> (Window, WindowCut) {
    let mut window = Window::default();
    let mut cut = WindowCut {
        age_ms: 3_600_000,
        records_max: RECORDS_MAX,
        usage_rows,
        first: Offset(0),
        first_log_time: Millis(0),
        forgotten: None,
    };
    for second in 0..seconds {
        let now = Millis(second as i64 * 1_000);
        if second % 10 == 0 {
            cut = window.advance(&cut, Offset(second), now);
        }
        window.classify(Identity(second.into()), ContentHash(0), Offset(second), now);
    }
    (window, cut)
}

#[test]
fn without_usage_rows_a_busy_window_is_held_by_memory_so_that_fresh_events_are_not_rejected() {
    let lane_of = |cut: &WindowCut, seconds_late: i64| {
        lane(cut, Millis((3_000 - seconds_late) * 1_000), AHEAD_MS_MAX)
    };
    let (window, cut) = window_of_seconds(3_000, UsageRows::Off);
    assert_eq!(window.len(), 15 * 60 + 10);
    assert_eq!(lane_of(&cut, 0), Lane::Fast);
    assert_eq!(lane_of(&cut, 9 * 60), Lane::Fast);
    assert_eq!(lane_of(&cut, 11 * 60), Lane::Closed);
    // With usage rows the count bounds memory: what may be forgotten is looked up.
    let (window, cut) = window_of_seconds(3_000, UsageRows::Since(None));
    assert_eq!(window.len() as u64, RECORDS_MAX + 10);
    assert_eq!(lane_of(&cut, 0), Lane::Slow);
    // Time bounds both.
    let (window, _) = window_of_seconds(8_000, UsageRows::Off);
    assert_eq!(window.len(), 15 * 60 + 10);
}

#[test]
fn the_largest_leaderboard_of_the_longest_ids_fits_into_an_item() {
    let size = LEADERBOARD_SIZE_MAX as usize;
    let mut top = Top::new(size, None);
    for number in 0..4 * size as u32 {
        // Four bytes a character, and every total as long as a total can be.
        let id: String = (0..7)
            .map(|i| char::from_u32(0x1f600 + (number >> (2 * i) & 3)).unwrap())
            .collect();
        let id = format!("{id}{}", "\u{1f980}".repeat(ID_CHARS_MAX - 7));
        assert_eq!(id.len(), 4 * ID_CHARS_MAX);
        top.offer(Points(i64::MIN + i64::from(number)), &id);
    }
    let list = top.list();
    assert!(list.ranked.len() >= size && list.left_out.is_some());
    let month = "2026-11".parse().unwrap();
    let key = checkpoints::top_key(
        Partition(1_000_000),
        AccountKind::Provider,
        month,
        Epoch(u32::MAX),
    );
    let write = WriteId {
        worker: u64::MAX,
        count: u64::MAX,
    };
    let Write::Put { item, .. } = checkpoints::put(&key, &list, Some(write), write) else {
        panic!("a put");
    };
    let bytes: usize = item
        .iter()
        .map(|(name, value)| match value {
            Attr::S(text) => name.len() + text.len(),
            other => panic!("{name}: {other:?}"),
        })
        .sum();
    assert!(bytes <= ITEM_BYTES_MAX, "{bytes} bytes");
    // Quotes and backslashes take two bytes each in JSON; an id of them is still shorter.
    assert!(
        serde_json::to_string(&"\\".repeat(ID_CHARS_MAX))
            .unwrap()
            .len()
            <= 4 * ID_CHARS_MAX
    );
}

proptest! {
    #[test]
    fn the_window_knows_the_latest_record_of_each_identity_that_it_has_not_forgotten(
        records in proptest::collection::vec((0..64u8, 0..3u64, any::<bool>()), 1..200),
    ) {
        let mut window = Window::default();
        let mut kept: Vec<(u64, Identity, u64)> = Vec::new();
        let mut cut = WindowCut {
            age_ms: 3_600_000,
            records_max: RECORDS_MAX,
            usage_rows: UsageRows::Since(None),
            first: Offset(0),
            first_log_time: Millis(0),
            forgotten: None,
        };
        for (offset, (of, content, begins)) in (0u64..).zip(records) {
            if begins {
                cut = window.advance(&cut, Offset(offset), Millis(offset as i64));
                kept.retain(|(of, ..)| of + RECORDS_MAX >= offset);
            }
            let before = kept.iter().rev().find(|(_, is, _)| *is == identity(of));
            let must = match before {
                None => Standing::New,
                Some((.., of)) if *of == content => Standing::Duplicate,
                Some(_) => Standing::Conflict,
            };
            let is = window.classify(identity(of), ContentHash(content), Offset(offset), Millis(offset as i64));
            prop_assert_eq!(is, must);
            kept.push((offset, identity(of), content));
            prop_assert_eq!(window.len(), kept.len());
        }
    }

    #[test]
    fn a_list_that_is_not_exhausted_holds_the_best_in_order(
        offers in proptest::collection::vec((0..40u8, 0..50i64), 1..300),
    ) {
        const EXACT: usize = 3;
        let mut top = Top::new(EXACT, None);
        let mut totals: BTreeMap<String, i64> = BTreeMap::new();
        for (account, points) in offers {
            let id = format!("account-{account:02}");
            top.offer(Points(points), &id);
            totals.insert(id, points);
            if top.is_exhausted() {
                let every = totals.iter().map(|(id, points)| Ranked(Points(*points), id.clone()));
                top.restart(every.collect());
            }
            let mut must: Vec<(std::cmp::Reverse<i64>, &str)> =
                totals.iter().map(|(id, points)| (std::cmp::Reverse(*points), id.as_str())).collect();
            must.sort_unstable();
            let list = top.list();
            let is: Vec<(std::cmp::Reverse<i64>, &str)> =
                list.ranked.iter().map(|Ranked(points, id)| (std::cmp::Reverse(points.0), id.as_str())).collect();
            let exact = EXACT.min(must.len());
            prop_assert_eq!(&is[..exact], &must[..exact]);
            // Whoever is not on the list stands at most where the best that was left out stood.
            let listed: Vec<&str> = is.iter().map(|(_, id)| *id).collect();
            if let Some(best) = must.iter().find(|(_, id)| !listed.contains(id)) {
                let Ranked(points, id) = list.left_out.expect("somebody was left out");
                prop_assert!((std::cmp::Reverse(points.0), id.as_str()) <= *best);
            }
        }
    }
}
