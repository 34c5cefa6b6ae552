//! Which version of an account's rows was there when it was set aside.

use serde::{Deserialize, Serialize};

use crate::domain::ids::Account;
use crate::domain::position::Fence;
use crate::store::accounts;
use crate::store::db::{Db, Item, Key, StoreError};
use crate::store::row::Row;

/// Which version of the account's rows was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stood {
    /// It could not be told.
    Unknown,
    /// There was no row yet.
    Absent,
    /// The fence of its newest row.
    At(Fence),
}

impl Stood {
    /// Whether rows with this fence (`None`: there are none) have counted whatever those had.
    pub fn is_covered_by(self, fence: Option<Fence>) -> bool {
        match (self, fence) {
            (Stood::Unknown, _) | (Stood::At(_), None) => false,
            (Stood::Absent, _) => true,
            (Stood::At(stood), Some(fence)) => fence.position >= stood.position,
        }
    }

    /// Whether rows with this fence are those very rows.
    pub fn is_same(self, fence: Option<Fence>) -> bool {
        match (self, fence) {
            (Stood::Absent, None) => true,
            (Stood::At(stood), Some(fence)) => stood == fence,
            _ => false,
        }
    }

    /// The newer of the two.
    pub fn or_newer(self, other: Stood) -> Stood {
        match (self, other) {
            (Stood::At(a), Stood::At(b)) if a.position >= b.position => self,
            (_, Stood::At(_)) | (Stood::Unknown, _) => other,
            _ => self,
        }
    }
}

impl Serialize for Stood {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Stood::Unknown => serializer.serialize_str("unknown"),
            Stood::Absent => serializer.serialize_str("absent"),
            Stood::At(fence) => serializer.collect_str(fence),
        }
    }
}

impl<'de> Deserialize<'de> for Stood {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Stood, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "unknown" => Stood::Unknown,
            "absent" => Stood::Absent,
            fence => Stood::At(fence.parse().map_err(serde::de::Error::custom)?),
        })
    }
}

/// Which rows an account has that cannot be loaded: the newest fence that any of them has or names,
/// if all of that can be read and the newest row is the head.
pub async fn stood(db: &dyn Db, account: &Account) -> Result<Stood, StoreError> {
    match accounts::items_of(db, account).await {
        Ok(items) => Ok(newest_fence(account, &items).unwrap_or(Stood::Unknown)),
        // An attribute has a type that no item of ours has.
        Err(StoreError::Corrupt { .. }) => Ok(Stood::Unknown),
        Err(error) => Err(error),
    }
}

/// `None`: it cannot be told. The items are in order.
fn newest_fence(account: &Account, items: &[Item]) -> Option<Stood> {
    if items.is_empty() {
        return Some(Stood::Absent);
    }
    let table = accounts::table(account.kind);
    let months = items.iter().filter_map(|item| {
        let (_, month) = accounts::whose(account.kind, item).ok()??;
        let key = Key::new(table, account.id(), month.to_string());
        Some(Row::new(key, item))
    });
    let mut newest: Option<Fence> = None;
    let mut is_head = false;
    for row in months {
        let own: Fence = row.parsed("fence").ok()?;
        let named = accounts::parse_older(&row).ok()?;
        let fences = named.into_values().chain([own]).chain(newest);
        newest = fences.max_by_key(|fence| fence.position);
        is_head = row.text_opt("supersededBy").ok()?.is_none();
    }
    newest.filter(|_| is_head).map(Stood::At)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AccountKind;
    use crate::domain::position::{Epoch, Offset, Position, WriteId};
    use crate::store::row::Fields;

    fn at(offset: u64, count: u64) -> Fence {
        Fence {
            position: Some(Position {
                epoch: Epoch(1),
                offset: Offset(offset),
            }),
            write: WriteId { worker: 7, count },
        }
    }

    #[test]
    fn rows_cover_what_stood_if_they_are_as_new() {
        for (stood, fence, covered, same) in [
            (Stood::Unknown, Some(at(5, 1)), false, false),
            (Stood::Unknown, None, false, false),
            (Stood::Absent, None, true, true),
            (Stood::Absent, Some(at(5, 1)), true, false),
            (Stood::At(at(5, 1)), Some(at(5, 1)), true, true),
            (Stood::At(at(5, 1)), Some(at(5, 2)), true, false),
            (Stood::At(at(5, 1)), Some(at(4, 1)), false, false),
            (Stood::At(at(5, 1)), None, false, false),
        ] {
            assert_eq!(stood.is_covered_by(fence), covered, "{stood:?} {fence:?}");
            assert_eq!(stood.is_same(fence), same, "{stood:?} {fence:?}");
        }
    }

    #[test]
    fn the_newest_fence_of_damaged_rows_is_told_only_if_all_can_be_read() {
        let ann = Account::new(AccountKind::User, "ann").unwrap();
        let row = |month: &str, fence: &str, more: Option<(&'static str, &str)>| {
            let key = accounts::row_key(&ann, month.parse().unwrap());
            let item = Fields::of(&key).text("fence", fence);
            match more {
                Some((name, value)) => item.text(name, value).item(),
                None => item.item(),
            }
        };
        let (low, high) = (at(4, 1).to_string(), at(9, 1).to_string());
        let names = format!("2026-10={high}");
        let superseded = Some(("supersededBy", "2026-11"));
        let october = |fence| row("2026-10", fence, superseded);
        let bare = Fields::of(&accounts::item_key(&ann)).item();
        for (items, expected) in [
            (vec![], Some(Stood::Absent)),
            (vec![bare.clone()], None),
            (
                vec![bare, row("2026-11", &low, None)],
                Some(Stood::At(at(4, 1))),
            ),
            // The head is not as new as another row, or as one that it names.
            (
                vec![october(&high), row("2026-11", &low, None)],
                Some(Stood::At(at(9, 1))),
            ),
            (
                vec![
                    october(&low),
                    row("2026-11", &low, Some(("older", names.as_str()))),
                ],
                Some(Stood::At(at(9, 1))),
            ),
            // One of them cannot be read, or the head is gone.
            (vec![october("?"), row("2026-11", &low, None)], None),
            (vec![october(&low), row("2026-11", "?", None)], None),
            (vec![row("2026-11", &low, Some(("older", "2026-10")))], None),
            (vec![october(&low)], None),
        ] {
            assert_eq!(newest_fence(&ann, &items), expected, "{items:?}");
        }
    }

    #[test]
    fn what_stood_reads_back() {
        for stood in [Stood::Unknown, Stood::Absent, Stood::At(at(5, 9))] {
            let text = serde_json::to_string(&stood).unwrap();
            assert_eq!(serde_json::from_str::<Stood>(&text).unwrap(), stood);
        }
    }

    #[test]
    fn the_newer_of_two_is_kept() {
        let (older, newer) = (Stood::At(at(4, 1)), Stood::At(at(5, 1)));
        assert_eq!(older.or_newer(newer), newer);
        assert_eq!(newer.or_newer(older), newer);
        assert_eq!(Stood::Unknown.or_newer(older), older);
        assert_eq!(older.or_newer(Stood::Unknown), older);
        assert_eq!(Stood::Absent.or_newer(older), older);
        assert_eq!(Stood::Unknown.or_newer(Stood::Absent), Stood::Absent);
    }
}
