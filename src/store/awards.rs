//! Awards on their way to account rows. Only the poster writes account rows, so whoever grants an
//! award leaves, in one transaction with the award's own reason, a permanent record and a pending
//! pointer for the account's posting partition.
//!
//! Rows, all in table Checkpoints:
//! - record: partition `awards#<kind>:<id>`, item `<award id>`; stays for ever and makes the grant
//!   happen once.
//! - pointer: partition `pending#<q>`, item `<zero-padded grant time>#<hash of the account>#<award
//!   id>`; holds a copy of the award, so that the poster needs no second read. It is `pending`,
//!   becomes `applied` in one transaction with the account's row, and is deleted once the derived
//!   effects are durable.
//! - sum: partition `adjusted#<kind>:<id>`, item `sum`; how far an account was ever adjusted, see
//!   `adjustments`.
//! - a milestone check is a pointer too, without a record: "look whether this referee has its 50
//!   successes already".
//!
//! Neither is ever written again under the same key, because the record (or the relationship row)
//! would have to be absent.

mod adjustments;

pub use adjustments::{
    ADJUSTED_MAX, ADJUSTMENT_MAX, Adjustment, AdjustmentError, Granted, adjustment, adjustment_of,
    check_adjustment,
};

use std::collections::BTreeSet;

use super::db::{Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row, key_text};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Partition;
use crate::domain::time::{Millis, Month};

/// Awards in a page that is counted.
const COUNTED_PAGE: u32 = 1_000;
/// Before the account in the partition key of its awards.
const RECORDS: &str = "awards#";
const PENDING: &str = "pending";
const APPLIED: &str = "applied";

/// Why an award is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AwardKind {
    /// A referral was accepted.
    Signup,
    /// A referee reached 50 successes.
    Milestone,
    /// An admin's correction.
    Adjustment,
}

impl AwardKind {
    /// All of them.
    pub const ALL: [AwardKind; 3] = [
        AwardKind::Signup,
        AwardKind::Milestone,
        AwardKind::Adjustment,
    ];

    /// As it stands in rows and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            AwardKind::Signup => "signup",
            AwardKind::Milestone => "milestone",
            AwardKind::Adjustment => "adjustment",
        }
    }
}

/// The text is no kind of award.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a kind of award; allowed: signup, milestone, adjustment")]
pub struct NotAnAwardKind(String);

impl std::str::FromStr for AwardKind {
    type Err = NotAnAwardKind;
    fn from_str(text: &str) -> Result<AwardKind, NotAnAwardKind> {
        AwardKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| NotAnAwardKind(text.to_owned()))
    }
}

/// An award: points outside of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Award {
    /// Unique per account: `signup#user:b`, `milestone#user:b`, `adjustment#<idempotency key>`.
    pub id: String,
    /// Who gets it.
    pub account: Account,
    /// Why.
    pub kind: AwardKind,
    /// The month in whose `bonus` it stands.
    pub month: Month,
    /// How much; adjustments may be negative.
    pub points: Points,
    /// When it was granted.
    pub granted_at: Millis,
    /// In words.
    pub reason: String,
}

/// How far a pointer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not in the account's row yet.
    Pending,
    /// In the account's row; derived effects may be owed still.
    Applied,
}

/// What a pointer asks of the poster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Add the award to its account.
    Award(Award),
    /// Look whether this referee has reached its milestone, and grant it if it is owed.
    Check {
        /// The referee, an account of this posting partition.
        referee: Account,
    },
}

/// A pending pointer of a posting partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The posting partition.
    pub partition: Partition,
    /// Its sort key; pointers come in this order, oldest grant first.
    pub item: String,
    /// How far it has come.
    pub state: State,
    /// What it asks.
    pub task: Task,
}

impl Pointer {
    /// Whose posting partition must look at it.
    pub fn account(&self) -> &Account {
        match &self.task {
            Task::Award(award) => &award.account,
            Task::Check { referee } => referee,
        }
    }

    /// `id` is unique among the tasks of `account`. The account enters the sort key as a hash: two
    /// ids of 128 characters of four bytes would not fit into the 1,024 bytes that DynamoDB allows.
    fn new(account: &Account, partitions: u32, at: Millis, id: &str, task: Task) -> Pointer {
        let partition = account.partition(partitions);
        let hash = xxhash_rust::xxh3::xxh3_64(account.to_string().as_bytes());
        // Times before 1970 do not occur; clamped so that the text still orders.
        let item = format!("{:020}#{hash:016x}#{id}", at.0.max(0));
        Pointer {
            partition,
            item,
            state: State::Pending,
            task,
        }
    }

