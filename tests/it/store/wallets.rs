//! Wallets: links, unlinks, the messages that they use up.

use std::collections::BTreeMap;

use serde_json::Value;
use tidemark::domain::ethereum::Address;
use tidemark::domain::ids::Account;
use tidemark::domain::position::Control;
use tidemark::domain::time::{DAY_MS, Millis};
use tidemark::store::audit;
use tidemark::store::control::{self, Change};
use tidemark::store::db::Db;
use tidemark::store::wallets::{
    IssuedMessage, LINKS_PER_DAY_MAX, LinkError, LinkRefusal, LinkRequest, MESSAGES_MAX,
    UnlinkRequest, Wallet, as_of, changes_of, find_message, issue, link, unlink, wallet_of,
};

use super::{on_every_store, provider, user};

pub const NOW: Millis = Millis(1_795_000_000_000);
const MINUTES_15: i64 = 900_000;

pub fn address(number: u8) -> Address {
    Address([number; 20])
}

pub async fn issued(db: &dyn Db, account: &Account, nonce: &str, now: Millis) {
    let message = IssuedMessage {
        nonce: nonce.to_owned(),
        text: format!("sign {nonce}"),
        issued_at: now,
        expires_at: now.plus(MINUTES_15),
    };
    issue(db, account, &message).await.unwrap();
}

pub fn request(account: &Account, number: u8, nonce: &str) -> LinkRequest {
    LinkRequest {
        account: account.clone(),
        address: address(number),
        nonce: nonce.to_owned(),
        now: NOW,
        token: format!("t-{nonce}"),
        by: "key 1 (a test)".to_owned(),
        reason: None,
        by_admin: false,
    }
}

pub fn unlinking(account: &Account, token: &str) -> UnlinkRequest {
    UnlinkRequest {
        account: account.clone(),
        now: NOW,
        token: token.to_owned(),
        by: "key 1 (a test)".to_owned(),
        reason: Some("stolen".to_owned()),
        by_admin: false,
    }
}

async fn linked(db: &dyn Db, account: &Account, number: u8, nonce: &str) -> Wallet {
    issued(db, account, nonce, NOW).await;
    link(db, &request(account, number, nonce)).await.unwrap()
}

