//! Referral codes and signups.

use proptest::prelude::*;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::referral::{
    ALPHABET, NotACode, RANDOM_VALUES, ReferralCode, Signup, SignupRefusal, check_signup,
};

fn user(id: &str) -> Account {
    Account::new(AccountKind::User, id).expect("an id")
}

fn provider(id: &str) -> Account {
    Account::new(AccountKind::Provider, id).expect("an id")
}

#[test]
fn a_code_is_four_of_the_id_and_five_drawn() {
    for (id, random, code) in [
        ("anna", [0; 9], "ANNA-22222"),
        ("user-123", [30; 9], "USER-ZZZZZ"),
        ("o-1-l-0", [0, 1, 2, 3, 4, 5, 6, 7, 8], "O1L0-6789A"),
        ("x", [0, 1, 2, 3, 4, 5, 6, 7, 8], "X345-6789A"),
        (
            "ユーザー",
            [31, 32, 33, 34, 35, 36, 37, 38, u32::MAX],
            "2345-67895",
        ),
        ("é1", [0, 0, 0, 0, 0, 0, 0, 0, 1], "1222-22223"),
    ] {
        assert_eq!(ReferralCode::draw(id, random).as_str(), code, "{id}");
    }
}

#[test]
fn the_alphabet_has_nothing_that_is_mistaken_for_something_else() {
    let expected: Vec<u8> = (b'0'..=b'9')
        .chain(b'A'..=b'Z')
        .filter(|c| !b"0O1IL".contains(c))
        .collect();
    assert_eq!(&ALPHABET[..], expected);
    assert_eq!(RANDOM_VALUES, 9);
}

#[test]
fn what_people_type_is_read_whatever_its_case_and_spaces() {
    for typed in [
        "ANNA-7KQ2M",
        "anna-7kq2m",
        "  Anna-7Kq2m\n",
        "anna7kq2m",
        "\u{a0}ANNA7KQ2M\u{2003}",
    ] {
        let code: ReferralCode = typed.parse().expect("a code");
        assert_eq!(code.to_string(), "ANNA-7KQ2M", "{typed}");
    }
    for typed in [
        "",
        "ANNA",
        "ANNA-",
        "ANNA-7KQ2",
        "ANNA-7KQ2MM",
        "ANN-A7KQ2M",
        "ANNA_7KQ2M",
        "ANNA--7KQ2M",
        "ANNÄ-7KQ2M",
        "ANNA 7KQ2M",
        "ää",
        "äääääää",
    ] {
        assert_eq!(typed.parse::<ReferralCode>(), Err(NotACode), "{typed}");
    }
}

/// A signup of user `b` with the code of user `a`.
fn signup<'a>(referee: &'a Account, owner: &'a Account, chain: &'a [Account]) -> Signup<'a> {
    Signup {
        referee,
        code: Some((owner, true)),
        referrer_chain: chain,
        existing: None,
    }
}

#[test]
fn the_chain_is_the_referrer_and_two_above_it() {
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(user);
    assert_eq!(check_signup(signup(&b, &a, &[])), Ok(vec![a.clone()]));
    assert_eq!(
        check_signup(signup(&c, &b, std::slice::from_ref(&a))),
        Ok(vec![b.clone(), a.clone()])
    );
    let of_c = [b.clone(), a.clone()];
    let of_d = vec![c.clone(), b.clone(), a.clone()];
    assert_eq!(check_signup(signup(&d, &c, &of_c)), Ok(of_d.clone()));
    let of_e = vec![d.clone(), c.clone(), b.clone()];
    assert_eq!(check_signup(signup(&e, &d, &of_d)), Ok(of_e));
}

#[test]
fn each_refusal_has_its_own_code_and_a_sentence() {
    let (a, b, c) = (user("a"), user("b"), user("c"));
    let own = provider("b");
    let chain = [c.clone(), b.clone()];
    let base = signup(&b, &a, &[]);
    for (signup, refusal, code) in [
        (
            Signup {
                code: None,
                existing: Some(&c),
                ..base
            },
            SignupRefusal::UnknownCode,
            "unknown_code",
        ),
        (
            Signup {
                code: Some((&b, false)),
                ..base
            },
            SignupRefusal::InactiveCode,
            "inactive_code",
        ),
        (
            Signup {
                code: Some((&b, true)),
                ..base
            },
            SignupRefusal::OwnCode,
            "own_code",
        ),
        (
            Signup {
                code: Some((&own, true)),
                existing: Some(&c),
                ..base
            },
            SignupRefusal::OwnCode,
            "own_code",
        ),
        (
            Signup {
                referrer_chain: &chain,
                existing: Some(&c),
                ..base
            },
            SignupRefusal::Cycle(b.clone()),
            "cycle",
        ),
        (
            Signup {
                existing: Some(&c),
                ..base
            },
            SignupRefusal::AlreadyReferred(c.clone()),
            "already_referred",
        ),
    ] {
        let refused = check_signup(signup).expect_err("refused");
        assert_eq!((refused.code(), &refused), (code, &refusal));
        assert!(refused.to_string().len() > 20);
    }
}

#[test]
fn a_provider_of_the_same_name_further_up_is_no_circle() {
    let (a, b) = (user("a"), user("b"));
    let chain = [provider("b")];
    assert_eq!(
        check_signup(signup(&b, &a, &chain)),
        Ok(vec![a.clone(), provider("b")])
    );
}

proptest! {
    #[test]
    fn every_drawn_code_is_read_back(id in ".{1,20}", random: [u32; 9]) {
        let code = ReferralCode::draw(&id, random);
        prop_assert_eq!(code.as_str().len(), 10);
        prop_assert_eq!(code.as_str().to_lowercase().parse(), Ok(code.clone()));
        prop_assert_eq!(code.as_str().replace('-', "").parse(), Ok(code));
    }

    #[test]
    fn no_text_panics(text in ".{0,20}") {
        let _ = text.parse::<ReferralCode>();
    }
}
