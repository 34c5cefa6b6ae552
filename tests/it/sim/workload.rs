//! Usage events as a careless world sends them, by seed.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::log::NewRecord;

pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// How much of what there is.
#[derive(Clone, Debug)]
pub struct Mix {
    pub users: u32,
    pub providers: u32,
    /// Permille of records that repeat an earlier one.
    pub resent: u32,
    /// Permille of repeats that say something else.
    pub conflicting: u32,
    /// Permille of records that are no event.
    pub malformed: u32,
    /// Permille of records in another partition than their own.
    pub misplaced: u32,
    /// Permille of events that are dated otherwise than now.
    pub misdated: u32,
    /// Permille of misdated events that are only minutes ahead.
    pub ahead: u32,
    /// Permille of events that share their time with the one before.
    pub simultaneous: u32,
    /// Permille of events that one user sends.
    pub hot: u32,
    /// Permille of records that are reversals.
    pub reversed: u32,
    /// Permille of events that are reported twice: first without what is not known yet.
    pub unfinished: u32,
}

/// An event that was sent.
#[derive(Clone)]
struct Sent {
    user: String,
    event: Value,
}

/// Makes records.
pub struct Workload {
    pub mix: Mix,
    sent: Vec<Sent>,
    reversals: Vec<Sent>,
    /// The whole of events that were reported in part.
    unfinished: Vec<Sent>,
    next_id: u64,
    last_time: i64,
}

pub fn user(n: u32) -> Account {
    Account::new(AccountKind::User, &format!("u{n}")).expect("an id")
}

pub fn provider(n: u32) -> Account {
    Account::new(AccountKind::Provider, &format!("p{n}")).expect("an id")
}

fn one_of<'v, T>(rng: &mut StdRng, values: &'v [T]) -> &'v T {
    &values[rng.random_range(0..values.len())]
}

fn chance(rng: &mut StdRng, permille: u32) -> bool {
    rng.random_range(0..1_000) < permille
}

fn text(time: i64) -> String {
    jiff::Timestamp::from_millisecond(time)
        .expect("near the present")
        .to_string()
}

impl Workload {
    pub fn new(mix: Mix) -> Workload {
        Workload {
            mix,
            sent: Vec::new(),
            reversals: Vec::new(),
            unfinished: Vec::new(),
            next_id: 0,
            last_time: 0,
        }
    }

    /// A record, and the partition into which it goes if there are `partitions`.
    pub fn record(&mut self, rng: &mut StdRng, now: i64, partitions: u32) -> (u32, NewRecord) {
        if chance(rng, self.mix.malformed) {
            return (rng.random_range(0..partitions), malformed(rng, now));
        }
        let sent = if self.mix.reversed > 0 && chance(rng, self.mix.reversed) {
            self.reversal(rng, now)
        } else if !self.unfinished.is_empty() && chance(rng, self.mix.unfinished) {
            self.completion(rng)
        } else if !self.sent.is_empty() && chance(rng, self.mix.resent) {
            self.again(rng)
        } else {
            self.fresh(rng, now)
        };
        let (own, record) = keyed(sent, partitions);
        let partition = if chance(rng, self.mix.misplaced) {
            rng.random_range(0..partitions)
        } else {
            own
        };
        (partition, record)
    }

    /// A new event of this user and time, and its partition.
    pub fn record_of(
        &mut self,
        rng: &mut StdRng,
        user: u32,
        time: i64,
        partitions: u32,
    ) -> (u32, NewRecord) {
        keyed(self.event_of(rng, user, time), partitions)
    }

    fn again(&self, rng: &mut StdRng) -> Sent {
        // Mostly something recent, sometimes anything.
        let from = if rng.random::<bool>() {
            self.sent.len().saturating_sub(6)
        } else {
            0
        };
        let mut sent = self.sent[rng.random_range(from..self.sent.len())].clone();
        if chance(rng, self.mix.conflicting) {
            data_of(&mut sent)["latencyMs"] = 7.into();
        }
        sent
    }

