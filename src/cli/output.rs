//! What a command says and how it ends: results on stdout, everything else on stderr.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use crate::app::CommandError;
use crate::app::commands::{CreditError, SignUpError};
use crate::app::queries::QueryError;
use crate::domain::rules::RuleFault;
use crate::log::LogError;
use crate::ops::config::LogFormat;
use crate::ops::logging;
use crate::store::db::StoreError;

/// Characters of a cell that a table shows: every id whole, and no column wider than people can
/// read.
const CELL_CHARS_MAX: usize = 200;

/// How a command ended, other than well.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Something did not work: exit code 1.
    Failed(String),
    /// The input was refused: exit code 2.
    Refused(String),
    /// Everything has been said already; this is the exit code.
    Said(u8),
    /// The reader of our output has gone (`| head`): no failure at all.
    ReaderGone,
}

/// What a command returns.
pub type Done<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure, for people: what, why, what to do.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure::Failed(message.to_string())
    }

    /// Refused input, for people.
    pub fn refused(message: impl fmt::Display) -> Failure {
        Failure::Refused(message.to_string())
    }

    /// What was refused, with its code; anything else as usual.
    pub fn with_code(error: impl Into<CommandError>) -> Failure {
        match error.into() {
            CommandError::Refused(refusal) => {
                Failure::refused(format!("{refusal} ({})", refusal.code))
            }
            other => other.into(),
        }
    }

    /// Says it on stderr, as the log's lines are, and gives the exit code.
    pub fn report(&self, format: LogFormat) -> u8 {
        let (code, message) = match self {
            Failure::Failed(message) => (1, message),
            Failure::Refused(message) => (2, message),
            Failure::Said(code) => return *code,
            Failure::ReaderGone => return 0,
        };
        match format {
            LogFormat::Json => logging::say_why_it_ends(code, message),
            LogFormat::Pretty => eprintln!("tidemark: {}", printable(message)),
        }
        code
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::failed(error)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        Failure::failed(error)
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Failure {
        match error {
            CommandError::Refused(refusal) if !refusal.faults.is_empty() => {
                all_faults(&refusal.faults)
            }
            CommandError::Refused(refusal) => Failure::refused(refusal),
            CommandError::Query(error) => error.into(),
            CommandError::Log(error) => error.into(),
            CommandError::Files(error) => Failure::failed(error),
            CommandError::Internal(what) => Failure::failed(what),
        }
    }
}

impl From<CreditError> for Failure {
    fn from(error: CreditError) -> Failure {
        CommandError::from(error).into()
    }
}

impl From<SignUpError> for Failure {
    fn from(error: SignUpError) -> Failure {
        match error {
            SignUpError::Refused(refusal) => {
                Failure::refused(format!("{refusal} ({})", refusal.code()))
            }
            other => CommandError::from(other).into(),
        }
    }
}

/// Every fault of rules that cannot be used.
pub fn all_faults(faults: &[RuleFault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    Failure::refused(format!("the rules cannot be used:{}", lines.concat()))
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        Failure::failed(error)
    }
}

/// `1 value`, `2 values`.
pub fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Text as a terminal may be given it: what was stored or typed must not steer it. Control
/// characters but the line feed are escaped.
fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A cell of a table: one line, not too long.
fn cell(text: &str) -> String {
    let shown = printable(text).replace('\n', "\\n");
    match shown.char_indices().nth(CELL_CHARS_MAX) {
        None => shown,
        Some(_) => shown
            .chars()
            .take(CELL_CHARS_MAX - 1)
            .chain(['…'])
            .collect(),
    }
}

/// Stdout.
pub struct Out(BufWriter<Stdout>);

impl Out {
    /// Stdout.
    pub fn new() -> Out {
        Out(BufWriter::new(io::stdout()))
    }

    /// A line, or several, for people: control characters stand escaped.
    pub fn line(&mut self, line: impl fmt::Display) -> Done {
        self.raw(&printable(&line.to_string()))
    }

    fn raw(&mut self, line: &str) -> Done {
        checked(writeln!(self.0, "{line}"))
    }

    /// Text of our own, as it is.
    pub fn bytes(&mut self, bytes: &[u8]) -> Done {
        checked(self.0.write_all(bytes))
    }

    /// A line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Done {
        let line = serde_json::to_string(value).map_err(Failure::failed)?;
        self.raw(&line)
    }

    /// Several lines of JSON, indented: for one object that people may look at.
    pub fn pretty_json(&mut self, value: &impl Serialize) -> Done {
        let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
        self.raw(&text)
    }

    /// Columns under their titles; columns of numbers (`>` before the title) stand to the right.
    /// Long cells are cut (`…`).
    pub fn table(&mut self, titles: &[&str], rows: &[Vec<String>]) -> Done {
        let is_right: Vec<bool> = titles.iter().map(|title| title.starts_with('>')).collect();
        let head: Vec<String> = titles
            .iter()
            .map(|title| title.trim_start_matches('>').to_owned())
            .collect();
        let cut = |row: &Vec<String>| row.iter().map(|text| cell(text)).collect::<Vec<String>>();
        let rows: Vec<Vec<String>> = rows.iter().map(cut).collect();
        let all = || std::iter::once(&head).chain(&rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in all() {
            let cells = row.iter().zip(&widths).zip(&is_right);
            let padded = cells.map(|((cell, width), is_right)| match is_right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            let line = padded.collect::<Vec<_>>().join("  ");
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Everything is written. Call it at the end: what a drop would hide is an error.
    pub fn finish(&mut self) -> Done {
        checked(self.0.flush())
    }

    /// For services: a closed stdout is no reason to stop.
    pub fn finish_if_read(&mut self) -> Done {
        match self.finish() {
            Err(Failure::ReaderGone) => Ok(()),
            finished => finished,
        }
    }
}

impl Default for Out {
    fn default() -> Out {
        Out::new()
    }
}

fn checked(written: io::Result<()>) -> Done {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::failed(format!("cannot write to stdout: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        assert_eq!(printable("plain\nline"), "plain\nline");
        assert_eq!(printable("a\x1b[2Jb\tc\u{9b}"), "a\\u{1b}[2Jb\\tc\\u{9b}");
        assert_eq!(cell("two\nlines"), "two\\nlines");
    }

    #[test]
    fn a_cell_is_whole_up_to_its_limit_and_cut_beyond() {
        let whole = "é".repeat(CELL_CHARS_MAX);
        assert_eq!(cell(&whole), whole);
        let shown = cell(&"é".repeat(100_000));
        assert_eq!(shown.chars().count(), CELL_CHARS_MAX);
        assert!(shown.ends_with("é…"));
    }
}
