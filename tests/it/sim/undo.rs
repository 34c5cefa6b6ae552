//! What a reversal takes back and what a completion adds, in everybody's statements: the user's, the
//! provider's, and those of three levels of referrers of each.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::time::Millis;

use super::stream::{DAY, HOUR, MINUTE, START, Sent, Shape, Statements, Stream, default_rule, run};
use crate::oracle;

/// When the first request is made: 2026-11-29T22:00:00Z. November closes 98 hours later.
const FIRST: i64 = START + 2 * HOUR;
const NOVEMBER: &str = "2026-11";
const USERS: [&str; 3] = ["ann", "ben", "v1"];
const PROVIDERS: [&str; 2] = ["prov", "plain"];
/// What is asked for: endpoint and model.
const KINDS: [(&str, Option<&str>); 5] = [
    ("/v1/chat/completions", Some("llama-3-8b")),
    ("/v1/chat/completions", Some("llama-3-70b")),
    ("/v1/embeddings", Some("llama-3-8b")),
    ("/v1/tts", None),
    ("/v1/scrape", None),
];
/// How long a request is under way.
const BACK: [i64; 4] = [0, 50 * MINUTE, 26 * HOUR, 6 * DAY];
/// What a first report may leave open.
const LEFT_OPEN: [&str; 6] = [
    "providerId",
    "model",
    "latencyMs",
    "inputTokens",
    "outputTokens",
    "audioMillis",
];

/// A request, and what becomes of it.
#[derive(Clone, Debug)]
struct Draw {
    /// Which pause is before it.
    pause: usize,
    back: usize,
    user: usize,
    provider: Option<usize>,
    kind: usize,
    status: u16,
    latency: Option<u64>,
    tokens: (u64, u64),
    /// A bit for each of [`LEFT_OPEN`].
    open: u8,
    /// It is completed so many requests later.
    completed: Option<usize>,
    /// It is taken back so many requests later, if it succeeded.
    taken: Option<usize>,
}

prop_compose! {
    fn draw()(
        pause in 0usize..4, back in 0usize..4, user in 0usize..3, provider in proptest::option::of(0usize..2),
        kind in 0usize..5, status in prop::sample::select(vec![200u16, 200, 200, 201, 404, 503]),
        latency in proptest::option::of(10u64..9_000), tokens in (0u64..5_000, 0u64..1_000),
        open in 1u8..64, completed in proptest::option::of(0usize..6), taken in proptest::option::of(0usize..8),
    ) -> Draw {
        Draw { pause, back, user, provider, kind, status, latency, tokens, open, completed, taken }
    }
}

/// What is sent of a request, and when.
#[derive(Clone, Debug)]
struct Planned {
    user: &'static str,
    time: i64,
    at: i64,
    /// The first report.
    first: Value,
    /// Everything that is ever known of it.
    whole: Value,
    completed_at: Option<i64>,
    reversal: Value,
    taken_at: Option<i64>,
}

fn text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

fn event(id: &str, draw: &Draw, time: i64) -> Value {
    let (endpoint, model) = KINDS[draw.kind];
    let mut event = json!({
        "requestId": id, "userId": USERS[draw.user], "endpoint": endpoint, "timestamp": text(time),
        "statusCode": draw.status, "inputTokens": draw.tokens.0, "outputTokens": draw.tokens.1,
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            event[name] = value;
        }
    };
    set("model", model.map(Value::from));
    set("providerId", draw.provider.map(|n| PROVIDERS[n].into()));
    set("latencyMs", draw.latency.map(Value::from));
    let audio = (endpoint == "/v1/tts").then(|| (draw.tokens.0 * 20).into());
    set("audioMillis", audio);
    event
}

