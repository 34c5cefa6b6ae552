//! Rating the recorded chunk: what it gives are posting blocks, usage rows, rejects and forwarded records. Returns when all
//! of it is acknowledged; only then may the next chunk be cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Rater;
use super::examine::{Candidate, Examined, Place, Reject};
use super::fold::{Fold, Postings, Rated};
use super::publish::Output;
use super::window::Window;
use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::position::{Chunk, Offset, Partition, Position, Sequence};
use crate::domain::rules::Timeline;
use crate::domain::semantics::Semantics;
use crate::domain::service::Services;
use crate::domain::time::Millis;
use crate::log::posting::{BlockHeader, encode_blocks};
use crate::log::{Fingerprint, NewRecord, Record, Topic, rejected};
use crate::ops::health::Role;
use crate::ops::seldom::Seldom;
use crate::pipeline::Breakage;
use crate::pipeline::counters::{REFERRAL, UsageSums, issued};
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::supervise::persist;
use crate::store::checkpoints::{UsageRows, WindowCut};
use crate::store::db::{Item, Key};
use crate::store::usage::{self, UsageRow};

/// How many records are examined and rated together: so few that they, and what was read of them, stay in the processor's
/// caches from the one to the other.
pub const PIECE_RECORDS: usize = 128;

/// A chunk in the making.
struct Work<'a> {
    examined: Examined<'a>,
    fold: Fold,
    services: Arc<Services>,
    /// Usage rows.
    items: Vec<Item>,
    rated: u64,
    unknown_usage: u64,
    /// What it has earned, for telling.
    sums: UsageSums,
    /// The time of the newest event.
    newest: Option<Millis>,
}

impl Work<'_> {
    fn new(fold: Fold, services: Arc<Services>) -> Self {
        Work {
            examined: Examined::default(),
            fold,
            services,
            items: Vec::new(),
            rated: 0,
            unknown_usage: 0,
            sums: UsageSums::default(),
            newest: None,
        }
    }
}

