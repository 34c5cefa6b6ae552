//! The load: `tidemark emit`, which sends on across restarts, and a producer that writes into the log what nobody has checked.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tidemark::domain::position::{Epoch, Partition};
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::{Log, NewRecord, Topic, topics, usage_partition};
use tidemark::ops::clock::SystemClock;

use super::site::Site;
use crate::oracle::SourceRecord;

/// Events of one `emit`, and how many a second.
const EVENTS: u32 = 4_000;
const RATE: &str = "300";
/// Partitions of `usage.events`, as shipped.
const PARTITIONS: u32 = 4;
/// In one round of second thoughts: reversals of what `emit` sends, and requests that are completed later.
const REVERSALS: u32 = 40;
const OPEN: u32 = 12;
/// Who sends them.
pub const SECOND_THOUGHTS: &str = "second-thoughts";

/// One `emit`: its arguments, by which it can be asked again what it sends. Killed when dropped: no load outlives its test.
struct Emit {
    seed: String,
    at: String,
    child: Option<Child>,
}

impl Drop for Emit {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It has ended already in every test that passes.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Everything that is sent.
pub struct Load {
    seed: u64,
    emits: Vec<Emit>,
    careless: Vec<Vec<u8>>,
    lines: BTreeSet<Vec<u8>>,
    refused: u64,
    finished: usize,
}

impl Load {
    pub fn start(site: &Site, seed: u64) -> Load {
        let mut load = Load {
            seed,
            emits: Vec::new(),
            careless: Vec::new(),
            lines: BTreeSet::new(),
            refused: 0,
            finished: 0,
        };
        load.emit(site);
        load
    }

    fn emit(&mut self, site: &Site) {
        let seed = (self.seed + self.emits.len() as u64).to_string();
        let at = jiff::Timestamp::now().to_string();
        let number = EVENTS.to_string();
        let what = ["emit", "--events", &number, "--seed", &seed, "--at", &at];
        let printed = site.run(&[&what[..], &["--print"]].concat());
        self.lines
            .extend(printed.lines().map(|line| line.as_bytes().to_vec()));
        let send = [&what[..], &["--rate", RATE, "--json", "--patience", "10m"]].concat();
        let child = site
            .command(&send)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        self.emits.push(Emit {
            seed,
            at,
            child: Some(child.expect("the binary runs")),
        });
    }

    /// Another `emit` when the last one is done, so that there is always a load. Call it while `up` runs.
    pub fn keep_up(&mut self, site: &Site) {
        let last = self.emits.last_mut().expect("there is one");
        let child = last.child.as_mut().expect("not finished yet");
        let ended = child.try_wait().expect("a child").is_some();
        let is_up = || super::site::get(&site.url("/readyz")).is_some();
        if ended && (site.cluster().is_some() || is_up()) {
            self.emit(site);
        }
    }

