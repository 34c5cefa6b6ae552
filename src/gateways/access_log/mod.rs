//! Gateways' own access logs, read from their own topics and turned into usage events.
//!
//! Pure. A format is chosen by configuration and never guessed; what it looks like is one table per
//! gateway (`apisix`, `kong`, `envoy`, each with its sources), read by `shape`. Only the fields of
//! that table and those that the configuration names are read, so prompts, completions, keys,
//! headers and addresses cannot enter the log; a refusal holds no value of the record either, only
//! names and places.
//!
//! The same record always gives the same outcomes. An entry's id is the gateway's where the
//! configuration says that it has one; else it is made of topic, partition, offset and place in the
//! record, so that reading a record again resends the same event and never counts twice. What a
//! gateway does not know stays unknown: a missing count is left out, never zero.

mod apisix;
mod envoy;
mod kong;
mod shape;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::convert::Infallible;

use self::shape::{Entry, Shape};
use super::fields::Fields;
use super::json::{Object, repaired};
use super::outcome::{Adapted, Refusal, Remarks, Skip, canonical_record};
use super::structure::{each_element, each_value, without_bare_numbers, without_mark};
use crate::domain::event::Reason;
use crate::domain::ids::ID_CHARS_MAX;
use crate::domain::position::{Offset, Partition};
use crate::domain::time::Millis;
use crate::log::rejected::ForeignReject;
use crate::ops::config::{AdapterConfig, AdapterFormat};

/// A record of a gateway's topic.
#[derive(Clone, Copy, Debug)]
pub struct ForeignRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The topic's id, so that a topic that was deleted and created again does not reuse the ids of
    /// its former life.
    pub topic_id: &'a str,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp.
    pub time: Millis,
    /// The value.
    pub value: &'a [u8],
}

impl ForeignRecord<'_> {
    /// What goes into `usage.rejected` for one of its entries.
    pub fn reject(&self, refusal: &Refusal, settings: &AdapterConfig) -> ForeignReject {
        ForeignReject {
            reason: refusal.reason,
            field: refusal.field.clone(),
            detail: refusal.detail.clone(),
            source: settings.source.clone(),
            topic: self.topic.to_owned(),
            partition: self.partition,
            offset: self.offset,
            index: refusal.index,
            log_time: self.time,
        }
    }
}

/// What became of one log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A usage event.
    Event(Adapted),
    /// There was nothing to count.
    Skipped(Skip),
    /// It should have been counted but cannot be read.
    Refused(Refusal),
}

/// Where the fields of an event stood in its entry.
struct Where {
    shape: &'static Shape,
    user: String,
    provider: String,
    id: String,
    model: String,
    endpoint: String,
}

impl Where {
    /// The gateway's name of a field of the canonical form.
    fn of(&self, canonical: &str) -> Option<&str> {
        Some(match canonical {
            "subject" => &self.user,
            "id" => &self.id,
            "time" => self.shape.time,
            "data.providerId" => &self.provider,
            "data.model" => &self.model,
            "data.endpoint" => &self.endpoint,
            "data.statusCode" => self.shape.status,
            "data.latencyMs" => self.shape.latency_ms,
            "data.inputTokens" => self.shape.tokens.input.first()?,
            "data.outputTokens" => self.shape.tokens.output.first()?,
            "data.cachedInputTokens" => self.shape.tokens.cached.first()?,
            "data.cacheWriteTokens" => self.shape.tokens.written.first()?,
            "data.reasoningTokens" => self.shape.tokens.reasoning.first()?,
            "data.requestBytes" => self.shape.request_bytes,
            "data.responseBytes" => self.shape.response_bytes,
            _ => return None,
        })
    }
}

const fn shape_of(format: AdapterFormat) -> &'static Shape {
    match format {
        AdapterFormat::Apisix => &apisix::SHAPE,
        AdapterFormat::Kong => &kong::SHAPE,
        AdapterFormat::Envoy => &envoy::SHAPE,
    }
}

