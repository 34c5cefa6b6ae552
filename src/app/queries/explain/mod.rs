//! Why a request earned and cost what it did: from its usage row, the rules and referral links as
//! of the control position with which it was rated, and the day's rows.

use std::borrow::Cow;

use futures::future::try_join_all;

use super::rules_cache::RulesAsOf;
use super::{Queries, QueryError};
use crate::app::{CommandError, Refusal};
use crate::domain::event::{BEHIND_MS_MAX, UsageEvent};
use crate::domain::explain::{Workings, workings};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Control;
use crate::domain::reversal::ADMIN_SOURCE;
use crate::domain::semantics::Semantics;
use crate::domain::statement::day_bonus;
use crate::domain::time::{DAY_MS, Day, Millis};
use crate::store::db::StoreError;
use crate::store::reversals::{self, RecordedReversal};
use crate::store::usage_list::{self, StoredCompletion, UsageRow};
use crate::store::{accounts, referrals};

mod after;
mod after_text;
mod shares;
mod steps;
mod text;
mod view;
mod visible;

pub use after::{CompletionStep, DayStep, QualityStep, ReversalSent, ReversalStep};
pub use shares::{Beneficiary, Floored};
pub use view::{
    BookingStep, CostItem, CostLine, CostStep, Explanation, LogStep, PointsStep, RequestFacts,
    RuleUsed, RulesStep, SeasonStep, Section, ServiceDemand, ServiceStep, SumLine, TierFound, View,
};

/// The code of an explanation whose steps come to something other than was posted.
pub const DIFFERS: &str = "explanation_differs";

/// Which request.
#[derive(Clone, Copy, Debug)]
pub struct WhichRequest<'a> {
    /// The user who made it.
    pub user: &'a Account,
    /// The event's `source`.
    pub source: &'a str,
    /// The event's `id`.
    pub id: &'a str,
    /// The event's `time`; without it the request is looked for on the days of which events are
    /// taken.
    pub time: Option<Millis>,
}

/// The referral chain of an account as of the control position with which a request was rated.
struct Chain {
    /// The entry that made the link.
    link: Control,
    accounts: Vec<Account>,
}

/// Everything that is stored about a request.
struct Facts {
    user: Account,
    provider: Option<Account>,
    row: UsageRow,
    user_chain: Option<Chain>,
    provider_chain: Option<Chain>,
    /// Reversals that admins asked for.
    recorded: Vec<RecordedReversal>,
}

impl Queries {
    /// Explains a request, as an admin may see it.
    ///
    /// # Errors
    /// `unknown_request`: there is no row of it. `row_unreadable`: a row of it cannot be decoded.
    pub async fn explain(
        &self,
        which: WhichRequest<'_>,
        now: Millis,
    ) -> Result<Explanation, CommandError> {
        let row = self.row_of(which, now).await.map_err(unreadable)?;
        let row = row.ok_or_else(|| unknown(which, now))?;
        let facts = self.facts_of(which.user, row).await.map_err(unreadable)?;
        self.explain_facts(&facts).await
    }

    async fn explain_facts(&self, facts: &Facts) -> Result<Explanation, CommandError> {
        let (control, time) = (Control(facts.row.control), facts.row.time);
        let rules = self.rules.as_of(self.db(), control, time).await?;
        let rules = rules.ok_or(QueryError::NoRules)?;
        let workings = workings_of(facts, &rules).ok_or_else(|| no_service(&facts.row))?;
        let days = self.days(facts).await.map_err(unreadable)?;
        Ok(explanation(facts, &rules, &workings, days))
    }

    /// Explains a request to the user who made it.
    ///
    /// # Errors
    /// As [`Queries::explain`].
    pub async fn explain_to_user(
        &self,
        which: WhichRequest<'_>,
        now: Millis,
    ) -> Result<Explanation, CommandError> {
        Ok(self.explain(which, now).await?.for_user())
    }

