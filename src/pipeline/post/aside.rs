//! Accounts that are set aside: what is wrong concerns one account alone, so the partition goes on
//! with all others.
//!
//! The record says from which place on postings may be missing in the account's rows. It is written
//! in one transaction with the checkpoint, so no checkpoint of this partition passes that place
//! before the record is durable, and every poster that has lost the checkpoint begins again and
//! finds it. Releasing an account is in `release`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Poster;
use super::release::CatchUp;
use crate::domain::ids::{Account, AccountRef};
use crate::domain::position::{Fence, Offset, Partition, WriteId};
use crate::domain::time::Millis;
use crate::log::{MUST_BE_THERE, ReadLimit, Topic};
use crate::ops::clock::Moment;
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::{AccountFault, Failure, HaltCode};
use crate::pipeline::retry::persist;
use crate::store::checkpoints::{self, PostCheckpoint, Versioned};
use crate::store::db::Write;
use crate::store::set_aside::{self, Base, FaultCode, Released, SetAside, Stood};

/// So many accounts of one posting partition are set aside at most. More of them are no
/// coincidence: a script, a newer version or a changed table is behind it, and whoever looks after
/// that is helped by a partition that halts, not by a list of accounts that grows. Twenty is also
/// few enough for all of them to be written in one transaction with the checkpoint.
pub const SET_ASIDE_MAX: usize = 20;
/// Of what is wrong with an account so much is stored.
const WHAT_CHARS_MAX: usize = 1_000;

/// How far an account that is set aside has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its postings and awards wait.
    Waits,
    /// Its rows are as far as the partition, in memory at least; the record goes with the next
    /// checkpoint.
    Released,
}

#[derive(Debug)]
struct AsideAccount {
    record: SetAside,
    written: WriteId,
    stage: Stage,
}

/// The accounts of a partition that are set aside, as of its checkpoint.
#[derive(Debug, Default)]
pub(super) struct AsideBook {
    known: BTreeMap<Account, AsideAccount>,
    /// The account that is being released.
    pub(super) catching_up: Option<Box<CatchUp>>,
    requests: RequestWatch,
}

/// A request is read so often: it may be half visible for a moment.
const REQUEST_LOOKS: u32 = 3;
/// So often the records are read without a sign of a request.
const UNASKED_LOOK_EVERY: Duration = Duration::from_secs(60);

/// When to look at the records for requests.
#[derive(Debug, Default)]
struct RequestWatch {
    newest: Option<WriteId>,
    looks_left: u32,
    next_look: Option<Moment>,
}

impl RequestWatch {
    fn is_due(&mut self, newest: Option<WriteId>, now: Moment) -> bool {
        if newest != self.newest || self.next_look.is_none_or(|at| now >= at) {
            self.newest = newest;
            self.looks_left = REQUEST_LOOKS;
        }
        if self.looks_left == 0 {
            return false;
        }
        self.looks_left -= 1;
        self.next_look = Some(now.plus(UNASKED_LOOK_EVERY));
        true
    }
}

impl AsideBook {
    /// Reads them. The checkpoint must have been read before: each change of theirs comes with one
    /// of the checkpoint.
    pub(super) async fn load(
        ctx: &WorkerContext,
        partition: Partition,
        partitions: u32,
    ) -> Result<AsideBook, Failure> {
        let own = persist(ctx, || {
            set_aside::of_partition(&*ctx.db, partition, partitions)
        });
        let mut book = AsideBook::default();
        for Versioned { value, write } in own.await? {
            book.note(value, write);
        }
        Ok(book)
    }

