//! An archived request, rated again: exactly as rating does it, by other rules. Pure.

use hashbrown::HashMap;

use crate::archive::{ArchivedRequest, Column, Columns, RequestKind};
use crate::domain::amount::{Bp, Points};
use crate::domain::ids::AccountRef;
use crate::domain::posting::{Charge, LEVELS};
use crate::domain::rating::{Amounts, Used, is_successful, rate_used};
use crate::domain::rules::{RuleHistory, Rules, TokenCounts};
use crate::domain::semantics::Semantics;
use crate::domain::tier::Detection;

/// Model names that are remembered; a flood of invented names must not grow the process.
const MODELS_MAX: usize = 100_000;

/// The columns that decide what a row is worth, and whose it is.
pub(super) const RATED: Columns = Columns::of(&[
    Column::kind,
    Column::user,
    Column::provider,
    Column::service,
    Column::model,
    Column::tier,
    Column::status,
    Column::input_tokens,
    Column::output_tokens,
    Column::cached_input_tokens,
    Column::cache_write_tokens,
    Column::reasoning_tokens,
    Column::audio_ms,
    Column::image_count,
    Column::time,
    Column::offset,
    Column::control,
    Column::semantics,
    Column::month,
    Column::booked_on,
    Column::user_points,
    Column::provider_points,
    Column::cost,
    Column::shadow_cost,
    Column::user_referrer_1,
    Column::user_referrer_1_kind,
    Column::user_referrer_2,
    Column::user_referrer_2_kind,
    Column::user_referrer_3,
    Column::user_referrer_3_kind,
    Column::user_referral_1,
    Column::user_referral_2,
    Column::user_referral_3,
    Column::provider_referrer_1,
    Column::provider_referrer_1_kind,
    Column::provider_referrer_2,
    Column::provider_referrer_2_kind,
    Column::provider_referrer_3,
    Column::provider_referrer_3_kind,
    Column::provider_referral_1,
    Column::provider_referral_2,
    Column::provider_referral_3,
    Column::provider_is_new,
    Column::earlier_model,
    Column::earlier_input_tokens,
    Column::earlier_output_tokens,
    Column::earlier_cached_input_tokens,
    Column::earlier_cache_write_tokens,
    Column::earlier_reasoning_tokens,
    Column::earlier_audio_ms,
    Column::earlier_image_count,
]);

/// What a row brings to everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worth {
    /// To the user.
    pub user: Points,
    /// To the provider.
    pub provider: Points,
    /// What the user is charged.
    pub charge: Charge,
    /// To those who referred the user, nearest first.
    pub user_referrals: [Points; LEVELS],
    /// To those who referred the provider.
    pub provider_referrals: [Points; LEVELS],
}

impl Worth {
    /// As it was posted.
    pub fn archived(row: &ArchivedRequest<'_>) -> Worth {
        Worth {
            user: row.user_points,
            provider: row.provider_points,
            charge: row.charge(),
            user_referrals: row.user_referrals().map(|(_, points)| points),
            provider_referrals: row.provider_referrals().map(|(_, points)| points),
        }
    }
}

/// Rates rows under the rules of a history.
pub struct Rerater<'h> {
    history: &'h RuleHistory,
    /// Of which rules and semantics the names are.
    detected_by: (u64, u32),
    detected: HashMap<Box<str>, Detection>,
}

