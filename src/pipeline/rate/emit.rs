//! Rating the recorded chunk and emitting what it gives: posting blocks, usage rows, rejects, forwarded records. Returns when all
//! of it is acknowledged; only then may the next chunk be cut.

use std::collections::BTreeMap;

use futures::future::{FutureExt, try_join, try_join_all};

use super::Rater;
use super::examine::{Candidate, Examined, Place, Reject, examine};
use super::fold::{Fold, Postings, Rated};
use super::parties::{Accounts, Parties};
use super::window::Window;
use crate::domain::event::Service;
use crate::domain::position::{Offset, Partition, Position, Sequence};
use crate::log::posting::{BlockHeader, encode_blocks};
use crate::log::{Fingerprint, NewRecord, Record, Topic, rejected};
use crate::pipeline::Breakage;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::supervise::persist;
use crate::store::checkpoints::UsageRows;
use crate::store::db::{Item, Key, Table};
use crate::store::usage::{self, UsageRow};

impl Rater<'_> {
    /// Rates the recorded chunk, whose records these are.
    pub(super) async fn rate(&mut self, records: &[Record]) -> Result<(), Failure> {
        let started = self.ctx.clock.now();
        let mut log_time = self.checkpoint.log_time;
        let mut examined = self.examine(records, &mut log_time);
        self.resolve_slow(&mut examined).await?;
        let parties = Parties::of(&examined.candidates);
        self.learn_chains(&parties.accounts).await?;
        let (blocks, items) = self.fold(&examined, parties)?;
        self.count(&examined, records.len());
        let sequences = self.emit(&examined, blocks, items).await?;
        self.after = super::After {
            log_time,
            sequences,
            fingerprint: records.last().map(Fingerprint::of),
        };
        self.progressed = true;
        let took_ms = self.ctx.clock.now().0 - started.0;
        self.ctx
            .metrics
            .chunk_seconds
            .observe(took_ms as f64 / 1_000.0);
        tracing::debug!(event = "chunk.rated", task = %self.task(), chunk = self.checkpoint.chunk.0, records = records.len(), took_ms);
        Ok(())
    }

    fn examine<'a>(
        &mut self,
        records: &'a [Record],
        log_time: &mut crate::domain::time::Millis,
    ) -> Examined<'a> {
        let place = Place {
            partition: self.partition,
            partitions: self.checkpoint.partitions,
            window: &self.checkpoint.window,
            breakage: self
                .ctx
                .breakage
                .filter(|breakage| self.ctx.broken(*breakage)),
        };
        if !self.breaks_window() {
            return examine(records, place, &mut self.window, log_time);
        }
        // Broken on purpose: the second half of the chunk does not see the first.
        let (first, second) = records.split_at(records.len() / 2);
        let mut examined = examine(first, place, &mut self.window, log_time);
        let mut forgetful = Window::default();
        let rest = examine(second, place, &mut forgetful, log_time);
        examined.candidates.extend(rest.candidates);
        examined.rejects.extend(rest.rejects);
        examined.forwards.extend(rest.forwards);
        examined.duplicates += rest.duplicates;
        examined.ticks += rest.ticks;
        examined
    }

    /// Looks up the usage rows of the events that may have a forgotten copy, and drops those that have one.
    async fn resolve_slow(&mut self, examined: &mut Examined<'_>) -> Result<(), Failure> {
        let mut keys: Vec<Key> = examined
            .candidates
            .iter()
            .filter(|c| c.slow)
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
            if let Some(item) = item {
                let position = usage::position(&key, &item)?;
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
                let won = if candidate.slow {
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
                            "the usage row of the event at {own} says that {won} came first"
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

    /// Fetches the referral chains that the chunk needs and that are not known.
    async fn learn_chains(&mut self, accounts: &Accounts<'_>) -> Result<(), Failure> {
        let chains = self.follower.chains();
        let unknown = accounts.as_slice().iter().filter(|of| !chains.knows(of));
        let mut unknown: Vec<_> = unknown.map(|of| of.to_account()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        unknown.sort_unstable();
        self.follower.learn(self.ctx, unknown).await
    }

    /// The chunk's posting blocks, and its usage rows.
    fn fold<'e>(
        &mut self,
        examined: &'e Examined<'_>,
        parties: Parties<'e>,
    ) -> Result<(Blocks, Vec<Item>), Failure> {
        let control = self.checkpoint.control;
        let Some(timeline) = self.follower.rules(control) else {
            return Err(Failure::reload(
                "there are no rules yet; run `tidemark pricing init testnet` (or mainnet)",
            ));
        };
        let rows = self.checkpoint.window.usage_rows != UsageRows::Off;
        let candidates = &examined.candidates;
        let mut items = Vec::with_capacity(if rows { candidates.len() } else { 0 });
        let mut tiers = std::mem::take(&mut self.tiers);
        let mut fold = Fold::new(&timeline, self.follower.chains(), control, parties.accounts);
        for (candidate, party) in candidates.iter().zip(parties.of_events) {
            let rated = fold.add(candidate, party, &mut tiers)?;
            if rows {
                items.push(self.usage_item(candidate, &rated));
            }
        }
        let postings = fold.postings(self.checkpoint.posting_partitions);
        self.tiers = tiers;
        Ok((self.blocks(&postings, examined.ticks > 0), items))
    }

    fn usage_item(&self, candidate: &Candidate<'_>, rated: &Rated) -> Item {
        let life = self.ctx.settings.usage_row_life.as_millis() as i64;
        usage::encode(&UsageRow {
            key: self.usage_key(candidate),
            event: &candidate.event,
            service: candidate.service,
            tier: (candidate.service == Service::ChatCompletions).then_some(rated.tier),
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

    /// Emits everything at once and waits for every acknowledgement; returns the sequences after it.
    async fn emit(
        &self,
        examined: &Examined<'_>,
        blocks: Blocks,
        items: Vec<Item>,
    ) -> Result<Vec<Sequence>, Failure> {
        let Blocks { records, sequences } = blocks;
        self.ctx
            .metrics
            .postings_blocks_total
            .inc_by(records.iter().map(|(_, b)| b.len() as u64).sum());
        // Boxed and collected, so that no closure over references lives across an await: the task would not be Send.
        let appends: Vec<_> = records
            .into_iter()
            .map(|(q, records)| (Topic::LedgerPostings, q, records))
            .chain(self.rejects(&examined.rejects))
            .chain(forwards(&examined.forwards))
            .map(|(topic, partition, records)| {
                let append = self.ctx.log.append(topic, partition, records);
                append.map(|done| done.map_err(Failure::from)).boxed()
            })
            .collect();
        let rows = async {
            self.ctx
                .db
                .put_all(Table::UsageTracking, items)
                .await
                .map_err(Failure::from)
        };
        try_join(try_join_all(appends), rows).await?;
        Ok(sequences)
    }

    /// The posting blocks of the chunk, by posting partition, and the sequences after them. With a tick every posting
    /// partition gets one, empty if need be: it carries the source log time, by which months become final.
    fn blocks(&self, postings: &Postings<'_>, everywhere: bool) -> Blocks {
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
            let records = encoded.into_iter().map(|value| NewRecord {
                value,
                ..NewRecord::default()
            });
            blocks.push((q, records.collect()));
        }
        Blocks {
            records: blocks,
            sequences,
        }
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

    fn count(&mut self, examined: &Examined<'_>, records: usize) {
        let metrics = &self.ctx.metrics;
        metrics.chunks_total.inc();
        metrics.chunk_events.observe(records as f64);
        metrics
            .events_rated_total
            .inc_by(examined.candidates.len() as u64);
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
        let unknown = examined
            .candidates
            .iter()
            .filter(|candidate| is_usage_unknown(candidate))
            .count();
        metrics.unknown_usage_events_total.inc_by(unknown as u64);
        for model in self.tiers.take_unrecognised() {
            metrics.unrecognised_model_events_total.inc();
            tracing::info!(
                event = "model.unrecognised",
                model,
                "no catalogue entry and no size in the name: lowest tier"
            );
        }
    }
}

/// The posting blocks of a chunk, by posting partition, and the sequences after them.
struct Blocks {
    records: Vec<(Partition, Vec<NewRecord>)>,
    sequences: Vec<Sequence>,
}

/// A successful chat without token counts: what it used is unknown, not zero.
fn is_usage_unknown(candidate: &Candidate<'_>) -> bool {
    let event = &candidate.event;
    candidate.service == Service::ChatCompletions
        && (200..300).contains(&event.status)
        && event.input_tokens.is_none()
        && event.output_tokens.is_none()
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
