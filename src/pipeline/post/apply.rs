//! APPLY: adds the entries of blocks to the accounts in memory.

use super::Poster;
use super::take::Accepted;
use crate::domain::amount::Points;
use crate::domain::position::Position;
use crate::pipeline::counters;
use crate::pipeline::failure::Failure;

impl Poster<'_> {
    /// Adds the blocks, in order, with the older rows that each touches.
    pub(super) async fn apply(&mut self, blocks: &[Accepted]) -> Result<(), Failure> {
        for block in blocks {
            self.load_older_rows(block).await?;
            self.apply_block(block);
        }
        Ok(())
    }

    /// Adds a block's entries to the accounts that have not counted it yet. Every account is in
    /// memory.
    fn apply_block(&mut self, accepted: &Accepted) {
        let position = Position {
            epoch: self.ctx.log.epoch(),
            offset: accepted.offset,
        };
        let log_time = accepted.block.header.source_log_time;
        let activity = self.activity;
        let mut first_uses = Points::ZERO;
        for (entry, number) in accepted.block.entries.iter().zip(&accepted.numbers) {
            let cached = number.and_then(|number| Some((number, self.accounts.get_mut(number)?)));
            let Some((number, cached)) = cached else {
                assert!(
                    self.aside.waits(entry.account),
                    "load() has loaded every account that is not set aside, and nothing is forgotten between loading and here"
                );
                continue;
            };
            self.uses += 1;
            cached.used = self.uses;
            if !std::mem::replace(&mut cached.touched, true) {
                self.touched.push(number);
            }
            if cached.position.is_some_and(|counted| position <= counted) {
                continue;
            }
            let activity =
                activity.expect("load() has loaded the rules: blocks exist only where rules do");
            let was_dirty = cached.is_dirty();
            let points = cached.add(entry, log_time, activity, position);
            first_uses = Points(first_uses.0.saturating_add(points.0));
            if !was_dirty && cached.is_dirty() {
                self.dirty.push(number);
            }
        }
        counters::issued(&self.ctx.metrics, counters::FIRST_USE, first_uses);
    }
}
