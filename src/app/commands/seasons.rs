//! Leaderboards of seasons, which are frozen once.

use super::Commands;
use crate::app::queries::{QueryError, SeasonBoards};
use crate::app::{CommandError, Refusal};
use crate::store::seasons;

impl Commands {
    /// Freezes the leaderboards of a season. Those that were frozen before stay; others are
    /// refused.
    pub async fn freeze_season(
        &self,
        boards: &SeasonBoards,
        by: &str,
    ) -> Result<SeasonBoards, CommandError> {
        let name = &boards.name;
        let body = serde_json::to_string(boards).map_err(|e| seasons::unreadable(name, &e))?;
        let frozen = seasons::freeze(self.db(), name, &body, by, self.now()).await?;
        if frozen != body {
            let what = format!(
                "the season \"{name}\" was frozen with other leaderboards, which stay; its dates or the \
                 archive have changed since"
            );
            return Err(Refusal::conflict("season_frozen_otherwise", what).into());
        }
        let frozen = serde_json::from_str(&frozen);
        let unreadable = |error| QueryError::Store(seasons::unreadable(name, &error));
        Ok(frozen.map_err(unreadable)?)
    }
}

/// Leaderboards that are not there.
pub fn season_not_frozen(name: &str) -> Refusal {
    Refusal::not_found(
        "season_not_frozen",
        format!(
            "the leaderboards of the season \"{name}\" were not frozen; `tidemark season freeze` does \
             it, and `tidemark season list` lists the seasons"
        ),
    )
}