    /// Every `emit` ends well.
    pub fn finish(&mut self) {
        for mut emit in self.emits.drain(..) {
            let child = emit.child.take().expect("not finished yet");
            let output = child.wait_with_output().expect("a child");
            let Emit { seed, at, .. } = &emit;
            let (stdout, stderr) = (
                String::from_utf8_lossy(&output.stdout).into_owned(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            );
            let code = output.status.code();
            assert_eq!(code, Some(0), "emit of {seed} at {at}\n{stdout}\n{stderr}");
            let summary: Value = serde_json::from_str(stdout.trim()).expect("a summary");
            eprintln!("emit {seed}: {summary}");
            let count = |name: &str| summary[name].as_u64().expect("a number");
            let all = count("acknowledged") + count("refused");
            assert_eq!(all, u64::from(EVENTS), "{summary}");
            self.refused += count("refused");
            self.finished += 1;
        }
    }

    /// Straight into the log (the embedded one must be nobody's just now): garbage, and real events in any partition, some of which were
    /// sent before.
    pub fn careless_producer(&mut self, site: &Site, rng: &mut StdRng) {
        let mut values: Vec<Vec<u8>> = garbage();
        values.extend((0..8).map(|_| of_last_month(rng)));
        for _ in 0..20 {
            let chosen = rng.random_range(0..self.lines.len());
            let line = self.lines.iter().nth(chosen).expect("within");
            values.push(line.clone());
        }
        let anywhere = values.iter().map(|value| Placed {
            partition: Partition(rng.random_range(0..PARTITIONS)),
            key: None,
            value: value.clone(),
        });
        append(site, &anywhere.collect::<Vec<_>>());
        self.careless.extend(values);
    }

    /// What gateways think of later, straight into the log: reversals of events that were sent or will be, some of them twice or by
    /// another sender, and requests that are reported in part first, some of which are taken back in the end. Each record goes to
    /// its user's partition, but for one in ten.
    pub fn second_thoughts(&mut self, site: &Site, rng: &mut StdRng) {
        let mut records: Vec<(String, Value)> = Vec::new();
        let open: Vec<Open> = (0..OPEN).map(|_| Open::draw(rng)).collect();
        records.extend(
            open.iter()
                .map(|open| (open.user.clone(), open.event(false))),
        );
        for _ in 0..REVERSALS {
            let chosen = rng.random_range(0..self.lines.len());
            let line = self.lines.iter().nth(chosen).expect("within");
            let Some((user, reversal)) = reversal_of(line, rng) else {
                continue;
            };
            match rng.random_range(0..8) {
                0 => records.push((user.clone(), reversal.clone())),
                1 => {
                    let mut other = reversal.clone();
                    other["source"] = "somebody else".into();
                    records.push((user.clone(), other));
                }
                _ => {}
            }
            records.push((user, reversal));
        }
        records.extend(
            open.iter()
                .map(|open| (open.user.clone(), open.event(true))),
        );
        for open in open.iter().step_by(3) {
            let whole = open.event(true).to_string().into_bytes();
            records.extend(reversal_of(&whole, rng));
        }
        let placed = records.into_iter().map(|(user, value)| Placed {
            partition: match rng.random_range(0..10) {
                0 => Partition(rng.random_range(0..PARTITIONS)),
                _ => usage_partition(&user, PARTITIONS),
            },
            key: Some(user),
            value: value.to_string().into_bytes(),
        });
        let placed: Vec<Placed> = placed.collect();
        append(site, &placed);
        self.careless
            .extend(placed.into_iter().map(|placed| placed.value));
    }

    /// Every event that was sent stands in the log, but for those that were refused.
    pub fn everything_is_in(&self, records: &[SourceRecord]) {
        let found: BTreeSet<&[u8]> = records.iter().map(|r| &r.value[..]).collect();
        for value in &self.careless {
            let text = String::from_utf8_lossy(value);
            assert!(found.contains(&value[..]), "{text} is not in the log");
        }
        let missing = self.lines.iter().filter(|l| !found.contains(&l[..]));
        let missing: Vec<_> = missing.map(|l| String::from_utf8_lossy(l)).collect();
        let refused = usize::try_from(self.refused).expect("a number");
        assert_eq!(missing.len(), refused, "not in the log: {missing:#?}");
        eprintln!(
            "{} emits, {} different events, {refused} refused, {} careless records",
            self.finished,
            self.lines.len(),
            self.careless.len()
        );
    }
}

/// A record, and where it goes.
struct Placed {
    partition: Partition,
    key: Option<String>,
    value: Vec<u8>,
}

/// Appends records straight to the log of a site.
fn append(site: &Site, records: &[Placed]) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some(cluster) = site.cluster() {
        let log = cluster.log();
        runtime.block_on(append_each(&log, records));
        return;
    }
    let dir = site.data().join("log");
    let specs = topics::load(None).expect("the shipped topics");
    let clock = Arc::new(SystemClock);
    let (log, report) =
        EmbeddedLog::open_epoch(&dir, &specs, clock, Epoch(0)).expect("a log that opens");
    assert_eq!(report.damaged().count(), 0, "{report}");
    runtime.block_on(async {
        append_each(&log, records).await;
        log.close().await;
    });
}

async fn append_each(log: &dyn Log, records: &[Placed]) {
    for placed in records {
        let record = NewRecord {
            key: placed.key.clone().map(Bytes::from),
            value: Bytes::from(placed.value.clone()),
            ..NewRecord::default()
        };
        log.append(Topic::UsageEvents, placed.partition, vec![record])
            .await
            .expect("an append");
    }
}

/// A request of which the first report does not know everything.
struct Open {
    id: String,
    user: String,
    provider: Option<u32>,
    time: String,
    tokens: (u32, u32),
}

impl Open {
    fn draw(rng: &mut StdRng) -> Open {
        Open {
            id: format!("open-{:x}", rng.random::<u64>()),
            user: format!("user-{}", rng.random_range(1..20)),
            provider: rng.random_bool(0.8).then(|| rng.random_range(1..6)),
            time: jiff::Timestamp::now().to_string(),
            tokens: (rng.random_range(1..4_000), rng.random_range(1..1_000)),
        }
    }

