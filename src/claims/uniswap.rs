//! Claims with their proofs, as Uniswap's distributor takes them: one claim per line. A file holds
//! so many of them; the root, the sum and the count are those of all files.

use std::io::{self, Write};
use std::ops::Range;

use super::entries::Claims;
use super::hex::{amount_hex, write_hex};
use crate::domain::closing::Tree;
use crate::domain::ethereum::U256;

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
    write!(out, "{{\n\"merkleRoot\":\"")?;
    write_hex(out, &tree.root().0)?;
    let count = claims.entries().len();
    write!(out, "\",\n\"tokenTotal\":\"{}\",\n", amount_hex(total))?;
    write!(out, "\"numDrops\":{count},\n\"claims\":{{")?;
    for index in range.clone() {
        let (address, amount) = claims.entries()[index];
        let comma = if index == range.start { "" } else { "," };
        let amount = amount_hex(amount);
        write!(
            out,
            "{comma}\n\"{address}\":{{\"index\":{index},\"amount\":\"{amount}\",\"proof\":["
        )?;
        for (place, node) in tree.proof(index).iter().enumerate() {
            out.write_all(if place == 0 { b"\"" } else { b",\"" })?;
            write_hex(out, &node.0)?;
            out.write_all(b"\"")?;
        }
        out.write_all(b"]}")?;
    }
    writeln!(out, "\n}}\n}}")
}
