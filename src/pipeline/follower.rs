//! Follows the control feed: the rules and referral links as of a control position.
//!
//! A chunk with control position `v` must see exactly the entries with number ≤ `v`. The follower
//! has taken every entry up to the position it follows to, in order. What it keeps of links carries
//! the number of its entry, and is compared with `v` where it is used: so one cache serves a chunk
//! that is rated again with an older `v` as well.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use smallvec::SmallVec;

use super::WorkerContext;
use super::failure::{Failure, HaltCode};
use super::hashed::AccountHash;
use super::retry::persist;
use crate::domain::ids::{Account, AccountRef};
use crate::domain::position::Control;
use crate::domain::rules::{RuleBook, Timeline};
use crate::domain::service::Services;
use crate::domain::time::{MINUTE_MS, Millis};
use crate::store::control::{self, Change};
use crate::store::db::StoreError;
use crate::store::pricing;
use crate::store::referrals::{self, StoredLink};

/// Entries that came within this time are asked before the table: a plain read may not show a link
/// yet whose entry the feed's head already counts.
const RECENT_MS: i64 = 10 * MINUTE_MS;
/// How many entries are read back at the start at the least, whatever their time.
const RECENT_ENTRIES_MIN: u64 = 256;
/// How many links are kept at the most, however fast they came: an import makes 100,000 in minutes,
/// and every task keeps its own. Each entry moves the feed's head on, which is locked while a link
/// is written; so with this many entries after it, a link can be read from the table.
const RECENT_LINKS_MAX: usize = 4_096;
/// How many entries are read at a time: an import may have left very many.
const FEED_PAGE: u64 = 1_000;
/// How often rules that the feed does not count are read again before the task halts.
const APART_READINGS_MAX: u32 = 8;

/// A referral chain (referrer, theirs, and theirs), and the control number of the link that made
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The link's number: chunks with a lower control position do not see it.
    pub number: Control,
    /// Up to three accounts of the same kind, nearest first.
    pub accounts: Arc<[Account]>,
}

/// What is known of referral chains.
#[derive(Debug, Default)]
pub struct Chains {
    recent: VecDeque<(Millis, Account)>,
    recent_chains: HashMap<Account, Chain>,
    known: ChainTable,
}

/// What the table said of accounts. It holds a million of them, each is asked for in nearly every
/// chunk, and each look is one into another part of memory: so the id stands in the table itself,
/// and an element begins where a line of the processor's cache does.
#[derive(Debug, Default)]
struct ChainTable(HashTable<KnownAccount>);

/// Bytes of an id that stand in the table, with one for the kind: a UUID as text has 36.
const KNOWN_BYTES: usize = 39;

#[derive(Debug)]
#[repr(align(64))]
struct KnownAccount {
    hash: AccountHash,
    /// The kind's number, and the id.
    name: SmallVec<[u8; KNOWN_BYTES]>,
    chain: Option<Box<Chain>>,
}

const _: () = assert!(size_of::<KnownAccount>() == 64);

impl KnownAccount {
    fn new(hash: AccountHash, account: AccountRef<'_>, chain: Option<Box<Chain>>) -> KnownAccount {
        let mut name = SmallVec::with_capacity(account.id.len() + 1);
        name.push(account.kind as u8);
        name.extend_from_slice(account.id.as_bytes());
        KnownAccount { hash, name, chain }
    }

    fn is(&self, account: AccountRef<'_>) -> bool {
        self.name.split_first() == Some((&(account.kind as u8), account.id.as_bytes()))
    }
}

impl ChainTable {
    fn get(&self, hash: AccountHash, account: AccountRef<'_>) -> Option<&KnownAccount> {
        self.0.find(hash.get(), |known| known.is(account))
    }

    fn insert(&mut self, account: AccountRef<'_>, chain: Option<Chain>) {
        let hash = AccountHash::of(account);
        let chain = chain.map(Box::new);
        if let Some(known) = self.0.find_mut(hash.get(), |known| known.is(account)) {
            known.chain = chain;
            return;
        }
        let known = KnownAccount::new(hash, account, chain);
        self.0
            .insert_unique(hash.get(), known, |known| known.hash.get());
    }

