//! What addresses weigh in votes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemark::domain::amount::Points;
use tidemark::domain::ethereum::Address;
use tidemark::domain::ids::AccountKind::{Provider, User};
use tidemark::domain::position::Control;
use tidemark::domain::time::Month;
use tidemark::domain::votes::{
    Formula, ProposalId, TermsError, VoteTerms, Weights, document_lines, read_line, voter,
};

fn month(text: &str) -> Month {
    text.parse().unwrap()
}

#[test]
fn each_formula_weighs_points_in_integers() {
    const ONE: u128 = 1_000_000;
    let cap = |points| Formula::Cap(Points::whole(points));
    let rows = [
        (Formula::Total, 0, 0),
        (Formula::Total, 1, 1),
        (Formula::Total, 15 * ONE, 15 * ONE),
        (Formula::SquareRoot, 0, 0),
        // A millionth of a point weighs a thousandth.
        (Formula::SquareRoot, 1, 1_000),
        (Formula::SquareRoot, ONE, ONE),
        (Formula::SquareRoot, 2 * ONE, 1_414_213),
        (Formula::SquareRoot, 10_000 * ONE, 100 * ONE),
        // Just below and at a square: floored.
        (Formula::SquareRoot, 4 * ONE - 1, 1_999_999),
        (Formula::SquareRoot, 4 * ONE, 2 * ONE),
        (Formula::SquareRoot, 1 << 90, 35_184_372_088_832_000),
        (cap(100), 99 * ONE, 99 * ONE),
        (cap(100), 100 * ONE, 100 * ONE),
        (cap(100), 101 * ONE, 100 * ONE),
        (cap(100), u128::MAX, 100 * ONE),
    ];
    for (formula, points, weight) in rows {
        assert_eq!(formula.weight(points), weight, "{formula:?} of {points}");
    }
}

#[test]
fn terms_that_mean_nothing_are_refused() {
    let (october, august) = (month("2026-10"), month("2026-08"));
    let rows = [
        (
            october,
            august,
            vec![User],
            Formula::Total,
            Some(TermsError::Backwards),
        ),
        (
            month("2024-10"),
            october,
            vec![User],
            Formula::Total,
            Some(TermsError::TooLong),
        ),
        (month("2024-11"), october, vec![User], Formula::Total, None),
        (
            october,
            october,
            vec![],
            Formula::Total,
            Some(TermsError::NoKinds),
        ),
        (
            october,
            october,
            vec![User],
            Formula::Cap(Points::ZERO),
            Some(TermsError::NoCap),
        ),
        (
            october,
            october,
            vec![User],
            Formula::Cap(Points(-1)),
            Some(TermsError::NoCap),
        ),
        (october, october, vec![User], Formula::Cap(Points(1)), None),
    ];
    for (from, to, kinds, formula, expected) in rows {
        let found = VoteTerms::new(from, to, &kinds, formula).err();
        assert_eq!(found, expected, "{from} {to} {kinds:?} {formula:?}");
    }
    let terms = VoteTerms::new(august, october, &[Provider, User, Provider], Formula::Total);
    let terms = terms.unwrap();
    assert_eq!(terms.kinds, [User, Provider]);
    assert_eq!(
        terms.months().collect::<Vec<_>>(),
        [august, month("2026-09"), october]
    );
    for name in ["", "-x", ".x", "a/b", "a b", "ä", "..", &"x".repeat(129)] {
        assert!(name.parse::<ProposalId>().is_err(), "{name}");
    }
    let snapshot = format!("0x{}", "a".repeat(64));
    for name in ["x", "QIP-1.2_b", &snapshot, &"x".repeat(128)] {
        assert_eq!(name.parse::<ProposalId>().unwrap().as_str(), name);
    }
}

fn document(weights: &Weights) -> String {
    let proposal: ProposalId = "QIP-1".parse().unwrap();
    let formula = Formula::Cap(Points(12_500_000));
    let terms = VoteTerms::new(
        month("2026-08"),
        month("2026-10"),
        &[User, Provider],
        formula,
    );
    document_lines(&proposal, &terms.unwrap(), Control(42), weights).collect()
}

#[test]
fn the_frozen_document_has_this_form_for_ever() {
    let points = BTreeMap::from([
        (Address([0x22; 20]), 13_000_000),
        (Address([0x11; 20]), 5),
        (Address([0x33; 20]), 0),
    ]);
    let weights = Weights::new(Formula::Cap(Points(12_500_000)), points);
    let expected = r#"{"version":1,"proposal":"QIP-1","from":"2026-08","to":"2026-10","kinds":["user","provider"],"formula":"cap","cap":"12.5","control":42,"decimals":6,"addresses":2,"total":"12500005","score":[
{"address":"0x1111111111111111111111111111111111111111","score":"5"},
{"address":"0x2222222222222222222222222222222222222222","score":"12500000"}
]}
"#;
    assert_eq!(document(&weights), expected);
    let parsed: serde_json::Value = serde_json::from_str(expected).unwrap();
    assert_eq!(parsed["score"][1]["score"], "12500000");
    let empty = document(&Weights::new(Formula::Total, BTreeMap::new()));
    assert!(
        empty.ends_with("\"addresses\":0,\"total\":\"0\",\"score\":[\n]}\n"),
        "{empty}"
    );
    assert!(serde_json::from_str::<serde_json::Value>(&empty).is_ok());
}

fn points() -> impl Strategy<Value = BTreeMap<Address, u128>> {
    let address = any::<[u8; 20]>().prop_map(Address);
    proptest::collection::btree_map(address, 0u128..1 << 70, 0..40)
}

fn formulas() -> impl Strategy<Value = Formula> {
    prop_oneof![
        Just(Formula::Total),
        Just(Formula::SquareRoot),
        (1..i64::MAX).prop_map(|cap| Formula::Cap(Points(cap))),
    ]
}

proptest! {
    #[test]
    fn sharing_an_address_never_gains_weight(formula in formulas(), a in 0u128..1 << 90, b in 0u128..1 << 90) {
        prop_assert!(formula.weight(a + b) <= formula.weight(a) + formula.weight(b) + 1);
        prop_assert!(formula.weight(a + b) >= formula.weight(a));
        if formula == Formula::Total {
            prop_assert_eq!(formula.weight(a + b), formula.weight(a) + formula.weight(b));
        }
    }

    #[test]
    fn a_square_root_is_the_largest_whose_square_fits(points in 0u128..1 << 100) {
        let root = Formula::SquareRoot.weight(points);
        let square = points * 1_000_000;
        prop_assert!(root * root <= square && (root + 1) * (root + 1) > square);
    }

    #[test]
    fn reading_the_lines_gives_the_weights(formula in formulas(), points in points()) {
        let weights = Weights::new(formula, points);
        let text = document(&weights);
        let read: Vec<(Address, u128)> = text.lines().filter_map(read_line).collect();
        let expected: Vec<(Address, u128)> = weights.of.iter().map(|(a, w)| (*a, *w)).collect();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(weights.total, weights.of.values().sum::<u128>());
        prop_assert!(weights.of.values().all(|weight| *weight > 0));
    }

    #[test]
    fn voters_are_found_whatever_their_case(bytes in any::<[u8; 20]>(), text in "\\PC{0,60}") {
        let address = Address(bytes);
        let written = address.to_string();
        prop_assert_eq!(voter(&written), Some(address));
        prop_assert_eq!(voter(&written.to_ascii_lowercase()), Some(address));
        let _ = voter(&text);
        let _ = read_line(&text);
    }
}
