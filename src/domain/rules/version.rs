//! One version of one key, as it came through the control feed.

use super::setting::Setting;
use crate::domain::position::Control;
use crate::domain::time::Millis;

/// One version of one key.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub control: Control,
    /// `None`: it has no beginning.
    pub effective_from: Option<Millis>,
    pub setting: Setting,
    pub fingerprint: u64,
}

impl Version {
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// A hash of the value's canonical text.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}
