//! Whether what an account brings is counted at present.

use super::{Queries, QueryError};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::Millis;
use crate::log::usage_partition;
use crate::ops::health::{Role, TaskId};
use crate::store::{checkpoints, set_aside};

impl Queries {
    /// Since when an account is set aside, or a partition stands still that an account's numbers
    /// come through; `None` if none does. A provider's events come through every partition of
    /// `usage.events`, so of those only a user's own is asked about.
    pub async fn stands_still(&self, account: &Account) -> Result<Option<Millis>, QueryError> {
        let posted = account.partition(self.partitions.posting);
        let mut tasks = vec![TaskId::new(Role::Post, posted).to_string()];
        if account.kind == AccountKind::User {
            let rated = usage_partition(account.id(), self.partitions.source);
            tasks.push(TaskId::new(Role::Rate, rated).to_string());
        }
        let halts = checkpoints::halts(self.db()).await?;
        let own = halts.iter().filter(|halt| tasks.contains(&halt.task));
        let aside = set_aside::get(self.db(), account).await?;
        let since = own.map(|halt| halt.at);
        Ok(since.chain(aside.map(|stored| stored.value.at)).min())
    }
}
