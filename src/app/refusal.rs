//! Why a command did not happen, in terms that every front end can show.

use crate::app::queries::QueryError;
use crate::domain::event::Rejection;
use crate::domain::rules::RuleFault;
use crate::domain::text::TextError;
use crate::log::LogError;
use crate::objects::ObjectsError;
use crate::store::awards::AdjustmentError;
use crate::store::credits::CreditError;
use crate::store::db::StoreError;
use crate::store::keys::KeyError;
use crate::store::pricing::PublishError;
use crate::store::redrive::{FindError, RedriveError};
use crate::store::reversals::ReversalError;

/// What is wrong with a refused command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It says nothing that could be done.
    Malformed,
    /// The caller may not do it.
    Forbidden,
    /// It names something that does not exist.
    NotFound,
    /// It contradicts what was done before.
    Conflict,
    /// It was understood, but cannot be done with these values.
    Invalid,
    /// It needs an admin to do something first; after that, the same request succeeds.
    Waits,
}

/// A refused command. Nothing was changed; retrying the same is of no use, unless something else
/// changes first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// What is wrong.
    pub kind: RefusalKind,
    /// Stable: clients compare it.
    pub code: &'static str,
    /// What is wrong, and what to do, in a sentence for people.
    pub detail: String,
    /// Every fault of the rules that it is about.
    pub faults: Vec<RuleFault>,
    /// Why the event that it is about cannot be read.
    pub event: Option<Rejection>,
}

/// Why a command did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was refused, for good.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// No rules have been published.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The log failed; whether a retry helps, it says itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The place of files does not answer; nothing that was asked for is half done. Retry later.
    #[error(transparent)]
    Files(#[from] ObjectsError),
    /// Something contradicts itself, which no retry mends.
    #[error("{0}")]
    Internal(String),
}

impl Refusal {
    /// A refusal.
    pub fn new(kind: RefusalKind, code: &'static str, detail: impl ToString) -> Refusal {
        Refusal {
            kind,
            code,
            detail: detail.to_string(),
            faults: Vec::new(),
            event: None,
        }
    }

    /// These values cannot be used.
    pub fn invalid(code: &'static str, detail: impl ToString) -> Refusal {
        Refusal::new(RefusalKind::Invalid, code, detail)
    }

    /// What is named does not exist.
    pub fn not_found(code: &'static str, detail: impl ToString) -> Refusal {
        Refusal::new(RefusalKind::NotFound, code, detail)
    }

    /// It contradicts what was done before.
    pub fn conflict(code: &'static str, detail: impl ToString) -> Refusal {
        Refusal::new(RefusalKind::Conflict, code, detail)
    }

    /// An admin has to do something first.
    pub fn waits(code: &'static str, detail: impl ToString) -> Refusal {
        Refusal::new(RefusalKind::Waits, code, detail)
    }

    /// Rules that cannot be used.
    pub fn of_faults(faults: Vec<RuleFault>) -> Refusal {
        let detail = "the rules cannot be used; `faults` names every key with what is wrong and what is allowed";
        Refusal {
            faults,
            ..Refusal::invalid("invalid_rules", detail)
        }
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> CommandError {
        CommandError::Refused(Box::new(refusal))
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> CommandError {
        CommandError::Query(error.into())
    }
}

impl From<TextError> for CommandError {
    fn from(error: TextError) -> CommandError {
        let code = match error.what {
            "reason" => "invalid_reason",
            _ => "invalid_name",
        };
        Refusal::invalid(code, error).into()
    }
}

impl From<CreditError> for CommandError {
    fn from(error: CreditError) -> CommandError {
        let code = match error {
            CreditError::Store(error) => return error.into(),
            CreditError::KeyReused { .. } => "idempotency_key_reused",
            CreditError::Id { .. } => "invalid_id",
            CreditError::Reason(_) => "invalid_reason",
            CreditError::TooMuch | CreditError::Zero | CreditError::Amount(_) => {
                "amount_out_of_range"
            }
        };
        Refusal::invalid(code, error).into()
    }
}

impl From<AdjustmentError> for CommandError {
    fn from(error: AdjustmentError) -> CommandError {
        let code = match error {
            AdjustmentError::Store(error) => return error.into(),
            AdjustmentError::KeyReused { .. } => "idempotency_key_reused",
            AdjustmentError::Key(_) => "invalid_idempotency_key",
            AdjustmentError::Zero | AdjustmentError::TooMuch(_) => "amount_out_of_range",
            AdjustmentError::Exceeded { .. } => "adjustments_exceeded",
            AdjustmentError::Reason(_) => "invalid_reason",
        };
        Refusal::invalid(code, error).into()
    }
}

impl From<ReversalError> for CommandError {
    fn from(error: ReversalError) -> CommandError {
        let code = match error {
            ReversalError::Store(error) => return error.into(),
            ReversalError::KeyReused(_) => "idempotency_key_reused",
            ReversalError::Id { .. } => "invalid_id",
            ReversalError::Reason(_) => "invalid_reason",
        };
        Refusal::invalid(code, error).into()
    }
}

impl From<KeyError> for CommandError {
    fn from(error: KeyError) -> CommandError {
        let code = match error {
            KeyError::Store(error) => return error.into(),
            KeyError::MadeBefore { .. } => {
                return Refusal::conflict("key_made_before", error).into();
            }
            KeyError::Name(_) => "invalid_name",
            KeyError::Scopes | KeyError::Account(_) => "invalid_scopes",
        };
        Refusal::invalid(code, error).into()
    }
}

impl From<PublishError> for CommandError {
    fn from(error: PublishError) -> CommandError {
        match error {
            PublishError::Store(error) => error.into(),
            PublishError::Faults(faults) => Refusal::of_faults(faults).into(),
            PublishError::InThePast { .. } => {
                Refusal::invalid("effective_from_in_the_past", error).into()
            }
            PublishError::Values => Refusal::new(RefusalKind::Malformed, "no_values", error).into(),
            PublishError::Reason(error) => error.into(),
            PublishError::Changed { .. } => Refusal::conflict("changed_meanwhile", error).into(),
        }
    }
}

impl From<FindError> for CommandError {
    fn from(error: FindError) -> CommandError {
        match error {
            FindError::Log(error) => error.into(),
            FindError::Reject(error) => CommandError::Query(QueryError::Reject(error.to_string())),
        }
    }
}

impl From<RedriveError> for CommandError {
    fn from(error: RedriveError) -> CommandError {
        let detail = error.to_string();
        match error {
            RedriveError::IsDiscarded { .. } => {
                Refusal::conflict("already_discarded", detail).into()
            }
            RedriveError::IsRedriven { .. } => Refusal::conflict("already_redriven", detail).into(),
            RedriveError::IsOtherwise { .. } => {
                Refusal::conflict("redriven_otherwise", detail).into()
            }
            RedriveError::NoOriginal(_) => Refusal::invalid("original_not_kept", detail).into(),
            RedriveError::Unreadable(rejection) => Refusal {
                event: Some(rejection),
                ..Refusal::invalid("invalid_events", detail)
            }
            .into(),
            RedriveError::Reason(error) => error.into(),
            RedriveError::Store(error) => error.into(),
            RedriveError::Log(error) => error.into(),
        }
    }
}
