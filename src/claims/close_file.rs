//! `close.json`: what was closed on which terms, what came of it, and the hash of every other file.

use serde::{Deserialize, Serialize};

use super::FileError;
use super::hex::sha256_of;
use super::name::{FileKind, FileName};
use crate::domain::closing::{Terms, Totals};
use crate::domain::position::Control;
use crate::domain::time::Month;

/// Its `format`.
const FORMAT: &str = "tidemark-close-v1";

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloseFile {
    format: String,
    /// The month that was closed.
    pub month: Month,
    /// Wallets are those as of this position of the control feed.
    pub control: u64,
    /// The terms.
    pub terms: Terms,
    /// The SHA-256 of this file of the close before; `None`: this is the first.
    pub previous: Option<String>,
    /// Sums.
    pub totals: CloseTotals,
    /// Roots of the trees.
    pub roots: Roots,
    /// Every other file.
    pub files: Vec<FileEntry>,
    /// The SHA-256 of this file with nothing between these quotation marks.
    sha256: String,
}

/// Roots of the trees; `None`: there is nothing to claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roots {
    /// Of `openzeppelin.json`.
    pub openzeppelin: Option<String>,
    /// Of `uniswap.json`.
    pub uniswap: Option<String>,
    /// Of `cumulative.json`.
    pub cumulative: Option<String>,
}

impl Roots {
    /// The files whose trees have a root.
    pub const FILES: [FileKind; 3] = [
        FileKind::OpenZeppelin,
        FileKind::Uniswap(0),
        FileKind::Cumulative,
    ];

    /// The root of the tree of a file; `None`: it has none.
    pub fn of(&self, kind: FileKind) -> Option<&str> {
        let root = match kind {
            FileKind::OpenZeppelin | FileKind::OpenZeppelinTree => &self.openzeppelin,
            FileKind::Uniswap(_) | FileKind::UniswapTree => &self.uniswap,
            FileKind::Cumulative | FileKind::CumulativeTree => &self.cumulative,
            FileKind::Close | FileKind::Sablier | FileKind::Accounts | FileKind::AccountsIndex => {
                &None
            }
        };
        root.as_deref()
    }
}

/// A file and its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// Sums of a close: points as decimals, amounts in the token's smallest unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloseTotals {
    /// Accounts that have something to do with it.
    pub accounts: u64,
    /// Those that are paid.
    pub paid_accounts: u64,
    /// Addresses that are paid.
    pub claims: u64,
    /// Accounts that wait for a wallet.
    pub without_wallet: u64,
    /// Accounts that wait for the minimum.
    pub below_minimum: u64,
    /// Accounts that owe points after it.
    pub in_debt: u64,
    /// The points that are paid for.
    pub points: String,
    /// The points that are owed after it.
    pub debt_points: String,
    /// What the points bring.
    pub amount: String,
    /// What the floors leave in the pool.
    pub remainder: String,
    /// What earlier closes had not paid.
    pub carried: String,
    /// What this close pays.
    pub paid: String,
    /// What waits for a later close.
    pub unpaid: String,
    /// What all closes so far have paid.
    pub cumulative: String,
}

impl CloseTotals {
    /// The sums of a close that pays so many addresses.
    pub fn of(totals: &Totals, claims: usize) -> CloseTotals {
        CloseTotals {
            accounts: totals.accounts,
            paid_accounts: totals.paid_accounts,
            claims: claims as u64,
            without_wallet: totals.without_wallet,
            below_minimum: totals.below_minimum,
            in_debt: totals.in_debt,
            points: totals.points.to_string(),
            debt_points: totals.debt.to_string(),
            amount: totals.amount.to_string(),
            remainder: totals.remainder.to_string(),
            carried: totals.carried.to_string(),
            paid: totals.paid.to_string(),
            unpaid: totals.unpaid.to_string(),
            cumulative: totals.cumulative.to_string(),
        }
    }
}

impl CloseFile {
    /// The file of a close.
    pub fn new(
        month: Month,
        control: Control,
        terms: Terms,
        previous: Option<String>,
        totals: CloseTotals,
        roots: Roots,
        files: Vec<FileEntry>,
    ) -> CloseFile {
        let mut file = CloseFile {
            format: FORMAT.to_owned(),
            month,
            control: control.0,
            terms,
            previous,
            totals,
            roots,
            files,
            sha256: String::new(),
        };
        file.sha256 = file.digest();
        file
    }

    /// Reads a file that nobody has edited.
    ///
    /// # Errors
    /// It is none, or was edited.
    pub fn read(bytes: &[u8]) -> Result<CloseFile, FileError> {
        let name = FileKind::Close.to_string();
        let wrong = |what: String| FileError {
            file: name.clone(),
            what,
        };
        let file: CloseFile =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if file.format != FORMAT {
            return Err(wrong(format!(
                "its format is '{}', not {FORMAT}",
                file.format
            )));
        }
        if file.sha256 != file.digest() || file.bytes() != bytes {
            let what = "it was edited: its own sha256 is another";
            return Err(wrong(what.to_owned()));
        }
        Ok(file)
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .expect("our own types hold no maps with keys that are not texts");
        bytes.push(b'\n');
        bytes
    }

    /// Its hash, by which the next close names it.
    pub fn sha256(&self) -> String {
        sha256_of(&self.bytes())
    }

    fn digest(&self) -> String {
        let unsigned = CloseFile {
            sha256: String::new(),
            ..self.clone()
        };
        unsigned.sha256()
    }

    /// The name of a file of this close.
    pub const fn name_of(&self, kind: FileKind) -> FileName {
        let month = self.month;
        FileName { month, kind }
    }

    /// What it says of a file.
    pub fn entry(&self, kind: FileKind) -> Option<&FileEntry> {
        let name = kind.to_string();
        self.files.iter().find(|entry| entry.name == name)
    }
}
