//! Which badges accounts must have at the end, and which they may have, from the text of `rules.badges`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::statement::micros;
use super::{Account, Output, Version};

/// What must hold of the badges at the end.
#[derive(Debug, Default)]
pub struct Badges {
    /// Account and id of what must have been granted.
    pub must: BTreeSet<(Account, String)>,
    /// Of what may have been: more, because a streak may have been longer for a while.
    pub may: BTreeSet<(Account, String)>,
}

/// The badges of the newest version in `versions`; of points and ranks those of the months up to
/// `last`, if any month is final. Ranks are known up to `ranks`.
pub fn badges(out: &Output, versions: &[Version], last: Option<&str>, ranks: usize) -> Badges {
    let newest = versions.iter().filter(|v| v.key == "rules.badges");
    let Some(newest) = newest.max_by_key(|version| version.number) else {
        return Badges::default();
    };
    let value: Value = serde_json::from_str(&newest.value).expect("JSON");
    let mut found = Badges::default();
    for badge in value.as_array().expect("a list") {
        let id = badge["id"].as_str().expect("an id").to_owned();
        let (criterion, least) = badge["criterion"]
            .as_object()
            .expect("one")
            .iter()
            .next()
            .expect("one");
        let (must, may) = earned(out, criterion, least, last, ranks);
        let is_for = |account: &Account| {
            badge["kinds"].as_array().is_none_or(|kinds| {
                kinds
                    .iter()
                    .any(|kind| kind.as_str() == Some(account.0.as_str()))
            })
        };
        let is_granted = badge["retired"] != Value::Bool(true);
        let of = |accounts: BTreeSet<Account>| {
            let accounts = accounts.into_iter().filter(is_for);
            accounts
                .map(|account| (account, id.clone()))
                .collect::<Vec<_>>()
        };
        let may = of(may);
        if is_granted {
            found.must.extend(of(must));
        }
        found.may.extend(may);
    }
    found.may.extend(found.must.iter().cloned());
    found
}

/// Who must have reached something, and who may have.
fn earned(
    out: &Output,
    criterion: &str,
    least: &Value,
    last: Option<&str>,
    ranks: usize,
) -> (BTreeSet<Account>, BTreeSet<Account>) {
    let number = || i128::from(least.as_i64().expect("a number"));
    let exactly = |accounts: BTreeSet<Account>| (accounts.clone(), accounts);
    let finals = |month: &str| last.is_some_and(|last| month <= last);
    match criterion {
        "streakDays" => {
            let long = out.streaks.iter().filter(|(_, s)| s.longest >= number());
            let must = long.map(|(account, _)| account.clone()).collect();
            (must, may_have_streaks(out, number()))
        }
        "firstSuccess" => {
            let service = least.as_str().expect("a name");
            let of = out.first_uses.iter().filter(|(_, used)| *used == service);
            exactly(
                of.map(|(user, _)| ("user".to_owned(), user.clone()))
                    .collect(),
            )
        }
        "milestones" => {
            let mut counts: BTreeMap<Account, i128> = BTreeMap::new();
            for (_, referrer, ..) in &out.milestones {
                *counts.entry(referrer.clone()).or_default() += 1;
            }
            counts.retain(|_, count| *count >= number());
            exactly(counts.into_keys().collect())
        }
        "monthPoints" | "lifePoints" => {
            let least = micros(least);
            let mut sums: BTreeMap<Account, i128> = BTreeMap::new();
            let mut reached = BTreeSet::new();
            // Months of one account come in order.
            for ((account, month), statement) in &out.statements {
                if !finals(month) {
                    continue;
                }
                let sum = sums.entry(account.clone()).or_default();
                let total = micros(&statement["total"]);
                *sum = total + if criterion == "lifePoints" { *sum } else { 0 };
                if *sum >= least {
                    reached.insert(account.clone());
                }
            }
            exactly(reached)
        }
        "monthRank" => {
            let worst = usize::try_from(number()).expect("a rank");
            let months: BTreeSet<&str> = out.statements.keys().map(|(_, m)| m.as_str()).collect();
            let best = |most: usize| {
                let mut reached = BTreeSet::new();
                for month in months.iter().filter(|month| finals(month)) {
                    for kind in ["user", "provider"] {
                        let best = out.leaderboard(kind, month, most);
                        let best = best.into_iter().filter(|(_, total)| *total > 0);
                        reached.extend(best.map(|(id, _)| (kind.to_owned(), id)));
                    }
                }
                reached
            };
            // Short lists may happen to know more than they must.
            (best(worst.min(ranks)), best(worst))
        }
        other => panic!("no criterion {other}"),
    }
}

/// Who may have had so many active days in a row at some moment: reversals and failures may have taken
/// days away since. Of providers it is only known on which days anything was served.
fn may_have_streaks(out: &Output, least: i128) -> BTreeSet<Account> {
    const DAY: i64 = 86_400_000;
    let mut days: BTreeMap<Account, BTreeSet<i64>> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for event in out.accepted.iter().filter(|event| event.user_points > 0) {
        let day = event.time.div_euclid(DAY);
        all.insert(day);
        days.entry(("user".to_owned(), event.user.clone()))
            .or_default()
            .insert(day);
    }
    let providers = out.statements.keys().map(|(account, _)| account);
    for provider in providers.filter(|account| account.0 == "provider") {
        days.insert(provider.clone(), all.clone());
    }
    let longest = |days: &BTreeSet<i64>| {
        let (mut run, mut best, mut before) = (0, 0, None);
        for day in days {
            run = if before == Some(day - 1) { run + 1 } else { 1 };
            best = best.max(run);
            before = Some(*day);
        }
        best
    };
    days.retain(|_, days| longest(days) >= least);
    days.into_keys().collect()
}
