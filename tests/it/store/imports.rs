//! Links that are imported together are what they would be one by one.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tidemark::domain::amount::Points;
use tidemark::domain::ids::Account;
use tidemark::domain::position::Control;
use tidemark::domain::time::Millis;
use tidemark::store::awards::{awards_of, list_pending};
use tidemark::store::control::{self, Change};
use tidemark::store::db::Db;
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::referrals::{
    AwardPolicy, ImportRequest, Imported, LINKS_MAX, NewLink, Referrer, SignupError, SignupRequest,
    import, link_of, signup,
};
use tidemark::store::tables::create_tables;

use super::faults::on_every_broken_store;
use super::proxy::Fault;
use super::{PARTITIONS, client, embedded_endpoint, on_every_store, provider, run, settings, user};

const NOW: Millis = Millis(1_795_000_000_000);

fn accounts() -> Vec<Account> {
    let names = ["a", "b", "c", "d", "e"];
    let users = names.map(user);
    users.into_iter().chain([provider("p")]).collect()
}

fn request(links: &[NewLink], awards: AwardPolicy) -> ImportRequest {
    ImportRequest {
        links: links.to_vec(),
        now: NOW,
        token: format!("import-{}", rand::random::<u64>()),
        awards,
        by: "a test".to_owned(),
    }
}

/// What became of a link, and of what came with it.
fn in_words(imported: &Imported) -> String {
    match imported {
        Imported::Made(link) => format!("{} by {:?} as {}", link.referee, link.chain, link.control),
        Imported::Known => "known".to_owned(),
        Imported::Refused(refusal) => refusal.code().to_owned(),
    }
}

async fn one_by_one(db: &dyn Db, links: &[NewLink], awards: AwardPolicy) -> Vec<String> {
    let mut outcomes = Vec::new();
    for (place, link) in links.iter().enumerate() {
        let known = link_of(db, &link.referee).await.unwrap();
        if known.is_some_and(|known| known.chain.first() == Some(&link.referrer)) {
            outcomes.push(Imported::Known);
            continue;
        }
        let request = SignupRequest {
            referrer: Referrer::Account(link.referrer.clone()),
            referee: link.referee.clone(),
            now: NOW,
            token: format!("one-{place}"),
            awards,
            by: Some("a test".to_owned()),
        };
        outcomes.push(match signup(db, &request, PARTITIONS).await {
            Ok(signup) => Imported::Made(signup.link),
            Err(SignupError::Refused(refusal)) => Imported::Refused(refusal),
            Err(SignupError::Store(error)) => panic!("{error}"),
        });
    }
    outcomes.iter().map(in_words).collect()
}

/// Everything that follows from links, without the tokens of attempts.
async fn state(db: &dyn Db) -> (Vec<Change>, Vec<String>) {
    let head = control::head(db).await.unwrap();
    let entries = control::entries(db, Control(0), head).await.unwrap();
    let changes = entries.into_iter().map(|entry| entry.change).collect();
    let mut rows = Vec::new();
    for account in accounts() {
        let link = link_of(db, &account).await.unwrap();
        let link = link.map(|link| (link.chain, link.control, link.milestone, link.linked_at));
        let awards = awards_of(db, &account).await.unwrap();
        rows.push(format!("{account}: {link:?} {awards:?}"));
        let pending = list_pending(db, account.partition(PARTITIONS))
            .await
            .unwrap();
        let tasks: Vec<String> = pending
            .pointers
            .into_iter()
            .map(|of| format!("{:?}", of.task))
            .collect();
        rows.push(format!("{tasks:?}"));
    }
    (changes, rows)
}

async fn fresh() -> DynamoDb {
    let db = client(&settings(embedded_endpoint()));
    create_tables(&db).await.unwrap();
    db
}

