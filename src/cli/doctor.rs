//! `tidemark doctor`: says in sentences what is wrong and what to do. `tidemark resume` clears a halt.

use std::time::Duration;

use serde_json::json;

use super::args::ResumeArgs;
use super::engine::kafka_settings;
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, Workers, by};
use crate::domain::position::{Offset, Partition};
use crate::domain::time::{MINUTE_MS, Millis};
use crate::log::foreign::ForeignLog;
use crate::log::kafka::KafkaForeign;
use crate::log::{Bounds, LogError, ReadLimit, Topic};
use crate::ops::config::Config;
use crate::ops::health::{Feed, Role, TaskId};
use crate::pipeline::{HaltCode, progress};
use crate::store::checkpoints::{self, AdaptCheckpoint, Versioned};
use crate::store::credits::check_reason;

/// What `up` and `doctor` say to an adapter that nobody will run.
pub(super) const ADAPTERS_NEED_KAFKA: &str = "[[adapters]] are configured, but without Kafka nobody reads the gateways' topics: \
     they are the work of `tidemark worker --roles adapt` (docs/adapters.md).";

/// How long it may take to read one record that is there.
const NEXT_WITHIN: Duration = Duration::from_secs(2);
/// Numbers that are so late are a fault.
const LATE_MINUTES: i64 = 5;

/// What was found.
#[derive(Default)]
struct Findings {
    /// What is as it should be, or only worth knowing.
    notes: Vec<String>,
    /// What is wrong, and what to do.
    faults: Vec<String>,
}

impl Findings {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }
}

/// Runs `tidemark doctor`.
pub async fn run(session: &Session, config: &Config, is_json: bool) -> Done {
    let mut findings = Findings::default();
    running(session, &mut findings);
    rules(session, &mut findings).await?;
    halts(session, &mut findings).await?;
    let ends = log(session, &mut findings).await?;
    rating(session, &ends, &mut findings).await?;
    posting(session, &mut findings).await?;
    awards(session, &mut findings).await?;
    adapting(session, config, &mut findings).await?;
    report(&findings, is_json)
}

fn report(findings: &Findings, is_json: bool) -> Done {
    let mut out = Out::new();
    if is_json {
        let is_well = findings.faults.is_empty();
        out.json(&json!({"well": is_well, "faults": findings.faults, "notes": findings.notes}))?;
    } else {
        for note in &findings.notes {
            out.line(format!("  {note}"))?;
        }
        for fault in &findings.faults {
            out.line(format!("! {fault}"))?;
        }
        if findings.faults.is_empty() {
            out.line("All is well.")?;
        }
    }
    out.finish()?;
    if findings.faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Said(1))
    }
}

fn running(session: &Session, findings: &mut Findings) {
    match session.workers {
        Workers::Nobody => findings.fault(
            "`tidemark up` is not running on this data: nothing comes in, is rated or posted until it is. Start it.",
        ),
        Workers::Up => findings.note("`tidemark up` is running on this data."),
        Workers::Elsewhere => {
            findings.note("Rating and posting are done by `tidemark worker` processes.");
        }
    }
}

async fn rules(session: &Session, findings: &mut Findings) -> Done {
    match session.rules().await? {
        None => findings.fault(
            "There are no rules yet, so no event can be rated. Publish some: tidemark pricing init testnet",
        ),
        Some(timeline) => {
            let network = if timeline.at(session.now()).is_mainnet() {
                "mainnet: usage costs credits"
            } else {
                "testnet: nothing is charged"
            };
            findings.note(format!("The rules in force are complete ({network})."));
        }
    }
    Ok(())
}

async fn halts(session: &Session, findings: &mut Findings) -> Done {
    for halt in checkpoints::halts(session.db()).await? {
        let advice = HaltCode::from_name(&halt.code).map_or("", HaltCode::advice);
        findings.fault(format!(
            "{} has stood still since {} ({}): {}. {advice} Then: tidemark resume {}",
            halt.task,
            halt.at,
            halt.code,
            halt.message.trim_end_matches('.'),
            halt.task
        ));
    }
    Ok(())
}

