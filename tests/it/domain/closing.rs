//! Closing: the rules' own words, laws over several months, and an oracle that shares no code.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemark::domain::amount::Points;
use tidemark::domain::closing::{
    CarriedOver, ClaimStatus, ClosedMonth, Shape, Terms, TermsText, TokenUnits, Tree, close_month,
    proof_root, standard_leaf, uniswap_leaf,
};
use tidemark::domain::ethereum::{Address, Hash, U256, keccak256};
use tidemark::domain::ids::{Account, AccountKind};

pub fn user(id: &str) -> Account {
    Account::new(AccountKind::User, id).unwrap()
}

pub fn provider(id: &str) -> Account {
    Account::new(AccountKind::Provider, id).unwrap()
}

/// An address by its number.
pub fn address(number: u32) -> Address {
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&keccak256(&number.to_be_bytes()).0[12..]);
    Address(bytes)
}

pub fn pool(pool: &str, decimals: u32) -> TermsText {
    TermsText {
        pool: Some(pool.to_owned()),
        decimals,
        ..TermsText::default()
    }
}

fn per_point(tokens: &str, decimals: u32) -> TermsText {
    TermsText {
        tokens_per_point: Some(tokens.to_owned()),
        decimals,
        ..TermsText::default()
    }
}

fn terms(text: TermsText) -> Terms {
    Terms::try_from(text).unwrap()
}

/// One account in one close.
struct Row {
    total: &'static str,
    amount: &'static str,
    paid: &'static str,
    unpaid: &'static str,
    debt: &'static str,
    status: ClaimStatus,
}

/// Closes one month of users `a`, `b`, …, who have a wallet each but for those in `without`.
fn check(terms_text: TermsText, without: &[&str], remainder: &str, rows: &[Row]) {
    let ids = ["a", "b", "c", "d"];
    let terms = terms(terms_text);
    let points = |text: &str| text.parse::<Points>().unwrap();
    let totals = ids
        .iter()
        .zip(rows)
        .map(|(id, row)| (user(id), points(row.total)));
    let mut wallets = BTreeMap::new();
    for (number, id) in (0..).zip(ids) {
        if !without.contains(&id) {
            wallets.insert(user(id), address(number));
        }
    }
    let closed = close_month(&terms, totals.collect(), CarriedOver::default(), &wallets).unwrap();
    assert_eq!(closed.totals.remainder.to_string(), remainder);
    for (id, row) in ids.iter().zip(rows) {
        let found = closed.accounts.iter().find(|one| one.account == user(id));
        let found = found.unwrap_or_else(|| panic!("{id} is missing"));
        assert_eq!(found.amount.to_string(), row.amount, "amount of {id}");
        assert_eq!(found.paid.to_string(), row.paid, "paid to {id}");
        assert_eq!(found.unpaid.to_string(), row.unpaid, "unpaid of {id}");
        assert_eq!(found.debt.to_string(), row.debt, "debt of {id}");
        assert_eq!(found.status, row.status, "{id}");
    }
}

const fn claimable(total: &'static str, amount: &'static str) -> Row {
    Row {
        total,
        amount,
        paid: amount,
        unpaid: "0",
        debt: "0",
        status: ClaimStatus::Claimable,
    }
}