impl Rater<'_> {
    /// Rates the recorded chunk, whose records these are, and publishes what it gives.
    pub(super) async fn rate(&mut self, records: &[Record]) -> Result<(), Failure> {
        let started = self.ctx.clock.moment();
        let output = self.rate_only(records).await?;
        let emitting = self.ctx.stage(Role::Rate, "rate", started);
        self.after = self.publish(output).await?;
        self.ctx.stage(Role::Rate, "emit", emitting);
        self.progressed = true;
        let took = self.ctx.clock.moment().since(started);
        self.ctx.metrics.chunk_seconds.observe(took.as_secs_f64());
        let took_ms = took.as_millis();
        tracing::debug!(event = "chunk.rated", task = %self.task(), chunk = self.checkpoint.chunk.0, records = records.len(), took_ms);
        Ok(())
    }

    /// Rates the recorded chunk, whose records these are.
    pub(in crate::pipeline) async fn rate_only(
        &mut self,
        records: &[Record],
    ) -> Result<Output, Failure> {
        let semantics = Semantics::known(self.checkpoint.semantics);
        self.tiers.recognise_by(semantics.unwrap_or_default());
        let mut log_time = self.checkpoint.log_time;
        let window = self.checkpoint.window;
        let (timeline, room) = (self.timeline()?, std::mem::take(&mut self.room));
        let services = Arc::clone(timeline.services());
        let fold = Fold::new(timeline, self.checkpoint.control, room);
        let mut work = Work::new(fold, Arc::clone(&services));
        // Broken on purpose: the second half of the chunk does not see the first.
        let seen = match self.breaks_window() {
            true => records.len() / 2,
            false => records.len(),
        };
        let (first, second) = records.split_at(seen);
        for piece in first.chunks(PIECE_RECORDS) {
            let place = self.place(&window, &services);
            work.examined
                .examine(piece, place, &mut self.window, &mut log_time);
            self.rate_piece(&mut work).await?;
        }
        let mut forgetful = Window::default();
        for piece in second.chunks(PIECE_RECORDS) {
            let place = self.place(&window, &services);
            work.examined
                .examine(piece, place, &mut forgetful, &mut log_time);
            self.rate_piece(&mut work).await?;
        }
        self.count(&work, records);
        let end = (
            log_time,
            self.latest_event(work.examined.latest_event),
            records.last().map(Fingerprint::of),
        );
        Ok(self.output(work, end))
    }

    /// The latest event up to and with the chunk, of which `in_chunk` is the latest. What is not known of before is as late as bounds allow.
    fn latest_event(&self, in_chunk: Option<Millis>) -> Option<Millis> {
        let is_first = self.checkpoint.chunk == Chunk(1);
        let before = match self.checkpoint.latest_event {
            None if !is_first => Some(self.checkpoint.log_time.plus(AHEAD_MS_MAX)),
            known => known,
        };
        before.max(in_chunk)
    }

    fn timeline(&mut self) -> Result<Arc<Timeline>, Failure> {
        self.follower.rules(self.checkpoint.control).ok_or_else(|| {
            Failure::reload(
                "no rules are published; run `tidemark pricing init testnet` (or mainnet)",
            )
        })
    }

    fn place<'w>(&self, window: &'w WindowCut, services: &'w Services) -> Place<'w> {
        Place {
            partition: self.partition,
            partitions: self.checkpoint.partitions,
            window,
            services,
            clock: self.checkpoint.clock,
            breakage: self
                .ctx
                .breakage
                .filter(|breakage| self.ctx.broken(*breakage)),
        }
    }

    /// Rates the candidates of one piece, and leaves none.
    async fn rate_piece(&mut self, work: &mut Work<'_>) -> Result<(), Failure> {
        self.resolve_slow(&mut work.examined).await?;
        let parties = work.fold.meet(&work.examined.candidates);
        self.link(&mut work.fold).await?;
        let rows = self.checkpoint.window.usage_rows != UsageRows::Off;
        for (candidate, party) in work.examined.candidates.iter().zip(parties) {
            let rated = work.fold.add(candidate, party, &mut self.tiers);
            if rows {
                let item = self.usage_item(candidate, &rated, &work.services);
                work.items.push(item);
            }
            work.rated += 1;
            let (event, provided) = (&candidate.event, candidate.event.provider.is_some());
            work.sums
                .add(candidate.service, rated.tier, &rated.amounts, provided);
            work.newest = work.newest.max(Some(event.time));
            work.unknown_usage += u64::from(is_usage_unknown(candidate, &work.services));
        }
        work.examined.candidates.clear();
        Ok(())
    }

    /// Links the accounts that were met; fetches the referral chains that are not known.
    async fn link(&mut self, fold: &mut Fold) -> Result<(), Failure> {
        fold.link(self.follower.chains());
        let mut unknown = fold.unlinked();
        if unknown.is_empty() {
            return Ok(());
        }
        unknown.sort_unstable();
        self.follower.learn(self.ctx, unknown).await?;
        fold.link(self.follower.chains());
        Ok(())
    }

    /// Looks up the usage rows of the events that may have a forgotten copy, and drops those that have one.
    async fn resolve_slow(&mut self, examined: &mut Examined<'_>) -> Result<(), Failure> {
        let mut keys: Vec<Key> = examined
            .candidates
            .iter()
            .filter(|c| c.is_slow())
            .map(|c| self.usage_key(c))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.ctx
            .metrics
            .slow_lane_events_total
            .inc_by(keys.len() as u64);
        keys.sort_unstable();
        keys.dedup();
        let items = persist(self.ctx, || self.ctx.db.batch_get(&keys)).await?;
        let mut winners: BTreeMap<Key, Position> = BTreeMap::new();
        for (key, item) in keys.into_iter().zip(items) {
            let Some(item) = item else { continue };
            let (source, position) = usage::winner(&key, &item)?;
            if !self.void.iter().any(|lost| lost.holds(source, position)) {
                winners.insert(key, position);
            }
        }
        let mut duplicates = 0;
        let mut fault = None;
        let candidates = std::mem::take(&mut examined.candidates);
        examined.candidates = candidates
            .into_iter()
            .filter(|candidate| {
                let own = self.position(candidate.record.offset);
                let won = if candidate.is_slow() {
                    winners.get(&self.usage_key(candidate))
                } else {
                    None
                };
                match won {
                    Some(won) if *won < own => {
                        duplicates += 1;
                        false
                    }
                    Some(won) if *won > own => {
                        fault.get_or_insert(format!(
                            "the usage row of the event at {own} says that the event at {won} came \
                             first"
                        ));
                        false
                    }
                    _ => true,
                }
            })
            .collect();
        examined.duplicates += duplicates;
        match fault {
            Some(what) => Err(Failure::halt(HaltCode::UsageRowAhead, what)),
            None => Ok(()),
        }
    }

    fn usage_item(&self, candidate: &Candidate<'_>, rated: &Rated, services: &Services) -> Item {
        let life = self.ctx.settings.usage_row_life.as_millis() as i64;
        usage::encode(&UsageRow {
            key: self.usage_key(candidate),
            event: &candidate.event,
            service: &services.name(candidate.service),
            tier: services.is_tiered(candidate.service).then_some(rated.tier),
            partition: self.partition,
            position: self.position(candidate.record.offset),
            log_time: candidate.log_time,
            control: self.checkpoint.control,
            slot: rated.slot,
            provider_points: rated.amounts.provider,
            user_points: rated.amounts.user,
            charge: rated.amounts.charge,
            expires_at: candidate.event.time.plus(life),
        })
    }

    fn usage_key(&self, candidate: &Candidate<'_>) -> Key {
        if self.ctx.broken(Breakage::UsageRowKeyWithoutIdentity) {
            return usage::key_without_identity(&candidate.event);
        }
        usage::key(&candidate.event)
    }

    fn position(&self, offset: Offset) -> Position {
        Position {
            epoch: self.checkpoint.epoch,
            offset,
        }
    }

    /// What the chunk gives, ready to be published.
    fn output(
        &mut self,
        work: Work<'_>,
        (log_time, latest_event, fingerprint): (Millis, Option<Millis>, Option<Fingerprint>),
    ) -> Output {
        let Work {
            examined,
            items,
            newest,
            ..
        } = work;
        let postings = work.fold.postings(self.checkpoint.posting_partitions);
        let (blocks, sequences) = self.blocks(&postings, examined.ticks > 0);
        self.room = postings.into_room();
        let after = super::After {
            log_time,
            latest_event,
            sequences,
            fingerprint,
        };
        let others = self.rejects(&examined.rejects).into_iter();
        Output {
            newest,
            blocks,
            others: others.chain(forwards(&examined.forwards)).collect(),
            rows: items,
            after,
        }
    }

    /// The posting blocks of the chunk, by posting partition, and the sequences after them. With a tick every posting
    /// partition gets one, empty if need be: it carries the source log time, by which months become final.
    fn blocks(
        &self,
        postings: &Postings,
        everywhere: bool,
    ) -> (Vec<(Partition, Vec<Bytes>)>, Vec<Sequence>) {
        let header = BlockHeader {
            epoch: self.checkpoint.epoch,
            source: self.partition,
            chunk: self.checkpoint.chunk,
            control: self.checkpoint.control,
            source_log_time: self.checkpoint.log_time,
        };
        let mut sequences = self.checkpoint.sequences.clone();
        let mut blocks = Vec::new();
        for (q, sequence) in (0..).map(Partition).zip(&mut sequences) {
            let entries = postings.entries(q);
            if entries.len() == 0 && !everywhere {
                continue;
            }
            let encoded = encode_blocks(&header, entries, Sequence(sequence.0 + 1));
            sequence.0 += encoded.len() as u64;
            blocks.push((q, encoded));
        }
        (blocks, sequences)
    }

    fn rejects(&self, rejects: &[Reject<'_>]) -> Option<(Topic, Partition, Vec<NewRecord>)> {
        let encode = |reject: &Reject<'_>| {
            rejected::encode(
                reject.record,
                self.checkpoint.epoch,
                self.partition,
                reject.log_time,
                &reject.rejection,
            )
        };
        let records: Vec<NewRecord> = rejects.iter().map(encode).collect();
        let partition = Partition(self.partition.0 % self.rejected_partitions);
        (!records.is_empty()).then_some((Topic::UsageRejected, partition, records))
    }

    fn count(&mut self, work: &Work<'_>, records: &[Record]) {
        let (metrics, examined) = (&self.ctx.metrics, &work.examined);
        metrics.chunks_total.inc();
        metrics.chunk_events.observe(records.len() as f64);
        let bytes: usize = records.iter().map(Record::size).sum();
        metrics.chunk_bytes.observe(bytes as f64);
        work.sums.tell(metrics, &work.services);
        issued(metrics, REFERRAL, work.fold.referred());
        metrics.events_rated_total.inc_by(work.rated);
        metrics.events_duplicate_total.inc_by(examined.duplicates);
        metrics
            .events_forwarded_total
            .inc_by(examined.forwards.len() as u64);
        for reject in &examined.rejects {
            metrics
                .events_rejected_total
                .with_label_values(&[reject.rejection.reason.as_str()])
                .inc();
        }
        metrics
            .unknown_usage_events_total
            .inc_by(work.unknown_usage);
        metrics
            .default_tier_events_total
            .inc_by(self.tiers.take_defaults());
        let models = self.tiers.take_unrecognised();
        if let Some((model, others)) = unrecognised_line(&UNRECOGNISED, &models) {
            tracing::info!(
                event = "model.unrecognised",
                model,
                others,
                "model has no catalogue entry and no size in its name; using the lowest tier"
            );
        }
    }
}

