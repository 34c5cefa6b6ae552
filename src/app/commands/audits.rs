//! Dismissing findings of the auditor.

use super::Commands;
use crate::app::CommandError;
use crate::domain::text::check_reason;
use crate::store::audits;

impl Commands {
    /// Removes the findings up to and with this number, with entries of the audit trail that hold
    /// them; how many. What was found since is not removed, so nothing goes that nobody has seen.
    pub async fn dismiss_findings(
        &self,
        up_to: u64,
        reason: &str,
        by: &str,
    ) -> Result<usize, CommandError> {
        check_reason(reason)?;
        let (mut dismissed, mut after) = (0, None);
        loop {
            let page =
                audits::page(self.db(), after.as_deref(), audits::DISMISSED_TOGETHER).await?;
            let kept = page.findings.into_iter();
            let explained = kept.filter(|kept| kept.number <= up_to);
            let explained: Vec<_> = explained.map(|kept| kept.finding).collect();
            if !explained.is_empty() {
                audits::dismiss(self.db(), &explained, reason, by, self.now()).await?;
            }
            dismissed += explained.len();
            after = page.next;
            if after.is_none() {
                return Ok(dismissed);
            }
        }
    }
}