#[test]
fn one_month_by_the_rules() {
    use ClaimStatus::{BelowMinimum, Debt, NoWallet, Nothing};
    // Shares of a pool are floored, and the remainder stays.
    check(
        pool("100", 0),
        &[],
        "1",
        &[
            claimable("1", "33"),
            claimable("1", "33"),
            claimable("1", "33"),
        ],
    );
    check(
        pool("1", 2),
        &[],
        "1",
        &[claimable("2", "66"), claimable("1", "33")],
    );
    // A negative total is debt, and takes no part.
    let owes = Row {
        total: "-5.5",
        amount: "0",
        paid: "0",
        unpaid: "0",
        debt: "5.5",
        status: Debt,
    };
    check(pool("10", 0), &[], "0", &[claimable("2", "10"), owes]);
    // Per point: one floor per account; nothing remains.
    check(
        per_point("0.25", 6),
        &[],
        "0",
        &[claimable("2", "500000"), claimable("0.000004", "1")],
    );
    let nothing = Row {
        total: "0.000003",
        amount: "0",
        paid: "0",
        unpaid: "0",
        debt: "0",
        status: Nothing,
    };
    check(
        per_point("0.25", 6),
        &[],
        "0",
        &[claimable("1", "250000"), nothing],
    );
    // Without a wallet, or below the minimum: listed with the amount.
    let waits = |status| Row {
        total: "1",
        amount: "10",
        paid: "0",
        unpaid: "10",
        debt: "0",
        status,
    };
    check(
        pool("30", 0),
        &["b"],
        "0",
        &[claimable("2", "20"), waits(NoWallet)],
    );
    let minimum = TermsText {
        minimum: Some("11".to_owned()),
        ..pool("30", 0)
    };
    check(
        minimum,
        &[],
        "0",
        &[claimable("2", "20"), waits(BelowMinimum)],
    );
}

#[test]
fn terms_that_cannot_be_used_have_a_code() {
    let most = U256::MAX.to_string();
    let both = TermsText {
        tokens_per_point: Some("1".to_owned()),
        ..pool("1", 0)
    };
    let minimum = |text: &str| TermsText {
        minimum: Some(text.to_owned()),
        ..pool("1", 0)
    };
    let kinds = |text: &str| TermsText {
        kinds: Some(text.to_owned()),
        ..pool("1", 0)
    };
    let rows = [
        (pool("0", 18), "amount_is_zero"),
        (pool("0.000", 18), "amount_is_zero"),
        (per_point("0", 18), "amount_is_zero"),
        (pool("1", 37), "decimals_out_of_range"),
        (pool("1", u32::MAX), "decimals_out_of_range"),
        (pool(&most, 1), "amount_out_of_range"),
        (pool(&format!("{most}0"), 0), "amount_out_of_range"),
        (pool("1e18", 0), "invalid_amount"),
        (pool("-1", 0), "invalid_amount"),
        (pool(" 1", 0), "invalid_amount"),
        (pool("1.", 0), "invalid_amount"),
        (pool(".5", 1), "invalid_amount"),
        (pool("0.05", 1), "invalid_amount"),
        (pool("", 0), "invalid_amount"),
        (both, "pool_or_tokens_per_point"),
        (TermsText::default(), "pool_or_tokens_per_point"),
        (minimum("x"), "invalid_amount"),
        (kinds("robots"), "invalid_kinds"),
        (kinds(""), "invalid_kinds"),
    ];
    for (text, code) in rows {
        let error = Terms::try_from(text.clone()).unwrap_err();
        assert_eq!(error.code(), code, "{text:?}: {error}");
    }
    assert!(Terms::try_from(pool(&most, 0)).is_ok());
    assert!(Terms::try_from(kinds("providers, users")).is_ok());
}

#[test]
fn tokens_are_written_as_they_are_read() {
    let rows = [
        ("0", 0, "0"),
        ("1", 18, "1000000000000000000"),
        ("0.5", 1, "5"),
        ("12.03", 2, "1203"),
    ];
    for (text, decimals, units) in rows {
        let parsed = TokenUnits::parse(text, decimals).unwrap();
        assert_eq!(parsed.units.to_string(), units);
        assert_eq!(parsed.to_string(), text);
    }
    assert_eq!(TokenUnits::parse("1.500", 1).unwrap().to_string(), "1.5");
}

/// An oracle that is written from the rules' text: plain maps and wide integers, month after month.
#[derive(Default)]
struct Oracle {
    debt: BTreeMap<Account, i128>,
    unpaid: BTreeMap<Account, u128>,
    cumulative: BTreeMap<Address, u128>,
}

