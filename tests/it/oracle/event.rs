//! Reads one usage event as WIRE says, into plain values.

use serde_json::{Map, Value};

/// Largest event, bytes.
const BYTES_MAX: usize = 64 * 1024;

/// What an event says. Two events of one identity that are equal are duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub user: String,
    pub source: String,
    pub id: String,
    pub time: i64,
    pub provider: Option<String>,
    pub endpoint: String,
    pub model: Option<String>,
    pub status: i128,
    pub latency: Option<i128>,
    pub input: Option<i128>,
    pub output: Option<i128>,
    pub cached: Option<i128>,
    pub written: Option<i128>,
    pub reasoning: Option<i128>,
    pub audio: Option<i128>,
    pub images: Option<i128>,
    pub request_bytes: Option<i128>,
    pub response_bytes: Option<i128>,
    pub error: Option<String>,
    pub stream: bool,
}

impl Event {
    /// What this report and a later one of the same request say together; `None` if they contradict
    /// each other.
    pub fn with(&self, later: &Event) -> Option<Event> {
        fn either<T: Clone + PartialEq>(a: &Option<T>, b: &Option<T>) -> Result<Option<T>, ()> {
            match (a, b) {
                (Some(a), Some(b)) if a != b => Err(()),
                _ => Ok(a.clone().or_else(|| b.clone())),
            }
        }
        let whole = || {
            Ok::<_, ()>(Event {
                provider: either(&self.provider, &later.provider)?,
                model: either(&self.model, &later.model)?,
                latency: either(&self.latency, &later.latency)?,
                input: either(&self.input, &later.input)?,
                output: either(&self.output, &later.output)?,
                cached: either(&self.cached, &later.cached)?,
                written: either(&self.written, &later.written)?,
                reasoning: either(&self.reasoning, &later.reasoning)?,
                audio: either(&self.audio, &later.audio)?,
                images: either(&self.images, &later.images)?,
                request_bytes: either(&self.request_bytes, &later.request_bytes)?,
                response_bytes: either(&self.response_bytes, &later.response_bytes)?,
                error: either(&self.error, &later.error)?,
                ..self.clone()
            })
        };
        let whole = whole().ok()?;
        let fits = |event: &Event| {
            let count = |count: Option<i128>| count.unwrap_or(0);
            count(event.cached) + count(event.written) <= count(event.input)
                && count(event.reasoning) <= count(event.output)
        };
        let fits = fits(&whole) || !fits(self) || !fits(later);
        let same = (&self.endpoint, self.status, self.stream, self.time)
            == (&later.endpoint, later.status, later.stream, later.time);
        (fits && same).then_some(whole)
    }
}

type Read<T> = Result<T, &'static str>;

/// The event of a record, or the reason for which it is rejected.
pub fn read(value: &[u8], headers: &[(String, Vec<u8>)]) -> Read<Event> {
    if value.len() > BYTES_MAX {
        return Err("too_large");
    }
    let json: Value = serde_json::from_slice(value).map_err(|_| "malformed")?;
    let object = json.as_object().ok_or("malformed")?;
    if object.contains_key("specversion") {
        cloud_event(object)
    } else {
        plain(object, headers)
    }
}

fn cloud_event(object: &Map<String, Value>) -> Read<Event> {
    let kind = text(object, "type")?.ok_or("missing_field")?;
    if kind != "tidemark.usage.v1" {
        return Err("unknown_type");
    }
    let data = match object.get("data") {
        None | Some(Value::Null) => return Err("missing_field"),
        Some(data) => data.as_object().ok_or("wrong_type")?,
    };
    event(
        id(object, "source")?.ok_or("missing_field")?,
        id(object, "id")?.ok_or("missing_field")?,
        text(object, "time")?.ok_or("missing_field")?,
        id(object, "subject")?.ok_or("missing_field")?,
        data,
    )
}

fn plain(object: &Map<String, Value>, headers: &[(String, Vec<u8>)]) -> Read<Event> {
    let header = headers.iter().find(|(name, _)| name == "source");
    let source = match header {
        Some((_, value)) => String::from_utf8(value.clone()).map_err(|_| "invalid_id")?,
        None => id(object, "source")?.unwrap_or_else(|| "plain".to_owned()),
    };
    event(
        source,
        id(object, "requestId")?.ok_or("missing_field")?,
        text(object, "timestamp")?.ok_or("missing_field")?,
        id(object, "userId")?.ok_or("missing_field")?,
        object,
    )
}

