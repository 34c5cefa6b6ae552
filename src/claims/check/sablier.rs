//! Checks a CSV for Sablier. It holds neither a root nor a sum, so that it can only be compared
//! with the tree of the same close.

use super::lines::{line_at, text_of};
use super::{Beside, Fault, Report, address_of, openzeppelin_claims, read_beside};
use crate::claims::close_file::CloseFile;
use crate::claims::entries::sum;
use crate::claims::name::FileKind;
use crate::domain::closing::TokenUnits;
use crate::domain::ethereum::{Address, NO_UNITS, U256};

pub(super) use crate::claims::sablier::HEADER;

/// Checks the file, with what lies beside it.
pub fn check(
    bytes: &[u8],
    close: Option<&CloseFile>,
    beside: &dyn Beside,
) -> Result<Report, Fault> {
    let text = text_of(bytes)?;
    let Some(close) = close else {
        let what = "a CSV holds no root, so it can only be checked against the close: put close.json \
                    and openzeppelin.json of the same month beside it";
        return Err(Fault::whole("nothing_to_compare", what));
    };
    let rows = read_rows(text, close.terms.decimals)?;
    let tree = read_beside(beside, FileKind::OpenZeppelin)?;
    if let Some(tree) = &tree {
        must_be_the_same(&rows, &openzeppelin_claims(tree)?, close.terms.decimals)?;
    }
    let total = sum(rows.iter().map(|(_, amount)| *amount));
    let total = total.ok_or_else(|| Fault::whole("bad_sum", "the amounts are 2^256 or more"))?;
    if total.to_string() != close.totals.paid {
        let what = format!(
            "the amounts sum up to {total}, the close pays {}",
            close.totals.paid
        );
        return Err(Fault::whole("bad_sum", what));
    }
    let mut notes = Vec::new();
    if tree.is_none() {
        let note = "openzeppelin.json is not beside it, so an edited line could not be named";
        notes.push(note.to_owned());
    }
    Ok(Report {
        form: "Sablier CSV",
        root: None,
        claims: rows.len() as u64,
        total,
        notes,
    })
}

fn read_rows(text: &str, decimals: u8) -> Result<Vec<(Address, U256)>, Fault> {
    let Some(body) = text
        .strip_prefix(HEADER)
        .and_then(|rest| rest.strip_prefix('\n'))
    else {
        let what = format!("the first line is not '{HEADER}'");
        return Err(Fault::at("bad_format", 1, what));
    };
    if !body.ends_with('\n') {
        let last = line_at(text.as_bytes(), text.len());
        return Err(Fault::at("bad_format", last, "the last line was cut short"));
    }
    let mut rows: Vec<(Address, U256)> = Vec::new();
    for (line, row) in (2..).zip(body.split_terminator('\n')) {
        let read = read_row(row, decimals);
        let (address, amount) = read.map_err(|what| Fault::at("bad_claim", line, what))?;
        if rows.last().is_some_and(|(last, _)| *last >= address) {
            let what = format!("{address} is out of order or stands twice");
            return Err(Fault::at("bad_order", line, what));
        }
        rows.push((address, amount));
    }
    Ok(rows)
}

fn read_row(row: &str, decimals: u8) -> Result<(Address, U256), String> {
    let (address, amount) = row
        .split_once(',')
        .ok_or_else(|| format!("'{row}' is not an address and an amount"))?;
    let address = address_of(address)?;
    let read = TokenUnits::parse(amount, decimals).map_err(|error| error.to_string())?;
    if read.units == NO_UNITS || read.to_string() != amount {
        return Err(format!(
            "'{amount}' is not an amount above 0, written without needless zeros"
        ));
    }
    Ok((address, read.units))
}

fn must_be_the_same(
    rows: &[(Address, U256)],
    claims: &[(Address, U256)],
    decimals: u8,
) -> Result<(), Fault> {
    for (place, claim) in claims.iter().enumerate() {
        if rows.get(place) == Some(claim) {
            continue;
        }
        let units = claim.1;
        let amount = TokenUnits { units, decimals };
        let what = format!(
            "openzeppelin.json of the same close has {},{amount} here",
            claim.0
        );
        return Err(Fault::at("bad_claim", place + 2, what));
    }
    match rows.len() > claims.len() {
        false => Ok(()),
        true => Err(Fault::at(
            "bad_claim",
            claims.len() + 2,
            "openzeppelin.json of the same close ends before this line",
        )),
    }
}
