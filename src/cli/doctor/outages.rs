//! What tidemark depends on, and the processes themselves: does the store answer, does the broker,
//! does anybody work, are events taken, do clocks agree?

use std::time::Duration;

use super::findings::{Cause, Findings};
use crate::cli::client::Client;
use crate::cli::data::DataDir;
use crate::cli::engine::{connect, kafka_settings};
use crate::cli::output::{Done, Failure, counted};
use crate::cli::recent::{self, Recent};
use crate::cli::refusals::{self, UpRefusal};
use crate::cli::session::{Session, Workers};
use crate::cli::thresholds::do_clocks_differ;
use crate::cli::top::reading::{Sample, read};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::domain::time::Millis;
use crate::log::kafka::KafkaForeign;
use crate::log::{LogError, ReadLimit, Topic};
use crate::ops::config::Config;
use crate::ops::metrics::Metrics;
use crate::store::db::{Db, StoreError};
use crate::store::layout;

/// How long the store, or the log, may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why the store cannot be used, if it cannot.
async fn store_outage(db: &dyn Db, epoch: Epoch) -> Option<String> {
    match tokio::time::timeout(ANSWER_WITHIN, layout::get(db, epoch)).await {
        Err(_) => Some(format!(
            "it has not answered for {} s",
            ANSWER_WITHIN.as_secs()
        )),
        Ok(Err(
            error
            @ (StoreError::Unavailable(_) | StoreError::Unanswered(_) | StoreError::Denied(_)),
        )) => Some(error.to_string()),
        Ok(Ok(_) | Err(_)) => None,
    }
}

fn store_is_down(why: &str, findings: &mut Findings) {
    findings.fault(
        Cause::StoreDown,
        format!(
            "The store cannot be used: {why}. Numbers stand still until it answers; nothing is lost, and work goes on by itself then. Look at \
             the store, the network to it and the credentials (docs/runbook.md#tidemarkdependencydown)."
        ),
    );
}

/// Whether the store answers; if not, that is a finding.
pub async fn store(session: &Session, findings: &mut Findings) -> bool {
    let outage = store_outage(session.db(), session.log.epoch()).await;
    if let Some(why) = &outage {
        store_is_down(why, findings);
    }
    outage.is_none()
}

/// What a running `up` says of itself: whether it takes events, and how late numbers are.
pub async fn process(session: &Session, config: &Config, findings: &mut Findings) {
    if session.workers != Workers::Up {
        return;
    }
    refusal_of_up(config, findings).await;
    if findings.has(&Cause::UpSilent) {
        return;
    }
    let client = Client::new(DataDir::new(&config.data));
    let asked = tokio::task::spawn_blocking(move || client.get("/metrics")).await;
    if let Ok(Ok(metrics)) = asked {
        let samples = read(&String::from_utf8_lossy(&metrics.body));
        lags(&samples, findings);
        if let Some(what) = unattributed(&samples) {
            findings.note(what);
        }
    }
}

/// Failures that no provider is charged with, since the process began.
fn unattributed(samples: &[Sample]) -> Option<String> {
    let sum = |name: &str| -> f64 {
        let samples = samples.iter().filter(|sample| sample.name == name);
        samples.map(|sample| sample.value).sum()
    };
    let failures = sum("tidemark_ingest_unattributed_failures_total");
    (failures > 0.0).then(|| {
        let events = sum("tidemark_ingest_events_total");
        format!(
            "{failures} of {events} events since `up` started are failures for which the gateway \
             names no provider, so they lower no provider's uptime \
             (docs/runbook.md#tidemarkfailuresunattributed)."
        )
    })
}

/// What a running `up` says of itself where it does not let a session begin: there may be nothing
/// to be read, or it is stuck. False if none runs.
pub async fn told_by_up(config: &Config, findings: &mut Findings) -> bool {
    if DataDir::new(&config.data).running().is_none() {
        return false;
    }
    refusal_of_up(config, findings).await
}

/// Why a running `up` takes no events, if it takes none.
async fn refusal_of_up(config: &Config, findings: &mut Findings) -> bool {
    match refusals::of_up(config).await {
        Some(UpRefusal::Silent(what)) => findings.fault(Cause::UpSilent, what),
        Some(UpRefusal::Told(what)) => findings.fault(Cause::LogRefuses, what),
        None => return false,
    }
    true
}

