//! First half of rating a chunk: decode, validate, look for duplicates in the window. Pure.

use super::window::{Lane, Standing, Window, lane};
use crate::domain::event::{AHEAD_MS_MAX, BEHIND_MS_MAX, Reason, Rejection, Service, UsageEvent};
use crate::domain::position::Partition;
use crate::domain::rating::service_of;
use crate::domain::time::Millis;
use crate::log::{Record, usage, usage_partition};
use crate::pipeline::Breakage;
use crate::store::checkpoints::WindowCut;

/// Name of the header that marks a tick: a record that only moves log time on.
pub const TICK_HEADER: &str = "tidemark-tick";

/// A record that decodes, whose service is known and whose time is within bounds at its own log time.
struct Valid<'a> {
    event: UsageEvent<'a>,
    service: Service,
}

/// An event that no record in the window precedes.
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
    /// Whether a copy of it may have been forgotten, so that its usage row must be looked up.
    pub slow: bool,
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

/// What the records of a chunk are.
#[derive(Debug, Default)]
pub struct Examined<'a> {
    /// Events to be rated, in log order.
    pub candidates: Vec<Candidate<'a>>,
    /// Refused records, in log order.
    pub rejects: Vec<Reject<'a>>,
    /// Records that belong into another partition.
    pub forwards: Vec<(Partition, &'a Record)>,
    /// How many repeat an event in the window.
    pub duplicates: u64,
    /// How many are ticks.
    pub ticks: u64,
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
    /// Broken on purpose.
    pub breakage: Option<Breakage>,
}

/// Examines the records of a chunk, in order. `log_time` is the log time before the first; afterwards that of the last.
pub fn examine<'a>(
    records: &'a [Record],
    place: Place<'_>,
    window: &mut Window,
    log_time: &mut Millis,
) -> Examined<'a> {
    let mut examined = Examined {
        candidates: Vec::with_capacity(records.len()),
        ..Examined::default()
    };
    for record in records {
        *log_time = (*log_time).max(record.append_time);
        match classify(record, place, *log_time) {
            Class::Tick => examined.ticks += 1,
            Class::Elsewhere(partition) => examined.forwards.push((partition, record)),
            Class::Refused(rejection) => examined.rejects.push(Reject {
                record,
                log_time: *log_time,
                rejection,
            }),
            Class::Valid(valid) => examined.place(record, *log_time, valid, place, window),
        }
    }
    examined
}

/// Takes the records between the window's first and the chunk into the window again, after a restart.
pub fn rebuild(records: &[Record], place: Place<'_>, window: &mut Window, log_time: &mut Millis) {
    for record in records {
        *log_time = (*log_time).max(record.append_time);
        if let Class::Valid(valid) = classify(record, place, *log_time) {
            window.take(
                valid.event.identity(),
                valid.event.content(),
                record.offset,
                *log_time,
            );
        }
    }
}

impl<'a> Examined<'a> {
    fn place(
        &mut self,
        record: &'a Record,
        log_time: Millis,
        valid: Valid<'a>,
        place: Place<'_>,
        window: &mut Window,
    ) {
        let Valid { event, service } = valid;
        let standing = match place.breakage {
            Some(Breakage::SlowLaneInPlaceOfWindow) => Standing::New,
            _ => window.take(event.identity(), event.content(), record.offset, log_time),
        };
        let ahead = match place.breakage {
            Some(Breakage::SlowLaneWithoutFiveMinutes) => 0,
            _ => AHEAD_MS_MAX,
        };
        match standing {
            Standing::Duplicate => self.duplicates += 1,
            Standing::Conflict => self.reject(record, log_time, conflict()),
            Standing::New => match lane(place.window, event.time, ahead) {
                Lane::Closed => self.reject(record, log_time, beyond_checking()),
                lane => {
                    let slow = lane == Lane::Slow;
                    self.candidates.push(Candidate {
                        record,
                        event,
                        service,
                        log_time,
                        slow,
                    });
                }
            },
        }
    }

    fn reject(&mut self, record: &'a Record, log_time: Millis, rejection: Rejection) {
        self.rejects.push(Reject {
            record,
            log_time,
            rejection,
        });
    }
}

/// What a record is, whatever came before it.
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack for one record at a time, and nearly every record is valid; a box would cost each an allocation"
)]
enum Class<'a> {
    Tick,
    Elsewhere(Partition),
    Refused(Rejection),
    Valid(Valid<'a>),
}

fn classify<'a>(record: &'a Record, place: Place<'_>, log_time: Millis) -> Class<'a> {
    if record.header(TICK_HEADER).is_some() {
        return Class::Tick;
    }
    let event = match usage::decode(&record.value, &record.headers) {
        Ok(event) => event,
        Err(rejection) => return Class::Refused(rejection),
    };
    let own = usage_partition(&event.user, place.partitions);
    if own != place.partition {
        return Class::Elsewhere(own);
    }
    let Some(service) = service_of(&event.endpoint) else {
        return Class::Refused(unknown_service(&event.endpoint));
    };
    match time_fault(event.time, log_time) {
        Some(rejection) => Class::Refused(rejection),
        None => Class::Valid(Valid { event, service }),
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
        "another event with the same user, source and id but other content came before".to_owned();
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
