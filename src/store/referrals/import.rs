//! Imports: several links in one transaction.
//!
//! Every link takes the next number of the control feed, so links that are made one by one wait for
//! each other, and each for the disk or for DynamoDB. Together they need one transaction, and the
//! outcome is that of the same links one by one, in their order.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AwardPolicy, Head, Link, Referrer, SignupFacts, SignupRequest, as_it_was, decide, link_key,
    link_writes, links_of,
};
use crate::domain::ids::Account;
use crate::domain::position::Control;
use crate::domain::referral::SignupRefusal;
use crate::domain::time::Millis;
use crate::store::conditional::{Attempts, WriteOutcome};
use crate::store::control;
use crate::store::db::{Db, StoreError, TRANSACTION_ITEMS_MAX, Write};

/// Most links at a time. A transaction takes a hundred writes: seven for each of them, and one.
pub const LINKS_MAX: usize = 14;

const _: () = assert!(7 * LINKS_MAX < TRANSACTION_ITEMS_MAX);

/// Who was referred, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// Who was referred.
    pub referee: Account,
    /// By whom.
    pub referrer: Account,
}

/// Links to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRequest {
    /// At most [`LINKS_MAX`]; a later one sees the earlier ones.
    pub links: Vec<NewLink>,
    /// When.
    pub now: Millis,
    /// Names these links; unique (random). A repeat with the same token finds what the first did.
    pub token: String,
    /// Who pays.
    pub awards: AwardPolicy,
    /// Who does it, for the audit trail.
    pub by: String,
}

/// What became of a link of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It was made.
    Made(Link),
    /// It was there before.
    Known,
    /// The rules refuse it; for good.
    Refused(SignupRefusal),
}

/// Makes links, each once; what became of each. It returns when the control feed counts them.
///
/// Errors: of the transient kind means "try again with the same token".
pub async fn import(
    db: &dyn Db,
    request: &ImportRequest,
    partitions: u32,
) -> Result<Vec<Imported>, StoreError> {
    let mut attempts = Attempts::new(db);
    loop {
        let mut round = Round::read(db, request).await?;
        let places = 0..request.links.len();
        let imported: Vec<Imported> = places
            .map(|place| round.decide(request, place, partitions))
            .collect();
        let writes = round.writes();
        if writes.is_empty() || attempts.write(writes).await? == WriteOutcome::Written {
            let made = imported.iter().filter_map(|imported| match imported {
                Imported::Made(link) => Some(link.control),
                Imported::Known | Imported::Refused(_) => None,
            });
            if let Some(last) = made.max() {
                control::until_counted(db, last).await?;
            }
            return Ok(imported);
        }
    }
}

impl ImportRequest {
    /// The same link twice is told from a repeat of its first.
    fn signup(&self, place: usize) -> SignupRequest {
        let link = &self.links[place];
        SignupRequest {
            referrer: Referrer::Account(link.referrer.clone()),
            referee: link.referee.clone(),
            now: self.now,
            token: format!("{}/{place}", self.token),
            awards: self.awards,
            by: Some(self.by.clone()),
        }
    }
}

/// An attempt: what was read, and what follows.
struct Round {
    read: Head,
    /// The number of the last link that is made.
    number: Control,
    links: BTreeMap<Account, Link>,
    /// Whose links are made. That they are absent is a condition of their own writes.
    made: BTreeSet<Account>,
    /// What must still hold of the links of referrers.
    checks: BTreeMap<Account, Write>,
    writes: Vec<Write>,
}

impl Round {
    /// Reads the head, then the links: one that is made in between fails the condition on the head.
    async fn read(db: &dyn Db, request: &ImportRequest) -> Result<Round, StoreError> {
        let read = control::full_head(db).await?;
        let named = request.links.iter();
        let accounts = named.flat_map(|link| [link.referee.clone(), link.referrer.clone()]);
        let accounts: Vec<Account> = accounts.collect::<BTreeSet<_>>().into_iter().collect();
        let links = links_of(db, &accounts).await?;
        let links = accounts.into_iter().zip(links);
        Ok(Round {
            read,
            number: read.number,
            links: links
                .filter_map(|(account, link)| Some((account, link?)))
                .collect(),
            made: BTreeSet::new(),
            checks: BTreeMap::new(),
            writes: Vec::new(),
        })
    }

    fn decide(&mut self, request: &ImportRequest, place: usize, partitions: u32) -> Imported {
        let signup = request.signup(place);
        let referrer = &request.links[place].referrer;
        let (own, above) = (self.links.get(&signup.referee), self.links.get(referrer));
        if let Some(link) = own.filter(|link| link.token == signup.token) {
            return Imported::Made(link.clone());
        }
        if own.is_some_and(|link| link.chain.first() == Some(referrer)) {
            return Imported::Known;
        }
        let seen = SignupFacts {
            head: Head {
                number: self.number,
                ..self.read
            },
            code: None,
            referrer: referrer.clone(),
            above: above.cloned(),
            own: own.cloned(),
        };
        let link = match decide(&signup, &seen) {
            Ok(link) => link,
            Err(refusal) => return Imported::Refused(refusal),
        };
        let check = Write::Check {
            key: link_key(referrer),
            condition: as_it_was(seen.above.as_ref()),
        };
        self.checks.entry(referrer.clone()).or_insert(check);
        self.writes.extend(link_writes(&signup, &link, partitions));
        self.number = link.control;
        self.made.insert(signup.referee.clone());
        self.links.insert(signup.referee, link.clone());
        Imported::Made(link)
    }

    /// None, if there is nothing to be made.
    fn writes(mut self) -> Vec<Write> {
        if self.made.is_empty() {
            return Vec::new();
        }
        let checks = self.checks.into_iter();
        let checks = checks.filter(|(account, _)| !self.made.contains(account));
        self.writes.extend(checks.map(|(_, check)| check));
        let to = Head {
            number: self.number,
            ..self.read
        };
        self.writes.push(control::move_write(self.read, to));
        self.writes
    }
}
