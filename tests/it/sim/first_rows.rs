//! Schedules of accounts of which nothing is stored: a posting and an award of different months meet
//! in two workers, each of which believes that its row is the first.

use rand::Rng;
use tidemark::domain::position::{Epoch, Partition};
use tidemark::log::Topic;

use super::faults::Faults;
use super::run::Run;
use super::workload::{HOUR, user};
use super::{adapter, log};

impl Run {
    /// Two workers do everything, and each round brings accounts of which nothing is stored.
    pub(super) fn first_rows(&mut self) -> Result<(), String> {
        self.publish_first();
        let level = self.rng.random_range(0..4);
        let faults = self.world.with(|inner| Faults::draw(inner, level));
        self.set_faults(faults);
        for _ in 0..2 {
            self.start(adapter::tasks(self.source, self.posting));
        }
        for _ in 0..self.rng.random_range(4..12) {
            for _ in 0..self.rng.random_range(1..5) {
                self.newcomer();
            }
            match self.rng.random_range(0..6) {
                0 => self.kill_one(true),
                1 => self.zombie(),
                _ => {}
            }
            let until = self.world.now() + self.rng.random_range(1..2_000);
            let ended = self.executor.run_until(until, 100_000, |_| false);
            self.failed(ended)?;
        }
        self.drain()?;
        self.settle()?;
        self.check()
    }

    /// A user's very first event, of this month or the one before, and an award beside it.
    fn newcomer(&mut self) {
        let number = self.workload.mix.users;
        self.workload.mix.users += 1;
        let now = self.world.now();
        let time = now - self.rng.random_range(0..12) * HOUR;
        let (partition, record) = self
            .workload
            .record_of(&mut self.rng, number, time, self.source);
        let (epoch, topic) = (Epoch(self.epoch), Topic::UsageEvents);
        self.world
            .with(|inner| log::land(inner, epoch, topic, Partition(partition), vec![record]));
        self.adjust_by(user(number));
    }
}
