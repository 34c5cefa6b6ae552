//! What the topics are: `topics/*.yaml`, from which the embedded log and Kafka are both set up.
//!
//! The files are compiled in; a directory may hold others in their place. A bad file is refused
//! with all its faults at once.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Topic, posting, rejected};

/// Largest usage event, in bytes of its value.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Most partitions of a topic.
pub const PARTITIONS_MAX: u32 = 1_024;
/// Largest record that any topic may take.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Shortest retention: a process that was down for a day must find what it has not read, and the
/// duplicate window.
const RETENTION_HOURS_MIN: u64 = 24;
/// Longest retention: ten years.
const RETENTION_HOURS_MAX: u64 = 10 * 8_760;
/// What a cut may take, at least: 20 bytes for each of [`PARTITIONS_MAX`] posting partitions, and
/// 16 for each version of the services within the duplicate window.
const CUT_BYTES_MAX: usize = 64 * 1024;
/// What a usage event's key and headers may take, at least.
const EVENT_OVERHEAD_BYTES: usize = 8 * 1024;

/// The files that are compiled in.
const SHIPPED: [(&str, &str); 4] = [
    (
        "topics/usage.events.yaml",
        include_str!("../../topics/usage.events.yaml"),
    ),
    (
        "topics/usage.rejected.yaml",
        include_str!("../../topics/usage.rejected.yaml"),
    ),
    (
        "topics/ledger.postings.yaml",
        include_str!("../../topics/ledger.postings.yaml"),
    ),
    (
        "topics/ledger.cuts.yaml",
        include_str!("../../topics/ledger.cuts.yaml"),
    ),
];

/// What a topic is.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSpec {
    /// Which.
    pub topic: Topic,
    /// How many partitions; fixed for the life of an epoch.
    pub partitions: u32,
    /// Copies of each partition (Kafka).
    pub replication_factor: u16,
    /// Copies that must have a record before it is acknowledged (Kafka).
    pub min_insync_replicas: u16,
    /// How long a record is kept, at least.
    pub retention: Duration,
    /// What happens to records that are old.
    pub cleanup: Cleanup,
    /// Whose time a record carries.
    pub timestamps: Timestamps,
    /// Largest record, by [`NewRecord::size`](super::NewRecord::size).
    pub largest_record_bytes: usize,
    /// What it holds, for people.
    pub holds: String,
    /// What its key is, for people.
    pub key: String,
    /// What its records are.
    pub record: RecordSpec,
}

/// What happens to records that are old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// They are deleted. Never compacted: a sequence with holes could not be told from a damaged
    /// one.
    Delete,
}

/// Whose time a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// The log's own, when it takes the record: log time must not be a producer's invention.
    LogAppendTime,
}

/// What the records of a topic are.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordSpec {
    /// The kind of bytes.
    pub format: RecordFormat,
    /// What they say, for people.
    pub description: String,
    /// The JSON schema, for [`RecordFormat::Json`].
    pub schema: Option<Value>,
}

/// A kind of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// JSON text.
    Json,
    /// Whatever the original was.
    Original,
    /// Our own binary form.
    Binary,
}

/// A fault in a topic's file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {key}: {problem}; allowed: {allowed}")]
pub struct TopicFault {
    /// The file.
    pub file: String,
    /// The key within it.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What is allowed.
    pub allowed: String,
}

/// Every fault that was found in the topics' files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFaults(pub Vec<TopicFault>);

