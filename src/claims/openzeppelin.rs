//! A tree as `@openzeppelin/merkle-tree` dumps and loads it, format `standard-v1`: one node or
//! value per line.

use std::io::{self, Write};

use super::entries::Claims;
use super::hex::write_hash;
use crate::domain::closing::Tree;

/// Its `format`.
pub(super) const FORMAT: &str = "standard-v1";
/// Its `leafEncoding`.
pub(super) const LEAF_ENCODING: [&str; 2] = ["address", "uint256"];

/// Writes the file.
///
/// # Errors
/// Those of `out`.
pub fn write_openzeppelin(out: &mut dyn Write, claims: &Claims, tree: &Tree) -> io::Result<()> {
    let [address, amount] = LEAF_ENCODING;
    writeln!(out, "{{")?;
    writeln!(out, "\"format\":\"{FORMAT}\",")?;
    writeln!(out, "\"leafEncoding\":[\"{address}\",\"{amount}\"],")?;
    write!(out, "\"tree\":[")?;
    for (place, node) in tree.nodes().iter().enumerate() {
        out.write_all(if place == 0 { b"\n\"" } else { b",\n\"" })?;
        write_hash(out, node)?;
        out.write_all(b"\"")?;
    }
    write!(out, "\n],\n\"values\":[")?;
    for (leaf, (address, amount)) in claims.entries().iter().enumerate() {
        let comma = if leaf == 0 { "" } else { "," };
        let position = tree.position(leaf);
        write!(
            out,
            "{comma}\n{{\"value\":[\"{address}\",\"{amount}\"],\"treeIndex\":{position}}}"
        )?;
    }
    writeln!(out, "\n]\n}}")
}
