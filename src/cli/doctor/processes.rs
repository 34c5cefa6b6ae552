//! What workers and services say of themselves, where they are named.

use futures::future::join_all;
use ureq::Agent;

use super::findings::{Cause, Findings};
use super::outages::{ANSWER_WITHIN, refused};
use crate::cli::client::Answer;
use crate::cli::output::{Done, Failure};
use crate::cli::top::Targets;
use crate::cli::top::reading::Reading;
use crate::cli::top::troubles::{outages, troubles};

/// Largest answer of `/readyz` that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

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
        findings.fault(Cause::Reported(trouble.code), what);
    }
    let asked = reading.told.iter().map(async |(address, told)| {
        let what = match told {
            Err(why) => Some(format!("no answer ({why}). Check that process and its log")),
            Ok(_) => refusal(address).await?,
        };
        Ok::<_, Failure>(what.map(|what| (address.clone(), what)))
    });
    for found in join_all(asked).await {
        if let Some((address, what)) = found? {
            findings.fault(
                Cause::Process(address.clone()),
                format!("{address}: {what}."),
            );
        }
    }
    Ok(())
}

/// Why a process takes no events; `None`: it does, or it is no service.
async fn refusal(address: &str) -> Done<Option<String>> {
    let url = format!("{address}/readyz");
    let ask = move || -> Result<Answer, ureq::Error> {
        let config = Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let mut answer = Agent::from(config).get(&url).call()?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let body = body.read_to_vec()?;
        Ok(Answer { status, body })
    };
    let answered = tokio::task::spawn_blocking(ask).await;
    Ok(match answered.map_err(Failure::failed)? {
        Err(error) => Some(format!("/readyz does not answer ({error})")),
        Ok(answer) => refused(&answer).map(|what| what.trim_end_matches('.').to_owned()),
    })
}
