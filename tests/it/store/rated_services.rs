//! With which services a duplicate window was rated.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tidemark::domain::position::{Control, Offset};
use tidemark::store::rated_services::RatedServices;

proptest! {
    /// Chunk by chunk, with a window that moves on: every record of the window has the version that
    /// rated it, and nothing else is kept.
    #[test]
    fn every_record_of_the_window_has_the_version_that_rated_it(
        chunks in prop::collection::vec((1..5u64, 0..3u64, 0..6u64), 1..30),
    ) {
        let mut rated = RatedServices::default();
        let (mut versions, mut version) = (Vec::new(), 0);
        let mut first = 0;
        for (records, newer, forgotten) in chunks {
            let from = versions.len() as u64;
            version += newer;
            let published = (version > 0).then_some(Control(version));
            first = (first + forgotten).min(from);
            rated.rate_from(Offset(from), published, Offset(first));
            versions.extend((0..records).map(|_| published));
            let mut record = first;
            while record < versions.len() as u64 {
                let (version, next) = rated.at(Offset(record));
                let end = next.map_or(versions.len() as u64, |next| next.0);
                prop_assert!(record < end);
                for one in record..end.min(versions.len() as u64) {
                    prop_assert_eq!(versions[one as usize], version);
                }
                record = end;
            }
            let in_window: BTreeSet<_> =
                versions[first as usize..].iter().flatten().collect();
            prop_assert!(rated.0.len() <= in_window.len());
        }
    }
}