    fn remove(&mut self, account: AccountRef<'_>) {
        let hash = AccountHash::of(account);
        if let Ok(known) = self.0.find_entry(hash.get(), |known| known.is(account)) {
            known.remove();
        }
    }
}

impl Chains {
    /// Takes what the table says of an account.
    pub fn learn(&mut self, account: &Account, chain: Option<Chain>) {
        self.known.insert(account.into(), chain);
    }

    /// The chain of an account, whose hash this is, as of a control position: `None` if the table
    /// must be asked, `Some(None)` if it has none.
    pub fn of(
        &self,
        hash: AccountHash,
        account: AccountRef<'_>,
        as_of: Control,
    ) -> Option<Option<&Chain>> {
        // hashbrown hashes the key even for an empty map, and this is asked for every account of a
        // chunk.
        let recent = if self.recent_chains.is_empty() {
            None
        } else {
            self.recent_chains.get(&account)
        };
        let chain = match recent {
            Some(chain) => Some(chain),
            None => self.known.get(hash, account)?.chain.as_deref(),
        };
        Some(chain.filter(|chain| chain.number <= as_of))
    }

    /// Takes a link that has just come through the feed.
    fn follow(&mut self, written_at: Millis, referee: Account, chain: Chain) {
        self.known.remove((&referee).into());
        self.recent.push_back((written_at, referee.clone()));
        self.recent_chains.insert(referee, chain);
    }

    /// Forgets links that came before `before`, but for the last few, and all but the newest
    /// [`RECENT_LINKS_MAX`]: the table tells them.
    fn forget_recent(&mut self, before: Millis) {
        while let Some((written, _)) = self.recent.front() {
            let is_old = self.recent.len() as u64 > RECENT_ENTRIES_MIN && *written < before;
            if !is_old && self.recent.len() <= RECENT_LINKS_MAX {
                return;
            }
            if let Some((_, referee)) = self.recent.pop_front() {
                self.recent_chains.remove(&referee);
            }
        }
    }
}

/// The control feed as one task sees it.
pub struct Follower {
    followed: Control,
    needs: Needs,
    rules: RuleBook,
    chains: Chains,
}

/// What a task wants to know of the control feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Rules and links: who decides what an event is worth, and to whom.
    RulesAndLinks,
    /// Rules only.
    Rules,
}

impl Follower {
    /// Begins at the feed's present head.
    pub async fn start(ctx: &WorkerContext, needs: Needs) -> Result<Follower, Failure> {
        let head = persist(ctx, || control::head(&*ctx.db)).await?;
        let rules = load_rules(ctx, head).await?;
        let mut follower = Follower {
            followed: Control(head.0.saturating_sub(RECENT_ENTRIES_MIN)),
            needs,
            rules,
            chains: Chains::default(),
        };
        if needs == Needs::RulesAndLinks {
            follower.rewind(ctx).await?;
        }
        follower.take(ctx, head, EntryKinds::LinksOnly).await?;
        Ok(follower)
    }

    /// Goes back until the entries before are older than [`RECENT_MS`].
    async fn rewind(&mut self, ctx: &WorkerContext) -> Result<(), Failure> {
        let recent_from = ctx.clock.now().plus(-RECENT_MS);
        while self.followed.0 > 0 {
            let before = Control(self.followed.0 - 1);
            let entry = persist(ctx, || control::entries(&*ctx.db, before, self.followed)).await?;
            if entry
                .first()
                .is_none_or(|entry| entry.written_at < recent_from)
            {
                break;
            }
            self.followed = Control(self.followed.0.saturating_sub(RECENT_ENTRIES_MIN));
        }
        Ok(())
    }

    /// Takes every entry up to the feed's present head; returns that head. Read after a chunk's
    /// last record was, it is the chunk's control position.
    pub async fn follow(&mut self, ctx: &WorkerContext) -> Result<Control, Failure> {
        let head = persist(ctx, || control::head(&*ctx.db)).await?;
        if head < self.followed {
            let what = format!(
                "the control feed went back from {} to {head}",
                self.followed
            );
            // The tables may have been restored to an earlier moment. What contradicts that is seen
            // when the partition is loaded again.
            return Err(Failure::reload(what));
        }
        self.take(ctx, head, EntryKinds::All).await?;
        Ok(head)
    }