/// Reads each partition's last record; what each partition of `usage.events` holds, unless it is damaged.
async fn log(session: &Session, findings: &mut Findings) -> Done<Vec<Option<Bounds>>> {
    let mut ends = Vec::new();
    for topic in Topic::ALL {
        let partitions = session.log.topic(topic).await?.partitions;
        let mut records = 0;
        for partition in (0..partitions).map(Partition) {
            let held = match session.log.bounds(topic, partition).await {
                Ok(bounds) => {
                    records += bounds.end.0 - bounds.start.0;
                    Some(bounds)
                }
                Err(error @ LogError::Damaged { .. }) => {
                    findings.fault(format!(
                        "The log is damaged: {error}. The other partitions go on without it."
                    ));
                    None
                }
                Err(error) => return Err(error.into()),
            };
            if topic == Topic::UsageEvents {
                ends.push(held);
            }
        }
        findings.note(format!(
            "{topic} holds {} in {}.",
            counted(records, "record"),
            counted(partitions.into(), "partition")
        ));
    }
    Ok(ends)
}

async fn rating(session: &Session, held: &[Option<Bounds>], findings: &mut Findings) -> Done {
    let (mut waiting, mut cut) = (Backlog::default(), 0);
    let mut oldest = Oldest::default();
    let id = session.log.topic(Topic::UsageEvents).await?.id;
    let held_count = session.partitions.source;
    for (partition, held) in (0..).map(Partition).zip(held) {
        // Named by `log` already.
        let Some(Bounds { start, end }) = held else {
            continue;
        };
        let task = TaskId::new(Role::Rate, partition);
        let stored = progress::rate_checkpoint(session.db(), partition).await?;
        // One of an earlier epoch speaks of another log.
        let stored = stored.filter(|found| found.epoch == session.log.epoch());
        let (done, cut_to) = stored
            .as_ref()
            .map_or((Offset(0), Offset(0)), |found| (found.from, found.to));
        if done > *end {
            findings.fault(format!(
                "{task} has rated up to offset {done}, but usage.events/{partition} ends at {end}: the log has lost records. \
                 Restore the data directory from a backup."
            ));
        }
        if let Some(checkpoint) = stored {
            if done < *start {
                findings.fault(format!(
                    "{task} has rated up to offset {done}, but usage.events/{partition} begins at {start}: retention has removed what was not \
                     rated yet. Restore it from a backup or a replica."
                ));
            }
            if checkpoint.topic_id != id {
                findings.fault(format!(
                    "{task} belongs to another usage.events (id {}, now {id}). Bring the original log back, or start a new epoch.",
                    checkpoint.topic_id
                ));
            }
            same_count(task, checkpoint.partitions, held_count, findings);
        }
        if cut_to < *end {
            let next = cut_to.max(*start);
            oldest
                .look(session, Topic::UsageEvents, partition, next)
                .await;
        }
        waiting.add(partition, end.0.saturating_sub(cut_to.0));
        cut += cut_to.0.saturating_sub(done.0);
    }
    findings.note(format!(
        "{} of usage.events to be rated yet{}.",
        counted(waiting.sum(), "record"),
        waiting.by_partition()
    ));
    if cut > 0 {
        findings.note(format!(
            "{} in chunks that are cut: being rated, or rated just now and not yet noted as done.",
            counted(cut, "record")
        ));
    }
    oldest.say(session, "rated", findings);
    idle(session, waiting.sum() + cut, "record", "rated", findings);
    Ok(())
}

/// Keys go to partitions by their number, so it must stay.
fn same_count(task: TaskId, recorded: u32, now: u32, findings: &mut Findings) {
    if recorded != now {
        findings.fault(format!(
            "{task} was counted with {recorded} partitions, and now there are {now}. Set the count back; to change it, drain both roles \
             and start a new epoch with new topics."
        ));
    }
}

/// The record that has been waiting longest, and since when.
#[derive(Default)]
struct Oldest(Option<(Millis, String)>);

