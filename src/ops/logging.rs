//! Log lines: readable messages with queryable fields, on stderr, so that what a command prints on stdout stays clean.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::config::{LogFormat, LoggingConfig};

/// What dependencies may say: they report as trouble what is our everyday business (a condition that failed, a table that is not there
/// yet). A filter that names one of them again wins.
const QUIET: &str = "aws_smithy_runtime=error,aws_sdk_dynamodb=error,dynoxide=error,hyper=warn,fjall=warn,lsm_tree=warn,";

/// Why a text is no filter.
pub(super) fn check_filter(text: &str) -> Result<(), String> {
    EnvFilter::try_new(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Starts logging; `RUST_LOG`, if set, is used in place of the configured filter. A second call does nothing (tests).
pub fn start(config: &LoggingConfig) {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| config.filter.clone());
    let filter = EnvFilter::new(format!("{QUIET}{filter}"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would say on stderr that stderr cannot be written, and panic: whoever logs then would die of a reader of our log that has gone.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Pretty => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
    };
    // The only way to fail is that somebody was first, which is as good.
    drop(started);
}
