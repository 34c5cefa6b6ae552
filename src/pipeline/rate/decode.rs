//! DECODE: what each record of a chunk is. Pure.

use super::candidate::{Candidate, PendingReversal, Reject, Verdict};
use crate::domain::event::{
    AHEAD_MS_MAX, BEHIND_MS_MAX, ContentHash, Identity, Reason, Rejection, Service, UsageEvent,
};
use crate::domain::position::Partition;
use crate::domain::reversal::Reversal;
use crate::domain::semantics::Semantics;
use crate::domain::service::Services;
use crate::domain::time::Millis;
use crate::log::rejected::ORIGINAL_BYTES_MAX;
use crate::log::usage::{self, reversal};
use crate::log::{Record, usage_partition};
use crate::store::checkpoints::ClockCorrection;

/// Name of the header that marks a tick: a record that only moves log time on.
pub const TICK_HEADER: &str = "tidemark-tick";

/// What decides whether a record is valid, beside the record and log time.
#[derive(Clone, Copy, Debug)]
pub struct RecordRules<'a> {
    /// The source partition.
    pub partition: Partition,
    /// How many there are.
    pub partitions: u32,
    /// The services as of the control position with which the records are rated, or were.
    pub services: &'a Services,
    /// Append times that are known to be wrong.
    pub clock: Option<ClockCorrection>,
    /// The version of rating by which the records are rated.
    pub semantics: Semantics,
}

impl RecordRules<'_> {
    /// What a record's append time counts as.
    pub(super) fn append_time(&self, record: &Record) -> Millis {
        match &self.clock {
            Some(correction) => correction.append_time(record),
            None => record.append_time,
        }
    }
}

/// What the records of a chunk are, as far as they were decoded.
#[derive(Debug)]
pub struct Intake<'a> {
    /// Valid events, in log order. The next stage takes them out.
    pub candidates: Vec<Candidate<'a>>,
    /// Identity and content of each candidate, until it is deduplicated.
    pub(super) hashes: Vec<(Identity, ContentHash)>,
    /// Reversals, in log order. The next stage takes them out.
    pub(super) reversals: Vec<PendingReversal<'a>>,
    /// Events whose identity stands in the window with another content, in log order. The next
    /// stage takes them out.
    pub(super) contested: Vec<Candidate<'a>>,
    /// Refused records, in log order.
    pub rejects: Vec<Reject<'a>>,
    /// Records that belong into another partition.
    pub forwards: Vec<(Partition, &'a Record)>,
    /// How many repeat an event in the window.
    pub duplicates: u64,
    /// How many are ticks.
    pub ticks: u64,
    /// The latest time of a valid event.
    pub latest_event: Option<Millis>,
    /// Log time at the last record.
    pub log_time: Millis,
    decoder: usage::Decoder,
}

impl<'a> Intake<'a> {
    /// Nothing yet. `log_time` is the log time before the first record.
    pub fn starting_at(log_time: Millis) -> Intake<'a> {
        Intake {
            candidates: Vec::new(),
            hashes: Vec::new(),
            reversals: Vec::new(),
            contested: Vec::new(),
            rejects: Vec::new(),
            forwards: Vec::new(),
            duplicates: 0,
            ticks: 0,
            latest_event: None,
            log_time,
            decoder: usage::Decoder::default(),
        }
    }

    /// Decodes the next records, in order: the valid ones become candidates. None of earlier ones
    /// may be left.
    pub fn decode(&mut self, records: &'a [Record], rules: &RecordRules<'_>) {
        debug_assert!(self.candidates.is_empty());
        self.hashes.clear();
        for record in records {
            self.log_time = self.log_time.max(rules.append_time(record));
            self.sort_in(record, rules);
        }
    }

    fn sort_in(&mut self, record: &'a Record, rules: &RecordRules<'_>) {
        let (log_time, latest, hashes) = (self.log_time, &mut self.latest_event, &mut self.hashes);
        let candidates = &mut self.candidates;
        // What is valid goes straight to its place: it is large, and there are very many.
        let take = |event: UsageEvent<'a>, service| {
            *latest = (*latest).max(Some(event.time));
            hashes.push((event.identity(), event.content()));
            candidates.push(Candidate {
                record,
                event,
                service,
                log_time,
                verdict: Verdict::Fast,
            });
        };
        match decode_record(&mut self.decoder, record, rules, log_time, take) {
            RecordClass::Valid => {}
            RecordClass::Tick => self.ticks += 1,
            RecordClass::Elsewhere(partition) => self.forwards.push((partition, record)),
            RecordClass::Refused(rejection) => self.rejects.push(Reject {
                record,
                log_time,
                rejection,
            }),
            RecordClass::Reversal(reversal) => {
                let pending = PendingReversal::new(record, reversal, log_time);
                self.reversals.push(pending);
            }
        }
    }
}