fn refused(result: Result<Wallet, LinkError>) -> LinkRefusal {
    match result {
        Err(LinkError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_link_leaves_an_entry_a_row_a_change_and_a_trail() {
    on_every_store(|db| async move {
        let alice = user("alice");
        assert_eq!(wallet_of(&db, &alice).await.unwrap(), None);
        let first = linked(&db, &alice, 1, "nonce001").await;
        assert_eq!(
            (first.address, first.control),
            (Some(address(1)), Control(1))
        );
        assert_eq!(wallet_of(&db, &alice).await.unwrap(), Some(first.clone()));
        let second = linked(&db, &alice, 2, "nonce002").await;
        assert_eq!(second.control, Control(2));
        let gone = unlink(&db, &unlinking(&alice, "u")).await.unwrap().unwrap();
        assert_eq!((gone.address, gone.control), (None, Control(3)));
        assert_eq!(unlink(&db, &unlinking(&alice, "v")).await.unwrap(), None);
        assert_eq!(
            unlink(&db, &unlinking(&user("bob"), "w")).await.unwrap(),
            None
        );

        let entries = control::entries(&db, Control(0), Control(3)).await.unwrap();
        let changes: Vec<Change> = entries.into_iter().map(|entry| entry.change).collect();
        let of = |address| Change::Wallet {
            account: alice.clone(),
            address,
        };
        assert_eq!(
            changes,
            [of(Some(address(1))), of(Some(address(2))), of(None)]
        );
        let history = changes_of(&db, &alice, 10).await.unwrap();
        let told: Vec<(u64, Option<Address>, Option<&str>)> = history
            .iter()
            .map(|change| (change.control.0, change.address, change.reason.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                (3, None, Some("stolen")),
                (2, Some(address(2)), None),
                (1, Some(address(1)), None)
            ]
        );
        let trail = audit::page(&db, None, 10).await.unwrap().entries;
        let mut told: Vec<(u64, &str, &Value)> = trail
            .iter()
            .map(|entry| {
                (
                    entry.detail["control"].as_u64().unwrap(),
                    entry.action.as_str(),
                    &entry.detail["before"],
                )
            })
            .collect();
        told.sort_by_key(|(number, ..)| *number);
        let (a, b) = (
            Value::from(address(1).to_string()),
            Value::from(address(2).to_string()),
        );
        assert_eq!(
            told,
            [
                (1, "wallets.link", &Value::Null),
                (2, "wallets.link", &a),
                (3, "wallets.unlink", &b)
            ]
        );
        assert!(
            trail
                .iter()
                .all(|entry| entry.subject == "user:alice" && entry.by == "key 1 (a test)")
        );
    });
}

#[test]
fn a_close_sees_the_wallets_as_of_its_control_position() {
    on_every_store(|db| async move {
        let (alice, prov) = (user("alice"), provider("alice"));
        linked(&db, &alice, 1, "nonce001").await;
        // Two accounts may share an address.
        linked(&db, &prov, 1, "nonce002").await;
        linked(&db, &alice, 2, "nonce003").await;
        unlink(&db, &unlinking(&prov, "u")).await.unwrap();
        let rows: [(u64, &[(&Account, u8)]); 5] = [
            (0, &[]),
            (1, &[(&alice, 1)]),
            (2, &[(&alice, 1), (&prov, 1)]),
            (3, &[(&alice, 2), (&prov, 1)]),
            (4, &[(&alice, 2)]),
        ];
        for (position, expected) in rows {
            let expected: BTreeMap<Account, Address> = expected
                .iter()
                .map(|(account, number)| ((*account).clone(), address(*number)))
                .collect();
            let found = as_of(&db, Control(position)).await.unwrap();
            assert_eq!(found, expected, "as of {position}");
        }
    });
}

#[test]
fn linking_the_same_address_again_uses_the_message_up_and_changes_nothing() {
    on_every_store(|db| async move {
        let alice = user("alice");
        let first = linked(&db, &alice, 1, "nonce001").await;
        let again = linked(&db, &alice, 1, "nonce002").await;
        assert_eq!(again, first);
        assert_eq!(control::head(&db).await.unwrap(), Control(1));
        assert_eq!(changes_of(&db, &alice, 10).await.unwrap().len(), 1);
        let used = find_message(&db, &alice, "nonce002")
            .await
            .unwrap()
            .unwrap();
        assert!(used.used.is_some());
        let other = LinkRequest {
            token: "other".to_owned(),
            ..request(&alice, 1, "nonce002")
        };
        assert_eq!(refused(link(&db, &other).await), LinkRefusal::NonceUsed);
    });
}

#[test]
fn a_message_links_once_and_in_time_and_only_its_own_account() {
    on_every_store(|db| async move {
        let (alice, bob) = (user("alice"), user("bob"));
        let first = linked(&db, &alice, 1, "nonce001").await;
        // The same attempt finds what it did; another one is refused.
        assert_eq!(
            link(&db, &request(&alice, 1, "nonce001")).await.unwrap(),
            first
        );
        let other = LinkRequest {
            token: "other".to_owned(),
            ..request(&alice, 1, "nonce001")
        };
        assert_eq!(refused(link(&db, &other).await), LinkRefusal::NonceUsed);
        // Also after the wallet has changed.
        linked(&db, &alice, 2, "nonce002").await;
        assert_eq!(refused(link(&db, &other).await), LinkRefusal::NonceUsed);
        assert_eq!(
            link(&db, &request(&alice, 1, "nonce001")).await.unwrap(),
            first
        );

        issued(&db, &alice, "nonce003", NOW).await;
        let of_bob = request(&bob, 3, "nonce003");
        assert_eq!(refused(link(&db, &of_bob).await), LinkRefusal::NonceUnknown);
        let at = |later: i64| LinkRequest {
            now: NOW.plus(later),
            ..request(&alice, 3, "nonce003")
        };
        let expired = LinkRefusal::NonceExpired(NOW.plus(MINUTES_15));
        assert_eq!(refused(link(&db, &at(MINUTES_15)).await), expired);
        assert!(link(&db, &at(MINUTES_15 - 1)).await.is_ok());
        assert_eq!(control::head(&db).await.unwrap(), Control(3));
    });
}

#[test]
fn open_messages_of_an_account_are_few_and_expired_ones_go() {
    on_every_store(|db| async move {
        let alice = user("alice");
        let name = |n: usize| format!("nonce{n:04}");
        for n in 0..MESSAGES_MAX + 3 {
            issued(&db, &alice, &name(n), NOW.plus(n as i64)).await;
        }
        let mut kept = Vec::new();
        for n in 0..MESSAGES_MAX + 3 {
            if find_message(&db, &alice, &name(n)).await.unwrap().is_some() {
                kept.push(n);
            }
        }
        assert_eq!(kept, (3..MESSAGES_MAX + 3).collect::<Vec<_>>());
        issued(&db, &alice, "later000", NOW.plus(DAY_MS)).await;
        for n in 0..MESSAGES_MAX + 3 {
            assert_eq!(find_message(&db, &alice, &name(n)).await.unwrap(), None);
        }
    });
}

#[test]
fn an_account_links_ten_times_a_day_at_most() {
    on_every_store(|db| async move {
        let alice = user("alice");
        for n in 0..LINKS_PER_DAY_MAX {
            linked(&db, &alice, n as u8, &format!("nonce{n:04}")).await;
        }
        issued(&db, &alice, "onemore0", NOW).await;
        let one_more = request(&alice, 99, "onemore0");
        let refusal = refused(link(&db, &one_more).await);
        assert_eq!(refusal, LinkRefusal::TooMany(NOW.plus(DAY_MS)));
        // Unlinking is always possible, and others are not held up.
        assert!(
            unlink(&db, &unlinking(&alice, "u"))
                .await
                .unwrap()
                .is_some()
        );
        linked(&db, &user("bob"), 1, "nonce001").await;
        let tomorrow = NOW.plus(DAY_MS);
        issued(&db, &alice, "tomorrow", tomorrow).await;
        let late = LinkRequest {
            now: tomorrow,
            ..request(&alice, 99, "tomorrow")
        };
        assert!(link(&db, &late).await.is_ok());
    });
}
