//! From the workings of the rules to the steps that are shown. Pure.

use super::shares::{Beneficiary, Floored};
use super::view::{
    CostItem, CostLine, CostStep, PointsStep, RuleUsed, RulesStep, SeasonStep, ServiceDemand,
    ServiceStep, SumLine, TierFound,
};
use super::{Chain, Facts};
use crate::app::queries::rules_cache::RulesAsOf;
use crate::domain::amount::{BP_ONE, Bp, Points};
use crate::domain::explain::{Bill, Billed, PriceSource, TierStep, Workings};
use crate::domain::ids::Account;
use crate::domain::posting::{LEVELS, Slot};
use crate::domain::rating::{Amounts, cascade};
use crate::domain::rules::{EarningTerms, RateClass, TokenKind};
use crate::domain::tier::TierEvidence;
use crate::store::usage_list::{StoredCompletion, UsageRow};

/// What `base × demand × season` is divided by.
const BP_SQUARED: u64 = BP_ONE as u64 * BP_ONE as u64;

pub(super) fn service_step(row: &UsageRow, workings: &Workings<'_>) -> ServiceStep {
    ServiceStep {
        name: row.service.clone(),
        ending: workings.ending.to_owned(),
        successful: workings.bill.is_some(),
    }
}

pub(super) fn tier_found(step: &TierStep) -> TierFound {
    let mut found = TierFound {
        tier: step.tier().as_str(),
        by: "default",
        recognised_as: None,
        pattern: None,
        pattern_place: None,
        million_parameters: None,
        four_bit_mark: None,
    };
    let model = match step {
        TierStep::Recognised(model) => model,
        TierStep::Unrecognised => return found,
        TierStep::NoModel => {
            found.by = "no_model";
            return found;
        }
    };
    found.recognised_as = Some(model.name.clone());
    match &model.evidence {
        TierEvidence::Name => found.by = "name",
        TierEvidence::Pattern { pattern, place } => {
            found.by = "pattern";
            found.pattern = Some(pattern.clone());
            found.pattern_place = Some(*place);
        }
        TierEvidence::Size { millions, four_bit } => {
            found.by = "size";
            found.million_parameters = Some(*millions);
            found.four_bit_mark.clone_from(four_bit);
        }
    }
    found
}

pub(super) fn rules_step(row: &UsageRow, rules: &RulesAsOf, workings: &Workings<'_>) -> RulesStep {
    let keys = workings.keys();
    let used = rules.versions.iter();
    let used = used.filter(|version| keys.contains(&version.key));
    RulesStep {
        control: row.control,
        newest_change: rules.newest.0,
        since: workings.rules_since,
        versions: used
            .map(|version| RuleUsed {
                key: version.key.name(),
                version: version.number,
                control: version.control.0,
                since: version.since,
            })
            .collect(),
    }
}

pub(super) fn points_step(service: &str, terms: &EarningTerms) -> PointsStep {
    let season = terms.season.as_ref();
    let multiplier = season.map_or(Bp::ONE, |season| season.multiplier);
    let factors = [
        terms.base.0,
        i64::from(terms.demand.0),
        i64::from(multiplier.0),
    ];
    let of_service = |demand: Bp| ServiceDemand {
        demand_bp: demand.0,
        product: floored(
            &[terms.product.0, i64::from(demand.0)],
            BP_ONE.into(),
            terms.provider,
        ),
    };
    let user = [terms.provider.0, i64::from(terms.user_share.0)];
    PointsStep {
        of: terms
            .class
            .map_or_else(|| service.to_owned(), |class| class_name(class).to_owned()),
        base: terms.base,
        demand_bp: terms.demand.0,
        season: season.map(|season| SeasonStep {
            name: season.name.clone(),
            from: season.from,
            to: season.to,
            multiplier_bp: season.multiplier.0,
        }),
        product: floored(&factors, BP_SQUARED, terms.product),
        service_demand: terms.service_demand.map(of_service),
        provider: terms.provider,
        user_share_bp: Some(terms.user_share.0),
        user: Some(floored(&user, BP_ONE.into(), terms.user)),
    }
}

const fn class_name(class: RateClass) -> &'static str {
    class.as_str()
}

/// `points` is the product of the factors, divided and rounded down.
fn floored(factors: &[i64], divisor: u64, points: Points) -> Floored {
    let product: i128 = factors.iter().map(|factor| i128::from(*factor)).product();
    let remainder = product - i128::from(points.0) * i128::from(divisor);
    Floored {
        factors: factors.to_vec(),
        divisor,
        remainder: u64::try_from(remainder).unwrap_or(0),
        points,
    }
}

pub(super) fn cost_step(
    service: &str,
    bill: &Bill,
    amounts: &Amounts,
    is_mainnet: bool,
) -> CostStep {
    let (prices_of, name) = match &bill.source {
        PriceSource::Model(entry) => ("model", entry.clone()),
        PriceSource::Tier(tier) => ("tier", tier.as_str().to_owned()),
        PriceSource::Key(key) => ("key", key.as_str().to_owned()),
        PriceSource::Service => ("service", service.to_owned()),
        PriceSource::Nowhere => ("none", service.to_owned()),
    };
    let lines = bill.lines.iter().map(|line| CostLine {
        items: line
            .items
            .iter()
            .map(|item| CostItem {
                what: billed_name(item.what),
                count: item.count,
                price: item.price,
            })
            .collect(),
        unit: line.unit,
        amount: line.amount,
    });
    CostStep {
        network: if is_mainnet { "mainnet" } else { "testnet" },
        prices_of,
        name,
        lines: lines.collect(),
        cost: amounts.charge.cost,
        shadow_cost: amounts.charge.shadow,
    }
}

