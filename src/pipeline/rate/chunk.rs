//! The recorded chunk on its way through the stages. Pure: what it adds up to follows from its
//! records, the cut and what [`resolve`](super::resolve) has read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::archived::ArchivedChunk;
use super::candidate::{Amendment, Candidate, LaterReport};
use super::decode::{Intake, RecordRules};
use super::fold::{Fold, Party, Room};
use super::originals::{KnownOriginals, rows_of};
use super::tally::Tally;
use super::tiers::Tiers;
use super::usage_rows::UsageRowMaker;
use super::window::Window;
use crate::domain::position::{Chunk, Partition};
use crate::domain::rules::Timeline;
use crate::domain::semantics::Semantics;
use crate::domain::service::Services;
use crate::domain::time::Millis;
use crate::log::Record;
use crate::pipeline::failure::Failure;
use crate::pipeline::follower::Chains;
use crate::pipeline::protections::Protections;
use crate::store::checkpoints::{ClockCorrection, RateCheckpoint, WindowCut};
use crate::store::db::{Item, Key};

/// How many records go through the stages together: so few that they, and what was decoded of them,
/// stay in the processor's caches from one stage to the next.
pub const PIECE_RECORDS: usize = 128;

/// A chunk in the making.
pub(super) struct ChunkState<'a> {
    pub(super) intake: Intake<'a>,
    /// Events that wait for [`resolve`](super::resolve), and all that came after the first of them:
    /// they are folded in log order.
    pub(super) waiting: Vec<Candidate<'a>>,
    pub(super) fold: Fold,
    pub(super) rows: UsageRowMaker,
    /// Usage rows of the events that are folded.
    pub(super) items: Vec<Item>,
    pub(super) tally: Tally,
    /// The time of the oldest event whose usage row was looked up.
    pub(super) oldest_lookup: Option<Millis>,
    /// What changes earlier events. RESOLVE looks for those, and sorts these into log order.
    pub(super) amendments: Vec<Amendment<'a>>,
    /// What amendments are about, as far as it was rated in earlier chunks.
    pub(super) known: KnownOriginals,
    /// The sort keys of the rows that amendments may ask for.
    pub(super) sought: BTreeSet<String>,
    /// Where those of them that this chunk has made stand in `items`.
    pub(super) in_chunk: BTreeMap<Key, usize>,
    /// How many of `items` were looked through for them.
    pub(super) indexed: usize,
    pub(super) semantics: Semantics,
    /// Rows for the archive, if somebody keeps one.
    pub(super) archived: Option<ArchivedChunk>,
    partition: Partition,
    partitions: u32,
    clock: Option<ClockCorrection>,
    window: WindowCut,
    pub(super) protections: Protections,
}

