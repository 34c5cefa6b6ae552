//! A generator of usage events: one seed, one stream. Users and providers follow Zipf's law, as
//! marketplaces do.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;
use serde_json::{Value, json};

use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Millis};

/// Skew of the users.
const USER_SKEW: f64 = 1.1;
/// Skew of the providers.
const PROVIDER_SKEW: f64 = 1.05;
/// Out of so many are the shares below.
const SHARES: u32 = 100_000;
/// The requests of so many ago can be sent again.
const RESEND_MEMORY: usize = 10_000;

/// Model and how often it is asked for.
const MODELS: &[(&str, u32)] = &[
    ("gemma-2b", 8),
    ("phi-3-mini", 6),
    ("mistral-7b-instruct", 18),
    ("llama-3-8b", 22),
    ("mixtral-8x7b", 10),
    ("llama-3-70b-q4", 8),
    ("qwen2.5-32b", 6),
    ("llama-3-70b", 8),
    ("gpt-4o-mini", 7),
    ("claude-sonnet-4", 5),
    ("somebodys-finetune", 2),
];

/// Endpoint and how often it is called.
const ENDPOINTS: &[(&str, u32)] = &[
    ("/v1/chat/completions", 70),
    ("/v1/embeddings", 18),
    ("/v1/audio/speech", 6),
    ("/v1/scrape", 6),
];

/// Status and how often it occurs.
const STATUSES: &[(u16, u32)] = &[(200, 955), (400, 12), (429, 15), (500, 10), (503, 8)];

/// How large a marketplace, and how it misbehaves.
#[derive(Clone, Debug)]
pub struct Market {
    /// The seed.
    pub seed: u64,
    /// How many users.
    pub users: u32,
    /// How many providers.
    pub providers: u32,
    /// CloudEvents `source` of every event.
    pub source: String,
    /// How it misbehaves.
    pub faults: Faults,
}

/// Shares of events that are not as they should be, out of 100,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Sent again, byte for byte.
    pub resent: u32,
    /// Hours or days old.
    pub late: u32,
    /// Readable, but refused by rating: an unknown service, the future, the far past, other content
    /// under an old id.
    pub unratable: u32,
    /// Not readable at all; the HTTP service refuses them.
    pub malformed: u32,
}

impl Faults {
    /// As gateways are.
    pub const USUAL: Faults = Faults {
        resent: 500,
        late: 1_000,
        unratable: 100,
        malformed: 10,
    };
    /// None.
    pub const NONE: Faults = Faults {
        resent: 0,
        late: 0,
        unratable: 0,
        malformed: 0,
    };
}

/// One generated event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Whose it is.
    pub user: String,
    /// The record.
    pub text: String,
    /// Whether it can be read.
    pub is_malformed: bool,
}

/// The stream.
pub struct Generator {
    market: Market,
    rng: StdRng,
    users: Zipf<f64>,
    providers: Zipf<f64>,
    count: u64,
    recent: Vec<(String, String)>,
}

impl Generator {
    /// A stream; `users` and `providers` of zero count as one.
    pub fn new(market: Market) -> Generator {
        let zipf = |count: u32, skew| {
            Zipf::new(f64::from(count.max(1)), skew)
                .expect("at least one, and the skew is positive")
        };
        Generator {
            rng: StdRng::seed_from_u64(market.seed),
            users: zipf(market.users, USER_SKEW),
            providers: zipf(market.providers, PROVIDER_SKEW),
            market,
            count: 0,
            recent: Vec::new(),
        }
    }

    /// The next event, of a request that was made about `now`.
    pub fn next(&mut self, now: Millis) -> Generated {
        let faults = self.market.faults;
        let mut dice = self.rng.random_range(0..SHARES);
        let mut falls_in = |share: u32| {
            let is_in = dice < share;
            dice = dice.saturating_sub(share);
            is_in
        };
        if falls_in(faults.resent) && !self.recent.is_empty() {
            return self.resend();
        }
        if falls_in(faults.late) {
            let age = self.rng.random_range(HOUR_MS..20 * DAY_MS);
            return self.event(now.plus(-age));
        }
        if falls_in(faults.unratable) {
            return self.unratable(now);
        }
        if falls_in(faults.malformed) {
            return self.malformed(now);
        }
        let delay = self.rng.random_range(0..2_000);
        self.event(now.plus(-delay))
    }

