//! A stream of records that is rated and posted in a world in which nothing goes wrong: what everybody's
//! statements say then. They are also what the oracle says.

use std::collections::BTreeMap;

use serde_json::Value;
use tidemark::domain::ids::Account;
use tidemark::domain::time::Millis;
use tidemark::log::Topic;
use tidemark::pipeline::Settings;
use tidemark::store::pricing::{NewValue, Publish, publish};
use tidemark::store::referrals::{AwardPolicy, Referrer, SignupRequest, signup};

use super::adapter::{self, InstantDb};
use super::checks;
pub use super::checks::Statements;
use super::quiet::Quiet;
pub use super::quiet::START;
pub use super::workload::{DAY, HOUR, MINUTE};
use crate::oracle::{self, Input, Link, SourceRecord, Version, defaults};

/// How long it may take until everything is posted, in minutes of the simulated clock.
const MINUTES_MAX: u32 = 30;

/// A record of a user, and when it is appended.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: i64,
    pub user: String,
    pub value: Value,
}

/// Records, in the order of their times, and what was there before the first one.
pub struct Stream<'s> {
    /// Who was referred, and by whom; referrers' own referrers come first.
    pub links: &'s [(oracle::Account, oracle::Account)],
    /// Values of rules that are in force from a moment on, which is not before [`START`]. Without them
    /// the rules are those of the rules document, on testnet.
    pub rules: &'s [(&'s str, Value, i64)],
    pub sent: &'s [Sent],
}

/// Into how many pieces the work falls.
#[derive(Clone, Debug)]
pub struct Shape {
    pub settings: Settings,
    pub source: u32,
    pub posting: u32,
}

impl Shape {
    /// Everything of a partition at once.
    pub fn large() -> Shape {
        Shape {
            settings: Settings::default(),
            source: 1,
            posting: 1,
        }
    }

    /// Record by record, account by account, with nothing remembered.
    pub fn small() -> Shape {
        Shape {
            settings: Settings {
                chunk_records_max: 1,
                window_age_ms: 3_000,
                window_records_max: 1,
                chains_cached_max: 1,
                flush_accounts_max: 1,
                accounts_cached_max: 1,
                blocks_read_max: 1,
                ..Settings::default()
            },
            source: 1,
            posting: 1,
        }
    }

    /// So many records at a time, on several partitions.
    pub fn of(records: usize) -> Shape {
        Shape {
            settings: Settings {
                chunk_records_max: records,
                window_records_max: 5,
                accounts_cached_max: 3,
                ..Settings::default()
            },
            source: 2,
            posting: 3,
        }
    }
}

fn typed((kind, id): &oracle::Account) -> Account {
    Account::new(kind.parse().unwrap(), id).unwrap()
}

/// The referrer of an account, that one's referrer, and theirs.
fn chain(
    of: &oracle::Account,
    links: &[(oracle::Account, oracle::Account)],
) -> Vec<oracle::Account> {
    let referrer = |of: &oracle::Account| {
        let found = links.iter().find(|(referee, _)| referee == of);
        found.map(|(_, referrer)| referrer.clone())
    };
    let all = std::iter::successors(referrer(of), referrer);
    all.take(3).collect()
}

/// Rates and posts a stream, and gives the statements.
#[track_caller]
pub fn run(stream: &Stream<'_>, shape: &Shape) -> Statements {
    let first = stream.sent.first().expect("a stream has records").at;
    let mut quiet = Quiet::at(first.min(START + HOUR) - HOUR, shape.source, shape.posting);
    sign_up(&mut quiet, stream, shape.posting);
    publish_rules(&mut quiet, stream);
    for sent in stream.sent {
        let ms = sent.at - quiet.world.now();
        if ms > 0 {
            quiet.pass(ms);
        }
        quiet.append(&sent.user, sent.value.to_string());
    }
    let must = oracle::run(&input(&quiet, stream, shape.source)).statements;
    quiet.start_worker(shape.settings.clone());
    quiet.start_auditors(shape.settings.clone());
    for _ in 0..MINUTES_MAX {
        quiet.pass(MINUTE);
        if oracle::same_statements(&statements(&quiet), &must).is_ok() {
            break;
        }
    }
    // Nothing comes after it.
    quiet.pass(MINUTE);
    assert_eq!(quiet.halts(), []);
    let findings = quiet.world.with(|inner| adapter::findings(&inner.db));
    assert!(findings.is_empty(), "{findings:?}");
    let is = statements(&quiet);
    if let Err(what) = oracle::same_statements(&is, &must) {
        panic!("{what}");
    }
    is
}

fn sign_up(quiet: &mut Quiet, stream: &Stream<'_>, posting: u32) {
    for (number, (referee, referrer)) in stream.links.iter().enumerate() {
        let request = SignupRequest {
            referrer: Referrer::Account(typed(referrer)),
            referee: typed(referee),
            now: Millis(quiet.world.now()),
            token: format!("link-{number}"),
            awards: AwardPolicy::Elsewhere,
            by: None,
        };
        let db = quiet.db();
        quiet.finish(async move {
            signup(&db, &request, posting).await.unwrap();
        });
    }
}

fn publish_rules(quiet: &mut Quiet, stream: &Stream<'_>) {
    for (key, value, from) in stream.rules {
        let request = Publish {
            values: vec![NewValue {
                key: (*key).to_owned(),
                value: value.to_string(),
            }],
            effective_from: Millis(*from),
            by: "test".to_owned(),
            reason: "a test".to_owned(),
            now: Millis(quiet.world.now()),
            token: format!("{key}-{from}"),
        };
        let db = quiet.db();
        quiet.finish(async move {
            publish(&db, &request).await.unwrap();
        });
    }
}

/// What the oracle needs of a world whose records have been appended, and are not rated yet.
fn input(quiet: &Quiet, stream: &Stream<'_>, source: u32) -> Input {
    let mut versions = defaults::versions(false);
    let changes = (2..).zip(stream.rules);
    versions.extend(changes.map(|(number, (key, value, from))| Version {
        number,
        key: (*key).to_owned(),
        value: value.to_string(),
        from: Some(*from),
    }));
    let links = stream.links.iter().map(|(referee, _)| Link {
        number: 1,
        referee: referee.clone(),
        chain: chain(referee, stream.links),
        at: START,
        awards: false,
    });
    let records = quiet.world.with(|inner| {
        let mut records = Vec::new();
        for ((topic, partition), held) in &inner.logs[&1].records {
            if *topic != Topic::UsageEvents {
                continue;
            }
            records.extend(held.iter().map(|record| SourceRecord {
                partition: *partition,
                epoch: 1,
                offset: record.offset.0,
                append_ms: record.append_time.0,
                headers: Vec::new(),
                value: record.value.to_vec(),
            }));
        }
        records
    });
    Input {
        partitions: source,
        records,
        versions,
        links: links.collect(),
        ..Input::default()
    }
}

fn statements(quiet: &Quiet) -> Statements {
    quiet.world.with(|inner| {
        let db = InstantDb(inner.db.items.clone());
        checks::stored_statements(inner, &db).unwrap()
    })
}

/// What is in force from the beginning under a key of rules.
pub fn default_rule(key: &str) -> Value {
    let values: BTreeMap<String, Value> = defaults::values(false).into_iter().collect();
    values[key].clone()
}
