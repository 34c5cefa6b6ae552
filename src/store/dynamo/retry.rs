//! Which failures may be tried again: the heart of "never twice, never lost".

use std::error::Error;
use std::io;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use dynoxide::DynoxideError;

use super::denied;
use super::engine::EngineError;
use super::error_text::chain_text;
use crate::store::db::StoreError;
use crate::store::embedded::Lost;

/// Whether a request may be sent again although it may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeatable {
    /// A read, or unconditional puts: doing it twice is doing it once.
    Yes,
    /// A conditional write: the second attempt would fail its own condition and hide that the first
    /// one worked.
    No,
}

/// What a failed request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written, and the store asks for patience.
    Throttled(String),
    /// The request never left.
    NotSent(String),
    /// It may have happened, or may still.
    Unknown(String),
    /// For good.
    Final(StoreError),
}

/// What a failed request of any operation but a transaction means.
pub fn fault<E>(error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let meta = answer.err();
            let status = answer.raw().status().as_u16();
            from_code(meta.code(), meta.message(), status)
        }
        other => from_transport(other),
    }
}

/// What a failed transaction means.
pub fn transaction_fault(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> Fault {
    if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
        error.as_service_error()
    {
        let reasons = canceled.cancellation_reasons().iter();
        let codes: Vec<&str> = reasons
            .filter_map(|reason| reason.code())
            .filter(|code| *code != "None")
            .collect();
        return from_reasons(&codes, canceled.message().unwrap_or_default());
    }
    fault(error)
}

/// What a failed call of the engine in this process means.
pub(super) fn engine_fault(error: &EngineError) -> Fault {
    match error {
        EngineError::Lost(Lost::Closed) => Fault::NotSent(error.to_string()),
        EngineError::Lost(Lost::Failed) | EngineError::Late(_) => Fault::Unknown(error.to_string()),
        EngineError::Answered(DynoxideError::TransactionCanceledException(message, reasons)) => {
            let codes = reasons.iter().map(|reason| reason.code.as_str());
            let codes: Vec<&str> = codes.filter(|code| *code != "None").collect();
            from_reasons(&codes, message)
        }
        EngineError::Answered(answer) => {
            // The service is named before the mark.
            let code = answer.error_type().rsplit('#').next();
            from_code(code, Some(&answer.to_string()), answer.status_code())
        }
    }
}

/// A cancelled transaction wrote nothing; the question is whether it may succeed as it is.
fn from_reasons(codes: &[&str], message: &str) -> Fault {
    if codes.contains(&"ConditionalCheckFailed") {
        return Fault::Final(StoreError::ConditionFailed);
    }
    let passing = |code: &&str| {
        matches!(
            *code,
            "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"
        )
    };
    let text = format!("transaction cancelled: {} ({message})", codes.join(", "));
    if !codes.is_empty() && codes.iter().all(passing) {
        return Fault::Throttled(text);
    }
    Fault::Final(StoreError::Refused(text))
}

/// Sorts DynamoDB's error codes. What is neither a known non-write nor a known refusal counts as
/// unknown when the server is at fault (5xx).
fn from_code(code: Option<&str>, message: Option<&str>, status: u16) -> Fault {
    let code = code.unwrap_or("no code");
    let text = format!("{status} {code}: {}", message.unwrap_or_default());
    match code {
        "ConditionalCheckFailedException" => Fault::Final(StoreError::ConditionFailed),
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "ThrottledException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TransactionConflictException"
        | "TransactionInProgressException"
        | "ReplicatedWriteConflictException"
        | "LimitExceededException" => Fault::Throttled(text),
        _ if status == 429 => Fault::Throttled(text),
        _ if status == 401 || status == 403 || denied::is_denial(code) => {
            Fault::Final(StoreError::Denied(denied::explain(code, message)))
        }
        _ if status >= 500 || status == 408 => Fault::Unknown(text),
        _ => Fault::Final(StoreError::Refused(text)),
    }
}

fn from_transport<E>(error: &SdkError<E, HttpResponse>) -> Fault
where
    E: Error + 'static,
{
    if let Some(why) = denied::explain_credentials(error) {
        return Fault::Final(StoreError::Denied(why));
    }
    let text = chain_text(error);
    match error {
        SdkError::ConstructionFailure(_) => Fault::Final(StoreError::Refused(text)),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(connector) if never_connected(connector) => Fault::NotSent(text),
            Some(connector) if connector.is_user() => Fault::Final(StoreError::Refused(text)),
            _ => Fault::Unknown(text),
        },
        _ => Fault::Unknown(text),
    }
}

