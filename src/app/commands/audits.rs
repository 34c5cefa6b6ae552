//! Dismissing findings of the auditor.

use super::Commands;
use crate::app::CommandError;
use crate::domain::text::check_reason;
use crate::store::audits;

impl Commands {
    /// Removes the findings that are kept, with entries of the audit trail that hold them; how many.
    pub async fn dismiss_findings(&self, reason: &str, by: &str) -> Result<usize, CommandError> {
        check_reason(reason)?;
        let found = audits::findings(self.db()).await?;
        for some in found.chunks(audits::DISMISSED_TOGETHER) {
            audits::dismiss(self.db(), some, reason, by, self.now()).await?;
        }
        Ok(found.len())
    }
}
