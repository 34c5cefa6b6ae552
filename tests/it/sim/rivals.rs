//! Schedules in which two workers do everything, and accounts meet both of them at moments that
//! matter: their first row, the opening of a month, more awards than one transaction takes.

use rand::Rng;
use tidemark::domain::position::{Epoch, Partition};
use tidemark::log::Topic;

use super::faults::Faults;
use super::run::{ADMINS, Lean, Run};
use super::workload::{DAY, HOUR, user};
use super::{adapter, log};

/// DynamoDB takes 100 writes in one transaction.
const CROWD: u32 = 101;
/// How long an event may be on its way, ms.
const DELAY_MAX: i64 = 400;
/// An event of so many hours ago is of the month before.
const OLD_MONTH: i64 = 10;

impl Run {
    /// New accounts, or accounts whose months open, in every round.
    pub(super) fn rivals_meet(&mut self) -> Result<(), String> {
        self.publish_first();
        let level = self.rng.random_range(0..4);
        let faults = self.world.with(|inner| Faults::draw(inner, level));
        self.set_faults(faults);
        for _ in 0..2 {
            self.start(adapter::tasks(self.source, self.posting));
        }
        for _ in 0..self.rng.random_range(4..12) {
            for _ in 0..self.rng.random_range(1..5) {
                match self.lean {
                    Lean::Months if self.rng.random() => self.month_opens(),
                    Lean::Months => self.both_months(),
                    _ => self.newcomer(),
                }
            }
            match self.rng.random_range(0..6) {
                0 => self.kill_one(true),
                1 => self.zombie(),
                _ => {}
            }
            self.pass(2_000)?;
        }
        self.drain()?;
        self.settle()?;
        self.check()
    }

    fn pass(&mut self, ms_max: i64) -> Result<(), String> {
        let until = self.world.now() + self.rng.random_range(1..ms_max);
        let ended = self.executor.run_until(until, 100_000, |_| false);
        self.failed(ended)
    }

    /// A user's very first event, of this month or the one before, and an award beside it.
    fn newcomer(&mut self) {
        let number = self.workload.mix.users;
        self.workload.mix.users += 1;
        let hours = self.rng.random_range(0..12);
        self.event_of(number, hours, 0);
        self.adjust_by(user(number));
    }

    /// A user who has rows of the month before: a posting of one month and an award of the other,
    /// of which one opens the new month.
    fn month_opens(&mut self) {
        let next = self.workload.mix.users;
        self.workload.mix.users += 1;
        self.event_of(next, OLD_MONTH, 0);
        let number = next - 1;
        if self.rng.random() {
            self.event_of(number, 0, 0);
            self.adjust_of(user(number), 20 * DAY);
        } else {
            self.event_of(number, OLD_MONTH, 0);
            self.adjust_of(user(number), 0);
        }
    }

    /// One of the newest users: an event of the month before, and some of both months moments later.
    fn both_months(&mut self) {
        let number = self.workload.mix.users - 1 - self.rng.random_range(0..2);
        self.event_of(number, OLD_MONTH, 0);
        for _ in 0..self.rng.random_range(1..4) {
            let hours = [0, OLD_MONTH][self.rng.random_range(0..2)];
            let delay = self.rng.random_range(0..DELAY_MAX);
            self.event_of(number, hours, delay);
        }
        if self.rng.random_ratio(1, 3) {
            self.adjust_by(user(number));
        }
    }

    /// An event of some hours ago, appended after a delay.
    fn event_of(&mut self, number: u32, hours: i64, delay: i64) {
        let time = self.world.now() - hours * HOUR;
        let rng = &mut self.rng;
        let (partition, record) = self.workload.record_of(rng, number, time, self.source);
        let (epoch, topic) = (Epoch(self.epoch), Topic::UsageEvents);
        self.world.with(|inner| {
            inner.after(delay, move |inner| {
                log::land(inner, epoch, topic, Partition(partition), vec![record]);
            });
        });
    }

    /// More awards of one account wait for a poster than one transaction has room for.
    pub(super) fn crowd(&mut self) -> Result<(), String> {
        self.publish_first();
        let account = user(0);
        for _ in 0..self.rng.random_range(CROWD..CROWD + 40) {
            self.adjust_by(account.clone());
        }
        let until = self.world.now() + 60_000;
        let granted = self
            .executor
            .run_until(until, 400_000, |executor| !executor.lives(ADMINS));
        self.failed(granted)?;
        let level = self.rng.random_range(0..4);
        let mut faults = self.world.with(|inner| Faults::draw(inner, level));
        // They must fit into one page to be taken together.
        faults.page_items_max = 500;
        self.set_faults(faults);
        self.start_all();
        self.append();
        self.pass(2_000)?;
        self.kill_one(true);
        self.drain()?;
        self.settle()?;
        self.check()
    }
}