/// With `is_long` requests go on long after their month has closed; without, no month closes.
fn plan(draws: &[Draw], is_long: bool) -> Vec<Planned> {
    let (pauses, days_max) = match is_long {
        true => ([0, 0, DAY, 5 * DAY], 24),
        false => ([0, 0, 0, DAY], 4),
    };
    let mut at = FIRST;
    let times: Vec<i64> = draws
        .iter()
        .map(|draw| {
            let later = at + pauses[draw.pause];
            if later < FIRST + days_max * DAY {
                at = later;
            }
            at += 1_000;
            at
        })
        .collect();
    let last = draws.len() - 1;
    let planned = |(n, draw): (usize, &Draw)| {
        let (at, user) = (times[n], USERS[draw.user]);
        let (id, time) = (format!("r-{n}"), at - BACK[draw.back]);
        let whole = event(&id, draw, time);
        let mut first = whole.clone();
        if draw.completed.is_some() {
            let open = LEFT_OPEN.iter().enumerate();
            for (_, name) in open.filter(|(bit, _)| (draw.open >> *bit) & 1 == 1) {
                first.as_object_mut().unwrap().remove(*name);
            }
        }
        let completed = draw.completed.map(|later| (n + later).min(last));
        let taken = draw.taken.filter(|_| draw.status < 300);
        let taken = taken.map(|later| (n + later).min(last).max(completed.unwrap_or(0)));
        let reversal = json!({
            "specversion": "1.0", "type": "tidemark.reversal.v1", "source": "gw", "id": format!("take-{n}"),
            "subject": user, "data": {"source": "plain", "id": id, "time": text(time)},
        });
        Planned {
            user,
            time,
            at,
            first,
            whole,
            completed_at: completed.map(|place| times[place] + 300),
            reversal,
            taken_at: taken.map(|place| times[place] + 600),
        }
    };
    draws.iter().enumerate().map(planned).collect()
}

impl Planned {
    /// Whether the month of the request has closed by then.
    fn is_late(&self, at: i64) -> bool {
        Millis(at) > Millis(self.time).month().closes()
    }

    /// As it is sent: the first report, the completion, the reversal. What comes at a moment that
    /// `counts` does not hold for is left out.
    fn as_sent(&self, counts: impl Fn(&Planned, i64) -> bool) -> Vec<(i64, Value)> {
        let completion = self.completed_at.map(|at| (at, self.whole.clone()));
        let reversal = self.taken_at.map(|at| (at, self.reversal.clone()));
        let later = [completion, reversal].into_iter().flatten();
        let mut sent = vec![(self.at, self.first.clone())];
        sent.extend(later.filter(|(at, _)| counts(self, *at)));
        sent
    }

    /// As if everything had been known at once.
    fn as_whole(&self) -> Vec<(i64, Value)> {
        let reversal = self.taken_at.map(|at| (at, self.reversal.clone()));
        let mut sent = vec![(self.at, self.whole.clone())];
        sent.extend(reversal);
        sent
    }

    /// As if what was taken back had never been.
    fn as_kept(&self) -> Vec<(i64, Value)> {
        match self.taken_at {
            Some(_) => Vec::new(),
            None => self.as_sent(|_, _| true),
        }
    }
}

/// Everybody's first success with every service comes before: no first-use bonus is in question.
fn warm_up() -> Vec<Sent> {
    let mut sent = Vec::new();
    for (user, name) in USERS.iter().enumerate() {
        for kind in 0..KINDS.len() {
            let at = START + HOUR + sent.len() as i64;
            let draw = Draw {
                pause: 0,
                back: 0,
                user,
                provider: None,
                kind,
                status: 200,
                latency: None,
                tokens: (10, 10),
                open: 0,
                completed: None,
                taken: None,
            };
            sent.push(Sent {
                at,
                user: (*name).to_owned(),
                value: event(&format!("warm-{user}-{kind}"), &draw, at),
            });
        }
    }
    sent
}