/// Whether the connection itself was refused, so that no byte of the request can have arrived.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            )
        ) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dynoxide::errors::CancellationReason;

    use super::*;

    #[test]
    fn only_cancellations_by_conflict_or_throttling_alone_are_tried_again() {
        let throttled = |codes: &[&str]| matches!(from_reasons(codes, ""), Fault::Throttled(_));
        let condition =
            |codes: &[&str]| from_reasons(codes, "") == Fault::Final(StoreError::ConditionFailed);
        assert!(throttled(&["TransactionConflict"]));
        assert!(throttled(&["TransactionConflict", "ThrottlingError"]));
        assert!(throttled(&["ProvisionedThroughputExceeded"]));
        assert!(condition(&["ConditionalCheckFailed"]));
        assert!(condition(&[
            "TransactionConflict",
            "ConditionalCheckFailed"
        ]));
        for refused in [
            vec!["ValidationError"],
            vec![],
            vec!["TransactionConflict", "ValidationError"],
            vec!["ItemCollectionSizeLimitExceeded"],
        ] {
            let fault = from_reasons(&refused, "");
            assert!(matches!(fault, Fault::Final(StoreError::Refused(_))));
        }
    }

    #[test]
    fn a_server_error_may_have_written_and_a_throttle_has_not() {
        let of = |code, status| from_code(Some(code), None, status);
        assert!(matches!(of("InternalServerError", 500), Fault::Unknown(_)));
        assert!(matches!(of("ServiceUnavailable", 503), Fault::Unknown(_)));
        assert!(matches!(
            of("ThrottlingException", 400),
            Fault::Throttled(_)
        ));
        assert!(matches!(
            of("ThrottlingException", 503),
            Fault::Throttled(_)
        ));
        for code in ["ValidationException", "ResourceNotFoundException", "What"] {
            let fault = of(code, 400);
            assert!(matches!(fault, Fault::Final(StoreError::Refused(_))));
        }
    }

    #[test]
    fn what_the_engine_answers_means_the_same_as_over_the_client() {
        let answered = |error| engine_fault(&EngineError::Answered(error));
        let failed = DynoxideError::ConditionalCheckFailedException("no".to_owned(), None);
        let condition_failed = Fault::Final(StoreError::ConditionFailed);
        assert_eq!(answered(failed), condition_failed);
        let cancelled = |codes: &[&str]| {
            let reason = |code: &&str| CancellationReason {
                code: (*code).to_owned(),
                ..CancellationReason::default()
            };
            let reasons = codes.iter().map(reason).collect();
            answered(DynoxideError::TransactionCanceledException(
                "cancelled".to_owned(),
                reasons,
            ))
        };
        let codes = ["None", "ConditionalCheckFailed", "ValidationError"];
        assert_eq!(cancelled(&codes), condition_failed);
        for refused in [
            cancelled(&["ValidationError", "None"]),
            answered(DynoxideError::ValidationException("bad".to_owned())),
            answered(DynoxideError::ResourceNotFoundException("gone".to_owned())),
        ] {
            assert!(
                matches!(refused, Fault::Final(StoreError::Refused(_))),
                "{refused:?}"
            );
        }
        // A full disk is such an error: what was being written may be there.
        let unknown = [
            answered(DynoxideError::InternalServerError("disk full".to_owned())),
            engine_fault(&EngineError::Lost(Lost::Failed)),
            engine_fault(&EngineError::Late(Duration::from_secs(10))),
        ];
        for unknown in unknown {
            assert!(matches!(unknown, Fault::Unknown(_)), "{unknown:?}");
        }
        let closed = engine_fault(&EngineError::Lost(Lost::Closed));
        assert!(matches!(closed, Fault::NotSent(_)), "{closed:?}");
    }
}
