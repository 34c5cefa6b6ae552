//! Reads settings by key from flags, environment and file, in this order, and collects every fault
//! instead of stopping at the first.

use std::collections::BTreeMap;
use std::fmt;

use toml::Value;

use super::kinds::Kind;
use super::schema::Setting;

/// What environment variables begin with: `pipeline.flush_interval` is
/// `TIDEMARK_PIPELINE_FLUSH_INTERVAL`.
pub const ENV_PREFIX: &str = "TIDEMARK_";

/// Where settings come from. Nothing is read from the file system or the environment here.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Name and text of the configuration file.
    pub file: Option<(String, String)>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Flags: name (`--listen`), key (`listen`) and value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// One fault in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, environment variable or flag.
    pub origin: String,
    /// The key; empty if the file as a whole cannot be read.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{} ", self.key)?;
        }
        write!(f, "{}; allowed: {}", self.problem, self.allowed)
    }
}

/// Every fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

/// The reader.
pub(super) struct Reader {
    /// By key: where it stands, and the value.
    found: BTreeMap<String, (String, Value)>,
    env: BTreeMap<String, String>,
    faults: Vec<Fault>,
    asked: Vec<&'static str>,
    /// What was asked for, for the schema.
    settings: Vec<Setting>,
    /// Where each value stands that was read, by key.
    origins: BTreeMap<String, String>,
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Reader {
        let mut reader = Reader {
            found: BTreeMap::new(),
            env: sources.env.iter().cloned().collect(),
            faults: Vec::new(),
            asked: Vec::new(),
            settings: Vec::new(),
            origins: BTreeMap::new(),
        };
        if let Some((name, text)) = &sources.file {
            reader.add_file(name, text);
        }
        for (flag, key, value) in &sources.flags {
            reader.found.insert(
                (*key).to_owned(),
                ((*flag).to_owned(), Value::String(value.clone())),
            );
            reader.env.remove(&env_name(key));
        }
        reader
    }