impl<'h> Rerater<'h> {
    /// By these rules.
    pub fn new(history: &'h RuleHistory) -> Rerater<'h> {
        Rerater {
            history,
            detected_by: (0, 0),
            detected: HashMap::new(),
        }
    }

    /// What a row would have brought; `None`: there were no rules as of its control position.
    pub fn rate(&mut self, row: &ArchivedRequest<'_>) -> Option<Worth> {
        let rules = self.history.as_of(row.control)?.at(row.time);
        let worth = match row.kind {
            RequestKind::Event => {
                let now = self.amounts(row, rules);
                difference(row, rules, &Amounts::default(), &now)
            }
            RequestKind::Reversal => {
                let taken = self.amounts(row, rules);
                difference(row, rules, &taken, &Amounts::default())
            }
            RequestKind::Completion => {
                let mut before = self.earlier_amounts(row, rules);
                if row.provider_is_new {
                    // One that was not named has got nothing.
                    before.provider = Points::ZERO;
                }
                let now = self.amounts(row, rules);
                difference(row, rules, &before, &now)
            }
        };
        Some(worth)
    }

    fn amounts(&mut self, row: &ArchivedRequest<'_>, rules: &Rules) -> Amounts {
        let used = Used {
            tokens: TokenCounts {
                input: row.input_tokens.unwrap_or(0),
                cached_input: row.cached_input_tokens.unwrap_or(0),
                cache_write: row.cache_write_tokens.unwrap_or(0),
                output: row.output_tokens.unwrap_or(0),
                reasoning: row.reasoning_tokens.unwrap_or(0),
            },
            audio_millis: row.audio_ms.unwrap_or(0),
            image_count: row.image_count.unwrap_or(0),
        };
        self.worth(row, row.model, used, rules)
    }

    /// Of what the first report said, before a completion.
    fn earlier_amounts(&mut self, row: &ArchivedRequest<'_>, rules: &Rules) -> Amounts {
        let used = Used {
            tokens: TokenCounts {
                input: row.earlier_input_tokens.unwrap_or(0),
                cached_input: row.earlier_cached_input_tokens.unwrap_or(0),
                cache_write: row.earlier_cache_write_tokens.unwrap_or(0),
                output: row.earlier_output_tokens.unwrap_or(0),
                reasoning: row.earlier_reasoning_tokens.unwrap_or(0),
            },
            audio_millis: row.earlier_audio_ms.unwrap_or(0),
            image_count: row.earlier_image_count.unwrap_or(0),
        };
        self.worth(row, row.earlier_model, used, rules)
    }

    fn worth(
        &mut self,
        row: &ArchivedRequest<'_>,
        model: Option<&str>,
        used: Used,
        rules: &Rules,
    ) -> Amounts {
        if !is_successful(row.status) {
            return Amounts::default();
        }
        let mut detection = self.detect(row, model, rules);
        // A tier that was decided stays, whichever semantics decided it.
        if self.history.keeps_tiers()
            && let Some(tier) = row.tier.filter(|_| model.is_some())
        {
            detection.tier = tier;
        }
        rate_used(used, row.service, &detection, rules)
    }

    /// As [`Rules::detect_for`], once per name.
    fn detect(
        &mut self,
        row: &ArchivedRequest<'_>,
        model: Option<&str>,
        rules: &Rules,
    ) -> Detection {
        let semantics = Semantics::known(row.semantics).unwrap_or_default();
        let decides =
            rules.depends_on_tier(row.service) || rules.depends_on_model_prices(row.service);
        let Some(model) = model.filter(|_| decides) else {
            return rules.detect_for(row.service, None, semantics);
        };
        let by = (rules.id(), row.semantics);
        if self.detected_by != by || self.detected.len() >= MODELS_MAX {
            self.detected.clear();
            self.detected_by = by;
        }
        if let Some(known) = self.detected.get(model) {
            return *known;
        }
        let detection = rules.detect(model, semantics);
        self.detected.insert(model.into(), detection);
        detection
    }
}

/// What changes for everybody when a request that was worth this becomes worth that.
fn difference(row: &ArchivedRequest<'_>, rules: &Rules, before: &Amounts, now: &Amounts) -> Worth {
    let shares = rules.cascade();
    let user = (before.user, now.user);
    // Without a provider its amount is nobody's.
    let provider = match row.provider {
        Some(_) => (before.provider, now.provider),
        None => (Points::ZERO, Points::ZERO),
    };
    Worth {
        user: user.1.minus(user.0),
        provider: provider.1.minus(provider.0),
        charge: now.charge.less(&before.charge),
        user_referrals: referrals(row.user_referrals().map(|(by, _)| by), user, shares),
        provider_referrals: referrals(row.provider_referrals().map(|(by, _)| by), provider, shares),
    }
}

fn referrals(
    referrers: [Option<AccountRef<'_>>; LEVELS],
    (before, now): (Points, Points),
    shares: [Bp; LEVELS],
) -> [Points; LEVELS] {
    std::array::from_fn(|level| match referrers[level] {
        Some(_) => now.times(shares[level]).minus(before.times(shares[level])),
        None => Points::ZERO,
    })
}