fn event(
    source: String,
    id_: String,
    time: String,
    user: String,
    data: &Map<String, Value>,
) -> Read<Event> {
    let status = number(data, "statusCode")?.ok_or("missing_field")?;
    if !(100..=599).contains(&status) {
        return Err("out_of_range");
    }
    let stream = match data.get("stream") {
        None | Some(Value::Null) => false,
        Some(stream) => stream.as_bool().ok_or("wrong_type")?,
    };
    Ok(Event {
        user,
        source,
        id: id_,
        time: instant(&time)?,
        provider: id(data, "providerId")?,
        endpoint: text(data, "endpoint")?.ok_or("missing_field")?,
        model: text(data, "model")?,
        status,
        latency: latency(data)?,
        input: number(data, "inputTokens")?,
        output: number(data, "outputTokens")?,
        cached: number(data, "cachedInputTokens")?,
        written: number(data, "cacheWriteTokens")?,
        reasoning: number(data, "reasoningTokens")?,
        audio: number(data, "audioMillis")?,
        images: number(data, "imageCount")?,
        request_bytes: number(data, "requestBytes")?,
        response_bytes: number(data, "responseBytes")?,
        error: text(data, "errorMessage")?,
        stream,
    })
}

fn instant(text: &str) -> Read<i64> {
    let at: jiff::Timestamp = text.parse().map_err(|_| "invalid_time")?;
    Ok(at.as_millisecond())
}

fn text(object: &Map<String, Value>, name: &str) -> Read<Option<String>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err("wrong_type"),
    }
}

fn id(object: &Map<String, Value>, name: &str) -> Read<Option<String>> {
    let id = text(object, name)?;
    match &id {
        Some(id) if id.is_empty() || id.chars().count() > 128 => Err("invalid_id"),
        Some(id) if id.chars().any(char::is_control) => Err("invalid_id"),
        _ => Ok(id),
    }
}

/// A day at most.
fn latency(data: &Map<String, Value>) -> Read<Option<i128>> {
    match number(data, "latencyMs")? {
        Some(ms) if ms > 24 * 60 * 60 * 1_000 => Err("out_of_range"),
        latency => Ok(latency),
    }
}

fn number(object: &Map<String, Value>, name: &str) -> Read<Option<i128>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let n = number.as_i64().ok_or("out_of_range")?;
            if (0..=1 << 40).contains(&n) {
                Ok(Some(i128::from(n)))
            } else {
                Err("out_of_range")
            }
        }
        Some(_) => Err("wrong_type"),
    }
}

/// The service of an endpoint.
pub fn service(endpoint: &str) -> Option<&'static str> {
    let path = endpoint
        .split(['?', '#'])
        .next()
        .unwrap_or("")
        .trim_end_matches('/');
    let table = [
        ("/chat/completions", "chat_completions"),
        ("/completions", "chat_completions"),
        ("/responses", "chat_completions"),
        ("/messages", "chat_completions"),
        ("/embeddings", "embeddings"),
        ("/tts", "tts"),
        ("/audio/speech", "tts"),
        ("/scrape", "scrape"),
    ];
    table
        .iter()
        .find(|(end, _)| path.ends_with(end))
        .map(|(_, service)| *service)
}

/// The partition of a user's events: murmur2 as Java's Kafka client computes it.
pub fn partition_of(user: &str, count: u32) -> u32 {
    let bytes = user.as_bytes();
    let m: u64 = 0x5bd1_e995;
    let low = 0xffff_ffff_u64;
    let mut h: u64 = 0x9747_b28c ^ bytes.len() as u64;
    let whole = bytes.len() / 4 * 4;
    for four in bytes[..whole].chunks(4) {
        let mut k = four
            .iter()
            .rev()
            .fold(0_u64, |sum, byte| sum * 256 + u64::from(*byte));
        k = (k * m) & low;
        k ^= k >> 24;
        k = (k * m) & low;
        h = ((h * m) & low) ^ k;
    }
    let rest = &bytes[whole..];
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u64::from(*byte) << (8 * i);
        }
        h = (h * m) & low;
    }
    h ^= h >> 13;
    h = (h * m) & low;
    h ^= h >> 15;
    ((h & 0x7fff_ffff) % u64::from(count)) as u32
}

/// What a reversal says.
#[derive(Clone, Debug)]
pub struct Reversal {
    pub user: String,
    pub source: String,
    pub id: String,
    pub of_source: String,
    pub of_id: String,
    pub of_time: i64,
}

/// The reversal of a record, if it is a valid one.
pub fn reversal(value: &[u8]) -> Option<Reversal> {
    let json: Value = serde_json::from_slice(value).ok()?;
    if json["type"] != "tidemark.reversal.v1" {
        return None;
    }
    let text = |at: &Value| at.as_str().map(str::to_owned);
    Some(Reversal {
        user: text(&json["subject"])?,
        source: text(&json["source"])?,
        id: text(&json["id"])?,
        of_source: text(&json["data"]["source"])?,
        of_id: text(&json["data"]["id"])?,
        of_time: instant(json["data"]["time"].as_str()?).ok()?,
    })
}
