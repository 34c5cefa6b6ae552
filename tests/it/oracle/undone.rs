//! Reversal and completion, as the rules document has them (sections 9 and 10): amounts that were worked
//! out by hand. Each case is rated by the pipeline as well as by the oracle; they must agree, and say
//! what its rows say.
//!
//! The user `u` was referred by `v`, who was by `w`, who was by `x`; the provider `p` by `q`, `r` and
//! `s`. Referrers get 20 %, 10 % and 5 %. A request of `llama-3-70b` brings `p` 15 points and `u` 10 % of
//! that, one of `llama-3-8b` brings 3.

use serde_json::{Value, json};

use super::Account;
use crate::sim::stream::{DAY, HOUR, START, Sent, Shape, Stream, default_rule, run};

/// 2026-11-29T22:00:00Z. November closes at the beginning of 4 December.
const NIGHT: i64 = START + 2 * HOUR;
/// 2026-12-05T22:00:00Z.
const LATE: i64 = NIGHT + 6 * DAY;
const SECOND: i64 = 1_000;
const NOV: &str = "2026-11";
const DEC: &str = "2026-12";

const U: (&str, &str) = ("user", "u");
const V: (&str, &str) = ("user", "v");
const W: (&str, &str) = ("user", "w");
const X: (&str, &str) = ("user", "x");
const P: (&str, &str) = ("provider", "p");
const Q: (&str, &str) = ("provider", "q");
const R: (&str, &str) = ("provider", "r");
const S: (&str, &str) = ("provider", "s");

/// Whose statement of which month says what, at which place.
type Row = (
    (&'static str, &'static str),
    &'static str,
    &'static str,
    &'static str,
);

/// A key of rules, its value, and from when on.
type Rule = (&'static str, Value, i64);

fn mainnet() -> Vec<Rule> {
    vec![("system_mainnet", true.into(), START + HOUR)]
}

/// A multiplier of a tier, in basis points, from a moment on.
fn demand(tier: &str, multiplier: i64, from: i64) -> Vec<Rule> {
    let mut demand = default_rule("rules.demand");
    demand[tier] = multiplier.into();
    vec![("rules.demand", demand, from)]
}

fn text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .expect("near the present")
        .to_string()
}

/// A successful chat call of `u` at [`NIGHT`], with what `change` says instead; null leaves it open.
fn call(id: &str, change: Value) -> Value {
    let mut event = json!({
        "requestId": id, "userId": "u", "providerId": "p", "endpoint": "/v1/chat/completions",
        "model": "llama-3-70b", "timestamp": text(NIGHT), "statusCode": 200,
    });
    for (name, value) in change.as_object().expect("an object") {
        event[name] = value.clone();
    }
    event
}

/// The request `of` is taken back.
fn reversal(id: &str, of: &Value) -> Value {
    json!({
        "specversion": "1.0", "type": "tidemark.reversal.v1", "source": "gw", "id": id, "subject": "u",
        "data": {"source": "plain", "id": of["requestId"], "time": of["timestamp"]},
    })
}

fn sent(records: Vec<(i64, Value)>) -> Vec<Sent> {
    let record = |(at, value)| Sent {
        at,
        user: "u".to_owned(),
        value,
    };
    records.into_iter().map(record).collect()
}

fn links() -> Vec<(Account, Account)> {
    let pairs = [(W, X), (V, W), (U, V), (R, S), (Q, R), (P, Q)];
    let owned = |(kind, id): (&str, &str)| (kind.to_owned(), id.to_owned());
    pairs.map(|(of, by)| (owned(of), owned(by))).to_vec()
}