    /// Explains a request to the provider who served it; of others it says no more than that there
    /// is no such request. Its time must be given: a search for it takes as long as the user has
    /// requests.
    ///
    /// # Errors
    /// As [`Queries::explain`].
    pub async fn explain_to_provider(
        &self,
        provider: &Account,
        which: WhichRequest<'_>,
        now: Millis,
    ) -> Result<Explanation, CommandError> {
        // Whether somebody else has such a request is not the provider's business.
        let unknown = || CommandError::from(unknown(which, now));
        if which.time.is_none() {
            return Err(unknown());
        }
        let unreadable = |error| match unreadable(error) {
            CommandError::Refused(_) => unknown(),
            error => error,
        };
        let row = self.row_of(which, now).await.map_err(unreadable)?;
        let served = |row: &UsageRow| row.provider_id.as_deref() == Some(provider.id());
        let row = row.filter(served).ok_or_else(unknown)?;
        let facts = self.facts_of(which.user, row).await.map_err(unreadable)?;
        Ok(self.explain_facts(&facts).await?.for_provider())
    }

    async fn row_of(
        &self,
        which: WhichRequest<'_>,
        now: Millis,
    ) -> Result<Option<UsageRow>, StoreError> {
        let WhichRequest {
            user, source, id, ..
        } = which;
        let db = self.db();
        let time = match which.time {
            Some(time) => Some(time),
            None => {
                let days = days_of_events(now);
                usage_list::time_of(db, user.id(), source, id, &days, now).await?
            }
        };
        let Some(time) = time else {
            return Ok(None);
        };
        usage_list::one(db, user.id(), source, id, time, now).await
    }

    /// Everything else that is stored about the request of a row.
    async fn facts_of(&self, user: &Account, row: UsageRow) -> Result<Facts, StoreError> {
        let db = self.db();
        let provider = row.provider_id.as_deref();
        let provider = provider.and_then(|id| Account::new(AccountKind::Provider, id).ok());
        let parties: Vec<Account> = [Some(user.clone()), provider.clone()]
            .into_iter()
            .flatten()
            .collect();
        let (links, recorded) = futures::try_join!(
            referrals::links_of(db, &parties),
            reversals::recorded(db, user.id(), &row.source, &row.id, row.time),
        )?;
        let chain = |link: Option<referrals::Link>| {
            let link = link.filter(|link| link.control.0 <= row.control)?;
            Some(Chain {
                link: link.control,
                accounts: link.chain,
            })
        };
        let mut chains = links.into_iter().map(chain);
        Ok(Facts {
            user_chain: chains.next().flatten(),
            provider_chain: chains.next().flatten(),
            user: user.clone(),
            provider,
            row,
            recorded,
        })
    }

    /// What the days of the user and the provider do with the request, by the rules that statements
    /// are computed with.
    async fn days(&self, facts: &Facts) -> Result<Vec<DayStep>, StoreError> {
        let Some(day) = facts.row.booked_on else {
            return Ok(Vec::new());
        };
        let Some(timeline) = self.rules().await? else {
            return Ok(Vec::new());
        };
        let reversal = facts.row.reversal.as_ref();
        let is_out_of_day = reversal.is_some_and(|reversal| reversal.booked_on.is_some());
        let accounts = steps::counted_accounts(facts).map(|(account, points)| async move {
            let row = accounts::month(self.db(), account, day.month()).await?;
            Ok::<_, StoreError>((account, points, row))
        });
        let mut found = Vec::new();
        for (account, points, row) in try_join_all(accounts).await? {
            let bonus = row.and_then(|stored| day_bonus(account.kind, &stored.row, &timeline, day));
            let Some(bonus) = bonus else {
                continue;
            };
            found.push(DayStep {
                kind: account.kind.as_str(),
                id: account.id().to_owned(),
                day,
                base: bonus.base,
                quality: bonus.quality.as_ref().map(|quality| QualityStep {
                    requests: quality.requests,
                    requests_min: quality.requests_min,
                    uptime_ratio_bp: quality.uptime_ratio,
                    uptime_bp: quality.uptime.0,
                    latency_ratio_bp: quality.latency_ratio,
                    latency_bp: quality.latency.0,
                }),
                multiplier: bonus.multiplier,
                streak_days: bonus.streak_length,
                streak_bp: bonus.streak_multiplier.0,
                streak: bonus.streak,
                trial: bonus.trial,
                for_this_request: match is_out_of_day {
                    true => Default::default(),
                    false => bonus.of_part(points),
                },
            });
        }
        Ok(found)
    }
}