    /// Takes a record as it was read or written.
    pub(super) fn note(&mut self, record: SetAside, written: WriteId) {
        let stage = Stage::Waits;
        let known = AsideAccount {
            record,
            written,
            stage,
        };
        self.known.insert(known.record.account.clone(), known);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether an account's postings and awards wait.
    pub(super) fn waits(&self, account: AccountRef<'_>) -> bool {
        !self.known.is_empty() && self.is_waiting(&account.to_account())
    }

    pub(super) fn is_waiting(&self, account: &Account) -> bool {
        self.known
            .get(account)
            .is_some_and(|known| known.stage == Stage::Waits)
    }

    pub(super) fn record(&self, account: &Account) -> Option<(&SetAside, WriteId)> {
        let known = self.known.get(account)?;
        Some((&known.record, known.written))
    }

    /// The account is as far as the partition.
    pub(super) fn released(&mut self, account: &Account) {
        if let Some(known) = self.known.get_mut(account) {
            known.stage = Stage::Released;
        }
    }

    /// Whether the records should be read, given the newest request of the partition.
    pub(super) fn is_look_due(&mut self, newest: Option<WriteId>, now: Moment) -> bool {
        self.requests.is_due(newest, now)
    }

    /// Those whose postings and awards wait.
    pub(super) fn waiting(&self) -> Vec<Account> {
        let waiting = self.known.iter();
        let waiting = waiting.filter(|(_, known)| known.stage == Stage::Waits);
        waiting.map(|(account, _)| account.clone()).collect()
    }

    /// Those whose records may go with the next checkpoint.
    pub(super) fn done(&self) -> Vec<Account> {
        let done = self.known.iter();
        let done = done.filter(|(_, known)| known.stage == Stage::Released);
        done.map(|(account, _)| account.clone()).collect()
    }

    /// The writes that end these records, with the checkpoint `next`.
    pub(super) fn ends(
        &self,
        released: &[Account],
        at: Millis,
        next: &PostCheckpoint,
    ) -> Vec<Write> {
        let mut writes = Vec::with_capacity(2 * released.len());
        for account in released {
            writes.push(set_aside::delete(account));
            if let Some(known) = self.known.get(account) {
                writes.push(set_aside::keep_released(&Released {
                    record: known.record.clone(),
                    at,
                    next: Base::of(next).position(),
                }));
            }
        }
        writes
    }

    pub(super) fn remove(&mut self, account: &Account) {
        self.known.remove(account);
    }

    /// The next of those that an operator wants to have released.
    pub(super) fn next_to_release(&self) -> Option<&SetAside> {
        let waiting = self.known.values();
        let mut waiting = waiting.filter(|known| known.stage == Stage::Waits);
        let found = waiting.find(|known| known.record.release.is_some())?;
        Some(&found.record)
    }

    /// How many count against [`SET_ASIDE_MAX`]: those that nobody has mended yet.
    fn count(&self) -> usize {
        let of =
            |known: &&AsideAccount| known.stage == Stage::Waits && known.record.release.is_none();
        self.known.values().filter(of).count()
    }

    /// Since when the oldest missing posting has been in the log, at the latest.
    fn oldest(&self) -> Option<Millis> {
        let since = |known: &AsideAccount| known.record.since_time.unwrap_or(known.record.at);
        self.known.values().map(since).min()
    }

    fn len(&self) -> usize {
        self.known.len()
    }
}

/// Whether there is room for these accounts too; else the partition halts, and none is set aside.
fn has_room(aside: usize, faults: &[AccountFault]) -> Result<(), Failure> {
    if aside + faults.len() <= SET_ASIDE_MAX {
        return Ok(());
    }
    let named: Vec<String> = faults
        .iter()
        .take(3)
        .map(|fault| {
            format!(
                "{} ({}: {})",
                fault.account,
                fault.code.as_str(),
                fault.what
            )
        })
        .collect();
    let what = format!(
        "{} accounts of this partition are set aside, and {} more cannot be counted: {}",
        aside,
        faults.len(),
        named.join("; ")
    );
    Err(Failure::halt(HaltCode::AccountsUncountable, what))
}

impl Poster<'_> {
    /// Goes on after a fault of one account: sets it aside. Any other failure is passed on.
    pub(super) async fn without<T: Default>(
        &mut self,
        result: Result<T, Failure>,
    ) -> Result<T, Failure> {
        match result {
            Err(Failure::Account(fault)) => {
                self.set_aside(vec![*fault]).await?;
                Ok(T::default())
            }
            result => result,
        }
    }

