//! `claims check`: a right file passes; one with any other character is refused, and the line is named.

use std::collections::BTreeMap;
use std::io;

use tidemark::claims::check::{Beside, check};
use tidemark::claims::{
    Claims, CloseFile, CloseTotals, FileEntry, FileKind, Roots, sha256_text, write_openzeppelin,
    write_sablier, write_uniswap,
};
use tidemark::domain::amount::Points;
use tidemark::domain::closing::{CarriedOver, Terms, close_month};
use tidemark::domain::position::Control;
use tidemark::domain::time::Month;

use crate::domain::closing::{address, pool, user};

/// The files of a close of eleven accounts.
struct Files(BTreeMap<FileKind, Vec<u8>>);

impl Beside for Files {
    fn file(&self, kind: FileKind) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(&kind).cloned())
    }
}

fn files() -> Files {
    let terms = Terms::try_from(pool("1234.5", 6)).unwrap();
    let totals = (1..=11).map(|n| (user(&format!("u{n}")), Points::whole(n)));
    let wallets = (1..=11).map(|n| (user(&format!("u{n}")), address(n)));
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
    put(FileKind::Uniswap(0), &|out| {
        write_uniswap(out, &claims, close.totals.paid, &uniswap, 0..11).unwrap();
    });
    put(FileKind::Sablier, &|out| {
        write_sablier(out, &claims, 6).unwrap()
    });
    let entries = files.iter().map(|(kind, bytes)| FileEntry {
        name: kind.to_string(),
        bytes: bytes.len() as u64,
        sha256: sha256_text(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()),
    });
    let file = CloseFile::new(
        Month(24 * 12),
        Control(7),
        terms,
        None,
        CloseTotals::of(&close.totals, 11),
        Roots {
            openzeppelin: Some(standard.root().to_string()),
            uniswap: Some(uniswap.root().to_string()),
            cumulative: None,
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
