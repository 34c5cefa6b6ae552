//! What the topics should be, and how they come to be it: differences, what of them is mended, and
//! what is refused.
//!
//! Mended is what takes nothing away from what the log holds: a missing topic, and most settings.
//! Refused is what would change where records lie or what their times mean. A topic with a refused
//! difference is left as it is, because what is right for the others depends on it.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::KafkaFault;
use super::admin::{Admin, Setting, TopicConfig, TopicState};
use crate::log::Topic;
use crate::log::rejected::largest_reject;
use crate::log::topics::{Cleanup, Timestamps, TopicSpec};

/// Batches of this size are what clients send by themselves, whatever the largest record: it is the
/// limit that Java's client has from the start, and more than librdkafka's.
const CLIENT_BATCH_BYTES: usize = 1024 * 1024;
/// What a batch takes beside the keys, values and headers in it.
const BATCH_OVERHEAD_BYTES: usize = 64 * 1024;
/// How long a change may take until every broker has heard of it.
const SETTLE_MAX: Duration = Duration::from_secs(15);
const SETTLE_POLL: Duration = Duration::from_millis(50);

/// The way out where a topic cannot be changed in place.
const MOVE: &str = "Instead: stop what sends events; wait until both roles have drained (`tidemark wait`) and stop the workers; set another \
     kafka.topic_prefix and the next log.epoch; run `tidemark topics apply`; start the workers and the senders again. Accounts go on as they \
     are";

/// What differs from what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The topic's name in the cluster.
    pub topic: String,
    /// What of it: `topic`, `partitions`, `replication.factor`, or a setting as Kafka calls it.
    pub setting: &'static str,
    /// What it is.
    pub is: String,
    /// What it should be.
    pub should_be: String,
    /// What `apply` does about it.
    pub remedy: Remedy,
}

/// What `apply` does about a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It creates the topic.
    Create,
    /// It changes the setting.
    Set(Setting),
    /// Nothing, as long as something else about this topic is refused.
    Wait,
    /// Nothing: it would be dangerous. Says why, and what to do instead.
    Refuse(String),
}

impl Remedy {
    /// One word: `create`, `set`, `wait`, `refuse`.
    pub const fn word(&self) -> &'static str {
        match self {
            Remedy::Create => "create",
            Remedy::Set(_) => "set",
            Remedy::Wait => "wait",
            Remedy::Refuse(_) => "refuse",
        }
    }

    fn is_doable(&self) -> bool {
        matches!(self, Remedy::Create | Remedy::Set(_))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            topic,
            setting,
            is,
            should_be,
            ..
        } = self;
        write!(f, "{topic}: {setting} is {is}, should be {should_be}")?;
        match &self.remedy {
            Remedy::Refuse(procedure) => write!(f, ". {procedure}"),
            _ => Ok(()),
        }
    }
}

/// What `apply` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// What it mended.
    pub mended: Vec<Difference>,
    /// What is left: refused, or waiting for what is refused.
    pub left: Vec<Difference>,
}

/// The largest batch of a topic, as Kafka's `max.message.bytes` has it. What the broker takes as an
/// event must also fit when it is rejected.
pub fn largest_batch(spec: &TopicSpec, specs: &[TopicSpec]) -> usize {
    let events = specs.iter().find(|spec| spec.topic == Topic::UsageEvents);
    let needed = match (spec.topic, events) {
        (Topic::UsageRejected, Some(events)) => largest_reject(largest_batch(events, specs)),
        _ => 0,
    };
    let content = spec
        .largest_record_bytes
        .max(CLIENT_BATCH_BYTES)
        .max(needed);
    content + BATCH_OVERHEAD_BYTES
}

/// Every setting of a topic as it should be.
pub fn wanted(spec: &TopicSpec, specs: &[TopicSpec]) -> Vec<(Setting, String)> {
    let timestamps = match spec.timestamps {
        Timestamps::LogAppendTime => "LogAppendTime",
    };
    let cleanup = match spec.cleanup {
        Cleanup::Delete => "delete",
    };
    let value = |setting| match setting {
        Setting::TimestampType => timestamps.to_owned(),
        Setting::Retention => spec.retention.as_millis().to_string(),
        Setting::RetentionBytes => "-1".to_owned(),
        Setting::Cleanup => cleanup.to_owned(),
        Setting::MinInsync => spec.min_insync_replicas.to_string(),
        Setting::MaxMessageBytes => largest_batch(spec, specs).to_string(),
        Setting::UncleanElection => "false".to_owned(),
    };
    Setting::ALL
        .map(|setting| (setting, value(setting)))
        .to_vec()
}