    /// Sets accounts aside: durably, and together with the checkpoint as it is stored. From here on
    /// their postings and awards wait.
    pub(super) async fn set_aside(&mut self, mut faults: Vec<AccountFault>) -> Result<(), Failure> {
        // Each account once: several of its items may be damaged.
        let mut seen = BTreeSet::new();
        faults.retain(|fault| {
            !self.aside.is_waiting(&fault.account) && seen.insert(fault.account.clone())
        });
        if faults.is_empty() {
            return Ok(());
        }
        has_room(self.aside.count(), &faults)?;
        let mut records = Vec::with_capacity(faults.len());
        for fault in faults {
            records.push(self.record_of(fault).await?);
        }
        self.save_records(&records).await?;
        for record in &records {
            self.put_out_of_memory(&record.account);
            let (account, code, what) = (&record.account, record.code.as_str(), &record.what);
            let (since, advice) = (record.since.position(), record.code.advice());
            tracing::error!(event = "account.set_aside", task = %self.task(), %account, code, what, %since, advice, "account set aside; the partition goes on without it");
            let total = &self.ctx.metrics.accounts_set_aside_total;
            total.with_label_values(&[code]).inc();
        }
        self.tell_aside();
        Ok(())
    }

    /// Writes records in one transaction with the checkpoint, which stays where it is.
    pub(super) async fn save_records(&mut self, records: &[SetAside]) -> Result<(), Failure> {
        let write = self.ctx.next_write();
        let mut puts: Vec<Write> = Vec::with_capacity(records.len());
        for record in records {
            let previous = self.aside.record(&record.account).map(|(_, id)| id);
            puts.push(set_aside::put(record, previous, write));
        }
        // It may come back with older rows, if an operator accepts that.
        let mut checkpoint = self.checkpoint.clone();
        let is_named = |account: &Account| records.iter().any(|of| of.account == *account);
        checkpoint
            .witnesses
            .retain(|witness| !is_named(&witness.account));
        let protections = self.ctx.protections;
        let save = self.save_with(&[], checkpoint, write, puts);
        protections.records_durable(save).await?;
        for record in records {
            self.aside.note(record.clone(), write);
        }
        Ok(())
    }

    /// The record of a fault. One that is set aside again, because it could not be written after
    /// its release, still lacks what it lacked before.
    async fn record_of(&self, fault: AccountFault) -> Result<SetAside, Failure> {
        let ctx = self.ctx;
        let account = fault.account;
        if let Some((before, _)) = self.aside.record(&account) {
            // What a release has taken since is in memory only: other rows than those of before
            // need not have it.
            return Ok(SetAside {
                code: fault.code,
                what: clipped(fault.what),
                at: ctx.clock.now(),
                release: None,
                refused: None,
                ..before.clone()
            });
        }
        let mut stood = fault.stood;
        // Of rows that contradict each other any may be older than what there was, also the newest.
        if stood == Stood::Unknown && fault.code != FaultCode::RowsContradict {
            stood = persist(ctx, || set_aside::stood(&*ctx.db, &account)).await?;
            // It had rows a moment ago.
            if fault.code == FaultCode::RowUnreadable && stood == Stood::Absent {
                stood = Stood::Unknown;
            }
        }
        let record = SetAside {
            partition: self.partition,
            code: fault.code,
            what: clipped(fault.what),
            at: ctx.clock.now(),
            stood: stood.or_newer(self.seen(&account)),
            since: Base::of(&self.checkpoint),
            since_time: None,
            earlier: Vec::new(),
            release: None,
            refused: None,
            account,
        };
        let since_time = self.append_time(self.checkpoint.next).await;
        let partition = self.partition;
        let earlier = persist(ctx, || checkpoints::earlier(&*ctx.db, partition)).await?;
        let mut earlier: Vec<Base> = earlier
            .iter()
            .map(|earlier| Base::of(&earlier.checkpoint))
            .collect();
        let Base { epoch, next, .. } = record.since;
        earlier.retain(|base| base.epoch == epoch && base.next < next);
        Ok(SetAside {
            since_time,
            earlier,
            ..record
        })
    }

