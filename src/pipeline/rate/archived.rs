//! What the archive keeps of a chunk: a row per accepted record. Only the auditor asks for it.
//! Pure.

use super::candidate::{Candidate, LaterReport, PendingReversal};
use super::fold::{Completed, Rated, Referrals, referral_changes, target_of_original};
use super::originals::{Original, Party};
use super::usage_rows::UsageRowMaker;
use crate::archive::{ArchivedRequest, Folder, RequestKind, Rows};
use crate::domain::amount::{Bp, Money, Points};
use crate::domain::event::{Service, UsageEvent};
use crate::domain::ids::AccountRef;
use crate::domain::position::{Chunk, Control, Epoch, Offset, Partition};
use crate::domain::posting::{Charge, LEVELS, Slot};
use crate::domain::semantics::Semantics;
use crate::domain::time::Millis;

/// The rows of a chunk, by folder.
#[derive(Debug)]
pub(in crate::pipeline) struct ArchivedChunk {
    chunk: Chunk,
    chunk_log_time: Millis,
    semantics: Semantics,
    /// Nearly every chunk has one.
    folders: Vec<(Folder, Rows)>,
}

/// What a report that completes an event is about.
pub(super) struct Completion<'a> {
    pub(super) report: &'a LaterReport<'a>,
    pub(super) original: &'a Original<'a>,
    /// The event as it was reported first.
    pub(super) earlier: &'a UsageEvent<'a>,
    pub(super) completed: &'a Completed<'a>,
    pub(super) rated: &'a Rated,
}

/// What a reversal takes back.
pub(super) struct ArchivedReversal<'a> {
    pub(super) pending: &'a PendingReversal<'a>,
    pub(super) original: &'a Original<'a>,
    /// The event, with everything that was known of it.
    pub(super) event: &'a UsageEvent<'a>,
    pub(super) slot: Slot,
}

impl ArchivedChunk {
    /// No rows yet of a chunk that begins at this log time.
    pub(super) fn new(chunk: Chunk, chunk_log_time: Millis, semantics: Semantics) -> ArchivedChunk {
        ArchivedChunk {
            chunk,
            chunk_log_time,
            semantics,
            folders: Vec::new(),
        }
    }

    /// The rows, by folder.
    pub(in crate::pipeline) fn folders(&self) -> &[(Folder, Rows)] {
        &self.folders
    }

    /// Adds an accepted event.
    pub(super) fn event(
        &mut self,
        candidate: &Candidate<'_>,
        rated: &Rated,
        referrals: &Referrals<'_>,
        rows: &UsageRowMaker,
    ) {
        let (event, services) = (&candidate.event, &rows.services);
        let row = ArchivedRequest {
            service_name: &services.name(candidate.service),
            service: candidate.service,
            tier: services.is_tiered(candidate.service).then_some(rated.tier),
            partition: rows.partition,
            epoch: rows.epoch,
            offset: candidate.record.offset,
            log_time: candidate.log_time,
            control: rows.control,
            user_points: rated.amounts.user,
            provider_points: match event.provider {
                Some(_) => rated.amounts.provider,
                None => Points::ZERO,
            },
            target_ms: rated.amounts.target_ms,
            trial_points: rated.trial,
            ..self.row_of(event, rated.slot)
        };
        let row = with_charge(row, rated.amounts.charge);
        self.push(&with_referrals(row, referrals));
    }

