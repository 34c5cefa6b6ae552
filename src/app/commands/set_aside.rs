//! Releasing accounts that are set aside.

use super::Commands;
use crate::app::{CommandError, Refusal};
use crate::domain::ids::Account;
use crate::domain::position::WriteId;
use crate::domain::text::check_reason;
use crate::store::set_aside::{self, ReleaseRequest};

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
        let write = WriteId {
            worker: rand::random(),
            count: 1,
        };
        let request = ReleaseRequest {
            at: self.now(),
            by: format!("{by}: {reason}"),
            accept_missing,
        };
        match set_aside::request_release(self.db(), account, &request, write).await? {
            true => Ok(()),
            false => {
                let what = format!(
                    "{account} is not set aside; `tidemark set-aside list` names the accounts that are"
                );
                Err(Refusal::not_found("not_set_aside", what).into())
            }
        }
    }
}
