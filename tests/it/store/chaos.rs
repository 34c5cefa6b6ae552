//! The typed operations while everything goes wrong at once: right all the same, nothing twice and nothing lost.

use std::time::Duration;

use tidemark::domain::amount::{Money, Points};
use tidemark::domain::ids::AccountKind;
use tidemark::domain::position::{Control, Partition};
use tidemark::domain::time::Millis;
use tidemark::domain::votes::{Formula, VoteTerms};
use tidemark::store::audit;
use tidemark::store::awards::{self, Adjustment, AdjustmentError, Granted};
use tidemark::store::control::{self, Change};
use tidemark::store::credits::{self, CreditEntry, CreditError, LedgerOrder};
use tidemark::store::db::{Attr, Db, Item, Key, Table};
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::referrals::{self, AwardPolicy, Referrer, SignupError, SignupRequest};
use tidemark::store::votes::{self, FrozenVotes};
use tidemark::store::wallets::{self, LinkError, LinkRefusal, LinkRequest};

use super::faults::on_every_broken_store;
use super::laws::{item, key, n};
use super::proxy::{Fault, dice};
use super::wallets::{NOW, issued, request as link_request, unlinking};
use super::{PARTITIONS, user};

/// Items of the batch that goes through chaos: several batches of 25 and of 100.
const ITEMS: usize = 210;

/// Throttles, failures before and after, lost answers and halved batches, as the dice fall.
fn chaos(seed: u64) -> impl Fn(u64, &str) -> Fault + Clone + Send + Sync + 'static {
    move |number, operation| match (dice(seed, number) % 100, operation) {
        (0..30, "BatchWriteItem" | "BatchGetItem") => {
            Fault::Part((dice(seed, number) / 100 % 30) as usize)
        }
        (30..40, _) => Fault::Code("com.amazon.coral.availability#ThrottlingException"),
        (40..46, _) => Fault::FailsAfter,
        (46..52, _) => Fault::Fails,
        (52..53, _) => Fault::LostAfter,
        (53..54, _) => Fault::Lost,
        (54..55, "TransactWriteItems") => Fault::Late,
        (57..62, "TransactWriteItems") => Fault::Canceled(&["TransactionConflict"]),
        _ => Fault::Pass,
    }
}

#[test]
fn batches_lose_nothing_and_mix_nothing_up_in_chaos() {
    // No lost answers here: DynamoDB Local takes half a second for a batch, and would still be busy with those whose
    // clients have given up.
    let plan = |number, operation: &str| match chaos(1)(number, operation) {
        Fault::Lost | Fault::LostAfter => Fault::FailsAfter,
        fault => fault,
    };
    on_every_broken_store(plan, |mut broken| async move {
        broken.behind = broken.patient();
        let keys: Vec<Key> = (0..ITEMS)
            .map(|i| key(&format!("b{}", i % 9), &i.to_string()))
            .collect();
        let row = |i: usize| item(&keys[i], &[("value", n(i as i128))]);
        let items: Vec<Item> = (0..ITEMS).map(row).collect();
        let db = &broken.behind;
        db.put_all(Table::Checkpoints, items.clone()).await.unwrap();
        for db in [&broken.straight, &broken.behind] {
            let found = db.batch_get(&keys).await.unwrap();
            let expected: Vec<Option<Item>> = items.iter().cloned().map(Some).collect();
            assert_eq!(found, expected);
        }
    });
}

fn credit(key: &str, nanos: i128) -> CreditEntry {
    CreditEntry {
        idempotency_key: key.to_owned(),
        amount: Money(nanos),
        reason: "top-up".to_owned(),
        by: "admin".to_owned(),
        at: Millis(1_000),
    }
}