/// What a topic is like.
struct Found {
    state: TopicState,
    configs: Vec<TopicConfig>,
    /// Whether it has ever held a record. Looked at only where something depends on it.
    is_used: bool,
}

/// What of a topic differs.
fn differences(
    name: &str,
    spec: &TopicSpec,
    wanted: &[(Setting, String)],
    found: Option<&Found>,
) -> Vec<Difference> {
    let Some(found) = found else {
        return vec![missing(name, spec)];
    };
    let settings = wanted
        .iter()
        .filter_map(|(setting, value)| other_setting(name, *setting, value, found));
    let all = other_partitions(name, spec, &found.state)
        .into_iter()
        .chain(other_copies(name, spec, &found.state))
        .chain(settings);
    leave_alone_if_refused(all.collect())
}

fn missing(name: &str, spec: &TopicSpec) -> Difference {
    Difference {
        topic: name.to_owned(),
        setting: "topic",
        is: "missing".to_owned(),
        should_be: format!(
            "{} partitions, replication factor {}",
            spec.partitions, spec.replication_factor
        ),
        remedy: Remedy::Create,
    }
}

fn other_partitions(name: &str, spec: &TopicSpec, state: &TopicState) -> Option<Difference> {
    let (is, should_be) = (state.partitions, spec.partitions);
    let why = match spec.topic {
        Topic::LedgerCuts => format!(
            "It needs as many partitions as usage.events has, {should_be}. If it is empty, delete it \
             and run `tidemark topics apply`. If not: {MOVE}"
        ),
        _ => format!(
            "A different number of partitions would move users and accounts to other partitions: \
             duplicates would be missed, and sequences broken. {MOVE}. Or, if the topic is right, \
             set partitions: {is} in its file"
        ),
    };
    (is != should_be).then(|| Difference {
        topic: name.to_owned(),
        setting: "partitions",
        is: is.to_string(),
        should_be: should_be.to_string(),
        remedy: Remedy::Refuse(why),
    })
}

fn other_copies(name: &str, spec: &TopicSpec, state: &TopicState) -> Option<Difference> {
    let (is, should_be) = (state.replication_factor, spec.replication_factor);
    (is != should_be).then(|| Difference {
        topic: name.to_owned(),
        setting: "replication.factor",
        is: is.to_string(),
        should_be: should_be.to_string(),
        remedy: Remedy::Refuse(format!(
            "Change replicas with Kafka's own kafka-reassign-partitions.sh, under supervision. Or, \
             to keep the cluster as it is, set replicationFactor: {is} in the topic's file, or pass \
             --replication-factor {is} (and --min-insync)"
        )),
    })
}

fn other_setting(
    name: &str,
    setting: Setting,
    should_be: &str,
    found: &Found,
) -> Option<Difference> {
    // One that is not told is one that this Kafka does not have.
    let mut configs = found.configs.iter();
    let config = configs.find(|config| config.setting == setting)?;
    let origin = match config.is_own {
        true => "",
        false => " (the cluster's default)",
    };
    (config.value != should_be).then(|| Difference {
        topic: name.to_owned(),
        setting: setting.key(),
        is: format!("{}{origin}", config.value),
        should_be: should_be.to_owned(),
        remedy: remedy(setting, found),
    })
}

/// Why a setting must not be changed under records.
fn danger(setting: Setting) -> Option<&'static str> {
    match setting {
        Setting::TimestampType => Some(
            "Its records carry times chosen by their producers, but log time must not be: it \
             decides about duplicates, late events and the close of a month",
        ),
        Setting::Cleanup => Some(
            "Compaction removes records from the middle, and a sequence with gaps cannot be told \
             from a damaged one",
        ),
        _ => None,
    }
}

fn remedy(setting: Setting, found: &Found) -> Remedy {
    match danger(setting) {
        Some(why) if found.is_used => Remedy::Refuse(format!("{why}. {MOVE}")),
        _ => Remedy::Set(setting),
    }
}

fn leave_alone_if_refused(mut all: Vec<Difference>) -> Vec<Difference> {
    let is_refused = |difference: &Difference| matches!(difference.remedy, Remedy::Refuse(_));
    if all.iter().any(is_refused) {
        for difference in all.iter_mut().filter(|one| one.remedy.is_doable()) {
            difference.remedy = Remedy::Wait;
        }
    }
    all
}