impl fmt::Display for TopicFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(TopicFault::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for TopicFaults {}

impl TopicSpec {
    /// Reads the text of one file; `file` names it in faults.
    pub fn parse(file: &str, text: &str) -> Result<TopicSpec, TopicFaults> {
        let raw: Value = serde_saphyr::from_str(text).map_err(|e| {
            TopicFaults(vec![TopicFault {
                file: file.to_owned(),
                key: "(file)".to_owned(),
                problem: format!("is not YAML: {e}"),
                allowed: "a YAML mapping".to_owned(),
            }])
        })?;
        let mut faults = Vec::new();
        let spec = Fields::new(file, "", &raw, &mut faults).spec();
        match spec {
            Some(spec) if faults.is_empty() => Ok(spec),
            _ => Err(TopicFaults(faults)),
        }
    }
}

/// The topics as shipped, in the order of [`Topic::ALL`].
pub fn shipped() -> Vec<TopicSpec> {
    load(None).expect("a test parses the files that are compiled in")
}

/// The topics in the order of [`Topic::ALL`]: from `dir/NAME.yaml` where there is such a file, else
/// as shipped. `ledger.cuts` without a file is like `usage.events`: a directory from before that
/// topic needs no change.
pub fn load(dir: Option<&Path>) -> Result<Vec<TopicSpec>, TopicFaults> {
    let mut faults = dir.map_or_else(Vec::new, strangers);
    let mut specs = Vec::new();
    for (topic, (shipped_file, shipped_text)) in Topic::ALL.into_iter().zip(SHIPPED) {
        let parsed = match dir.map(|dir| dir.join(format!("{topic}.yaml"))) {
            Some(path) if path.exists() => read(&path),
            _ => TopicSpec::parse(shipped_file, shipped_text),
        };
        match parsed {
            Ok(spec) => specs.push(spec),
            Err(TopicFaults(more)) => faults.extend(more),
        }
    }
    if faults.is_empty() {
        let own = format!("{}.yaml", Topic::LedgerCuts);
        if !dir.is_some_and(|dir| dir.join(own).exists()) {
            cuts_like_events(&mut specs);
        }
        faults.extend(together(&specs));
    }
    if faults.is_empty() {
        Ok(specs)
    } else {
        Err(TopicFaults(faults))
    }
}

fn read(path: &Path) -> Result<TopicSpec, TopicFaults> {
    let file = path.display().to_string();
    let fault = |key: &str, problem: String, allowed: String| {
        TopicFaults(vec![TopicFault {
            file: file.clone(),
            key: key.to_owned(),
            problem,
            allowed,
        }])
    };
    let text = std::fs::read_to_string(path).map_err(|e| {
        fault(
            "(file)",
            format!("cannot be read: {e}"),
            "a readable file".to_owned(),
        )
    })?;
    let spec = TopicSpec::parse(&file, &text)?;
    let stem = path.file_stem().unwrap_or_default();
    if stem != spec.topic.name() {
        let allowed = stem.to_string_lossy().into_owned();
        return Err(fault("name", format!("is {}", spec.topic), allowed));
    }
    Ok(spec)
}

/// Files that name no topic: most likely a misspelling that would otherwise do nothing, silently.
fn strangers(dir: &Path) -> Vec<TopicFault> {
    let fault = |file: &Path, problem: String| TopicFault {
        file: file.display().to_string(),
        key: "(file)".to_owned(),
        problem,
        allowed: Topic::ALL.map(|topic| format!("{topic}.yaml")).join(", "),
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => return vec![fault(dir, format!("cannot be listed: {e}"))],
    };
    let mut paths: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .filter(|path| !is_topic_file(path))
        .map(|path| fault(path, "is not a topic file".to_owned()))
        .collect()
}

fn is_topic_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    Topic::ALL
        .iter()
        .any(|topic| name == std::ffi::OsStr::new(&format!("{topic}.yaml")))
}

/// Gives `ledger.cuts` what depends on the cluster and on `usage.events`.
fn cuts_like_events(specs: &mut [TopicSpec]) {
    let Some(events) = find(specs, Topic::UsageEvents).cloned() else {
        return;
    };
    let cuts = specs
        .iter_mut()
        .find(|spec| spec.topic == Topic::LedgerCuts);
    if let Some(cuts) = cuts {
        *cuts = TopicSpec {
            partitions: events.partitions,
            replication_factor: events.replication_factor,
            min_insync_replicas: events.min_insync_replicas,
            retention: events.retention,
            ..cuts.clone()
        };
    }
}

fn find(specs: &[TopicSpec], topic: Topic) -> Option<&TopicSpec> {
    specs.iter().find(|spec| spec.topic == topic)
}

/// What must hold between topics.
fn together(specs: &[TopicSpec]) -> Vec<TopicFault> {
    let events = find(specs, Topic::UsageEvents);
    let of = |topic| events.zip(find(specs, topic));
    let rejects = of(Topic::UsageRejected).and_then(|(events, rejected)| {
        let needed = rejected::largest_reject(events.largest_record_bytes);
        let given = rejected.largest_record_bytes;
        (given < needed).then(|| TopicFault {
            file: format!("{}.yaml", Topic::UsageRejected),
            key: "largestRecordBytes".to_owned(),
            problem: format!("is {given}, but a reject of the largest usage event can take more"),
            allowed: format!("at least {needed}"),
        })
    });
    let cuts = |key: &str, problem: String, allowed: String| TopicFault {
        file: format!("{}.yaml", Topic::LedgerCuts),
        key: key.to_owned(),
        problem,
        allowed,
    };
    let (mut faults, hours) = (Vec::from_iter(rejects), |of: &TopicSpec| {
        of.retention.as_secs() / 3_600
    });
    if let Some((events, of_cuts)) = of(Topic::LedgerCuts) {
        if of_cuts.partitions != events.partitions {
            let problem = format!("is {}, but not that of usage.events", of_cuts.partitions);
            faults.push(cuts("partitions", problem, events.partitions.to_string()));
        }
        if of_cuts.retention < events.retention {
            let problem = format!("is {}, less than that of usage.events", hours(of_cuts));
            let allowed = format!("at least {}", hours(events));
            faults.push(cuts("retentionHours", problem, allowed));
        }
    }
    faults
}

