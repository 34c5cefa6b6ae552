//! `tidemark claims`.

use std::io;
use std::path::{Path, PathBuf};

use super::args::ClaimsCommand;
use super::close::closing;
use super::output::{Done, Failure, Out, counted};
use super::session::Session;
use crate::claims::FileKind;
use crate::claims::check::{Beside, Fault, Report, check};
use crate::domain::time::Month;
use crate::ops::config::Config;

/// Runs what needs an installation.
pub async fn run(session: &Session, config: &Config, command: &ClaimsCommand) -> Done {
    let ClaimsCommand::Show { account, before } = command else {
        return Ok(());
    };
    let account = account.account().map_err(Failure::refused)?;
    let claims = closing(session, config).await?;
    let claims = claims.claims_of(&account, *before).await;
    let claims = claims.map_err(Failure::with_code)?;
    let mut out = Out::new();
    out.pretty_json(&claims)?;
    out.finish()
}

/// The files in a directory, as they are published or, if `month` is known, as they are downloaded.
struct Folder {
    path: PathBuf,
    month: Option<Month>,
}

impl Folder {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Beside for Folder {
    fn file(&self, kind: FileKind) -> io::Result<Option<Vec<u8>>> {
        if let Some(month) = self.month
            && let Some(bytes) = self.read(&format!("{month}-{kind}"))?
        {
            return Ok(Some(bytes));
        }
        self.read(&kind.to_string())
    }
}

/// Runs `tidemark claims check`.
pub fn check_file(file: &Path) -> Done {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::refused(format!("cannot read {}: {error}", file.display())))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let folder = Folder {
        path: file.parent().unwrap_or(Path::new("")).to_owned(),
        month: FileKind::of_download(&name).and_then(|(month, _)| month),
    };
    let wrong = |fault: Fault| Failure::failed(format!("{}: {fault}", file.display()));
    let reports = check(&name, &bytes, &folder).map_err(wrong)?;
    let mut out = Out::new();
    for report in reports {
        say(&mut out, &report)?;
    }
    out.finish()
}

fn say(out: &mut Out, report: &Report) -> Done {
    if report.claims > 0 {
        let claims = counted(report.claims, "claim");
        let total = report.total;
        out.line(format!("{}: {claims}, {total} smallest units", report.form))?;
    }
    if let Some(root) = report.root {
        out.line(format!("  root {root}"))?;
    }
    report
        .notes
        .iter()
        .try_for_each(|note| out.line(format!("  note: {note}")))
}
