//! Reads settings by key from flags, environment and file, in this order, and collects every fault instead of stopping at the first.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::http::PublicOrigin;
use crate::domain::time::Millis;

/// What environment variables begin with: `pipeline.flush_interval` is `TIDEMARK_PIPELINE_FLUSH_INTERVAL`.
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
        f.write_str("the configuration cannot be used:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

/// A kind of value: how it is read, and what may be written.
pub(super) struct Kind<T> {
    allowed: String,
    #[expect(clippy::type_complexity, reason = "it is the only one")]
    read: Box<dyn Fn(&Value) -> Result<T, String>>,
}

/// The reader.
pub(super) struct Reader {
    /// By key: where it stands, and the value.
    found: BTreeMap<String, (String, Value)>,
    env: BTreeMap<String, String>,
    faults: Vec<Fault>,
    asked: Vec<&'static str>,
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
                allowed: "what config/tidemark.toml shows".to_owned(),
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

    /// The value of a key; the default if it is given nowhere, or if it is faulty (then [`Reader::finish`] refuses).
    pub(super) fn get<T>(&mut self, key: &'static str, default: T, kind: Kind<T>) -> T {
        let Some((origin, value)) = self.raw(key) else {
            return default;
        };
        (kind.read)(&value).unwrap_or_else(|problem| {
            self.fault(origin, key, problem, kind.allowed);
            default
        })
    }

    /// Every setting below a section whose keys are not ours to know (`kafka.properties`), by the rest of its key. Keys of these sections
    /// are written with dots and without underscores, so that the name of an environment variable tells the key.
    pub(super) fn free(
        &mut self,
        section: &'static str,
        kind: &Kind<String>,
    ) -> BTreeMap<String, String> {
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

    /// Where a key stands and its value, for a caller that checks it and reports its faults.
    pub(super) fn raw(&mut self, key: &'static str) -> Option<(String, Value)> {
        self.asked.push(key);
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

    /// Notes a fault that shows only once values were read: in several of them together, or in what is missing.
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
            self.fault(origin, &key, "is no setting".into(), allowed);
        }
        let sections: Vec<String> = self.asked.iter().filter_map(|key| section(key)).collect();
        for name in std::mem::take(&mut self.env).into_keys() {
            let is_ours = |section: &String| name.starts_with(&format!("{}_", env_name(section)));
            if sections.iter().any(is_ours) {
                let origin = format!("environment variable {name}");
                let allowed = "the settings in config/tidemark.toml".to_owned();
                self.fault(origin, "", "names no setting".into(), allowed);
            }
        }
        if self.faults.is_empty() {
            Ok(config)
        } else {
            Err(Faults(self.faults))
        }
    }

    /// The settings that stand in the same section as `key`.
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

fn kind<T>(
    allowed: impl Into<String>,
    read: impl Fn(&Value) -> Result<T, String> + 'static,
) -> Kind<T> {
    Kind {
        allowed: allowed.into(),
        read: Box::new(read),
    }
}

fn text_of(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("is {value}, which is no text"))
}

/// Any text of at most `max` characters out of letters, digits and `extra`.
pub(super) fn name(max: usize, extra: &'static str) -> Kind<String> {
    let allowed = format!("at most {max} letters, digits and any of '{extra}'");
    kind(allowed, move |value| {
        let text = text_of(value)?;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
        if text.chars().count() <= max && text.chars().all(is_allowed) {
            Ok(text.to_owned())
        } else {
            Err(format!("is '{text}'"))
        }
    })
}

/// As [`name`], or nothing.
pub(super) fn optional_name(max: usize, extra: &'static str) -> Kind<Option<String>> {
    let inner = name(max, extra);
    let allowed = format!("{}, or an empty text", inner.allowed);
    kind(allowed, move |value| {
        let text = (inner.read)(value)?;
        Ok((!text.is_empty()).then_some(text))
    })
}

/// An `http://` or `https://` address, or nothing.
pub(super) fn url() -> Kind<Option<String>> {
    kind(
        "an address such as http://127.0.0.1:8000, or an empty text for the region's own",
        |value| {
            let text = text_of(value)?;
            let is_url = text.starts_with("http://") || text.starts_with("https://");
            match text {
                "" => Ok(None),
                _ if is_url => Ok(Some(text.to_owned())),
                _ => Err(format!("is '{text}'")),
            }
        },
    )
}

/// An origin: scheme, host and maybe a port, and nothing behind them.
pub(super) fn origin() -> Kind<Option<PublicOrigin>> {
    kind(
        "an address without a path, such as https://points.example, or an empty text",
        |value| match text_of(value)? {
            "" => Ok(None),
            text => parsed_origin(text)
                .map(Some)
                .ok_or_else(|| format!("is '{text}'")),
        },
    )
}

fn parsed_origin(text: &str) -> Option<PublicOrigin> {
    let (scheme, host) = text.split_once("://")?;
    let is_https = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let uri: axum::http::Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    // Neither a path, nor a user, nor white space: what is left is what a browser sends as Host.
    if authority.as_str() != host || host.contains('@') {
        return None;
    }
    let own_port = if is_https { ":443" } else { ":80" };
    let host = host.strip_suffix(own_port).unwrap_or(host);
    Some(PublicOrigin {
        is_https,
        host: host.to_ascii_lowercase(),
    })
}

/// A text that `check` takes.
pub(super) fn checked(
    allowed: &str,
    check: impl Fn(&str) -> Result<(), String> + 'static,
) -> Kind<String> {
    kind(allowed, move |value| {
        let text = text_of(value)?;
        check(text).map_err(|why| format!("is '{text}' ({why})"))?;
        Ok(text.to_owned())
    })
}

/// A point in time, or nothing.
pub(super) fn instant() -> Kind<Option<Millis>> {
    let allowed = "a time such as 2026-11-30T00:00:00Z, or an empty text";
    kind(allowed, |value| match text_of(value)? {
        "" => Ok(None),
        text => match text.parse().ok() {
            Some(time) => Ok(Some(time)),
            None => Err(format!("is '{text}'")),
        },
    })
}

/// A path.
pub(super) fn path() -> Kind<PathBuf> {
    kind("a path", |value| match text_of(value)? {
        "" => Err("is empty".to_owned()),
        text => Ok(PathBuf::from(text)),
    })
}

/// A path, or nothing.
pub(super) fn optional_path() -> Kind<Option<PathBuf>> {
    kind("a path, or an empty text", |value| {
        let text = text_of(value)?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    })
}

/// `host:port`, several of them by commas, or nothing.
pub(super) fn hosts() -> Kind<Vec<String>> {
    let allowed = "brokers such as kafka-1:9092,kafka-2:9092, or an empty text";
    kind(allowed, |value| {
        let text = text_of(value)?;
        let hosts = text
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty());
        let is_host = |host: &&str| {
            host.rsplit_once(':')
                .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
        };
        match hosts.clone().find(|host| !is_host(host)) {
            Some(bad) => Err(format!("has '{bad}', which is no host and port")),
            None => Ok(hosts.map(str::to_owned).collect()),
        }
    })
}