/// What a record is, whatever came before it.
pub(super) enum RecordClass<'a> {
    Tick,
    Elsewhere(Partition),
    Refused(Rejection),
    Valid,
    Reversal(Reversal<'a>),
}

/// Decodes and validates one record, and hands over what is valid. Rating and the rebuilt window
/// both see a record through this, so that they hold the same.
#[inline]
pub(super) fn decode_record<'a>(
    decoder: &mut usage::Decoder,
    record: &'a Record,
    rules: &RecordRules<'_>,
    log_time: Millis,
    take: impl FnOnce(UsageEvent<'a>, Service),
) -> RecordClass<'a> {
    if record.header(TICK_HEADER).is_some() {
        return RecordClass::Tick;
    }
    if record.size() > ORIGINAL_BYTES_MAX {
        return RecordClass::Refused(oversized(record));
    }
    match decoder.decode(&record.value, &record.headers) {
        Ok(event) => match validate(&event, rules, log_time) {
            Ok(service) => {
                take(event, service);
                RecordClass::Valid
            }
            Err(class) => *class,
        },
        Err(rejection) => decode_other(record, rules, rejection),
    }
}

/// A record that is no event: it may be a reversal. Apart, so that events pass through no larger
/// type.
#[cold]
fn decode_other<'a>(
    record: &'a Record,
    rules: &RecordRules<'_>,
    rejection: Rejection,
) -> RecordClass<'a> {
    if !rules.semantics.knows_reversals() {
        return RecordClass::Refused(rejection);
    }
    match reversal::decode_refused(&record.value, rejection) {
        Ok(reversal) => classify_reversal(reversal, rules),
        Err(rejection) => RecordClass::Refused(rejection),
    }
}

fn classify_reversal<'a>(reversal: Reversal<'a>, rules: &RecordRules<'_>) -> RecordClass<'a> {
    let own = usage_partition(&reversal.user, rules.partitions);
    match own == rules.partition {
        true => RecordClass::Reversal(reversal),
        false => RecordClass::Elsewhere(own),
    }
}

/// Whatever it says, it could be neither forwarded nor rejected whole.
fn oversized(record: &Record) -> Rejection {
    Rejection {
        reason: Reason::TooLarge,
        field: None,
        detail: format!(
            "the record has {} bytes with key and headers; only its beginning is kept here, the \
             rest is in its topic until it expires",
            record.size()
        ),
    }
}

/// The service of a valid event, or what its record is instead.
#[inline]
fn validate<'a>(
    event: &UsageEvent<'_>,
    rules: &RecordRules<'_>,
    log_time: Millis,
) -> Result<Service, Box<RecordClass<'a>>> {
    let own = usage_partition(&event.user, rules.partitions);
    if own != rules.partition {
        return Err(Box::new(RecordClass::Elsewhere(own)));
    }
    let service = rules.services.of_endpoint(&event.endpoint).ok_or_else(|| {
        let rejection = unknown_service(&event.endpoint);
        Box::new(RecordClass::Refused(rejection))
    })?;
    match time_fault(event.time, log_time) {
        Some(rejection) => Err(Box::new(RecordClass::Refused(rejection))),
        None => Ok(service),
    }
}

fn time_fault(time: Millis, log_time: Millis) -> Option<Rejection> {
    let (reason, detail) = if time > log_time.plus(AHEAD_MS_MAX) {
        (Reason::InTheFuture, "more than 5 minutes ahead of")
    } else if time < log_time.plus(-BEHIND_MS_MAX) {
        (Reason::TooOld, "more than 35 days behind")
    } else {
        return None;
    };
    let detail = format!("the event's time {time} is {detail} the log's, {log_time}");
    Some(Rejection {
        reason,
        field: Some("time"),
        detail,
    })
}

fn unknown_service(endpoint: &str) -> Rejection {
    let detail = format!("no service has the endpoint '{endpoint}'");
    Rejection {
        reason: Reason::UnknownService,
        field: Some("endpoint"),
        detail,
    }
}
