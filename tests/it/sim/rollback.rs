//! An earlier epoch goes on after a later one began: a worker of it was not stopped, or the old
//! configuration is rolled back. It must be noticed; the harness, as the operator, then brings back
//! tables and logs of the moment of the move, and sends what came in since to the new epoch.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::SliceRandom;
use tidemark::domain::position::{Epoch, Partition};
use tidemark::log::{NewRecord, Record, Topic, usage_partition};
use tidemark::ops::health::TaskId;
use tidemark::pipeline::rate::decode::TICK_HEADER;
use tidemark::store::db::{Item, Key};

use super::checks::Ledger;
use super::run::Run;
use super::world::{Owner, lock};
use super::{adapter, log};

/// Each task looks at the tables once a minute.
const NOTICED_MS: i64 = 75_000;

/// All there was at the moment of the move.
struct Moment {
    epoch: u32,
    source: u32,
    items: BTreeMap<Key, Item>,
    ends: BTreeMap<(Topic, u32), usize>,
    ledger: Ledger,
}

impl Run {
    pub(super) fn roll_back(&mut self) -> Result<(), String> {
        let faults = self.world.with(|inner| inner.faults.clone());
        if !self.quiesce()? {
            return Ok(());
        }
        self.world
            .with(|inner| inner.note(|| "MISHAP an earlier epoch goes on".to_owned()));
        let moment = self.moment();
        let mut tasks = adapter::tasks(self.source, self.posting);
        tasks.shuffle(&mut self.rng);
        tasks.truncate(self.rng.random_range(1..=tasks.len()));
        let (straggles, is_noticed_late): (bool, bool) = (self.rng.random(), self.rng.random());
        let mut old = None;
        if straggles {
            old = Some(self.start_in(moment.epoch, tasks.clone()));
            self.pass_ms(2_000)?;
        }
        {
            let mut ledger = lock(&self.ledger);
            ledger.may_halt.insert("log_recreated");
            ledger.may_miss_blocks = true;
        }
        self.source = self.rng.random_range(1..=self.source);
        if self.rng.random() {
            self.posting = self.rng.random_range(1..3);
        }
        self.open_epoch();
        // Some tasks begin the new epoch at once, the others later.
        let new = adapter::tasks(self.source, self.posting);
        let (first, later): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|_| self.rng.random_ratio(2, 3));
        self.start(first);
        self.append();
        self.pass_ms(3_000)?;
        let old = match old {
            Some(old) => old,
            None => self.start_in(moment.epoch, tasks.clone()),
        };
        self.append_in(&moment);
        self.pass_ms(5_000)?;
        if !is_noticed_late {
            self.stop_old(old);
        }
        self.start(later);
        for _ in 0..3 {
            self.append();
            self.pass_ms(NOTICED_MS / 3)?;
        }
        let halts = self.world.with(|inner| adapter::halts(&inner.db));
        if is_noticed_late {
            self.stop_old(old);
            let is_halted = |task: &TaskId| halts.iter().any(|(halted, _)| halted == task);
            if let Some(task) = tasks.iter().find(|task| !is_halted(task)) {
                let what = format!("{task} of an earlier epoch goes on");
                return Err(what);
            }
        }
        match halts.is_empty() {
            true => self.send_again(|run| run.uncut(&moment)),
            false => self.bring_back(moment)?,
        }
        let mut ledger = lock(&self.ledger);
        ledger.may_halt.retain(|code| *code == "clock_ahead");
        ledger.may_miss_blocks = false;
        drop(ledger);
        self.set_faults(faults);
        Ok(())
    }

    fn stop_old(&mut self, owner: Owner) {
        self.executor.kill(owner);
        self.workers.remove(&owner);
    }

    fn pass_ms(&mut self, ms: i64) -> Result<(), String> {
        let until = self.world.now() + ms;
        let ended = self.executor.run_until(until, 400_000, |_| false);
        self.failed(ended)
    }

    fn moment(&self) -> Moment {
        let epoch = self.epoch;
        let ledger = lock(&self.ledger).clone();
        self.world.with(|inner| Moment {
            epoch,
            source: self.source,
            items: inner.db.items.clone(),
            ends: inner.logs[&epoch]
                .records
                .iter()
                .map(|(place, records)| (*place, records.len()))
                .collect(),
            ledger,
        })
    }

    /// Usage in the log of the old epoch: some of it is sent to both.
    fn append_in(&mut self, moment: &Moment) {
        let (epoch, source) = (self.epoch, self.source);
        (self.epoch, self.source) = (moment.epoch, moment.source);
        self.append();
        (self.epoch, self.source) = (epoch, source);
    }

    /// What was appended to the old log and never rated is taken from it.
    fn uncut(&mut self, moment: &Moment) -> Vec<Record> {
        let mut taken = Vec::new();
        let ledger = lock(&self.ledger);
        self.world.with(|inner| {
            for p in 0..moment.source {
                let place = (Topic::UsageEvents, p);
                let end = moment.ends.get(&place).copied().unwrap_or(0);
                let at = adapter::rate_checkpoint(&inner.db, p);
                let rated = match at.filter(|at| at.epoch.0 == moment.epoch) {
                    Some(at) => at.from.0 as usize,
                    // The new epoch began after all that was cut here was done.
                    None => ledger.cut_up_to(p, moment.epoch),
                };
                let rated = rated.max(end);
                let log = inner.logs.get_mut(&moment.epoch).expect("the old log");
                if let Some(records) = log.records.get_mut(&place)
                    && rated < records.len()
                {
                    taken.extend(records.split_off(rated));
                }
            }
        });
        taken
    }

    /// Tables and logs as they were at the move, and a new log for the new epoch.
    fn bring_back(&mut self, moment: Moment) -> Result<(), String> {
        for owner in std::mem::take(&mut self.workers).into_keys() {
            self.executor.kill(owner);
        }
        self.pass_ms(2_000)?;
        self.send_again(|run| {
            let later = run.epoch;
            let records = run.world.with(|inner| {
                let mut records = Vec::new();
                let new = inner.logs.remove(&later).expect("the new log");
                for ((topic, _), held) in new.records {
                    if topic == Topic::UsageEvents {
                        records.extend(held);
                    }
                }
                let old = inner.logs.get_mut(&moment.epoch).expect("the old log");
                for (place, held) in &mut old.records {
                    let end = moment.ends.get(place).copied().unwrap_or(0);
                    let since = held.split_off(end.min(held.len()));
                    if place.0 == Topic::UsageEvents {
                        records.extend(since);
                    }
                }
                inner.db.items = moment.items;
                records
            });
            let codes = lock(&run.ledger).may_halt.clone();
            *lock(&run.ledger) = moment.ledger;
            lock(&run.ledger).may_halt = codes;
            run.epoch = moment.epoch;
            run.open_epoch();
            records
        });
        self.start_all();
        Ok(())
    }

    /// Sends records to the newest epoch, each to its user's partition.
    fn send_again(&mut self, take: impl FnOnce(&mut Run) -> Vec<Record>) {
        let records = take(self);
        let (epoch, source) = (Epoch(self.epoch), self.source);
        for record in records {
            if record.headers.iter().any(|(name, _)| name == TICK_HEADER) {
                continue;
            }
            let user = record.key.as_deref().map(String::from_utf8_lossy);
            let partition = match user {
                Some(user) => usage_partition(&user, source),
                None => Partition(0),
            };
            let record = NewRecord {
                key: record.key,
                value: record.value,
                headers: record.headers,
            };
            self.world.with(|inner| {
                log::land(inner, epoch, Topic::UsageEvents, partition, vec![record]);
            });
        }
    }
}