/// The value of a setting that is passed on: a text, a number or a truth value.
pub(super) fn plain() -> Kind<String> {
    kind("a text, a number, true or false", |value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Boolean(_) => Ok(value.to_string()),
        other => Err(format!("is {other}")),
    })
}

/// Any socket address.
pub(super) fn address() -> Kind<SocketAddr> {
    kind("an address and port, such as 0.0.0.0:8788", |value| {
        let text = text_of(value)?;
        text.replace("localhost:", "127.0.0.1:")
            .parse()
            .map_err(|_| format!("is '{text}', which is no address and port"))
    })
}

/// As [`address`], or nothing.
pub(super) fn optional_address() -> Kind<Option<SocketAddr>> {
    let inner = address();
    let allowed = format!("{}, or an empty text", inner.allowed);
    kind(allowed, move |value| match text_of(value)? {
        "" => Ok(None),
        _ => (inner.read)(value).map(Some),
    })
}

/// A socket address on loopback.
pub(super) fn loopback() -> Kind<SocketAddr> {
    let allowed = "an address and port of this machine alone, such as 127.0.0.1:8787 or [::1]:8787; \
                   other addresses come with API keys, which this version does not have";
    kind(allowed, |value| {
        let text = text_of(value)?;
        match text.replace("localhost:", "127.0.0.1:").parse() {
            Ok(address) if SocketAddr::ip(&address).is_loopback() => Ok(address),
            Ok(_) => Err(format!(
                "is '{text}', which other machines can reach, and requests carry no keys yet"
            )),
            Err(_) => Err(format!("is '{text}', which is no address and port")),
        }
    })
}

/// An integer; in the environment and in flags, its text.
pub(super) fn integer(range: RangeInclusive<i64>) -> Kind<i64> {
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    kind(allowed, move |value| {
        let number = match value {
            Value::Integer(number) => Some(*number),
            Value::String(text) => text.replace('_', "").parse().ok(),
            _ => None,
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("is {value}"))
    })
}

/// A duration such as `250ms`, `1s`, `5m` or `1h 30m`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let shown = |duration: &Duration| match duration.is_zero() {
        true => "0s".to_owned(),
        false => format!("{duration:?}"),
    };
    let allowed = format!(
        "a duration from {} to {}, written like \"250ms\", \"1s\" or \"1h 30m\"",
        shown(range.start()),
        shown(range.end())
    );
    kind(allowed, move |value| {
        let text = text_of(value)?;
        let parsed: Option<jiff::SignedDuration> = text.parse().ok();
        parsed
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| range.contains(duration))
            .ok_or_else(|| format!("is '{text}'"))
    })
}

/// True or false.
pub(super) fn boolean() -> Kind<bool> {
    kind("true, false", |value| match value {
        Value::Boolean(is_on) => Ok(*is_on),
        Value::String(text) if text == "true" || text == "false" => Ok(text == "true"),
        other => Err(format!("is {other}")),
    })
}

/// One of a few words.
pub(super) fn choice<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let allowed = words.iter().map(|(word, _)| *word).collect::<Vec<_>>();
    kind(allowed.join(", "), move |value| {
        let text = text_of(value)?;
        let known = words.iter().find(|(word, _)| *word == text);
        known
            .map(|(_, choice)| *choice)
            .ok_or_else(|| format!("is '{text}'"))
    })
}
