//! Accounts in memory: loading what blocks and awards name, and forgetting what was not used for long.

use futures::future::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Cached, Poster};
use crate::domain::ids::Account;
use crate::domain::position::Offset;
use crate::domain::posting::{Block, Entry};
use crate::domain::time::Month;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::supervise::{backoff, persist};
use crate::pipeline::{Breakage, WorkerContext};
use crate::store::accounts::{self, ReadOrder, Reading};

/// How often torn rows are read again before they count as contradicting each other. A transaction shows its halves for
/// milliseconds; with the back-off between two readings this is many seconds.
const TORN_READINGS_MAX: u32 = 12;

impl Poster<'_> {
    /// Loads every account that the blocks name and that is not in memory, and the older rows that they touch.
    pub(super) async fn fetch(&mut self, blocks: &[(Offset, Block)]) -> Result<(), Failure> {
        if blocks.is_empty() {
            return Ok(());
        }
        self.know_activity().await?;
        let mut missing = Vec::new();
        let mut lacking = Vec::new();
        for entry in blocks.iter().flat_map(|(_, block)| &block.entries) {
            match self.accounts.get(&entry.account) {
                None => missing.push(entry),
                Some(cached) => lacking.extend(cached.lacks(entry)),
            }
        }
        let mut accounts: Vec<&Account> = missing.iter().map(|entry| &entry.account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        self.load_accounts(accounts).await?;
        for entry in missing {
            if let Some(cached) = self.accounts.get(&entry.account) {
                lacking.extend(cached.lacks(entry));
            }
        }
        for (account, month) in lacking {
            self.load_back_to(account, month).await?;
        }
        Ok(())
    }

    /// Learns when a day is active; the same in every version of the rules.
    pub(super) async fn know_activity(&mut self) -> Result<(), Failure> {
        if self.activity.is_none() {
            let head = self.follower.follow(self.ctx).await?;
            self.activity = self
                .follower
                .rules(head)
                .map(|timeline| timeline.activity());
        }
        match self.activity {
            Some(_) => Ok(()),
            None => Err(Failure::reload(
                "there are no rules yet; run `tidemark pricing init testnet` (or mainnet)",
            )),
        }
    }

    /// Loads accounts that are not in memory.
    pub(super) async fn load_accounts(&mut self, missing: Vec<&Account>) -> Result<(), Failure> {
        let ctx = self.ctx;
        // Boxed and collected for the same reason as in `write_dirty`.
        let loads: Vec<_> = missing
            .into_iter()
            .map(|account| {
                async move {
                    let cached = load(ctx, account).await?;
                    Ok::<_, Failure>((account.clone(), cached))
                }
                .boxed()
            })
            .collect();
        let loaded: Vec<(Account, Cached)> = stream::iter(loads)
            .buffer_unordered(ctx.settings.flush_concurrency)
            .try_collect()
            .await?;
        for (account, mut cached) in loaded {
            self.uses += 1;
            cached.used = self.uses;
            self.accounts.insert(account, cached);
        }
        Ok(())
    }

    /// Loads the rows from the one before `month` on, if `month` lies before the rows that are in memory. This is rare: a head
    /// names the rows that are open, and those were loaded with it.
    pub(super) async fn load_back_to(
        &mut self,
        account: &Account,
        month: Month,
    ) -> Result<(), Failure> {
        let Some(cached) = self.accounts.get(account) else {
            return Ok(());
        };
        let Some(oldest) = cached.oldest_above(month) else {
            return Ok(());
        };
        let ctx = self.ctx;
        let rows = persist(ctx, || {
            accounts::rows_between(&*ctx.db, account, month, oldest)
        })
        .await?;
        if let Some(cached) = self.accounts.get_mut(account) {
            for stored in rows {
                cached
                    .rows
                    .months
                    .entry(stored.row.month)
                    .or_insert(stored.row);
            }
        }
        Ok(())
    }

    /// Forgets the accounts that were used longest ago, when there are too many. Only what is written may go.
    pub(super) fn evict(&mut self) {
        let most = self.ctx.settings.accounts_cached_max;
        if self.accounts.len() <= most {
            return;
        }
        let mut uses: Vec<u64> = self.accounts.values().map(|cached| cached.used).collect();
        let spare = self.accounts.len() - most / 4 * 3;
        let (_, limit, _) = uses.select_nth_unstable(spare.min(self.accounts.len() - 1));
        let limit = *limit;
        self.accounts
            .retain(|_, cached| cached.is_dirty() || cached.used >= limit);
    }
}

impl Cached {
    /// The oldest row in memory, if it is after `month` and older ones may be stored.
    fn oldest_above(&self, month: Month) -> Option<Month> {
        let (oldest, _) = self.rows.months.first_key_value()?;
        (*oldest > month && self.stored.is_some()).then_some(*oldest)
    }

    /// The account and the month back to which rows must be loaded before an entry is added.
    fn lacks<'e>(&self, entry: &'e Entry) -> Option<(&'e Account, Month)> {
        let month = entry.oldest_month()?;
        self.oldest_above(month).map(|_| (&entry.account, month))
    }
}

/// Loads one account: again until head and older rows match.
async fn load(ctx: &WorkerContext, account: &Account) -> Result<Cached, Failure> {
    let order = match ctx.breakage {
        Some(Breakage::OlderRowsBeforeHead) if ctx.broken(Breakage::OlderRowsBeforeHead) => {
            ReadOrder::OlderFirst
        }
        Some(Breakage::OlderRowsUnmatched) if ctx.broken(Breakage::OlderRowsUnmatched) => {
            ReadOrder::HeadFirstUnmatched
        }
        _ => ReadOrder::HeadFirstMatched,
    };
    let mut tries = 0;
    loop {
        match persist(ctx, || accounts::read(&*ctx.db, account, order)).await? {
            Reading::Absent => return Ok(Cached::default()),
            Reading::Whole(stored) => {
                return Ok(Cached {
                    rows: stored.rows,
                    position: stored.head.fence.position,
                    stored: Some(stored.head),
                    ..Cached::default()
                });
            }
            Reading::Torn(what) if tries >= TORN_READINGS_MAX => {
                let what = format!("the rows of {account} contradict each other: {what}");
                return Err(Failure::halt(HaltCode::RowRegressed, what));
            }
            Reading::Torn(_) => {}
        }
        tries += 1;
        ctx.clock.sleep(backoff(ctx, tries)).await;
    }
}
