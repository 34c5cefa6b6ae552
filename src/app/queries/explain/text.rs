//! An explanation in plain sentences: the same for the command line, the pages and the API.

use super::after_text::{booking, completion, days, log, reversal};
use super::shares::{Beneficiary, Floored};
use super::view::{
    CostItem, CostLine, CostStep, Explanation, PointsStep, Section, TierFound, View,
};
use crate::app::words::{decimal, grouped, in_points, noun_of, percent, times};
use crate::domain::amount::{Bp, Points};

/// All sections, in the order of rating.
pub(super) fn sections(of: &Explanation) -> Vec<Section> {
    let all = [
        ("Request", request(of)),
        ("Service", service(of)),
        ("Tier", of.tier.as_ref().map_or_else(Vec::new, tier)),
        ("Rules", rules(of)),
        ("Points", points(of)),
        ("Who got points", beneficiaries(of)),
        ("Cost", cost(of)),
        ("Counted once", log(of)),
        ("Where it was booked", booking(of)),
        ("What the day does with it", days(of)),
        ("Completion", completion(of)),
        ("Reversal", reversal(of)),
        ("Sums", sums(of)),
    ];
    let section = |(title, sentences): (&'static str, Vec<String>)| Section { title, sentences };
    let sections = all.into_iter().map(section);
    sections
        .filter(|section| !section.sentences.is_empty())
        .collect()
}

fn request(of: &Explanation) -> Vec<String> {
    let facts = &of.request;
    let user = of
        .user_id
        .as_ref()
        .map_or_else(String::new, |user| format!(" by user {user}"));
    let mut said = vec![
        format!(
            "Request {} of {} was made at {}{user}.",
            facts.id, facts.source, facts.time
        ),
        {
            let model = match &facts.model {
                Some(model) => format!("the model {model}"),
                None => "no model".to_owned(),
            };
            let provider = match &facts.provider_id {
                Some(provider) => format!("provider {provider}"),
                None => "a provider that was not named".to_owned(),
            };
            let latency = facts
                .latency_ms
                .map_or_else(String::new, |ms| format!(" after {ms} ms"));
            format!(
                "It called {} with {model}; {provider} answered with status {}{latency}.",
                facts.endpoint, facts.status_code
            )
        },
    ];
    let counts = [
        ("input tokens", facts.input_tokens),
        ("of them from a cache", facts.cached_input_tokens),
        ("of them written to a cache", facts.cache_write_tokens),
        ("output tokens", facts.output_tokens),
        ("of them for reasoning", facts.reasoning_tokens),
        ("ms of audio", facts.audio_millis),
        ("images", facts.image_count),
    ];
    let known: Vec<String> = counts
        .iter()
        .filter_map(|(what, count)| count.map(|count| format!("{} {what}", grouped(count.into()))))
        .collect();
    let is_by_request = |cost: &CostStep| {
        let mut items = cost.lines.iter().flat_map(|line| &line.items);
        items.all(|item| item.what == "request")
    };
    if known.is_empty() && of.cost.as_ref().is_some_and(is_by_request) {
        return said;
    }
    said.push(match known.is_empty() {
        true => "The gateway reported no usage, which is unknown rather than zero; what is unknown is not charged.".to_owned(),
        false => format!("The gateway reported {}.", known.join(", ")),
    });
    if facts.odd_total {
        said.push(
            "The gateway's total of tokens is not the sum of its parts. The parts were counted."
                .to_owned(),
        );
    }
    said
}

fn service(of: &Explanation) -> Vec<String> {
    let (name, ending, status) = (&of.service.name, &of.service.ending, of.request.status_code);
    let found = format!("The path of its endpoint ends with {ending}, so the service is {name}.");
    let outcome = match of.service.successful {
        true => {
            format!("Status {status} is a success (200 to 299), so the request earns and costs.")
        }
        false => format!(
            "Status {status} is not a success (200 to 299), so the request is recorded, and earns and costs nothing."
        ),
    };
    vec![found, outcome]
}

fn tier(found: &TierFound) -> Vec<String> {
    let tier = found.tier;
    let name = found.recognised_as.as_deref().unwrap_or_default();
    vec![match found.by {
        "name" => format!("The catalogue lists the model {name} in tier {tier}."),
        "pattern" => format!(
            "Tier {tier}: the model {name} matches the pattern {} of the catalogue, which is number {} and the first that matches.",
            found.pattern.as_deref().unwrap_or_default(),
            found.pattern_place.unwrap_or_default()
        ),
        "size" => {
            let size = decimal(found.million_parameters.unwrap_or_default(), 1_000);
            let mark = found.four_bit_mark.as_ref();
            let mark = mark.map_or_else(String::new, |mark| {
                format!(", with the four-bit mark {mark}")
            });
            format!("Tier {tier}: the name {name} gives a size of {size} billion parameters{mark}.")
        }
        "no_model" => format!("Tier {tier}, the lowest: the event names no model."),
        _ => format!(
            "Tier {tier}, the lowest: the catalogue has no name and no pattern for this model, and its name gives no size."
        ),
    }]
}

fn rules(of: &Explanation) -> Vec<String> {
    let rules = &of.rules;
    let since = match rules.since {
        Some(since) => format!("since {since}"),
        None => "from the beginning".to_owned(),
    };
    let seen = format!(
        "The request was rated as of entry {} of the control feed; the rules had last been changed by entry {}. What was published later does not count for it.",
        rules.control, rules.newest_change
    );
    let in_force = format!("The rules in force at the time of the request apply {since}.");
    let versions: Vec<String> = rules
        .versions
        .iter()
        .map(|used| format!("{} version {}", used.key, used.version))
        .collect();
    vec![seen, in_force, format!("Used: {}.", versions.join(", "))]
}

fn base_points(base: Points) -> String {
    format!("{base} base {}", noun_of(base))
}

fn points(of: &Explanation) -> Vec<String> {
    of.points.as_ref().map_or_else(Vec::new, |step| {
        let mut said = vec![
            format!("{}: {}.", step.of, base_points(step.base)),
            format!("Demand {}.", times(Bp(step.demand_bp))),
        ];
        said.push(match &step.season {
            None => "No season.".to_owned(),
            Some(season) => format!(
                "Season {} ({} to {}): {}.",
                season.name,
                season.from,
                season.to,
                times(Bp(season.multiplier_bp))
            ),
        });
        said.push(format!(
            "Base × demand × season, in millionths of a point: {}.",
            product(&step.product)
        ));
        said.extend(after_product(step));
        said
    })
}

fn after_product(step: &PointsStep) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(own) = &step.service_demand {
        said.push(format!(
            "The service's own demand {}: {}.",
            times(Bp(own.demand_bp)),
            product(&own.product)
        ));
    }
    said.push(format!(
        "So the provider's amount is {}.",
        in_points(step.provider)
    ));
    if let (Some(share), Some(user)) = (step.user_share_bp, &step.user) {
        said.push(format!(
            "The user's share of that is {}: {}, which is {}.",
            percent(share.into()),
            product(user),
            in_points(user.points)
        ));
    }
    said
}