    /// What this session knows of an account's rows.
    fn seen(&self, account: &Account) -> Stood {
        let known = self.accounts.number_of(account);
        let cached = known.and_then(|number| self.accounts.get(number));
        match cached {
            Some(cached) => match &cached.stored {
                Some(stored) => Stood::At(stored.fence),
                None => Stood::Absent,
            },
            None => match self.forgotten.get(account) {
                Some(position) => Stood::At(Fence {
                    position: Some(*position),
                    write: WriteId::default(),
                }),
                None => Stood::Unknown,
            },
        }
    }

    async fn append_time(&self, offset: Offset) -> Option<Millis> {
        if offset >= self.next {
            // Nothing is missing yet, or the records that are just being taken.
            return self.first_unwritten.map(|(_, append_time)| append_time);
        }
        let (log, topic) = (&self.ctx.log, Topic::LedgerPostings);
        let read = log.read(topic, self.partition, offset, ReadLimit::ONE, MUST_BE_THERE);
        // It only says when the log will drop the record.
        let records = read.await.unwrap_or_default();
        records.first().map(|record| record.append_time)
    }

    /// Forgets what is in memory of an account, unwritten changes too.
    fn put_out_of_memory(&mut self, account: &Account) {
        if let Some(number) = self.accounts.number_of(account) {
            self.accounts.remove(number);
            self.dirty.retain(|other| *other != number);
            self.touched.retain(|other| *other != number);
        }
        self.spent_pointers
            .retain(|pointer| pointer.account() != account);
        self.witnesses.retain(|witness| witness.account != *account);
        let is_it = |catching: &CatchUp| catching.account() == account;
        if self.aside.catching_up.as_deref().is_some_and(is_it) {
            self.aside.catching_up = None;
        }
    }

    /// Reads what operators ask for of the accounts that wait.
    pub(super) async fn look_for_requests(&mut self) -> Result<(), Failure> {
        let ctx = self.ctx;
        for account in self.aside.waiting() {
            let found = persist(ctx, || set_aside::get(&*ctx.db, &account)).await?;
            let known = self.aside.record(&account);
            // Only the request may be new: anything else comes with another checkpoint.
            if let (Some(found), Some((record, _))) = (found, known)
                && record.release != found.value.release
            {
                self.aside.note(found.value, found.write);
            }
        }
        Ok(())
    }

    pub(super) fn tell_aside(&self) {
        let aside = &self.aside;
        self.ctx
            .health
            .set_aside(self.task(), aside.len(), aside.oldest());
    }
}

/// What is wrong may quote an attribute of any size; an item must stay small.
fn clipped(what: String) -> String {
    match what.char_indices().nth(WHAT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &what[..end]),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AccountKind;

    fn faults(count: usize) -> Vec<AccountFault> {
        let fault = |n: usize| AccountFault {
            account: Account::new(AccountKind::User, &format!("u{n}")).unwrap(),
            code: FaultCode::RowUnreadable,
            what: "damaged".to_owned(),
            stood: Stood::Unknown,
        };
        (0..count).map(fault).collect()
    }

    #[test]
    fn a_few_are_set_aside_and_more_halt_the_partition_at_once() {
        for (aside, more, fits) in [
            (0, 1, true),
            (0, SET_ASIDE_MAX, true),
            (SET_ASIDE_MAX - 1, 1, true),
            (SET_ASIDE_MAX, 0, true),
            (SET_ASIDE_MAX, 1, false),
            (0, SET_ASIDE_MAX + 1, false),
        ] {
            let result = has_room(aside, &faults(more));
            assert_eq!(result.is_ok(), fits, "{aside} and {more}");
            if let Err(failure) = result {
                let Failure::Halt(HaltCode::AccountsUncountable, what) = failure else {
                    panic!("{failure:?}");
                };
                assert!(what.contains("user:u0 (row_unreadable: damaged)"), "{what}");
            }
        }
    }
}