/// How late numbers are, as the processes tell while the store cannot be asked.
fn lags(samples: &[Sample], findings: &mut Findings) {
    for role in ["rate", "post"] {
        let of = |name: &str| {
            let samples = samples.iter().filter(move |sample| {
                sample.name == name && sample.labels.get("role").is_some_and(|is| is == role)
            });
            samples.map(|sample| sample.value).collect::<Vec<f64>>()
        };
        let records: f64 = of("tidemark_lag_records").iter().sum();
        let seconds = of("tidemark_lag_seconds").into_iter().fold(0.0, f64::max);
        if records > 0.0 {
            let records = counted(records as u64, "record");
            let text = format!("{role}: {records} not in rows yet, the oldest for {seconds:.0} s.");
            findings.follows(&Cause::StoreDown, text);
        }
    }
}

/// Whether somebody works on a cluster: each role's consumer group must have members.
pub async fn workers(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    if session.workers != Workers::Elsewhere {
        return Ok(());
    }
    if let Some(idle) = idle_roles(config).await? {
        findings.fault(
            Cause::NotRunning,
            format!(
                "No live worker, so nothing is {idle}. Start `tidemark worker`, and find out why the others stopped \
                 (docs/runbook.md#tidemarknobodyrates)."
            ),
        );
    } else {
        findings.note("Rating and posting are done by `tidemark worker` processes.");
    }
    Ok(())
}

/// What nobody does, in words.
async fn idle_roles(config: &Config) -> Done<Option<String>> {
    let groups = KafkaForeign::connect(&kafka_settings(config)?).map_err(Failure::refused)?;
    let mut idle = Vec::new();
    for (role, done) in [("rate", "rated"), ("post", "posted")] {
        if groups.members_of(role).await? == 0 {
            idle.push(done);
        }
    }
    Ok((!idle.is_empty()).then(|| idle.join(" or ")))
}

/// Whether the store's clock, as its answers show it, agrees with this machine's.
pub fn store_clock(session: &Session, findings: &mut Findings) {
    if let Some(what) = store_clock_difference(session) {
        findings.fault(Cause::StoreClockDiffers, what);
    }
}

/// By what the store's clock differs from this machine's, if it does, and what to do.
fn store_clock_difference(session: &Session) -> Option<String> {
    let ahead_ms = session.store_clock.ahead_ms()?;
    clocks_differ(ahead_ms, session.now())
}

fn clocks_differ(ahead_ms: i64, now: Millis) -> Option<String> {
    let seconds = ahead_ms.unsigned_abs() / 1_000;
    let which = if ahead_ms > 0 { "ahead" } else { "behind" };
    do_clocks_differ(ahead_ms).then(|| {
        format!(
            "Clocks disagree: the store's clock is {seconds} s {which} of this machine's, which says \
             {now}. Correct the one that is wrong, preferably with NTP, and check the machines of the \
             workers and brokers: AWS denies requests beyond 5 minutes, and the broker's time in a \
             record decides in which month it counts (docs/runbook.md#clocks-disagree)."
        )
    })
}

/// Are the newest records from the future?
pub async fn clocks(session: &Session, findings: &mut Findings) {
    if let Some(what) = clock_difference(session).await {
        findings.fault(Cause::ClocksDiffer, what);
    }
}

/// By what clocks disagree, if they do, and what to do.
async fn clock_difference(session: &Session) -> Option<String> {
    let partitions = recent::sample(session.partitions.source).into_iter();
    let records = partitions.map(|partition| newest_record(session, partition));
    let newest = futures::future::join_all(records).await.into_iter().max();
    let newest = newest.flatten();
    let now = session.now();
    let is_ahead = |newest: &Millis| newest.0 > now.0 && do_clocks_differ(newest.0 - now.0);
    let newest = newest.filter(is_ahead)?;
    Some(format!(
        "Clocks disagree: the newest record was appended at {newest}, but this machine's clock says \
         {now}. Correct the one that is wrong, preferably with NTP: the time in a record decides in \
         which month it counts (docs/runbook.md#clocks-disagree)."
    ))
}