/// `3,000,000 × 12,500 × 15,000 ÷ 100,000,000 = 5,625,000`.
fn product(floored: &Floored) -> String {
    let factors: Vec<String> = floored
        .factors
        .iter()
        .map(|factor| grouped(i128::from(*factor)))
        .collect();
    let factors = factors.join(" × ");
    let (divisor, result) = (
        grouped(floored.divisor.into()),
        grouped(floored.points.0.into()),
    );
    match floored.remainder {
        0 => format!("{factors} ÷ {divisor} = {result}"),
        rest => format!(
            "{factors} ÷ {divisor} = {result} (rounded down; {}/{divisor} is dropped)",
            grouped(rest.into())
        ),
    }
}

fn beneficiaries(of: &Explanation) -> Vec<String> {
    if of.beneficiaries.is_empty() {
        return Vec::new();
    }
    let mut said: Vec<String> = Vec::new();
    if of.view != View::Provider && of.request.provider_id.is_none() {
        said.push("No provider was named, so nobody gets the provider's amount.".to_owned());
    }
    for role in ["provider", "user"] {
        let own = |of: &&Beneficiary| of.role == role;
        let Some(account) = of.beneficiaries.iter().find(own) else {
            continue;
        };
        said.push(line(account));
        let referrers = of.beneficiaries.iter().filter(|b| b.of == Some(role));
        let before = said.len();
        said.extend(referrers.map(line));
        if said.len() == before {
            said.push(format!(
                "At that time nobody had referred the {role}, so no share of this goes to referrers."
            ));
        }
    }
    said
}

