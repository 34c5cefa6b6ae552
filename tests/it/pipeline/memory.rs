//! What raters and posters keep in memory, against what it stands for, kept naively.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemark::domain::amount::Points;
use tidemark::domain::event::{ContentHash, Identity};
use tidemark::domain::position::Offset;
use tidemark::domain::time::Millis;
use tidemark::pipeline::post::top::Top;
use tidemark::pipeline::rate::window::{Standing, Window};
use tidemark::store::checkpoints::{Ranked, UsageRows, WindowCut};

const RECORDS_MAX: u64 = 20;

/// Identities that differ in one of the parts that the window's table looks at, or in none of them.
fn identity(of: u8) -> Identity {
    let of = u128::from(of);
    Identity((of & 3) | (of >> 2 & 3) << 64 | (of >> 4 & 3) << 96)
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
            usage_rows: UsageRows::Off,
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
            let is = window.take(identity(of), ContentHash(content), Offset(offset), Millis(offset as i64));
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
