//! `tidemark export`.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::args::ExportArgs;
use super::engine;
use super::output::{Done, Failure};
use super::output_file::OutputFile;
use super::progress;
use super::session::Session;
use crate::app::queries::{Export, ExportRequest, ExportWhat, StoredArchive};
use crate::domain::time::{Millis, Month};
use crate::ops::config::Config;

/// Runs `tidemark export`.
pub async fn run(session: &Session, config: &Config, args: &ExportArgs) -> Done {
    let request = ExportRequest {
        month: args.month,
        what: args.what,
        format: args.format,
        exact_text: args.exact_text,
        issuer: args.issuer.clone(),
        partial: args.partial,
    };
    let archive = match args.what {
        ExportWhat::Requests => Some(engine::archive_to_read(config, args.archive.as_ref()).await?),
        _ => None,
    };
    let archive = archive.map(|archive| StoredArchive::new(archive, Handle::current()));
    let queries = Arc::new(session.queries().with_archive(archive));
    let mut export = queries.export(request, session.now()).await?;
    let mut file = OutputFile::create(args.output.as_deref())?;
    if let Err(failure) = write(&mut export, &mut file).await {
        return Err(match (failure, file.part()) {
            (Failure::Failed(why), Some(part)) => {
                Failure::failed(format!("{why}. What was written is in {}", part.display()))
            }
            (failure, _) => failure,
        });
    }
    file.finish()?;
    say_what_is_missing(args.month, export.missing(), export.up_to());
    if !export.is_final() {
        eprintln!(
            "tidemark: {} is not final, so the numbers in this file can still change",
            args.month
        );
    }
    Ok(())
}

/// Says on stderr what the archive lacks of a month.
pub(super) fn say_what_is_missing(month: Month, missing: Option<&str>, up_to: Option<Millis>) {
    if let Some(why) = missing {
        eprintln!("tidemark: requests of {month} are missing in the archive: {why}");
    }
    if let Some(up_to) = up_to {
        eprintln!("tidemark: the archive holds requests of {month} up to {up_to}, and goes on");
    }
}

async fn write(export: &mut Export, file: &mut OutputFile) -> Done {
    let bar = progress::beside_output(None, "rows");
    while let Some(piece) = export.next().await.map_err(Failure::failed)? {
        file.write(&piece)?;
        bar.set_position(export.sums().rows());
    }
    bar.finish_and_clear();
    Ok(())
}
