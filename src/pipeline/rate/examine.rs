//! First half of rating a chunk: decode, validate, look for duplicates in the window. Pure.

use super::window::{Lane, Standing, Window, lane};
use crate::domain::event::{
    AHEAD_MS_MAX, BEHIND_MS_MAX, ContentHash, Identity, Reason, Rejection, Service, UsageEvent,
};
use crate::domain::ids::{AccountKind, AccountRef};
use crate::domain::position::Partition;
use crate::domain::service::Services;
use crate::domain::time::Millis;
use crate::log::rejected::ORIGINAL_BYTES_MAX;
use crate::log::{Record, usage, usage_partition};
use crate::pipeline::Breakage;
use crate::store::checkpoints::{ClockCorrection, WindowCut};

/// Name of the header that marks a tick: a record that only moves log time on.
pub const TICK_HEADER: &str = "tidemark-tick";

/// A valid record: it decodes, its service is known and its time is within bounds at its own log time. Once [`Examined::examine`] is
/// done with it, an event that no record in the window precedes.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its record.
    pub record: &'a Record,
    /// The event.
    pub event: UsageEvent<'a>,
    /// Its service.
    pub service: Service,
    /// Log time at its record.
    pub log_time: Millis,
    /// What is to be done with it.
    verdict: Verdict,
}

impl Candidate<'_> {
    /// Whether a copy of it may have been forgotten, so that its usage row must be looked up.
    pub fn is_slow(&self) -> bool {
        self.verdict == Verdict::Slow
    }

    /// Its user's account.
    pub fn user(&self) -> AccountRef<'_> {
        AccountRef {
            kind: AccountKind::User,
            id: &self.event.user,
        }
    }

    /// Its provider's account.
    pub fn provider(&self) -> Option<AccountRef<'_>> {
        self.event.provider.as_deref().map(|id| AccountRef {
            kind: AccountKind::Provider,
            id,
        })
    }
}

/// What the window and its bounds say of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fast,
    Slow,
    Duplicate,
    Conflict,
    BeyondChecking,
}

/// A record that earns nothing.
#[derive(Debug)]
pub struct Reject<'a> {
    /// The record.
    pub record: &'a Record,
    /// Log time at it.
    pub log_time: Millis,
    /// Why.
    pub rejection: Rejection,
}

/// What the records of a chunk are, as far as they were examined.
#[derive(Debug, Default)]
pub struct Examined<'a> {
    /// Events to be rated, in log order. Whoever rates them takes them out.
    pub candidates: Vec<Candidate<'a>>,
    decoder: usage::Decoder,
    /// Identity and content of each candidate, while it is examined.
    hashes: Vec<(Identity, ContentHash)>,
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
}

/// Where and under which rules records are examined.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The source partition.
    pub partition: Partition,
    /// How many there are.
    pub partitions: u32,
    /// The duplicate window of the chunk.
    pub window: &'a WindowCut,
    /// The services as of the control position with which the records are rated, or were.
    pub services: &'a Services,
    /// Append times that are known to be wrong.
    pub clock: Option<ClockCorrection>,
    /// Broken on purpose.
    pub breakage: Option<Breakage>,
}

impl Place<'_> {
    fn append_time(&self, record: &Record) -> Millis {
        match &self.clock {
            Some(correction) => correction.append_time(record),
            None => record.append_time,
        }
    }
}

impl<'a> Examined<'a> {
    /// Examines the next records of the chunk, in order. No candidates of earlier ones may be left. `log_time` is the log time before
    /// the first; afterwards that of the last.
    pub fn examine(
        &mut self,
        records: &'a [Record],
        place: Place<'_>,
        window: &mut Window,
        log_time: &mut Millis,
    ) {
        debug_assert!(self.candidates.is_empty());
        self.hashes.clear();
        for record in records {
            *log_time = (*log_time).max(place.append_time(record));
            self.read(record, place, *log_time);
        }
        self.look_for_copies(place, window);
    }

    /// Decodes one record: what is valid becomes a candidate.
    fn read(&mut self, record: &'a Record, place: Place<'_>, log_time: Millis) {
        match read(&mut self.decoder, record, place, log_time) {
            Class::Tick => self.ticks += 1,
            Class::Elsewhere(partition) => self.forwards.push((partition, record)),
            Class::Refused(rejection) => self.reject(record, log_time, rejection),
            Class::Valid(event, service) => {
                self.latest_event = self.latest_event.max(Some(event.time));
                self.hashes.push((event.identity(), event.content()));
                self.candidates.push(Candidate {
                    record,
                    event,
                    service,
                    log_time,
                    verdict: Verdict::Fast,
                });
            }
        }
    }

