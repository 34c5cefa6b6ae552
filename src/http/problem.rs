//! Errors as `application/problem+json` (RFC 9457), with stable codes.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::commands::{CreditError, SignUpError};
use crate::app::queries::QueryError;
use crate::app::{CommandError, Refusal, RefusalKind};
use crate::domain::event::Rejection;
use crate::domain::rules::RuleFault;
use crate::log::{self, LogError};
use crate::ops::log_throttle::LogThrottle;
use crate::store::db::StoreError;

static STORE_UNAVAILABLE: LogThrottle<()> = LogThrottle::new();
static FILES_UNAVAILABLE: LogThrottle<()> = LogThrottle::new();
static STORE_FAILED: LogThrottle<()> = LogThrottle::new();
static LOG_DAMAGED: LogThrottle<()> = LogThrottle::new();

/// When to try again if the log does not answer.
const LOG_AWAY_SECS: u32 = 1;
/// When to try again if the log takes no records at present.
const LOG_REFUSAL_SECS: u32 = 10;
/// When to try again if the log needs a person first.
const LOG_REPAIR_SECS: u32 = 60;

/// An error for the caller. Kept small, because every handler returns it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:tidemark:problem:` and the code.
    #[schema(value_type = String)]
    r#type: Box<str>,
    /// The status's own words.
    title: &'static str,
    status: u16,
    /// Stable.
    code: &'static str,
    /// A sentence for people: what, and what to do.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// Every bad event of a batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<BadEvent>,
    /// Every fault of a document: which key, what is wrong, what is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after_secs: Option<NonZeroU32>,
}

/// What is wrong with one event of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BadEvent {
    /// Its place among the events of the request, from 0.
    pub index: usize,
    /// Stable: the reason codes of rejected records.
    pub code: &'static str,
    /// The field, as the sender wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
    /// A sentence for people.
    pub detail: String,
}

impl BadEvent {
    /// The event at `index`, which was refused for this reason.
    pub fn new(index: usize, rejection: Rejection) -> BadEvent {
        BadEvent {
            index,
            code: rejection.reason.as_str(),
            field: rejection.field,
            detail: shortened(rejection.detail),
        }
    }
}

impl Problem {
    /// A problem.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            r#type: format!("urn:tidemark:problem:{code}").into(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: shortened(detail.into()).into(),
            events: Vec::new(),
            faults: Vec::new(),
            retry_after_secs: None,
        }
    }

    /// With the events that it is about.
    pub fn of_events(self, events: Vec<BadEvent>) -> Problem {
        Problem { events, ..self }
    }

    /// With every fault of the rules that it is about.
    pub fn of_faults(self, faults: &[RuleFault]) -> Problem {
        let faults = faults
            .iter()
            .map(|fault| shortened(fault.to_string()))
            .collect();
        Problem { faults, ..self }
    }

    /// A fault of ours. What it was stands in the log, under the request's id; never in the answer.
    pub fn internal() -> Problem {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error; search the server log for the x-request-id of this response",
        )
    }

    /// Whether it is the caller's to mend, by other input.
    pub fn is_about_input(&self) -> bool {
        matches!(self.status, 400 | 409 | 422)
    }

    /// The code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The log cannot be had just now.
    pub fn log_unavailable(detail: &str) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", detail)
            .retry_after(LOG_AWAY_SECS)
    }

    /// Whether the server cannot do it at present: 503, or 507.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.status, 503 | 507)
    }

    /// Whether it has this code.
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// What it says, and every fault.
    pub fn told(&self) -> (&str, &[String]) {
        (&self.detail, &self.faults)
    }

    /// Whether it says that a key or token is not good.
    pub fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED.as_u16()
    }

    /// As an answer to usage events: they may always be sent again.
    pub fn of_resendable_events(&self) -> Problem {
        let detail = format!("{}. {RESEND}", self.detail.trim_end_matches('.'));
        Problem {
            detail: detail.into(),
            ..self.clone()
        }
    }

    /// With the time after which trying again makes sense.
    pub fn retry_after(self, secs: u32) -> Problem {
        Problem {
            retry_after_secs: NonZeroU32::new(secs),
            ..self
        }
    }
}

/// What senders of events are told when it is not known whether their events were taken.
const RESEND: &str =
    "Resending the same events is safe: each event counts once, even if it was accepted before";

/// Characters that stay of each end of a text that is too long.
const END_CHARS: usize = 400;

