//! Referral codes and links.
//!
//! Rows:
//! - ReferralCodes, by code: its owner, whether it is active, how many signed up with it.
//! - Checkpoints, partition `code#<kind>:<id>`, item `code`: the owner's own pointer to its code.
//!   It makes "one code per account" a condition of a write, which a query of the owner index could
//!   not promise.
//! - ReferralRelationships, by referee: the chain of three, the control number, the milestone's
//!   state. Set once; only the milestone's state changes, from owed to granted.
//!
//! A signup is one transaction: the link (which must be absent), its entry in the control feed, the
//! referrer's own link as it was read, the code's count, the award, a milestone check, and an entry
//! of the audit trail if an admin does it. After a lost answer the link's token tells whether it
//! happened.

mod codes;
mod import;

use serde_json::json;

pub use codes::{Code, Switch, code_for, code_of, lookup, set_active};
use codes::{put_code, unchanged};
pub use import::{ImportRequest, Imported, LINKS_MAX, NewLink, import};

use super::audit;
use super::awards::{self, Award, AwardKind};
use super::conditional::{Attempts, WriteOutcome};
use super::control::{self, Change, Head};
use super::db::{Attr, Condition, Db, Item, Key, Query, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Control;
use crate::domain::referral::{self, LEVELS, SignupRefusal, check_signup};
use crate::domain::time::Millis;

/// Whether a referee's milestone has been paid to its referrer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// Not yet.
    Owed,
    /// Yes.
    Granted,
    /// Awards for this link are paid by another system.
    Elsewhere,
}

impl Milestone {
    const fn as_str(self) -> &'static str {
        match self {
            Milestone::Owed => "owed",
            Milestone::Granted => "granted",
            Milestone::Elsewhere => "elsewhere",
        }
    }
}

/// A referral link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who was referred.
    pub referee: Account,
    /// The referrer, the referrer's referrer, and theirs, as they were when the link was made: one
    /// to three.
    pub chain: Vec<Account>,
    /// The entry of the control feed that carries it.
    pub control: Control,
    /// When it was made.
    pub linked_at: Millis,
    /// Whether the referrer has the referee's milestone.
    pub milestone: Milestone,
    /// The code with which it was made; `None` for an import by account.
    pub code: Option<String>,
    /// Names the attempt that made it.
    pub token: String,
}

/// By what a referrer is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Referrer {
    /// By its code, as a person typed it.
    Code(String),
    /// By account (imports).
    Account(Account),
}

/// Who pays the awards of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwardPolicy {
    /// We do: so many points to the referrer for the signup, and the milestone later.
    Pay(Points),
    /// Another system did, or will: the link only.
    Elsewhere,
}

/// A signup to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignupRequest {
    /// Who refers.
    pub referrer: Referrer,
    /// Who is referred.
    pub referee: Account,
    /// When.
    pub now: Millis,
    /// Names this signup; unique (random). A repeat with the same token finds the first one's work
    /// and returns it.
    pub token: String,
    /// Who pays.
    pub awards: AwardPolicy,
    /// Who does it in the account's stead, for the audit trail; `None`: the account itself.
    pub by: Option<String>,
}

/// An accepted signup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signup {
    /// The link that was made.
    pub link: Link,
}

/// Why there was no signup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignupError {
    /// The rules refuse it; for good.
    #[error(transparent)]
    Refused(#[from] SignupRefusal),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(in crate::store) fn link_key(referee: &Account) -> Key {
    Key::new(
        Table::ReferralRelationships,
        referee.id(),
        referee.kind.as_str(),
    )
}

/// Makes a link, once. Errors: [`SignupError::Refused`] carries a stable code; a store error of the
/// transient kind means "try again with the same token". It returns when the control feed counts
/// the link, so that every event that is appended afterwards is rated with it.
pub async fn signup(
    db: &dyn Db,
    request: &SignupRequest,
    partitions: u32,
) -> Result<Signup, SignupError> {
    let mut attempts = Attempts::new(db);
    loop {
        let seen = match load_state(db, request).await? {
            SignupState::Done(link) => {
                control::until_counted(db, link.control).await?;
                return Ok(Signup { link });
            }
            SignupState::Open(seen) => seen,
        };
        let link = decide(request, &seen)?;
        let writes = signup_writes(request, &seen, &link, partitions);
        if attempts.write(writes).await? == WriteOutcome::Written {
            control::until_counted(db, link.control).await?;
            return Ok(Signup { link });
        }
    }
}

