//! `tidemark log cat` and `tidemark rejects list`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::args::{LogCommand, RejectsCommand};
use super::output::{Done, Failure, Out};
use super::session::Session;
use crate::domain::event::Reason;
use crate::domain::position::{Offset, Partition};
use crate::log::rejected::{self, ForeignReject, GatewayReject, Reject, RejectedRecord};
use crate::log::{Bounds, MUST_BE_THERE, ReadLimit, Record, Topic, posting};

/// How much is read at a time.
const LIMIT: ReadLimit = ReadLimit {
    records: 1_000,
    bytes: 4 * 1024 * 1024,
};
/// Characters of a reject that its line for people shows.
const PREVIEW_CHARS: usize = 80;

/// Runs `tidemark log`.
pub async fn log(session: &Session, command: &LogCommand) -> Done {
    let LogCommand::Cat {
        topic,
        partition,
        from,
        limit,
    } = command;
    let known = Topic::ALL.into_iter().find(|known| known.name() == topic);
    let topic = known.ok_or_else(|| {
        let names = Topic::ALL.map(Topic::name).join(", ");
        Failure::refused(format!("there is no topic '{topic}'; allowed: {names}"))
    })?;
    let mut out = Out::new();
    for partition in partitions(session, topic, *partition).await? {
        let mut reader = Reader::open(session, topic, partition, *from, *limit).await?;
        while let Some(records) = reader.next().await? {
            for record in &records {
                out.json(&record_json(topic, partition, record))?;
            }
        }
    }
    out.finish()
}

async fn partitions(session: &Session, topic: Topic, only: Option<u32>) -> Done<Vec<Partition>> {
    let count = session.log.topic(topic).await?.partitions;
    match only {
        None => Ok((0..count).map(Partition).collect()),
        Some(one) if one < count => Ok(vec![Partition(one)]),
        Some(one) => Err(Failure::refused(format!(
            "{topic} has partitions 0 to {}, not {one}",
            count.saturating_sub(1)
        ))),
    }
}

/// Reads one partition up to where it ended when the reader was opened.
struct Reader<'a> {
    session: &'a Session,
    topic: Topic,
    partition: Partition,
    next: Offset,
    end: Offset,
    left: u64,
}

impl<'a> Reader<'a> {
    async fn open(
        session: &'a Session,
        topic: Topic,
        partition: Partition,
        from: u64,
        limit: Option<u64>,
    ) -> Done<Reader<'a>> {
        let Bounds { start, end } = session.log.bounds(topic, partition).await?;
        Ok(Reader {
            session,
            topic,
            partition,
            next: start.max(Offset(from)),
            end,
            left: limit.unwrap_or(u64::MAX),
        })
    }

    async fn next(&mut self) -> Done<Option<Vec<Record>>> {
        if self.next >= self.end || self.left == 0 {
            return Ok(None);
        }
        let log = &self.session.log;
        let read = log.read(self.topic, self.partition, self.next, LIMIT, MUST_BE_THERE);
        let mut records = read.await?;
        records.retain(|record| record.offset < self.end);
        records.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= records.len() as u64;
        let Some(last) = records.last() else {
            return Ok(None);
        };
        self.next = last.offset.next();
        Ok(Some(records))
    }
}

fn record_json(topic: Topic, partition: Partition, record: &Record) -> Value {
    let mut line = json!({
        "partition": partition,
        "offset": record.offset,
        "appendTime": record.append_time.to_string(),
    });
    if let Some(key) = &record.key {
        line["key"] = text_or_base64(key);
    }
    if !record.headers.is_empty() {
        let headers = record.headers.iter();
        line["headers"] = headers
            .map(|(name, value)| json!([name, text_or_base64(value)]))
            .collect();
    }
    line["value"] = match topic {
        Topic::LedgerPostings => block_json(&record.value),
        Topic::UsageEvents | Topic::UsageRejected => json_or_text(&record.value),
    };
    line
}

fn block_json(bytes: &[u8]) -> Value {
    match posting::decode(bytes) {
        Ok(block) => serde_json::to_value(block).unwrap_or_default(),
        Err(error) => json!({"unreadable": error.to_string(), "base64": BASE64.encode(bytes)}),
    }
}

