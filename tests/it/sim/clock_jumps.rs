//! Brokers and gateways whose clocks are ahead, and the operator who corrects that.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use serde_json::Value;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::{NewRecord, Topic, rejected};
use tidemark::ops::health::TaskId;
use tidemark::pipeline::Breakage;
use tidemark::store::checkpoints::{self, ClockCorrection};
use tidemark::store::db::{Attr, StoreError, Table};

use super::adapter;
use super::run::{ADMINS, Run};
use super::workload::{DAY, HOUR, MINUTE};
use super::world::lock;

impl Run {
    /// A record is appended by a broker whose clock is minutes to weeks ahead; the gateway's clock
    /// may be the same one.
    pub(super) fn clock_jumps(&mut self) {
        let ahead = match self.rng.random_range(0..3) {
            0 => self.rng.random_range(MINUTE..HOUR),
            1 => self.rng.random_range(3 * HOUR..DAY),
            _ => self.rng.random_range(DAY..60 * DAY),
        };
        self.clock_jumps_by(ahead);
    }

    /// The record, and its partition.
    fn clock_jumps_by(&mut self, ahead: i64) -> (u32, NewRecord) {
        let now = self.world.now();
        let dated = now + [0, ahead][self.rng.random_range(0..2)];
        let number = self.rng.random_range(0..self.workload.mix.users);
        let rng = &mut self.rng;
        let (partition, record) = self.workload.record_of(rng, number, dated, self.source);
        lock(&self.ledger).may_halt.insert("clock_ahead");
        self.land(partition, record.clone(), now + ahead);
        (partition, record)
    }

    /// See [`super::run::cure`].
    pub(super) fn be_cured(&mut self, breakage: Option<Breakage>) -> Result<(), String> {
        self.settings.usage_rows = true;
        let mix = &mut self.workload.mix;
        // Every event is right and of its own moment, so that none has another reason to be lost.
        (mix.conflicting, mix.malformed, mix.misplaced, mix.misdated) = (0, 0, 0, 0);
        mix.users = 12;
        lock(&self.ledger).may_run_ahead = true;
        self.publish_first();
        self.start_all();
        let ahead = self.rng.random_range(36 * DAY..60 * DAY);
        let true_time = self.world.now() + ahead;
        let mut jumped = None;
        for round in 0..8 {
            if round == 3 {
                jumped = Some(self.clock_jumps_by(ahead));
            }
            self.append();
            if let Some((_, ahead)) = &jumped {
                self.follow_up(&ahead.clone());
            }
            self.pass_moments()?;
        }
        while !self.quiesce()? {}
        let too_old = self.too_old();
        if self.rng.random() {
            self.forget_latest_events();
        }
        self.breakage = breakage;
        lock(&self.ledger).may_run_ahead = false;
        self.start_all();
        self.append();
        self.drain()?;
        for (partition, original) in too_old.clone() {
            let now = self.world.now();
            self.land(partition, original, now);
        }
        self.drain()?;
        self.settle()?;
        self.check()?;
        let lost = self.rejected_and_never_accepted(&too_old);
        match (too_old.is_empty(), lost) {
            (true, _) => return Err("the jump made nothing too old".to_owned()),
            (_, 0) => {}
            (_, lost) => return Err(format!("{lost} of {} events are lost", too_old.len())),
        }
        let (_, jumped) = jumped.expect("a record of round 3");
        self.time_comes(true_time, jumped)
    }

    /// Another event of the same user, dated now.
    fn follow_up(&mut self, record: &NewRecord) {
        let user = record.key.as_deref().map(String::from_utf8_lossy);
        let number = user.and_then(|user| user.strip_prefix('u')?.parse().ok());
        let (now, rng) = (self.world.now(), &mut self.rng);
        let number = number.expect("a user of the simulator");
        let (partition, next) = self.workload.record_of(rng, number, now, self.source);
        self.land(partition, next, now);
    }

    /// The time has come that the wrong clock showed, and the event of then is sent again.
    fn time_comes(&mut self, time: i64, event: NewRecord) -> Result<(), String> {
        if self.rng.random_ratio(1, 3) {
            self.next_epoch()?;
        }
        for part in [2, 1] {
            let left = time - self.world.now();
            self.world.with(|inner| inner.now += left / part);
            self.append();
            self.pass_moments()?;
            self.append();
            self.drain()?;
        }
        let user = event.key.as_deref().map(String::from_utf8_lossy);
        let user = user.expect("an event with its user").into_owned();
        let partition = tidemark::log::usage_partition(&user, self.source);
        self.land(partition.0, event, self.world.now());
        self.drain()?;
        self.settle()?;
        self.check()
    }