/// The outcomes of a record, one per log entry, in order. A record holds one entry, an array of
/// entries, or several of either after another.
pub fn adapt(settings: &AdapterConfig, record: &ForeignRecord<'_>) -> Vec<Outcome> {
    // A byte that is no UTF-8 (in a header, say) must not cost the other entries of its batch.
    let (text, is_repaired) = repaired(record.value);
    let adapter = Adapter {
        settings,
        record,
        is_repaired,
    };
    let mut outcomes = Vec::new();
    let text = without_bare_numbers(&text);
    each_value(without_mark(&text), |value| {
        adapter.value(value, &mut outcomes)
    });
    one_per_call(&mut outcomes);
    if outcomes.is_empty() {
        outcomes.push(Outcome::Skipped(Skip::Empty));
    }
    outcomes
}

/// Several entries of a record may report one request, under the gateway's id and with its time: an
/// early one, and one that knows the usage. The one that knows most counts. A client may choose the
/// id, so what is told of another time is another request.
fn one_per_call(outcomes: &mut [Outcome]) {
    let mut best: BTreeMap<(&str, &str, Millis), (&Adapted, usize)> = BTreeMap::new();
    let mut superseded = Vec::new();
    let knows = |adapted: &Adapted| (adapted.has_usage, Reverse(adapted.record.value.clone()));
    for (at, outcome) in outcomes.iter().enumerate() {
        let Outcome::Event(adapted) = outcome else {
            continue;
        };
        match best.entry((&adapted.user, &adapted.id, adapted.time)) {
            Slot::Vacant(vacant) => drop(vacant.insert((adapted, at))),
            Slot::Occupied(mut known) if knows(adapted) > knows(known.get().0) => {
                superseded.push(known.insert((adapted, at)).1);
            }
            Slot::Occupied(_) => superseded.push(at),
        }
    }
    for at in superseded {
        outcomes[at] = Outcome::Skipped(Skip::SameCall);
    }
}

struct Adapter<'s> {
    settings: &'s AdapterConfig,
    record: &'s ForeignRecord<'s>,
    is_repaired: bool,
}

impl Adapter<'_> {
    fn value(&self, value: &str, outcomes: &mut Vec<Outcome>) {
        if !value.starts_with('[') {
            outcomes.push(self.entry(value, outcomes.len()));
            return;
        }
        // Nothing stops it, so it says only where the array ends.
        let _: Result<Option<usize>, Infallible> = each_element(value, |entry| {
            outcomes.push(self.entry(entry, outcomes.len()));
            Ok(())
        });
    }

    fn entry(&self, text: &str, index: usize) -> Outcome {
        if text == "null" {
            return Outcome::Skipped(Skip::Empty);
        }
        let Some(object) = Object::parse(text) else {
            let detail = "the entry is not a JSON object";
            return self.refused(Refusal::of_entry(Reason::Malformed, detail), index);
        };
        let shape = shape_of(self.settings.format);
        let entry = Entry {
            fields: Fields {
                object,
                unset: shape.unset,
                is_repaired: self.is_repaired,
            },
            shape,
        };
        if !entry.is_inference() {
            return Outcome::Skipped(Skip::NotInference);
        }
        if entry.is_unfinished() {
            return Outcome::Skipped(Skip::Unfinished);
        }
        let is_total_odd = entry.is_total_odd();
        let read = entry.event(self.settings, self.place_id(index));
        match read
            .and_then(|(event, stood)| canonical_record(&event, |canonical| stood.of(canonical)))
        {
            Ok(adapted) => {
                let remarks = Remarks {
                    is_total_odd,
                    ..adapted.remarks
                };
                Outcome::Event(adapted.with_remarks(remarks))
            }
            Err(refusal) => self.refused(refusal, index),
        }
    }

    fn refused(&self, refusal: Refusal, index: usize) -> Outcome {
        Outcome::Refused(Refusal {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            ..refusal
        })
    }

    /// The id of an entry whose gateway gives none: where it stands. A long topic's name is
    /// replaced by a hash of it.
    fn place_id(&self, index: usize) -> String {
        let ForeignRecord {
            topic,
            topic_id,
            partition,
            offset,
            ..
        } = self.record;
        let place = format!("{partition}/{offset}/{index}");
        let id = format!("{topic}/{topic_id}/{place}");
        if id.len() <= ID_CHARS_MAX {
            return id;
        }
        let hash = xxhash_rust::xxh3::xxh3_128(format!("{topic}/{topic_id}").as_bytes());
        format!("{hash:032x}/{place}")
    }
}
