//! Clearing halts.

use super::Commands;
use crate::app::{CommandError, Refusal};
use crate::domain::text::check_reason;
use crate::ops::health::TaskId;
use crate::store::checkpoints;
use crate::store::db::StoreError;

/// Which tasks were resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Those whose halt was cleared.
    pub resumed: Vec<TaskId>,
    /// Those that were not halted.
    pub not_halted: Vec<TaskId>,
}

impl Commands {
    /// Clears the halts of these tasks, or of all that are halted.
    pub async fn resume(
        &self,
        tasks: Option<&[TaskId]>,
        reason: &str,
        by: &str,
    ) -> Result<Resumed, CommandError> {
        check_reason(reason)?;
        let tasks = match tasks {
            Some(tasks) => tasks.to_vec(),
            None => self.halted().await?,
        };
        let by = format!("{by}: {reason}");
        let mut done = Resumed::default();
        for task in tasks {
            let list = match checkpoints::resume(self.db(), task, &by, self.now()).await? {
                true => &mut done.resumed,
                false => &mut done.not_halted,
            };
            list.push(task);
        }
        Ok(done)
    }

    async fn halted(&self) -> Result<Vec<TaskId>, CommandError> {
        let halts = checkpoints::halts(self.db()).await?;
        if halts.is_empty() {
            return Err(Refusal::invalid("nothing_halted", "nothing is halted").into());
        }
        let task = |halt: &checkpoints::HaltRecord| {
            halt.task.parse().map_err(|error| StoreError::Corrupt {
                key: format!("halt of {}", halt.task),
                what: format!("{error}"),
            })
        };
        let tasks: Result<Vec<TaskId>, StoreError> = halts.iter().map(task).collect();
        Ok(tasks?)
    }
}