    /// The whole of an event that was reported in part: mostly of a recent one. Sometimes only some of
    /// what is known now, or something that contradicts the first report.
    fn completion(&mut self, rng: &mut StdRng) -> Sent {
        let from = match rng.random::<bool>() {
            true => self.unfinished.len().saturating_sub(4),
            false => 0,
        };
        let place = rng.random_range(from..self.unfinished.len());
        let mut sent = self.unfinished[place].clone();
        match rng.random_range(0..8) {
            0 => leave_out(rng, data_of(&mut sent)),
            1 => data_of(&mut sent)["outputTokens"] = 77.into(),
            2 => data_of(&mut sent)["latencyMs"] = 7.into(),
            _ => {}
        }
        self.sent.push(sent.clone());
        sent
    }

    /// A reversal: mostly of something recent that was sent, sometimes of nothing, or one that was sent
    /// before.
    fn reversal(&mut self, rng: &mut StdRng, now: i64) -> Sent {
        if !self.reversals.is_empty() && chance(rng, 200) {
            return one_of(rng, &self.reversals).clone();
        }
        let of = match self.sent.is_empty() || chance(rng, 60) {
            // It will not come, or only later.
            true => self.fresh(rng, now),
            false => self.again(rng),
        };
        self.next_id += 1;
        let field = |cloud: &str, plain: &str, otherwise: &str| {
            let field = of.event.get(cloud).or_else(|| of.event.get(plain));
            field.cloned().unwrap_or_else(|| otherwise.into())
        };
        let data = json!({"source": field("source", "source", "plain"),
            "id": field("id", "requestId", "?"), "time": field("time", "timestamp", "?"),
            "reason": "a test"});
        let id = format!("r{}", self.next_id);
        let event = json!({"specversion": "1.0", "type": "tidemark.reversal.v1", "source": "sim",
            "id": id, "subject": of.user, "data": data});
        let sent = Sent {
            user: of.user,
            event,
        };
        self.reversals.push(sent.clone());
        sent
    }

    fn time(&mut self, rng: &mut StdRng, now: i64) -> i64 {
        if self.last_time > 0 && chance(rng, self.mix.simultaneous) {
            return self.last_time;
        }
        let time = if !chance(rng, self.mix.misdated) {
            now - rng.random_range(0..2_000)
        } else if chance(rng, self.mix.ahead) {
            now + rng.random_range(0..5 * MINUTE)
        } else {
            match rng.random_range(0..10) {
                0 => now + 6 * MINUTE,
                1 => now - 36 * DAY,
                2 => now - rng.random_range(0..34) * DAY,
                3 => now - rng.random_range(0..3 * HOUR),
                _ => now - rng.random_range(0..8) * DAY - rng.random_range(0..HOUR),
            }
        };
        self.last_time = time;
        time
    }

    fn fresh(&mut self, rng: &mut StdRng, now: i64) -> Sent {
        let user = if chance(rng, self.mix.hot) {
            0
        } else {
            rng.random_range(0..self.mix.users)
        };
        let time = self.time(rng, now);
        self.event_of(rng, user, time)
    }

