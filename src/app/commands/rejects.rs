//! Sending rejected events again, or discarding them.

use super::Commands;
use crate::app::CommandError;
use crate::app::queries::{RejectDetail, RejectPlace};
use crate::store::redrive::{self, Decider};

impl Commands {
    /// Sends a rejected event again, edited or as it was. Repeating it is safe, however late: every
    /// repeat sends what the first one stored, and that counts once.
    pub async fn redrive_reject(
        &self,
        place: RejectPlace,
        edited: Option<&str>,
        by: String,
    ) -> Result<RejectDetail, CommandError> {
        let found = self.queries.found_reject(place).await?;
        let decider = self.decider(by);
        redrive::redrive(self.db(), self.log(), &found, edited, &decider).await?;
        self.queries.reject_detail(&found).await
    }

    /// Discards a rejected event: it is not sent again. The first reason stays.
    pub async fn discard_reject(
        &self,
        place: RejectPlace,
        reason: &str,
        by: String,
    ) -> Result<RejectDetail, CommandError> {
        let found = self.queries.found_reject(place).await?;
        redrive::discard(self.db(), &found, reason, &self.decider(by)).await?;
        self.queries.reject_detail(&found).await
    }

    fn decider(&self, by: String) -> Decider {
        Decider {
            by,
            now: self.now(),
        }
    }
}