    fn add_file(&mut self, name: &str, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => self.add_table(name, "", table),
            Err(error) => self.faults.push(Fault {
                origin: name.to_owned(),
                key: String::new(),
                problem: not_toml(text, &error),
                allowed: "TOML, as in config/tidemark.toml".to_owned(),
            }),
        }
    }

    fn add_table(&mut self, name: &str, prefix: &str, table: toml::Table) {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                Value::Table(inner) => self.add_table(name, &format!("{key}."), inner),
                value => {
                    self.found.insert(key, (name.to_owned(), value));
                }
            }
        }
    }

    /// The value of a key; the default if it is given nowhere, or if it is faulty (then
    /// [`Reader::finish`] refuses).
    pub(super) fn get<T>(&mut self, key: &'static str, default: T, kind: Kind<T>) -> T {
        let Some((origin, value)) = self.raw(key, &kind.allowed, &kind.schema) else {
            return default;
        };
        (kind.read)(&value).unwrap_or_else(|problem| {
            self.fault(origin, key, problem, kind.allowed);
            default
        })
    }

    /// Every setting below a section whose keys tidemark does not know (`kafka.properties`), by the
    /// rest of its key. Their keys have dots and no underscores, so the name of an environment
    /// variable determines the key.
    pub(super) fn free(
        &mut self,
        section: &'static str,
        kind: &Kind<String>,
    ) -> BTreeMap<String, String> {
        self.settings.push(Setting {
            key: section,
            allowed: kind.allowed.clone(),
            schema: serde_json::json!({
                "type": "object",
                "additionalProperties": {"type": ["string", "integer", "boolean", "object"]},
            }),
        });
        let in_file = format!("{section}.");
        let in_env = format!("{}_", env_name(section));
        let keys: Vec<String> = self
            .found
            .keys()
            .filter(|key| key.starts_with(&in_file))
            .cloned()
            .collect();
        let names: Vec<String> = self
            .env
            .keys()
            .filter(|name| name.starts_with(&in_env))
            .cloned()
            .collect();
        let mut given: BTreeMap<String, (String, Value)> = BTreeMap::new();
        for key in keys {
            if let Some(found) = self.found.remove(&key) {
                given.insert(key[in_file.len()..].to_owned(), found);
            }
        }
        for name in names {
            if let Some(text) = self.env.remove(&name) {
                let key = name[in_env.len()..].to_lowercase().replace('_', ".");
                given.insert(
                    key,
                    (format!("environment variable {name}"), Value::String(text)),
                );
            }
        }
        let mut values = BTreeMap::new();
        for (key, (origin, value)) in given {
            let full = format!("{in_file}{key}");
            self.origins.insert(full, origin.clone());
            match (kind.read)(&value) {
                Ok(value) => drop(values.insert(key, value)),
                Err(problem) => self.fault(
                    origin,
                    &format!("{in_file}{key}"),
                    problem,
                    kind.allowed.clone(),
                ),
            }
        }
        values
    }

    /// Where a key was set and its value, for a caller that checks it and reports its faults.
    pub(super) fn raw(
        &mut self,
        key: &'static str,
        allowed: &str,
        schema: &serde_json::Value,
    ) -> Option<(String, Value)> {
        self.asked.push(key);
        self.settings.push(Setting {
            key,
            allowed: allowed.to_owned(),
            schema: schema.clone(),
        });
        let from_file = self.found.remove(key);
        let name = env_name(key);
        let from_env = self
            .env
            .remove(&name)
            .map(|text| (format!("environment variable {name}"), Value::String(text)));
        let found = from_env.or(from_file);
        if let Some((origin, _)) = &found {
            self.origins.insert(key.to_owned(), origin.clone());
        }
        found
    }

    /// Notes a fault that shows only once values were read: in several of them together, or in what
    /// is missing.
    pub(super) fn must(&mut self, holds: bool, key: &str, problem: &str, allowed: String) {
        if !holds {
            let origin = self.origins.get(key).cloned();
            let origin = origin.unwrap_or_else(|| "configuration".to_owned());
            self.fault(origin, key, problem.into(), allowed);
        }
    }

    /// Notes a fault.
    pub(super) fn fault(&mut self, origin: String, key: &str, problem: String, allowed: String) {
        self.faults.push(Fault {
            origin,
            key: key.to_owned(),
            problem,
            allowed,
        });
    }

    /// The configuration, if there was no fault and nothing is left over.
    pub(super) fn finish<T>(mut self, config: T) -> Result<T, Faults> {
        for (key, (origin, _)) in std::mem::take(&mut self.found) {
            let allowed = self.neighbours(&key);
            self.fault(origin, &key, "is not a setting".into(), allowed);
        }
        let sections: Vec<String> = self.asked.iter().filter_map(|key| section(key)).collect();
        for name in std::mem::take(&mut self.env).into_keys() {
            let is_ours = |section: &String| name.starts_with(&format!("{}_", env_name(section)));
            if sections.iter().any(is_ours) {
                let origin = format!("environment variable {name}");
                let allowed = "the settings in config/tidemark.toml".to_owned();
                self.fault(origin, "", "does not name a setting".into(), allowed);
            }
        }
        if self.faults.is_empty() {
            Ok(config)
        } else {
            Err(Faults(self.faults))
        }
    }

    /// Every setting that was asked for, in order.
    pub(super) fn into_settings(self) -> Vec<Setting> {
        self.settings
    }

    /// The settings of the section of `key`.
    fn neighbours(&self, key: &str) -> String {
        let same: Vec<&str> = self
            .asked
            .iter()
            .copied()
            .filter(|known| section(known) == section(key))
            .collect();
        if same.is_empty() {
            return "the settings in config/tidemark.toml".to_owned();
        }
        same.join(", ")
    }
}

/// What is wrong, and where. The line itself is not shown: it may hold a secret.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    format!("is not TOML: line {line}: {}", error.message().trim())
}

fn section(key: &str) -> Option<String> {
    key.split_once('.').map(|(section, _)| section.to_owned())
}

/// The environment variable of a key.
pub fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.to_uppercase().replace('.', "_"))
}
