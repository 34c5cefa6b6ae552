//! Accounts and their ids.

use proptest::prelude::*;
use tidemark::domain::ids::{
    Account, AccountKind, IdError, account_partition, check_id, is_printable_ascii,
};

#[test]
fn ids_have_1_to_128_characters_and_no_control_characters() {
    let long = "é".repeat(128);
    for id in [
        "a",
        " ",
        "user-123",
        "ユーザー",
        "a:b/c#d",
        long.as_str(),
        &"x".repeat(128),
    ] {
        assert_eq!(check_id(id), Ok(()), "{id}");
    }
    assert_eq!(check_id(""), Err(IdError::Empty));
    assert_eq!(check_id(&"x".repeat(129)), Err(IdError::TooLong));
    assert_eq!(check_id(&"é".repeat(129)), Err(IdError::TooLong));
    for id in ["a\n", "\0", "\u{7f}", "\u{80}", "\u{9f}", "a\tb"] {
        assert_eq!(check_id(id), Err(IdError::Control), "{id:?}");
    }
}

#[test]
fn accounts_order_by_kind_then_id_and_read_back_from_json() {
    let account = |kind, id| Account::new(kind, id).expect("an id");
    let (user, provider) = (AccountKind::User, AccountKind::Provider);
    let mut accounts = vec![
        account(provider, "a"),
        account(user, "b"),
        account(user, "a"),
    ];
    accounts.sort();
    assert_eq!(
        accounts,
        [
            account(user, "a"),
            account(user, "b"),
            account(provider, "a")
        ]
    );
    let json = serde_json::to_string(&accounts[2]).expect("serialises");
    assert_eq!(json, r#"["provider","a"]"#);
    assert_eq!(
        serde_json::from_str::<Account>(&json).expect("reads"),
        accounts[2]
    );
    assert!(serde_json::from_str::<Account>(r#"["user",""]"#).is_err());
    assert_eq!(accounts[2].to_string(), "provider:a");
    assert_eq!("user".parse(), Ok(user));
    assert_eq!(
        "User".parse::<AccountKind>(),
        Err(IdError::Kind("User".to_owned()))
    );
}

#[test]
fn the_posting_partition_of_an_account_never_changes() {
    // Rows are where these say: another answer would post to an account from two partitions.
    for (kind, id, partition) in [
        (AccountKind::User, "user-123", 57),
        (AccountKind::Provider, "user-123", 30),
        (AccountKind::User, "ユーザー", 63),
    ] {
        assert_eq!(account_partition(kind, id, 64).0, partition, "{kind} {id}");
    }
}

proptest! {
    #[test]
    fn the_fast_check_of_ids_agrees_with_the_definition(id in "\\PC{0,140}|.{0,140}") {
        let chars = id.chars().count();
        let allowed = (1..=128).contains(&chars) && !id.chars().any(char::is_control);
        prop_assert_eq!(check_id(&id).is_ok(), allowed);
        let printable = id.chars().all(|c| c.is_ascii() && !c.is_control());
        prop_assert_eq!(is_printable_ascii(&id), printable);
    }

    #[test]
    fn partitions_are_within_their_count(id in ".{1,20}", count in 1u32..1000) {
        for kind in AccountKind::ALL {
            prop_assert!(account_partition(kind, &id, count).0 < count);
        }
    }
}