/// The days on which an event can have been made that is taken now, the newest first.
fn days_of_events(now: Millis) -> Vec<Day> {
    let newest = now.plus(DAY_MS).day().0;
    let oldest = now.plus(-BEHIND_MS_MAX).day().0;
    (oldest..=newest).rev().map(Day).collect()
}

/// The steps by the version of rating that posted what the row says; by the newest, if none did.
fn workings_of<'r>(facts: &Facts, rules: &'r RulesAsOf) -> Option<Workings<'r>> {
    let (event, log_time) = (event_of(facts), facts.row.log_time);
    let by = |semantics| workings(&event, log_time, &rules.timeline, semantics);
    let agrees = |found: &Workings<'_>| steps::differences(facts, rules, found).is_empty();
    let found = Semantics::all().find_map(|semantics| by(semantics).filter(agrees));
    found.or_else(|| by(Semantics::NOW))
}

/// The event, as far as its row has it. What it leaves out decides nothing.
fn event_of(facts: &Facts) -> UsageEvent<'_> {
    let row = &facts.row;
    UsageEvent {
        source: Cow::Borrowed(&row.source),
        id: Cow::Borrowed(&row.id),
        time: row.time,
        user: Cow::Borrowed(facts.user.id()),
        provider: row.provider_id.as_deref().map(Cow::Borrowed),
        endpoint: Cow::Borrowed(&row.endpoint),
        model: row.model.as_deref().map(Cow::Borrowed),
        status: row.status_code,
        latency_ms: row.latency_ms,
        input_tokens: row.input_tokens,
        output_tokens: row.output_tokens,
        cached_input_tokens: row.cached_input_tokens,
        cache_write_tokens: row.cache_write_tokens,
        reasoning_tokens: row.reasoning_tokens,
        audio_millis: row.audio_millis,
        image_count: row.image_count,
        request_bytes: None,
        response_bytes: None,
        error_message: None,
        stream: false,
    }
}

fn explanation(
    facts: &Facts,
    rules: &RulesAsOf,
    workings: &Workings<'_>,
    days: Vec<DayStep>,
) -> Explanation {
    let row = &facts.row;
    let differences = steps::differences(facts, rules, workings);
    let beneficiaries = match workings.bill {
        Some(_) => steps::beneficiaries(facts, workings.shares()),
        None => Vec::new(),
    };
    let mut explained = Explanation {
        view: View::Admin,
        user_id: Some(facts.user.id().to_owned()),
        request: request_facts(row),
        service: steps::service_step(row, workings),
        tier: workings.tier.as_ref().map(steps::tier_found),
        rules: steps::rules_step(row, rules, workings),
        points: workings
            .earning
            .as_ref()
            .map(|terms| steps::points_step(&row.service, terms)),
        cost: workings.bill.as_ref().map(|bill| {
            let is_mainnet = workings.rules.is_mainnet();
            steps::cost_step(&row.service, bill, &workings.amounts, is_mainnet)
        }),
        log: LogStep {
            partition: Some(row.partition),
            position: Some(row.position.clone()),
            log_time: row.log_time,
            behind_ms: row.log_time.0 - row.time.0,
        },
        booking: BookingStep {
            booked_on: row.booked_on,
            booked_late_in: row.booked_late_in,
            month_closes: row.time.month().closes(),
        },
        days,
        completion: row.completion.clone().map(completion_step),
        reversal: reversal_step(facts, &beneficiaries),
        reversal_sent: reversal_sent(facts),
        beneficiaries,
        sums: steps::sums(row, &workings.amounts),
        code: (!differences.is_empty()).then_some(DIFFERS),
        differences,
        text: Vec::new(),
    };
    if explained.code.is_some() {
        tracing::error!(
            event = "explain.differs", user = facts.user.id(), source = row.source, id = row.id, time = %row.time,
            differences = explained.differences.join(" "),
            "the steps of a request come to something other than was posted"
        );
    }
    explained.text = text::sections(&explained);
    explained
}

