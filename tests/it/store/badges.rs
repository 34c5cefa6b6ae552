//! Badges in the store: granted once, decided in order, keys that are made once.

use futures::future::join_all;
use tidemark::domain::badges::{BadgeId, Evidence};
use tidemark::domain::ids::AccountKind;
use tidemark::domain::position::{Control, WriteId};
use tidemark::domain::time::Millis;
use tidemark::store::audit;
use tidemark::store::badges::{
    Decision, Grant, SweepProgress, SweepStage, at_address, badge_of, badges_of, current_key,
    decide, grant_writes, public_keys, rotate_key, sweep_progress, sweep_progress_write,
};
use tidemark::store::conditional::{WriteOutcome, write_once};
use tidemark::store::db::Db as _;
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::tables::create_tables;

use super::{client, embedded_endpoint, settings, user};

const NOW: Millis = Millis(1_795_348_800_000);

async fn store() -> DynamoDb {
    let db = client(&settings(embedded_endpoint()));
    create_tables(&db).await.unwrap();
    db
}

fn badge() -> BadgeId {
    "week-streak".parse().unwrap()
}

fn grant(count: u64) -> Grant {
    let write = WriteId { worker: 5, count };
    let mut grant = Grant::new(user("ann"), badge(), Evidence::Streak { days: 7 }, write);
    grant.granted_at = NOW;
    grant
}

#[tokio::test]
async fn of_workers_that_grant_a_badge_at_once_one_does_and_only_its_address_leads_there() {
    let db = store().await;
    let grants: Vec<Grant> = (1..=8).map(grant).collect();
    let outcomes = grants
        .iter()
        .map(|grant| write_once(&db, grant_writes(grant)));
    let outcomes = join_all(outcomes).await;
    let written = outcomes
        .iter()
        .filter(|outcome| **outcome == Ok(WriteOutcome::Written));
    assert_eq!(written.count(), 1, "{outcomes:?}");
    let all = badges_of(&db, &user("ann")).await.unwrap();
    assert_eq!(all.len(), 1);
    for grant in &grants {
        let found = at_address(&db, grant.address).await.unwrap();
        let is_it = grant.address == all[0].address;
        assert_eq!(found.as_ref(), is_it.then_some(&all[0]));
    }
}

#[tokio::test]
async fn each_decision_that_changes_a_badge_has_one_audit_entry_and_a_late_grant_changes_nothing() {
    let db = store().await;
    let unknown = decide(&db, &user("ann"), &badge(), &decision(true, 0)).await;
    assert_eq!(unknown, Ok(None));
    write_once(&db, grant_writes(&grant(1))).await.unwrap();
    let decisions = (1..=12).map(|number| decision(number % 2 == 1, number));
    let decisions: Vec<Decision> = decisions.collect();
    let (account, id) = (user("ann"), badge());
    let all = decisions
        .iter()
        .map(|decision| decide(&db, &account, &id, decision));
    for (decision, decided) in decisions.iter().zip(join_all(all).await) {
        let decided = decided.unwrap().unwrap();
        assert_eq!(decided.revoked.is_some(), decision.revoke);
    }
    let late = write_once(&db, grant_writes(&grant(2))).await;
    assert_eq!(late, Ok(WriteOutcome::ByAnother));
    let page = audit::page(&db, None, 100).await.unwrap();
    // Revocations and restorations take turns, so that there is at most one more of the former.
    let count = |action: &str| {
        let entries = page.entries.iter();
        entries.filter(|entry| entry.action == action).count()
    };
    let (revoked, restored) = (count("badges.revoke"), count("badges.restore"));
    let is_revoked = badge_of(&db, &account, &id).await.unwrap().unwrap();
    let is_revoked = is_revoked.revoked.is_some();
    assert_eq!(revoked, restored + usize::from(is_revoked));
    assert!(revoked >= 1);
}

fn decision(revoke: bool, number: u64) -> Decision {
    Decision {
        revoke,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: NOW.plus(number as i64),
        token: format!("t-{number}"),
    }
}

#[tokio::test]
async fn a_key_is_made_once_and_rotation_keeps_every_public_part() {
    let db = store().await;
    let made = join_all((0..6).map(|_| current_key(&db, NOW))).await;
    let ids: Vec<String> = made.into_iter().map(|key| key.unwrap().id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(public_keys(&db).await.unwrap().len(), 1);
    let rotated = join_all((0..3).map(|n| rotate_key(&db, "a test", "a test", NOW.plus(n)))).await;
    let rotated: Vec<String> = rotated.into_iter().map(|key| key.unwrap().id).collect();
    let public = public_keys(&db).await.unwrap();
    assert_eq!(public.len(), 4, "{public:?}");
    let current = current_key(&db, NOW).await.unwrap();
    assert!(rotated.contains(&current.id));
    let shown = format!("{current:?}");
    assert!(
        !shown.contains("pkcs8") && !shown.contains("pair"),
        "{shown}"
    );
    // What it signs, its public part checks.
    let key = public.iter().find(|key| key.id == current.id).unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &key.x);
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, bytes.unwrap());
    public
        .verify(b"a message", &current.sign(b"a message"))
        .unwrap();
    assert!(
        public
            .verify(b"another", &current.sign(b"a message"))
            .is_err()
    );
}

#[tokio::test]
async fn how_far_a_sweep_has_come_is_read_as_it_was_written() {
    let db = store().await;
    assert_eq!(sweep_progress(&db).await, Ok(None));
    let month = "2026-10".parse().unwrap();
    let ann = Some(("ann".to_owned(), month));
    for (stage, newest) in [
        (SweepStage::Accounts(AccountKind::User, None), None),
        (SweepStage::Accounts(AccountKind::User, ann), Some(month)),
        (SweepStage::Links, Some(month)),
        (SweepStage::Ranks(month, AccountKind::Provider), Some(month)),
    ] {
        let progress = SweepProgress {
            rules: Control(7),
            month: newest,
            unreadable: 1,
            stage,
        };
        db.write(sweep_progress_write(&progress)).await.unwrap();
        assert_eq!(sweep_progress(&db).await, Ok(Some(progress)));
    }
}
