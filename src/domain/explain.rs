//! How the amounts of one event come about: every step of rating it, with what decided each.
//!
//! The amounts are those of [`rate`]; the steps call the same functions and keep what these pass
//! over.

use super::amount::{Bp, Money, Points};
use super::event::{Service, UsageEvent};
use super::posting::{LEVELS, Slot};
use super::rating::{Amounts, Tariff, Used, cascade, counted_by, is_successful, rate};
use super::rules::{
    EarningTerms, MILLIS_PER_MINUTE, PriceKey, PricedTokens, Rules, ServicePrice, SettingKey,
    TOKENS_PER_UNIT, Timeline, TokenKind, TokenPrices, Unit, floored, per_unit,
};
use super::semantics::Semantics;
use super::tier::{Detection, RecognisedModel, Tier};
use super::time::Millis;

/// Every step of rating one event.
#[derive(Clone, Debug)]
pub struct Workings<'r> {
    /// The service.
    pub service: Service,
    /// How the path of its endpoint ends.
    pub ending: &'r str,
    /// The tier of its model, and what told it; `None` where no tier decides anything.
    pub tier: Option<TierStep>,
    /// The rules that were in force.
    pub rules: &'r Rules,
    /// Since when, in event time; `None`: from the beginning.
    pub rules_since: Option<Millis>,
    /// The factors of its points; `None`: it earns nothing, because it was not successful.
    pub earning: Option<EarningTerms>,
    /// Its cost by the prices of mainnet; `None`: it costs nothing, because it was not successful.
    pub bill: Option<Bill>,
    /// What it earns and costs.
    pub amounts: Amounts,
    /// What the referrers of its user get, the nearest first, if there are so many.
    pub user_cascade: [Points; LEVELS],
    /// The same of its provider.
    pub provider_cascade: [Points; LEVELS],
    /// Where it is booked.
    pub slot: Slot,
}

/// How the tier of a model was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TierStep {
    /// Its name says it.
    Recognised(RecognisedModel),
    /// Nothing recognises its name.
    Unrecognised,
    /// The event names no model.
    NoModel,
}

impl TierStep {
    /// The tier.
    pub const fn tier(&self) -> Tier {
        match self {
            TierStep::Recognised(model) => model.tier,
            TierStep::Unrecognised | TierStep::NoModel => Tier::TidePool,
        }
    }
}

/// What a request costs by the prices of mainnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Where the prices are from.
    pub source: PriceSource,
    /// Each rounded down once.
    pub lines: Vec<BillLine>,
    /// Their sum.
    pub total: Money,
}

/// Where prices are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceSource {
    /// The entry of `rules.modelPrices` with this name or pattern.
    Model(String),
    /// The prices of a tier.
    Tier(Tier),
    /// The price of one key.
    Key(PriceKey),
    /// The service's own, in `rules.services`.
    Service,
    /// The rules have no price for it.
    Nowhere,
}

/// Products that are added and rounded down once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// What is multiplied.
    pub items: Vec<BillItem>,
    /// How much one price is for.
    pub unit: u64,
    /// `floor(Σ count × price / unit)`.
    pub amount: Money,
}

/// So much of something, and its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillItem {
    /// What.
    pub what: Billed,
    /// How much.
    pub count: u64,
    /// Of [`BillLine::unit`] of them.
    pub price: Money,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billed {
    /// Tokens of one kind.
    Tokens(TokenKind),
    /// Milliseconds of audio.
    AudioMillis,
    /// Requests.
    Requests,
    /// Images.
    Images,
}

/// The steps of rating an event that came at this log time, under the rules as of the control
/// position of `timeline`. `None`: its endpoint is no service's.
pub fn workings<'r>(
    event: &UsageEvent<'_>,
    log_time: Millis,
    timeline: &'r Timeline,
    semantics: Semantics,
) -> Option<Workings<'r>> {
    let (ending, service) = timeline.services().ending_of(&event.endpoint)?;
    let rules: &Rules = timeline.at(event.time);
    let model = rules.detect_for(service, event.model.as_deref(), semantics);
    let amounts = rate(event, service, &model, rules);
    let is_successful = is_successful(event.status);
    let bill = || bill(event, service, &model, rules);
    let day = event.time.day();
    Some(Workings {
        service,
        ending,
        tier: tier_step(event, service, rules, semantics),
        rules,
        rules_since: timeline.since(event.time),
        earning: is_successful
            .then(|| rules.earning_terms(service, model.tier))
            .flatten(),
        bill: is_successful.then(bill),
        user_cascade: cascade(amounts.user, rules.cascade()),
        provider_cascade: cascade(amounts.provider, rules.cascade()),
        amounts,
        slot: Slot::of(day, day.month(), log_time),
    })
}

fn tier_step(
    event: &UsageEvent<'_>,
    service: Service,
    rules: &Rules,
    semantics: Semantics,
) -> Option<TierStep> {
    if !rules.depends_on_tier(service) {
        return None;
    }
    let Some(model) = event.model.as_deref() else {
        return Some(TierStep::NoModel);
    };
    let recognised = rules.recognise(model, semantics);
    Some(recognised.map_or(TierStep::Unrecognised, TierStep::Recognised))
}