impl Oracle {
    /// Gives the amount of each account, what each is paid, and what stays of the pool.
    fn close(&mut self, month: &Month) -> (BTreeMap<Account, u128>, BTreeMap<Account, u128>, u128) {
        let mut eligible: BTreeMap<Account, i128> = BTreeMap::new();
        for (account, total) in &month.totals {
            let debt = self.debt.get(account).copied().unwrap_or(0);
            if !month.takes_part(account) {
                // It earns nothing, and what it owes is not forgotten.
                let owed = debt + i128::from(-(*total).min(0));
                self.debt.insert(account.clone(), owed);
                continue;
            }
            let left = *total as i128 - debt;
            if left > 0 {
                eligible.insert(account.clone(), left);
                self.debt.remove(account);
            } else {
                self.debt.insert(account.clone(), -left);
            }
        }
        let all: i128 = eligible.values().sum();
        let mut amounts = BTreeMap::new();
        for (account, points) in &eligible {
            let amount = month.pool * *points as u128 / all as u128;
            amounts.insert(account.clone(), amount);
        }
        let remainder = month.pool - amounts.values().sum::<u128>();
        for (account, amount) in &amounts {
            *self.unpaid.entry(account.clone()).or_default() += amount;
        }
        let mut paid = BTreeMap::new();
        for (account, due) in self.unpaid.iter_mut().filter(|(_, due)| **due > 0) {
            let wallet = month.wallets.get(account);
            let wallet = wallet.filter(|_| month.takes_part(account));
            if let Some(address) = wallet.filter(|_| *due >= month.minimum) {
                *self.cumulative.entry(*address).or_default() += *due;
                paid.insert(account.clone(), std::mem::take(due));
            }
        }
        (amounts, paid, remainder)
    }
}

#[derive(Clone, Debug)]
struct Month {
    totals: BTreeMap<Account, i64>,
    wallets: BTreeMap<Account, Address>,
    pool: u128,
    minimum: u128,
    kinds: &'static str,
}

impl Month {
    fn takes_part(&self, account: &Account) -> bool {
        self.kinds.contains(account.kind.as_str())
    }
}

fn account_of(number: u8) -> Account {
    match number % 2 {
        0 => user(&format!("u{}", number / 2)),
        _ => provider(&format!("p{}", number / 2)),
    }
}

fn months() -> impl Strategy<Value = Vec<Month>> {
    let totals = prop::collection::btree_map(
        (0_u8..8).prop_map(account_of),
        prop_oneof![-3_000_000_i64..0, 1_i64..5_000_000],
        0..8,
    );
    // Few addresses, so that some are shared.
    let wallets = prop::collection::btree_map(
        (0_u8..8).prop_map(account_of),
        (0_u32..4).prop_map(address),
        0..8,
    );
    let month = (
        totals,
        wallets,
        1_u128..1_000_000,
        prop_oneof![Just(0_u128), 1_u128..200_000],
        prop_oneof![
            2 => Just("users,providers"),
            1 => Just("users"),
            1 => Just("providers")
        ],
    );
    let month = month.prop_map(|(totals, wallets, pool, minimum, kinds)| Month {
        totals,
        wallets,
        pool,
        minimum,
        kinds,
    });
    prop::collection::vec(month, 1..7)
}

fn closed(month: &Month, carried: CarriedOver) -> ClosedMonth {
    let text = TermsText {
        minimum: Some(month.minimum.to_string()),
        kinds: Some(month.kinds.to_owned()),
        ..pool(&month.pool.to_string(), 0)
    };
    let totals = month
        .totals
        .iter()
        .map(|(account, total)| (account.clone(), Points(*total)));
    close_month(&terms(text), totals.collect(), carried, &month.wallets).unwrap()
}

fn units(amount: u128) -> U256 {
    U256::from_str_radix(&amount.to_string(), 10).unwrap()
}