fn stream_of(plan: &[Planned], of: impl Fn(&Planned) -> Vec<(i64, Value)>) -> Vec<Sent> {
    let mut sent: Vec<Sent> = plan
        .iter()
        .flat_map(|planned| {
            let user = planned.user.to_owned();
            let sent = of(planned).into_iter();
            sent.map(move |(at, value)| Sent {
                at,
                user: user.clone(),
                value,
            })
        })
        .collect();
    sent.sort_by_key(|sent| sent.at);
    let mut all = warm_up();
    all.extend(sent);
    all
}

/// Everything once more, after the end: what was taken back, and that it was.
fn sent_again(plan: &[Planned]) -> Vec<Sent> {
    let mut all = stream_of(plan, |planned| planned.as_sent(|_, _| true));
    let mut at = all.last().map_or(FIRST, |last| last.at) + 2 * MINUTE;
    for planned in plan.iter().filter(|planned| planned.taken_at.is_some()) {
        for value in [&planned.first, &planned.whole, &planned.reversal] {
            at += 10;
            all.push(Sent {
                at,
                user: planned.user.to_owned(),
                value: value.clone(),
            });
        }
    }
    all
}

fn account(kind: &str, id: &str) -> oracle::Account {
    (kind.to_owned(), id.to_owned())
}

/// `ann` and `prov` have three levels of referrers each; the user `v1` has two, and makes requests, too.
fn links() -> Vec<(oracle::Account, oracle::Account)> {
    let of = |kind: &str, pairs: [(&str, &str); 3]| {
        pairs.map(|(referee, referrer)| (account(kind, referee), account(kind, referrer)))
    };
    let users = of("user", [("v2", "v3"), ("v1", "v2"), ("ann", "v1")]);
    let providers = of("provider", [("q2", "q3"), ("q1", "q2"), ("prov", "q1")]);
    users.into_iter().chain(providers).collect()
}

/// Streaks and quality that show within a few days, and a mainnet that begins after the first of them.
fn rules() -> Vec<(&'static str, Value, i64)> {
    let mut streak = default_rule("rules.streak");
    streak["steps"][0]["days"] = 2.into();
    streak["steps"][1]["days"] = 3.into();
    let mut quality = default_rule("rules.quality");
    quality["minimumRequests"] = 3.into();
    let soon = START + 30 * MINUTE;
    vec![
        ("rules.streak", streak, soon),
        ("rules.quality", quality, soon),
        ("system_mainnet", true.into(), FIRST + DAY - 30 * MINUTE),
    ]
}

fn rated(sent: &[Sent], shape: &Shape) -> Statements {
    let (links, rules) = (links(), rules());
    let stream = Stream {
        links: &links,
        rules: &rules,
        sent,
    };
    run(&stream, shape)
}

