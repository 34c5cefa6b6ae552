//! Rules for requests of the past: as they were, or as if others had been in force.

use std::sync::Arc;

use super::{RuleBook, Timeline, check_badges, check_services};
use crate::domain::position::Control;
use crate::domain::rules::document::RulesDocument;
use crate::domain::rules::fault::RuleFault;
use crate::domain::rules::key::SettingKey;
use crate::domain::rules::setting::Setting;
use crate::domain::rules::version::Version;

/// The rules as of every control position. Requests that were rated with one are rated again by it.
#[derive(Clone, Debug)]
pub struct RuleHistory {
    /// Those of each position that changed something, ascending; each until the next.
    timelines: Vec<(Control, Arc<Timeline>)>,
    keeps_tiers: bool,
}

impl RuleHistory {
    /// The rules as of a control position; `None` before the first complete rules.
    pub fn as_of(&self, control: Control) -> Option<&Arc<Timeline>> {
        let next = self.timelines.partition_point(|(from, _)| *from <= control);
        let place = next.checked_sub(1)?;
        Some(&self.timelines[place].1)
    }

    /// Whether every model has the tier that it was rated with.
    pub fn keeps_tiers(&self) -> bool {
        self.keeps_tiers
    }
}

impl RuleBook {
    /// The rules as they were.
    pub fn history(&self) -> RuleHistory {
        self.compile_all(true)
    }

    /// The rules as if the values of a document had been in force from the beginning. Keys that it
    /// does not have stay as they were.
    ///
    /// # Errors
    /// The document renames or lacks a service that there was.
    pub fn history_with(&self, document: &RulesDocument) -> Result<RuleHistory, Vec<RuleFault>> {
        let control = self.controls.first().copied().unwrap_or_default();
        let mut changed = RuleBook {
            versions: self.versions.clone(),
            controls: self.controls.clone(),
            compiled: None,
        };
        let mut keeps_tiers = true;
        for (key, setting) in document.settings() {
            let before = self.versions.get(key).map_or(&[][..], Vec::as_slice);
            let fingerprint = xxhash_rust::xxh3::xxh3_64(setting.canonical().as_bytes());
            if let Setting::Services(services) = setting {
                check_services(services, before).map_err(|fault| vec![fault])?;
            }
            if let Setting::Badges(badges) = setting {
                check_badges(badges, before).map_err(|fault| vec![fault])?;
            }
            if *key == SettingKey::Catalogue {
                let is_same = |version: &Version| version.fingerprint == fingerprint;
                keeps_tiers = before.iter().all(is_same);
            }
            let version = Version {
                control,
                effective_from: None,
                setting: setting.clone(),
                fingerprint,
            };
            changed.versions.insert(*key, vec![version]);
        }
        Ok(changed.compile_all(keeps_tiers))
    }

    fn compile_all(&self, keeps_tiers: bool) -> RuleHistory {
        let compiled = |control: &Control| Some((*control, Arc::new(self.compile(*control)?)));
        RuleHistory {
            timelines: self.controls.iter().filter_map(compiled).collect(),
            keeps_tiers,
        }
    }
}