    /// Adds a completion: the difference that it posts.
    pub(super) fn completion(&mut self, completion: &Completion<'_>, rows: &UsageRowMaker) {
        let Completion {
            original,
            earlier,
            completed,
            rated,
            ..
        } = *completion;
        let (before, services) = (original.rated, original.timeline.services());
        let event = completed.event;
        let rules = original.timeline.at(event.time);
        let provider_before = match original.provider {
            Some(_) => before.provider_points,
            // One that was not named has got nothing.
            None => Points::ZERO,
        };
        let provider = completed.provider;
        let candidate = &completion.report.candidate;
        let row = ArchivedRequest {
            kind: RequestKind::Completion,
            service_name: &services.name(original.service),
            service: original.service,
            tier: services.is_tiered(original.service).then_some(rated.tier),
            partition: rows.partition,
            epoch: rows.epoch,
            offset: candidate.record.offset,
            log_time: candidate.log_time,
            control: before.control,
            user_points: rated.amounts.user.minus(before.user_points),
            provider_points: match provider {
                Some(_) => rated.amounts.provider.minus(provider_before),
                None => Points::ZERO,
            },
            target_ms: rated.amounts.target_ms,
            original_offset: Some(before.position.offset),
            original_epoch: Some(before.position.epoch),
            provider_is_new: provider.is_some() && original.provider.is_none(),
            earlier_model: earlier.model.as_deref(),
            earlier_latency_ms: earlier.latency_ms,
            earlier_target_ms: Some(target_of_original(original, rules)),
            earlier_input_tokens: earlier.input_tokens,
            earlier_output_tokens: earlier.output_tokens,
            earlier_cached_input_tokens: earlier.cached_input_tokens,
            earlier_cache_write_tokens: earlier.cache_write_tokens,
            earlier_reasoning_tokens: earlier.reasoning_tokens,
            earlier_audio_ms: earlier.audio_millis,
            earlier_image_count: earlier.image_count,
            ..self.row_of(event, rated.slot)
        };
        let row = with_charge(row, rated.amounts.charge.less(&before.charge));
        let change = Change {
            user: (before.user_points, rated.amounts.user),
            provider: (provider_before, rated.amounts.provider),
        };
        let referrals = change.referrals(original.user, provider, rules.cascade());
        self.push(&with_referrals(row, &referrals));
    }

    /// Adds a reversal: what it takes back.
    pub(super) fn reversal(&mut self, taken: &ArchivedReversal<'_>, rows: &UsageRowMaker) {
        let ArchivedReversal {
            pending,
            original,
            event,
            slot,
        } = *taken;
        let (before, services) = (original.rated, original.timeline.services());
        let rules = original.timeline.at(before.time);
        let change = Change {
            user: (before.user_points, Points::ZERO),
            provider: (before.provider_points, Points::ZERO),
        };
        let row = ArchivedRequest {
            kind: RequestKind::Reversal,
            source: &pending.reversal.source,
            id: &pending.reversal.id,
            service_name: &services.name(original.service),
            service: original.service,
            tier: before.tier,
            partition: rows.partition,
            epoch: rows.epoch,
            offset: pending.record.offset,
            log_time: pending.log_time,
            control: before.control,
            user_points: Points::ZERO.minus(before.user_points),
            provider_points: match original.provider {
                Some(_) => Points::ZERO.minus(before.provider_points),
                None => Points::ZERO,
            },
            target_ms: target_of_original(original, rules),
            original_offset: Some(before.position.offset),
            original_epoch: Some(before.position.epoch),
            original_source: Some(&event.source),
            original_id: Some(&event.id),
            ..self.row_of(event, slot)
        };
        let row = with_charge(row, Charge::default().less(&before.charge));
        let referrals = change.referrals(original.user, original.provider, rules.cascade());
        self.push(&with_referrals(row, &referrals));
    }

    fn push(&mut self, row: &ArchivedRequest<'_>) {
        let folder = Folder::of(row);
        // Nearly always that of the row before.
        let place = self.folders.iter().rposition(|(of, _)| *of == folder);
        let place = place.unwrap_or_else(|| {
            self.folders.push((folder, Rows::default()));
            self.folders.len() - 1
        });
        self.folders[place].1.push(row);
    }

