//! `[[adapters]]`: which topics of gateways are read, the format of their records, and which fields
//! name the user, the provider and the id.
//!
//! The format is configured, never guessed. What a format does not contain (which field names the
//! user) must be configured here.

use serde_json::json;
use toml::{Table, Value};

use super::providers::{self, PROVIDERS_ALLOWED, ProviderAccounts};
use super::reader::Reader;
use super::schema;
use crate::domain::ids::check_id;

const KEY: &str = "adapters";
/// The topics of tidemark itself: reading one as a gateway's would feed the log with itself.
const OURS: [&str; 4] = [
    "usage.events",
    "usage.rejected",
    "ledger.postings",
    "ledger.cuts",
];
/// Kafka's limit on the name of a topic.
const TOPIC_CHARS_MAX: usize = 249;
const PATH_CHARS_MAX: usize = 256;
/// The settings of one adapter.
const SETTINGS: [&str; 9] = [
    "topic",
    "format",
    "source",
    "user_from",
    "provider_from",
    "id_from",
    "endpoint_from",
    "cached_tokens",
    "providers",
];
/// Fields that hold a secret or an address: they never become an id. Compared with the last part of
/// a path, in lower case.
const SECRET_FIELDS: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-goog-api-key",
    "client_ip",
    "remote_addr",
    "x-forwarded-for",
    "x-real-ip",
    "downstream_remote_address",
    "downstream_direct_remote_address",
];
/// Parts of a log entry that hold what was asked and answered: nothing is read from below them.
const SECRET_PARTS: [&str; 7] = [
    "body",
    "payload",
    "messages",
    "querystring",
    "llm_request",
    "llm_response_text",
    "prompt",
];

/// How a gateway lays out its log entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterFormat {
    /// Apache APISIX: `kafka-logger` with `ai-proxy` or `ai-proxy-multi`.
    Apisix,
    /// Kong Gateway: `kafka-log` with `ai-proxy` or `ai-proxy-advanced`.
    Kong,
    /// Envoy AI Gateway: the JSON access log.
    Envoy,
}

impl AdapterFormat {
    const ALL: [AdapterFormat; 3] = [
        AdapterFormat::Apisix,
        AdapterFormat::Kong,
        AdapterFormat::Envoy,
    ];

    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            AdapterFormat::Apisix => "apisix",
            AdapterFormat::Kong => "kong",
            AdapterFormat::Envoy => "envoy",
        }
    }

    /// Where this format has the user unless configured; nowhere for Envoy, whose operator adds an
    /// attribute for it.
    const fn user_from(self) -> &'static [&'static str] {
        match self {
            AdapterFormat::Apisix | AdapterFormat::Kong => &["consumer.username"],
            AdapterFormat::Envoy => &[],
        }
    }

    const fn provider_from(self) -> &'static [&'static str] {
        match self {
            AdapterFormat::Apisix => &["service_id"],
            // Where Kong has it since 3.9, in 3.8 and 3.7, and in 3.6.
            AdapterFormat::Kong => &[
                "ai.proxy.meta.provider_name",
                "ai.ai-proxy.meta.provider_name",
                "ai.ai-proxy-advanced.meta.provider_name",
                "ai.meta.provider_name",
            ],
            AdapterFormat::Envoy => &["gen_ai.provider.name"],
        }
    }

    const fn id_from(self) -> &'static [&'static str] {
        match self {
            AdapterFormat::Apisix => &[],
            AdapterFormat::Kong => &["request.id"],
            AdapterFormat::Envoy => &["x-request-id"],
        }
    }

    const fn endpoint_from(self) -> &'static [&'static str] {
        match self {
            AdapterFormat::Apisix | AdapterFormat::Kong => &["request.uri"],
            AdapterFormat::Envoy => &["x-envoy-origin-path", "request.path"],
        }
    }
}

/// Where a field stands in a log entry: names joined by dots, such as `consumer.username`. A name
/// with dots in it is found too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(String);

impl FieldPath {
    /// The path as it was configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Result<FieldPath, String> {
        let lower = text.to_lowercase();
        let last = lower.rsplit('.').next().unwrap_or_default();
        if text.chars().count() > PATH_CHARS_MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "is longer than {PATH_CHARS_MAX} characters, or has control characters"
            ));
        }
        if text.split('.').any(str::is_empty) {
            return Err(format!("'{text}' is not a field path"));
        }
        let holds_content = lower.split('.').any(|part| SECRET_PARTS.contains(&part));
        if SECRET_FIELDS.contains(&last) || holds_content {
            return Err(format!(
                "'{text}' may hold a secret, a client address or request content, which must never \
                 enter the log"
            ));
        }
        Ok(FieldPath(text.to_owned()))
    }
}

/// Where the called endpoint comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// From the first of these fields that an entry has.
    From(Vec<FieldPath>),
    /// It is the same for the whole topic: the gateway's own paths say nothing about the service.
    Always(String),
}