impl Admin {
    /// What differs between the topics' files and the cluster, in the order of `specs`. Changes
    /// nothing.
    pub async fn check(&self, specs: &[TopicSpec]) -> Result<Vec<Difference>, KafkaFault> {
        self.compare(&self.with_cuts_like_events(specs).await?)
            .await
    }

    /// The topics' files, but with as many partitions of `ledger.cuts` as the cluster's
    /// `usage.events` has, whatever its file says: that topic may be from before `ledger.cuts`, and
    /// raters need as many.
    async fn with_cuts_like_events(
        &self,
        specs: &[TopicSpec],
    ) -> Result<Vec<TopicSpec>, KafkaFault> {
        let mut specs = specs.to_vec();
        let name = self.topic_name(Topic::UsageEvents);
        if let Some(events) = self.describe(&name).await? {
            let cuts = specs.iter_mut().filter(|of| of.topic == Topic::LedgerCuts);
            cuts.for_each(|cuts| cuts.partitions = events.partitions);
        }
        Ok(specs)
    }

    async fn compare(&self, specs: &[TopicSpec]) -> Result<Vec<Difference>, KafkaFault> {
        let mut all = Vec::new();
        for spec in specs {
            let name = self.topic_name(spec.topic);
            let wanted = wanted(spec, specs);
            let found = self.find(&name, &wanted).await?;
            all.extend(differences(&name, spec, &wanted, found.as_ref()));
        }
        Ok(all)
    }

    async fn find(
        &self,
        name: &str,
        wanted: &[(Setting, String)],
    ) -> Result<Option<Found>, KafkaFault> {
        let Some(state) = self.describe(name).await? else {
            return Ok(None);
        };
        let configs = self.configs(name).await?;
        let differs = |config: &TopicConfig| {
            let wanted = wanted
                .iter()
                .find(|(setting, _)| *setting == config.setting);
            wanted.is_some_and(|(_, value)| *value != config.value)
        };
        let matters = |config: &TopicConfig| danger(config.setting).is_some() && differs(config);
        let is_used =
            configs.iter().any(matters) && !self.is_unused(name, state.partitions).await?;
        Ok(Some(Found {
            state,
            configs,
            is_used,
        }))
    }

    /// Creates what is missing and changes what may be changed, and returns when the cluster shows
    /// it. Doing it again changes nothing; several at once do no harm.
    pub async fn apply(&self, specs: &[TopicSpec]) -> Result<Applied, KafkaFault> {
        let until = Instant::now() + SETTLE_MAX;
        let mut mended = Vec::new();
        let specs = &self.with_cuts_like_events(specs).await?[..];
        loop {
            let left = self.compare(specs).await?;
            let doable: Vec<_> = left.iter().filter(|one| one.remedy.is_doable()).collect();
            if doable.is_empty() {
                return Ok(Applied { mended, left });
            }
            if Instant::now() > until {
                let first = doable[0];
                return Err(KafkaFault::Unavailable(format!(
                    "{first}: the change was accepted, but is not in force after {SETTLE_MAX:?}"
                )));
            }
            for spec in specs {
                self.mend(spec, specs, &doable).await?;
            }
            for difference in doable {
                if !mended.contains(difference) {
                    mended.push(difference.clone());
                }
            }
            // Brokers hear of a change a moment after it was accepted.
            tokio::time::sleep(SETTLE_POLL).await;
        }
    }

    async fn mend(
        &self,
        spec: &TopicSpec,
        specs: &[TopicSpec],
        doable: &[&Difference],
    ) -> Result<(), KafkaFault> {
        let name = self.topic_name(spec.topic);
        let here = || doable.iter().filter(|one| one.topic == name);
        let mut wanted = wanted(spec, specs);
        if here().any(|one| one.remedy == Remedy::Create) {
            let size = (spec.partitions, spec.replication_factor);
            // Some managed clusters take no word about these at creation; where their defaults are
            // wrong, the next round sets them.
            let later = [Setting::RetentionBytes, Setting::UncleanElection];
            wanted.retain(|(setting, _)| !later.contains(setting));
            return self.create(&name, size, wanted).await;
        }
        wanted.retain(|(setting, _)| here().any(|one| one.remedy == Remedy::Set(*setting)));
        match wanted.is_empty() {
            true => Ok(()),
            false => self.set(&name, wanted).await,
        }
    }
}
