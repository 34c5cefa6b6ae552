//! Checks claims with proofs for Uniswap's distributor.

use std::fmt;
use std::ops::Range;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::lines::{line_of_key, lines_of, must_be_written_so, text_of};
use super::{Fault, Report, address_of};
use crate::claims::close_file::CloseFile;
use crate::claims::entries::{Claims, sum};
use crate::claims::hex::amount_hex;
use crate::claims::uniswap::{CLAIMS_PER_FILE, Head, write_entries};
use crate::domain::closing::{proof_root, uniswap_leaf};
use crate::domain::ethereum::{Address, Hash, NO_UNITS, U256};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Distribution<'a> {
    merkle_root: String,
    token_total: String,
    num_drops: u64,
    #[serde(borrow)]
    claims: Entries<'a>,
}

/// The members of an object, in their order.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries<'a>, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of claims by address")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    index: u64,
    amount: String,
    proof: Vec<String>,
}

struct ReadClaim {
    line: usize,
    index: u64,
    address: Address,
    amount: U256,
    root: Hash,
    proof: Vec<Hash>,
}

/// Checks the file in itself, and what it says of all files of the close together against that.
pub fn check(bytes: &[u8], close: Option<&CloseFile>) -> Result<Report, Fault> {
    let text = text_of(bytes)?;
    let read: Distribution<'_> =
        serde_json::from_str(text).map_err(|error| Fault::of_json(&error))?;
    let root_line = line_of_key(text, "merkleRoot");
    let root = Hash::of_text(&read.merkle_root).ok_or_else(|| {
        let what = format!("merkleRoot is '{}', not a hash", read.merkle_root);
        Fault::at("bad_tree", root_line, what)
    })?;
    let mut claims = Vec::with_capacity(read.claims.0.len());
    let raw: Vec<&RawValue> = read.claims.0.iter().map(|(_, raw)| *raw).collect();
    let lines = lines_of(text, &raw);
    for ((address, raw), line) in read.claims.0.iter().zip(lines) {
        let claim = read_claim(line, address, raw);
        claims.push(claim.map_err(|what| Fault::at("bad_claim", line, what))?);
    }
    must_prove(root, root_line, &claims)?;
    must_be_in_order(&claims)?;
    if let Some(close) = close {
        must_say_what_the_close_says(text, &read, close)?;
    }
    let total = must_sum_up(text, &read, &claims)?;
    must_be_so_written(bytes, &read, root, &claims)?;
    let mut notes = Vec::new();
    if claims.len() as u64 != read.num_drops {
        let held = format!("it holds {} of {} claims", claims.len(), read.num_drops);
        if close.is_none() {
            let what = format!(
                "each claim is right, but {held}, so that tokenTotal and numDrops were not checked: \
                 put close.json of the same month beside it"
            );
            return Err(Fault::whole("nothing_to_compare", what));
        }
        notes.push(format!(
            "{held}: their sum is checked with close.json, over all files of the close together"
        ));
    }
    Ok(Report {
        form: "Uniswap MerkleDistributor",
        root: Some(root),
        claims: claims.len() as u64,
        total,
        notes,
    })
}

fn read_claim(line: usize, address: &str, raw: &RawValue) -> Result<ReadClaim, String> {
    let address = address_of(address)?;
    let of_address = |what: String| format!("the claim of {address}: {what}");
    let claim: Claim =
        serde_json::from_str(raw.get()).map_err(|error| of_address(error.to_string()))?;
    let amount = hex_amount(&claim.amount).map_err(of_address)?;
    let mut proof = Vec::with_capacity(claim.proof.len());
    for (place, node) in claim.proof.iter().enumerate() {
        let node = Hash::of_text(node);
        proof.push(node.ok_or_else(|| of_address(format!("proof[{place}] is not a hash")))?);
    }
    Ok(ReadClaim {
        line,
        index: claim.index,
        address,
        amount,
        root: proof_root(uniswap_leaf(claim.index, address, amount), &proof),
        proof,
    })
}

fn hex_amount(text: &str) -> Result<U256, String> {
    let bad = || format!("'{text}' is not an amount above 0 in hexadecimal digits");
    let digits = text.strip_prefix("0x").ok_or_else(bad)?;
    let amount = U256::from_str_radix(digits, 16).map_err(|_| bad())?;
    match amount != NO_UNITS && amount_hex(amount) == text {
        true => Ok(amount),
        false => Err(bad()),
    }
}

fn must_prove(root: Hash, root_line: usize, claims: &[ReadClaim]) -> Result<(), Fault> {
    let Some(wrong) = claims.iter().find(|claim| claim.root != root) else {
        return match claims {
            [] => Err(Fault::whole("bad_tree", "there are no claims")),
            _ => Ok(()),
        };
    };
    if claims.len() > 1 && claims.iter().all(|claim| claim.root == wrong.root) {
        let what = format!(
            "merkleRoot is not the root of the claims, which is {}",
            wrong.root
        );
        return Err(Fault::at("bad_tree", root_line, what));
    }
    let what = format!(
        "the claim of {}: its proof does not lead to merkleRoot; index, amount, address or proof \
         were edited",
        wrong.address
    );
    Err(Fault::at("bad_claim", wrong.line, what))
}

