//! Referral codes and signups.

use std::time::Duration;

use super::Commands;
use crate::app::queries::{CodeView, QueryError};
use crate::app::{CommandError, Refusal, RefusalKind};
use crate::domain::ids::{Account, check_id};
use crate::domain::referral::{ReferralCode, SignupRefusal};
use crate::domain::text::check_reason;
use crate::domain::time::Millis;
use crate::ops::random_name;
use crate::ops::retry::{Backoff, Retry, RetryPolicy};
use crate::store::db::StoreError;
use crate::store::referrals::{
    self, AwardPolicy, ImportRequest, Signup, SignupError, SignupRequest, Switch,
};

pub use crate::store::referrals::{Imported, LINKS_MAX, Link, NewLink, Referrer};

/// How a signup is tried again whose answer was lost or that the store was too busy for.
const SIGN_UP_AGAIN: RetryPolicy = RetryPolicy {
    backoff: Backoff {
        base: Duration::from_millis(100),
        cap: Duration::from_secs(2),
    },
    attempts_max: 11,
    within: Duration::from_secs(30),
};

/// A signup to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSignup {
    /// By whom it was referred.
    pub referrer: Referrer,
    /// Who signs up.
    pub referee: Account,
    /// How a repeat of it is recognised.
    pub repeat: Repeat,
    /// Whether another system pays for it.
    pub paid_elsewhere: bool,
    /// Who does it in the account's stead, for the audit trail; `None`: the account itself.
    pub by: Option<String>,
}

/// How a repeat of a signup or a link is recognised. Names are kept in the control feed beside
/// those of others, so each kind has its own prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It is not: a repeat is refused, since the account has a referrer by then.
    Never,
    /// By the caller's idempotency key; the same key with another code is refused.
    Key(String),
    /// By the name that a form carries, if it is one.
    Form(String),
}

impl Repeat {
    pub(super) fn token(&self, what: &str) -> String {
        match self {
            Repeat::Never => random_name(),
            Repeat::Key(key) => format!("{what}:{key}"),
            Repeat::Form(name) if check_id(name).is_ok() => format!("page:{name}"),
            Repeat::Form(_) => format!("page:{}", random_name()),
        }
    }
}

/// Why nobody signed up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignUpError {
    /// The rules of referrals refuse it, for good.
    #[error(transparent)]
    Refused(#[from] SignupRefusal),
    /// The idempotency key belongs to another signup.
    #[error(
        "this Idempotency-Key was used for a signup with another code; use a new key for another signup"
    )]
    KeyReused,
    /// It did not work.
    #[error(transparent)]
    Failed(#[from] QueryError),
}

impl From<SignUpError> for CommandError {
    fn from(error: SignUpError) -> CommandError {
        match error {
            SignUpError::Refused(refusal) => {
                let kind = match &refusal {
                    SignupRefusal::UnknownCode => RefusalKind::NotFound,
                    SignupRefusal::AlreadyReferred(_) => RefusalKind::Conflict,
                    SignupRefusal::InactiveCode
                    | SignupRefusal::OwnCode
                    | SignupRefusal::Cycle(_) => RefusalKind::Invalid,
                };
                Refusal::new(kind, refusal.code(), &refusal).into()
            }
            SignUpError::KeyReused => Refusal::invalid("idempotency_key_reused", error).into(),
            SignUpError::Failed(error) => error.into(),
        }
    }
}

impl Commands {
    /// The account's code; made now if it has none. `by`: who asks in the account's stead, for the
    /// audit trail.
    pub async fn referral_code(
        &self,
        owner: &Account,
        by: Option<&str>,
    ) -> Result<CodeView, QueryError> {
        let now = self.now();
        let code = referrals::code_for(self.db(), owner, rand::random(), now, by).await?;
        Ok(code.into())
    }

    /// Switches a code on or off. Accounts that signed up with it stay referred.
    pub async fn switch_code(
        &self,
        code: &str,
        active: bool,
        reason: String,
        by: String,
    ) -> Result<CodeView, CommandError> {
        check_reason(&reason)?;
        let switch = Switch {
            active,
            by,
            reason,
            now: self.now(),
        };
        let found = referrals::set_active(self.db(), code, &switch).await?;
        let unknown = || Refusal::not_found("unknown_code", "there is no such referral code");
        Ok(found.ok_or_else(unknown)?.into())
    }

    /// Makes a link, once; tries again, under the same token, what may not have happened. Awards
    /// are those of the rules that are in force now.
    pub async fn sign_up(&self, new: NewSignup) -> Result<Link, SignUpError> {
        let now = self.now();
        let awards = self.awards(new.paid_elsewhere, now).await?;
        let request = SignupRequest {
            token: new.repeat.token("signup"),
            referrer: new.referrer,
            referee: new.referee,
            now,
            awards,
            by: new.by,
        };
        let link = self.linked(&request).await?;
        // A link that was made before under this key answers a repeat of the same request only.
        match (&new.repeat, &request.referrer) {
            (Repeat::Key(_), Referrer::Code(typed)) if !is_of_code(&link, typed) => {
                Err(SignUpError::KeyReused)
            }
            _ => Ok(link),
        }
    }

    async fn linked(&self, request: &SignupRequest) -> Result<Link, SignUpError> {
        let partitions = self.queries.partitions().posting;
        let mut retry = Retry::new(self.db().clock(), SIGN_UP_AGAIN);
        loop {
            match referrals::signup(self.db(), request, partitions).await {
                Ok(Signup { link }) => return Ok(link),
                Err(SignupError::Store(error)) if error.is_transient() && retry.again().await => {}
                Err(SignupError::Store(error)) => return Err(QueryError::Store(error).into()),
                Err(SignupError::Refused(refusal)) => return Err(refusal.into()),
            }
        }
    }

    /// Makes at most [`LINKS_MAX`] links at a time, each once; what became of each. Awards are those
    /// of the rules that are in force now.
    pub async fn import_links(
        &self,
        links: Vec<NewLink>,
        paid_elsewhere: bool,
        by: String,
    ) -> Result<Vec<Imported>, QueryError> {
        let now = self.now();
        let request = ImportRequest {
            links,
            now,
            token: random_name(),
            awards: self.awards(paid_elsewhere, now).await?,
            by,
        };
        let partitions = self.queries.partitions().posting;
        let mut retry = Retry::new(self.db().clock(), SIGN_UP_AGAIN);
        loop {
            match referrals::import(self.db(), &request, partitions).await {
                Err(error) if error.is_transient() && retry.again().await => {}
                imported => return imported.map_err(QueryError::Store),
            }
        }
    }

    /// Whether an account is referred by another one already.
    pub async fn is_referred_by(
        &self,
        referee: &Account,
        referrer: &Account,
    ) -> Result<bool, StoreError> {
        let link = referrals::link_of(self.db(), referee).await?;
        Ok(link.is_some_and(|link| link.chain.first() == Some(referrer)))
    }

    async fn awards(&self, paid_elsewhere: bool, now: Millis) -> Result<AwardPolicy, QueryError> {
        if paid_elsewhere {
            return Ok(AwardPolicy::Elsewhere);
        }
        let rules = self.queries.rules_needed().await?;
        Ok(AwardPolicy::Pay(rules.at(now).signup()))
    }
}

fn is_of_code(link: &Link, typed: &str) -> bool {
    let typed: Option<ReferralCode> = typed.parse().ok();
    typed.is_some_and(|typed| link.code.as_deref() == Some(typed.as_str()))
}
