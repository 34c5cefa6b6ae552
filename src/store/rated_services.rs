//! With which services the records of a source partition were rated.

use serde::{Deserialize, Serialize};

use crate::domain::position::{Control, Offset};

/// From which record on which version of `rules.services` rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesSince {
    /// The first record.
    pub from: Offset,
    /// The number of the version.
    pub version: Control,
}

/// The versions that rated a duplicate window and its chunk, by record, ascending. Records before
/// the first were rated with the built-in services only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RatedServices(pub Vec<ServicesSince>);

impl RatedServices {
    /// Whether everything was rated with the built-in services.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that a version (`None`: the built-in services) rates from a record on, and forgets
    /// those that rated nothing from the first record of the window on.
    pub fn rate_from(&mut self, from: Offset, version: Option<Control>, window: Offset) {
        if let Some(version) = version
            && self.0.last().map(|since| since.version) != Some(version)
        {
            self.0.push(ServicesSince { from, version });
        }
        let begun = self.0.partition_point(|since| since.from <= window);
        self.0.drain(..begun.saturating_sub(1));
    }

    /// The version that rated a record, and the record at which the next version begins; `None`:
    /// the built-in services, and no next one.
    pub fn at(&self, record: Offset) -> (Option<Control>, Option<Offset>) {
        let next = self.0.partition_point(|since| since.from <= record);
        let version = next.checked_sub(1).map(|i| self.0[i].version);
        (version, self.0.get(next).map(|since| since.from))
    }
}
