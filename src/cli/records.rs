//! `tidemark log cat` and `tidemark rejects list`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::{LogCommand, NewestArgs};
use super::newest::{self, Reader};
use super::output::{Done, Failure, Out};
use super::session::Session;
use crate::app::queries::{FoundReject, RejectState, json_of};
use crate::domain::event::Reason;
use crate::domain::position::{Offset, Partition};
use crate::domain::service::Service;
use crate::log::rejected::{self, ForeignReject, GatewayReject, Reject, RejectedRecord};
use crate::log::{Record, Topic, posting};
use crate::pipeline::decode_cut;

/// Rejects of which it is asked at a time what became of them.
const FATES_AT_ONCE: usize = 1_000;
/// Characters of a reject that its line for people shows.
const PREVIEW_CHARS: usize = 80;

/// Runs `tidemark log`.
pub async fn log(session: &Session, command: &LogCommand) -> Done {
    let LogCommand::Cat {
        topic,
        partition,
        from,
        limit,
        newest,
    } = command;
    let topic = Topic::named(topic).ok_or_else(|| {
        let names = Topic::ALL.map(Topic::name).join(", ");
        Failure::refused(format!("unknown topic '{topic}'; allowed: {names}"))
    })?;
    let partitions = partitions(session, topic, *partition).await?;
    let names = match topic {
        Topic::LedgerPostings => service_names(session).await,
        Topic::UsageEvents | Topic::UsageRejected | Topic::LedgerCuts => BTreeMap::new(),
    };
    let shown = |partition, record: &Record| record_json(topic, partition, record, &names);
    let mut out = Out::new();
    if let Some(wanted) = newest.wanted(Offset(*from)) {
        let pick = |partition, record| Ok(Some((partition, record)));
        for (partition, record) in newest::newest(session, topic, &partitions, wanted, pick).await?
        {
            out.json(&shown(partition, &record))?;
        }
        return out.finish();
    }
    let from = Offset(*from);
    for mut reader in Reader::open_all(session, topic, &partitions, from, newest.since).await? {
        let partition = reader.partition;
        let mut left = limit.unwrap_or(u64::MAX);
        while left > 0
            && let Some(mut records) = reader.next().await?
        {
            records.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= records.len() as u64;
            for record in &records {
                out.json(&shown(partition, record))?;
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

/// The names of added services, by the plain names that stand for them where only the number is
/// known. Without a store there are none: the log can be read all the same.
async fn service_names(session: &Session) -> BTreeMap<String, String> {
    let Ok(versions) = session.queries().rules_in_force(session.now()).await else {
        return BTreeMap::new();
    };
    let services = versions
        .iter()
        .find(|version| version.key == "rules.services");
    let listed = services
        .map(|version| json_of(&version.value))
        .unwrap_or_default();
    let name = |entry: &Value| {
        let number = u8::try_from(entry["number"].as_u64()?).ok()?;
        let plain = Service::numbered(number)?.plain_name().into_owned();
        Some((plain, entry["name"].as_str()?.to_owned()))
    };
    listed
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(name)
        .collect()
}

/// Puts names in place of plain ones, wherever a service is named.
fn name_services(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(service)) = members.get_mut("service")
                && let Some(name) = names.get(service)
            {
                service.clone_from(name);
            }
            members
                .values_mut()
                .for_each(|member| name_services(member, names));
        }
        Value::Array(elements) => elements
            .iter_mut()
            .for_each(|one| name_services(one, names)),
        _ => (),
    }
}

fn record_json(
    topic: Topic,
    partition: Partition,
    record: &Record,
    names: &BTreeMap<String, String>,
) -> Value {
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
        Topic::LedgerPostings => {
            let mut block = binary_json(&record.value, posting::decode);
            name_services(&mut block, names);
            block
        }
        Topic::LedgerCuts => binary_json(&record.value, decode_cut),
        Topic::UsageEvents | Topic::UsageRejected => json_or_text(&record.value),
    };
    line
}