    fn event_of(&mut self, rng: &mut StdRng, user: u32, time: i64) -> Sent {
        self.next_id += 1;
        let user = format!("u{user}");
        let time = text(time);
        let endpoint = match rng.random_range(0..12) {
            0 => "/v1/embeddings",
            1 => "/tts",
            2 => "/scrape",
            3 => "/v1/messages",
            _ => "/v1/chat/completions",
        };
        let endpoint = if chance(rng, 15) {
            "/v1/images"
        } else {
            endpoint
        };
        let model = *one_of(
            rng,
            &[
                "llama-3-8b",
                "llama-3-70b",
                "gemma-2b",
                "mixtral-8x7b",
                "gpt-4o",
                "who-knows",
            ],
        );
        let status = *one_of(rng, &[200, 200, 200, 200, 200, 201, 404, 429, 500, 503]);
        let mut data = json!({"endpoint": endpoint, "model": model, "statusCode": status,
            "inputTokens": rng.random_range(0..5_000), "outputTokens": rng.random_range(0..1_000)});
        let count = |name: &str| data[name].as_u64().unwrap_or(0);
        let (input, output) = (count("inputTokens"), count("outputTokens"));
        match input % 4 {
            0 => data["cachedInputTokens"] = (input / 3).into(),
            1 => data["cacheWriteTokens"] = (input / 2).into(),
            2 => {
                data["cachedInputTokens"] = (input / 2).into();
                data["cacheWriteTokens"] = (input - input / 2).into();
                data["reasoningTokens"] = (output / 5 * 4).into();
            }
            _ => {}
        }
        if !chance(rng, 150) {
            data["providerId"] = format!("p{}", rng.random_range(0..self.mix.providers)).into();
        }
        if !chance(rng, 200) {
            data["latencyMs"] = rng.random_range(10..9_000).into();
        }
        if endpoint == "/tts" {
            data["audioMillis"] = rng.random_range(0..100_000).into();
        }
        let id = format!("e{}", self.next_id);
        let event = if chance(rng, 300) {
            data["requestId"] = id.into();
            data["userId"] = user.clone().into();
            data["timestamp"] = time.into();
            data
        } else {
            json!({"specversion": "1.0", "type": "tidemark.usage.v1", "source": "sim", "id": id,
                "time": time, "subject": user, "data": data})
        };
        let mut sent = Sent { user, event };
        if self.mix.unfinished > 0 && chance(rng, 400) {
            self.unfinished.push(sent.clone());
            leave_out(rng, data_of(&mut sent));
        }
        self.sent.push(sent.clone());
        sent
    }
}

/// Where an event's usage stands.
fn data_of(sent: &mut Sent) -> &mut Value {
    match sent.event.get("data").is_some() {
        true => &mut sent.event["data"],
        false => &mut sent.event,
    }
}

/// Takes away some of what may become known later.
fn leave_out(rng: &mut StdRng, data: &mut Value) {
    const COUNTS: [&str; 5] = [
        "inputTokens",
        "outputTokens",
        "cachedInputTokens",
        "cacheWriteTokens",
        "reasoningTokens",
    ];
    let names: &[&str] = match rng.random_range(0..6) {
        0 => &["providerId"],
        1 => &["model"],
        2 => &["latencyMs", "audioMillis"],
        3 => &["latencyMs", "providerId", "model"],
        _ => &COUNTS,
    };
    if let Some(data) = data.as_object_mut() {
        data.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// As a record in the partition of its user.
fn keyed(sent: Sent, partitions: u32) -> (u32, NewRecord) {
    let partition = tidemark::log::usage_partition(&sent.user, partitions).0;
    let record = NewRecord {
        key: Some(Bytes::from(sent.user)),
        value: sent.event.to_string().into(),
        headers: Vec::new(),
    };
    (partition, record)
}

fn malformed(rng: &mut StdRng, now: i64) -> NewRecord {
    let plain = |change: &str, value: Value| {
        let mut event = json!({"requestId": "m", "userId": "u0", "endpoint": "/scrape", "timestamp": text(now), "statusCode": 200});
        event[change] = value;
        event.to_string()
    };
    let value = match rng.random_range(0..8) {
        0 => "{".to_owned(),
        1 => "[]".to_owned(),
        2 => plain("userId", Value::Null),
        3 => plain("statusCode", "200".into()),
        4 => plain("inputTokens", (-1).into()),
        5 => plain("userId", "".into()),
        6 => plain("timestamp", "yesterday".into()),
        _ => r#"{"specversion":"1.0","type":"other","source":"s","id":"i","time":"2026-11-30T00:00:00Z","subject":"u","data":{}}"#
            .to_owned(),
    };
    NewRecord {
        value: value.into(),
        ..NewRecord::default()
    }
}
