//! The versions of PricingConfig.

use std::collections::BTreeMap;

use crate::domain::position::Control;
use crate::store::audit;
use crate::store::control::{Change, Entry};
use crate::store::db::{Db, StoreError};
use crate::store::pricing::{Publication, Version};

/// What a version says of its author if the audit trail does not tell.
const UNKNOWN: &str = "restored from the control feed";

/// Compares the versions in the table with `entries`, the ones of the feed that changed rules, in
/// order. Returns the versions that the feed does not know, and those that it lacks; of these the
/// author is not known yet.
pub fn compare_versions(entries: &[Entry], found: Vec<Version>) -> (Vec<Version>, Vec<Version>) {
    let mut expected = expected_versions(entries);
    let mut stray = Vec::new();
    for version in found {
        let place = (version.key.clone(), version.version);
        match expected.get(&place) {
            Some(known) if is_same(known, &version) => drop(expected.remove(&place)),
            _ => stray.push(version),
        }
    }
    let mut missing: Vec<Version> = expected.into_values().collect();
    missing.sort_by_key(|version| (version.control, version.publication.index));
    (stray, missing)
}

/// The rows that the feed's entries were written with.
fn expected_versions(entries: &[Entry]) -> BTreeMap<(String, u32), Version> {
    let mut newest: BTreeMap<&str, u32> = BTreeMap::new();
    let mut expected = BTreeMap::new();
    let mut previous = Control(0);
    for entry in entries {
        let Change::Rules(changes) = &entry.change else {
            continue;
        };
        for (index, change) in changes.iter().enumerate() {
            let number = newest.entry(&change.key).or_default();
            *number += 1;
            let version = Version {
                key: change.key.clone(),
                version: *number,
                control: entry.number,
                effective_from: change.effective_from,
                value: change.value.clone(),
                by: UNKNOWN.to_owned(),
                reason: UNKNOWN.to_owned(),
                written_at: entry.written_at,
                publication: Publication {
                    previous,
                    count: changes.len(),
                    index,
                },
            };
            expected.insert((change.key.clone(), *number), version);
        }
        previous = entry.number;
    }
    expected
}

/// Whether a row is the one that was written with its entry. Who published it is not in the entry.
fn is_same(expected: &Version, found: &Version) -> bool {
    let of = |version: &Version| {
        (
            version.control,
            version.publication,
            version.effective_from,
            version.written_at,
        )
    };
    of(expected) == of(found) && expected.value == found.value
}

/// Who published a version, and why, by the audit trail.
pub(super) async fn complete(db: &dyn Db, version: &mut Version) -> Result<(), StoreError> {
    let published = audit::of_moment(db, version.written_at, "pricing.publish").await?;
    let own = |entry: &&audit::Entry| entry.detail["control"] == version.control.0;
    if let Some(entry) = published.iter().find(own) {
        version.by.clone_from(&entry.by);
        if let Some(reason) = entry.detail["reason"].as_str() {
            reason.clone_into(&mut version.reason);
        }
    }
    Ok(())
}
