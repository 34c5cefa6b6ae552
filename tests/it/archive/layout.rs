//! Paths of files.

use proptest::prelude::*;
use tidemark::archive::{FileName, Folder};
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::time::{Day, Month};

proptest! {
    #[test]
    fn a_path_says_what_is_in_its_file(
        (epoch, source) in (any::<u32>(), 0..100_000_u32),
        (from, to) in any::<(u64, u64)>(),
        (month, day) in (0..1_200, 0..40_000),
    ) {
        let folder = Folder { month: Month(month), day: Day(day) };
        let name = FileName {
            epoch: Epoch(epoch),
            source: Partition(source),
            from: Offset(from),
            to: Offset(to),
        };
        let path = name.path_in(folder);
        prop_assert_eq!(FileName::of_path(&path).unwrap(), (folder, name));
        prop_assert_eq!(FileName::of_path(&format!("some/prefix/{path}")).unwrap().1, name);
    }
}

#[test]
fn a_path_is_read_by_people_and_orders_as_positions_do() {
    let folder = Folder {
        month: "2026-11".parse().unwrap(),
        day: "2026-11-22".parse().unwrap(),
    };
    let name = |from, to| FileName {
        epoch: Epoch(1),
        source: Partition(3),
        from: Offset(from),
        to: Offset(to),
    };
    assert_eq!(
        name(0, 1_000).path_in(folder),
        "month=2026-11/day=2026-11-22/\
         e0000000001-p00003-00000000000000000000-00000000000000001000.parquet"
    );
    assert!(name(9, 10).to_string() < name(10, 11).to_string());
    for wrong in [
        "",
        "month=2026-11/day=2026-11-22/other.parquet",
        "day=2026-11-22/e0000000001-p00003-00000000000000000000-00000000000000001000.parquet",
        "month=2026-11/day=2026-11-22/e1-p3-0-1000.parquet",
        "month=2026-11/day=2026-11-22/e0000000001-p00003-00000000000000000000.parquet",
    ] {
        assert!(FileName::of_path(wrong).is_err(), "{wrong}");
    }
}
