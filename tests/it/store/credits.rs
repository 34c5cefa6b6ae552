//! Credits.

use tidemark::domain::amount::Money;
use tidemark::domain::time::Millis;
use tidemark::store::credits::{
    AMOUNT_MAX, Added, CreditEntry, CreditError, LedgerOrder, add, added, book, is_listed,
    list_all, page,
};
use tidemark::store::db::{Attr, Condition, Db, Item, Key, Table, Write};

use super::on_every_store;

fn entry(key: &str, nanos: i128, at: i64) -> CreditEntry {
    CreditEntry {
        idempotency_key: key.to_owned(),
        amount: Money(nanos),
        reason: "top-up".to_owned(),
        by: "admin".to_owned(),
        at: Millis(at),
    }
}

/// All entries, oldest first.
async fn ledger(db: &dyn Db, user: &str) -> Vec<CreditEntry> {
    let found = page(db, user, LedgerOrder::OldestFirst, None, 1_000).await;
    let found = found.unwrap();
    assert!(!found.has_more);
    found.entries
}

#[test]
fn the_sum_is_that_of_the_ledger_and_each_user_has_its_own() {
    on_every_store(|db| async move {
        assert_eq!(added(&db, "u").await.unwrap(), Added::default());
        let all = [
            entry("late", 5, 30),
            entry("early", 7, 10),
            entry("back", -20, 20),
        ];
        for one in &all {
            add(&db, "u", one).await.unwrap();
        }
        add(&db, "v", &entry("late", 1, 1)).await.unwrap();
        let sum = added(&db, "u").await.unwrap();
        assert_eq!((sum.total, sum.entries), (Money(-8), 3));
        let by_time = [all[1].clone(), all[2].clone(), all[0].clone()];
        assert_eq!(ledger(&db, "u").await, by_time);
        assert_eq!(added(&db, "v").await.unwrap().total, Money(1));
    });
}

#[test]
fn the_same_key_counts_once_and_with_another_amount_or_reason_it_is_refused() {
    on_every_store(|db| async move {
        let first = add(&db, "u", &entry("k", 5, 1)).await.unwrap();
        assert_eq!(add(&db, "u", &entry("k", 5, 2)).await.unwrap(), first);
        let again = book(&db, "u", &entry("k", 5, 2)).await.unwrap();
        assert_eq!(again.before, Some(Millis(1)));
        let other_reason = CreditEntry {
            reason: "another".to_owned(),
            ..entry("k", 5, 3)
        };
        for other in [entry("k", 6, 3), other_reason] {
            let refused = add(&db, "u", &other).await;
            let expected = CreditError::KeyReused {
                key: "k".to_owned(),
                before: Money(5),
                reason: "top-up".to_owned(),
                at: Millis(1),
            };
            assert_eq!(refused, Err(expected));
        }
        assert_eq!(added(&db, "u").await.unwrap().entries, 1);
    });
}

#[test]
fn what_cannot_be_kept_is_refused() {
    on_every_store(|db| async move {
        for (user, key, nanos) in [("", "k", 1), ("u", "", 1), ("u", "a\nb", 1)] {
            let refused = add(&db, user, &entry(key, nanos, 1)).await;
            assert!(matches!(refused, Err(CreditError::Id { .. })));
        }
        let most = AMOUNT_MAX.0;
        add(&db, "u", &entry("most", most, 1)).await.unwrap();
        add(&db, "u", &entry("least", -most, 1)).await.unwrap();
        add(&db, "u", &entry("a little", 1, 1)).await.unwrap();
        for nanos in [most + 1, -most - 1, i128::MAX, i128::MIN] {
            let refused = add(&db, "u", &entry("more", nanos, 1)).await;
            assert_eq!(refused, Err(CreditError::Amount(Money(nanos))));
        }
        let refused = add(&db, "u", &entry("none", 0, 1)).await;
        assert_eq!(refused, Err(CreditError::Zero));
        assert_eq!(added(&db, "u").await.unwrap().total, Money(1));
    });
}

