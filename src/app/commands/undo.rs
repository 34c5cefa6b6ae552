//! Undoing an entry of a user's credits, or a correction of points: by a counter-entry, since
//! entries are never changed. Its key follows from that of the entry, so that an entry is undone
//! once, whoever asks for it and however often.

use std::collections::{BTreeMap, BTreeSet};

use super::{Adjusted, Booked, Commands, NewAdjustment, NewCredit};
use crate::app::queries::{CreditLine, QueryError};
use crate::app::{CommandError, Refusal};
use crate::domain::amount::{Money, Points};
use crate::domain::ids::{Account, check_id};
use crate::domain::text::REASON_CHARS_MAX;
use crate::domain::time::Millis;
use crate::store::credits;

/// The counter-entry of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterEntry<N> {
    /// What it books.
    pub new: N,
    /// Whether it stands there already: the entry is undone.
    pub is_booked: bool,
}

impl Commands {
    /// The counter-entry to the entry of a user's credits with this key.
    pub async fn counter_credit(
        &self,
        user: &Account,
        key: &str,
        by: &str,
    ) -> Result<CounterEntry<NewCredit>, CommandError> {
        check_key(key)?;
        let counter_key = key_of_undo(key);
        let keys = [key, counter_key.as_str()];
        let [entry, counter] = credits::entries(self.db(), user.id(), keys).await?;
        let entry = entry.ok_or_else(|| unknown("credit", key))?;
        let amount = Money::ZERO.minus(entry.amount);
        let counter = counter.filter(|counter| counter.amount == amount);
        let is_booked = counter.is_some();
        let reason = counter.map_or_else(
            || reason_of_undo(&format!("{} USD", entry.amount), entry.at, &entry.reason),
            |counter| counter.reason,
        );
        Ok(CounterEntry {
            new: NewCredit {
                user: user.id().to_owned(),
                amount,
                reason,
                idempotency_key: counter_key,
                by: by.to_owned(),
            },
            is_booked,
        })
    }

    /// The keys of those of these entries that are undone. Reads at most one row for each.
    pub async fn undone_credits(
        &self,
        user: &Account,
        entries: &[CreditLine],
    ) -> Result<BTreeSet<String>, QueryError> {
        let counters = entries.iter();
        let counters: BTreeMap<String, &CreditLine> = counters
            .map(|entry| (key_of_undo(&entry.key), entry))
            .collect();
        let keys = counters.keys().cloned();
        let booked = credits::entries_with(self.db(), user.id(), keys).await?;
        let undone = booked.iter().filter_map(|counter| {
            let entry = counters.get(&counter.idempotency_key)?;
            let is_back = counter.amount == Money::ZERO.minus(entry.amount);
            is_back.then(|| entry.key.clone())
        });
        Ok(undone.collect())
    }

    /// Undoes an entry of a user's credits; again changes nothing.
    pub async fn undo_credit(
        &self,
        user: &Account,
        key: &str,
        by: &str,
    ) -> Result<(NewCredit, Booked), CommandError> {
        let counter = self.counter_credit(user, key, by).await?.new;
        let booked = self.add_credit(counter.clone()).await?;
        Ok((counter, booked))
    }

    /// The counter-entry to the correction of an account's points with this key. It is booked in the
    /// month in which it is made.
    pub async fn counter_adjustment(
        &self,
        account: &Account,
        key: &str,
        by: &str,
    ) -> Result<CounterEntry<NewAdjustment>, CommandError> {
        check_key(key)?;
        let counter_key = key_of_undo(key);
        let award = self.queries.adjustment(account, key).await?;
        let award = award.ok_or_else(|| unknown("adjustment", key))?;
        let counter = self.queries.adjustment(account, &counter_key).await?;
        let points = Points::ZERO.minus(award.points);
        let what = format!("{} points", award.points);
        Ok(CounterEntry {
            new: NewAdjustment {
                account: account.clone(),
                points,
                reason: reason_of_undo(&what, award.granted_at, without_author(&award.reason)),
                idempotency_key: counter_key,
                by: by.to_owned(),
            },
            is_booked: counter.is_some_and(|counter| counter.points == points),
        })
    }

    /// Undoes a correction of an account's points; again changes nothing.
    pub async fn undo_adjustment(
        &self,
        account: &Account,
        key: &str,
        by: &str,
    ) -> Result<(NewAdjustment, Adjusted), CommandError> {
        let counter = self.counter_adjustment(account, key, by).await?.new;
        let adjusted = self.adjust(counter.clone()).await?;
        Ok((counter, adjusted))
    }
}

fn check_key(key: &str) -> Result<(), Refusal> {
    check_id(key).map_err(|error| Refusal::invalid("invalid_idempotency_key", error))
}

fn unknown(what: &str, key: &str) -> Refusal {
    let detail =
        format!("this account has no {what} with the key {key}, so there is nothing to undo");
    Refusal::not_found("unknown_entry", detail)
}

/// The reason of an adjustment as its author gave it: with the award it is stored as
/// `reason (author)`, and an author may have parentheses of his own.
fn without_author(stored: &str) -> &str {
    let mut open = 0_usize;
    for (at, c) in stored.char_indices().rev() {
        match c {
            ')' => open += 1,
            '(' if open == 1 => return stored.get(..at).unwrap_or(stored).trim_end(),
            '(' => open = open.saturating_sub(1),
            _ if open == 0 => return stored,
            _ => {}
        }
    }
    stored
}

/// The reason of a counter-entry. What reasons may not hold today is left out of one that was stored
/// before there were limits.
fn reason_of_undo(amount: &str, at: Millis, reason: &str) -> String {
    let at = at.to_string();
    // To the second, as pages show it.
    let at = at.get(..19).unwrap_or(&at).replace('T', " ");
    let text = format!("undoes {amount} of {at}: {reason}");
    let allowed = text.chars().filter(|c| !c.is_control());
    let text: String = allowed.take(REASON_CHARS_MAX).collect();
    text.trim_end().to_owned()
}

/// The idempotency key of the counter-entry to an entry with this key.
pub fn key_of_undo(key: &str) -> String {
    const UNDO: &str = "undo-";
    /// Ids have 128 bytes.
    const KEPT_BYTES: usize = 120;
    match key.len() <= KEPT_BYTES {
        true => format!("{UNDO}{key}"),
        false => format!("{UNDO}{:032x}", xxhash_rust::xxh3::xxh3_128(key.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::without_author;

    #[test]
    fn a_counter_entry_does_not_repeat_who_made_the_entry() {
        for (stored, reason) in [
            ("double bonus (ann)", "double bonus"),
            ("a (b) c (key f00 (commands of this machine))", "a (b) c"),
            ("undoes 3 points: x (ann) (bob)", "undoes 3 points: x (ann)"),
            ("nothing behind it", "nothing behind it"),
            ("unbalanced) (ann)", "unbalanced)"),
            ("unbalanced)", "unbalanced)"),
            ("(ann)", ""),
            ("", ""),
        ] {
            assert_eq!(without_author(stored), reason, "{stored}");
        }
    }
}
