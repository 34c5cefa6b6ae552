//! LOAD: accounts in memory: loading what blocks and awards name, and forgetting what was not used
//! for long.

use super::concurrency::{self, Turns};
use super::take::Accepted;
use super::{Cached, Poster};
use crate::domain::ids::{Account, AccountRef};
use crate::domain::time::Month;
use crate::pipeline::WorkerContext;
use crate::pipeline::counters::{HIT, MISS};
use crate::pipeline::failure::{AccountFault, Failure, HaltCode};
use crate::pipeline::retry::persist;
use crate::store::accounts::{self, Reading};
use crate::store::checkpoints;
use crate::store::set_aside::FaultCode;

/// How often torn rows are read again before they count as contradicting each other. A transaction
/// shows its halves for milliseconds; with the back-off between two readings this is many seconds.
const TORN_READINGS_MAX: u32 = 12;

impl Poster<'_> {
    /// Loads every account that the blocks name and that is not in memory. Afterwards every entry
    /// has its account's number.
    pub(super) async fn load(&mut self, blocks: &mut [Accepted]) -> Result<(), Failure> {
        if blocks.is_empty() {
            return Ok(());
        }
        self.know_activity().await?;
        for accepted in &mut *blocks {
            self.name(accepted);
        }
        let mut missing = missing(blocks);
        if !self.aside.is_empty() {
            missing.retain(|account| !self.aside.is_waiting(account));
        }
        let entries: usize = blocks.iter().map(|accepted| accepted.numbers.len()).sum();
        for (result, count) in [
            (HIT, entries.saturating_sub(missing.len())),
            (MISS, missing.len()),
        ] {
            let lookups = &self.ctx.metrics.account_lookups_total;
            lookups.with_label_values(&[result]).inc_by(count as u64);
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.load_accounts(missing).await?;
        for accepted in &mut *blocks {
            self.name_loaded(accepted);
        }
        Ok(())
    }

    /// Notes the numbers of those of a block's accounts that are in memory.
    fn name(&self, accepted: &mut Accepted) {
        let book = &self.accounts;
        let accounts = || accepted.block.entries.iter().map(|entry| entry.account);
        // All hashes first: the looks into memory then stand close together, and the processor
        // waits for several at once.
        let hashes: Vec<u64> = accounts().map(|account| book.hash(account)).collect();
        let numbers = accounts()
            .zip(hashes)
            .map(|(account, hash)| book.find(hash, account));
        accepted.numbers = numbers.collect();
    }

    /// Notes the numbers of the others, after they were loaded.
    fn name_loaded(&self, accepted: &mut Accepted) {
        let book = &self.accounts;
        let entries = accepted.block.entries.iter();
        for (entry, number) in entries.zip(&mut accepted.numbers) {
            if number.is_none() {
                *number = book.find(book.hash(entry.account), entry.account);
            }
        }
    }

    /// Loads the older rows that a block's entries touch.
    pub(super) async fn load_older_rows(&mut self, accepted: &Accepted) -> Result<(), Failure> {
        let Some(oldest) = accepted.block.entries.oldest_month() else {
            return Ok(());
        };
        let entries = accepted.block.entries.iter();
        let lacking = entries
            .zip(&accepted.numbers)
            .filter_map(|(entry, number)| {
                let cached = self.accounts.get((*number)?)?;
                // What holds for the oldest month of all holds for every entry's.
                cached.oldest_above(oldest)?;
                let month = entry.oldest_month()?;
                cached.oldest_above(month)?;
                Some(((*number)?, month))
            });
        let lacking: Vec<(u32, Month)> = lacking.collect();
        for (number, month) in lacking {
            let loaded = self.load_back_to(number, month).await;
            self.without(loaded).await?;
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
                "no rules are published; run `tidemark pricing init testnet` (or mainnet)",
            )),
        }
    }

    /// Loads accounts that are not in memory. Those that cannot be loaded are set aside.
    pub(super) async fn load_accounts(&mut self, missing: Vec<Account>) -> Result<(), Failure> {
        let ctx = self.ctx;
        let turns = Turns::of(missing.len());
        let loads = concurrency::all(ctx, &turns, |turns| load_some(ctx, &missing, turns));
        let (mut loaded, mut faults) = (Vec::new(), Vec::new());
        for load in loads.await? {
            match load {
                Ok(cached) => loaded.push(cached),
                Err(fault) => faults.push(fault),
            }
        }
        self.check_loaded(&loaded).await?;
        for mut cached in loaded {
            self.uses += 1;
            cached.used = self.uses;
            self.accounts.insert(cached);
        }
        self.set_aside(faults).await
    }

    /// Rows that are loaded while this worker runs must hold every posting that it has taken
    /// before. If all tables were restored meanwhile, the checkpoint went back with them; or it did
    /// not, because it was not written since, and a row lacks what this worker wrote after it.
    async fn check_loaded(&self, loaded: &[Cached]) -> Result<(), Failure> {
        let (ctx, key) = (self.ctx, checkpoints::checkpoint_key(self.task()));
        let found = persist(ctx, || checkpoints::last_write(&*ctx.db, &key)).await?;
        let lacks =
            |cached: &&Cached| cached.position < self.forgotten.get(&cached.account).copied();
        if found == self.written && !loaded.iter().any(|cached| lacks(&cached)) {
            return Ok(());
        }
        let task = self.task();
        Err(Failure::reload(format!(
            "another worker wrote the checkpoint of {task}, or the tables were restored to an \
             earlier moment"
        )))
    }

    /// Puts an account out of memory. What it had counted since the stored checkpoint is remembered
    /// until the next one.
    pub(super) fn forget(&mut self, number: u32) {
        let Some(cached) = self.accounts.get(number) else {
            return;
        };
        let stored = cached.stored.as_ref();
        if let Some(position) = stored.and_then(|stored| stored.fence.position)
            && position.offset >= self.checkpoint.next
        {
            self.forgotten.insert(cached.account.clone(), position);
        }
        self.accounts.remove(number);
    }

    /// Loads the rows from the one before `month` on, if `month` lies before the rows that are in
    /// memory. This is rare: a head names the rows that are open, and those were loaded with it.
    pub(super) async fn load_back_to(&mut self, number: u32, month: Month) -> Result<(), Failure> {
        let ctx = self.ctx;
        match self.accounts.get_mut(number) {
            Some(cached) => load_older(ctx, cached, month).await,
            None => Ok(()),
        }
    }

    /// Forgets the accounts that were used longest ago, when there are too many. Only what is
    /// written may go.
    pub(super) fn evict(&mut self) {
        let most = self.ctx.settings.accounts_cached_max;
        if self.accounts.len() <= most {
            return;
        }
        let mut uses: Vec<u64> = self
            .accounts
            .iter()
            .map(|(_, cached)| cached.used)
            .collect();
        let spare = self.accounts.len() - most / 4 * 3;
        let (_, limit, _) = uses.select_nth_unstable(spare.min(self.accounts.len() - 1));
        let limit = *limit;
        let may_go = |cached: &Cached| !cached.is_dirty() && cached.used < limit;
        let gone: Vec<u32> = self
            .accounts
            .iter()
            .filter(|(_, cached)| may_go(cached))
            .map(|(number, _)| number)
            .collect();
        for number in gone {
            self.forget(number);
        }
    }
}

