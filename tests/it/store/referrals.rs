//! Codes and links.

use tidemark::domain::amount::Points;
use tidemark::domain::ids::Account;
use tidemark::domain::position::{Control, Partition};
use tidemark::domain::time::Millis;
use tidemark::store::awards::{AwardKind, Task, awards_of, list_pending, milestone_id};
use tidemark::store::control::{self, Change};
use tidemark::store::db::{Db, Key, StoreError, Table};
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::referrals::{
    AwardPolicy, Link, Milestone, Referrer, SignupError, SignupRequest, Switch, code_for,
    grant_milestone_writes, link_of, links_of, lookup, referees, set_active, signup,
};

use super::torn::Torn;
use super::{PARTITIONS, on_every_store, provider, user};

const NOW: Millis = Millis(1_795_000_000_000);

fn by(referrer: Referrer, referee: &Account, token: &str) -> SignupRequest {
    SignupRequest {
        referrer,
        referee: referee.clone(),
        now: NOW,
        token: token.to_owned(),
        awards: AwardPolicy::Pay(Points::whole(100)),
        by: None,
    }
}

fn switch(active: bool) -> Switch {
    Switch {
        active,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: NOW,
    }
}

fn by_account(referrer: &Account, referee: &Account) -> SignupRequest {
    let token = format!("{referee}<-{referrer}");
    by(Referrer::Account(referrer.clone()), referee, &token)
}

async fn sign_up(db: &dyn Db, request: &SignupRequest) -> Result<Link, String> {
    match signup(db, request, PARTITIONS).await {
        Ok(signup) => Ok(signup.link),
        Err(SignupError::Refused(refusal)) => Err(refusal.code().to_owned()),
        Err(SignupError::Store(error)) => panic!("{error}"),
    }
}

#[test]
fn an_account_has_one_code_which_is_found_as_people_type_it() {
    on_every_store(|db| async move {
        let anna = user("anna");
        let code = code_for(&db, &anna, 1, NOW, None).await.unwrap();
        assert!(code.code.starts_with("ANNA-"), "{}", code.code);
        assert_eq!(code_for(&db, &anna, 2, NOW, None).await.unwrap(), code);
        let typed = format!("  {} ", code.code.to_lowercase());
        assert_eq!(lookup(&db, &typed).await.unwrap(), Some(code.clone()));
        for nothing in ["", "   ", "ANNA", "ANNA-22222", "#h"] {
            assert_eq!(lookup(&db, nothing).await.unwrap(), None);
        }
        // Same random number, same letters: the other account gets the next free one.
        let other = code_for(&db, &provider("anna"), 1, NOW, None)
            .await
            .unwrap();
        assert_ne!(other.code, code.code);
        assert_eq!(other.owner, provider("anna"));
    });
}

#[test]
fn a_signup_leaves_a_link_an_entry_an_award_and_a_check() {
    on_every_store(|db| async move {
        let (anna, bert) = (user("anna"), provider("bert"));
        let code = code_for(&db, &anna, 1, NOW, None).await.unwrap();
        let request = by(Referrer::Code(code.code.clone()), &bert, "t");
        let link = sign_up(&db, &request).await.unwrap();
        assert_eq!(link.chain, std::slice::from_ref(&anna));
        assert_eq!((link.control, link.linked_at), (Control(1), NOW));
        assert_eq!(link.milestone, Milestone::Owed);
        assert_eq!(link_of(&db, &bert).await.unwrap(), Some(link.clone()));
        assert_eq!(lookup(&db, &code.code).await.unwrap().unwrap().signups, 1);
        let entries = control::entries(&db, Control(0), Control(1)).await.unwrap();
        let change = Change::Link {
            referee: bert.clone(),
            chain: vec![anna.clone()],
        };
        assert_eq!(entries[0].change, change);
        let awards = awards_of(&db, &anna).await.unwrap();
        assert_eq!(awards.len(), 1);
        assert_eq!(awards[0].kind, AwardKind::Signup);
        assert_eq!(awards[0].points, Points::whole(100));
        assert_eq!(awards[0].month, NOW.month());
        let task = Task::Award(awards[0].clone());
        assert!(tasks(&db, &anna).await.contains(&task));
        let check = Task::Check {
            referee: bert.clone(),
        };
        assert!(tasks(&db, &bert).await.contains(&check));

        // The same signup again: what it did before.
        assert_eq!(sign_up(&db, &request).await.unwrap(), link);
        assert_eq!(lookup(&db, &code.code).await.unwrap().unwrap().signups, 1);
        assert_eq!(control::head(&db).await.unwrap(), Control(1));
    });
}