#[test]
fn a_page_has_the_entries_behind_the_last_one_and_says_whether_there_are_more() {
    on_every_store(|db| async move {
        let mut by_time = Vec::new();
        for n in 0..6 {
            // Two at each moment: the key decides between them.
            let one = entry(&format!("k#{n}"), 1, n / 2);
            add(&db, "u", &one).await.unwrap();
            by_time.push(one);
        }
        add(&db, "v", &entry("k#9", 1, 0)).await.unwrap();
        for order in [LedgerOrder::OldestFirst, LedgerOrder::NewestFirst] {
            for limit in [1, 2, 3, 5, 6, 7] {
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let part = page(&db, "u", order, after.as_ref(), limit).await.unwrap();
                    assert!(!part.entries.is_empty(), "{order:?} {limit}: an empty page");
                    assert!(part.entries.len() <= limit);
                    after = part.entries.last().cloned();
                    found.extend(part.entries);
                    if !part.has_more {
                        break;
                    }
                }
                if order == LedgerOrder::NewestFirst {
                    found.reverse();
                }
                assert_eq!(found, by_time, "{order:?} {limit}");
            }
        }
    });
}

/// Makes of a user's rows what a version of tidemark without the list by time left.
async fn forget_list(db: &dyn Db, user: &str) {
    for one in ledger(db, user).await {
        let range = format!("at#{}#{}", one.at, one.idempotency_key);
        let delete = Write::Delete {
            key: Key::new(Table::UserCredits, user, range),
            condition: Condition::Present,
        };
        db.write(delete).await.unwrap();
    }
    put_balance_of_old_version(db, user).await;
}

async fn put_balance_of_old_version(db: &dyn Db, user: &str) {
    let key = Key::new(Table::UserCredits, user, "balance");
    let balance = db.get(&key).await.unwrap().unwrap();
    let mut old: Item = key.item();
    for name in ["added", "entries"] {
        old.insert(name, balance.get(name).unwrap().clone());
    }
    let put = Write::Put {
        table: Table::UserCredits,
        item: old,
        condition: Condition::Present,
    };
    db.write(put).await.unwrap();
}

#[test]
fn what_an_older_version_added_is_listed_once() {
    on_every_store(|db| async move {
        assert!(is_listed(&db, "u").await.unwrap(), "no entries");
        list_all(&db, "u").await.unwrap();
        let count = 230;
        let all: Vec<CreditEntry> = (0..count)
            .map(|n| entry(&format!("k{n:03}"), 1, count - n))
            .collect();
        for one in &all {
            add(&db, "u", one).await.unwrap();
        }
        let mut by_time = ledger(&db, "u").await;
        assert!(by_time.is_sorted_by_key(|one| one.at));
        forget_list(&db, "u").await;
        assert!(!is_listed(&db, "u").await.unwrap());
        assert_eq!(ledger(&db, "u").await, []);
        // Whoever adds an entry does not say that those of before are in the list.
        let new = entry("new", 1, 1_000);
        add(&db, "u", &new).await.unwrap();
        by_time.push(new);
        assert!(!is_listed(&db, "u").await.unwrap());
        let (one, other) = futures::join!(list_all(&db, "u"), list_all(&db, "u"));
        one.and(other).unwrap();
        assert!(is_listed(&db, "u").await.unwrap());
        assert_eq!(ledger(&db, "u").await, by_time);
        // An older version beside this one, which writes no row of the list.
        let old = entry("old", 1, 500);
        add(&db, "u", &old).await.unwrap();
        let row = Key::new(Table::UserCredits, "u", format!("at#{}#old", old.at));
        let delete = Write::Delete {
            key: row,
            condition: Condition::Present,
        };
        db.write(delete).await.unwrap();
        put_balance_of_old_version(&db, "u").await;
        assert!(!is_listed(&db, "u").await.unwrap());
        list_all(&db, "u").await.unwrap();
        by_time.insert(by_time.len() - 1, old);
        assert_eq!(ledger(&db, "u").await, by_time);
        assert!(is_listed(&db, "u").await.unwrap());
        let sum = added(&db, "u").await.unwrap();
        assert_eq!((sum.total, sum.entries), (Money(232), 232));
    });
}

#[test]
fn a_list_of_other_entries_than_the_balance_counts_is_never_called_complete() {
    on_every_store(|db| async move {
        add(&db, "u", &entry("k", 1, 1)).await.unwrap();
        add(&db, "u", &entry("l", 1, 2)).await.unwrap();
        forget_list(&db, "u").await;
        let key = Key::new(Table::UserCredits, "u", "balance");
        let mut balance = db.get(&key).await.unwrap().unwrap();
        balance.insert("entries", Attr::N(3));
        let put = Write::Put {
            table: Table::UserCredits,
            item: balance,
            condition: Condition::Present,
        };
        db.write(put).await.unwrap();
        list_all(&db, "u").await.unwrap();
        assert!(!is_listed(&db, "u").await.unwrap());
        assert_eq!(ledger(&db, "u").await.len(), 2, "what there is, is listed");
    });
}
