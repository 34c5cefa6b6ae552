//! What the log knows of itself: its epoch and its topics' ids. Written once when it is created
//! (and when a topic is added).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ends::sync_dir;
use crate::domain::position::Epoch;
use crate::log::TopicInfo;

const FILE: &str = "log.json";

/// The log's own description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meta {
    /// Version of the layout of the directory.
    pub(super) layout: u32,
    pub(super) epoch: Epoch,
    pub(super) topics: BTreeMap<String, TopicMeta>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicMeta {
    /// Drawn when the topic is created: another id is another topic, whatever its name.
    pub(super) id: String,
    pub(super) partitions: u32,
}

impl TopicMeta {
    pub(super) fn draw(partitions: u32) -> TopicMeta {
        let id: u128 = rand::random();
        TopicMeta {
            id: format!("{id:032x}"),
            partitions,
        }
    }

    pub(super) fn info(&self) -> TopicInfo {
        TopicInfo {
            id: self.id.clone(),
            partitions: self.partitions,
        }
    }
}

impl Meta {
    pub(super) const LAYOUT: u32 = 1;

    /// `Ok(None)` when there is none yet.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Meta>> {
        match std::fs::read(dir.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Replaces the file; durable when it returns.
    pub(super) fn store(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("log.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, dir.join(FILE))?;
        sync_dir(dir)
    }
}
