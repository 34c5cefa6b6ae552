//! Credits.

use tidemark::domain::amount::Money;
use tidemark::domain::time::Millis;
use tidemark::store::credits::{Added, CreditEntry, CreditError, add, added, ledger};

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
        assert_eq!(ledger(&db, "u").await.unwrap(), by_time);
        assert_eq!(added(&db, "v").await.unwrap().total, Money(1));
    });
}

#[test]
fn the_same_key_counts_once_and_with_another_amount_it_is_refused() {
    on_every_store(|db| async move {
        let first = add(&db, "u", &entry("k", 5, 1)).await.unwrap();
        assert_eq!(add(&db, "u", &entry("k", 5, 2)).await.unwrap(), first);
        let refused = add(&db, "u", &entry("k", 6, 3)).await;
        let expected = CreditError::KeyReused {
            key: "k".to_owned(),
            before: Money(5),
        };
        assert_eq!(refused, Err(expected));
        assert_eq!(added(&db, "u").await.unwrap().entries, 1);
    });
}

#[test]
fn what_cannot_be_kept_is_refused() {
    on_every_store(|db| async move {
        let huge = 10i128.pow(37);
        for (user, key, nanos) in [("", "k", 1), ("u", "", 1), ("u", "a\nb", 1)] {
            let refused = add(&db, user, &entry(key, nanos, 1)).await;
            assert!(matches!(refused, Err(CreditError::Id { .. })));
        }
        add(&db, "u", &entry("most", huge, 1)).await.unwrap();
        let refused = add(&db, "u", &entry("more", 1, 1)).await;
        assert_eq!(refused, Err(CreditError::TooMuch));
        assert_eq!(added(&db, "u").await.unwrap().total, Money(huge));
    });
}