    fn event(&mut self, time: Millis) -> Generated {
        let (user, event) = self.usage(time);
        let text = event.to_string();
        self.remember(&user, &text);
        Generated {
            user,
            text,
            is_malformed: false,
        }
    }

    fn remember(&mut self, user: &str, text: &str) {
        let recent = (user.to_owned(), text.to_owned());
        if self.recent.len() < RESEND_MEMORY {
            self.recent.push(recent);
        } else {
            let oldest = usize::try_from(self.count).unwrap_or(0) % RESEND_MEMORY;
            self.recent[oldest] = recent;
        }
    }

    fn resend(&mut self) -> Generated {
        let chosen = self.rng.random_range(0..self.recent.len());
        let (user, text) = self.recent[chosen].clone();
        Generated {
            user,
            text,
            is_malformed: false,
        }
    }

    fn unratable(&mut self, now: Millis) -> Generated {
        let (user, mut event) = match self.rng.random_range(0..4) {
            0 => self.usage(now.plus(10 * MINUTE_MS)),
            1 => self.usage(now.plus(-40 * DAY_MS)),
            2 if !self.recent.is_empty() => self.conflict(),
            _ => {
                let (user, mut event) = self.usage(now);
                event["data"]["endpoint"] = "/v1/horoscopes".into();
                (user, event)
            }
        };
        event["datacontenttype"] = "application/json".into();
        Generated {
            user,
            text: event.to_string(),
            is_malformed: false,
        }
    }

    /// The id of an earlier event with other content.
    fn conflict(&mut self) -> (String, Value) {
        let Generated { user, text, .. } = self.resend();
        let mut event: Value = serde_json::from_str(&text).unwrap_or_default();
        event["data"]["latencyMs"] = 59_999.into();
        (user, event)
    }

    fn malformed(&mut self, now: Millis) -> Generated {
        let (user, mut event) = self.usage(now);
        let text = match self.rng.random_range(0..5) {
            0 => event.to_string().replace('}', ""),
            1 => {
                event["data"]["statusCode"] = "two hundred".into();
                event.to_string()
            }
            2 => {
                event["time"] = "yesterday".into();
                event.to_string()
            }
            3 => {
                event["data"]["inputTokens"] = (1_u64 << 50).into();
                event.to_string()
            }
            _ => {
                event["subject"] = Value::Null;
                event.to_string()
            }
        };
        Generated {
            user,
            text,
            is_malformed: true,
        }
    }

    fn usage(&mut self, time: Millis) -> (String, Value) {
        self.count += 1;
        let rng = &mut self.rng;
        let user = format!("user-{}", rank(rng, &self.users));
        let endpoint = pick(rng, ENDPOINTS);
        let status = pick(rng, STATUSES);
        let id = format!("{:016x}-{}", rng.random::<u64>(), self.count);
        let mut data = json!({
            "providerId": format!("prov-{}", rank(rng, &self.providers)),
            "endpoint": endpoint,
            "statusCode": status,
            "latencyMs": rng.random_range(40..6_000),
            "requestBytes": rng.random_range(200..8_000),
            "responseBytes": rng.random_range(100..20_000),
            "stream": rng.random_bool(0.4),
        });
        match endpoint {
            "/v1/audio/speech" => data["audioMillis"] = rng.random_range(500..120_000).into(),
            "/v1/scrape" => (),
            _ => data["inputTokens"] = rng.random_range(5..4_000).into(),
        }
        if endpoint == "/v1/chat/completions" {
            data["model"] = pick(rng, MODELS).into();
            data["outputTokens"] = rng.random_range(1..1_500).into();
        }
        if status >= 500 {
            data["errorMessage"] = "upstream timed out".into();
        }
        let event = json!({
            "specversion": "1.0",
            "type": "tidemark.usage.v1",
            "source": self.market.source,
            "id": id,
            "time": time.to_string(),
            "subject": user,
            "datacontenttype": "application/json",
            "data": data,
        });
        (user, event)
    }
}

fn rank(rng: &mut StdRng, zipf: &Zipf<f64>) -> u64 {
    rng.sample(zipf) as u64
}

/// One of the rows, by weight.
fn pick<T: Copy>(rng: &mut StdRng, rows: &[(T, u32)]) -> T {
    let total: u32 = rows.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random_range(0..total);
    for (value, weight) in rows {
        if left < *weight {
            return *value;
        }
        left -= weight;
    }
    rows[0].0
}
