//! What users and providers see of an explanation.

use super::shares::Beneficiary;
use super::text;
use super::view::{Explanation, View};
use crate::domain::reversal::ADMIN_SOURCE;
use crate::domain::rules::SettingKey;

impl Explanation {
    /// Whether its day counts the request: a reversal that was booked late leaves the day as it is.
    pub(super) fn counts_on_its_day(&self) -> bool {
        let reversal = self.reversal.as_ref();
        reversal.is_none_or(|step| step.reversal.booked_on.is_none())
    }

    /// What the user who made the request sees: everything but who its referrers' and its
    /// provider's referrers are, how the provider's day went, and which admin reversed it.
    #[must_use]
    pub fn for_user(mut self) -> Explanation {
        self.view = View::User;
        self.hide_referrers();
        self.days.retain(|day| day.kind == "user");
        self.told_again()
    }

    /// What the provider who served the request sees: its own amounts. Nothing tells who the user
    /// is, what it was charged, or why it was reversed.
    #[must_use]
    pub fn for_provider(mut self) -> Explanation {
        self.view = View::Provider;
        self.hide_referrers();
        let is_own = |of: &Beneficiary| of.role == "provider" || of.of == Some("provider");
        self.beneficiaries.retain(is_own);
        self.user_id = None;
        self.cost = None;
        let is_of_points =
            |key: &str| key.starts_with("rules.") && key != SettingKey::ModelPrices.name();
        self.rules.versions.retain(|used| is_of_points(used.key));
        self.days.retain(|day| day.kind == "provider");
        self.sums.retain(|sum| sum.what == "provider");
        // What differs may be the user's.
        self.differences.clear();
        if let Some(points) = &mut self.points {
            points.user_share_bp = None;
            points.user = None;
        }
        if let Some(completion) = &mut self.completion {
            completion.user_before = None;
            completion.cost_before = None;
        }
        if let Some(reversal) = &mut self.reversal {
            reversal.took_back.retain(is_own);
            reversal.cost = None;
            reversal.reversal.reason = None;
            // Admins write tickets and names into their keys.
            if reversal.reversal.source == ADMIN_SOURCE {
                reversal.reversal.id.clear();
            }
        }
        self.reversal_sent = None;
        (self.log.partition, self.log.position) = (None, None);
        self.told_again()
    }

    fn hide_referrers(&mut self) {
        if let Some(reversal) = &mut self.reversal {
            reversal.by = None;
        }
        if let Some(sent) = &mut self.reversal_sent {
            sent.by = None;
        }
        let taken = self
            .reversal
            .iter_mut()
            .flat_map(|step| &mut step.took_back);
        for of in self.beneficiaries.iter_mut().chain(taken) {
            if of.role == "referrer" {
                of.id = None;
                of.link = None;
            }
        }
    }

    fn told_again(mut self) -> Explanation {
        self.text = text::sections(&self);
        self
    }
}