    fn key(&self) -> Key {
        pointer_key(self.partition, &self.item)
    }
}

fn pointer_key(partition: Partition, item: &str) -> Key {
    Key::new(Table::Checkpoints, format!("pending#{partition}"), item)
}

fn record_key(account: &Account, id: &str) -> Key {
    Key::new(Table::Checkpoints, format!("{RECORDS}{account}"), id)
}

/// The id of the award for `referee`'s signup.
pub fn signup_id(referee: &Account) -> String {
    format!("signup#{referee}")
}

/// The id of the award for `referee`'s milestone.
pub fn milestone_id(referee: &Account) -> String {
    format!("milestone#{referee}")
}

/// Whether an award was ever granted.
pub async fn is_granted(db: &dyn Db, account: &Account, id: &str) -> Result<bool, StoreError> {
    Ok(db.get(&record_key(account, id)).await?.is_some())
}

/// How many awards of a kind an account was ever granted, those of these ids included, up to
/// `most`.
pub async fn count_granted(
    db: &dyn Db,
    account: &Account,
    kind: AwardKind,
    known: &BTreeSet<String>,
    most: u32,
) -> Result<u32, StoreError> {
    let mut query = Query {
        range: RangeFilter::Prefix(format!("{}#", kind.as_str())),
        limit: Some(most.min(COUNTED_PAGE)),
        ..pages::whole(Table::Checkpoints, format!("{RECORDS}{account}"))
    };
    let mut ids = known.clone();
    loop {
        let page = db.query(&query).await?;
        for item in &page.items {
            let row = Row::new(record_key(account, "?"), item);
            ids.insert(row.text("item")?.to_owned());
        }
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        match page.next {
            Some(next) if count < most => query.after = Some(next),
            _ => return Ok(count.min(most)),
        }
    }
}

/// The writes that grant an award: its record, which must not exist, and its pointer. They belong
/// into one transaction with the change that the award is for. `partitions` is the number of
/// posting partitions.
pub fn grant_writes(award: Award, partitions: u32) -> Vec<Write> {
    let record = award_fields(Fields::of(&record_key(&award.account, &award.id)), &award);
    let (account, id, at) = (award.account.clone(), award.id.clone(), award.granted_at);
    let pointer = Pointer::new(&account, partitions, at, &id, Task::Award(award));
    vec![
        Write::Put {
            table: Table::Checkpoints,
            item: record.item(),
            condition: Condition::Absent,
        },
        put_pointer(&pointer, Condition::Absent),
    ]
}

/// The write that leaves a milestone check for the poster of `referee`, whose link is made at `at`.
pub fn check_write(referee: &Account, at: Millis, partitions: u32) -> Write {
    let task = Task::Check {
        referee: referee.clone(),
    };
    let pointer = Pointer::new(referee, partitions, at, "check", task);
    put_pointer(&pointer, Condition::Absent)
}

/// The write that turns a pointer from pending to applied; it belongs into one transaction with the
/// account's row.
pub fn apply_pointer_write(pointer: &Pointer) -> Write {
    let applied = Pointer {
        state: State::Applied,
        ..pointer.clone()
    };
    let is_pending = Condition::Equals("state", Attr::S(PENDING.to_owned()));
    put_pointer(&applied, is_pending)
}

/// The writes that hand a pointer, as it was read, over to another posting partition: its account
/// belongs there in a new epoch. They fail if it has changed since.
pub fn move_pointer_writes(pointer: &Pointer, to: Partition) -> Vec<Write> {
    let state = match pointer.state {
        State::Pending => PENDING,
        State::Applied => APPLIED,
    };
    let moved = Pointer {
        partition: to,
        ..pointer.clone()
    };
    vec![
        Write::Delete {
            key: pointer.key(),
            condition: Condition::Equals("state", Attr::S(state.to_owned())),
        },
        put_pointer(&moved, Condition::Absent),
    ]
}

/// The write that removes a pointer: an award's once it is applied and its derived effects are
/// durable, a check's once it was looked at. An award's pointer that is still pending is not
/// removed: the condition fails.
pub fn delete_pointer_write(pointer: &Pointer) -> Write {
    let condition = match pointer.task {
        // "applied" < "pending": absent (deleted before) or applied.
        Task::Award(_) => Condition::AbsentOrAtMost("state", Attr::S(APPLIED.to_owned())),
        Task::Check { .. } => Condition::Always,
    };
    Write::Delete {
        key: pointer.key(),
        condition,
    }
}