async fn tasks(db: &dyn Db, account: &Account) -> Vec<Task> {
    let q: Partition = account.partition(PARTITIONS);
    let pending = list_pending(db, q).await.unwrap();
    assert_eq!(pending.unreadable, []);
    pending.pointers.into_iter().map(|of| of.task).collect()
}

#[test]
fn the_chain_is_the_three_nearest_referrers_as_they_are_at_that_moment() {
    on_every_store(|db| async move {
        let all: Vec<Account> = ["a", "b", "c", "d", "e"].map(user).to_vec();
        for pair in all.windows(2) {
            sign_up(&db, &by_account(&pair[0], &pair[1])).await.unwrap();
        }
        let links = links_of(&db, &all).await.unwrap();
        let chains: Vec<Vec<&str>> = links
            .iter()
            .map(|link| {
                link.iter()
                    .flat_map(|l| &l.chain)
                    .map(Account::id)
                    .collect()
            })
            .collect();
        let expected: [&[&str]; 5] = [&[], &["a"], &["b", "a"], &["c", "b", "a"], &["d", "c", "b"]];
        assert_eq!(chains, expected);
        // A referrer who signs up later does not change the chains below it.
        sign_up(&db, &by_account(&provider("z"), &all[0]))
            .await
            .unwrap();
        let after = links_of(&db, &all[1..]).await.unwrap();
        assert_eq!(after, links[1..]);
    });
}

#[test]
fn every_refusal_has_its_code_and_changes_nothing() {
    on_every_store(|db| async move {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(user);
        for (referrer, referee) in [(&a, &b), (&b, &c), (&c, &d)] {
            sign_up(&db, &by_account(referrer, referee)).await.unwrap();
        }
        let mut codes = Vec::new();
        for owner in [&a, &b, &c, &d] {
            codes.push(code_for(&db, owner, 5, NOW, None).await.unwrap().code);
        }
        set_active(&db, &codes[1], &switch(false))
            .await
            .unwrap()
            .unwrap();
        let new = user("new");
        let rows = [
            ("ZZZZ-22222", &new, "unknown_code"),
            ("nonsense", &new, "unknown_code"),
            (&codes[1], &new, "inactive_code"),
            (&codes[0], &a, "own_code"),
            (&codes[0], &provider("a"), "own_code"),
            (&codes[2], &a, "cycle"),
            (&codes[3], &a, "cycle"),
            (&codes[3], &b, "cycle"),
            (&codes[0], &d, "already_referred"),
        ];
        let head = control::head(&db).await.unwrap();
        for (code, referee, expected) in rows {
            let request = by(Referrer::Code(code.to_owned()), referee, "refused");
            let result = sign_up(&db, &request).await;
            assert_eq!(result, Err(expected.to_owned()), "{referee} by {code}");
        }
        assert_eq!(control::head(&db).await.unwrap(), head);
        set_active(&db, &codes[1], &switch(true))
            .await
            .unwrap()
            .unwrap();
        let request = by(Referrer::Code(codes[1].clone()), &new, "t");
        sign_up(&db, &request).await.unwrap();
        assert_eq!(
            set_active(&db, "ZZZZ-22222", &switch(true)).await.unwrap(),
            None
        );
    });
}