/// A sentence that says back what was sent says the beginning and the end of it: nobody reads more,
/// and answers keep in bounds.
pub fn shortened(text: String) -> String {
    if text.len() <= 2 * END_CHARS {
        return text;
    }
    let chars = text.chars().count();
    if chars <= 2 * END_CHARS {
        return text;
    }
    let begin = text.chars().take(END_CHARS);
    let end = text.chars().skip(chars - END_CHARS);
    begin.chain(['…']).chain(end).collect()
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        if error.is_transient() {
            if let Some(kept_back) = STORE_UNAVAILABLE.say(()) {
                tracing::warn!(event = "http.store_unavailable", %error, kept_back, "the store does not answer");
            }
            return Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "the store does not answer; retry",
            )
            .retry_after(1);
        }
        if let Some(kept_back) = STORE_FAILED.say(()) {
            tracing::error!(event = "http.store_failed", %error, kept_back, "the store refused a request");
        }
        Problem::internal()
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Problem {
        match error {
            QueryError::Store(error) => error.into(),
            QueryError::SetAside(since) => {
                let detail = format!(
                    "updates of this account are paused since {since}, and its numbers cannot be shown until an operator has mended it; nothing is lost"
                );
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "account_set_aside", detail)
                    .retry_after(60)
            }
            QueryError::VotesLoading => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "votes_loading",
                error.to_string(),
            )
            .retry_after(2),
            QueryError::NoRules => {
                Problem::new(StatusCode::CONFLICT, "no_rules", error.to_string())
            }
            QueryError::Reject(_) => {
                tracing::error!(event = "http.no_reject", %error, "usage.rejected holds a record that is not a reject");
                Problem::internal()
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let status = match refusal.kind {
            RefusalKind::Malformed => StatusCode::BAD_REQUEST,
            RefusalKind::Forbidden => StatusCode::FORBIDDEN,
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Waits => StatusCode::SERVICE_UNAVAILABLE,
        };
        let retry_after = match refusal.kind {
            RefusalKind::Waits => 60,
            _ => 0,
        };
        let event = refusal.event.map(|rejection| BadEvent::new(0, rejection));
        Problem::new(status, refusal.code, refusal.detail)
            .retry_after(retry_after)
            .of_faults(&refusal.faults)
            .of_events(event.into_iter().collect())
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Problem {
        match error {
            LogError::Unavailable(_) => Problem::log_unavailable(&error.to_string()),
            LogError::Refused { why, .. } => {
                let status = match why {
                    log::Refusal::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
                    log::Refusal::ClockAhead => StatusCode::SERVICE_UNAVAILABLE,
                };
                Problem::new(status, error.code(), error.to_string()).retry_after(LOG_REFUSAL_SECS)
            }
            LogError::NoTopic { .. } => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error.code(),
                error.to_string(),
            )
            .retry_after(LOG_REFUSAL_SECS),
            LogError::Damaged { .. } => {
                if let Some(kept_back) = LOG_DAMAGED.say(()) {
                    tracing::error!(event = "http.append_refused", %error, kept_back, "the log cannot accept records");
                }
                Problem::log_unavailable(&error.to_string()).retry_after(LOG_REPAIR_SECS)
            }
            LogError::OutOfRange { .. } => Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "out_of_range",
                error.to_string(),
            ),
            LogError::TooLarge { .. } => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                error.to_string(),
            ),
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Problem {
        match error {
            CommandError::Refused(refusal) => (*refusal).into(),
            CommandError::Query(error) => error.into(),
            CommandError::Log(error) => error.into(),
            CommandError::Files(error) => {
                if let Some(kept_back) = FILES_UNAVAILABLE.say(()) {
                    tracing::warn!(event = "http.files_unavailable", %error, kept_back, "the place of files does not answer");
                }
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "files_unavailable",
                    "the files of closed months cannot be reached; retry",
                )
                .retry_after(5)
            }
            CommandError::Internal(what) => {
                tracing::error!(
                    event = "http.contradiction",
                    what,
                    "a request met a state that contradicts itself"
                );
                Problem::internal()
            }
        }
    }
}

impl From<CreditError> for Problem {
    fn from(error: CreditError) -> Problem {
        CommandError::from(error).into()
    }
}

impl From<SignUpError> for Problem {
    fn from(error: SignUpError) -> Problem {
        CommandError::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        // For the log, and for pages, which show the same in another form.
        response.extensions_mut().insert(Arc::new(self.clone()));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs.get()));
        }
        response
    }
}