/// Every pointer of a posting partition, oldest grant first. May miss one whose grant is just being
/// written.
pub async fn list_pending(db: &dyn Db, partition: Partition) -> Result<Pending, StoreError> {
    let items = query_all(db, format!("pending#{partition}")).await?;
    Ok(Pending::read(partition, &items))
}

/// Pointers of a posting partition, oldest grant first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The pointers.
    pub pointers: Vec<Pointer>,
    /// Those among them that cannot be decoded.
    pub unreadable: Vec<UnreadablePointer>,
}

impl Pending {
    fn read(partition: Partition, items: &[Item]) -> Pending {
        let mut pending = Pending::default();
        for item in items {
            match read_pointer(partition, item) {
                Ok(pointer) => pending.pointers.push(pointer),
                Err(error) => {
                    let account = pointer_account(partition, item);
                    let unreadable = UnreadablePointer { account, error };
                    pending.unreadable.push(unreadable);
                }
            }
        }
        pending
    }
}

/// A pointer that cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct UnreadablePointer {
    /// Whose it is, as far as that can be told.
    pub account: Option<Account>,
    /// What is wrong with it.
    pub error: StoreError,
}

/// Some pointers of a posting partition.
#[derive(Debug)]
pub struct PendingPage {
    /// The pointers.
    pub pending: Pending,
    /// The sort key after which there may be more.
    pub next: Option<String>,
}

/// The oldest pointers of a posting partition, at most `limit`; with `after` those behind that sort
/// key, which need not exist any more.
pub async fn oldest_pending(
    db: &dyn Db,
    partition: Partition,
    after: Option<&str>,
    limit: u32,
) -> Result<PendingPage, StoreError> {
    let query = Query {
        limit: Some(limit),
        after: after.map(|item| pointer_key(partition, item).item()),
        ..pages::whole(Table::Checkpoints, format!("pending#{partition}"))
    };
    let page = db.query(&query).await?;
    let last = |next| {
        Row::new(pointer_key(partition, "?"), next)
            .text("item")
            .map(str::to_owned)
    };
    Ok(PendingPage {
        pending: Pending::read(partition, &page.items),
        next: page.next.as_ref().map(last).transpose()?,
    })
}

/// Every award that was ever granted to an account, oldest first; also those that are not in its
/// rows yet.
pub async fn awards_of(db: &dyn Db, account: &Account) -> Result<Vec<Award>, StoreError> {
    let items = query_all(db, format!("{RECORDS}{account}")).await?;
    read_awards(account, &items)
}

/// As [`awards_of`], about `max` of them at the most; and whether they are all.
pub async fn some_awards_of(
    db: &dyn Db,
    account: &Account,
    max: usize,
) -> Result<(Vec<Award>, bool), StoreError> {
    let query = pages::whole(Table::Checkpoints, format!("{RECORDS}{account}"));
    let found = pages::at_most(db, query, max).await?;
    Ok((read_awards(account, &found.items)?, found.is_whole))
}

fn read_awards(account: &Account, items: &[Item]) -> Result<Vec<Award>, StoreError> {
    let mut awards = items
        .iter()
        .map(|item| {
            let unknown = Row::new(record_key(account, "?"), item);
            let id = unknown.text("item")?;
            read_award(&Row::new(record_key(account, id), item))
        })
        .collect::<Result<Vec<Award>, StoreError>>()?;
    awards.sort_by(|a, b| (a.granted_at, &a.id).cmp(&(b.granted_at, &b.id)));
    Ok(awards)
}

/// Those among awards of one account that are not in its rows yet: their pointers are pending.
pub async fn pending_among<'a>(
    db: &dyn Db,
    awards: &'a [Award],
    partitions: u32,
) -> Result<Vec<&'a Award>, StoreError> {
    let key = |award: &Award| {
        let task = Task::Award(award.clone());
        Pointer::new(
            &award.account,
            partitions,
            award.granted_at,
            &award.id,
            task,
        )
        .key()
    };
    let keys: Vec<Key> = awards.iter().map(key).collect();
    let items = db.batch_get(&keys).await?;
    let is_pending = |item: &Option<Item>| {
        let state = item.as_ref().and_then(|item| item.get("state"));
        matches!(state, Some(Attr::S(state)) if state == PENDING)
    };
    let pending = awards
        .iter()
        .zip(&items)
        .filter(|(_, item)| is_pending(item));
    Ok(pending.map(|(award, _)| award).collect())
}

