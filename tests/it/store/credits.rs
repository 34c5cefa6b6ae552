//! Credits.

use tidemark::domain::amount::Money;
use tidemark::domain::time::Millis;
use tidemark::store::credits::{
    AMOUNT_MAX, Added, CreditEntry, CreditError, add, added, book, ledger,
};

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