    /// A row that says what an event says, and nothing of what it brought.
    fn row_of<'a>(&self, event: &'a UsageEvent<'_>, slot: Slot) -> ArchivedRequest<'a> {
        ArchivedRequest {
            kind: RequestKind::Event,
            source: &event.source,
            id: &event.id,
            user: &event.user,
            provider: event.provider.as_deref(),
            endpoint: &event.endpoint,
            service_name: "",
            service: Service::CHAT_COMPLETIONS,
            model: event.model.as_deref(),
            tier: None,
            status: event.status,
            latency_ms: event.latency_ms,
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            cached_input_tokens: event.cached_input_tokens,
            cache_write_tokens: event.cache_write_tokens,
            reasoning_tokens: event.reasoning_tokens,
            audio_ms: event.audio_millis,
            image_count: event.image_count,
            request_bytes: event.request_bytes,
            response_bytes: event.response_bytes,
            stream: event.stream,
            time: event.time,
            log_time: Millis::default(),
            epoch: Epoch::default(),
            partition: Partition::default(),
            offset: Offset::default(),
            chunk: self.chunk,
            chunk_log_time: self.chunk_log_time,
            control: Control::default(),
            semantics: self.semantics.number(),
            month: slot.month(),
            booked_on: match slot {
                Slot::Day(day) => Some(day),
                Slot::Late(_) => None,
            },
            user_points: Points::ZERO,
            provider_points: Points::ZERO,
            cost: Money::ZERO,
            shadow_cost: Money::ZERO,
            target_ms: 0,
            trial_points: None,
            user_referrer_1: None,
            user_referrer_1_kind: None,
            user_referrer_2: None,
            user_referrer_2_kind: None,
            user_referrer_3: None,
            user_referrer_3_kind: None,
            user_referral_1: Points::ZERO,
            user_referral_2: Points::ZERO,
            user_referral_3: Points::ZERO,
            provider_referrer_1: None,
            provider_referrer_1_kind: None,
            provider_referrer_2: None,
            provider_referrer_2_kind: None,
            provider_referrer_3: None,
            provider_referrer_3_kind: None,
            provider_referral_1: Points::ZERO,
            provider_referral_2: Points::ZERO,
            provider_referral_3: Points::ZERO,
            original_offset: None,
            original_epoch: None,
            original_source: None,
            original_id: None,
            provider_is_new: false,
            earlier_model: None,
            earlier_latency_ms: None,
            earlier_target_ms: None,
            earlier_input_tokens: None,
            earlier_output_tokens: None,
            earlier_cached_input_tokens: None,
            earlier_cache_write_tokens: None,
            earlier_reasoning_tokens: None,
            earlier_audio_ms: None,
            earlier_image_count: None,
        }
    }
}

/// How the amounts of an event change.
struct Change {
    user: (Points, Points),
    provider: (Points, Points),
}

impl Change {
    /// What changes for those who referred its accounts.
    fn referrals<'a>(
        &self,
        user: Party<'a>,
        provider: Option<Party<'a>>,
        cascade: [Bp; LEVELS],
    ) -> Referrals<'a> {
        let of = |party: Option<Party<'a>>, change| {
            let changes = referral_changes(party.and_then(|party| party.chain), change, cascade);
            changes.map(|change| match change {
                Some((referrer, points)) => (Some(referrer), points),
                None => (None, Points::ZERO),
            })
        };
        Referrals {
            user: of(Some(user), self.user),
            provider: of(provider, self.provider),
        }
    }
}

fn with_charge<'a>(row: ArchivedRequest<'a>, charge: Charge) -> ArchivedRequest<'a> {
    ArchivedRequest {
        cost: charge.cost,
        shadow_cost: charge.shadow,
        ..row
    }
}

fn with_referrals<'a>(row: ArchivedRequest<'a>, referrals: &Referrals<'a>) -> ArchivedRequest<'a> {
    let id = |(referrer, _): &(Option<AccountRef<'a>>, Points)| referrer.map(|account| account.id);
    let kind =
        |(referrer, _): &(Option<AccountRef<'_>>, Points)| referrer.map(|account| account.kind);
    let [first, second, third] = &referrals.user;
    let row = ArchivedRequest {
        user_referrer_1: id(first),
        user_referrer_1_kind: kind(first),
        user_referrer_2: id(second),
        user_referrer_2_kind: kind(second),
        user_referrer_3: id(third),
        user_referrer_3_kind: kind(third),
        user_referral_1: first.1,
        user_referral_2: second.1,
        user_referral_3: third.1,
        ..row
    };
    let [first, second, third] = &referrals.provider;
    ArchivedRequest {
        provider_referrer_1: id(first),
        provider_referrer_1_kind: kind(first),
        provider_referrer_2: id(second),
        provider_referrer_2_kind: kind(second),
        provider_referrer_3: id(third),
        provider_referrer_3_kind: kind(third),
        provider_referral_1: first.1,
        provider_referral_2: second.1,
        provider_referral_3: third.1,
        ..row
    }
}
