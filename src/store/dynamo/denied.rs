//! Requests that AWS does not let in: credentials, permissions, clocks. All of them pass when
//! somebody has fixed the cause, and none of them says anything about the rows.
//!
//! AWS answers a bad signature with the whole request that it expected, session token included. So
//! only what is known to hold no secret is passed on.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;

use super::error_text::chain_text;

/// How much of AWS's own words is passed on.
const SAID_CHARS_MAX: usize = 300;

/// Whether a code means that the request was not let in.
pub(super) fn is_denial(code: &str) -> bool {
    cause(code).is_some()
}

fn cause(code: &str) -> Option<&'static str> {
    let name = code.strip_suffix("Exception").unwrap_or(code);
    Some(match name {
        "ExpiredToken" => {
            "the AWS credentials have expired; renew them (temporary keys in the environment cannot renew themselves; a role can)"
        }
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => SKEWED,
        "UnrecognizedClient" | "InvalidClientTokenId" | "InvalidAccessKeyId" => {
            "AWS does not know the access key; check the key, its session token, and the region"
        }
        "InvalidSignature" | "SignatureDoesNotMatch" | "IncompleteSignature" => {
            "AWS does not accept the signature; check the secret access key, and this machine's clock"
        }
        "MissingAuthenticationToken" => "the request carried no AWS credentials",
        "AccessDenied"
        | "NotAuthorized"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "KMSAccessDenied"
        | "OptInRequired"
        | "SubscriptionRequired" => "the AWS credentials lack a permission; add it to their policy",
        _ => return None,
    })
}

const SKEWED: &str =
    "this machine's clock is off by more than AWS allows (about 5 minutes); set it, best by NTP";

/// What is wrong and what to do, in a sentence.
pub(super) fn explain(code: &str, message: Option<&str>) -> String {
    let message = message.unwrap_or_default();
    let is_late = ["Signature expired", "Signature not yet current"]
        .iter()
        .any(|words| message.contains(words));
    let cause = match cause(code) {
        _ if is_late => SKEWED,
        Some(cause) => cause,
        None => "AWS refused the credentials",
    };
    // Only messages about permissions say something beyond their code: who may not do what with
    // which resource.
    match message.starts_with("User: ") {
        true => format!("{cause} ({code}: {})", first_line(message)),
        false => format!("{cause} ({code})"),
    }
}

/// What is wrong with the source of credentials, if that is why a request was not sent.
pub(super) fn explain_credentials(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<CredentialsError>() {
            return Some(say(found));
        }
        if cause.to_string().contains("identity resolver timed out") {
            return Some("the source of AWS credentials did not answer in time".to_owned());
        }
        next = cause.source();
    }
    None
}

fn say(error: &CredentialsError) -> String {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "no AWS credentials were found; give them by environment, profile, web identity, container or instance role"
                .to_owned()
        }
        CredentialsError::ProviderTimedOut(_) => {
            "the source of AWS credentials did not answer in time".to_owned()
        }
        CredentialsError::InvalidConfiguration(_) => format!(
            "the configuration of AWS credentials is invalid ({})",
            first_line(&chain_text(error))
        ),
        CredentialsError::ProviderError(_) => format!(
            "the source of AWS credentials failed ({})",
            first_line(&chain_text(error))
        ),
        // What could not be read may hold a secret.
        _ => match io_error(error) {
            Some(error) => format!("the source of AWS credentials cannot be reached ({error})"),
            None => "the source of AWS credentials answered something unreadable".to_owned(),
        },
    }
}

fn io_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<io::Error>() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(SAID_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_when_credentials_are_renewed_is_a_denial_and_nothing_else_is() {
        for code in [
            "AccessDeniedException",
            "AccessDenied",
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "ExpiredTokenException",
            "ExpiredToken",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "IncompleteSignatureException",
            "MissingAuthenticationTokenException",
            "KMSAccessDeniedException",
        ] {
            assert!(is_denial(code), "{code}");
        }
        for code in ["ValidationException", "ResourceNotFoundException", "What"] {
            assert!(!is_denial(code), "{code}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_named_whatever_the_code() {
        let message = "Signature expired: 20261129T000000Z is now earlier than 20261129T010000Z";
        for code in ["InvalidSignatureException", "SignatureDoesNotMatch"] {
            assert!(explain(code, Some(message)).contains("clock is off"));
        }
        assert!(explain("RequestTimeTooSkewed", None).contains("clock is off"));
    }

    #[test]
    fn the_request_that_aws_says_back_is_not_passed_on() {
        let message = "The request signature we calculated does not match. The Canonical String for this request \
                       should have been\n'POST\n/\n\nx-amz-security-token:SECRET'";
        for code in ["InvalidSignatureException", "AccessDeniedException", "What"] {
            assert!(!explain(code, Some(message)).contains("SECRET"), "{code}");
        }
    }

    #[test]
    fn a_missing_permission_is_named() {
        let message = "User: arn:aws:iam::1:user/x is not authorized to perform: dynamodb:PutItem";
        let said = explain("AccessDeniedException", Some(message));
        assert!(
            said.contains("dynamodb:PutItem") && said.contains("policy"),
            "{said}"
        );
    }
}