fn must_be_in_order(claims: &[ReadClaim]) -> Result<(), Fault> {
    for pair in claims.windows(2) {
        if pair[0].address < pair[1].address && pair[0].index.saturating_add(1) < pair[1].index {
            return Err(is_missing(pair[0].index + 1, pair[1].line));
        }
        if pair[0].address >= pair[1].address || pair[0].index.saturating_add(1) != pair[1].index {
            let what = format!("the claim of {} is out of order", pair[1].address);
            return Err(Fault::at("bad_order", pair[1].line, what));
        }
    }
    Ok(())
}

fn is_missing(index: u64, line: usize) -> Fault {
    let what = format!("the claim with index {index} is missing before this line");
    Fault::at("claim_missing", line, what)
}

/// What a file says of all files together, it must say as `close.json` does.
fn must_say_what_the_close_says(
    text: &str,
    read: &Distribution<'_>,
    close: &CloseFile,
) -> Result<(), Fault> {
    if read.num_drops != close.totals.claims {
        let (stated, claims) = (read.num_drops, close.totals.claims);
        let what = format!("numDrops is {stated}, but close.json says {claims} claims");
        let line = line_of_key(text, "numDrops");
        return Err(Fault::at("bad_sum", line, what));
    }
    let line = line_of_key(text, "tokenTotal");
    let stated = hex_amount(&read.token_total).map_err(|what| Fault::at("bad_sum", line, what))?;
    match stated.to_string() == close.totals.paid {
        true => Ok(()),
        false => {
            let paid = &close.totals.paid;
            let what = format!("tokenTotal is {stated}, but close.json says {paid}");
            Err(Fault::at("bad_sum", line, what))
        }
    }
}

/// A file begins with the first claim of its part, and holds all of them.
fn must_be_whole(text: &str, part: Range<u64>, claims: &[ReadClaim]) -> Result<(), Fault> {
    let (Some(first), Some(last)) = (claims.first(), claims.last()) else {
        return Ok(());
    };
    if first.index != part.start {
        return Err(is_missing(part.start, first.line));
    }
    match last.index.saturating_add(1) < part.end {
        true => Err(is_missing(last.index + 1, end_of(text, last.line))),
        false => Ok(()),
    }
}

/// The line after one, if there is one.
fn end_of(text: &str, line: usize) -> usize {
    text.lines().count().min(line + 1)
}

fn must_sum_up(text: &str, read: &Distribution<'_>, claims: &[ReadClaim]) -> Result<U256, Fault> {
    let line = line_of_key(text, "tokenTotal");
    let stated = hex_amount(&read.token_total).map_err(|what| Fault::at("bad_sum", line, what))?;
    let total = sum(claims.iter().map(|claim| claim.amount));
    let total = total.ok_or_else(|| Fault::whole("bad_sum", "the amounts are 2^256 or more"))?;
    let count = claims.len() as u64;
    // Other files hold the rest.
    let per_file = CLAIMS_PER_FILE as u64;
    let is_part = read.num_drops > per_file && count <= per_file;
    if is_part {
        let first = claims.first().map_or(0, |claim| claim.index);
        let begin = first - first % per_file;
        let end = read.num_drops.min(begin.saturating_add(per_file));
        must_be_whole(text, begin..end, claims)?;
    }
    if !is_part && count != read.num_drops {
        let what = format!(
            "numDrops is {}, but there are {count} claims",
            read.num_drops
        );
        return Err(Fault::at("bad_sum", line_of_key(text, "numDrops"), what));
    }
    if !is_part && total != stated {
        let what = format!("tokenTotal is {stated}, but the claims sum up to {total}");
        return Err(Fault::at("bad_sum", line, what));
    }
    Ok(total)
}

/// The proofs are taken as they are in the file: each was right.
fn must_be_so_written(
    bytes: &[u8],
    read: &Distribution<'_>,
    root: Hash,
    claims: &[ReadClaim],
) -> Result<(), Fault> {
    let entries = claims.iter().map(|claim| (claim.address, claim.amount));
    let whole = Claims::sorted(entries.collect());
    let whole = whole.ok_or_else(|| Fault::whole("bad_order", "the claims are not in order"))?;
    if claims.len() as u64 == read.num_drops {
        let tree = whole.uniswap_tree();
        let tree = tree.map_err(|error| Fault::whole("bad_tree", error.to_string()))?;
        if tree.is_none_or(|tree| tree.root() != root) {
            let what = "the root is not that of the claims";
            return Err(Fault::whole("bad_tree", what));
        }
    }
    let head = Head {
        root,
        total: &read.token_total,
        claims: read.num_drops,
    };
    let entries = claims.iter();
    let entries = entries.map(|claim| (claim.index, claim.address, claim.amount, &claim.proof));
    must_be_written_so(bytes, |out| write_entries(out, &head, entries))
}
