//! Claims as Sablier's airdrops take them: CSV, amounts in whole tokens.

use std::io::{self, Write};

use super::entries::Claims;
use crate::domain::closing::TokenUnits;

/// Its first line.
pub(super) const HEADER: &str = "address,amount";

/// Writes the file.
///
/// # Errors
/// Those of `out`.
pub fn write_sablier(out: &mut dyn Write, claims: &Claims, decimals: u8) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    for (address, units) in claims.entries() {
        let units = *units;
        writeln!(out, "{address},{}", TokenUnits { units, decimals })?;
    }
    Ok(())
}