fn request_facts(row: &UsageRow) -> RequestFacts {
    RequestFacts {
        source: row.source.clone(),
        id: row.id.clone(),
        time: row.time,
        endpoint: row.endpoint.clone(),
        model: row.model.clone(),
        provider_id: row.provider_id.clone(),
        status_code: row.status_code,
        latency_ms: row.latency_ms,
        input_tokens: row.input_tokens,
        output_tokens: row.output_tokens,
        cached_input_tokens: row.cached_input_tokens,
        cache_write_tokens: row.cache_write_tokens,
        reasoning_tokens: row.reasoning_tokens,
        audio_millis: row.audio_millis,
        image_count: row.image_count,
        odd_total: row.is_total_odd,
    }
}

fn completion_step(completion: StoredCompletion) -> CompletionStep {
    let before = completion.before;
    CompletionStep {
        completion: completion.into(),
        provider_before: before.provider_points,
        user_before: Some(before.user_points.to_string()),
        cost_before: Some(before.cost.plus(before.shadow_cost).to_string()),
    }
}

fn reversal_step(facts: &Facts, beneficiaries: &[Beneficiary]) -> Option<ReversalStep> {
    let reversal = facts.row.reversal.clone()?;
    let is_admins = reversal.source == ADMIN_SOURCE;
    let mut recorded = facts.recorded.iter();
    let asked = recorded.find(|asked| is_admins && asked.key == reversal.id);
    let cost = facts.row.cost.plus(facts.row.shadow_cost);
    Some(ReversalStep {
        reversal: reversal.into(),
        by: asked.map(|asked| asked.by.clone()),
        took_back: beneficiaries.to_vec(),
        cost: Some(cost.to_string()),
    })
}

fn reversal_sent(facts: &Facts) -> Option<ReversalSent> {
    if facts.row.reversal.is_some() {
        return None;
    }
    let first = facts.recorded.first()?;
    Some(ReversalSent {
        key: first.key.clone(),
        reason: first.reason.clone(),
        by: Some(first.by.clone()),
        at: first.at,
    })
}

fn unknown(which: WhichRequest<'_>, now: Millis) -> Refusal {
    let WhichRequest {
        user,
        source,
        id,
        time,
    } = which;
    let what = match time {
        Some(time) => format!("the time {time}"),
        None => format!(
            "a time from {} on (give the time of an older one, or of a user who makes very many)",
            now.plus(-BEHIND_MS_MAX).day()
        ),
    };
    let detail = format!(
        "no request of user {} has the source '{source}', the id '{id}' and {what}. Check all four: ids are case-sensitive, and the \
         time is the event's own, to the millisecond. A new request takes a moment to appear. Requests expire some time after 35 \
         days, and are kept only while request logging is on (pipeline.usage_rows)",
        user.id()
    );
    Refusal::not_found("unknown_request", detail)
}

fn no_service(row: &UsageRow) -> Refusal {
    let detail = format!(
        "the row of this request cannot be explained: its endpoint '{}' is no service's by the rules with which it was rated \
         (entry {} of the control feed); its row, or PricingConfig, was changed or restored",
        row.endpoint, row.control
    );
    Refusal::conflict("row_unreadable", detail)
}

fn unreadable(error: StoreError) -> CommandError {
    match error {
        StoreError::Corrupt { .. } | StoreError::Newer { .. } => {
            let detail = format!("this request cannot be explained: {error}");
            Refusal::conflict("row_unreadable", detail).into()
        }
        error => error.into(),
    }
}