/// Whether a gateway's count of input tokens holds those that came from a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachedTokens {
    /// It does (OpenAI and what follows it).
    Inside,
    /// It does not (Anthropic's own counts): cached ones are added.
    Outside,
}

/// One adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterConfig {
    /// The gateway's topic.
    pub topic: String,
    /// How its records are laid out.
    pub format: AdapterFormat,
    /// The CloudEvents source of its events.
    pub source: String,
    /// Where the user stands: the first of these fields that an entry has.
    pub user_from: Vec<FieldPath>,
    /// Where the provider stands; none: nobody is credited.
    pub provider_from: Vec<FieldPath>,
    /// Where the id stands; without one it is made from where the entry stands in the topic.
    pub id_from: Vec<FieldPath>,
    /// Where the endpoint comes from.
    pub endpoint: Endpoint,
    /// How cached tokens are counted.
    pub cached_tokens: CachedTokens,
    /// The provider accounts of the gateway's own names (deployments, clusters, services).
    pub providers: ProviderAccounts,
}

fn paths(known: &[&str]) -> Vec<FieldPath> {
    known
        .iter()
        .map(|path| FieldPath((*path).to_owned()))
        .collect()
}

/// Reads `adapters`; notes every fault of every adapter.
pub(super) fn read(reader: &mut Reader) -> Vec<AdapterConfig> {
    const ALLOWED: &str = "[[adapters]] tables (see docs/adapters.md)";
    let Some((origin, value)) = reader.raw(KEY, ALLOWED, &schema_of_all()) else {
        return Vec::new();
    };
    let Some(items) = items(&value) else {
        reader.fault(
            origin,
            KEY,
            "is not an array of tables".into(),
            ALLOWED.into(),
        );
        return Vec::new();
    };
    let mut adapters: Vec<AdapterConfig> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let key = format!("{KEY}[{index}]");
        let Value::Table(table) = item else {
            reader.fault(
                origin.clone(),
                &key,
                "is not a table".into(),
                ALLOWED.into(),
            );
            continue;
        };
        let mut one = One {
            reader,
            origin: &origin,
            key,
            table,
        };
        if let Some(adapter) = one.read() {
            if adapters.iter().any(|other| other.topic == adapter.topic) {
                one.fault(
                    "topic",
                    "is already read by another adapter, so its usage would count twice",
                    "each topic in one adapter only",
                );
            }
            adapters.push(adapter);
        }
    }
    adapters
}

/// The schema of the array.
fn schema_of_all() -> serde_json::Value {
    let text = || json!({"type": "string"});
    let path = || json!({"type": ["string", "array"], "items": text()});
    let formats = AdapterFormat::ALL.map(AdapterFormat::as_str);
    let properties = SETTINGS.map(|name| {
        let schema = match name {
            "topic" => json!({"type": "string", "pattern": "^[A-Za-z0-9._\\-]{1,249}$"}),
            "source" => json!({"type": "string", "minLength": 1, "maxLength": 128}),
            "format" => json!({"type": "string", "enum": formats}),
            "cached_tokens" => json!({"type": "string", "enum": ["inside", "outside"]}),
            "providers" => json!({"type": "string"}),
            _ => path(),
        };
        (name.to_owned(), schema)
    });
    let item = schema::object(
        properties.into_iter().collect(),
        &["topic", "format", "source"],
    );
    json!({"type": "array", "items": item})
}

/// No adapter may read what tidemark itself writes: each reject of its would bring about another
/// one.
pub(super) fn check(reader: &mut Reader, adapters: &[AdapterConfig], prefix: &str) {
    for (index, adapter) in adapters.iter().enumerate() {
        let rest = adapter.topic.strip_prefix(prefix);
        reader.must(
            !rest.is_some_and(|rest| OURS.contains(&rest)),
            &format!("{KEY}[{index}].topic"),
            "is one of tidemark's own topics",
            "the name of a topic that a gateway writes".to_owned(),
        );
    }
}

/// The tables; in the environment, the text of an array of them.
fn items(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) => {
            let table: Table = format!("{KEY} = {text}").parse().ok()?;
            table.get(KEY)?.as_array().cloned()
        }
        _ => None,
    }
}

/// One adapter's table while it is read.
struct One<'a> {
    reader: &'a mut Reader,
    origin: &'a str,
    key: String,
    table: &'a Table,
}