/// What everybody's statements say of these records. A statement, a day or a service that is not there
/// says 0.
#[track_caller]
fn check(name: &str, rules: &[Rule], records: Vec<(i64, Value)>, rows: &[Row]) {
    let (links, sent) = (links(), sent(records));
    let stream = Stream {
        links: &links,
        rules,
        sent: &sent,
    };
    for shape in [Shape::large(), Shape::small()] {
        let statements = run(&stream, &shape);
        for ((kind, id), month, place, want) in rows {
            let of = ((*kind).to_owned(), (*id).to_owned());
            let statement = statements.get(&(of, (*month).to_owned()));
            let said = match statement.and_then(|statement| statement.pointer(place)) {
                None | Some(Value::Null) => "0".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            assert_eq!(said, *want, "{name}: {kind} {id} {month} {place}");
        }
    }
}

/// As [`check`], and that all statements are those of the records in `whole`, in which the completed
/// content comes first.
#[track_caller]
fn check_completed(
    name: &str,
    rules: &[Rule],
    records: Vec<(i64, Value)>,
    whole: Vec<(i64, Value)>,
    rows: &[Row],
) {
    let links = links();
    let of = |records| {
        let sent = sent(records);
        let stream = Stream {
            links: &links,
            rules,
            sent: &sent,
        };
        run(&stream, &Shape::large())
    };
    let same = super::same_statements(&of(records.clone()), &of(whole));
    assert_eq!(same, Ok(()), "{name}");
    check(name, rules, records, rows);
}

#[test]
fn what_is_not_taken_back() {
    let one = call("1", json!({"inputTokens": 1_000, "outputTokens": 500}));
    // 1,000 × $0.0040 / 1,000 + 500 × $0.0080 / 1,000 = $0.004 + $0.004.
    check(
        "one request",
        &mainnet(),
        vec![(NIGHT, one)],
        &[
            (P, NOV, "/base", "15"),
            (Q, NOV, "/referral", "3"),
            (R, NOV, "/referral", "1.5"),
            (S, NOV, "/referral", "0.75"),
            (U, NOV, "/usage", "1.5"),
            (U, NOV, "/trial", "5"),
            (U, NOV, "/cost", "0.008"),
            (V, NOV, "/referral", "0.3"),
            (W, NOV, "/referral", "0.15"),
            (X, NOV, "/referral", "0.075"),
            (P, NOV, "/reversed", "0"),
        ],
    );
    // The seventh active day in a row adds 10 %: 15 × 0.1 and 1.5 × 0.1.
    check(
        "seven days",
        &[],
        seven_days(),
        &[
            (P, DEC, "/base", "75"),
            (P, DEC, "/streak", "1.5"),
            (P, DEC, "/days/2026-12-05/streak", "7"),
            (U, DEC, "/usage", "7.5"),
            (U, DEC, "/streak", "0.15"),
        ],
    );
}

/// A request each day from 29 November to 5 December.
fn seven_days() -> Vec<(i64, Value)> {
    let request = |day: i64| {
        let at = NIGHT + day * DAY;
        (at, call(&day.to_string(), json!({"timestamp": text(at)})))
    };
    (0..7).map(request).collect()
}

#[test]
fn a_reversal_takes_back_what_a_request_brought_to_everybody() {
    let one = call("1", json!({"inputTokens": 1_000, "outputTokens": 500}));
    let taken = reversal("a", &one);
    // 15 - 15, 3 - 3, …; awards stay, and so does the request.
    let nothing: &[Row] = &[
        (P, NOV, "/base", "0"),
        (P, NOV, "/total", "0"),
        (P, NOV, "/requests", "1"),
        (P, NOV, "/successful", "0"),
        (P, NOV, "/reversed", "1"),
        (P, NOV, "/services/chat_completions/points", "0"),
        (P, NOV, "/services/chat_completions/requests", "1"),
        (P, NOV, "/services/chat_completions/reversed", "1"),
        (P, NOV, "/days/2026-11-29/requests", "1"),
        (P, NOV, "/days/2026-11-29/reversed", "1"),
        (P, NOV, "/days/2026-11-29/streak", "0"),
        (Q, NOV, "/referral", "0"),
        (R, NOV, "/referral", "0"),
        (S, NOV, "/referral", "0"),
        (U, NOV, "/usage", "0"),
        (U, NOV, "/trial", "5"),
        (U, NOV, "/total", "5"),
        (U, NOV, "/cost", "0"),
        (U, NOV, "/requests", "1"),
        (U, NOV, "/reversed", "1"),
        (V, NOV, "/referral", "0"),
        (W, NOV, "/referral", "0"),
        (X, NOV, "/referral", "0"),
    ];
    check(
        "on its day",
        &mainnet(),
        vec![(NIGHT, one.clone()), (NIGHT + SECOND, taken.clone())],
        nothing,
    );
    // The request is a duplicate, the reversal too; another one is refused (`already_reversed`).
    check(
        "everything once more",
        &mainnet(),
        vec![
            (NIGHT, one.clone()),
            (NIGHT + SECOND, taken.clone()),
            (NIGHT + 2 * SECOND, one.clone()),
            (NIGHT + 2 * SECOND, taken.clone()),
            (NIGHT + 2 * SECOND, reversal("b", &one)),
            (NIGHT + 3 * HOUR, one.clone()),
        ],
        nothing,
    );

    let change = json!({"model": "llama-3-8b", "inputTokens": 150, "outputTokens": 75});
    // What is left is the other one: 3, its shares, and 150 × $0.0005 / 1,000 + 75 × $0.0010 / 1,000.
    check(
        "one of two",
        &mainnet(),
        vec![
            (NIGHT, one.clone()),
            (NIGHT, call("2", change)),
            (NIGHT + SECOND, taken.clone()),
        ],
        &[
            (P, NOV, "/base", "3"),
            (P, NOV, "/requests", "2"),
            (P, NOV, "/successful", "1"),
            (P, NOV, "/reversed", "1"),
            (Q, NOV, "/referral", "0.6"),
            (R, NOV, "/referral", "0.3"),
            (S, NOV, "/referral", "0.15"),
            (U, NOV, "/usage", "0.3"),
            (U, NOV, "/cost", "0.00015"),
            (V, NOV, "/referral", "0.06"),
            (W, NOV, "/referral", "0.03"),
            (X, NOV, "/referral", "0.015"),
        ],
    );

    // By the rules of then: of 15 + 30 points 15 are taken back, not 30.
    let later = NIGHT + 2 * HOUR;
    check(
        "the multiplier has doubled since",
        &demand("mariana_depth", 20_000, NIGHT + HOUR),
        vec![
            (NIGHT, one.clone()),
            (later, call("2", json!({"timestamp": text(later)}))),
            (later + SECOND, taken),
        ],
        &[
            (P, NOV, "/base", "30"),
            (Q, NOV, "/referral", "6"),
            (U, NOV, "/usage", "3"),
            (V, NOV, "/referral", "0.6"),
        ],
    );

    let failed = call("1", json!({"statusCode": 500}));
    check(
        "there is nothing to take back of a failure",
        &[],
        vec![
            (NIGHT, failed.clone()),
            (NIGHT + SECOND, reversal("a", &failed)),
        ],
        &[
            (P, NOV, "/requests", "1"),
            (P, NOV, "/failed", "1"),
            (P, NOV, "/reversed", "0"),
            (U, NOV, "/trial", "0"),
        ],
    );
}

#[test]
fn a_day_is_computed_without_the_request_that_was_taken_back() {
    let mut records = seven_days();
    let second_of_december = records[3].1.clone();
    records.push((LATE + SECOND, reversal("a", &second_of_december)));
    // 4 × 15 and 4 × 1.5 are left of December; the streak begins again on the third.
    check(
        "the fourth of seven days",
        &[],
        records,
        &[
            (P, DEC, "/base", "60"),
            (P, DEC, "/streak", "0"),
            (P, DEC, "/days/2026-12-01/streak", "3"),
            (P, DEC, "/days/2026-12-02/streak", "0"),
            (P, DEC, "/days/2026-12-05/streak", "3"),
            (P, DEC, "/total", "60"),
            (U, DEC, "/usage", "6"),
            (U, DEC, "/streak", "0"),
        ],
    );
}

#[test]
fn after_its_month_has_closed_a_reversal_is_late_in_the_month_of_the_log() {
    let one = call("1", json!({"inputTokens": 1_000, "outputTokens": 500}));
    let taken = reversal("a", &one);
    check(
        "in December, of November",
        &mainnet(),
        vec![(NIGHT, one.clone()), (LATE, taken.clone())],
        &[
            (P, NOV, "/base", "15"),
            (P, NOV, "/successful", "1"),
            (P, NOV, "/reversed", "0"),
            (Q, NOV, "/referral", "3"),
            (U, NOV, "/usage", "1.5"),
            (U, NOV, "/cost", "0.008"),
            (V, NOV, "/referral", "0.3"),
            (P, DEC, "/base", "0"),
            (P, DEC, "/late", "-15"),
            (P, DEC, "/total", "-15"),
            (P, DEC, "/requests", "0"),
            (P, DEC, "/successful", "-1"),
            (P, DEC, "/reversed", "1"),
            (Q, DEC, "/late", "-3"),
            (R, DEC, "/late", "-1.5"),
            (S, DEC, "/late", "-0.75"),
            (U, DEC, "/late", "-1.5"),
            (U, DEC, "/trial", "0"),
            (U, DEC, "/cost", "-0.008"),
            (V, DEC, "/late", "-0.3"),
            (W, DEC, "/late", "-0.15"),
            (X, DEC, "/late", "-0.075"),
        ],
    );
    // The request itself came too late for November: 15 - 15; of the user's 1.5 + 5 - 1.5 the award
    // stays.
    check(
        "of a request that was late",
        &mainnet(),
        vec![(LATE, one), (LATE + SECOND, taken)],
        &[
            (P, NOV, "/requests", "0"),
            (P, DEC, "/late", "0"),
            (P, DEC, "/requests", "1"),
            (P, DEC, "/successful", "0"),
            (P, DEC, "/reversed", "1"),
            (Q, DEC, "/late", "0"),
            (U, DEC, "/late", "5"),
            (U, DEC, "/cost", "0"),
            (V, DEC, "/late", "0"),
        ],
    );
}

#[test]
fn a_completion_is_as_if_the_whole_had_come_first() {
    let small = json!({"model": "llama-3-8b", "inputTokens": 150, "outputTokens": 75});
    let open = json!({"model": "llama-3-8b"});
    // 150 × $0.0005 / 1,000 + 75 × $0.0010 / 1,000; nothing had been charged before.
    check_completed(
        "tokens",
        &mainnet(),
        vec![
            (NIGHT, call("1", open.clone())),
            (NIGHT + SECOND, call("1", small.clone())),
        ],
        vec![(NIGHT, call("1", small.clone()))],
        &[
            (U, NOV, "/cost", "0.00015"),
            (U, NOV, "/usage", "0.3"),
            (U, NOV, "/requests", "1"),
            (P, NOV, "/base", "3"),
            (P, NOV, "/requests", "1"),
        ],
    );
    check_completed(
        "the provider",
        &[],
        vec![
            (NIGHT, call("1", json!({"providerId": null}))),
            (NIGHT + SECOND, call("1", json!({}))),
        ],
        vec![(NIGHT, call("1", json!({})))],
        &[
            (P, NOV, "/base", "15"),
            (P, NOV, "/requests", "1"),
            (P, NOV, "/successful", "1"),
            (Q, NOV, "/referral", "3"),
            (R, NOV, "/referral", "1.5"),
            (S, NOV, "/referral", "0.75"),
            (U, NOV, "/usage", "1.5"),
            (U, NOV, "/requests", "1"),
        ],
    );
    // Without a model it was 1 point: 1 + 14, 0.1 + 1.4, and so on.
    check_completed(
        "the model",
        &[],
        vec![
            (NIGHT, call("1", json!({"model": null}))),
            (NIGHT + SECOND, call("1", json!({}))),
        ],
        vec![(NIGHT, call("1", json!({})))],
        &[
            (P, NOV, "/base", "15"),
            (P, NOV, "/requests", "1"),
            (Q, NOV, "/referral", "3"),
            (U, NOV, "/usage", "1.5"),
            (U, NOV, "/trial", "5"),
            (V, NOV, "/referral", "0.3"),
            (W, NOV, "/referral", "0.15"),
            (X, NOV, "/referral", "0.075"),
        ],
    );
    check_completed(
        "the latency",
        &[],
        vec![
            (NIGHT, call("1", json!({}))),
            (NIGHT + SECOND, call("1", json!({"latencyMs": 250}))),
        ],
        vec![(NIGHT, call("1", json!({"latencyMs": 250})))],
        &[
            (P, NOV, "/services/chat_completions/meanLatencyMs", "250"),
            (P, NOV, "/base", "15"),
        ],
    );
    let whole = call("1", json!({}));
    let taken = reversal("a", &whole);
    check_completed(
        "and taken back",
        &[],
        vec![
            (NIGHT, call("1", json!({"model": null, "providerId": null}))),
            (NIGHT + SECOND, whole.clone()),
            (NIGHT + 2 * SECOND, taken.clone()),
        ],
        vec![(NIGHT, whole), (NIGHT + 2 * SECOND, taken)],
        &[
            (P, NOV, "/base", "0"),
            (P, NOV, "/requests", "1"),
            (P, NOV, "/reversed", "1"),
            (Q, NOV, "/referral", "0"),
            (U, NOV, "/usage", "0"),
            (U, NOV, "/reversed", "1"),
            (V, NOV, "/referral", "0"),
        ],
    );
    // A contradiction is a conflict, and so is what comes after one completion.
    check(
        "a contradiction",
        &mainnet(),
        vec![
            (NIGHT, call("1", open.clone())),
            (NIGHT + SECOND, call("1", json!({"inputTokens": 150}))),
        ],
        &[(P, NOV, "/base", "3"), (U, NOV, "/cost", "0")],
    );
    let mut more = small.clone();
    more["latencyMs"] = 250.into();
    check(
        "a second one",
        &mainnet(),
        vec![
            (NIGHT, call("1", open)),
            (NIGHT + SECOND, call("1", small)),
            (NIGHT + 2 * SECOND, call("1", more)),
        ],
        &[
            (U, NOV, "/cost", "0.00015"),
            (P, NOV, "/services/chat_completions/meanLatencyMs", "0"),
        ],
    );
}

#[test]
fn after_its_month_has_closed_the_difference_is_late() {
    let first = call("1", json!({"model": null}));
    // 15 - 1; 20 % of it for `q`, and so on; 1.5 - 0.1; 20 % of it for `v`.
    check(
        "the model",
        &[],
        vec![(NIGHT, first.clone()), (LATE, call("1", json!({})))],
        &[
            (P, NOV, "/base", "1"),
            (Q, NOV, "/referral", "0.2"),
            (U, NOV, "/usage", "0.1"),
            (V, NOV, "/referral", "0.02"),
            (P, DEC, "/late", "14"),
            (P, DEC, "/requests", "0"),
            (P, DEC, "/successful", "0"),
            (Q, DEC, "/late", "2.8"),
            (R, DEC, "/late", "1.4"),
            (S, DEC, "/late", "0.7"),
            (U, DEC, "/late", "1.4"),
            (U, DEC, "/requests", "0"),
            (V, DEC, "/late", "0.28"),
            (W, DEC, "/late", "0.14"),
            (X, DEC, "/late", "0.07"),
        ],
    );
    // The provider had no request in November; now it has one.
    check(
        "the provider",
        &[],
        vec![
            (NIGHT, call("1", json!({"providerId": null}))),
            (LATE, call("1", json!({}))),
        ],
        &[
            (P, NOV, "/requests", "0"),
            (U, NOV, "/usage", "1.5"),
            (P, DEC, "/late", "15"),
            (P, DEC, "/requests", "1"),
            (P, DEC, "/successful", "1"),
            (Q, DEC, "/late", "3"),
            (U, DEC, "/late", "0"),
            (U, DEC, "/requests", "0"),
        ],
    );
    // Both amounts are rounded down, not their difference. First: 1,000,000 × 12,345 / 10,000 =
    // 1,234,500 micropoints; 10 % of that are 123,450; 5 % of that are 6,172.5, so 6,172. Then 75,000.
    // 75,000 - 6,172 = 68,828; 5 % of the difference 1,500,000 - 123,450 would be 68,827.5.
    check(
        "a share that is rounded",
        &demand("tide_pool", 12_345, START + HOUR),
        vec![(NIGHT, first), (LATE, call("1", json!({})))],
        &[
            (P, NOV, "/base", "1.2345"),
            (U, NOV, "/usage", "0.12345"),
            (X, NOV, "/referral", "0.006172"),
            (P, DEC, "/late", "13.7655"),
            (U, DEC, "/late", "1.37655"),
            (X, DEC, "/late", "0.068828"),
        ],
    );
}