/// Every award that was ever granted to anybody, also those that are not in rows yet. Costs what
/// table Checkpoints weighs.
pub async fn all_awards(db: &dyn Db, mut each: impl FnMut(Award) + Send) -> Result<(), StoreError> {
    let (hash, _) = Table::Checkpoints.keys();
    pages::scan(db, Table::Checkpoints, |item| {
        let unknown = Row::new(Key::new(Table::Checkpoints, "?", "?"), &item);
        let Some(account) = unknown.text(hash)?.strip_prefix(RECORDS) else {
            return Ok(());
        };
        let account = parse_account(account)
            .ok_or_else(|| unknown.corrupt(format!("{RECORDS}{account} names no account")))?;
        let id = unknown.text("item")?;
        each(read_award(&Row::new(record_key(&account, id), &item))?);
        Ok(())
    })
    .await
}

async fn query_all(db: &dyn Db, hash: String) -> Result<Vec<Item>, StoreError> {
    pages::all(db, pages::whole(Table::Checkpoints, hash)).await
}

fn award_fields(fields: Fields, award: &Award) -> Fields {
    fields
        .text("award", &award.id)
        .text("account", &award.account)
        .text("kind", award.kind.as_str())
        .text("month", award.month)
        .number("points", award.points.0)
        .number("grantedAt", award.granted_at.0)
        .text("reason", &award.reason)
}

fn read_award(row: &Row<'_>) -> Result<Award, StoreError> {
    Ok(Award {
        id: row.text("award")?.to_owned(),
        account: read_account(row, "account")?,
        kind: row.parsed("kind")?,
        month: row.parsed("month")?,
        points: Points(row.number("points")?),
        granted_at: Millis(row.number("grantedAt")?),
        reason: row.text("reason")?.to_owned(),
    })
}

/// Reads `user:u1`, the form in which accounts stand in keys and attributes.
pub(in crate::store) fn read_account(row: &Row<'_>, name: &str) -> Result<Account, StoreError> {
    let text = row.text(name)?;
    parse_account(text).ok_or_else(|| row.corrupt(format!("attribute {name}: no account: {text}")))
}

fn parse_account(text: &str) -> Option<Account> {
    let (kind, id) = text.split_once(':')?;
    let kind: AccountKind = kind.parse().ok()?;
    Account::new(kind, id).ok()
}

fn put_pointer(pointer: &Pointer, condition: Condition) -> Write {
    let state = match pointer.state {
        State::Pending => PENDING,
        State::Applied => APPLIED,
    };
    let fields = Fields::of(&pointer.key()).text("state", state);
    let fields = match &pointer.task {
        Task::Award(award) => award_fields(fields, award),
        Task::Check { referee } => fields.text("kind", "check").text("referee", referee),
    };
    Write::Put {
        table: Table::Checkpoints,
        item: fields.item(),
        condition,
    }
}

fn read_pointer(partition: Partition, item: &Item) -> Result<Pointer, StoreError> {
    let unknown = Row::new(pointer_key(partition, "?"), item);
    let name = unknown.text("item")?.to_owned();
    let row = Row::new(pointer_key(partition, &name), item);
    let state = match row.text("state")? {
        PENDING => State::Pending,
        APPLIED => State::Applied,
        other => return Err(row.corrupt(format!("attribute state is {other}"))),
    };
    let task = match row.text("kind")? {
        "check" => Task::Check {
            referee: read_account(&row, "referee")?,
        },
        _ => Task::Award(read_award(&row)?),
    };
    if let Task::Award(award) = &task
        && !name.ends_with(&award.id)
    {
        return Err(StoreError::Corrupt {
            key: key_text(&pointer_key(partition, &name)),
            what: format!("it holds another award: {}", award.id),
        });
    }
    Ok(Pointer {
        partition,
        item: name,
        state,
        task,
    })
}

/// Whose pointer an item is that cannot be decoded as a whole.
fn pointer_account(partition: Partition, item: &Item) -> Option<Account> {
    let row = Row::new(pointer_key(partition, "?"), item);
    let of = |name| read_account(&row, name).ok();
    of("account").or_else(|| of("referee"))
}

/// How far a pointer has come, strongly consistent; `None` once it is deleted. A list of pointers
/// may be behind this.
pub async fn state_of(db: &dyn Db, pointer: &Pointer) -> Result<Option<State>, StoreError> {
    let key = pointer.key();
    let Some(item) = db.get(&key).await? else {
        return Ok(None);
    };
    read_pointer(pointer.partition, &item).map(|found| Some(found.state))
}
