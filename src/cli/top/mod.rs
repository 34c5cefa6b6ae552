//! `tidemark top`: what runs, how fast, how far behind, and what stands still, from the metrics of
//! the processes themselves.
//!
//! It needs no key, no Prometheus and no clever terminal: where stdout is none, or `TERM` is
//! `dumb`, one picture follows the other.

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use super::args::TopArgs;
use super::data::DataDir;
use super::output::{Done, Failure, Out};
use crate::ops::config::Config;
use crate::ops::shutdown::Shutdown;
use reading::Reading;
use view::{Verdict, View};

mod duration;
pub(super) mod reading;
pub(super) mod troubles;
mod view;

/// The time between the two readings of `--once`.
const ONCE: Duration = Duration::from_secs(1);
/// Numbers that are later than this are late; `doctor` calls them so, too.
pub(super) const LATE: Duration = Duration::from_secs(60);
/// Exit code: something is to be done.
const SOMETHING: u8 = 1;
/// Exit code: nobody can be asked.
const CANNOT_LOOK: u8 = 2;

/// Runs `tidemark top`.
pub async fn run(config: &Config, args: &TopArgs, shutdown: &Shutdown) -> Done {
    let asked = Targets::of(config, &args.addresses)?;
    let screen = Screen::of(args);
    let interval = if args.once { ONCE } else { args.interval };
    let mut before = Reading::take(&asked).await?;
    loop {
        let waited = shutdown.bounded(Duration::ZERO, tokio::time::sleep(interval));
        if waited.await.is_none() {
            return Ok(());
        }
        let now = Reading::take(&asked).await?;
        let view = View::between(&before, &now);
        screen.show(&view, &asked)?;
        if args.once {
            return match view.verdict {
                Verdict::Fine => Ok(()),
                Verdict::Late
                | Verdict::Outage
                | Verdict::Attention
                | Verdict::Halted
                | Verdict::Partly
                | Verdict::Nobody => Err(Failure::Said(SOMETHING)),
                Verdict::CannotLook => Err(Failure::Said(CANNOT_LOOK)),
            };
        }
        before = now;
    }
}

/// Who is asked.
pub enum Targets {
    /// Those that were named.
    Named(Vec<String>),
    /// The `up` on a data directory, whoever that is at the moment; nobody else, though he may
    /// listen where it would.
    Up(DataDir),
}

impl Targets {
    /// Those that were named.
    pub fn named(given: &[String]) -> Done<Targets> {
        Ok(Targets::Named(named(given)?))
    }

    fn of(config: &Config, given: &[String]) -> Done<Targets> {
        if !given.is_empty() {
            return Targets::named(given);
        }
        if config.is_cluster() {
            return Err(Failure::refused(format!(
                "there is no `up` on Kafka and DynamoDB; {NAME_THEM}"
            )));
        }
        Ok(Targets::Up(DataDir::new(&config.data)))
    }

    /// Their addresses; `Err` says by whose name that nobody is there.
    fn addresses(&self) -> Vec<Result<String, String>> {
        match self {
            Targets::Named(addresses) => addresses.iter().cloned().map(Ok).collect(),
            Targets::Up(data) => {
                let up = data.up().map(|running| running.url(""));
                vec![up.ok_or_else(|| format!("up on {}", data.path().display()))]
            }
        }
    }

    /// What to do when nobody answers.
    fn advice(&self) -> String {
        match self {
            Targets::Up(data) if data.up().is_none() => {
                let dir = data.path().display();
                format!(
                    "`tidemark up` is not running on {dir}; start it (tidemark up --data {dir}), \
                     pass its data directory (--data DIR), or {NAME_THEM}"
                )
            }
            Targets::Up(_) | Targets::Named(_) => format!("no process answers; {NAME_THEM}"),
        }
    }
}

/// What to do where nobody is found.
const NAME_THEM: &str = "pass the addresses of the processes: tidemark top host:8788 host:8789";

fn named(given: &[String]) -> Done<Vec<String>> {
    let whole = |address: &String| match address.split_once("://") {
        None => Ok(format!("http://{address}")),
        Some(("http" | "https", _)) => Ok(address.trim_end_matches('/').to_owned()),
        Some(_) => Err(Failure::refused(format!(
            "'{address}' is not an address; write host:port or http://host:port"
        ))),
    };
    given.iter().map(whole).collect()
}

/// How a picture is shown.
enum Screen {
    Json,
    /// One over the other.
    Terminal,
    /// One after the other.
    Lines,
}

impl Screen {
    fn of(args: &TopArgs) -> Screen {
        let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb" || term.is_empty());
        match (
            args.json,
            args.once || is_dumb || !std::io::stdout().is_terminal(),
        ) {
            (true, _) => Screen::Json,
            (false, true) => Screen::Lines,
            (false, false) => Screen::Terminal,
        }
    }

    fn show(&self, view: &View, asked: &Targets) -> Done {
        let mut out = Out::new();
        match self {
            Screen::Json => out.json(view)?,
            Screen::Terminal => {
                // To the upper left, and away with what stands below: understood by every terminal
                // that is not dumb.
                std::io::stdout()
                    .write_all(b"\x1b[H\x1b[J")
                    .map_err(Failure::failed)?;
                view.draw(&mut out, asked)?;
            }
            Screen::Lines => {
                view.draw(&mut out, asked)?;
                out.line("")?;
            }
        }
        out.finish()
    }
}