/// When the newest record of a partition was appended.
async fn newest_record(session: &Session, partition: Partition) -> Option<Millis> {
    let (topic, log) = (Topic::UsageEvents, &session.log);
    let bounds = log.bounds(topic, partition).await.ok()?;
    let last = Offset(bounds.end.0.checked_sub(1)?);
    let read = log.read(
        topic,
        partition,
        last.max(bounds.start),
        ReadLimit::ONE,
        ANSWER_WITHIN,
    );
    let records = if bounds.start < bounds.end {
        read.await.ok()?
    } else {
        return None;
    };
    records.first().map(|record| record.append_time)
}

/// Are most recent events rejected, or without token counts? What else is to be known of them: that
/// some are, or that they could not be read.
pub async fn recent(session: &Session, findings: &mut Findings) -> Vec<String> {
    let notes = recent::sample_note(session.partitions.source).into_iter();
    notes
        .chain(of_recent(
            Recent::read(session).await,
            session.workers,
            findings,
        ))
        .collect()
}

fn of_recent(read: Done<Recent>, workers: Workers, findings: &mut Findings) -> Vec<String> {
    let recent = match read {
        Ok(recent) => recent,
        // A damaged partition, say, which is a finding of its own.
        Err(Failure::Failed(why) | Failure::Refused(why)) => {
            return vec![format!("The newest events could not be read: {why}.")];
        }
        Err(Failure::Said(_) | Failure::ReaderGone) => return Vec::new(),
    };
    if let Some(what) = recent.rejections() {
        findings.fault(Cause::Rejected, what);
    }
    if let Some(what) = recent.missing_usage() {
        findings.fault(Cause::WithoutUsage, what);
    }
    // `up` counts them since it started, and knows which providers are only guessed.
    let unattributed = match workers {
        Workers::Up => None,
        Workers::Nobody | Workers::Elsewhere => recent.unattributed_failures(),
    };
    let notes = [
        recent.some_rejected(),
        recent.some_without_usage(),
        unattributed,
    ];
    notes.into_iter().flatten().collect()
}

/// What the store and the broker of a cluster say without a session.
pub struct Glance {
    store: Done<StoreGlance>,
    topics: Done<Vec<TopicSeen>>,
}

struct StoreGlance {
    /// Why it cannot be used, if it cannot.
    outage: Option<String>,
    /// Whether its tables may hold positions in the log.
    is_used: bool,
}

/// A topic, and whether the cluster has it; or why the broker cannot be reached.
struct TopicSeen {
    topic: Topic,
    name: String,
    is_there: Result<bool, String>,
}

/// Asks the store and the broker of a cluster at the same time.
pub async fn glance(config: &Config) -> Glance {
    let (store, topics) = futures::join!(glance_at_store(config), glance_at_topics(config));
    Glance { store, topics }
}

async fn glance_at_store(config: &Config) -> Done<StoreGlance> {
    let epoch = Epoch(config.log.epoch);
    let db = connect(&config.store, None, std::sync::Arc::new(Metrics::new())).await?;
    let outage = store_outage(&db, epoch).await;
    let is_used = match outage {
        None => layout::get(&db, epoch).await.ok().flatten().is_some(),
        Some(_) => true,
    };
    Ok(StoreGlance { outage, is_used })
}

async fn glance_at_topics(config: &Config) -> Done<Vec<TopicSeen>> {
    let settings = kafka_settings(config)?;
    let cluster = KafkaForeign::connect(&settings).map_err(Failure::refused)?;
    let mut seen = Vec::new();
    for topic in Topic::ALL {
        let name = settings.topic_name(topic);
        let is_there = match cluster.has_topic(&name).await {
            Err(LogError::Unavailable(why)) => Err(why),
            is_there => Ok(is_there?),
        };
        let is_silent = is_there.is_err();
        seen.push(TopicSeen {
            topic,
            name,
            is_there,
        });
        if is_silent {
            break;
        }
    }
    Ok(seen)
}

/// What can be found out about a cluster whose log does not let a session begin: which topic is
/// gone, whether the broker is silent, whether the store is as well. False if none of that explains
/// it.
pub fn blind(glance: Glance, findings: &mut Findings) -> Done<bool> {
    let before = findings.count();
    let StoreGlance { outage, is_used } = glance.store?;
    if let Some(why) = &outage {
        store_is_down(why, findings);
    }
    topics(glance.topics?, is_used, findings);
    Ok(findings.count() > before)
}

