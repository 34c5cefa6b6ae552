//! Halted tasks.

use super::{Queries, QueryError};
use crate::domain::time::Millis;
use crate::store::checkpoints::{self, HaltRecord};

/// A halted task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// Which task (`rate/2`).
    pub task: String,
    /// A stable code.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// When it was noticed.
    pub at: Millis,
}

impl From<HaltRecord> for Halt {
    fn from(record: HaltRecord) -> Halt {
        Halt {
            task: record.task,
            code: record.code,
            message: record.message,
            at: record.at,
        }
    }
}

impl Queries {
    /// Every halted task.
    pub async fn halts(&self) -> Result<Vec<Halt>, QueryError> {
        let halts = checkpoints::halts(self.db()).await?;
        Ok(halts.into_iter().map(Halt::from).collect())
    }
}