/// Of all partitions of this process. Clients can make up names: one line a minute, whatever they send.
static UNRECOGNISED: Seldom<()> = Seldom::every(UNRECOGNISED_EVERY);
const UNRECOGNISED_EVERY: Duration = Duration::from_secs(60);

/// What to log of names that nothing recognised, if anything: one of them, and how many others there
/// were since the last line.
fn unrecognised_line<'a>(lately: &Seldom<()>, models: &'a [String]) -> Option<(&'a str, u64)> {
    let [model, others @ ..] = models else {
        return None;
    };
    let kept_back = lately.say_of((), models.len() as u64)?;
    Some((model, others.len() as u64 + kept_back))
}

/// A successful request without token counts, to a service that must have them: what it used is
/// unknown, not zero. Embeddings are not looked at, as ever.
fn is_usage_unknown(candidate: &Candidate<'_>, services: &Services) -> bool {
    let (event, service) = (&candidate.event, candidate.service);
    let is_token_service = !service.is_default() && services.counts_tokens(service);
    event.lacks_usage(service) || is_token_service && event.has_no_tokens()
}

fn forwards(forwards: &[(Partition, &Record)]) -> Vec<(Topic, Partition, Vec<NewRecord>)> {
    let mut by_partition: BTreeMap<Partition, Vec<NewRecord>> = BTreeMap::new();
    for (partition, record) in forwards {
        let unchanged = NewRecord {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
        };
        by_partition.entry(*partition).or_default().push(unchanged);
    }
    by_partition
        .into_iter()
        .map(|(partition, records)| (Topic::UsageEvents, partition, records))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_model_names_are_logged_once_a_minute_whatever_they_are() {
        let lately = Seldom::every(UNRECOGNISED_EVERY);
        let chunk =
            |n: u64| -> Vec<String> { (0..3).map(|i| format!("made-up-{n}-{i}")).collect() };
        assert_eq!(unrecognised_line(&lately, &[]), None);
        let lines = (0..1_000).filter(|n| unrecognised_line(&lately, &chunk(*n)).is_some());
        assert_eq!(lines.count(), 1);
        assert!(UNRECOGNISED_EVERY >= Duration::from_secs(60));
        // The next line says how many it stands for.
        let lately = Seldom::every(Duration::from_millis(1));
        let first =
            unrecognised_line(&lately, &chunk(0)).map(|(model, others)| (model.to_owned(), others));
        assert_eq!(first, Some(("made-up-0-0".to_owned(), 2)));
    }
}
