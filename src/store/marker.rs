//! The marker that every table holds of its installation: how it is known among the rows.

use super::db::{Attr, Item, Table};

/// The partition key of markers. No account, code or configuration key holds a control character.
pub(super) const MARKER: &str = "\u{1}installation";

/// Whether an item is its table's marker.
pub fn is_marker(table: Table, item: &Item) -> bool {
    matches!(item.get(table.keys().0), Some(Attr::S(hash)) if hash == MARKER)
}