/// What a signup decides from.
struct SignupFacts {
    head: Head,
    code: Option<Code>,
    referrer: Account,
    /// The referrer's own link.
    above: Option<Link>,
    /// The referee's link.
    own: Option<Link>,
}

enum SignupState {
    /// This very signup happened before.
    Done(Link),
    Open(Box<SignupFacts>),
}

async fn load_state(db: &dyn Db, request: &SignupRequest) -> Result<SignupState, SignupError> {
    let (code, referrer) = match &request.referrer {
        Referrer::Account(account) => (None, Some(account.clone())),
        Referrer::Code(typed) => {
            let code = lookup(db, typed).await?;
            let owner = code.as_ref().map(|code| code.owner.clone());
            (code, owner)
        }
    };
    let mut keys = vec![control::key_of_head(), link_key(&request.referee)];
    let above_key = referrer.as_ref().map(link_key);
    // An account that refers itself has one link, not two keys of it.
    let above_key = above_key.filter(|key| *key != keys[1]);
    keys.extend(above_key);
    let items = db.batch_get(&keys).await?;
    let at = |index: usize| items.get(index).and_then(Option::as_ref);
    let own = at(1).map(|item| read_link(&request.referee, item));
    let own = own.transpose()?;
    if let Some(link) = own.as_ref().filter(|link| link.token == request.token) {
        return Ok(SignupState::Done(link.clone()));
    }
    let referrer = referrer.ok_or(SignupRefusal::UnknownCode)?;
    let above = at(2).map(|item| read_link(&referrer, item)).transpose()?;
    Ok(SignupState::Open(Box::new(SignupFacts {
        head: control::read_head(at(0))?,
        code,
        referrer,
        above,
        own,
    })))
}

/// The link that the rules allow, from what was seen.
fn decide(request: &SignupRequest, seen: &SignupFacts) -> Result<Link, SignupRefusal> {
    let active = seen.code.as_ref().is_none_or(|code| code.active);
    let chain = check_signup(referral::Signup {
        referee: &request.referee,
        code: Some((&seen.referrer, active)),
        referrer_chain: seen.above.as_ref().map_or(&[], |link| &link.chain),
        existing: seen.own.as_ref().and_then(|link| link.chain.first()),
    })?;
    Ok(Link {
        referee: request.referee.clone(),
        chain,
        control: control::next(seen.head),
        linked_at: request.now,
        milestone: match request.awards {
            AwardPolicy::Pay(_) => Milestone::Owed,
            AwardPolicy::Elsewhere => Milestone::Elsewhere,
        },
        code: seen.code.as_ref().map(|code| code.code.clone()),
        token: request.token.clone(),
    })
}

fn signup_writes(
    request: &SignupRequest,
    seen: &SignupFacts,
    link: &Link,
    partitions: u32,
) -> Vec<Write> {
    let mut writes = link_writes(request, link, partitions);
    writes.push(Write::Check {
        key: link_key(&seen.referrer),
        condition: as_it_was(seen.above.as_ref()),
    });
    let moved = Head {
        number: link.control,
        ..seen.head
    };
    writes.push(control::move_write(seen.head, moved));
    if let Some(code) = &seen.code {
        let counted = Code {
            signups: code.signups + 1,
            ..code.clone()
        };
        writes.push(put_code(&counted, unchanged(code)));
    }
    writes
}