#[test]
fn together_or_one_by_one_the_same_links_are_made() {
    let pairs = prop::collection::vec((0..6_usize, 0..6_usize), 1..30);
    let cases = (pairs, 1..=LINKS_MAX, any::<bool>());
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(24)
    });
    let outcome = runner.run(&cases, |(pairs, together, paid)| {
        let accounts = accounts();
        let link = |(referee, referrer): (usize, usize)| NewLink {
            referee: accounts[referee].clone(),
            referrer: accounts[referrer].clone(),
        };
        let links: Vec<NewLink> = pairs.into_iter().map(link).collect();
        let awards = match paid {
            true => AwardPolicy::Pay(Points::whole(100)),
            false => AwardPolicy::Elsewhere,
        };
        run(async {
            let (alone, shared) = (fresh().await, fresh().await);
            let expected = one_by_one(&alone, &links, awards).await;
            let mut found = Vec::new();
            for links in links.chunks(together) {
                let request = request(links, awards);
                let imported = import(&shared, &request, PARTITIONS).await.unwrap();
                found.extend(imported.iter().map(in_words));
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(state(&shared).await, state(&alone).await);
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// As many links as there may be, each with all that it can bring, are one transaction.
#[test]
fn the_most_links_that_there_may_be_fit_into_a_transaction() {
    on_every_store(|db| async move {
        let link = |number: usize| NewLink {
            referee: user(&format!("referee-{number}")),
            referrer: user(&format!("referrer-{number}")),
        };
        let links: Vec<NewLink> = (0..LINKS_MAX).map(link).collect();
        let awards = AwardPolicy::Pay(Points::whole(100));
        let imported = import(&db, &request(&links, awards), PARTITIONS).await;
        let imported = imported.unwrap();
        assert!(matches!(imported.last(), Some(Imported::Made(_))));
        assert_eq!(control::head(&db).await.unwrap(), Control(LINKS_MAX as u64));
    });
}

/// The answer is lost, and the same is asked for again: it finds what it did.
#[test]
fn a_repeat_finds_what_the_first_did() {
    on_every_store(|db| async move {
        let link = |referee: &str| NewLink {
            referee: user(referee),
            referrer: user("anna"),
        };
        let links = [link("bert"), link("carl"), link("bert")];
        let request = request(&links, AwardPolicy::Elsewhere);
        let first = import(&db, &request, PARTITIONS).await.unwrap();
        let outcomes: Vec<String> = first.iter().map(in_words).collect();
        assert_eq!(outcomes.last().map(String::as_str), Some("known"));
        let again = import(&db, &request, PARTITIONS).await.unwrap();
        assert_eq!(again, first);
        assert_eq!(control::head(&db).await.unwrap(), Control(2));
    });
}

/// A transaction that is done although it is answered with an error is found to be done.
#[test]
fn an_answer_that_is_lost_makes_no_link_twice() {
    for fault in [Fault::FailsAfter, Fault::LostAfter, Fault::Late] {
        // The head and the links are read before.
        let plan = move |number, operation: &str| match (number, operation) {
            (0..4, "TransactWriteItems") => fault.clone(),
            _ => Fault::Pass,
        };
        on_every_broken_store(plan, |broken| async move {
            let link = |referee: &str| NewLink {
                referee: user(referee),
                referrer: user("anna"),
            };
            let links = [link("bert"), link("carl")];
            let request = request(&links, AwardPolicy::Pay(Points::whole(100)));
            let imported = import(&broken.behind, &request, PARTITIONS).await.unwrap();
            let links: Vec<String> = imported.iter().map(in_words).collect();
            let expected = ["user:bert", "user:carl"];
            for (link, referee) in links.iter().zip(expected) {
                assert!(link.starts_with(referee), "{links:?}");
            }
            let head = control::head(&broken.straight).await.unwrap();
            assert_eq!(head, Control(2), "{links:?}");
            let awards = awards_of(&broken.straight, &user("anna")).await.unwrap();
            assert_eq!(awards.len(), 2);
        });
    }
}