    /// The checkpoints are of a version that did not note the latest event.
    fn forget_latest_events(&mut self) {
        self.world.with(|inner| {
            for (key, item) in &mut inner.db.items {
                if !key.hash.starts_with("rate#") || key.range != "checkpoint" {
                    continue;
                }
                let Some(Attr::S(body)) = item.get("body") else {
                    continue;
                };
                let mut body: Value = serde_json::from_str(body).expect("JSON");
                body.as_object_mut()
                    .expect("an object")
                    .remove("latestEvent");
                item.insert("body", Attr::S(body.to_string()));
            }
        });
    }

    fn pass_moments(&mut self) -> Result<(), String> {
        let until = self.world.now() + 3_000;
        let ended = self.executor.run_until(until, 200_000, |_| false);
        self.failed(ended)
    }

    /// The originals of what was rejected as too old, each once, and where they belong.
    fn too_old(&self) -> Vec<(u32, NewRecord)> {
        let epoch = self.epoch;
        let originals: BTreeMap<_, _> = self.world.with(|inner| {
            let log = &inner.logs[&epoch];
            let records = log.of(Topic::UsageRejected, Partition(0)).iter();
            let rejects = records.map(|record| rejected::decode(record).expect("a reject"));
            let too_old = rejects.filter(|reject| reject.reason.as_str() == "too_old");
            let places =
                too_old.map(|reject| ((reject.partition.0, reject.position), reject.original));
            places.collect()
        });
        let places = originals.into_iter();
        places
            .map(|((partition, _), original)| (partition, original))
            .collect()
    }

    /// How many of these events have no usage row.
    fn rejected_and_never_accepted(&self, events: &[(u32, NewRecord)]) -> usize {
        let rows: BTreeSet<String> = self.world.with(|inner| {
            let rows = inner.db.items.iter();
            let rows = rows.filter(|(key, _)| key.table == Table::UsageTracking);
            rows.filter_map(|(_, item)| match item.get("id") {
                Some(Attr::S(id)) => Some(id.clone()),
                _ => None,
            })
            .collect()
        });
        let id = |record: &NewRecord| {
            let event: Value = serde_json::from_slice(&record.value).expect("JSON");
            let id = event.get("requestId").or(event.get("id"));
            id.and_then(Value::as_str).expect("an id").to_owned()
        };
        let is_lost = |(_, record): &&(u32, NewRecord)| !rows.contains(&id(record));
        events.iter().filter(is_lost).count()
    }

    /// The operator declares those append times wrong, and lets the partitions go on.
    pub(super) fn correct_clocks(&mut self) {
        let halts = self.world.with(|inner| adapter::halts(&inner.db));
        let is_clock = |(task, code): (TaskId, String)| (code == "clock_ahead").then_some(task);
        let halted: BTreeSet<TaskId> = halts.into_iter().filter_map(is_clock).collect();
        // A worker that halted before may record its halt late, after all was corrected.
        if !self.executor.lives(ADMINS) {
            self.correcting.clear();
        }
        for task in halted {
            if self.correcting.insert(task) {
                self.correct_clock(task);
            }
        }
    }

    fn correct_clock(&mut self, task: TaskId) {
        let (epoch, now) = (self.epoch, self.world.now());
        let end = self.world.with(|inner| {
            let log = &inner.logs[&epoch];
            log.of(Topic::UsageEvents, task.partition).len() as u64
        });
        let correction = ClockCorrection {
            epoch: Epoch(epoch),
            until: Offset(end),
            at: Millis(now),
        };
        self.ask(move |db, now, _| async move {
            let partition = task.partition;
            let now = Millis(now);
            match checkpoints::correct_clock(&db, partition, &correction, "sim", now).await {
                // Refused: it stands there already.
                Ok(()) | Err(StoreError::ConditionFailed) => {}
                Err(_) => return false,
            }
            checkpoints::resume(&db, task, "sim", now).await.is_ok()
        });
    }
}
