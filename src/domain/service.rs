//! Services: what kinds of request there are, by number, and which endpoint belongs to which.
//!
//! Four are built in. An installation can have more ([`super::rules`], key `rules.services`). A
//! service is stored by its number, in posting blocks and in account rows, so a number never
//! changes its meaning.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service(u8);

impl Service {
    /// Chat and text completions.
    pub const CHAT_COMPLETIONS: Service = Service(0);
    /// Embeddings.
    pub const EMBEDDINGS: Service = Service(1);
    /// Speech.
    pub const TTS: Service = Service(2);
    /// Scraping.
    pub const SCRAPE: Service = Service(3);

    /// How many there can be.
    pub const COUNT_MAX: usize = 64;
    /// How many are built in.
    pub const DEFAULT_COUNT: usize = 4;
    /// Those that are built in, in order.
    pub const DEFAULTS: [Service; Service::DEFAULT_COUNT] = [
        Service::CHAT_COMPLETIONS,
        Service::EMBEDDINGS,
        Service::TTS,
        Service::SCRAPE,
    ];
    /// The names of those that are built in, in order.
    pub const DEFAULT_NAMES: [&'static str; Service::DEFAULT_COUNT] =
        ["chat_completions", "embeddings", "tts", "scrape"];

    /// The one with this number; `None` from [`Service::COUNT_MAX`] on.
    pub const fn numbered(number: u8) -> Option<Service> {
        if (number as usize) < Service::COUNT_MAX {
            Some(Service(number))
        } else {
            None
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its number, as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its bit in a set of services.
    pub const fn bit(self) -> u64 {
        1 << self.0
    }

    /// Whether it is built in.
    pub const fn is_default(self) -> bool {
        self.index() < Service::DEFAULT_COUNT
    }

    /// The name of a service that is built in.
    pub fn default_name(self) -> Option<&'static str> {
        Service::DEFAULT_NAMES.get(self.index()).copied()
    }

    /// What it is called where the installation's table of services is not at hand: its own name if
    /// it is built in, else `service_` and its number.
    pub fn plain_name(self) -> Cow<'static, str> {
        match self.default_name() {
            Some(name) => name.into(),
            None => format!("{PLAIN_PREFIX}{}", self.0).into(),
        }
    }

    /// The one that is built in under this name.
    pub fn default_named(name: &str) -> Option<Service> {
        let number = Service::DEFAULT_NAMES.iter().position(|one| *one == name)?;
        Some(Service::DEFAULTS[number])
    }

    fn plainly_named(name: &str) -> Option<Service> {
        Service::default_named(name).or_else(|| {
            let number = name.strip_prefix(PLAIN_PREFIX)?.parse().ok()?;
            Service::numbered(number).filter(|service| !service.is_default())
        })
    }
}

/// No service may be named like this: see [`Service::plain_name`].
pub(super) const PLAIN_PREFIX: &str = "service_";

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain_name())
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Service, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Service::plainly_named(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown service \"{name}\"")))
    }
}

/// What a price is for, and what people are told was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceUnit {
    /// Tokens, in and out.
    Tokens,
    /// Requests.
    Requests,
    /// Minutes of audio.
    AudioMinutes,
    /// Images.
    Images,
}

/// What is known of one service, whatever it earns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its number.
    pub service: Service,
    /// Its name.
    pub name: String,
    /// What paths of its endpoints end with.
    pub endpoints: Vec<String>,
    /// What its price counts.
    pub counted: PriceUnit,
    /// Whether requests earn by the tier of the model.
    pub is_tiered: bool,
    /// Whether its endpoints are refused.
    pub retired: bool,
}

/// The services of an installation: which there are, and which endpoints are theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// By number, ascending.
    entries: Vec<ServiceEntry>,
    /// By length, descending: the longest ending that fits decides.
    endings: Vec<(String, Service)>,
}

impl Default for Services {
    fn default() -> Services {
        Services::new(default_entries())
    }
}

/// The services that are built in.
pub(super) fn default_entries() -> Vec<ServiceEntry> {
    let endpoints: [&[&str]; Service::DEFAULT_COUNT] = [
        &[
            "/chat/completions",
            "/completions",
            "/responses",
            "/messages",
        ],
        &["/embeddings"],
        &["/audio/speech", "/tts"],
        &["/scrape"],
    ];
    let counted = [
        PriceUnit::Tokens,
        PriceUnit::Tokens,
        PriceUnit::AudioMinutes,
        PriceUnit::Requests,
    ];
    let entry = |service: Service| ServiceEntry {
        service,
        name: service.plain_name().into_owned(),
        endpoints: endpoints[service.index()]
            .iter()
            .map(|ending| (*ending).to_owned())
            .collect(),
        counted: counted[service.index()],
        is_tiered: service == Service::CHAT_COMPLETIONS,
        retired: false,
    };
    Service::DEFAULTS.map(entry).into()
}

impl Services {
    /// A table of these services, each number once.
    pub(super) fn new(mut entries: Vec<ServiceEntry>) -> Services {
        entries.sort_by_key(|entry| entry.service);
        let mut endings: Vec<(String, Service)> = entries
            .iter()
            .filter(|entry| !entry.retired)
            .flat_map(|entry| {
                entry
                    .endpoints
                    .iter()
                    .map(|ending| (ending.clone(), entry.service))
            })
            .collect();
        endings.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        Services { entries, endings }
    }

    /// All of them, by number.
    pub fn entries(&self) -> &[ServiceEntry] {
        &self.entries
    }

    /// The service of an endpoint: by how its path ends, whatever is before it (`/v1`,
    /// `/openai/v1`, `https://host/v1`). A query string, a fragment and slashes at the end do not
    /// matter. `None`: no service has it; it never silently becomes chat.
    pub fn of_endpoint(&self, endpoint: &str) -> Option<Service> {
        self.ending_of(endpoint).map(|(_, service)| service)
    }

    /// The same, with the ending of the path that told it.
    pub fn ending_of(&self, endpoint: &str) -> Option<(&str, Service)> {
        // By bytes: this is asked for every event, and a search for characters decodes each.
        let ends_path = |byte: &u8| matches!(byte, b'?' | b'#');
        let path_end = endpoint.as_bytes().iter().position(ends_path);
        let path = endpoint[..path_end.unwrap_or(endpoint.len())].trim_end_matches('/');
        let found = self
            .endings
            .iter()
            .find(|(ending, _)| path.ends_with(ending.as_str()));
        found.map(|(ending, service)| (ending.as_str(), *service))
    }

    fn entry(&self, service: Service) -> Option<&ServiceEntry> {
        let place = self
            .entries
            .binary_search_by_key(&service, |entry| entry.service)
            .ok()?;
        self.entries.get(place)
    }

    /// The name of a service.
    pub fn name(&self, service: Service) -> Cow<'_, str> {
        match self.entry(service) {
            Some(entry) => entry.name.as_str().into(),
            None => service.plain_name(),
        }
    }

    /// The service of that name.
    pub fn named(&self, name: &str) -> Option<Service> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        found.map(|entry| entry.service)
    }

    /// Whether its requests earn by the tier of their model.
    pub fn is_tiered(&self, service: Service) -> bool {
        self.entry(service).is_some_and(|entry| entry.is_tiered)
    }

    /// Whether its price counts tokens.
    pub fn counts_tokens(&self, service: Service) -> bool {
        self.entry(service)
            .is_some_and(|entry| entry.counted == PriceUnit::Tokens)
    }
}
