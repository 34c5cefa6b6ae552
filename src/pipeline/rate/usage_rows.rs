//! The usage rows of a chunk's events. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::candidate::{Candidate, LaterReport, PendingReversal};
use super::fold::Rated;
use super::originals::Original;
use crate::domain::event::UsageEvent;
use crate::domain::position::{Control, Epoch, Offset, Partition, Position};
use crate::domain::posting::Slot;
use crate::domain::service::Services;
use crate::log::Record;
use crate::log::usage::ODD_TOTAL_HEADER;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::store::db::{Item, Key};
use crate::store::usage::{self, ReversalRow, UsageRow};

/// Usage rows that exist, by their keys.
pub(super) type FoundRows = BTreeMap<Key, Item>;

/// The halt for a usage row that says that a later record came first.
pub(super) fn row_ahead(own: Position, won: Position) -> Failure {
    let what =
        format!("the usage row of the event at {own} says that the event at {won} came first");
    Failure::halt(HaltCode::UsageRowAhead, what)
}

/// Makes usage rows: what all rows of a chunk have in common.
pub(super) struct UsageRowMaker {
    /// Whether rows are written at all.
    pub(super) is_on: bool,
    /// The source partition.
    pub(super) partition: Partition,
    /// The services as of the chunk's control position.
    pub(super) services: Arc<Services>,
    pub(super) epoch: Epoch,
    pub(super) control: Control,
    /// How long after its event a row expires.
    pub(super) life_ms: i64,
    /// The key of an event's row.
    pub(super) key: fn(&UsageEvent<'_>) -> Key,
}

impl UsageRowMaker {
    /// The key of an event's row.
    pub(super) fn key(&self, candidate: &Candidate<'_>) -> Key {
        (self.key)(&candidate.event)
    }

    /// The position of a record of this chunk.
    pub(super) fn position(&self, offset: Offset) -> Position {
        Position {
            epoch: self.epoch,
            offset,
        }
    }

    /// The row of a reversal that was accepted.
    pub(super) fn reversal_item(&self, pending: &PendingReversal<'_>, slot: Slot) -> Item {
        let reversal = &pending.reversal;
        usage::encode_reversal(&ReversalRow {
            key: usage::reversal_key(&pending.original),
            reversal,
            partition: self.partition,
            position: self.position(pending.record.offset),
            log_time: pending.log_time,
            slot,
            expires_at: reversal.original.time.plus(self.life_ms),
        })
    }

    /// The row of a completion that was accepted: of everything that is known of the event now.
    pub(super) fn completion_item(
        &self,
        report: &LaterReport<'_>,
        original: &Original<'_>,
        event: &UsageEvent<'_>,
        rated: &Rated,
    ) -> Item {
        let (service, services) = (original.service, original.timeline.services());
        usage::encode(&UsageRow {
            key: usage::completion_key(&report.original),
            event,
            service: &services.name(service),
            tier: services.is_tiered(service).then_some(rated.tier),
            partition: self.partition,
            position: self.position(report.candidate.record.offset),
            log_time: report.candidate.log_time,
            control: original.rated.control,
            slot: rated.slot,
            provider_points: rated.amounts.provider,
            user_points: rated.amounts.user,
            charge: rated.amounts.charge,
            is_total_odd: has_odd_total(report.candidate.record),
            expires_at: event.time.plus(self.life_ms),
        })
    }

    /// The row of a rated event.
    pub(super) fn item(&self, candidate: &Candidate<'_>, rated: &Rated) -> Item {
        let (event, services) = (&candidate.event, &self.services);
        usage::encode(&UsageRow {
            key: self.key(candidate),
            event,
            service: &services.name(candidate.service),
            tier: services.is_tiered(candidate.service).then_some(rated.tier),
            partition: self.partition,
            position: self.position(candidate.record.offset),
            log_time: candidate.log_time,
            control: self.control,
            slot: rated.slot,
            provider_points: rated.amounts.provider,
            user_points: rated.amounts.user,
            charge: rated.amounts.charge,
            is_total_odd: has_odd_total(candidate.record),
            expires_at: event.time.plus(self.life_ms),
        })
    }
}

fn has_odd_total(record: &Record) -> bool {
    record.header(ODD_TOTAL_HEADER).is_some()
}
