//! Pointers to awards that lie in the wrong place, or behind others that cannot be done.

use tidemark::domain::amount::Points;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::time::{Millis, Month};
use tidemark::pipeline::Settings;
use tidemark::store::awards::{Award, AwardKind, check_write, grant_writes};
use tidemark::store::db::{Db, Table};

use super::adapter::{self, InstantDb};
use super::quiet::{Quiet, START};
use super::workload::{HOUR, MINUTE, user};

fn november() -> Month {
    "2026-11".parse().unwrap()
}

fn award(account: &Account, id: &str, at: i64) -> Award {
    Award {
        id: id.to_owned(),
        account: account.clone(),
        kind: AwardKind::Adjustment,
        month: november(),
        points: Points::whole(1),
        granted_at: Millis(at),
        reason: "a test".to_owned(),
    }
}

fn bonus(quiet: &Quiet, account: &Account) -> Points {
    quiet.world.with(|inner| {
        let rows = adapter::month_rows(&inner.db, account).unwrap();
        let november = rows.get(&november());
        november.map_or(Points::ZERO, |stored| stored.row.bonus)
    })
}

fn pointers(quiet: &Quiet, queue: &str) -> usize {
    quiet.world.with(|inner| {
        let keys = inner.db.items.keys();
        let of_queue = |key: &&tidemark::store::db::Key| {
            key.table == Table::Checkpoints && key.hash.starts_with(queue)
        };
        keys.filter(of_queue).count()
    })
}

/// A user of the second of two posting partitions.
fn of_the_second() -> Account {
    let mut users = (1..).map(user);
    users.find(|user| user.partition(2).0 == 1).unwrap()
}

#[test]
fn a_grant_for_another_posting_partition_is_handed_over_and_ranked_once() {
    let mut quiet = Quiet::new(1, 2);
    let (ann, db) = (of_the_second(), quiet.db());
    // A `serve` that still believes in one posting partition.
    let grant = grant_writes(award(&ann, "a", START), 1);
    quiet.finish(async move { db.transact(grant).await.unwrap() });
    assert_eq!(pointers(&quiet, "pending#0"), 1);
    quiet.chat("r-1", ann.id());
    quiet.start_worker(Settings::default());
    quiet.pass(MINUTE);
    assert_eq!(bonus(&quiet, &ann), Points::whole(1));
    assert_eq!(pointers(&quiet, "pending#"), 0);
    let items = quiet.world.with(|inner| inner.db.items.clone());
    let ranked = adapter::leaderboard(&InstantDb(items), 2, AccountKind::User, november());
    let places: Vec<_> = ranked.iter().filter(|(id, _)| id == ann.id()).collect();
    assert!(
        matches!(places[..], [(_, points)] if *points > 1_000_000),
        "{ranked:?}"
    );
}

#[test]
fn checks_whose_links_are_gone_do_not_hold_up_what_comes_behind_them() {
    const CHECKS: u32 = 1_100;
    let mut quiet = Quiet::new(1, 1);
    let (ann, db) = (user(1), quiet.db());
    let grant = grant_writes(award(&ann, "a", START), 1);
    quiet.finish(async move {
        for number in 0..CHECKS {
            let at = Millis(START - HOUR - i64::from(number));
            db.write(check_write(&user(100 + number), at, 1))
                .await
                .unwrap();
        }
        db.transact(grant).await.unwrap();
    });
    quiet.start_worker(Settings::default());
    // Pages of the simulator's store are small.
    quiet.until(20 * MINUTE, |world| {
        world.with(|inner| {
            let rows = adapter::month_rows(&inner.db, &ann).unwrap();
            rows.contains_key(&november())
        })
    });
    quiet.pass(MINUTE);
    assert_eq!(bonus(&quiet, &ann), Points::whole(1));
    assert_eq!(pointers(&quiet, "pending#"), CHECKS as usize);
}

#[test]
fn the_queues_of_an_earlier_epoch_are_emptied_in_batches_and_do_not_hold_up_postings() {
    const AWARDS: u32 = 1_800;
    let mut quiet = Quiet::new(1, 2);
    quiet.start_worker(Settings::default());
    quiet.chat("r-1", "early");
    quiet.pass(10_000);
    quiet.next_epoch_with(1);
    let db = quiet.db();
    quiet.finish(async move {
        for number in 0..AWARDS {
            let account = user(number);
            let id = format!("award-{number}");
            let grant = grant_writes(award(&account, &id, START), 2);
            db.transact(grant).await.unwrap();
        }
    });
    assert!(pointers(&quiet, "pending#1") > 600);
    quiet.chat("r-2", "newcomer");
    quiet.start_worker(Settings::default());
    let newcomer = Account::new(AccountKind::User, "newcomer").unwrap();
    let mut left_when_posted = None;
    quiet.until(HOUR, |world| {
        world.with(|inner| {
            let left = |queue: &str| {
                let keys = inner.db.items.keys();
                keys.filter(|key| key.hash.starts_with(queue)).count()
            };
            let rows = adapter::month_rows(&inner.db, &newcomer).unwrap();
            if left_when_posted.is_none() && !rows.is_empty() {
                left_when_posted = Some(left("pending#1"));
            }
            left("pending#") == 0
        })
    });
    for number in 0..AWARDS {
        assert_eq!(bonus(&quiet, &user(number)), Points::whole(1), "{number}");
    }
    let left = left_when_posted.expect("the newcomer's event was posted");
    assert!(
        left > 0,
        "nothing was posted before all awards were handed over"
    );
}