    async fn take(
        &mut self,
        ctx: &WorkerContext,
        head: Control,
        kinds: EntryKinds,
    ) -> Result<(), Failure> {
        if head == self.followed {
            return Ok(());
        }
        while self.followed < head {
            let after = self.followed;
            let up_to = head.min(Control(after.0 + FEED_PAGE));
            for entry in persist(ctx, || control::entries(&*ctx.db, after, up_to)).await? {
                self.take_entry(entry, kinds)?;
            }
            self.followed = up_to;
            // With every page: there may be very many.
            let recent_from = ctx.clock.now().plus(-RECENT_MS);
            self.chains.forget_recent(recent_from);
        }
        if let Some(newest) = self.rules.newest(head) {
            let version = i64::try_from(newest.0).unwrap_or(i64::MAX);
            ctx.metrics.rules_version.set(version);
        }
        Ok(())
    }

    fn take_entry(&mut self, entry: control::Entry, kinds: EntryKinds) -> Result<(), Failure> {
        match entry.change {
            Change::Link { .. } if self.needs == Needs::Rules => {}
            Change::Link { referee, chain } => {
                let chain = Chain {
                    number: entry.number,
                    accounts: chain.into(),
                };
                self.chains.follow(entry.written_at, referee, chain);
            }
            Change::Rules(changes) if matches!(kinds, EntryKinds::All) => {
                let applied = self.rules.apply(entry.number, &changes);
                applied.map_err(|faults| unreadable(entry.number, &faults))?;
            }
            // A wallet says where claims go, not what a request is worth.
            Change::Rules(_) | Change::Wallet { .. } => {}
        }
        Ok(())
    }

    /// How far it has followed.
    pub fn followed(&self) -> Control {
        self.followed
    }

    /// The rules as of a control position; `None` before the first.
    pub fn rules(&mut self, as_of: Control) -> Option<Arc<Timeline>> {
        self.rules.as_of(as_of)
    }

    /// The version of `rules.services` as of a control position; `None`: only the built-in
    /// services.
    pub fn services_version(&self, as_of: Control) -> Option<Control> {
        self.rules.services_version(as_of)
    }

    /// The services of a version; `None`: the built-in ones.
    pub fn services(&self, version: Option<Control>) -> Arc<Services> {
        version.map_or_else(Arc::default, |version| self.rules.services(version))
    }

    /// What is known of referral chains.
    pub fn chains(&self) -> &Chains {
        &self.chains
    }

    /// Forgets what tables can tell again, when it is more than `most`. To be called between chunks
    /// only.
    pub fn trim(&mut self, most: usize) {
        if self.chains.known.0.len() > most {
            self.chains.known.0.clear();
        }
    }

    /// Learns the chains of accounts (each once) that are not known.
    pub async fn learn(&mut self, ctx: &WorkerContext, unknown: &[Account]) -> Result<(), Failure> {
        let links = persist(ctx, || referrals::stored_links_of(&*ctx.db, unknown)).await?;
        for (account, link) in unknown.iter().zip(links) {
            let chain = match link {
                StoredLink::Absent => None,
                StoredLink::Present(link) => Some(Chain {
                    number: link.control,
                    accounts: link.chain.into(),
                }),
                StoredLink::Unreadable(error, number) => {
                    self.chain_of_feed(ctx, account, &error, number).await?
                }
            };
            self.chains.learn(account, chain);
        }
        Ok(())
    }