const fn billed_name(what: Billed) -> &'static str {
    match what {
        Billed::Tokens(TokenKind::Input) => "input",
        Billed::Tokens(TokenKind::CachedInput) => "cached_input",
        Billed::Tokens(TokenKind::CacheWrite) => "cache_write",
        Billed::Tokens(TokenKind::Output) => "output",
        Billed::Tokens(TokenKind::Reasoning) => "reasoning",
        Billed::AudioMillis => "audio_millis",
        Billed::Requests => "request",
        Billed::Images => "image",
    }
}

/// Everybody who got points, by what was posted: the provider and its referrers, the user and its
/// referrers.
pub(super) fn beneficiaries(facts: &Facts, shares: [Bp; LEVELS]) -> Vec<Beneficiary> {
    let row = &facts.row;
    let provider = facts.provider.as_ref();
    let parties = [
        provider.map(|provider| (provider, row.provider_points, facts.provider_chain.as_ref())),
        Some((&facts.user, row.user_points, facts.user_chain.as_ref())),
    ];
    let all = parties.into_iter().flatten();
    all.flat_map(|(account, points, chain)| party(account, points, chain, shares))
        .collect()
}

fn party(
    account: &Account,
    points: Points,
    chain: Option<&Chain>,
    shares: [Bp; LEVELS],
) -> Vec<Beneficiary> {
    let role = account.kind.as_str();
    let mut found = vec![Beneficiary {
        role,
        kind: role,
        id: Some(account.id().to_owned()),
        level: None,
        of: None,
        share_bp: None,
        link: None,
        product: None,
        points,
    }];
    let Some(chain) = chain else {
        return found;
    };
    let shared = cascade(points, shares).into_iter().zip(shares);
    let referrers = chain.accounts.iter().zip(shared).zip(1..);
    found.extend(
        referrers.map(|((referrer, (part, share)), level)| Beneficiary {
            role: "referrer",
            kind: referrer.kind.as_str(),
            id: Some(referrer.id().to_owned()),
            level: Some(level),
            of: Some(role),
            share_bp: Some(share.0),
            link: Some(chain.link.0),
            product: Some(floored(&[points.0, share.0.into()], BP_ONE.into(), part)),
            points: part,
        }),
    );
    found
}

pub(super) fn sums(row: &UsageRow, amounts: &Amounts) -> Vec<SumLine> {
    let line = |what, posted: &dyn ToString, computed: &dyn ToString| SumLine {
        what,
        posted: posted.to_string(),
        computed: computed.to_string(),
    };
    vec![
        line("provider", &row.provider_points, &amounts.provider),
        line("user", &row.user_points, &amounts.user),
        line("cost", &row.cost, &amounts.charge.cost),
        line("shadow_cost", &row.shadow_cost, &amounts.charge.shadow),
    ]
}

/// Where the workings come to something other than the row says.
pub(super) fn differences(
    facts: &Facts,
    rules: &RulesAsOf,
    workings: &Workings<'_>,
) -> Vec<String> {
    let row = &facts.row;
    let mut found = Vec::new();
    let mut compare = |what: &str, posted: String, computed: String| {
        if posted != computed {
            found.push(format!(
                "The {what} was posted as {posted}, but these steps come to {computed}."
            ));
        }
    };
    let service = rules.timeline.services().name(workings.service);
    compare("service", row.service.clone(), service.into_owned());
    if let (Some(posted), Some(step)) = (&row.tier, &workings.tier) {
        compare("tier", posted.clone(), step.tier().as_str().to_owned());
    }
    for (what, unit) in [
        ("provider", " points"),
        ("user", " points"),
        ("cost", " USD"),
        ("shadow_cost", " USD"),
    ] {
        let lines = sums(row, &workings.amounts);
        for line in lines.into_iter().filter(|line| line.what == what) {
            let name = match what {
                "provider" => "provider's amount",
                "user" => "user's amount",
                "cost" => "cost",
                _ => "cost noted on testnet",
            };
            let [posted, computed] = [line.posted, line.computed].map(|sum| format!("{sum}{unit}"));
            compare(name, posted, computed);
        }
    }
    let booked = |slot: Slot| match slot {
        Slot::Day(day) => format!("day {day}"),
        Slot::Late(month) => format!("late in {month}"),
    };
    let posted = match (row.booked_on, row.booked_late_in) {
        (Some(day), _) => booked(Slot::Day(day)),
        (None, Some(month)) => booked(Slot::Late(month)),
        (None, None) => "nothing".to_owned(),
    };
    compare("booking", posted, booked(workings.slot));
    found
}

/// The accounts whose days count the request, and with how many points. What a completion added
/// late is in no day.
pub(super) fn counted_accounts(facts: &Facts) -> impl Iterator<Item = (&Account, Points)> {
    let row = &facts.row;
    let is_late = |completion: &&StoredCompletion| completion.booked_on.is_none();
    let before = row.completion.as_ref().filter(is_late);
    let [provider_points, user_points] = match before.map(|completion| completion.before) {
        Some(before) => [before.provider_points, before.user_points],
        None => [row.provider_points, row.user_points],
    };
    // One who was not named at first counted nothing on that day.
    let provider = facts.provider.as_ref();
    let provider = provider.filter(|_| before.is_none() || provider_points != Points::ZERO);
    let provider = provider.map(|provider| (provider, provider_points));
    provider.into_iter().chain([(&facts.user, user_points)])
}