/// The least that a topic must take.
fn least_record_bytes(topic: Topic) -> usize {
    match topic {
        Topic::UsageEvents => EVENT_BYTES_MAX + EVENT_OVERHEAD_BYTES,
        Topic::UsageRejected => rejected::largest_reject(EVENT_BYTES_MAX + EVENT_OVERHEAD_BYTES),
        Topic::LedgerPostings => 2 * posting::BLOCK_BYTES_MAX,
        Topic::LedgerCuts => CUT_BYTES_MAX,
    }
}

/// Reads the keys of one mapping, and notes what is wrong with them.
struct Fields<'a> {
    file: &'a str,
    /// What stands before a key in a fault (`record.`).
    path: &'a str,
    map: Map<String, Value>,
    /// The keys that were asked for.
    known: Vec<&'static str>,
    faults: &'a mut Vec<TopicFault>,
}

impl<'a> Fields<'a> {
    fn new(
        file: &'a str,
        path: &'a str,
        raw: &Value,
        faults: &'a mut Vec<TopicFault>,
    ) -> Fields<'a> {
        let map = raw.as_object().cloned().unwrap_or_default();
        Fields {
            file,
            path,
            map,
            known: Vec::new(),
            faults,
        }
    }

    fn spec(mut self) -> Option<TopicSpec> {
        let topic = self.choice("name", Topic::ALL.map(|topic| (topic.name(), topic)));
        let least = topic.map_or(1, least_record_bytes);
        let partitions = self.int("partitions", 1, u64::from(PARTITIONS_MAX));
        let copies = self.int("replicationFactor", 1, 32);
        let insync = self.int("minInsyncReplicas", 1, copies.unwrap_or(32));
        let retention_hours = self.int("retentionHours", RETENTION_HOURS_MIN, RETENTION_HOURS_MAX);
        let cleanup = self.choice("cleanupPolicy", [("delete", Cleanup::Delete)]);
        let log_append_time = [("LogAppendTime", Timestamps::LogAppendTime)];
        let timestamps = self.choice("timestampType", log_append_time);
        let bytes = self.int("largestRecordBytes", least as u64, RECORD_BYTES_MAX as u64);
        let (holds, key) = (self.text("holds"), self.text("key"));
        let record = self.record();
        self.no_others();
        Some(TopicSpec {
            topic: topic?,
            partitions: partitions? as u32,
            replication_factor: copies? as u16,
            min_insync_replicas: insync? as u16,
            retention: Duration::from_secs(retention_hours? * 3_600),
            cleanup: cleanup?,
            timestamps: timestamps?,
            largest_record_bytes: bytes? as usize,
            holds: holds?,
            key: key?,
            record: record?,
        })
    }

    fn record(&mut self) -> Option<RecordSpec> {
        let raw = self.optional("record").unwrap_or_default();
        let mut fields = Fields::new(self.file, "record.", &raw, self.faults);
        let formats = [
            ("json", RecordFormat::Json),
            ("original", RecordFormat::Original),
            ("binary", RecordFormat::Binary),
        ];
        let format = fields.choice("format", formats);
        let description = fields.text("description");
        let schema = fields.optional("schema");
        if format == Some(RecordFormat::Json) && !schema.as_ref().is_some_and(Value::is_object) {
            fields.fault(
                "schema",
                "is missing".to_owned(),
                "a JSON schema".to_owned(),
            );
        }
        fields.no_others();
        Some(RecordSpec {
            format: format?,
            description: description?,
            schema,
        })
    }

    fn fault(&mut self, key: &str, problem: String, allowed: String) {
        self.faults.push(TopicFault {
            file: self.file.to_owned(),
            key: format!("{}{key}", self.path),
            problem,
            allowed,
        });
    }

    fn optional(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_null())
    }

    fn take(&mut self, key: &'static str, allowed: &str) -> Option<Value> {
        let value = self.optional(key);
        if value.is_none() {
            self.fault(key, "is missing".to_owned(), allowed.to_owned());
        }
        value
    }

    fn int(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        let allowed = format!("a whole number from {min} to {max}");
        let value = self.take(key, &allowed)?;
        let number = value.as_u64().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.fault(key, format!("is {value}"), allowed);
        }
        number
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key, "a text")?;
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.fault(key, format!("is {value}"), "a text".to_owned());
        }
        text.map(str::to_owned)
    }

    fn choice<T, const N: usize>(
        &mut self,
        key: &'static str,
        choices: [(&'static str, T); N],
    ) -> Option<T> {
        let allowed = choices.each_ref().map(|(name, _)| *name).join(", ");
        let value = self.take(key, &allowed)?;
        let chosen = choices.into_iter().find(|(name, _)| value == *name);
        if chosen.is_none() {
            self.fault(key, format!("is {value}"), allowed);
        }
        chosen.map(|(_, choice)| choice)
    }

    /// What is left was not asked for.
    fn no_others(&mut self) {
        let known = self.known.join(", ");
        let left: Vec<String> = self.map.keys().cloned().collect();
        for key in left {
            self.fault(&key, "is unknown".to_owned(), known.clone());
        }
    }
}
