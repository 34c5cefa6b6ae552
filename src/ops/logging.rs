//! Log lines: readable messages with queryable fields, on stderr, so that what a command prints on
//! stdout stays clean.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use super::config::{LogFormat, LoggingConfig};
use super::traces::SpanLayer;

/// What dependencies may say: they report as trouble what is our everyday business (a condition
/// that failed, a table that is not there yet). A filter that names one of them again wins.
const QUIET: &str = "aws_smithy_runtime=error,aws_sdk_dynamodb=error,dynoxide=error,hyper=warn,fjall=warn,lsm_tree=warn,";

/// Starts logging; `RUST_LOG`, if set, is used in place of the configured filter. `traces` sees
/// every span of ours, whatever is logged of them. A second call does nothing (tests).
pub fn start(config: &LoggingConfig, traces: Option<SpanLayer>) {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| config.filter.clone());
    let filter = EnvFilter::new(format!("{QUIET}{filter}"));
    let lines = lines(config.format).with_filter(filter);
    // The only way to fail is that somebody was first, which is as good.
    let started = registry().with(traces).with(lines).try_init().is_ok();
    if started && config.format == LogFormat::Json {
        std::panic::set_hook(Box::new(panicked));
    }
}

/// Lines on stderr.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer()
        // It would say on stderr that stderr cannot be written, and panic: whoever logs then would
        // die of a reader of our log that has gone.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Pretty => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
    }
}

/// Says as a line of JSON why this process ends. It is said whatever the filter, and before logging
/// has started as well.
pub fn say_why_it_ends(exit_code: u8, message: &str) {
    let lines = registry().with(lines(LogFormat::Json));
    tracing::subscriber::with_default(lines, || {
        tracing::error!(event = "process.failed", exit_code, "{message}");
    });
}

/// A panic is a bug, and ends a task or the process. Where every line is JSON, the line that says
/// so is, too.
fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(
        event = "process.panic",
        thread = thread.name().unwrap_or("without a name"),
        %backtrace,
        "{panic}"
    );
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::panic::{catch_unwind, set_hook, take_hook};
    use std::sync::Mutex;

    use super::*;

    static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Said;

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            SAID.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_told_in_one_line_of_json() {
        let lines = fmt::layer().json().flatten_event(true);
        let lines = registry().with(lines.with_writer(|| Said));
        let before = take_hook();
        tracing::subscriber::with_default(lines, || {
            set_hook(Box::new(panicked));
            catch_unwind(|| panic!("two\nlines")).expect_err("a panic");
        });
        set_hook(before);
        let said = String::from_utf8(SAID.lock().expect("no panic").clone()).expect("UTF-8");
        let line: serde_json::Value = serde_json::from_str(&said).expect(&said);
        assert_eq!(line["event"], "process.panic", "{said}");
        let message = line["message"].as_str().expect("a message");
        assert!(
            message.contains("logging.rs") && message.ends_with("two\nlines"),
            "{said}"
        );
    }
}