/// Whether the broker of a session answers, and has all topics; false if not.
pub async fn log(session: &Session, config: &Config, findings: &mut Findings) -> Done<bool> {
    if session.workers != Workers::Elsewhere {
        return Ok(true);
    }
    let is_used = match findings.has(&Cause::StoreDown) {
        true => true,
        false => {
            let layout = layout::get(session.db(), session.log.epoch()).await;
            layout.ok().flatten().is_some()
        }
    };
    Ok(topics(glance_at_topics(config).await?, is_used, findings))
}

/// Whether the broker answers, and has all topics.
fn topics(seen: Vec<TopicSeen>, is_used: bool, findings: &mut Findings) -> bool {
    let mut are_there = true;
    for TopicSeen {
        topic,
        name,
        is_there,
    } in seen
    {
        match is_there {
            Ok(true) => continue,
            Ok(false) if topic == Topic::LedgerCuts => missing_cuts(&name, findings),
            Ok(false) => missing_topic(&name, is_used, findings),
            Err(why) => {
                findings.fault(
                    Cause::LogDown,
                    format!(
                        "The broker cannot be reached: {why}. New events are refused (503), \
                         gateways resend them, and work continues by itself once it answers. Check \
                         the brokers and the network to them \
                         (docs/runbook.md#tidemarkdependencydown)."
                    ),
                );
                return false;
            }
        }
        // Without cuts, everything else can be looked at.
        are_there &= topic == Topic::LedgerCuts;
    }
    are_there
}

/// `ledger.cuts` is new since the auditor, and nothing but audits depends on what it held.
pub(super) fn missing_cuts(name: &str, findings: &mut Findings) {
    let text = format!(
        "Topic {name} does not exist, so nothing is rated; events are accepted and kept. Create it: \
         tidemark topics apply. Chunks that were rated before cannot be audited; no amount depends \
         on it (docs/upgrade.md)."
    );
    findings.fault(Cause::TopicMissing(name.to_owned()), text);
}

/// A topic that is gone is not a topic that was never made.
fn missing_topic(name: &str, is_used: bool, findings: &mut Findings) {
    let text = match is_used {
        true => format!(
            "Topic {name} is missing, but the tables hold positions in it. Restore it; if that is \
             not possible, move to new topics in a new epoch (docs/runbook.md#a-topic-is-gone). Do \
             not recreate it: its records would be lost, and every partition would halt."
        ),
        false => {
            format!("Topic {name} does not exist yet. Create the topics: tidemark topics apply.")
        }
    };
    findings.fault(Cause::TopicMissing(name.to_owned()), text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_events_that_cannot_be_read_are_a_note() {
        let mut findings = Findings::default();
        let mut of = |read| of_recent(read, Workers::Up, &mut findings);
        let notes = of(Err(LogError::Unavailable("no leader".into()).into()));
        assert!(notes[0].contains("no leader"), "{notes:?}");
        assert!(of(Ok(Recent::default())).is_empty());
        assert!(of(Err(Failure::ReaderGone)).is_empty());
        assert!(findings.is_empty());
    }

    #[test]
    fn clocks_may_differ_by_ten_seconds() {
        let now = Millis(1_795_964_400_000);
        for ahead_ms in [0, 10_000, -10_000] {
            assert_eq!(clocks_differ(ahead_ms, now), None, "{ahead_ms}");
        }
        for (ahead_ms, said) in [(11_000, "11 s ahead"), (-600_000, "600 s behind")] {
            let what = clocks_differ(ahead_ms, now).unwrap_or_default();
            assert!(what.contains(said), "{what}");
        }
    }

    #[test]
    fn failures_without_a_provider_are_told() {
        let metrics = |failures: u32| {
            format!(
                "tidemark_ingest_unattributed_failures_total{{format=\"litellm\"}} {failures}\n\
                 tidemark_ingest_unattributed_failures_total{{format=\"otlp\"}} 1\n\
                 tidemark_ingest_events_total{{format=\"litellm\"}} 25\n"
            )
        };
        let told = unattributed(&read(&metrics(5)));
        assert!(told.is_some_and(|text| text.starts_with("6 of 25 events")));
        assert_eq!(
            unattributed(&read("tidemark_ingest_events_total{format=\"otlp\"} 9\n")),
            None
        );
    }
}