proptest! {
    #[test]
    fn months_come_out_as_an_oracle_says(months in months()) {
        let mut oracle = Oracle::default();
        let mut carried = CarriedOver::default();
        for month in &months {
            let (amounts, paid, remainder) = oracle.close(month);
            let close = closed(month, carried);
            for account in &close.accounts {
                let of = |map: &BTreeMap<Account, u128>| map.get(&account.account).copied().unwrap_or(0);
                prop_assert_eq!(account.amount, units(of(&amounts)));
                prop_assert_eq!(account.paid, units(of(&paid)));
                prop_assert_eq!(account.unpaid, units(of(&oracle.unpaid)));
                let debt = oracle.debt.get(&account.account).copied().unwrap_or(0);
                prop_assert_eq!(account.debt.0, debt);
                let total = month.totals.get(&account.account).copied().unwrap_or(0);
                prop_assert_eq!(account.total.0, total);
            }
            // What is carried is listed: nothing is lost on the way.
            let listed = |account: &Account| close.accounts.iter().any(|one| one.account == *account);
            for (account, debt) in &oracle.debt {
                prop_assert!(*debt == 0 || listed(account), "{account} owes {debt}");
            }
            for (account, due) in &oracle.unpaid {
                prop_assert!(*due == 0 || listed(account), "{account} waits for {due}");
            }
            prop_assert_eq!(close.totals.remainder, units(remainder));
            let cumulative: BTreeMap<Address, U256> =
                close.payouts.iter().map(|one| (one.address, one.cumulative)).collect();
            let expected: BTreeMap<Address, U256> =
                oracle.cumulative.iter().map(|(address, paid)| (*address, units(*paid))).collect();
            prop_assert_eq!(cumulative, expected);
            carried = close.carried_over();
        }
    }

    #[test]
    fn laws_of_a_chain_of_closes(months in months()) {
        let mut carried = CarriedOver::default();
        for month in &months {
            let before = carried.clone();
            let close = closed(month, carried);
            let totals = close.totals;
            // Amounts and remainder are the pool; what was carried and what is new is paid or waits.
            prop_assert_eq!(totals.amount + totals.remainder, units(month.pool));
            prop_assert_eq!(totals.carried + totals.amount, totals.paid + totals.unpaid);
            let sum = close.payouts.iter().fold(U256::MIN, |sum, one| sum + one.amount);
            prop_assert_eq!(sum, totals.paid);
            // No cumulative amount falls, and no address is lost.
            for (address, paid) in &before.paid {
                let now = close.payouts.iter().find(|one| one.address == *address).unwrap();
                prop_assert!(now.cumulative >= *paid);
                prop_assert_eq!(now.cumulative, *paid + now.amount);
            }
            // Debt is taken off first.
            for account in &close.accounts {
                prop_assert!(account.debt.0 == 0 || account.eligible == Points::ZERO);
                let counted = match month.takes_part(&account.account) {
                    true => account.total.0,
                    false => account.total.0.min(0),
                };
                let net = i128::from(counted) - account.debt_before.0;
                prop_assert_eq!(i128::from(account.eligible.0) - account.debt.0, net);
            }
            carried = close.carried_over();
        }
    }

    #[test]
    fn the_order_of_accounts_changes_nothing(month in months(), seed in any::<u64>()) {
        let month = &month[0];
        let text = pool(&month.pool.to_string(), 0);
        let mut totals: Vec<(Account, Points)> =
            month.totals.iter().map(|(account, total)| (account.clone(), Points(*total))).collect();
        let one = close_month(&terms(text.clone()), totals.clone(), CarriedOver::default(), &month.wallets);
        totals.sort_by_key(|(account, _)| keccak256(format!("{seed}{account}").as_bytes()));
        let other = close_month(&terms(text), totals, CarriedOver::default(), &month.wallets);
        prop_assert_eq!(one, other);
    }

    #[test]
    fn every_proof_leads_to_the_root(count in 1_usize..70, amounts in any::<u64>()) {
        for (shape, leaf) in [
            (Shape::Standard, standard_leaf as fn(u64, Address, U256) -> Hash),
            (Shape::Layers, uniswap_leaf),
        ] {
            let leaves: Vec<Hash> = (0..count as u64)
                .map(|n| leaf(n, address(n as u32), units(u128::from(amounts) + u128::from(n))))
                .collect();
            let tree = Tree::of(shape, &leaves).unwrap().unwrap();
            prop_assert_eq!(tree.nodes().len(), shape.nodes(count));
            for (place, leaf) in leaves.iter().enumerate() {
                prop_assert_eq!(proof_root(*leaf, &tree.proof(place)), tree.root());
            }
        }
    }
}

