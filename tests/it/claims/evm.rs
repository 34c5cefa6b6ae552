//! The other side: OpenZeppelin's library, and compiled contracts on an Ethereum virtual machine, take the
//! files of two closes.
//!
//! Needs npm packages: `tests/servers/evm fetch`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tidemark::claims::{
    CLAIMS_PER_FILE, Claims, CloseFile, CloseTotals, FileKind, Roots, write_openzeppelin,
    write_sablier, write_uniswap,
};
use tidemark::domain::amount::Points;
use tidemark::domain::closing::{CarriedOver, ClosedMonth, Terms, close_month};
use tidemark::domain::position::Control;
use tidemark::domain::time::Month;

use crate::domain::closing::{address, pool, user};

pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/evm")
}

pub fn needs_evm() {
    let is_ready = Command::new(script()).arg("ready").status();
    if !is_ready.expect("the script runs").success() {
        crate::needs::missing("an Ethereum virtual machine", "tests/servers/evm fetch");
    }
}

/// Writes the public files of a close, as the close does.
fn publish(folder: &Path, month: &str, terms: &Terms, close: &ClosedMonth) {
    fs::create_dir_all(folder).unwrap();
    let put = |kind: FileKind, write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        fs::write(folder.join(kind.to_string()), bytes).unwrap();
    };
    let claims = Claims::of_close(close);
    let count = claims.entries().len();
    let standard = claims.standard_tree().unwrap().expect("claims");
    let uniswap = claims.uniswap_tree().unwrap().expect("claims");
    put(FileKind::OpenZeppelin, &|out| {
        write_openzeppelin(out, &claims, &standard).unwrap()
    });
    for (part, begin) in (0..).zip((0..count).step_by(CLAIMS_PER_FILE)) {
        let range = begin..count.min(begin + CLAIMS_PER_FILE);
        put(FileKind::Uniswap(part), &|out| {
            write_uniswap(out, &claims, close.totals.paid, &uniswap, range.clone()).unwrap();
        });
    }
    put(FileKind::Sablier, &|out| {
        write_sablier(out, &claims, terms.decimals).unwrap()
    });
    let all = Claims::cumulative(close);
    let cumulative = all.standard_tree().unwrap().expect("claims");
    put(FileKind::Cumulative, &|out| {
        write_openzeppelin(out, &all, &cumulative).unwrap()
    });
    let roots = Roots {
        openzeppelin: Some(standard.root().to_string()),
        uniswap: Some(uniswap.root().to_string()),
        cumulative: Some(cumulative.root().to_string()),
    };
    let month: Month = month.parse().unwrap();
    let totals = CloseTotals::of(&close.totals, count);
    let file = CloseFile::new(
        month,
        Control(1),
        terms.clone(),
        None,
        totals,
        roots,
        Vec::new(),
    );
    put(FileKind::Close, &|out| out.extend(file.bytes()));
}

/// Two closes of this many accounts; each tenth shares its address with another, some owe points in the
/// second month, some have a wallet only then.
fn two_closes(accounts: u32, folder: &Path) {
    let terms = Terms::try_from(pool("1000000", 18)).unwrap();
    let id = |n: u32| user(&format!("user-{n}"));
    let wallets = |all: bool| -> BTreeMap<_, _> {
        let linked = (0..accounts).filter(|n| all || is_linked_early(*n));
        linked
            .map(|n| (id(n), address(number_of_address(n))))
            .collect()
    };
    let first = (0..accounts).map(|n| (id(n), Points(1 + i64::from(n) * 7_919)));
    let one = close_month(
        &terms,
        first.collect(),
        CarriedOver::default(),
        &wallets(false),
    )
    .unwrap();
    publish(&folder.join("one"), "2026-10", &terms, &one);
    let second = (0..accounts).step_by(2).map(|n| {
        let sign = if n % 6 == 0 { -1 } else { 1 };
        (id(n), Points(sign * (1 + i64::from(n) * 104_729)))
    });
    let two = close_month(&terms, second.collect(), one.carried_over(), &wallets(true)).unwrap();
    publish(&folder.join("two"), "2026-11", &terms, &two);
}

/// What the script says about folders.
fn ask(what: &str, folders: &[PathBuf]) -> Output {
    let mut command = Command::new(script());
    let ran = command.arg(what).args(folders).output();
    ran.expect("the script runs")
}