/// What a statement says but for zeros, the account and month, and the counts that a reversal leaves;
/// `None`: nothing.
fn without_counts(value: &Value) -> Option<Value> {
    const LEFT_OUT: [&str; 6] = ["requests", "reversed", "final", "kind", "id", "month"];
    match value {
        Value::Object(map) => {
            let counts = map
                .iter()
                .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
            let kept: Map<String, Value> = counts
                .filter_map(|(name, value)| Some((name.clone(), without_counts(value)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Null | Value::Bool(false) => None,
        Value::Number(number) if number.as_i64() == Some(0) => None,
        Value::String(text) if text == "0" => None,
        other => Some(other.clone()),
    }
}

fn uncounted(statements: &Statements) -> Statements {
    let plain = |(of, statement): (&(oracle::Account, String), &Value)| {
        Some((of.clone(), without_counts(statement)?))
    };
    statements.iter().filter_map(plain).collect()
}

/// What requests brought each account in all months together: micropoints, nano-dollars, nano-dollars
/// that mainnet would have charged, successes. Streaks and quality are of days, and left out.
fn sums(statements: &Statements) -> BTreeMap<oracle::Account, [i128; 4]> {
    let mut sums: BTreeMap<oracle::Account, [i128; 4]> = BTreeMap::new();
    for ((account, _), statement) in statements {
        let text = |name: &str| statement[name].as_str().unwrap_or("0");
        let points = |name: &str| i128::from(text(name).parse::<Points>().unwrap().0);
        let money = |name: &str| text(name).parse::<Money>().unwrap().0;
        let of = sums.entry(account.clone()).or_default();
        of[0] += points("usage") + points("base") + points("referral") + points("late");
        of[1] += money("cost");
        of[2] += money("shadowCost");
        of[3] += i128::from(statement["successful"].as_i64().unwrap());
    }
    sums.retain(|_, of| *of != [0; 4]);
    sums
}

fn of_month(statements: &Statements, month: &str) -> Statements {
    let of_month = statements.iter().filter(|((_, of), _)| of == month);
    of_month
        .map(|(of, statement)| (of.clone(), statement.clone()))
        .collect()
}

/// Whether they say the same. A statement of nothing but zeros is as good as none: a referrer's share
/// that came and went may leave a row behind, or not.
fn same(is: &Statements, must: &Statements) -> Result<(), TestCaseError> {
    oracle::same_statements(is, must).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn how_a_stream_falls_into_pieces_matters_to_no_statement(
        draws in proptest::collection::vec(draw(), 1..20), is_long: bool, records in 2usize..9,
    ) {
        let sent = stream_of(&plan(&draws, is_long), |planned| planned.as_sent(|_, _| true));
        let whole = rated(&sent, &Shape::large());
        same(&rated(&sent, &Shape::small()), &whole)?;
        same(&rated(&sent, &Shape::of(records)), &whole)?;
    }

    #[test]
    fn what_is_taken_back_is_as_if_it_had_never_been(
        draws in proptest::collection::vec(draw(), 1..24), is_long: bool, records in 2usize..9,
    ) {
        let (plan, shape) = (plan(&draws, is_long), Shape::of(records));
        let with = rated(&stream_of(&plan, |planned| planned.as_sent(|_, _| true)), &shape);
        let without = rated(&stream_of(&plan, Planned::as_kept), &shape);
        prop_assert_eq!(sums(&with), sums(&without));
        if !is_long {
            // Every month was open: all of it but the counts.
            prop_assert_eq!(uncounted(&with), uncounted(&without));
        }
    }

    #[test]
    fn taking_back_and_sending_again_changes_nothing(
        draws in proptest::collection::vec(draw(), 1..24), is_long: bool, records in 2usize..9,
    ) {
        let (plan, shape) = (plan(&draws, is_long), Shape::of(records));
        let once = rated(&stream_of(&plan, |planned| planned.as_sent(|_, _| true)), &shape);
        same(&rated(&sent_again(&plan), &shape), &once)?;
        same(&rated(&sent_again(&plan), &Shape::small()), &once)?;
    }

    #[test]
    fn what_is_completed_is_as_if_it_had_been_whole_at_first(
        draws in proptest::collection::vec(draw(), 1..24), is_long: bool, records in 2usize..9,
    ) {
        let (plan, shape) = (plan(&draws, is_long), Shape::of(records));
        let completed = rated(&stream_of(&plan, |planned| planned.as_sent(|_, _| true)), &shape);
        let whole = rated(&stream_of(&plan, Planned::as_whole), &shape);
        prop_assert_eq!(sums(&completed), sums(&whole));
        if !is_long {
            same(&completed, &whole)?;
        }
    }

    #[test]
    fn a_month_that_has_closed_stays_as_it_is(
        draws in proptest::collection::vec(draw(), 1..24), records in 2usize..9,
    ) {
        let (plan, shape) = (plan(&draws, true), Shape::of(records));
        let all = rated(&stream_of(&plan, |planned| planned.as_sent(|_, _| true)), &shape);
        let in_time = |planned: &Planned, at| !planned.is_late(at);
        let in_time = rated(&stream_of(&plan, |planned| planned.as_sent(in_time)), &shape);
        same(&of_month(&all, NOVEMBER), &of_month(&in_time, NOVEMBER))?;
    }
}
