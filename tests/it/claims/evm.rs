//! The other side: OpenZeppelin's library, and compiled contracts on an Ethereum virtual machine, take the
//! files of two closes.
//!
//! Needs npm packages: `tests/servers/evm fetch`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        let linked = (0..accounts).filter(|n| all || n % 13 != 0);
        linked
            .map(|n| (id(n), address(if n % 10 == 9 { n - 1 } else { n })))
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

fn claim_all(accounts: u32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    two_closes(accounts, folder.path());
    let ran = Command::new(script())
        .arg("claims")
        .args([folder.path().join("one"), folder.path().join("two")])
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    serde_json::from_slice(&ran.stdout).unwrap()
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
