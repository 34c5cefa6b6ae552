//! Rows and awards of single accounts that something other than the pipeline damages, and an
//! operator who mends and releases them.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::IndexedRandom;
use tidemark::domain::ids::Account;
use tidemark::domain::position::WriteId;
use tidemark::domain::time::Millis;
use tidemark::store::accounts;
use tidemark::store::db::{Attr, Item, Key, Table};
use tidemark::store::set_aside::{ReleaseRequest, Stood, request_release};

use super::adapter;
use super::db::DbState;
use super::run::{ADMINS, Run};
use super::world::lock;

/// A damaged item.
pub struct Damaged {
    account: Account,
    good: Item,
    bad: Item,
    /// All rows of the account before it was damaged.
    rows: BTreeMap<Key, Item>,
    /// All rows of the account as they were restored from some time earlier.
    older: Option<BTreeMap<Key, Item>>,
}

/// Whether an account is set aside that nobody has asked to release.
pub fn waits_for_hand(db: &DbState) -> bool {
    let mut records = adapter::set_aside(db).into_values();
    records.any(|record| record.release.is_none())
}

fn rows_of(items: &BTreeMap<Key, Item>, account: &Account) -> BTreeMap<Key, Item> {
    let own = items.range(Key::new(accounts::table(account.kind), account.id(), "")..);
    let own = own.take_while(|(key, _)| {
        key.table == accounts::table(account.kind) && key.hash == account.id()
    });
    own.map(|(key, item)| (key.clone(), item.clone())).collect()
}

fn is_row(key: &Key) -> bool {
    adapter::account_of(key).is_some() && key.range != accounts::ACCOUNT_ITEM
}

/// The account of a pending award.
fn of_pointer(key: &Key, item: &Item) -> Option<Account> {
    let is_pointer = key.table == Table::Checkpoints && key.hash.starts_with("pending#");
    let account = match item.get("account") {
        Some(Attr::S(account)) if is_pointer => account,
        _ => return None,
    };
    let (kind, id) = account.split_once(':')?;
    Account::new(kind.parse().ok()?, id).ok()
}

impl Run {
    /// Something is damaged, mended, or only released.
    pub(super) fn damage_or_mend(&mut self) -> Result<(), String> {
        if self.rng.random_ratio(1, 3) {
            self.damage();
        }
        match self.rng.random_range(0..6) {
            0 => self.mend(),
            1 => self.mend_and_release(),
            // Whether or not it is mended.
            2 => self.release_all(),
            3 => self.restore_older()?,
            _ => {}
        }
        Ok(())
    }

    fn damage(&mut self) {
        let found: Vec<(Key, Item, Account)> = self.world.with(|inner| {
            let items = inner.db.items.iter();
            let of = |(key, item): (&Key, &Item)| {
                let row = adapter::account_of(key).filter(|_| is_row(key));
                let account = row.or_else(|| of_pointer(key, item))?;
                Some((key.clone(), item.clone(), account))
            };
            items.filter_map(of).collect()
        });
        let Some((key, good, account)) = found.choose(&mut self.rng).cloned() else {
            return;
        };
        if self.damaged.values().any(|of| of.account == account) {
            return;
        }
        let mut bad = good.clone();
        match (is_row(&key), self.rng.random_range(0..3)) {
            (true, 0) => bad.insert("fence", Attr::N(1)),
            (true, _) => bad.insert("stats", Attr::B(vec![99, 1, 2].into())),
            (false, _) => bad.insert("points", Attr::S("many".to_owned())),
        };
        lock(&self.ledger).damaged.insert(account.to_string());
        self.world.with(|inner| {
            inner.note(|| format!("damage {key:?}"));
            let rows = rows_of(&inner.db.items, &account);
            inner.db.items.insert(key.clone(), bad.clone());
            let damaged = Damaged {
                account,
                good,
                bad,
                rows,
                older: None,
            };
            self.damaged.insert(key, damaged);
        });
    }

    /// The operator restores what is still damaged, as it was. Where older rows were restored and
    /// the release was refused, because nobody can tell what they lack, the newest ones.
    pub(super) fn mend(&mut self) {
        for (key, damaged) in std::mem::take(&mut self.damaged) {
            match &damaged.older {
                None => self.put_back(key, damaged),
                Some(_) => self.restore_newest(key, damaged),
            }
        }
    }

