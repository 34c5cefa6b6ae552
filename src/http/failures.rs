//! The log lines about requests that failed on our side.

use axum::http::StatusCode;

use super::problem::Problem;
use crate::ops::log_throttle::LogThrottle;

/// Says which requests failed on our side: each cause once in 30 s, with a count. An outage fails
/// every request, and its log must stay readable.
#[derive(Default)]
pub(super) struct Failures(LogThrottle<(u16, &'static str)>);

impl Failures {
    /// A request was answered with this.
    pub(super) fn report(&self, status: StatusCode, problem: Option<&Problem>) {
        let (code, detail) = match problem {
            Some(problem) => (problem.code(), problem.told().0),
            None => ("page", "a page could not be shown"),
        };
        if let Some(kept_back) = self.0.say((status.as_u16(), code)) {
            tracing::warn!(
                event = "http.failed",
                %status,
                code,
                detail,
                kept_back,
                "a request failed on the server's side"
            );
        }
    }
}
