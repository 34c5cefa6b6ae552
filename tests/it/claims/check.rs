//! `claims check`: a right file passes; one with any other character is refused, and the line is named.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use tidemark::claims::check::{Beside, check};
use tidemark::claims::{
    CLAIMS_PER_FILE, Claims, CloseFile, CloseTotals, FileEntry, FileKind, Roots, sha256_of,
    write_openzeppelin, write_sablier, write_uniswap,
};
use tidemark::domain::amount::Points;
use tidemark::domain::closing::{CarriedOver, Terms, close_month};
use tidemark::domain::position::Control;
use tidemark::domain::time::Month;

use crate::domain::closing::{address, pool, user};

/// The files of a close.
pub struct Files(pub BTreeMap<FileKind, Vec<u8>>);

impl Beside for Files {
    fn file(&self, kind: FileKind) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(&kind).cloned())
    }
}

/// The files of a close of eleven accounts.
pub fn files() -> Files {
    files_of(11)
}

/// The files of a close of so many accounts.
fn files_of(count: u32) -> Files {
    let terms = Terms::try_from(pool("1234.5", 6)).unwrap();
    let totals = (1..=count).map(|n| (user(&format!("u{n}")), Points::whole(n.into())));
    let wallets = (1..=count).map(|n| (user(&format!("u{n}")), address(n)));
    let close = close_month(
        &terms,
        totals.collect(),
        CarriedOver::default(),
        &wallets.collect(),
    )
    .unwrap();
    let claims = Claims::of_close(&close);
    let (standard, uniswap) = (
        claims.standard_tree().unwrap().unwrap(),
        claims.uniswap_tree().unwrap().unwrap(),
    );
    let mut files = BTreeMap::new();
    let mut put = |kind, write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        files.insert(kind, bytes);
    };
    put(FileKind::OpenZeppelin, &|out| {
        write_openzeppelin(out, &claims, &standard).unwrap()
    });
    let claimed = claims.entries().len();
    for (part, begin) in (0..).zip((0..claimed).step_by(CLAIMS_PER_FILE)) {
        let range = begin..claimed.min(begin + CLAIMS_PER_FILE);
        put(FileKind::Uniswap(part), &|out| {
            write_uniswap(out, &claims, close.totals.paid, &uniswap, range.clone()).unwrap();
        });
    }
    put(FileKind::Sablier, &|out| {
        write_sablier(out, &claims, 6).unwrap()
    });
    let all = Claims::cumulative(&close);
    let cumulative = all.standard_tree().unwrap().unwrap();
    put(FileKind::Cumulative, &|out| {
        write_openzeppelin(out, &all, &cumulative).unwrap()
    });
    let entries = files.iter().map(|(kind, bytes)| FileEntry {
        name: kind.to_string(),
        bytes: bytes.len() as u64,
        sha256: sha256_of(bytes),
    });
    let file = CloseFile::new(
        Month(24 * 12),
        Control(7),
        terms,
        None,
        CloseTotals::of(&close.totals, claimed),
        Roots {
            openzeppelin: Some(standard.root().to_string()),
            uniswap: Some(uniswap.root().to_string()),
            cumulative: Some(cumulative.root().to_string()),
        },
        entries.collect(),
    );
    files.insert(FileKind::Close, file.bytes());
    Files(files)
}

/// Another character of the same sort, so that the file stays one where it can.
fn other(byte: u8) -> u8 {
    match byte {
        b'0'..=b'8' | b'a'..=b'e' | b'A'..=b'E' => byte + 1,
        b'9' => b'8',
        b'f' => b'e',
        b'F' => b'E',
        b'\n' => b' ',
        b' ' => b'\n',
        b'x' => b'y',
        _ => b'x',
    }
}