/// A record in a binary form of ours; one that cannot be decoded says why.
fn binary_json<T: Serialize>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Result<T, posting::FormatError>,
) -> Value {
    match decode(bytes) {
        Ok(content) => serde_json::to_value(content).unwrap_or_default(),
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

/// Runs `tidemark rejects list`.
pub async fn rejects(
    session: &Session,
    reason: Option<&str>,
    limit: Option<u64>,
    newest: &NewestArgs,
    is_json: bool,
) -> Done {
    let only = reason.map(reason_of).transpose()?;
    let pick = |partition, record: Record| {
        let reject = rejected::decode_reject(&record).map_err(Failure::failed)?;
        let is_wanted = only.is_none_or(|only| only == reject.reason());
        let offset = record.offset;
        Ok(is_wanted.then_some(FoundReject {
            partition,
            offset,
            reject,
        }))
    };
    let topic = Topic::UsageRejected;
    let partitions = partitions(session, topic, None).await?;
    let mut out = Out::new();
    if let Some(wanted) = newest.wanted(Offset(0)) {
        let found = newest::newest(session, topic, &partitions, wanted, pick).await?;
        for found in found.chunks(FATES_AT_ONCE) {
            print(session, &mut out, found, is_json).await?;
        }
        return out.finish();
    }
    for mut reader in Reader::open_all(session, topic, &partitions, Offset(0), newest.since).await?
    {
        let partition = reader.partition;
        let mut left = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        while left > 0
            && let Some(records) = reader.next().await?
        {
            let picked = records.into_iter().map(|record| pick(partition, record));
            let found: Done<Vec<FoundReject>> =
                picked.filter_map(Done::transpose).take(left).collect();
            let found = found?;
            left -= found.len();
            print(session, &mut out, &found, is_json).await?;
        }
    }
    out.finish()
}

/// With what became of each.
async fn print(session: &Session, out: &mut Out, found: &[FoundReject], is_json: bool) -> Done {
    let states = session.queries().reject_states(found).await?;
    for (found, state) in found.iter().zip(states) {
        let shown = Shown::new(found, state);
        match &found.reject {
            Reject::Usage(reject) => print_reject(out, &shown, reject, is_json)?,
            Reject::Foreign(reject) => print_foreign(out, &shown, reject, is_json)?,
            Reject::Gateway(reject) => print_gateway(out, &shown, reject, is_json)?,
        }
    }
    Ok(())
}

fn reason_of(code: &str) -> Done<Reason> {
    Reason::named(code).ok_or_else(|| {
        let codes = Reason::ALL.map(Reason::as_str).join(", ");
        Failure::refused(format!("unknown reason '{code}'; allowed: {codes}"))
    })
}

/// Where a reject itself stands, and what became of it.
struct Shown {
    partition: Partition,
    offset: Offset,
    state: RejectState,
}

impl Shown {
    fn new(found: &FoundReject, state: RejectState) -> Shown {
        Shown {
            partition: found.partition,
            offset: found.offset,
            state,
        }
    }

    /// What `show`, `redrive` and `discard` take.
    fn json(&self, mut line: Value) -> Value {
        line["reject"] = json!({"partition": self.partition, "offset": self.offset});
        line["state"] = json!(self.state);
        line
    }

    /// The same for people; open is the usual case, and needs no word.
    fn text(&self) -> String {
        let Shown {
            partition,
            offset,
            state,
        } = self;
        match *state {
            RejectState::Open => format!("{partition} {offset}"),
            state => format!("{partition} {offset} ({})", state.as_str()),
        }
    }
}

fn print_reject(out: &mut Out, shown: &Shown, reject: &RejectedRecord, is_json: bool) -> Done {
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
        return out.json(&shown.json(json!({
            "partition": partition, "epoch": position.epoch, "offset": position.offset,
            "logTime": log_time.to_string(), "reason": reason.as_str(), "field": field, "detail": detail,
            "key": key, "value": text_or_base64(&original.value), "wholeBytes": whole_bytes,
        })));
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
        "{}: usage.events/{partition} offset {} at {log_time}: {}{field}: {detail}\n    {preview}",
        shown.text(),
        position.offset,
        reason.as_str()
    ))
}

/// The reject of an adapter: there is no original to show.
fn print_foreign(out: &mut Out, shown: &Shown, reject: &ForeignReject, is_json: bool) -> Done {
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
        return out.json(&shown.json(json!({
            "foreignTopic": topic, "foreignPartition": partition, "foreignOffset": offset, "foreignIndex": index,
            "source": source, "logTime": log_time.to_string(), "reason": reason.as_str(), "field": field, "detail": detail,
        })));
    }
    out.line(format!(
        "{}: {topic}/{partition} offset {offset} entry {index} at {log_time}: {}: {detail}\n    (refused by the adapter of {source}; the original stays in {topic})",
        shown.text(),
        reason.as_str()
    ))
}

/// The reject of an item that a gateway posted: what could be read of it is its draft.
fn print_gateway(out: &mut Out, shown: &Shown, reject: &GatewayReject, is_json: bool) -> Done {
    let GatewayReject {
        reason,
        field,
        detail,
        format,
        received,
        sender,
        draft,
    } = reject;
    if is_json {
        return out.json(&shown.json(json!({
            "gateway": format, "logTime": received.to_string(), "reason": reason.as_str(), "field": field, "detail": detail,
            "sender": sender, "draft": json_or_text(draft),
        })));
    }
    let draft = String::from_utf8_lossy(draft);
    out.line(format!(
        "{}: {format} at {received}: {}: {detail}\n    draft: {draft}",
        shown.text(),
        reason.as_str()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::name_services;

    #[test]
    fn services_are_named_wherever_they_are() {
        let names = [("service_4".to_owned(), "images".to_owned())].into();
        let mut block = json!({"entries": [{"service": "service_4", "days": [{"service": "service_5"}]},
            {"service": "tts", "firsts": {"service": "service_4", "account": "service_4"}}]});
        name_services(&mut block, &names);
        let named = json!({"entries": [{"service": "images", "days": [{"service": "service_5"}]},
            {"service": "tts", "firsts": {"service": "images", "account": "service_4"}}]});
        assert_eq!(block, named);
    }
}