/// What a link brings with it: itself, its entry in the control feed, whose head is moved beside
/// it, what is owed for it, and an entry of the audit trail.
fn link_writes(request: &SignupRequest, link: &Link, partitions: u32) -> Vec<Write> {
    let change = Change::Link {
        referee: link.referee.clone(),
        chain: link.chain.clone(),
    };
    let mut writes = vec![
        put_link(link, Condition::Absent),
        control::entry_write(link.control, request.now, &request.token, &change),
    ];
    if let AwardPolicy::Pay(points) = request.awards {
        writes.extend(awards::grant_writes(signup_award(link, points), partitions));
        writes.push(awards::check_write(
            &link.referee,
            link.linked_at,
            partitions,
        ));
    }
    writes.extend(request.by.as_deref().map(|by| audit_entry(by, link)));
    writes
}

fn audit_entry(by: &str, link: &Link) -> Write {
    audit::write(&audit::Entry {
        at: link.linked_at,
        action: "referrals.signup".to_owned(),
        subject: link.referee.to_string(),
        by: by.to_owned(),
        detail: json!({"referrer": link.chain.first(), "code": link.code, "control": link.control}),
    })
}

fn signup_award(link: &Link, points: Points) -> Award {
    Award {
        id: awards::signup_id(&link.referee),
        account: link.chain[0].clone(),
        kind: AwardKind::Signup,
        month: link.linked_at.month(),
        points,
        granted_at: link.linked_at,
        reason: format!("{} signed up", link.referee),
    }
}

/// A link never changes but for its milestone, so its control number says that it is the one that
/// was read.
fn as_it_was(link: Option<&Link>) -> Condition {
    match link {
        None => Condition::Absent,
        Some(link) => Condition::Equals("control", Attr::N(i128::from(link.control.0))),
    }
}

/// One account's link.
pub async fn link_of(db: &dyn Db, referee: &Account) -> Result<Option<Link>, StoreError> {
    let item = db.get(&link_key(referee)).await?;
    item.map(|item| read_link(referee, &item)).transpose()
}

/// Several accounts' links, in the order of `referees` (none twice).
pub async fn links_of(db: &dyn Db, referees: &[Account]) -> Result<Vec<Option<Link>>, StoreError> {
    let links = stored_links_of(db, referees).await?;
    links.into_iter().map(StoredLink::decoded).collect()
}

/// An account's link as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredLink {
    /// There is none.
    Absent,
    /// It can be decoded.
    Present(Link),
    /// It cannot; its control number, as far as that can be read.
    Unreadable(StoreError, Option<Control>),
}

impl StoredLink {
    fn of(referee: &Account, item: Option<Item>) -> StoredLink {
        let Some(item) = item else {
            return StoredLink::Absent;
        };
        match read_link(referee, &item) {
            Ok(link) => StoredLink::Present(link),
            Err(error) => {
                let row = Row::new(link_key(referee), &item);
                StoredLink::Unreadable(error, row.number("control").ok().map(Control))
            }
        }
    }

    fn decoded(self) -> Result<Option<Link>, StoreError> {
        match self {
            StoredLink::Absent => Ok(None),
            StoredLink::Present(link) => Ok(Some(link)),
            StoredLink::Unreadable(error, _) => Err(error),
        }
    }
}

/// As [`links_of`], but one link that cannot be decoded does not hide the others.
pub async fn stored_links_of(
    db: &dyn Db,
    referees: &[Account],
) -> Result<Vec<StoredLink>, StoreError> {
    let keys: Vec<Key> = referees.iter().map(link_key).collect();
    let items = db.batch_get(&keys).await?;
    let links = referees.iter().zip(items);
    Ok(links
        .map(|(referee, item)| StoredLink::of(referee, item))
        .collect())
}

/// Links of those whom an account referred directly.
pub struct Referees {
    /// Oldest first.
    pub links: Vec<Link>,
    /// Whether these are all; else they are some of them.
    pub is_whole: bool,
}

/// The links of everyone whom an account referred directly, about `max` of them at the most.
/// Eventually consistent: a link that was made within the last moments may be missing.
pub async fn referees(db: &dyn Db, referrer: &Account, max: usize) -> Result<Referees, StoreError> {
    let query = Query {
        index: true,
        ..pages::whole(Table::ReferralRelationships, referrer.to_string())
    };
    let found = pages::at_most(db, query, max).await?;
    let links = found.items.iter().map(read_own_link);
    let mut links = links.collect::<Result<Vec<Link>, StoreError>>()?;
    links.sort_by_key(|link| link.control);
    Ok(Referees {
        links,
        is_whole: found.is_whole,
    })
}

