//! Awards, from their grant to the poster.

use tidemark::domain::amount::Points;
use tidemark::domain::ids::Account;
use tidemark::domain::position::Partition;
use tidemark::domain::time::{Millis, Month};
use tidemark::store::awards::{
    ADJUSTED_MAX, Adjustment, AdjustmentError, Award, AwardKind, Granted, Pending, Pointer, State,
    Task, adjustment, apply_pointer_write, awards_of, check_write, delete_pointer_write,
    grant_writes, list_pending, state_of,
};
use tidemark::store::db::{Db, StoreError};

use super::{PARTITIONS, on_every_store, provider, user};

fn award(account: &Account, id: &str, at: i64) -> Award {
    Award {
        id: id.to_owned(),
        account: account.clone(),
        kind: AwardKind::Signup,
        month: "2026-11".parse::<Month>().unwrap(),
        points: Points::whole(100),
        granted_at: Millis(at),
        reason: "x signed up".to_owned(),
    }
}

#[test]
fn an_award_is_pending_until_it_is_applied_once_and_its_record_stays() {
    on_every_store(|db| async move {
        let account = provider("p");
        let q = account.partition(PARTITIONS);
        let granted = award(&account, "signup#user:x", 5);
        let writes = grant_writes(granted.clone(), PARTITIONS);
        db.transact(writes.clone()).await.unwrap();
        assert_eq!(
            db.transact(writes).await,
            Err(StoreError::ConditionFailed),
            "granted once"
        );
        let pending = pending_of(&db, q).await;
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].state, State::Pending);
        assert_eq!(pending[0].task, Task::Award(granted.clone()));

        let failed = Err(StoreError::ConditionFailed);
        assert_eq!(db.write(delete_pointer_write(&pending[0])).await, failed);
        db.write(apply_pointer_write(&pending[0])).await.unwrap();
        assert_eq!(db.write(apply_pointer_write(&pending[0])).await, failed);
        let applied = pending_of(&db, q).await;
        assert_eq!(applied[0].state, State::Applied);
        let state = state_of(&db, &pending[0]).await.unwrap();
        assert_eq!(state, Some(State::Applied));
        for _ in 0..2 {
            db.write(delete_pointer_write(&applied[0])).await.unwrap();
        }
        assert_eq!(list_pending(&db, q).await.unwrap(), Pending::default());
        assert_eq!(state_of(&db, &pending[0]).await.unwrap(), None);
        assert_eq!(db.write(apply_pointer_write(&pending[0])).await, failed);
        assert_eq!(awards_of(&db, &account).await.unwrap(), [granted]);
    });
}

async fn pending_of(db: &dyn Db, partition: Partition) -> Vec<Pointer> {
    let pending = list_pending(db, partition).await.unwrap();
    assert_eq!(pending.unreadable, []);
    pending.pointers
}

#[test]
fn pointers_come_oldest_first_and_checks_among_them() {
    on_every_store(|db| async move {
        // All in one partition.
        let one = user("u");
        let mut writes = Vec::new();
        for (id, at) in [("c", 30), ("a", 9), ("b", 1_000)] {
            writes.extend(grant_writes(award(&one, id, at), 1));
        }
        writes.push(check_write(&user("referee"), Millis(20), 1));
        db.transact(writes).await.unwrap();
        let pending = pending_of(&db, one.partition(1)).await;
        let tasks: Vec<String> = pending
            .iter()
            .map(|pointer| match &pointer.task {
                Task::Award(award) => award.id.clone(),
                Task::Check { referee } => format!("check {referee}"),
            })
            .collect();
        assert_eq!(tasks, ["a", "check user:referee", "c", "b"]);
        db.write(delete_pointer_write(&pending[1])).await.unwrap();
        let left = pending_of(&db, one.partition(1)).await;
        assert_eq!(left.len(), 3);
        let by_time: Vec<String> = awards_of(&db, &one)
            .await
            .unwrap()
            .into_iter()
            .map(|award| award.id)
            .collect();
        assert_eq!(by_time, ["a", "c", "b"]);
    });
}

#[test]
fn the_longest_ids_fit_into_every_key() {
    on_every_store(|db| async move {
        let long = |c: char| c.to_string().repeat(128);
        let account = provider(&long('🌊'));
        let referee = provider(&long('🐚'));
        let signup = tidemark::store::awards::signup_id(&referee);
        let mut writes = grant_writes(award(&account, &signup, 1), PARTITIONS);
        writes.push(check_write(&referee, Millis(1), PARTITIONS));
        db.transact(writes).await.unwrap();
        let key = long('🗝');
        let granted = adjustment(&db, &correction(&account, &key, 1), PARTITIONS).await;
        assert_eq!(granted, Ok(Granted::Now));
        assert_eq!(awards_of(&db, &account).await.unwrap().len(), 2);
    });
}

fn correction(account: &Account, key: &str, points: i64) -> Adjustment {
    Adjustment {
        account: account.clone(),
        points: Points::whole(points),
        reason: "goodwill".to_owned(),
        idempotency_key: key.to_owned(),
        by: "admin".to_owned(),
        now: Millis(1_795_000_000_000),
    }
}

#[test]
fn an_adjustment_counts_once_per_account_and_key() {
    on_every_store(|db| async move {
        let u = user("u");
        let minus = correction(&u, "k", -3);
        let first = adjustment(&db, &minus, PARTITIONS).await;
        assert_eq!(first, Ok(Granted::Now));
        let again = adjustment(&db, &minus, PARTITIONS).await;
        assert_eq!(again, Ok(Granted::Before));
        let other = adjustment(&db, &correction(&u, "k", 3), PARTITIONS).await;
        let reused = AdjustmentError::KeyReused {
            key: "k".to_owned(),
            before: Points::whole(-3),
        };
        assert_eq!(other, Err(reused));
        let elsewhere = correction(&provider("u"), "k", 3);
        let elsewhere = adjustment(&db, &elsewhere, PARTITIONS).await;
        assert_eq!(elsewhere, Ok(Granted::Now));
        let no_key = adjustment(&db, &correction(&u, "", 3), PARTITIONS).await;
        assert!(matches!(no_key, Err(AdjustmentError::Key(_))));
        let granted = awards_of(&db, &u).await.unwrap();
        assert_eq!(granted.len(), 1);
        assert_eq!(granted[0].month, minus.now.month());
        assert_eq!(granted[0].points, Points::whole(-3));
        assert!(granted[0].reason.contains("goodwill") && granted[0].reason.contains("admin"));
    });
}

#[test]
fn what_was_granted_before_there_was_a_sum_counts_to_it() {
    on_every_store(|db| async move {
        let u = user("u");
        let granted = Award {
            kind: AwardKind::Adjustment,
            points: ADJUSTED_MAX,
            ..award(&u, "adjustment#old", 1)
        };
        db.transact(grant_writes(granted, PARTITIONS))
            .await
            .unwrap();
        let more = correction(&u, "new", -1);
        let exceeded = AdjustmentError::Exceeded {
            account: u.clone(),
            adjusted: ADJUSTED_MAX,
            points: Points::whole(-1),
        };
        let refused = adjustment(&db, &more, PARTITIONS).await;
        assert_eq!(refused, Err(exceeded));
        assert_eq!(awards_of(&db, &u).await.unwrap().len(), 1);
    });
}
