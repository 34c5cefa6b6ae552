//! What needs no installation: what the program says about itself (its configuration, its shell
//! completions, its man pages), and checks of claim files.

use std::path::Path;

use clap::CommandFactory as _;

use super::args::{ClaimsCommand, Cli, Command, ConfigCommand};
use super::claims;
use super::output::{Done, Failure, Out};
use crate::ops::config::Config;

/// Runs a command that needs neither a configuration nor an installation; `None` if it is another.
pub fn run(command: &Command) -> Option<Done> {
    match command {
        Command::Config(ConfigCommand::Schema) => Some(schema()),
        Command::Completions { shell } => Some(completions(*shell)),
        Command::Man { dir } => Some(man_pages(dir)),
        Command::Claims(ClaimsCommand::Check { file }) => Some(claims::check_file(file)),
        _ => None,
    }
}

fn schema() -> Done {
    let mut out = Out::new();
    out.pretty_json(&Config::schema())?;
    out.finish()
}

fn completions(shell: clap_complete::Shell) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidemark", &mut script);
    let mut out = Out::new();
    out.bytes(&script)?;
    out.finish()
}

fn man_pages(dir: &Path) -> Done {
    let failed = |error| Failure::failed(format!("cannot write to {}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
    let written = std::fs::read_dir(dir).map_err(failed)?;
    let pages = written
        .flatten()
        .filter(|entry| is_page(&entry.path()))
        .count();
    let mut out = Out::new();
    out.line(format!("{pages} man pages in {}", dir.display()))?;
    out.finish()
}

fn is_page(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("tidemark") && name.ends_with(".1")
}