/// What it prints if it accepts them.
fn accepted(what: &str, folders: &[PathBuf]) -> Value {
    let ran = ask(what, folders);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// Who has an address in both months, and who shares it: each tenth account with the one before.
fn number_of_address(account: u32) -> u32 {
    match account % 10 {
        9 => account - 1,
        _ => account,
    }
}

/// Whether an account has a wallet in the first month.
fn is_linked_early(account: u32) -> bool {
    !account.is_multiple_of(13)
}

fn claim_all(accounts: u32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    two_closes(accounts, folder.path());
    accepted(
        "claims",
        &["one", "two"].map(|name| folder.path().join(name)),
    )
}

#[test]
#[ignore = "needs evm"]
fn every_proof_of_ten_thousand_accounts_is_accepted() {
    needs_evm();
    let accounts = 10_000;
    let folder = tempfile::tempdir().unwrap();
    two_closes(accounts, folder.path());
    let addresses = |accounts: &mut dyn Iterator<Item = u32>| {
        let addresses: BTreeSet<u32> = accounts.map(number_of_address).collect();
        addresses.len() as u64
    };
    let early = addresses(&mut (0..accounts).filter(|n| is_linked_early(*n)));
    assert!(early > 8_000, "{early}");
    let one = accepted("proofs", &[folder.path().join("one")]);
    let every = json!({"openzeppelin": early, "cumulative": early, "uniswap": early});
    assert_eq!(one, every);
    let two = accepted("proofs", &[folder.path().join("two")]);
    assert_eq!(two["cumulative"], addresses(&mut (0..accounts)));
    assert_eq!(two["openzeppelin"], two["uniswap"]);
    assert!(two["uniswap"].as_u64() > Some(3_000), "{two}");
}

/// That proofs are accepted means something only if others are not.
#[test]
#[ignore = "needs evm"]
fn a_file_with_an_edited_claim_is_not_accepted() {
    needs_evm();
    let folder = tempfile::tempdir().unwrap();
    two_closes(40, folder.path());
    let one = folder.path().join("one");
    accepted("proofs", std::slice::from_ref(&one));
    // In the last claim of each file.
    for (name, before) in [
        ("openzeppelin.json", "[\"0x"),
        ("openzeppelin.json", "\",\""),
        ("cumulative.json", "\",\""),
        ("uniswap.json", "\"amount\":\"0x"),
        ("uniswap.json", "\"proof\":[\"0x"),
        ("uniswap.json", "\"index\":"),
    ] {
        let file = one.join(name);
        let text = fs::read_to_string(&file).unwrap();
        let at = text.rfind(before).expect(before) + before.len();
        let edited = [&text[..at], &other_digit(&text[at..])].concat();
        fs::write(&file, edited).unwrap();
        let ran = ask("proofs", std::slice::from_ref(&one));
        assert!(!ran.status.success(), "{name}: {before} was edited");
        fs::write(&file, text).unwrap();
    }
    accepted("proofs", &[one]);
}

/// With another digit in front.
fn other_digit(text: &str) -> String {
    let other = match text.starts_with('1') {
        true => "2",
        false => "1",
    };
    [other, &text[1..]].concat()
}

#[test]
#[ignore = "needs evm"]
fn a_tree_of_every_small_size_is_claimed_from_contracts() {
    needs_evm();
    for accounts in [2, 3, 5, 8, 15] {
        let counts = claim_all(accounts);
        assert!(counts["openzeppelin"].as_u64() > Some(0), "{counts}");
    }
}

#[test]
#[ignore = "needs evm"]
fn many_accounts_are_claimed_from_contracts() {
    needs_evm();
    // By hand with 12,500: then the claims of Uniswap's distributor take two files. See
    // docs/performance.md.
    let given = std::env::var("TIDEMARK_EVM_ACCOUNTS").ok();
    let accounts = given.map_or(500, |given| given.parse().expect("a number"));
    let counts = claim_all(accounts);
    for form in ["openzeppelin", "uniswap", "sablier"] {
        assert!(
            counts[form].as_u64() > Some(u64::from(accounts) * 4 / 5),
            "{counts}"
        );
    }
    assert_ne!(counts["next"], json!(0));
}