fn bill(event: &UsageEvent<'_>, service: Service, model: &Detection, rules: &Rules) -> Bill {
    let used = Used::by(event);
    let tariff = Tariff::of(service, model, rules);
    let lines = lines(tariff, used);
    let entry = || {
        let entry = event.model.as_deref().and_then(|m| rules.model_price(m));
        entry.map_or_else(String::new, |entry| entry.name().to_owned())
    };
    Bill {
        source: match tariff {
            Tariff::Model(_) | Tariff::ModelInput(_) => PriceSource::Model(entry()),
            Tariff::Tier(_) => PriceSource::Tier(model.tier),
            Tariff::Key(key, _) => PriceSource::Key(key),
            Tariff::Service(_) => PriceSource::Service,
            Tariff::Free => PriceSource::Nowhere,
        },
        total: lines
            .iter()
            .fold(Money::ZERO, |sum, line| sum.plus(line.amount)),
        lines,
    }
}

/// The lines of a bill; [`Tariff::cost`] is their sum.
fn lines(tariff: Tariff<'_>, used: Used) -> Vec<BillLine> {
    match tariff {
        Tariff::Model(prices) | Tariff::Tier(prices) => {
            vec![went_in(prices, used), came_out(prices, used)]
        }
        Tariff::ModelInput(prices) => vec![went_in(prices, used)],
        Tariff::Key(key, price) => {
            let (count, unit) = counted_by(key, used);
            let what = match key.unit() {
                Unit::ThousandTokens => Billed::Tokens(TokenKind::Input),
                Unit::Minute => Billed::AudioMillis,
                Unit::Request => Billed::Requests,
            };
            vec![single(what, count, price, unit)]
        }
        Tariff::Service(price) => lines_of_service(price, used),
        Tariff::Free => Vec::new(),
    }
}

fn went_in(prices: &TokenPrices, used: Used) -> BillLine {
    tokens_line(&prices.went_in(used.tokens))
}

fn came_out(prices: &TokenPrices, used: Used) -> BillLine {
    tokens_line(&prices.came_out(used.tokens))
}

fn tokens_line(tokens: &[PricedTokens]) -> BillLine {
    let is_plain = |kind| matches!(kind, TokenKind::Input | TokenKind::Output);
    let shown = tokens
        .iter()
        .filter(|(kind, count, _)| *count > 0 || is_plain(*kind));
    let item = |(kind, count, price): &PricedTokens| BillItem {
        what: Billed::Tokens(*kind),
        count: *count,
        price: *price,
    };
    BillLine {
        items: shown.map(item).collect(),
        unit: TOKENS_PER_UNIT,
        amount: floored(tokens),
    }
}

fn lines_of_service(price: ServicePrice, used: Used) -> Vec<BillLine> {
    match price {
        ServicePrice::Tokens { input, output } => {
            let tokens = used.tokens;
            [
                (TokenKind::Input, tokens.input, input),
                (TokenKind::Output, tokens.output, output),
            ]
            .map(|(kind, count, price)| single(Billed::Tokens(kind), count, price, TOKENS_PER_UNIT))
            .into()
        }
        ServicePrice::Request(price) => vec![single(Billed::Requests, 1, price, 1)],
        ServicePrice::AudioMinute(price) => vec![single(
            Billed::AudioMillis,
            used.audio_millis,
            price,
            MILLIS_PER_MINUTE,
        )],
        ServicePrice::Image(price) => vec![single(Billed::Images, used.image_count, price, 1)],
    }
}

fn single(what: Billed, count: u64, price: Money, unit: u64) -> BillLine {
    BillLine {
        items: vec![BillItem { what, count, price }],
        unit,
        amount: per_unit(count, price, unit),
    }
}

impl Workings<'_> {
    /// The keys of the rules that decided the amounts.
    pub fn keys(&self) -> Vec<SettingKey> {
        let mut keys = vec![SettingKey::Mainnet];
        if self.tier.is_some() {
            keys.push(SettingKey::Catalogue);
        }
        let is_of_class = |terms: &EarningTerms| terms.class.is_some();
        if self.earning.as_ref().is_none_or(is_of_class) {
            keys.extend([SettingKey::Points, SettingKey::Demand]);
        }
        keys.extend([SettingKey::Season, SettingKey::Shares]);
        match self.bill.as_ref().map(|bill| &bill.source) {
            Some(PriceSource::Model(_)) => keys.push(SettingKey::ModelPrices),
            Some(PriceSource::Tier(tier)) => {
                let of_tier = [
                    PriceKey::input(*tier),
                    PriceKey::cached_input(*tier),
                    PriceKey::cache_write(*tier),
                    PriceKey::output(*tier),
                    PriceKey::reasoning(*tier),
                ];
                keys.extend(of_tier.map(SettingKey::Price));
            }
            Some(PriceSource::Key(key)) => keys.push(SettingKey::Price(*key)),
            Some(PriceSource::Service | PriceSource::Nowhere) | None => {}
        }
        if !self.service.is_default() {
            keys.push(SettingKey::Services);
        }
        keys
    }

    /// The share of an amount that goes to the referrer at each level.
    pub fn shares(&self) -> [Bp; LEVELS] {
        self.rules.cascade()
    }
}
