//! Claims with their proofs, as Uniswap's distributor takes them: one claim per line. A file holds
//! so many of them; the root, the sum and the count are those of all files.

use std::io::{self, Write};
use std::ops::Range;

use super::entries::Claims;
use super::hex::{amount_hex, write_hash};
use crate::domain::closing::Tree;
use crate::domain::ethereum::{Address, Hash, U256};

/// Claims in a file. A million claims with their proofs are 1.5 GB.
pub const CLAIMS_PER_FILE: usize = 10_000;

/// Writes the file of these claims.
///
/// # Errors
/// Those of `out`.
pub fn write_uniswap(
    out: &mut dyn Write,
    claims: &Claims,
    total: U256,
    tree: &Tree,
    range: Range<usize>,
) -> io::Result<()> {
    let head = Head {
        root: tree.root(),
        total: &amount_hex(total),
        claims: claims.entries().len() as u64,
    };
    let entry = |index: usize| {
        let (address, amount) = claims.entries()[index];
        (index as u64, address, amount, tree.proof(index))
    };
    write_entries(out, &head, range.map(entry))
}

/// What a file says of all files together.
pub(super) struct Head<'t> {
    pub(super) root: Hash,
    /// As it stands in the file.
    pub(super) total: &'t str,
    pub(super) claims: u64,
}

/// Writes a file of claims, each with its number and its proof.
pub(super) fn write_entries<P: AsRef<[Hash]>>(
    out: &mut dyn Write,
    head: &Head<'_>,
    entries: impl Iterator<Item = (u64, Address, U256, P)>,
) -> io::Result<()> {
    let Head {
        root,
        total,
        claims,
    } = head;
    write!(out, "{{\n\"merkleRoot\":\"{root}\",\n")?;
    writeln!(out, "\"tokenTotal\":\"{total}\",")?;
    write!(out, "\"numDrops\":{claims},\n\"claims\":{{")?;
    for (place, (index, address, amount, proof)) in entries.enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let amount = amount_hex(amount);
        write!(
            out,
            "{comma}\n\"{address}\":{{\"index\":{index},\"amount\":\"{amount}\",\"proof\":["
        )?;
        for (place, node) in proof.as_ref().iter().enumerate() {
            out.write_all(if place == 0 { b"\"" } else { b",\"" })?;
            write_hash(out, node)?;
            out.write_all(b"\"")?;
        }
        out.write_all(b"]}")?;
    }
    writeln!(out, "\n}}\n}}")
}