    /// Takes the candidates into the window, and keeps those that nothing in it precedes. All of them one after the other and with
    /// nothing between: each is a look into another part of memory, and the processor then waits for several at once.
    fn look_for_copies(&mut self, place: Place<'_>, window: &mut Window) {
        let mut kept = true;
        for (candidate, (identity, content)) in self.candidates.iter_mut().zip(&self.hashes) {
            let standing = match place.breakage {
                Some(Breakage::SlowLaneInPlaceOfWindow) => Standing::New,
                _ => window.take(
                    *identity,
                    *content,
                    candidate.record.offset,
                    candidate.log_time,
                ),
            };
            candidate.verdict = judge(standing, candidate.event.time, place);
            kept &= matches!(candidate.verdict, Verdict::Fast | Verdict::Slow);
        }
        if !kept {
            self.drop_copies();
        }
    }

    fn drop_copies(&mut self) {
        let (rejects, duplicates) = (&mut self.rejects, &mut self.duplicates);
        self.candidates.retain(|candidate| {
            let rejection = match candidate.verdict {
                Verdict::Fast | Verdict::Slow => return true,
                Verdict::Duplicate => {
                    *duplicates += 1;
                    return false;
                }
                Verdict::Conflict => conflict(),
                Verdict::BeyondChecking => beyond_checking(),
            };
            rejects.push(Reject {
                record: candidate.record,
                log_time: candidate.log_time,
                rejection,
            });
            false
        });
        // Others were refused while decoding, before these.
        self.rejects.sort_by_key(|reject| reject.record.offset);
    }

    fn reject(&mut self, record: &'a Record, log_time: Millis, rejection: Rejection) {
        self.rejects.push(Reject {
            record,
            log_time,
            rejection,
        });
    }
}

/// Takes the records between the window's first and the chunk into the window again, after a restart.
pub fn rebuild(records: &[Record], place: Place<'_>, window: &mut Window, log_time: &mut Millis) {
    let mut decoder = usage::Decoder::default();
    for record in records {
        *log_time = (*log_time).max(place.append_time(record));
        if let Class::Valid(event, _) = read(&mut decoder, record, place, *log_time) {
            window.take(event.identity(), event.content(), record.offset, *log_time);
        }
    }
}

fn judge(standing: Standing, time: Millis, place: Place<'_>) -> Verdict {
    let ahead = match place.breakage {
        Some(Breakage::SlowLaneWithoutFiveMinutes) => 0,
        _ => AHEAD_MS_MAX,
    };
    match standing {
        Standing::Duplicate => Verdict::Duplicate,
        Standing::Conflict => Verdict::Conflict,
        Standing::New => match lane(place.window, time, ahead) {
            Lane::Fast => Verdict::Fast,
            Lane::Slow => Verdict::Slow,
            Lane::Closed => Verdict::BeyondChecking,
        },
    }
}

/// What a record is, whatever came before it.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every record is valid, and a box would cost each an allocation"
)]
enum Class<'a> {
    Tick,
    Elsewhere(Partition),
    Refused(Rejection),
    Valid(UsageEvent<'a>, Service),
}

/// Reads one record. The first pass and the rebuilt window both see a record through this, so that they hold the same.
#[inline]
fn read<'a>(
    decoder: &mut usage::Decoder,
    record: &'a Record,
    place: Place<'_>,
    log_time: Millis,
) -> Class<'a> {
    if record.header(TICK_HEADER).is_some() {
        return Class::Tick;
    }
    if record.size() > ORIGINAL_BYTES_MAX {
        return Class::Refused(oversized(record));
    }
    match decoder.decode(&record.value, &record.headers) {
        Ok(event) => classify(event, place, log_time),
        Err(rejection) => Class::Refused(rejection),
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

#[inline]
fn classify<'a>(event: UsageEvent<'a>, place: Place<'_>, log_time: Millis) -> Class<'a> {
    let own = usage_partition(&event.user, place.partitions);
    if own != place.partition {
        return Class::Elsewhere(own);
    }
    let Some(service) = place.services.of_endpoint(&event.endpoint) else {
        return Class::Refused(unknown_service(&event.endpoint));
    };
    match time_fault(event.time, log_time) {
        Some(rejection) => Class::Refused(rejection),
        None => Class::Valid(event, service),
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

fn conflict() -> Rejection {
    let detail =
        "an earlier event has the same user, source and id but different content".to_owned();
    Rejection {
        reason: Reason::Conflict,
        field: Some("id"),
        detail,
    }
}

fn beyond_checking() -> Rejection {
    let detail = "the event is older than the duplicate window, and usage rows, which could tell whether it came before, \
                  are off or began later"
        .to_owned();
    Rejection {
        reason: Reason::TooOld,
        field: Some("time"),
        detail,
    }
}
