//! From where on an account that is released must take its postings again. Pure.

use std::collections::BTreeMap;

use crate::domain::position::{Epoch, Fence, Offset, Position};
use crate::store::set_aside::{Base, SetAside};

/// What is known of the sources where an epoch begins.
pub(super) fn begun_anew(base: &Base, epoch: Epoch) -> Base {
    if base.epoch == epoch {
        return base.clone();
    }
    Base {
        epoch,
        next: Offset(0),
        sources: BTreeMap::new(),
    }
}

/// The place from which on postings must be taken again, so that rows with this fence get all that
/// they lack; `None`: there is none that is known. `start` is the first offset that the log holds.
pub(super) fn catch_up_from(
    record: &SetAside,
    fence: Option<Fence>,
    epoch: Epoch,
    start: Offset,
) -> Option<Base> {
    if record.stood.is_covered_by(fence) {
        // An epoch begins only when all of the one before is posted; a record of that one was
        // written at its very end.
        return Some(begun_anew(&record.since, epoch));
    }
    let counted = fence?.position?;
    let is_before = |base: &&Base| base.epoch == epoch && base.position() <= after(counted);
    let known = record.earlier.iter().chain([&record.since]);
    let newest = known.filter(is_before).max_by_key(|base| base.next);
    // The log holds everything of this epoch, in which the rows were written.
    let whole = (counted.epoch == epoch && start == Offset(0)).then(|| Base {
        epoch,
        next: Offset(0),
        sources: BTreeMap::new(),
    });
    newest.cloned().or(whole)
}

fn after(position: Position) -> Position {
    Position {
        offset: position.offset.next(),
        ..position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Account, AccountKind};
    use crate::domain::position::{Partition, WriteId};
    use crate::domain::time::Millis;
    use crate::store::set_aside::{FaultCode, Stood};

    const EPOCH: u32 = 2;

    fn fence(epoch: u32, offset: u64) -> Fence {
        Fence {
            position: Some(Position {
                epoch: Epoch(epoch),
                offset: Offset(offset),
            }),
            write: WriteId::default(),
        }
    }

    fn base(epoch: u32, next: u64) -> Base {
        Base {
            epoch: Epoch(epoch),
            next: Offset(next),
            sources: BTreeMap::new(),
        }
    }

    fn record(stood: Stood, since: Base) -> SetAside {
        SetAside {
            account: Account::new(AccountKind::User, "ann").unwrap(),
            partition: Partition(0),
            code: FaultCode::RowUnreadable,
            what: "damaged".to_owned(),
            at: Millis(0),
            since,
            since_time: None,
            stood,
            earlier: vec![base(EPOCH, 40), base(EPOCH, 60)],
            release: None,
            refused: None,
        }
    }

    #[test]
    fn postings_are_taken_again_from_the_newest_place_that_misses_none() {
        let at_90 = Stood::At(fence(EPOCH, 90));
        let since = base(EPOCH, 100);
        for (stood, since, found, start, expected) in [
            // As new as they were: everything before the record's place is in them.
            (at_90, since.clone(), Some(fence(EPOCH, 90)), 0, Some(100)),
            (at_90, since.clone(), Some(fence(EPOCH, 95)), 80, Some(100)),
            (Stood::Absent, since.clone(), None, 0, Some(100)),
            // Older: from a place at or before what they have counted.
            (at_90, since.clone(), Some(fence(EPOCH, 70)), 30, Some(60)),
            (at_90, since.clone(), Some(fence(EPOCH, 59)), 30, Some(60)),
            (at_90, since.clone(), Some(fence(EPOCH, 58)), 30, Some(40)),
            (at_90, since.clone(), Some(fence(EPOCH, 20)), 0, Some(0)),
            (at_90, since.clone(), Some(fence(EPOCH, 20)), 10, None),
            // Of an earlier epoch: what they lack of that one is nowhere.
            (at_90, since.clone(), Some(fence(1, 500)), 0, None),
            (at_90, since.clone(), None, 0, None),
            // It is not known what there was: the rows' own word counts.
            (
                Stood::Unknown,
                since.clone(),
                Some(fence(EPOCH, 120)),
                30,
                Some(100),
            ),
            (Stood::Unknown, since, Some(fence(EPOCH, 20)), 10, None),
            // The record is of the very end of the epoch before.
            (
                Stood::At(fence(1, 500)),
                base(1, 501),
                Some(fence(1, 500)),
                0,
                Some(0),
            ),
        ] {
            let record = record(stood, since);
            let place = catch_up_from(&record, found, Epoch(EPOCH), Offset(start));
            let place = place.map(|base| (base.epoch.0, base.next.0));
            let expected = expected.map(|next| (EPOCH, next));
            assert_eq!(place, expected, "{stood:?} {found:?} {start}");
        }
    }
}