impl One<'_> {
    /// The adapter; nothing if it has faults, all of which are noted.
    fn read(&mut self) -> Option<AdapterConfig> {
        let table = self.table;
        for name in table
            .keys()
            .filter(|name| !SETTINGS.contains(&name.as_str()))
        {
            self.fault(name, "is not a setting", &SETTINGS.join(", "));
        }
        let topic = self.topic();
        let source = self.source();
        let format = self.format();
        let cached_tokens = self.cached_tokens();
        let user_from = self.user_from(format);
        let provider_from = self.paths("provider_from", format.map(AdapterFormat::provider_from));
        let id_from = self.paths("id_from", format.map(AdapterFormat::id_from));
        let endpoint = self.endpoint(format);
        let providers = self.providers();
        Some(AdapterConfig {
            topic: topic?,
            format: format?,
            source: source?,
            user_from: user_from?,
            provider_from: provider_from?,
            id_from: id_from?,
            endpoint: endpoint?,
            cached_tokens: cached_tokens?,
            providers: providers?,
        })
    }

    fn fault(&mut self, name: &str, problem: &str, allowed: &str) {
        let key = format!("{}.{name}", self.key);
        self.reader.fault(
            self.origin.to_owned(),
            &key,
            problem.to_owned(),
            allowed.to_owned(),
        );
    }

    /// A text that `check` takes; a missing one is a fault.
    fn text(&mut self, name: &str, allowed: &str, check: impl Fn(&str) -> bool) -> Option<String> {
        let problem = match self.table.get(name) {
            None => "is missing".to_owned(),
            Some(Value::String(text)) if check(text) => return Some(text.clone()),
            Some(value) => format!("is {value}"),
        };
        self.fault(name, &problem, allowed);
        None
    }

    fn topic(&mut self) -> Option<String> {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let allowed = "the name of a gateway's Kafka topic: 1 to 249 letters, digits and any of '._-'; not one of tidemark's own topics";
        self.text("topic", allowed, |topic| {
            let is_name =
                (1..=TOPIC_CHARS_MAX).contains(&topic.len()) && topic.chars().all(is_legal);
            is_name && !OURS.contains(&topic) && topic != "." && topic != ".."
        })
    }

    fn source(&mut self) -> Option<String> {
        let allowed =
            "the CloudEvents source of its events: 1 to 128 characters without control characters";
        self.text("source", allowed, |source| check_id(source).is_ok())
    }

    fn format(&mut self) -> Option<AdapterFormat> {
        let names = AdapterFormat::ALL.map(AdapterFormat::as_str);
        let name = self.text("format", &names.join(", "), |text| names.contains(&text))?;
        AdapterFormat::ALL
            .into_iter()
            .find(|format| format.as_str() == name)
    }

    fn cached_tokens(&mut self) -> Option<CachedTokens> {
        if !self.table.contains_key("cached_tokens") {
            return Some(CachedTokens::Inside);
        }
        let text = self.text("cached_tokens", "inside, outside", |text| {
            text == "inside" || text == "outside"
        })?;
        Some(if text == "inside" {
            CachedTokens::Inside
        } else {
            CachedTokens::Outside
        })
    }

    fn providers(&mut self) -> Option<ProviderAccounts> {
        const NAME: &str = "providers";
        let read = match self.table.get(NAME) {
            None => return Some(ProviderAccounts::default()),
            Some(Value::String(text)) => providers::providers(text),
            Some(value) => Err(format!("is {value}")),
        };
        let read = read.map(|pairs| pairs.into_iter().collect());
        read.map_err(|problem| self.fault(NAME, &problem, PROVIDERS_ALLOWED))
            .ok()
    }

    fn user_from(&mut self, format: Option<AdapterFormat>) -> Option<Vec<FieldPath>> {
        let paths = self.paths("user_from", format.map(AdapterFormat::user_from))?;
        if format.is_some() && paths.is_empty() {
            let problem = "is missing, and this format has no default field for the user";
            self.fault(
                "user_from",
                problem,
                "a field of the log entry, such as \"consumer.username\" or \"x-user-id\"",
            );
            return None;
        }
        Some(paths)
    }

    fn endpoint(&mut self, format: Option<AdapterFormat>) -> Option<Endpoint> {
        const NAME: &str = "endpoint_from";
        match self.table.get(NAME) {
            Some(Value::String(text)) if text.starts_with('/') => {
                if text.chars().any(char::is_control) || text.len() > PATH_CHARS_MAX {
                    self.fault(
                        NAME,
                        "is too long or has control characters",
                        "a path such as \"/v1/chat/completions\"",
                    );
                    return None;
                }
                Some(Endpoint::Always(text.clone()))
            }
            _ => self
                .paths(NAME, format.map(AdapterFormat::endpoint_from))
                .map(Endpoint::From),
        }
    }

    /// One path or several; the format's own where none is configured.
    fn paths(&mut self, name: &str, default: Option<&[&str]>) -> Option<Vec<FieldPath>> {
        let texts = match self.table.get(name) {
            None => return Some(paths(default.unwrap_or_default())),
            Some(Value::String(text)) => Some(vec![text.as_str()]),
            Some(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
            Some(_) => None,
        };
        let parsed = match texts {
            Some(texts) => texts.into_iter().map(FieldPath::parse).collect(),
            None => Err("is neither a string nor an array of strings".to_owned()),
        };
        match parsed {
            Ok(paths) => Some(paths),
            Err(problem) => {
                self.fault(name, &problem, "fields of the log entry, such as [\"consumer.custom_id\", \"consumer.username\"]");
                None
            }
        }
    }
}
