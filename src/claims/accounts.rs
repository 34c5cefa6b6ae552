//! What became of every account: `accounts.csv`, from which the next close continues, and where to
//! find an account in it.

use std::io::{self, Write};
use std::ops::Range;

use csv::{ByteRecord, ReaderBuilder, WriterBuilder};

use super::FileError;
use crate::domain::amount::{Points, WidePoints};
use crate::domain::closing::{AccountOutcome, ClaimStatus};
use crate::domain::ethereum::{Address, U256};
use crate::domain::ids::{Account, AccountKind};

/// The index names every so many-th account.
pub const ACCOUNTS_PER_BLOCK: usize = 128;

const COLUMNS: [&str; 12] = [
    "kind",
    "id",
    "status",
    "address",
    "total_points",
    "debt_before_points",
    "eligible_points",
    "amount",
    "carried",
    "paid",
    "unpaid",
    "debt_points",
];

/// A row of the file.
pub type AccountRow = AccountOutcome;

fn row(outcome: &AccountOutcome) -> [String; COLUMNS.len()] {
    let AccountOutcome {
        account,
        address,
        total,
        debt_before,
        eligible,
        amount,
        carried,
        paid,
        unpaid,
        debt,
        status,
    } = outcome;
    [
        account.kind.to_string(),
        account.id().to_owned(),
        status.to_string(),
        address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        total.to_string(),
        debt_before.to_string(),
        eligible.to_string(),
        amount.to_string(),
        carried.to_string(),
        paid.to_string(),
        unpaid.to_string(),
        debt.to_string(),
    ]
}

fn line(fields: &[String]) -> io::Result<Vec<u8>> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(fields)?;
    writer
        .into_inner()
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Writes the file, and gives its index, which is a file as well: a line for every block of
/// accounts, with the place where it begins and its first account.
///
/// # Errors
/// Those of `out`.
pub fn write_accounts(out: &mut dyn Write, outcomes: &[AccountOutcome]) -> io::Result<Vec<u8>> {
    let header = line(&COLUMNS.map(str::to_owned))?;
    out.write_all(&header)?;
    let mut offset = header.len() as u64;
    let mut index = WriterBuilder::new().from_writer(Vec::new());
    for (number, outcome) in outcomes.iter().enumerate() {
        if number % ACCOUNTS_PER_BLOCK == 0 {
            let (kind, id) = (outcome.account.kind.as_str(), outcome.account.id());
            index.write_record([&offset.to_string(), kind, id])?;
        }
        let bytes = line(&row(outcome))?;
        out.write_all(&bytes)?;
        offset += bytes.len() as u64;
    }
    index.write_record([&offset.to_string(), "", ""])?;
    index
        .into_inner()
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Where accounts are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountsIndex {
    /// The first account of every block, and where it begins.
    blocks: Vec<(Account, u64)>,
    end: u64,
}

impl AccountsIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// It is none.
    pub fn read(file: &str, bytes: &[u8]) -> Result<AccountsIndex, FileError> {
        let wrong = |what: String| FileError {
            file: file.to_owned(),
            what,
        };
        let mut reader = ReaderBuilder::new().has_headers(false).from_reader(bytes);
        let (mut blocks, mut end) = (Vec::new(), None);
        for record in reader.byte_records() {
            let record = record.map_err(|error| wrong(error.to_string()))?;
            let number = record.position().map_or(0, csv::Position::line);
            let field = |at| text(&record, at);
            let read = || -> Result<(u64, Option<Account>), String> {
                let offset = parsed(field(0)?)?;
                match field(1)? {
                    "" => Ok((offset, None)),
                    kind => Ok((offset, Some(account_of(kind, field(2)?)?))),
                }
            };
            match read().map_err(|what| wrong(format!("line {number}: {what}")))? {
                (offset, Some(account)) => blocks.push((account, offset)),
                (offset, None) => end = Some(offset),
            }
        }
        let end = end.ok_or_else(|| wrong("its last line is missing".to_owned()))?;
        Ok(AccountsIndex { blocks, end })
    }

    /// Where the block is in which this account would be; `None`: in none.
    pub fn block(&self, account: &Account) -> Option<Range<u64>> {
        let after = self.blocks.partition_point(|(first, _)| first <= account);
        let (_, begin) = self.blocks.get(after.checked_sub(1)?)?;
        let end = self.blocks.get(after).map_or(self.end, |(_, next)| *next);
        Some(*begin..end)
    }

    /// About how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        let ids = self.blocks.iter().map(|(account, _)| account.id().len());
        ids.sum::<usize>() + self.blocks.len() * size_of::<(Account, u64)>()
    }
}

/// Reads a whole file, row by row.
///
/// # Errors
/// It is none.
pub fn read_accounts(
    file: &str,
    bytes: &[u8],
    each: &mut dyn FnMut(AccountRow),
) -> Result<(), FileError> {
    let header = COLUMNS.join(",");
    let body = bytes
        .strip_prefix(header.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"\n"));
    let body = body.ok_or_else(|| FileError {
        file: file.to_owned(),
        what: format!("its first line is not '{header}'"),
    })?;
    read_each(file, body, each)
}

/// Reads rows, without the header.
///
/// # Errors
/// They are none.
pub fn read_rows(file: &str, bytes: &[u8]) -> Result<Vec<AccountRow>, FileError> {
    let mut rows = Vec::new();
    read_each(file, bytes, &mut |row| rows.push(row))?;
    Ok(rows)
}

fn read_each(file: &str, bytes: &[u8], each: &mut dyn FnMut(AccountRow)) -> Result<(), FileError> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(bytes);
    for record in reader.byte_records() {
        let wrong = |what: String| FileError {
            file: file.to_owned(),
            what,
        };
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let number = record.position().map_or(0, csv::Position::line);
        let read = outcome_of(&record);
        each(read.map_err(|what| wrong(format!("row {number}: {what}")))?);
    }
    Ok(())
}

fn text(record: &ByteRecord, at: usize) -> Result<&str, String> {
    let field = record.get(at).ok_or("a column is missing")?;
    std::str::from_utf8(field).map_err(|error| error.to_string())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn account_of(kind: &str, id: &str) -> Result<Account, String> {
    let kind: AccountKind = parsed(kind)?;
    Account::new(kind, id).map_err(|error| error.to_string())
}

fn outcome_of(record: &ByteRecord) -> Result<AccountOutcome, String> {
    if record.len() != COLUMNS.len() {
        return Err(format!(
            "it has {} columns, not {}",
            record.len(),
            COLUMNS.len()
        ));
    }
    let field = |at| text(record, at);
    let amount = |at| {
        let amount = U256::from_str_radix(field(at)?, 10);
        amount.map_err(|error| error.to_string())
    };
    let wide = |at| parsed::<WidePoints>(field(at)?);
    let address = match field(3)? {
        "" => None,
        address => Some(parsed::<Address>(address)?),
    };
    Ok(AccountOutcome {
        account: account_of(field(0)?, field(1)?)?,
        status: parsed::<ClaimStatus>(field(2)?)?,
        address,
        total: parsed::<Points>(field(4)?)?,
        debt_before: wide(5)?,
        eligible: parsed::<Points>(field(6)?)?,
        amount: amount(7)?,
        carried: amount(8)?,
        paid: amount(9)?,
        unpaid: amount(10)?,
        debt: wide(11)?,
    })
}
