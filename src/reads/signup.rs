//! Signing up with a code.

use std::time::Duration;

use super::{ReadError, Reads};
use crate::domain::ids::Account;
use crate::domain::referral::SignupRefusal;
use crate::domain::time::Millis;
use crate::store::referrals::{
    self, AwardPolicy, Link, Referrer, Signup, SignupError, SignupRequest,
};

/// How often a signup is tried whose answer was lost or that the store was too busy for.
const TRIES_MAX: u32 = 10;

/// A signup that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSignup {
    /// By whom it was referred.
    pub referrer: Referrer,
    /// Who signs up.
    pub referee: Account,
    /// Names this signup: a repeat under the same name finds what the first one did.
    pub token: String,
    /// Whether another system pays for it.
    pub paid_elsewhere: bool,
    /// Who does it in the account's stead, for the audit trail; `None`: the account itself.
    pub by: Option<String>,
}

/// Why nobody signed up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignUpError {
    /// The rules of referrals refuse it; for good.
    #[error(transparent)]
    Refused(#[from] SignupRefusal),
    /// It did not work.
    #[error(transparent)]
    Failed(#[from] ReadError),
}

impl Reads {
    /// Makes a link, once; tries again, under the same token, what may not have happened. Awards are those of the rules in force at `now`.
    pub async fn sign_up(&self, new: NewSignup, now: Millis) -> Result<Link, SignUpError> {
        let awards = if new.paid_elsewhere {
            AwardPolicy::Elsewhere
        } else {
            AwardPolicy::Pay(self.rules_needed().await?.at(now).signup())
        };
        let request = SignupRequest {
            referrer: new.referrer,
            referee: new.referee,
            now,
            token: new.token,
            awards,
            by: new.by,
        };
        let mut tries = 0;
        loop {
            match referrals::signup(self.db(), &request, self.posting_partitions).await {
                Ok(Signup { link }) => return Ok(link),
                Err(SignupError::Store(error)) if error.is_transient() && tries < TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(100) * tries).await;
                }
                Err(SignupError::Store(error)) => return Err(ReadError::Store(error).into()),
                Err(SignupError::Refused(refusal)) => return Err(refusal.into()),
            }
        }
    }
}