impl Cached {
    /// The oldest row in memory, if it is after `month` and older ones may be stored.
    fn oldest_above(&self, month: Month) -> Option<Month> {
        let (oldest, _) = self.rows.months.first_key_value()?;
        (*oldest > month && self.stored.is_some()).then_some(*oldest)
    }
}

/// The accounts of the blocks that have no number yet, in order, each once.
fn missing(blocks: &[Accepted]) -> Vec<Account> {
    let mut missing: Vec<AccountRef<'_>> = Vec::new();
    for accepted in blocks {
        let entries = accepted.block.entries.iter().zip(&accepted.numbers);
        let unnamed = entries.filter(|(_, number)| number.is_none());
        missing.extend(unnamed.map(|(entry, _)| entry.account));
    }
    missing.sort_unstable();
    missing.dedup();
    missing.into_iter().map(AccountRef::to_account).collect()
}

/// Loads accounts while there are turns.
async fn load_some(
    ctx: &WorkerContext,
    accounts: &[Account],
    turns: &Turns,
) -> Result<Vec<Result<Cached, AccountFault>>, Failure> {
    let mut loaded = Vec::new();
    while let Some(turn) = turns.next() {
        match load(ctx, &accounts[turn]).await {
            Ok(cached) => loaded.push(Ok(cached)),
            Err(Failure::Account(fault)) => loaded.push(Err(*fault)),
            Err(failure) => return Err(failure),
        }
    }
    Ok(loaded)
}

/// Loads the rows from the one before `month` on, if `month` lies before those that are in memory.
pub(super) async fn load_older(
    ctx: &WorkerContext,
    cached: &mut Cached,
    month: Month,
) -> Result<(), Failure> {
    let Some(oldest) = cached.oldest_above(month) else {
        return Ok(());
    };
    let account = &cached.account;
    let rows = persist(ctx, || {
        accounts::rows_between(&*ctx.db, account, month, oldest)
    })
    .await
    .map_err(|error| Failure::of_account(account, FaultCode::RowUnreadable, error))?;
    for stored in rows {
        let months = &mut cached.rows.months;
        months.get_or_insert_with(stored.row.month, || stored.row);
    }
    Ok(())
}

/// Loads one account: again until head and older rows match. Rows that do not match are a fault of
/// this account; a row that is gone may be a sign of tables that went back, and halts.
pub(super) async fn load(ctx: &WorkerContext, account: &Account) -> Result<Cached, Failure> {
    let order = ctx.protections.read_order();
    let mut readings = ctx.readings(TORN_READINGS_MAX);
    loop {
        let reading = persist(ctx, || accounts::read(&*ctx.db, account, order)).await;
        let unreadable = |error| Failure::of_account(account, FaultCode::RowUnreadable, error);
        match reading.map_err(unreadable)? {
            Reading::Absent => return Ok(Cached::new(account.clone())),
            Reading::Whole(stored) => {
                return Ok(Cached {
                    rows: stored.rows,
                    position: stored.head.fence.position,
                    stored: Some(stored.head),
                    ..Cached::new(account.clone())
                });
            }
            Reading::Torn(_) if readings.again().await => {}
            Reading::Torn(torn) => {
                let what = &torn.what;
                let what = format!("the rows of {account} contradict each other: {what}");
                return Err(match torn.is_missing {
                    true => Failure::halt(HaltCode::RowRegressed, what),
                    false => Failure::account(account, FaultCode::RowsContradict, what),
                });
            }
        }
    }
}