/// Who was granted the milestone of the link that an item of ReferralRelationships holds, if
/// anybody was; `None` also for an item that is no link.
pub fn granted_to(item: &Item) -> Option<Account> {
    let link = read_own_link(item).ok()?;
    let is_granted = link.milestone == Milestone::Granted;
    link.chain.into_iter().next().filter(|_| is_granted)
}

/// The writes that grant the milestone of `link`'s referee to its referrer, once: they fail unless
/// the row still owes it. `fifty_at` is the log time of the posting that brought the 50th success.
/// Empty when the link as read owes nothing.
pub fn grant_milestone_writes(
    link: &Link,
    fifty_at: Millis,
    points: Points,
    now: Millis,
    partitions: u32,
) -> Vec<Write> {
    if link.milestone != Milestone::Owed {
        return Vec::new();
    }
    let Some(referrer) = link.chain.first() else {
        return Vec::new();
    };
    let award = Award {
        id: awards::milestone_id(&link.referee),
        account: referrer.clone(),
        kind: AwardKind::Milestone,
        month: fifty_at.max(link.linked_at).month(),
        points,
        granted_at: now,
        reason: format!("{} reached 50 successful requests", link.referee),
    };
    let mut writes = vec![milestone_granted_write(link)];
    writes.extend(awards::grant_writes(award, partitions));
    writes
}

/// The write that marks the milestone of `link` as granted; it fails unless the row still owes it.
pub fn milestone_granted_write(link: &Link) -> Write {
    let granted = Link {
        milestone: Milestone::Granted,
        ..link.clone()
    };
    let owed = Attr::S(Milestone::Owed.as_str().to_owned());
    put_link(&granted, Condition::Equals("milestone", owed))
}

pub(in crate::store) fn put_link(link: &Link, condition: Condition) -> Write {
    let fields = Fields::of(&link_key(&link.referee))
        .json("chain", &link.chain)
        .number("control", link.control.0)
        .number("linkedAt", link.linked_at.0)
        .text("milestone", link.milestone.as_str())
        .text("token", &link.token);
    let fields = match link.chain.first() {
        Some(referrer) => fields.text("referrer", referrer),
        None => fields,
    };
    let fields = match &link.code {
        Some(code) => fields.text("code", code),
        None => fields,
    };
    Write::Put {
        table: Table::ReferralRelationships,
        item: fields.item(),
        condition,
    }
}

pub(in crate::store) fn read_own_link(item: &Item) -> Result<Link, StoreError> {
    let row = Row::new(Key::new(Table::ReferralRelationships, "?", "?"), item);
    let kind: AccountKind = row.parsed("userType")?;
    let id = row.text("refereeId")?;
    let referee = Account::new(kind, id).map_err(|e| row.corrupt(format!("refereeId: {e}")))?;
    read_link(&referee, item)
}

fn read_link(referee: &Account, item: &Item) -> Result<Link, StoreError> {
    let row = Row::new(link_key(referee), item);
    let chain: Vec<Account> = row.json("chain")?;
    if chain.is_empty() || chain.len() > LEVELS {
        return Err(row.corrupt(format!("its chain has {} accounts", chain.len())));
    }
    let milestone = [Milestone::Owed, Milestone::Granted, Milestone::Elsewhere];
    let text = row.text("milestone")?;
    let milestone = milestone.into_iter().find(|m| m.as_str() == text);
    Ok(Link {
        referee: referee.clone(),
        chain,
        control: Control(row.number("control")?),
        linked_at: Millis(row.number("linkedAt")?),
        milestone: milestone.ok_or_else(|| row.corrupt(format!("milestone is {text}")))?,
        code: row.text_opt("code")?.map(str::to_owned),
        token: row.text("token")?.to_owned(),
    })
}