/// Who gets what.
fn line(of: &Beneficiary) -> String {
    match &of.product {
        Some(part) => format!(
            "{}: {} of that, {}, which is {}.",
            of.title(),
            percent(of.share_bp.unwrap_or_default().into()),
            product(part),
            in_points(of.points)
        ),
        None => format!("{}: {}.", of.title(), in_points(of.points)),
    }
}

fn cost(of: &Explanation) -> Vec<String> {
    let Some(cost) = &of.cost else {
        return Vec::new();
    };
    let mut said = vec![match cost.prices_of {
        "model" => format!(
            "The model has prices of its own: entry {} of rules.modelPrices.",
            cost.name
        ),
        "tier" => format!(
            "The model has no prices of its own, so those of its tier {} count.",
            cost.name
        ),
        "key" => format!("The price is that of the key {}.", cost.name),
        "service" => format!(
            "The price is that of the service {} in rules.services.",
            cost.name
        ),
        _ => "The rules have no price for this service.".to_owned(),
    }];
    said.extend(cost.lines.iter().map(cost_line));
    said.push(network(cost));
    said
}

fn cost_line(line: &CostLine) -> String {
    let unit = |item: &CostItem| match item.what {
        "audio_millis" => "60,000 ms".to_owned(),
        "request" | "image" => format!("1 {}", item.what),
        _ => format!("{} tokens", grouped(line.unit.into())),
    };
    let items: Vec<String> = line
        .items
        .iter()
        .map(|item| {
            let count = grouped(item.count.into());
            let what = match item.what {
                "input" => "input tokens",
                "cached_input" => "input tokens from a cache",
                "cache_write" => "input tokens written to a cache",
                "output" => "output tokens",
                "reasoning" => "reasoning tokens",
                "audio_millis" => "ms of audio",
                "request" => "request",
                _ => "images",
            };
            format!("{count} {what} at {} USD for {}", item.price, unit(item))
        })
        .collect();
    let exact = is_exact(line);
    let rounded = if exact {
        ""
    } else {
        ", rounded down to a billionth"
    };
    format!("{}: {} USD{rounded}.", items.join(" + "), line.amount)
}

fn is_exact(line: &CostLine) -> bool {
    let product = |item: &CostItem| i128::from(item.count).saturating_mul(item.price.0);
    let sum = line.items.iter().map(product).fold(0, i128::saturating_add);
    sum % i128::from(line.unit) == 0
}

fn network(cost: &CostStep) -> String {
    match cost.network {
        "mainnet" => format!(
            "The rules say mainnet, so the user was charged {} USD.",
            cost.cost
        ),
        _ => format!(
            "The rules say testnet, so the user was charged nothing. Mainnet would have charged {} USD, which is noted.",
            cost.shadow_cost
        ),
    }
}

fn sums(of: &Explanation) -> Vec<String> {
    let mut said: Vec<String> = of
        .sums
        .iter()
        .map(|sum| {
            let (what, unit) = match sum.what {
                "provider" => ("Provider's amount", "points"),
                "user" => ("User's amount", "points"),
                "cost" => ("Charged", "USD"),
                _ => ("Noted on testnet", "USD"),
            };
            format!(
                "{what}: posted {} {unit}, by these steps {} {unit}.",
                sum.posted, sum.computed
            )
        })
        .collect();
    if of.code.is_some() {
        said.push("THESE STEPS DIFFER FROM WHAT WAS POSTED (explanation_differs). Tell an operator: this is a fault of tidemark, or a row was changed by hand.".to_owned());
        said.extend(of.differences.iter().cloned());
    } else {
        said.push("The steps come to exactly what was posted.".to_owned());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::{Points, base_points};

    #[test]
    fn one_point_is_not_points() {
        let cases = [
            ("0 base points", Points::ZERO),
            ("0.5 base points", Points(500_000)),
            ("1 base point", Points::whole(1)),
            ("1.5 base points", Points(1_500_000)),
            ("15 base points", Points::whole(15)),
        ];
        for (expected, points) in cases {
            assert_eq!(base_points(points), expected);
        }
    }
}