/// JSON as such, other text as a string, anything else in base64.
fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| text_or_base64(bytes))
}

fn text_or_base64(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64": BASE64.encode(bytes)}),
    }
}

/// Runs `tidemark rejects`.
pub async fn rejects(session: &Session, command: &RejectsCommand) -> Done {
    let RejectsCommand::List {
        reason,
        limit,
        json,
    } = command;
    let only = reason.as_deref().map(reason_of).transpose()?;
    let mut out = Out::new();
    for partition in partitions(session, Topic::UsageRejected, None).await? {
        let mut reader = Reader::open(session, Topic::UsageRejected, partition, 0, None).await?;
        let mut left = limit.unwrap_or(u64::MAX);
        while left > 0
            && let Some(records) = reader.next().await?
        {
            for record in &records {
                let reject = rejected::read(record).map_err(Failure::failed)?;
                if left > 0 && only.is_none_or(|only| only == reject.reason()) {
                    left -= 1;
                    match &reject {
                        Reject::Usage(reject) => print_reject(&mut out, reject, *json)?,
                        Reject::Foreign(reject) => print_foreign(&mut out, reject, *json)?,
                        Reject::Gateway(reject) => print_gateway(&mut out, reject, *json)?,
                    }
                }
            }
        }
    }
    out.finish()
}

fn reason_of(code: &str) -> Done<Reason> {
    let known = Reason::ALL.into_iter().find(|known| known.as_str() == code);
    known.ok_or_else(|| {
        let codes = Reason::ALL.map(Reason::as_str).join(", ");
        Failure::refused(format!("there is no reason '{code}'; allowed: {codes}"))
    })
}

fn print_reject(out: &mut Out, reject: &RejectedRecord, is_json: bool) -> Done {
    let RejectedRecord {
        reason,
        field,
        detail,
        partition,
        position,
        log_time,
        original,
        whole_bytes,
    } = reject;
    if is_json {
        let key = original.key.as_ref().map(|key| text_or_base64(key));
        return out.json(&json!({
            "partition": partition, "epoch": position.epoch, "offset": position.offset,
            "logTime": log_time.to_string(), "reason": reason.as_str(), "field": field, "detail": detail,
            "key": key, "value": text_or_base64(&original.value), "wholeBytes": whole_bytes,
        }));
    }
    let field = field
        .as_deref()
        .map(|field| format!(" {field}"))
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&original.value);
    let preview: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(PREVIEW_CHARS)
        .collect();
    out.line(format!(
        "usage.events/{partition} offset {} at {log_time}: {}{field}: {detail}\n    {preview}",
        position.offset,
        reason.as_str()
    ))
}

/// The reject of an adapter: there is no original to show.
fn print_foreign(out: &mut Out, reject: &ForeignReject, is_json: bool) -> Done {
    let ForeignReject {
        reason,
        field,
        detail,
        source,
        topic,
        partition,
        offset,
        index,
        log_time,
    } = reject;
    if is_json {
        return out.json(&json!({
            "foreignTopic": topic, "foreignPartition": partition, "foreignOffset": offset, "foreignIndex": index,
            "source": source, "logTime": log_time.to_string(), "reason": reason.as_str(), "field": field, "detail": detail,
        }));
    }
    out.line(format!(
        "{topic}/{partition} offset {offset} entry {index} at {log_time}: {}: {detail}\n    (refused by the adapter of {source}; the original stays in {topic})",
        reason.as_str()
    ))
}

/// The reject of an item that a gateway posted: what could be read of it is its draft.
fn print_gateway(out: &mut Out, reject: &GatewayReject, is_json: bool) -> Done {
    let GatewayReject {
        reason,
        field,
        detail,
        format,
        received,
        draft,
    } = reject;
    if is_json {
        return out.json(&json!({
            "gateway": format, "logTime": received.to_string(), "reason": reason.as_str(), "field": field, "detail": detail,
            "draft": json_or_text(draft),
        }));
    }
    let draft = String::from_utf8_lossy(draft);
    out.line(format!(
        "{format} at {received}: {}: {detail}\n    draft: {draft}",
        reason.as_str()
    ))
}
