//! Checks claim files without any server: root, proofs and sums are computed again, and what was
//! edited is named by its line.

mod close;
mod lines;
mod openzeppelin;
mod sablier;
mod uniswap;

use std::fmt;

use super::close_file::CloseFile;
use super::hex::sha256_of;
use super::name::FileKind;
use crate::domain::ethereum::{Address, Hash, U256};

/// What is wrong with a file. The codes are stable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// Stable: scripts compare it.
    pub code: &'static str,
    /// The line, from 1; `None`: it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {} ({})", self.what, self.code),
            None => write!(f, "{} ({})", self.what, self.code),
        }
    }
}

impl Fault {
    pub(super) fn at(code: &'static str, line: usize, what: impl Into<String>) -> Fault {
        Fault {
            code,
            line: Some(line),
            what: what.into(),
        }
    }

    pub(super) fn whole(code: &'static str, what: impl Into<String>) -> Fault {
        Fault {
            code,
            line: None,
            what: what.into(),
        }
    }

    fn of_json(error: &serde_json::Error) -> Fault {
        let what = error.to_string();
        // The position is given as a line already.
        let what = what.split(" at line ").next().unwrap_or_default();
        Fault::at("not_json", error.line().max(1), what)
    }
}

/// What a file without a fault holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its form, for people.
    pub form: &'static str,
    /// The root that was computed; `None`: the form has none.
    pub root: Option<Hash>,
    /// Its claims.
    pub claims: u64,
    /// What they sum up to, in the token's smallest unit.
    pub total: U256,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// Files that lie beside the one that is checked.
pub trait Beside {
    /// The bytes of a file; `None`: it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    fn file(&self, kind: FileKind) -> std::io::Result<Option<Vec<u8>>>;
}

/// Checks a file, against `close.json` beside it if that is there.
///
/// # Errors
/// What is wrong with it first.
pub fn check(name: &str, bytes: &[u8], beside: &dyn Beside) -> Result<Vec<Report>, Fault> {
    let kind = match FileKind::of_download(name) {
        Some((_, kind)) => kind,
        None => recognized(bytes)?,
    };
    if kind == FileKind::Close {
        return close::check(bytes, beside);
    }
    let close = read_beside(beside, FileKind::Close)?;
    let close = close.map(|bytes| CloseFile::read(&bytes)).transpose();
    let close = close.map_err(|error| Fault::whole("bad_close_file", error.to_string()))?;
    check_kind(kind, bytes, close.as_ref(), beside).map(|report| vec![report])
}

fn read_beside(beside: &dyn Beside, kind: FileKind) -> Result<Option<Vec<u8>>, Fault> {
    let read = beside.file(kind);
    read.map_err(|error| Fault::whole("unreadable", format!("cannot read {kind}: {error}")))
}

/// What a file under a name of one's own is.
fn recognized(bytes: &[u8]) -> Result<FileKind, Fault> {
    let head = &bytes[..bytes.len().min(4_096)];
    let has = |key: &str| head.windows(key.len()).any(|part| part == key.as_bytes());
    if has("\"leafEncoding\"") {
        return Ok(FileKind::OpenZeppelin);
    }
    if has("\"merkleRoot\"") {
        return Ok(FileKind::Uniswap(0));
    }
    if has("\"tidemark-close-v1\"") {
        return Ok(FileKind::Close);
    }
    if head.starts_with(sablier::HEADER.as_bytes()) {
        return Ok(FileKind::Sablier);
    }
    let what = "this is not a claim file, or its beginning was edited; files that can be checked are \
                openzeppelin.json, cumulative.json, uniswap.json, sablier.csv and close.json";
    Err(Fault::at("not_a_claim_file", 1, what))
}

fn check_kind(
    kind: FileKind,
    bytes: &[u8],
    close: Option<&CloseFile>,
    beside: &dyn Beside,
) -> Result<Report, Fault> {
    let mut report = match kind {
        FileKind::OpenZeppelin | FileKind::Cumulative => openzeppelin::check(bytes)?,
        FileKind::Uniswap(_) => uniswap::check(bytes, close)?,
        FileKind::Sablier => sablier::check(bytes, close, beside)?,
        FileKind::Close
        | FileKind::Accounts
        | FileKind::AccountsIndex
        | FileKind::OpenZeppelinTree
        | FileKind::UniswapTree
        | FileKind::CumulativeTree => {
            let what =
                format!("{kind} is not a claim file; check close.json, which names its hash");
            return Err(Fault::whole("not_a_claim_file", what));
        }
    };
    match close {
        Some(close) => must_be_of(close, kind, bytes, &report)?,
        None => {
            let note = "there is no close.json beside it: compare the root with the contract's";
            report.notes.push(note.to_owned());
        }
    }
    Ok(report)
}

/// The file is right in itself; it must also be the one that was published.
fn must_be_of(
    close: &CloseFile,
    kind: FileKind,
    bytes: &[u8],
    report: &Report,
) -> Result<(), Fault> {
    let expected = close.roots.of(kind);
    let root = report.root.map(|root| root.to_string());
    if root.is_some() && root.as_deref() != expected {
        let what = format!(
            "its root is {}, that of the close of {} is {}",
            root.unwrap_or_default(),
            close.month,
            expected.unwrap_or("none")
        );
        return Err(Fault::whole("another_root", what));
    }
    let found = sha256_of(bytes);
    match close.entry(kind) {
        Some(entry) if entry.sha256 == found => Ok(()),
        Some(_) | None => {
            let what = format!(
                "these are not the bytes that close.json of {} names",
                close.month
            );
            Err(Fault::whole("other_bytes", what))
        }
    }
}

/// The claims of a tree as OpenZeppelin's library dumps it, checked.
fn openzeppelin_claims(bytes: &[u8]) -> Result<Vec<(Address, U256)>, Fault> {
    let claims = openzeppelin::read_claims(bytes).map_err(|fault| Fault {
        what: format!("{}, beside it: {}", FileKind::OpenZeppelin, fault.what),
        ..fault
    })?;
    Ok(claims.entries().to_vec())
}

/// An address as it is written in claim files: with its checksum.
fn address_of(text: &str) -> Result<Address, String> {
    let address: Address = text.parse().map_err(|error| format!("'{text}': {error}"))?;
    match address.to_string() == text {
        true => Ok(address),
        false => Err(format!(
            "'{text}' is not written with its checksum (EIP-55), which is {address}"
        )),
    }
}

/// An amount as it is written in claim files: a decimal number above zero without leading zeros.
fn amount_of(text: &str) -> Result<U256, String> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits || text.starts_with('0') {
        return Err(format!("'{text}' is not an amount above 0"));
    }
    U256::from_str_radix(text, 10).map_err(|_| format!("'{text}' is 2^256 or more"))
}
