//! Checks `close.json`, and every file that it names and that lies beside it.

use super::{Beside, Fault, Report, check_kind, read_beside};
use crate::claims::close_file::CloseFile;
use crate::claims::entries::sum;
use crate::claims::hex::sha256_of;
use crate::claims::name::FileKind;
use crate::domain::ethereum::NO_UNITS;

/// Checks the file and those beside it.
pub fn check(bytes: &[u8], beside: &dyn Beside) -> Result<Vec<Report>, Fault> {
    let close = CloseFile::read(bytes);
    let close = close.map_err(|error| Fault::whole("bad_close_file", error.to_string()))?;
    let mut reports = Vec::new();
    let (mut missing, mut uniswap) = (Vec::new(), Vec::new());
    for entry in &close.files {
        let kind: FileKind = entry
            .name
            .parse()
            .map_err(|error| Fault::whole("bad_close_file", error))?;
        let Some(bytes) = read_beside(beside, kind)? else {
            missing.push(entry.name.clone());
            continue;
        };
        let named = |fault: Fault| Fault {
            what: format!("{}: {}", entry.name, fault.what),
            ..fault
        };
        if kind.is_public() {
            let report = check_kind(kind, &bytes, Some(&close), beside).map_err(named)?;
            if matches!(kind, FileKind::Uniswap(_)) {
                uniswap.push(report.clone());
            }
            reports.push(report);
        } else if sha256_of(&bytes) != entry.sha256 {
            let what = "these are not the bytes that close.json names";
            return Err(named(Fault::whole("other_bytes", what)));
        }
    }
    must_sum_up(&close, &uniswap)?;
    let is_public = |name: &str| name.parse().is_ok_and(FileKind::is_public);
    if reports.is_empty() && close.files.iter().any(|entry| is_public(&entry.name)) {
        let what = format!(
            "none of its public files lies beside it, so nothing was checked: {}",
            missing.join(", ")
        );
        return Err(Fault::whole("nothing_to_compare", what));
    }
    if !missing.is_empty() {
        reports.push(Report {
            form: "close.json",
            root: None,
            claims: 0,
            total: NO_UNITS,
            notes: vec![format!(
                "not beside it, so not checked: {}",
                missing.join(", ")
            )],
        });
    }
    Ok(reports)
}

/// All parts of the claims for Uniswap's distributor together, if all are there.
fn must_sum_up(close: &CloseFile, parts: &[Report]) -> Result<(), Fault> {
    let claims: u64 = parts.iter().map(|part| part.claims).sum();
    if claims != close.totals.claims || parts.is_empty() {
        return Ok(());
    }
    let total = sum(parts.iter().map(|part| part.total));
    match total.is_some_and(|total| total.to_string() == close.totals.paid) {
        true => Ok(()),
        false => {
            let what = format!("the uniswap files do not sum up to {}", close.totals.paid);
            Err(Fault::whole("bad_sum", what))
        }
    }
}