    fn put_back(&mut self, key: Key, damaged: Damaged) {
        self.world.with(|inner| {
            if inner.db.items.get(&key) == Some(&damaged.bad) {
                inner.note(|| format!("mend {key:?}"));
                inner.db.items.insert(key, damaged.good);
            }
        });
    }

    fn restore_newest(&mut self, key: Key, damaged: Damaged) {
        let account = damaged.account.clone();
        let record = self
            .world
            .with(|inner| adapter::set_aside(&inner.db).remove(&account));
        let Some(record) = record else {
            return;
        };
        let is_older = self
            .world
            .with(|inner| Some(rows_of(&inner.db.items, &account)) == damaged.older);
        if !is_older {
            return;
        }
        if record.refused.is_none() {
            self.damaged.insert(key, damaged);
            return;
        }
        let fence = self.world.with(|inner| {
            inner.note(|| format!("restore {account} as it was before the damage"));
            inner.db.items.extend(damaged.rows);
            adapter::head_fence(&inner.db, &account)
        });
        if let Some(fence) = fence {
            lock(&self.ledger).restored(&account, fence);
        }
    }

    /// The operator restores all rows of an account that is set aside as they were some time ago.
    /// Nobody may have newer ones in memory.
    fn restore_older(&mut self) -> Result<(), String> {
        let Some(older) = self.older.clone() else {
            return Ok(());
        };
        let aside = self.world.with(|inner| adapter::set_aside(&inner.db));
        let mut damaged = self.damaged.iter();
        let found = damaged
            .find(|(key, of)| is_row(key) && of.older.is_none() && aside.contains_key(&of.account));
        let Some((key, account)) = found.map(|(key, of)| (key.clone(), of.account.clone())) else {
            return Ok(());
        };
        let rows = rows_of(&older, &account);
        let readable = adapter::month_rows(&DbState::of(rows.clone()), &account);
        let head = match readable {
            Ok(months) => months.into_iter().next_back(),
            Err(_) => None,
        };
        let Some((_, head)) = head else {
            return Ok(());
        };
        // What is under way may still land.
        let until = self.world.now().max(self.latest_freeze) + 300_000;
        let owners: Vec<u64> = self.workers.keys().copied().collect();
        for owner in owners {
            self.executor.kill(owner);
            self.workers.remove(&owner);
        }
        for owner in ADMINS + 1..=self.next_owner {
            self.executor.kill(owner);
        }
        let ended = self.executor.run_until(until, 300_000, |_| false);
        self.failed(ended)?;
        let restored = self.world.with(|inner| {
            if inner.db.items.get(&key) != Some(&self.damaged[&key].bad) {
                return None;
            }
            inner.note(|| format!("restore {account} as it was earlier"));
            let newest = rows_of(&inner.db.items, &account);
            for key in newest.keys() {
                inner.db.items.remove(key);
            }
            inner.db.items.extend(rows.clone());
            Some((head.fence, newest))
        });
        if let Some((fence, mut newest)) = restored {
            lock(&self.ledger).restored(&account, fence);
            self.release(&account, false);
            if let Some(damaged) = self.damaged.get_mut(&key) {
                // Its newest row may have gone on after an older one was damaged.
                newest.insert(key, damaged.good.clone());
                damaged.rows = newest;
                damaged.older = Some(rows);
            }
        }
        self.start_all();
        Ok(())
    }

    fn release_all(&mut self) {
        let aside = self.world.with(|inner| adapter::set_aside(&inner.db));
        for (account, record) in aside {
            if record.release.is_none() {
                // Nobody can tell which rows there were, but the operator has put back the newest.
                let is_mended = self.damaged.values().all(|of| of.account != account);
                let is_unsure = record.stood == Stood::Unknown && record.refused.is_some();
                self.release(&account, is_mended && is_unsure);
            }
        }
    }

    /// The operator mends everything and has everybody released.
    pub(super) fn mend_and_release(&mut self) {
        self.mend();
        self.release_all();
    }

    fn release(&mut self, account: &Account, accept_missing: bool) {
        let account = account.clone();
        self.ask(move |db, now, token| {
            let account = account.clone();
            let request = ReleaseRequest {
                at: Millis(now),
                by: "sim".to_owned(),
                accept_missing,
            };
            let write = WriteId {
                worker: 1,
                count: token,
            };
            async move {
                match request_release(&db, &account, &request, write).await {
                    Ok(_) => true,
                    Err(error) if error.is_transient() => false,
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
}
