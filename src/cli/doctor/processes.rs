//! What workers and services say of themselves, where they are named.

use super::findings::{Cause, Findings};
use crate::cli::output::Done;
use crate::cli::top::Targets;
use crate::cli::top::reading::Reading;
use crate::cli::top::troubles::{outages, troubles};

/// Asks processes what they cannot use, and services whether they take events.
///
/// # Errors
/// An address is none.
pub async fn look(addresses: &[String], findings: &mut Findings) -> Done {
    if addresses.is_empty() {
        return Ok(());
    }
    let reading = Reading::take(&Targets::named(addresses)?).await?;
    for trouble in outages(&reading).into_iter().chain(troubles(&reading)) {
        let what = format!("A process says: {}.", trouble.text);
        let cause = Cause::Reported(trouble.code);
        // Another process says it, or it is another trouble of that kind.
        if !findings.follows(&cause, what.clone()) {
            findings.fault(cause, what);
        }
    }
    for (address, told) in &reading.told {
        let what = match (told, reading.refusals.get(address)) {
            (Err(why), _) => format!("no answer ({why}). Check that process and its log"),
            (Ok(_), Some(refusal)) => refusal.text.clone(),
            (Ok(_), None) => continue,
        };
        findings.fault(
            Cause::Process(address.clone()),
            format!("{address}: {what}."),
        );
    }
    Ok(())
}