impl Oldest {
    /// Looks at the next record of a partition. One that cannot be read is told of elsewhere.
    async fn look(&mut self, session: &Session, topic: Topic, partition: Partition, next: Offset) {
        let limit = ReadLimit {
            records: 1,
            bytes: 1,
        };
        let read = session.log.read(topic, partition, next, limit, NEXT_WITHIN);
        let Ok(records) = read.await else { return };
        let Some(record) = records.first() else {
            return;
        };
        let found = (record.append_time, format!("{topic}/{partition}"));
        self.0 = Some(match self.0.take() {
            Some(before) if before.0 <= found.0 => before,
            _ => found,
        });
    }

    /// A backlog of some minutes is a fault where somebody works on it; where nobody does, that is the fault.
    fn say(&self, session: &Session, done: &str, findings: &mut Findings) {
        let Some((since, place)) = &self.0 else {
            return;
        };
        let minutes = (session.now().0 - since.0).max(0) / MINUTE_MS;
        let text = format!("The oldest record to be {done} has waited in {place} since {since}");
        if minutes >= LATE_MINUTES && session.workers != Workers::Nobody {
            findings.fault(format!(
                "{text}: numbers are {minutes} minutes late. Nothing is lost. If that grows, start more workers, or look whether log and \
                 store are slow (docs/runbook.md#tidemarkfarbehind)."
            ));
        } else {
            findings.note(format!("{text}."));
        }
    }
}

/// Without `up`, what waits will wait for ever.
fn idle(session: &Session, count: u64, noun: &str, done: &str, findings: &mut Findings) {
    if session.workers == Workers::Nobody && count > 0 {
        let verb = if count == 1 { "waits" } else { "wait" };
        findings.fault(format!(
            "`tidemark up` is not running and {} {verb} to be {done}; start it on this data.",
            counted(count, noun)
        ));
    }
}

/// What waits, by partition.
#[derive(Default)]
struct Backlog(Vec<(Partition, u64)>);