impl<'a> ChunkState<'a> {
    /// The chunk that a cut describes, before its first record.
    pub(super) fn new(
        cut: &RateCheckpoint,
        timeline: Arc<Timeline>,
        rows: UsageRowMaker,
        room: Room,
        semantics: Semantics,
        protections: Protections,
    ) -> ChunkState<'a> {
        ChunkState {
            intake: Intake::starting_at(cut.log_time),
            waiting: Vec::new(),
            fold: Fold::new(timeline, cut.control, room).with(protections),
            items: Vec::new(),
            tally: Tally::default(),
            oldest_lookup: None,
            amendments: Vec::new(),
            known: KnownOriginals::default(),
            sought: BTreeSet::new(),
            in_chunk: BTreeMap::new(),
            indexed: 0,
            semantics,
            archived: None,
            partition: rows.partition,
            partitions: cut.partitions,
            clock: cut.clock,
            window: cut.window,
            rows,
            protections,
        }
    }

    /// The same, which also gathers rows for the archive.
    pub(super) fn archiving(self, chunk: Chunk, log_time: Millis) -> ChunkState<'a> {
        ChunkState {
            archived: Some(ArchivedChunk::new(chunk, log_time, self.semantics)),
            ..self
        }
    }

    pub(super) fn services(&self) -> &Services {
        &self.rows.services
    }

    /// Decodes the next records.
    pub(super) fn decode(&mut self, piece: &'a [Record]) {
        let rules = RecordRules {
            partition: self.partition,
            partitions: self.partitions,
            services: &self.rows.services,
            clock: self.clock,
            semantics: self.semantics,
        };
        self.intake.decode(piece, &rules);
    }

    /// Drops the decoded events that stand in the window, and puts aside what may change one of
    /// them.
    pub(super) fn dedupe(&mut self, window: &mut Window) {
        self.intake.dedupe(&self.window, window, self.protections);
        if !self.may_complete() {
            self.intake.refuse_contested();
        }
        let reversals = self.intake.reversals.drain(..);
        let reversals = reversals.map(|pending| Amendment::Reversal(Box::new(pending)));
        self.amendments.extend(reversals);
        for candidate in self.intake.contested.drain(..) {
            let report = later_report(candidate, &self.rows);
            self.amendments.push(report);
        }
    }

    /// Whether later reports of events are looked at: usage rows tell what the first ones said.
    pub(super) fn may_complete(&self) -> bool {
        self.rows.is_on && self.semantics.knows_completions()
    }

    /// Folds the deduplicated events, unless something must be asked of the store first.
    pub(super) fn fold_known(&mut self, chains: &Chains, tiers: &mut Tiers) {
        let is_known = self.waiting.is_empty()
            && self.amendments.is_empty()
            && !self.intake.candidates.iter().any(Candidate::is_slow);
        if is_known {
            let candidates = std::mem::take(&mut self.intake.candidates);
            let parties = self.fold.meet(&candidates);
            self.fold.link(chains);
            if self.fold.is_linked() {
                self.add(&candidates, parties, tiers);
                // Its room is for the next piece.
                self.intake.candidates = candidates;
                self.intake.candidates.clear();
                return;
            }
            self.intake.candidates = candidates;
        }
        self.waiting.append(&mut self.intake.candidates);
    }

    /// Takes up the accounts of the waiting events, so that their chains can be learnt.
    pub(super) fn meet_waiting(&mut self) {
        self.fold.meet(&self.waiting);
    }

    /// Folds the events and amendments that waited, in log order: everything that they need is
    /// known now.
    pub(super) fn fold_resolved(
        &mut self,
        chains: &Chains,
        tiers: &mut Tiers,
    ) -> Result<(), Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        let amendments = std::mem::take(&mut self.amendments);
        let rows = amendments.iter().flat_map(|of| rows_of(of.original()));
        self.sought = rows.map(|key| key.range).collect();
        let mut rest = &waiting[..];
        for amendment in &amendments {
            let offset = amendment.offset();
            let (before, after) = rest.split_at(rest.partition_point(|c| c.record.offset < offset));
            self.add_all(before, tiers);
            self.index_rows();
            match amendment {
                Amendment::Reversal(pending) => self.reverse(pending, chains)?,
                Amendment::LaterReport(report) => self.complete(report, chains, tiers)?,
            }
            rest = after;
        }
        self.add_all(rest, tiers);
        if !amendments.is_empty() {
            // Records after them were refused before them.
            self.intake.sort_rejects();
        }
        Ok(())
    }

    fn add_all(&mut self, candidates: &[Candidate<'_>], tiers: &mut Tiers) {
        for piece in candidates.chunks(PIECE_RECORDS) {
            let parties = self.fold.meet(piece);
            self.add(piece, parties, tiers);
        }
    }

    fn add(&mut self, candidates: &[Candidate<'_>], parties: Vec<Party>, tiers: &mut Tiers) {
        for (candidate, party) in candidates.iter().zip(parties) {
            let rated = self.fold.add(candidate, party, tiers);
            if self.rows.is_on {
                self.items.push(self.rows.item(candidate, &rated));
            }
            if let Some(archived) = &mut self.archived {
                let referrals = self.fold.referrals(candidate.event.time, party, &rated);
                archived.event(candidate, &rated, &referrals, &self.rows);
            }
            self.tally.add(candidate, &rated, &self.rows.services);
        }
    }
}

/// An event that may complete an earlier one.
pub(super) fn later_report<'a>(candidate: Candidate<'a>, rows: &UsageRowMaker) -> Amendment<'a> {
    let original = rows.key(&candidate);
    Amendment::LaterReport(Box::new(LaterReport {
        candidate,
        original,
    }))
}
