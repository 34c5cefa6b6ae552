//! What somebody looked at before changing a price or a rule; so that the change follows that, or
//! is none.

use super::super::control;
use super::super::db::{Db, StoreError};
use super::{Publish, PublishError, Version, history, in_force_at};
use crate::domain::position::Control;
use crate::domain::time::Millis;

/// What somebody saw of a key before deciding to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The number of its newest version, whenever that begins; 0: there is none.
    pub newest: u32,
    /// The number of the version that was in force then; 0: there was none. It changes without a
    /// publication, when one that was to come begins.
    pub in_force: u32,
}

impl Seen {
    /// What there is to see of a key's versions now.
    pub fn of(versions: &[Version], now: Millis) -> Seen {
        let newest = versions.iter().map(|version| version.version).max();
        let holds = in_force_at(versions, now);
        Seen {
            newest: newest.unwrap_or(0),
            in_force: holds.map_or(0, |version| version.version),
        }
    }

    /// Whether this is what a publication of one key finds.
    pub(super) fn holds(self, publish: &Publish, versions: &[Version]) -> bool {
        let of_key = |key: &str| -> Vec<Version> {
            let found = versions.iter().filter(|version| version.key == key);
            found.cloned().collect()
        };
        let mut keys = publish.values.iter().map(|new| of_key(&new.key));
        keys.all(|found| Seen::of(&found, publish.now) == self)
    }
}

/// The version of a key that was published under a token by somebody who had `seen` this; `None`:
/// there is none, or it is not visible yet.
pub async fn published_under(
    db: &dyn Db,
    key: &str,
    seen: Seen,
    token: &str,
) -> Result<Option<Version>, StoreError> {
    let versions = history(db, key).await?;
    let next = versions
        .into_iter()
        .find(|version| version.version == seen.newest + 1);
    let Some(version) = next else { return Ok(None) };
    let head = control::full_head(db).await?;
    let is_it = control::happened(db, version.control, head, token).await?;
    Ok(Some(version).filter(|_| is_it))
}

/// What was seen is not so any more: because of this very publication, sent twice, or of another.
pub(super) async fn not_onto(
    db: &dyn Db,
    publish: &Publish,
    seen: Seen,
) -> Result<Control, PublishError> {
    for new in &publish.values {
        let before = published_under(db, &new.key, seen, &publish.token).await?;
        match before {
            Some(version) if version.value == new.value => return Ok(version.control),
            _ => (),
        }
    }
    let key = publish.values.first().map(|new| new.key.clone());
    Err(PublishError::Changed {
        key: key.unwrap_or_default(),
    })
}