#[test]
fn a_link_whose_awards_are_paid_elsewhere_pays_none() {
    on_every_store(|db| async move {
        let request = SignupRequest {
            awards: AwardPolicy::Elsewhere,
            ..by_account(&user("a"), &user("b"))
        };
        let link = sign_up(&db, &request).await.unwrap();
        assert_eq!(link.milestone, Milestone::Elsewhere);
        assert_eq!(awards_of(&db, &user("a")).await.unwrap(), []);
        assert_eq!(tasks(&db, &user("a")).await, []);
        assert_eq!(tasks(&db, &user("b")).await, []);
        let none = grant_milestone_writes(&link, NOW, Points::whole(200), NOW, PARTITIONS);
        assert_eq!(none, []);
    });
}

#[test]
fn a_milestone_is_granted_once_in_the_month_of_the_later_of_its_two_times() {
    on_every_store(|db| async move {
        let month_later = NOW.plus(31 * 86_400_000);
        let rows = [
            ("before the link", NOW.plus(-90 * 86_400_000), NOW),
            ("after it", month_later, month_later),
        ];
        for (referee, fifty_at, counts_at) in rows {
            let (a, b) = (user("a"), user(referee));
            let link = sign_up(&db, &by_account(&a, &b)).await.unwrap();
            let points = Points::whole(200);
            let writes = grant_milestone_writes(&link, fifty_at, points, NOW, PARTITIONS);
            db.transact(writes.clone()).await.unwrap();
            let again = db.transact(writes).await;
            assert_eq!(again, Err(StoreError::ConditionFailed));
            let granted = link_of(&db, &b).await.unwrap().unwrap();
            assert_eq!(granted.milestone, Milestone::Granted);
            assert_eq!(
                (&granted.chain, granted.control),
                (&link.chain, link.control)
            );
            let none = grant_milestone_writes(&granted, fifty_at, points, NOW, PARTITIONS);
            assert_eq!(none, []);
            let awards = awards_of(&db, &a).await.unwrap();
            let id = milestone_id(&b);
            let award = awards.iter().find(|award| award.id == id).unwrap();
            assert_eq!((award.points, award.month), (points, counts_at.month()));
            // The signup is known as done still, though the row has changed.
            let repeat = sign_up(&db, &by_account(&a, &b)).await.unwrap();
            assert_eq!(repeat.milestone, Milestone::Granted);
        }
    });
}

#[test]
fn an_account_finds_whom_it_referred() {
    on_every_store(|db| async move {
        let a = user("a");
        let below: Vec<Account> = (0..30).map(|i| provider(&format!("r{i}"))).collect();
        for referee in &below {
            sign_up(&db, &by_account(&a, referee)).await.unwrap();
        }
        sign_up(&db, &by_account(&below[0], &user("deeper")))
            .await
            .unwrap();
        let mut found = Vec::new();
        for _ in 0..20 {
            let read = referees(&db, &a, 1_000).await.unwrap();
            assert!(read.is_whole);
            found = read.links;
            if found.len() == 30 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let found: Vec<Account> = found.into_iter().map(|link| link.referee).collect();
        assert_eq!(found, below);
        let nobody = referees(&db, &user("nobody"), 1_000).await.unwrap();
        assert_eq!(nobody.links, []);
    });
}

/// The first signup of all, while the head of the control feed stays invisible for so many looks.
async fn signup_with_a_late_head(db: &DynamoDb, looks: usize) -> Result<Control, SignupError> {
    let request = by(Referrer::Account(user("ben")), &user("ann"), "late");
    let torn = Torn::new(
        db,
        [(Key::new(Table::Checkpoints, "control", "head"), looks)],
    );
    let made = signup(&torn, &request, PARTITIONS).await?;
    assert_eq!(control::head(&torn).await?, made.link.control);
    Ok(made.link.control)
}

#[test]
fn a_signup_returns_only_when_the_control_head_counts_its_link() {
    on_every_store(|db| async move {
        assert_eq!(signup_with_a_late_head(&db, 3).await, Ok(Control(1)));
    });
    // It stays away: a repeat under the same token finds what is written.
    on_every_store(|db| async move {
        let late = signup_with_a_late_head(&db, 1_000).await;
        assert!(
            matches!(late, Err(SignupError::Store(StoreError::Unavailable(_)))),
            "{late:?}"
        );
        assert_eq!(signup_with_a_late_head(&db, 0).await, Ok(Control(1)));
    });
}