    /// The first report, or the whole.
    fn event(&self, is_whole: bool) -> Value {
        let mut data = json!({
            "endpoint": "/v1/chat/completions", "model": "llama-3-8b", "statusCode": 200,
        });
        if let Some(provider) = self.provider {
            data["providerId"] = format!("prov-{provider}").into();
        }
        if is_whole {
            data["inputTokens"] = self.tokens.0.into();
            data["outputTokens"] = self.tokens.1.into();
            data["latencyMs"] = 250.into();
        }
        json!({
            "specversion": "1.0", "type": "tidemark.usage.v1", "source": SECOND_THOUGHTS, "id": self.id,
            "time": self.time, "subject": self.user, "data": data,
        })
    }
}

/// A reversal of an event, and its user; nothing if the event says too little.
fn reversal_of(event: &[u8], rng: &mut StdRng) -> Option<(String, Value)> {
    let event: Value = serde_json::from_slice(event).ok()?;
    let text = |name: &str| event[name].as_str();
    let (user, time) = (text("subject")?, text("time")?);
    let _: jiff::Timestamp = time.parse().ok()?;
    let reversal = json!({
        "specversion": "1.0", "type": "tidemark.reversal.v1", "source": SECOND_THOUGHTS,
        "id": format!("back-{:x}", rng.random::<u64>()), "subject": user,
        "data": {"source": text("source")?, "id": text("id")?, "time": time, "reason": "a test"},
    });
    Some((user.to_owned(), reversal))
}

/// A good event of 30 days ago: late, if its month has closed.
fn of_last_month(rng: &mut StdRng) -> Vec<u8> {
    let at = jiff::Timestamp::now().as_millisecond() - 30 * 86_400_000;
    let event = json!({
        "requestId": format!("old-{:x}", rng.random::<u64>()),
        "userId": format!("user-{}", rng.random_range(1..20)),
        "providerId": format!("prov-{}", rng.random_range(1..4)),
        "endpoint": "/v1/scrape",
        "timestamp": jiff::Timestamp::from_millisecond(at).expect("a time").to_string(),
        "statusCode": 200,
    });
    event.to_string().into_bytes()
}

/// What a careless producer writes: one record for each way of being wrong.
fn garbage() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "no JSON",
        "[1,2,3]",
        "{\"requestId\":\"r\"}",
        "{\"requestId\":7,\"userId\":\"user-1\",\"endpoint\":\"/v1/scrape\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"statusCode\":200}",
        "{\"requestId\":\"r\",\"userId\":\"user-1\",\"endpoint\":\"/v1/scrape\",\"timestamp\":\"2001-01-01T00:00:00Z\",\"statusCode\":200}",
        "{\"requestId\":\"r\",\"userId\":\"user-1\",\"endpoint\":\"/v1/scrape\",\"timestamp\":\"yesterday\",\"statusCode\":200}",
        "{\"requestId\":\"r\",\"userId\":\"\",\"endpoint\":\"/v1/scrape\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"statusCode\":200}",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.push(vec![0xff, 0x00, 0xfe]);
    all
}
