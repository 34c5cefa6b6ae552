//! Errors as `application/problem+json` (RFC 9457), with stable codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::event::Rejection;

/// An error for the caller.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// `urn:tidemark:problem:` and the code.
    r#type: String,
    /// The status's own words.
    title: &'static str,
    status: u16,
    /// Stable.
    code: &'static str,
    /// A sentence for people: what, and what to do.
    detail: String,
    /// Every bad event of a batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<BadEvent>,
    #[serde(skip)]
    retry_after_secs: Option<u32>,
}

/// What is wrong with one event of a request.
#[derive(Clone, Debug, Serialize)]
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
            detail: rejection.detail,
        }
    }
}

impl Problem {
    /// A problem.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            r#type: format!("urn:tidemark:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            events: Vec::new(),
            retry_after_secs: None,
        }
    }

    /// With the events that it is about.
    pub fn of_events(self, events: Vec<BadEvent>) -> Problem {
        Problem { events, ..self }
    }

    /// With the time after which trying again makes sense.
    pub fn retry_after(self, secs: u32) -> Problem {
        Problem {
            retry_after_secs: Some(secs),
            ..self
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