impl Backlog {
    fn add(&mut self, partition: Partition, count: u64) {
        if count > 0 {
            self.0.push((partition, count));
        }
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// ` (partition 0: 12, partition 3: 1)`; nothing if nothing waits.
    fn by_partition(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let part =
            |(partition, count): &(Partition, u64)| format!("partition {partition}: {count}");
        let parts: Vec<String> = self.0.iter().map(part).collect();
        format!(" ({})", parts.join(", "))
    }
}

async fn posting(session: &Session, findings: &mut Findings) -> Done {
    let (mut lag, mut oldest) = (Backlog::default(), Oldest::default());
    let id = session.log.topic(Topic::LedgerPostings).await?.id;
    for partition in (0..session.partitions.posting).map(Partition) {
        let task = TaskId::new(Role::Post, partition);
        let bounds = match session.log.bounds(Topic::LedgerPostings, partition).await {
            Ok(bounds) => bounds,
            // Named by `log` already.
            Err(LogError::Damaged { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let stored = progress::post_checkpoint(session.db(), partition).await?;
        let stored = stored.filter(|found| found.epoch == session.log.epoch());
        let next = stored.as_ref().map_or(bounds.start, |found| found.next);
        if let Some(checkpoint) = stored {
            if checkpoint.topic_id != id {
                findings.fault(format!(
                    "{task} belongs to another ledger.postings (id {}, now {id}). Bring the original log back, or start a new epoch.",
                    checkpoint.topic_id
                ));
            }
            same_count(
                task,
                checkpoint.partitions,
                session.partitions.posting,
                findings,
            );
        }
        if next < bounds.end && next >= bounds.start {
            oldest
                .look(session, Topic::LedgerPostings, partition, next)
                .await;
        }
        if next > bounds.end {
            findings.fault(format!(
                "{task} has posted up to offset {next}, but ledger.postings/{partition} ends at {}: the log has lost records. \
                 Restore the data directory from a backup.",
                bounds.end
            ));
        }
        if next < bounds.start {
            findings.fault(format!(
                "{task} has posted up to offset {next}, but ledger.postings/{partition} begins at {}: retention has removed what was not \
                 posted yet. Restore it from a backup.",
                bounds.start
            ));
        }
        lag.add(partition, bounds.end.0.saturating_sub(next.0));
    }
    findings.note(format!(
        "{} to be posted yet, those included that were posted just now and are not noted as done{}.",
        counted(lag.sum(), "posting block"),
        lag.by_partition()
    ));
    oldest.say(session, "posted", findings);
    idle(session, lag.sum(), "posting block", "posted", findings);
    Ok(())
}

async fn awards(session: &Session, findings: &mut Findings) -> Done {
    let pending = progress::pointers(session.db(), session.partitions.posting).await?;
    findings.note(format!(
        "{} pending (awards and milestone checks).",
        counted(pending.len() as u64, "grant")
    ));
    idle(session, pending.len() as u64, "grant", "applied", findings);
    Ok(())
}

/// How far behind adapters are. They need Kafka.
async fn adapting(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    if config.adapters.is_empty() {
        return Ok(());
    }
    if session.workers != Workers::Elsewhere {
        findings.fault(ADAPTERS_NEED_KAFKA);
        return Ok(());
    }
    let log = KafkaForeign::connect(&kafka_settings(config)?).map_err(Failure::refused)?;
    for adapter in &config.adapters {
        match behind(session, &log, &adapter.topic).await {
            Ok(waiting) => findings.note(format!(
                "{} of {} to be adapted yet{}.",
                counted(waiting.sum(), "record"),
                adapter.topic,
                waiting.by_partition()
            )),
            Err(Failure::Failed(why)) => findings.fault(format!(
                "The adapter of {} has nothing to read: {why}.",
                adapter.topic
            )),
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// What of a gateway's topic is not adapted yet, as its positions have it.
async fn behind(session: &Session, log: &dyn ForeignLog, topic: &str) -> Done<Backlog> {
    let info = log.topic(topic).await?;
    let mut waiting = Backlog::default();
    for partition in (0..info.partitions).map(Partition) {
        let Bounds { start, end } = log.bounds(topic, partition).await?;
        let task = TaskId::new(Role::Adapt(Feed::of(topic)), partition);
        let key = checkpoints::checkpoint_key(task);
        let stored: Option<Versioned<AdaptCheckpoint>> =
            checkpoints::get(session.db(), &key).await?;
        let stored = stored.filter(|stored| stored.value.topic_id == info.id);
        let next = stored.map_or(start, |stored| stored.value.next.max(start));
        waiting.add(partition, end.0.saturating_sub(next.0));
    }
    Ok(waiting)
}

/// Runs `tidemark resume`.
pub async fn resume(session: &Session, args: &ResumeArgs) -> Done {
    check_reason(&args.reason).map_err(Failure::refused)?;
    let by = format!("{}: {}", by(), args.reason);
    let who = match session.workers {
        Workers::Elsewhere => "a `tidemark worker` of its role",
        Workers::Up | Workers::Nobody => "`tidemark up`",
    };
    let mut out = Out::new();
    let mut strangers = Vec::new();
    for task in chosen(session, args).await? {
        if !checkpoints::resume(session.db(), task, &by, session.now()).await? {
            strangers.push(task.to_string());
            continue;
        }
        out.line(format!(
            "{task} goes on from its checkpoint within seconds, if {who} runs; should the cause still be there, it halts again"
        ))?;
    }
    out.finish()?;
    if strangers.is_empty() {
        return Ok(());
    }
    let (names, verb) = (
        strangers.join(", "),
        if strangers.len() == 1 { "is" } else { "are" },
    );
    Err(Failure::refused(format!(
        "{names} {verb} not halted; `tidemark doctor` names those that are"
    )))
}

async fn chosen(session: &Session, args: &ResumeArgs) -> Done<Vec<TaskId>> {
    if !args.all {
        return Ok(args.partitions.clone());
    }
    let halts = checkpoints::halts(session.db()).await?;
    let tasks: Result<Vec<TaskId>, _> = halts.iter().map(|halt| halt.task.parse()).collect();
    match tasks.map_err(Failure::failed)? {
        none if none.is_empty() => Err(Failure::refused("nothing is halted")),
        tasks => Ok(tasks),
    }
}
