//! Releasing accounts that are set aside.

use super::Commands;
use crate::app::{CommandError, Refusal};
use crate::domain::ids::Account;
use crate::domain::position::WriteId;
use crate::domain::text::check_reason;
use crate::store::db::StoreError;
use crate::store::set_aside::{self, ReleaseRequest};

/// How often a request is made again that met a change of the poster's.
const REQUESTS_MAX: u64 = 5;

impl Commands {
    /// Asks the poster of an account that is set aside to let it take part again.
    pub async fn release(
        &self,
        account: &Account,
        accept_missing: bool,
        reason: &str,
        by: &str,
    ) -> Result<(), CommandError> {
        check_reason(reason)?;
        let worker: u64 = rand::random();
        let mut count = 0;
        loop {
            count += 1;
            let request = ReleaseRequest {
                at: self.now(),
                by: format!("{by}: {reason}"),
                accept_missing,
            };
            let write = WriteId { worker, count };
            match set_aside::request_release(self.db(), account, request, write).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    let what = format!(
                        "{account} is not set aside; `tidemark set-aside list` names the accounts that are"
                    );
                    return Err(Refusal::not_found("not_set_aside", what).into());
                }
                Err(StoreError::ConditionFailed) if count < REQUESTS_MAX => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
