//! The outcomes of a body, counted while they are made.

use std::collections::BTreeMap;

use super::outcome::{Adapted, Skip};
use super::{BodyError, ITEMS_MAX, Refused};

/// What became of an item that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A usage event.
    Event(Adapted),
    /// It should have been counted but cannot be read.
    Refused(Refused),
}

/// What became of the items of a body. Every item is in it once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Events and refusals, by their places among the items.
    pub kept: BTreeMap<usize, Outcome>,
    /// How many items were passed over, by reason. They are not kept one by one: a trace may have a
    /// million spans that have nothing to do with inference.
    pub skipped: BTreeMap<Skip, u64>,
}

impl Outcomes {
    /// # Errors
    /// There are more than [`ITEMS_MAX`] events and refusals.
    pub(super) fn keep(&mut self, index: usize, outcome: Outcome) -> Result<(), BodyError> {
        if self.kept.len() == ITEMS_MAX {
            return Err(BodyError::TooManyItems);
        }
        self.kept.insert(index, outcome);
        Ok(())
    }

    pub(super) fn skip(&mut self, why: Skip) {
        *self.skipped.entry(why).or_default() += 1;
    }
}
