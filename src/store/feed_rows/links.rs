//! The links of ReferralRelationships.

use crate::domain::ids::Account;
use crate::domain::position::Control;
use crate::store::awards;
use crate::store::control::{Change, Entry};
use crate::store::db::{Db, StoreError, Table};
use crate::store::pages;
use crate::store::referrals::{self, Link, Milestone};

/// The entries of the feed that made links. There may be millions, so only a hash of each is kept.
#[derive(Debug, Default)]
pub(super) struct LinkEntries(Vec<LinkEntry>);

#[derive(Debug)]
struct LinkEntry {
    number: Control,
    hash: u64,
    has_row: bool,
}

impl LinkEntries {
    pub(super) fn push(&mut self, number: Control, referee: &Account, chain: &[Account]) {
        self.0.push(LinkEntry {
            number,
            hash: hash(referee, chain),
            has_row: false,
        });
    }

    pub(super) fn sort(&mut self) {
        self.0.sort_by_key(|entry| entry.number);
    }

    /// Looks for the row of each entry. Returns the rows without an entry.
    pub(super) async fn compare(&mut self, db: &dyn Db) -> Result<Vec<Link>, StoreError> {
        let mut stray = Vec::new();
        pages::scan(db, Table::ReferralRelationships, |item| {
            let link = referrals::read_own_link(&item)?;
            let hash = hash(&link.referee, &link.chain);
            let entry = self.find(link.control).filter(|entry| entry.hash == hash);
            match entry {
                Some(entry) => entry.has_row = true,
                None => stray.push(link),
            }
            Ok(())
        })
        .await?;
        Ok(stray)
    }

    fn find(&mut self, number: Control) -> Option<&mut LinkEntry> {
        let at = self.0.binary_search_by_key(&number, |entry| entry.number);
        self.0.get_mut(at.ok()?)
    }

    /// The entries without a row.
    pub(super) fn unseen(&self) -> impl Iterator<Item = Control> {
        let unseen = self.0.iter().filter(|entry| !entry.has_row);
        unseen.map(|entry| entry.number)
    }
}

fn hash(referee: &Account, chain: &[Account]) -> u64 {
    let mut text = referee.to_string();
    for account in chain {
        // Ids hold no line breaks.
        text.push('\n');
        text.push_str(&account.to_string());
    }
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// The link that was written with an entry. Its awards tell how far its milestone is; its code is
/// not known any more.
pub(super) async fn of_entry(db: &dyn Db, entry: Entry) -> Result<Option<Link>, StoreError> {
    let Change::Link { referee, chain } = entry.change else {
        return Ok(None);
    };
    let milestone = match chain.first() {
        None => return Ok(None),
        Some(referrer) => {
            let (signup, milestone) = (awards::signup_id(&referee), awards::milestone_id(&referee));
            match awards::is_granted(db, referrer, &milestone).await? {
                true => Milestone::Granted,
                false if awards::is_granted(db, referrer, &signup).await? => Milestone::Owed,
                false => Milestone::Elsewhere,
            }
        }
    };
    Ok(Some(Link {
        referee,
        chain,
        control: entry.number,
        linked_at: entry.written_at,
        milestone,
        code: None,
        token: entry.token,
    }))
}