#[test]
fn a_kind_that_takes_no_part_keeps_what_it_has() {
    let first = terms(pool("100", 0));
    let totals = vec![
        (user("a"), Points::whole(1)),
        (provider("p"), Points::whole(3)),
    ];
    let wallets = BTreeMap::from([(provider("p"), address(1))]);
    let one = close_month(&first, totals.clone(), CarriedOver::default(), &wallets).unwrap();
    let only = TermsText {
        kinds: Some("providers".to_owned()),
        ..pool("100", 0)
    };
    let all = BTreeMap::from([(provider("p"), address(1)), (user("a"), address(2))]);
    let two = close_month(&terms(only), totals, one.carried_over(), &all).unwrap();
    let a = two
        .accounts
        .iter()
        .find(|one| one.account == user("a"))
        .unwrap();
    assert_eq!(a.status, ClaimStatus::Excluded);
    assert_eq!((a.amount, a.unpaid), (units(0), units(25)));
    let p = two
        .accounts
        .iter()
        .find(|one| one.account == provider("p"))
        .unwrap();
    assert_eq!(p.paid, units(100));
    let three = close_month(&first, Vec::new(), two.carried_over(), &all).unwrap();
    assert_eq!(three.totals.paid, units(25));
    assert_eq!(three.totals.remainder, units(100));
}

#[test]
fn a_kind_that_takes_no_part_keeps_what_it_owes() {
    let every = terms(pool("100", 0));
    let wallets = BTreeMap::from([(user("u"), address(1)), (provider("p"), address(2))]);
    let month = |terms: &Terms, u: i64, carried| {
        let totals = vec![
            (user("u"), Points::whole(u)),
            (provider("p"), Points::whole(10)),
        ];
        close_month(terms, totals, carried, &wallets).unwrap()
    };
    let only = terms(TermsText {
        kinds: Some("providers".to_owned()),
        ..pool("100", 0)
    });
    let of_u = |close: &ClosedMonth| {
        let found = close.accounts.iter().find(|one| one.account == user("u"));
        let found = found.expect("it owes points, so it is listed");
        (
            found.total.to_string(),
            found.debt.to_string(),
            found.paid,
            found.status,
        )
    };
    // What October paid is reversed in November, in which users take no part.
    let october = month(&every, 10, CarriedOver::default());
    let november = month(&only, -10, october.carried_over());
    let expected = |total: &str, debt: &str, paid, status| {
        (total.to_owned(), debt.to_owned(), units(paid), status)
    };
    assert_eq!(
        of_u(&november),
        expected("-10", "10", 0, ClaimStatus::Excluded)
    );
    // Points that do not count pay nothing off either.
    let december = month(&only, 4, november.carried_over());
    assert_eq!(
        of_u(&december),
        expected("4", "10", 0, ClaimStatus::Excluded)
    );
    let january = month(&every, 20, december.carried_over());
    assert_eq!(
        of_u(&january),
        expected("20", "0", 50, ClaimStatus::Claimable)
    );
}

#[test]
fn sums_beyond_256_bits_are_refused() {
    let terms = terms(per_point(&U256::MAX.to_string(), 0));
    let wallets = BTreeMap::from([(user("a"), address(1))]);
    let error = close_month(
        &terms,
        vec![(user("a"), Points::whole(2))],
        CarriedOver::default(),
        &wallets,
    );
    assert!(error.is_err());
    let one = close_month(
        &terms,
        vec![(user("a"), Points::whole(1))],
        CarriedOver::default(),
        &wallets,
    );
    let again = close_month(
        &terms,
        vec![(user("a"), Points::whole(1))],
        one.unwrap().carried_over(),
        &wallets,
    );
    assert!(again.is_err());
}
