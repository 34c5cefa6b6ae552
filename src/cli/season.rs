//! `tidemark season`: seasons, and the leaderboards of those that have ended.

use serde_json::json;
use tokio::runtime::Handle;

use super::args::SeasonCommand;
use super::engine;
use super::output::{Done, Failure, Out};
use super::session::{Session, by};
use crate::app::commands::season_not_frozen;
use crate::app::queries::{SeasonBoards, SeasonError, SeasonPlace, StoredArchive, season_boards};
use crate::domain::rules::SeasonSpan;
use crate::ops::config::{Config, FilesLocation};

/// Runs the command.
pub async fn run(session: &Session, config: &Config, command: &SeasonCommand) -> Done {
    match command {
        SeasonCommand::List(args) => list(session, args.json).await,
        SeasonCommand::Show { name, json } => {
            let boards = session.queries().frozen_season(name).await?;
            let missing = || Failure::with_code(season_not_frozen(name));
            show(&boards.ok_or_else(missing)?, *json)
        }
        SeasonCommand::Freeze {
            name,
            archive,
            json,
        } => freeze(session, config, name, archive.as_ref(), *json).await,
    }
}

async fn list(session: &Session, is_json: bool) -> Done {
    let queries = session.queries();
    let (seasons, frozen) = (queries.seasons().await?, queries.frozen_seasons().await?);
    let now = session.now();
    let mut out = Out::new();
    let state = |season: &SeasonSpan| {
        if frozen.contains(&season.name) {
            "frozen"
        } else if season.to <= now {
            "ended"
        } else if season.from <= now {
            "now"
        } else {
            "upcoming"
        }
    };
    if is_json {
        for season in &seasons {
            out.json(
                &json!({"name": season.name, "from": season.from.to_string(),
                "to": season.to.to_string(), "state": state(season)}),
            )?;
        }
    } else if seasons.is_empty() {
        out.line("there are no seasons; rules.season lists them")?;
    } else {
        let row = |season: &SeasonSpan| {
            vec![
                season.name.clone(),
                season.from.to_string(),
                season.to.to_string(),
                state(season).to_owned(),
            ]
        };
        let rows: Vec<Vec<String>> = seasons.iter().map(row).collect();
        out.table(&["season", "from", "to", "state"], &rows)?;
    }
    out.finish()
}

async fn freeze(
    session: &Session,
    config: &Config,
    name: &str,
    archive: Option<&FilesLocation>,
    is_json: bool,
) -> Done {
    let queries = session.queries();
    let season = queries.season_named(name).await.map_err(failure)?;
    let archive = engine::archive_to_read(config, archive).await?;
    let coverages = archive.coverages().await.map_err(Failure::failed)?;
    let coverages = queries.season_coverages(&season, coverages).await;
    let coverages = coverages.map_err(failure)?;
    let archive = StoredArchive::new(archive, Handle::current());
    let work = move || season_boards(&archive, &season, &coverages);
    let boards = tokio::task::spawn_blocking(work).await;
    let boards = boards.map_err(Failure::failed)?.map_err(failure)?;
    let frozen = session.commands().freeze_season(&boards, &by()).await;
    show(&frozen.map_err(Failure::with_code)?, is_json)
}

fn failure(error: SeasonError) -> Failure {
    let coded = |code| format!("{error} ({code})");
    match (error.code().map(coded), error) {
        (Some(coded), SeasonError::Unknown(_)) => Failure::refused(coded),
        (Some(coded), _) => Failure::failed(coded),
        (None, error) => Failure::failed(error),
    }
}

fn show(boards: &SeasonBoards, is_json: bool) -> Done {
    let mut out = Out::new();
    if is_json {
        out.json(boards)?;
        return out.finish();
    }
    out.line(format!(
        "{}: {} to {}, {} records",
        boards.name, boards.from, boards.to, boards.rows
    ))?;
    for (title, places) in [("user", &boards.users), ("provider", &boards.providers)] {
        let row = |place: &SeasonPlace| {
            vec![
                place.rank.to_string(),
                place.id.clone(),
                place.points.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = places.iter().map(row).collect();
        out.table(&["rank", title, "points"], &rows)?;
    }
    out.finish()
}
