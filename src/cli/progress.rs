//! How far a long command has come, for who watches: on stderr, and only where that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Counts what is `done` up to `count`, or without a known end. Hidden where stderr is no terminal.
pub fn bar(count: Option<u64>, done: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match count {
        Some(count) => (
            ProgressBar::new(count),
            format!(
                "{{wide_bar}} {{human_pos}}/{{human_len}} {done}, {{per_sec}}, {{eta}} left{{msg}}"
            ),
        ),
        None => (
            ProgressBar::new_spinner(),
            format!("{{spinner}} {{human_pos}} {done}, {{per_sec}}{{msg}}"),
        ),
    };
    let style = ProgressStyle::with_template(&template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// As [`bar`], for a command whose lines on stdout tell enough where stdout is a terminal, too.
pub fn beside_output(count: Option<u64>, done: &str) -> ProgressBar {
    if std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    bar(count, done)
}