    /// The chain of an account whose link cannot be decoded, as the control feed has it: the link
    /// and its entry were written in one transaction, and it is the entry that chunks are rated by.
    /// So the source partition goes on, and counts what it would have counted.
    async fn chain_of_feed(
        &self,
        ctx: &WorkerContext,
        account: &Account,
        error: &StoreError,
        number: Option<Control>,
    ) -> Result<Option<Chain>, Failure> {
        tracing::error!(event = "referral.link_unreadable", %account, %error, "a referral link cannot be decoded; rating takes it from the control feed. Restore the item in table ReferralRelationships");
        let named = number.filter(|number| (1..=self.followed.0).contains(&number.0));
        if let Some(Control(number)) = named {
            let entries = (Control(number - 1), Control(number));
            if let Some(chain) = chain_among(ctx, account, entries).await? {
                return Ok(Some(chain));
            }
        }
        let mut end = self.followed;
        while end.0 > 0 {
            let start = Control(end.0.saturating_sub(FEED_PAGE));
            if let Some(chain) = chain_among(ctx, account, (start, end)).await? {
                return Ok(Some(chain));
            }
            end = start;
        }
        Ok(None)
    }
}

/// The link of an account among the entries after the first position, up to the second.
async fn chain_among(
    ctx: &WorkerContext,
    account: &Account,
    (after, up_to): (Control, Control),
) -> Result<Option<Chain>, Failure> {
    let entries = persist(ctx, || control::entries(&*ctx.db, after, up_to)).await?;
    let of = |entry: control::Entry| match entry.change {
        Change::Link { referee, chain } if referee == *account => Some(Chain {
            number: entry.number,
            accounts: chain.into(),
        }),
        _ => None,
    };
    Ok(entries.into_iter().find_map(of))
}

/// The rules. A publication may be half visible for a moment, as if tables were apart: read again
/// before that counts.
async fn load_rules(ctx: &WorkerContext, head: Control) -> Result<RuleBook, Failure> {
    let mut readings = ctx.readings(APART_READINGS_MAX);
    loop {
        match persist(ctx, || pricing::load_rules_checked(&*ctx.db, head)).await {
            Err(StoreError::Apart(_)) if readings.again().await => {}
            rules => return Ok(rules?),
        }
    }
}

/// What is taken of the entries.
#[derive(Clone, Copy)]
enum EntryKinds {
    /// Everything.
    All,
    /// Links: the rules were loaded whole.
    LinksOnly,
}

fn unreadable(number: Control, faults: &[crate::domain::rules::RuleFault]) -> Failure {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Failure::halt(
        HaltCode::RowUnreadable,
        format!("entry {number} of the control feed: {}", faults.join("; ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AccountKind;

    fn user(number: u64) -> Account {
        Account::new(AccountKind::User, &format!("user-{number}")).unwrap()
    }

    /// Makes so many links, written at these moments, and forgets what came before one.
    fn followed(written: impl Iterator<Item = i64>, before: i64) -> Chains {
        let mut chains = Chains::default();
        for (number, written) in (1..).zip(written) {
            let chain = Chain {
                number: Control(number),
                accounts: Arc::new([user(0)]),
            };
            chains.follow(Millis(written), user(number), chain);
            chains.forget_recent(Millis(before));
        }
        chains
    }

    fn is_known(chains: &Chains, number: u64) -> bool {
        let account = user(number);
        let account = (&account).into();
        let of = chains.of(AccountHash::of(account), account, Control(u64::MAX));
        of.is_some()
    }

    #[test]
    fn an_import_leaves_no_more_than_the_newest_links_in_memory() {
        let links = 100_000;
        let chains = followed((0..links).map(|_| 1), 0);
        assert_eq!(chains.recent.len(), RECENT_LINKS_MAX);
        assert_eq!(chains.recent_chains.len(), RECENT_LINKS_MAX);
        let capacity = chains.recent_chains.capacity();
        assert!(capacity < 4 * RECENT_LINKS_MAX, "{capacity}");
        let oldest = links + 1 - RECENT_LINKS_MAX as u64;
        // The table is asked for those before.
        let known = [1, oldest - 1, oldest, links].map(|number| is_known(&chains, number));
        assert_eq!(known, [false, false, true, true]);
    }

    #[test]
    fn the_last_few_links_are_kept_however_old_they_are() {
        let chains = followed((0..1_000).map(|_| 1), 2);
        assert_eq!(chains.recent.len() as u64, RECENT_ENTRIES_MIN);
        assert!(is_known(&chains, 1_000));
    }
}