/// As a caller does: again with the same key while the failure is a passing one.
async fn add_until_done(db: &DynamoDb, key: &str, nanos: i128) {
    loop {
        match credits::add(db, "u", &credit(key, nanos)).await {
            Ok(_) => return,
            Err(CreditError::Store(error)) if error.is_transient() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The entries in the list by time, which must be complete.
async fn listed(db: &DynamoDb) -> Vec<CreditEntry> {
    assert!(credits::is_listed(db, "u").await.unwrap());
    let page = credits::page(db, "u", LedgerOrder::OldestFirst, None, 1_000).await;
    page.unwrap().entries
}

#[test]
fn two_hundred_credits_under_one_key_at_once_count_once_in_chaos() {
    on_every_broken_store(chaos(2), |broken| async move {
        let db = &broken.behind;
        let all = (0..200).map(|_| add_until_done(db, "k", 5));
        futures::future::join_all(all).await;
        let added = credits::added(&broken.straight, "u").await.unwrap();
        assert_eq!((added.total, added.entries), (Money(5), 1));
        assert_eq!(listed(&broken.straight).await.len(), 1);
    });
}

#[test]
fn credits_under_many_keys_at_once_all_count_in_chaos() {
    on_every_broken_store(chaos(3), |broken| async move {
        let db = &broken.behind;
        // Each key twice, as a client that repeats does.
        let all = (0..60).map(|i| async move {
            add_until_done(db, &format!("k{}", i % 30), 1 << (i % 30)).await;
        });
        futures::future::join_all(all).await;
        let added = credits::added(&broken.straight, "u").await.unwrap();
        assert_eq!((added.total, added.entries), (Money((1 << 30) - 1), 30));
        let ledger = listed(&broken.straight).await;
        let sum: i128 = ledger.iter().map(|entry| entry.amount.0).sum();
        assert_eq!((sum, ledger.len()), ((1 << 30) - 1, 30));
    });
}

#[test]
fn adjustments_are_granted_once_in_chaos() {
    on_every_broken_store(chaos(4), |broken| async move {
        let db = &broken.behind;
        let all = (0..60).map(|i| async move {
            let adjustment = Adjustment {
                account: user("u"),
                points: Points::whole(7),
                reason: "goodwill".to_owned(),
                idempotency_key: format!("k{}", i % 3),
                by: "admin".to_owned(),
                now: Millis(1_000),
            };
            loop {
                match awards::adjustment(db, &adjustment, PARTITIONS).await {
                    Ok(Granted::Now | Granted::Before) => return,
                    Err(AdjustmentError::Store(error)) if error.is_transient() => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        futures::future::join_all(all).await;
        let db = &broken.straight;
        assert_eq!(awards::awards_of(db, &user("u")).await.unwrap().len(), 3);
        let q = user("u").partition(PARTITIONS);
        assert_eq!(awards::list_pending(db, q).await.unwrap().pointers.len(), 3);
    });
}

fn signup(referee: &str, referrer: &str) -> SignupRequest {
    SignupRequest {
        referrer: Referrer::Account(user(referrer)),
        referee: user(referee),
        now: Millis(1_000),
        token: format!("{referee}<-{referrer}"),
        awards: AwardPolicy::Pay(Points::whole(100)),
        by: None,
    }
}

/// As a caller does; `false` if it was refused.
async fn sign_up_until_done(db: &DynamoDb, request: &SignupRequest) -> bool {
    loop {
        match referrals::signup(db, request, PARTITIONS).await {
            Ok(signup) => {
                assert_eq!(signup.link.token, request.token);
                return true;
            }
            Err(SignupError::Refused(_)) => return false,
            Err(SignupError::Store(error)) if error.is_transient() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn signups_at_once_are_each_made_once_and_never_close_a_circle_in_chaos() {
    on_every_broken_store(chaos(5), |broken| async move {
        let db = &broken.behind;
        // Pairs that refer each other, three that form a ring, one whom two refer, and repeats of everything.
        let mut wanted = Vec::new();
        for i in 0..8 {
            wanted.push(signup(&format!("a{i}"), &format!("b{i}")));
            wanted.push(signup(&format!("b{i}"), &format!("a{i}")));
            wanted.push(signup(&format!("c{i}"), "hub"));
            wanted.push(signup(&format!("c{i}"), "other hub"));
        }
        let twice: Vec<&SignupRequest> = wanted.iter().chain(&wanted).collect();
        let all = twice.iter().map(|request| sign_up_until_done(db, request));
        let done = futures::future::join_all(all).await;
        let (first, second) = done.split_at(wanted.len());
        assert_eq!(
            first, second,
            "a repeat is told what the first one was told"
        );
        for pair in first.chunks(2) {
            assert_ne!(
                pair[0], pair[1],
                "of two that exclude each other one is made"
            );
        }
        check_feed(&broken.straight, &wanted, first).await;
    });
}

/// The feed holds each made link once, without a gap, as the relationship rows have it; each is awarded once.
async fn check_feed(db: &DynamoDb, wanted: &[SignupRequest], made: &[bool]) {
    let made: Vec<&SignupRequest> = wanted
        .iter()
        .zip(made)
        .filter(|(_, made)| **made)
        .map(|(request, _)| request)
        .collect();
    let head = control::head(db).await.unwrap();
    assert_eq!(head, Control(made.len() as u64));
    let entries = control::entries(db, Control(0), head).await.unwrap();
    let mut tokens: Vec<&str> = entries.iter().map(|entry| entry.token.as_str()).collect();
    tokens.sort_unstable();
    let mut expected: Vec<&str> = made.iter().map(|request| request.token.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(tokens, expected);
    for entry in &entries {
        let Change::Link { referee, chain } = &entry.change else {
            panic!("{entry:?}");
        };
        let link = referrals::link_of(db, referee).await.unwrap().unwrap();
        assert_eq!((&link.chain, link.control), (chain, entry.number));
        assert!(!chain.contains(referee));
        let granted = awards::awards_of(db, &chain[0]).await.unwrap();
        let id = awards::signup_id(referee);
        assert_eq!(granted.iter().filter(|award| award.id == id).count(), 1);
    }
    let mut pointers = 0;
    for q in 0..PARTITIONS {
        let pending = awards::list_pending(db, Partition(q)).await.unwrap();
        pointers += pending.pointers.len();
    }
    assert_eq!(pointers, 2 * made.len(), "an award and a check for each");
}

/// As a caller does; `false` if it was refused.
async fn link_until_done(db: &DynamoDb, request: &LinkRequest) -> bool {
    loop {
        match wallets::link(db, request).await {
            Ok(wallet) => {
                assert_eq!(wallet.address, Some(request.address));
                return true;
            }
            Err(LinkError::Refused(LinkRefusal::NonceUsed)) => return false,
            Err(LinkError::Store(error)) if error.is_transient() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn links_at_once_use_each_message_once_and_the_feed_ends_where_the_row_does_in_chaos() {
    on_every_broken_store(chaos(7), |broken| async move {
        let db = &broken.behind;
        let alice = user("alice");
        let nonces: Vec<String> = (0..5).map(|i| format!("nonce{i:04}")).collect();
        for nonce in &nonces {
            issued(&broken.straight, &alice, nonce, NOW).await;
        }
        // Each message is sent twice by each of two callers, who do not know of each other.
        let mut wanted = Vec::new();
        for (nonce, number) in nonces.iter().zip(1..) {
            for caller in ["a", "b"] {
                let token = format!("{caller}-{nonce}");
                wanted.push(LinkRequest {
                    token,
                    ..link_request(&alice, number, nonce)
                });
            }
        }
        let twice: Vec<&LinkRequest> = wanted.iter().chain(&wanted).collect();
        let all = twice.iter().map(|request| link_until_done(db, request));
        let unlinks = (0..3).map(|i| async move {
            let request = unlinking(&user("alice"), &format!("u{i}"));
            while let Err(error) = wallets::unlink(db, &request).await {
                assert!(error.is_transient(), "{error}");
            }
        });
        let (done, _) = futures::join!(
            futures::future::join_all(all),
            futures::future::join_all(unlinks)
        );
        let (first, second) = done.split_at(wanted.len());
        assert_eq!(
            first, second,
            "a repeat is told what the first one was told"
        );
        for pair in first.chunks(2) {
            assert_ne!(
                pair[0], pair[1],
                "of two callers with one message, one links"
            );
        }
        check_wallets(&broken.straight).await;
    });
}

/// The feed, the changes and the row of user `alice` say the same, and the trail has each change once.
async fn check_wallets(db: &DynamoDb) {
    let alice = user("alice");
    let head = control::head(db).await.unwrap();
    let entries = control::entries(db, Control(0), head).await.unwrap();
    let mut history = wallets::changes_of(db, &alice, 100).await.unwrap();
    history.reverse();
    assert_eq!(entries.len(), history.len());
    for (entry, change) in entries.iter().zip(&history) {
        let Change::Wallet { account, address } = &entry.change else {
            panic!("{entry:?}");
        };
        assert_eq!((account, address), (&alice, &change.address));
        assert_eq!(entry.number, change.control);
    }
    let links = history.iter().filter(|change| change.address.is_some());
    // A message whose address was linked at that moment leaves no entry.
    assert!((1..=5).contains(&links.count()));
    for pair in history.windows(2) {
        assert_ne!(
            pair[0].address, pair[1].address,
            "no entry without a change"
        );
    }
    let row = wallets::wallet_of(db, &alice).await.unwrap().unwrap();
    assert_eq!(row.control, head);
    assert_eq!(
        Some(row.address),
        history.last().map(|change| change.address)
    );
    let trail = audit::page(db, None, 100).await.unwrap().entries;
    assert_eq!(trail.len(), history.len());
}

/// One of two ways to weigh a proposal, of three pieces.
fn votes_of(variant: u64) -> (FrozenVotes, Vec<Vec<u8>>) {
    let october = "2026-10".parse().unwrap();
    let terms = VoteTerms::new(october, october, &[AccountKind::User], Formula::Total);
    let pieces: Vec<Vec<u8>> = (0..3)
        .map(|n| format!("{variant} {n}\n").into_bytes())
        .collect();
    let frozen = FrozenVotes {
        proposal: "q1".parse().unwrap(),
        terms: terms.unwrap(),
        control: Control(variant),
        hash: format!("{variant:064x}"),
        bytes: 12,
        pieces: 3,
        addresses: 3,
        total: 7,
        frozen_at: Millis(1_000),
        by: "a test".to_owned(),
    };
    (frozen, pieces)
}

/// As the command does, again while the failure is a passing one. What was frozen by whoever was first.
async fn freeze_until_done(db: &DynamoDb, variant: u64) -> FrozenVotes {
    let (frozen, pieces) = votes_of(variant);
    for (number, piece) in (0..).zip(&pieces) {
        while let Err(error) =
            votes::put_piece(db, &frozen.proposal, &frozen.hash, number, piece.clone()).await
        {
            assert!(error.is_transient(), "{error}");
        }
    }
    loop {
        match votes::freeze(db, &frozen, "a test").await {
            Ok(None) => {
                while let Err(error) = votes::sweep(db, &frozen).await {
                    assert!(error.is_transient(), "{error}");
                }
                return frozen;
            }
            Ok(Some(before)) => return before,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

#[test]
fn of_two_who_freeze_at_once_one_does_and_its_document_is_whole_in_chaos() {
    on_every_broken_store(chaos(8), |broken| async move {
        let db = &broken.behind;
        let all = (0..8).map(|n| freeze_until_done(db, 1 + n % 2));
        let all = futures::future::join_all(all).await;
        assert!(all.iter().all(|votes| *votes == all[0]), "{all:?}");
        let db = &broken.straight;
        let found = votes::find(db, &all[0].proposal).await.unwrap();
        assert_eq!(found.as_ref(), Some(&all[0]));
        let (_, pieces) = votes_of(all[0].control.0);
        for (number, piece) in (0..).zip(pieces) {
            let kept = votes::piece(db, &all[0], number).await.unwrap();
            assert_eq!(kept, piece);
        }
        let trail = audit::page(db, None, 10).await.unwrap().entries;
        assert_eq!(trail.len(), 1);
    });
}

#[test]
fn codes_stay_one_per_account_in_chaos() {
    on_every_broken_store(chaos(6), |broken| async move {
        let db = &broken.behind;
        let all = (0..40u64).map(|i| async move {
            loop {
                match referrals::code_for(db, &user("anna"), i * 1_000, Millis(1), None).await {
                    Ok(code) => return code.code,
                    Err(error) if error.is_transient() => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let codes = futures::future::join_all(all).await;
        assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
        let page = broken.straight.scan(Table::ReferralCodes, None).await;
        assert_eq!(page.unwrap().items.len(), 1);
    });
}

#[test]
fn a_write_that_lands_after_its_repeat_changes_nothing() {
    // The first transaction is answered by nobody and arrives when its repeat has long been made.
    on_every_broken_store(
        |number, operation| match (number, operation) {
            (0..3, "TransactWriteItems") => Fault::Late,
            _ => Fault::Pass,
        },
        |broken| async move {
            add_until_done(&broken.behind, "k", 5).await;
            tokio::time::sleep(Duration::from_millis(4_500)).await;
            let added = credits::added(&broken.straight, "u").await.unwrap();
            assert_eq!((added.total, added.entries), (Money(5), 1));
            let row = broken
                .straight
                .get(&Key::new(Table::UserCredits, "u", "balance"))
                .await;
            let balance = row.unwrap().unwrap();
            assert_eq!(balance.get("added"), Some(&Attr::N(5)));
        },
    );
}