/// The forms are other people's: contracts, wallets and payment services read them byte by byte.
/// The fuzzer begins with them, too.
#[test]
fn the_bytes_of_a_closes_files_stay_the_same() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/claim_file");
    for (kind, bytes) in files_of(3).0 {
        let path = dir.join(kind.to_string());
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        let stored = fs::read(&path).unwrap();
        assert!(
            stored == bytes,
            "{kind}: {}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

#[test]
fn the_files_of_a_close_are_right() {
    let files = files();
    for (kind, bytes) in &files.0 {
        let reports = check(&kind.to_string(), bytes, &files);
        let reports = reports.unwrap_or_else(|fault| panic!("{kind}: {fault}"));
        assert!(reports.iter().any(|report| report.claims == 11), "{kind}");
        // Under any name.
        check("download", bytes, &files).unwrap_or_else(|fault| panic!("{kind}: {fault}"));
    }
}

#[test]
fn every_edited_character_is_found_and_its_line_is_named() {
    let files = files();
    let alone = Files(BTreeMap::new());
    for kind in [
        FileKind::OpenZeppelin,
        FileKind::Cumulative,
        FileKind::Uniswap(0),
        FileKind::Sablier,
    ] {
        let bytes = &files.0[&kind];
        for at in 0..bytes.len() {
            let mut edited = bytes.clone();
            edited[at] = other(edited[at]);
            let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            let text =
                String::from_utf8_lossy(&edited[at.saturating_sub(20)..bytes.len().min(at + 20)])
                    .into_owned();
            // Without the record, all but a CSV can be checked as well.
            let beside: &dyn Beside = match kind {
                FileKind::Sablier => &files,
                _ => &alone,
            };
            let Err(fault) = check(&kind.to_string(), &edited, beside) else {
                panic!("{kind}: a character in line {line} was edited: {text}");
            };
            let named = fault.line.unwrap_or_default();
            // A line that lost its end, or a bracket that lost its partner, may be noticed in the next.
            assert!(
                named == line || named == line + 1,
                "{kind}: line {line} was edited, line {named} is named: {fault}; {text}"
            );
        }
    }
}

/// Changes one line of a file, or takes it away.
fn with_line(bytes: &[u8], line: usize, change: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    let lines = (1..).zip(text.lines()).filter_map(|(number, found)| {
        let found = match number == line {
            true => change(found)?,
            false => found.to_owned(),
        };
        Some(found + "\n")
    });
    lines.collect::<String>().into_bytes()
}

#[test]
fn a_part_of_many_claims_is_checked_against_the_close() {
    let files = files_of(CLAIMS_PER_FILE as u32 + 3);
    let part = &files.0[&FileKind::Uniswap(1)];
    for name in ["uniswap-1.json", "2026-10-uniswap-1.json"] {
        check(name, part, &files).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    }
    check("close.json", &files.0[&FileKind::Close], &files).unwrap();
    // A part says nothing that can be checked of the others.
    let alone = check("uniswap-1.json", part, &Files(BTreeMap::new()));
    assert_eq!(alone.unwrap_err().code, "nothing_to_compare");
    // Its claims are in the lines 6 to 8.
    let dropped = |line| with_line(part, line, |_| None);
    let last = with_line(&dropped(8), 7, |line| {
        Some(line.trim_end_matches(',').to_owned())
    });
    let total = with_line(part, 3, |_| Some("\"tokenTotal\":\"0x1\",".to_owned()));
    let count = with_line(part, 4, |line| Some(line.replace("10003", "10004")));
    for (edited, code, line) in [
        (total, "bad_sum", 3),
        (count, "bad_sum", 4),
        (dropped(6), "claim_missing", 6),
        (dropped(7), "claim_missing", 7),
        (last, "claim_missing", 8),
    ] {
        let fault = check("uniswap-1.json", &edited, &files).unwrap_err();
        assert_eq!((fault.code, fault.line), (code, Some(line)), "{fault}");
    }
}

#[test]
fn a_close_file_without_any_of_its_files_checks_nothing() {
    let mut files = files();
    let close = files.0[&FileKind::Close].clone();
    files.0.retain(|kind, _| *kind == FileKind::Close);
    for name in ["close.json", "2026-10-close.json", "mine.json"] {
        let fault = check(name, &close, &files).unwrap_err();
        assert_eq!(fault.code, "nothing_to_compare", "{name}");
        assert!(fault.what.contains("sablier.csv"), "{fault}");
    }
}

#[test]
fn an_edited_close_file_is_found() {
    let files = files();
    let bytes = &files.0[&FileKind::Close];
    for at in 0..bytes.len() {
        let mut edited = bytes.clone();
        edited[at] = other(edited[at]);
        assert!(check("close.json", &edited, &files).is_err(), "byte {at}");
    }
}

#[test]
fn a_file_of_another_close_is_told_from_this_one() {
    let mut files = files();
    let terms = Terms::try_from(pool("99", 6)).unwrap();
    let totals = vec![
        (user("u1"), Points::whole(1)),
        (user("u2"), Points::whole(1)),
    ];
    let wallets = BTreeMap::from([(user("u1"), address(1)), (user("u2"), address(2))]);
    let close = close_month(&terms, totals, CarriedOver::default(), &wallets).unwrap();
    let claims = Claims::of_close(&close);
    let mut bytes = Vec::new();
    write_openzeppelin(
        &mut bytes,
        &claims,
        &claims.standard_tree().unwrap().unwrap(),
    )
    .unwrap();
    let fault = check("openzeppelin.json", &bytes, &files).unwrap_err();
    assert_eq!(fault.code, "another_root");
    files.0.remove(&FileKind::Close);
    assert!(check("openzeppelin.json", &bytes, &files).is_ok());
    let csv = files.0[&FileKind::Sablier].clone();
    assert_eq!(
        check("sablier.csv", &csv, &files).unwrap_err().code,
        "nothing_to_compare"
    );
}
