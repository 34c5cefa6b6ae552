//! How far rating and posting have come, and whether the log is still the one that they have come
//! so far in.
//!
//! What waits is counted as `tidemark top` and the metrics count it ([`Bounds::waiting`]): from
//! where the task stands. A running `up` says where that is; of workers elsewhere their checkpoints
//! do, and these are a little behind in posting.

use std::collections::BTreeMap;
use std::time::Duration;

use super::findings::{Backlog, Cause, Findings, wait};
use super::outages;
use super::taken_up::tasks_of_up;
use crate::cli::output::{Done, counted};
use crate::cli::session::{Session, Workers};
use crate::cli::top::LATE;
use crate::domain::position::{Offset, Partition};
use crate::domain::time::{MINUTE_MS, Millis};
use crate::log::{Bounds, LogError, ReadLimit, Topic, TopicInfo};
use crate::ops::config::Config;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::progress::{self, Standing};
use crate::pipeline::{self, Failure as Halt, HaltCode, RecordedTopic};

/// How long it may take to read one record that is there.
const NEXT_WITHIN: Duration = Duration::from_secs(2);

/// What each partition holds, but for the damaged ones.
pub type Held = BTreeMap<(Topic, Partition), Bounds>;

/// Where the tasks of a running `up` stand, as they say themselves.
type ReportedPositions = BTreeMap<TaskId, Offset>;

/// What a role does, in words.
struct Work {
    role: Role,
    topic: Topic,
    noun: &'static str,
    done: &'static str,
}

const WORK: [Work; 2] = [
    Work {
        role: Role::Rate,
        topic: Topic::UsageEvents,
        noun: "record",
        done: "rated",
    },
    Work {
        role: Role::Post,
        topic: Topic::LedgerPostings,
        noun: "posting block",
        done: "posted",
    },
];

/// Reads what each partition holds; a damaged one is a finding.
pub async fn held(session: &Session, findings: &mut Findings) -> Done<Held> {
    let mut held = Held::new();
    for topic in Topic::ALL {
        let partitions = match session.log.topic(topic).await {
            Err(LogError::NoTopic { .. }) if topic == Topic::LedgerCuts => {
                // Of a cluster's, that is told already.
                if session.workers != Workers::Elsewhere {
                    outages::missing_cuts(topic.name(), findings);
                }
                continue;
            }
            info => info?.partitions,
        };
        let mut records = 0;
        for partition in (0..partitions).map(Partition) {
            match session.log.bounds(topic, partition).await {
                Ok(bounds) => {
                    records += bounds.end.0 - bounds.start.0;
                    held.insert((topic, partition), bounds);
                }
                Err(error @ LogError::Damaged { .. }) => {
                    let reader = WORK.iter().find(|work| work.topic == topic);
                    let reader = reader.map(|work| TaskId::new(work.role, partition));
                    findings.will_halt(reader, HaltCode::LogDamaged, &error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        findings.note(format!(
            "{topic} holds {} in {}.",
            counted(records, "record"),
            counted(partitions.into(), "partition")
        ));
    }
    Ok(held)
}

/// Looks how far rating and posting have come.
pub async fn look(
    session: &Session,
    config: &Config,
    held: &Held,
    findings: &mut Findings,
) -> Done {
    let reported = match session.workers {
        Workers::Up => reported_positions(config).await,
        Workers::Nobody | Workers::Elsewhere => ReportedPositions::new(),
    };
    let mut late = Vec::new();
    for work in &WORK {
        let mut seen = Seen::default();
        let info = session.log.topic(work.topic).await?;
        for partition in (0..info.partitions).map(Partition) {
            // A damaged one was named already.
            let Some(bounds) = held.get(&(work.topic, partition)) else {
                continue;
            };
            let place = (partition, *bounds);
            work.partition(session, &info, place, &reported, &mut seen, findings)
                .await?;
        }
        work.say(session, &seen, findings);
        late.extend(work.behind(session, &seen, findings));
    }
    say_late(session, &late, findings);
    Ok(())
}

/// What was seen of a role's partitions.
#[derive(Default)]
struct Seen {
    all: Backlog,
    /// What waits in partitions that go on, if anybody works.
    free: Backlog,
    /// What waits behind a halt, by its code.
    behind: BTreeMap<String, Backlog>,
    /// Records of chunks that are cut.
    cut: u64,
    oldest: Option<(Millis, String)>,
}

impl Work {
    async fn partition(
        &self,
        session: &Session,
        info: &TopicInfo,
        (partition, bounds): (Partition, Bounds),
        reported: &ReportedPositions,
        seen: &mut Seen,
        findings: &mut Findings,
    ) -> Done {
        let task = TaskId::new(self.role, partition);
        let stored = progress::standing(session.db(), task).await?;
        // Asked after the checkpoint: what was appended since the first time may be rated by now.
        let bounds = match session.log.bounds(self.topic, partition).await {
            Ok(newer) => newer,
            Err(LogError::Damaged { .. }) => bounds,
            Err(error) => return Err(error.into()),
        };
        if let Some(stored) = &stored
            && findings.stopped(task).is_none()
            && let Err(Halt::Halt(code, what)) =
                self.contradiction(session, stored, info, partition, bounds)
        {
            findings.will_halt(Some(task), code, &what);
        }
        let stored = stored.and_then(|found| {
            let next = found.next_in(session.log.epoch(), info)?;
            Some((found.first, next))
        });
        let next = stored.map_or(bounds.start, |(_, next)| next);
        let next = reported.get(&task).copied().unwrap_or(next);
        let waiting = bounds.waiting(next);
        seen.all.add(partition, waiting);
        seen.cut += stored.map_or(0, |(first, next)| next.0.saturating_sub(first.0));
        match findings.stopped(task) {
            Some(code) => seen.behind.entry(code).or_default().add(partition, waiting),
            None => {
                seen.free.add(partition, waiting);
                if waiting > 0 {
                    seen.look(session, self.topic, partition, next.max(bounds.start))
                        .await;
                }
            }
        }
        Ok(())
    }

    /// Whether the task could go on from its checkpoint.
    fn contradiction(
        &self,
        session: &Session,
        stored: &Standing,
        info: &TopicInfo,
        partition: Partition,
        bounds: Bounds,
    ) -> Result<(), Halt> {
        let now = |topic| match topic {
            Topic::UsageEvents | Topic::LedgerCuts => session.partitions.source,
            Topic::LedgerPostings => session.partitions.posting,
            Topic::UsageRejected => session.partitions.rejected,
        };
        let counts = stored.counts.iter();
        let counts: Vec<_> = counts.map(|(t, known)| (*t, *known, now(*t))).collect();
        let place = RecordedTopic {
            topic: self.topic,
            partition,
            id: &stored.topic_id,
            epoch: stored.epoch.unwrap_or(session.log.epoch()),
        };
        let log = (session.log.epoch(), info, bounds);
        pipeline::contradiction(&place, &counts, log, (stored.first, stored.next))
    }

    fn say(&self, session: &Session, seen: &Seen, findings: &mut Findings) {
        let count = counted(seen.all.sum(), self.noun);
        let by = seen.all.by_partition();
        findings.note(match (self.role, session.workers) {
            (Role::Post, Workers::Elsewhere | Workers::Nobody) => format!(
                "{count} waiting to be posted, including some posted just now that no checkpoint \
                 covers yet{by}."
            ),
            (Role::Post, Workers::Up) => format!("{count} to be posted yet{by}."),
            _ => format!("{count} of {} to be {} yet{by}.", self.topic, self.done),
        });
        if seen.cut > 0 {
            findings.note(format!(
                "{} in chunks that are cut: being {done}, or {done} just now and not yet covered by \
                 a checkpoint.",
                counted(seen.cut, self.noun),
                done = self.done
            ));
        }
        for (code, waiting) in &seen.behind {
            if waiting.sum() > 0 {
                findings.waits_behind(code, waiting.wait(self.noun, self.done));
            }
        }
    }

    /// What waits for no other reason than that work takes its time; it is late if that is long.
    fn behind(&self, session: &Session, seen: &Seen, findings: &mut Findings) -> Option<Late> {
        let waits = seen.free.wait(self.noun, self.done);
        let unfinished = match session.workers {
            Workers::Nobody => seen.cut,
            Workers::Up | Workers::Elsewhere => 0,
        };
        if seen.free.sum() + unfinished == 0 {
            return None;
        }
        let being = format!("{} in chunks that are cut.", counted(unfinished, self.noun));
        let text = match seen.free.sum() {
            0 => being,
            _ => waits,
        };
        if findings.follows(&Cause::NotRunning, text.clone())
            || (self.role == Role::Rate && findings.follows(&Cause::NoRules, text))
        {
            return None;
        }
        let (since, place) = seen.oldest.as_ref()?;
        let text = format!(
            "the oldest {} to be {} has waited in {place} since {since}",
            self.noun, self.done
        );
        let waited = session.now().0 - since.0;
        if u128::try_from(waited).unwrap_or(0) > LATE.as_millis() {
            return Some(Late {
                minutes: waited / MINUTE_MS,
                text,
            });
        }
        let mut chars = text.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        findings.note(format!("{}{}.", first.unwrap_or_default(), chars.as_str()));
        None
    }
}

/// Numbers that are late.
struct Late {
    minutes: i64,
    text: String,
}

/// What is late in rating is late in posting, too: it is one cause.
fn say_late(session: &Session, late: &[Late], findings: &mut Findings) {
    let Some(minutes) = late.iter().map(|late| late.minutes).max() else {
        return;
    };
    let texts: Vec<&str> = late.iter().map(|late| late.text.as_str()).collect();
    let help = match session.workers {
        Workers::Elsewhere => "start more workers, or check whether the log or the store is slow",
        Workers::Up | Workers::Nobody => "check whether the disk or the store is slow",
    };
    findings.fault(
        Cause::Late,
        format!(
            "Numbers are {} late: {}. Nothing is lost. If this grows, {help} \
             (docs/runbook.md#tidemarkfarbehind).",
            counted(minutes.unsigned_abs(), "minute"),
            texts.join("; ")
        ),
    );
}

impl Seen {
    /// Looks at the next record of a partition. One that cannot be read is told of elsewhere.
    async fn look(&mut self, session: &Session, topic: Topic, partition: Partition, next: Offset) {
        let read = session
            .log
            .read(topic, partition, next, ReadLimit::ONE, NEXT_WITHIN);
        let Ok(records) = read.await else { return };
        let Some(record) = records.first() else {
            return;
        };
        let found = (record.append_time, format!("{topic}/{partition}"));
        self.oldest = Some(match self.oldest.take() {
            Some(before) if before.0 <= found.0 => before,
            _ => found,
        });
    }
}

/// Where the tasks of the running `up` stand. Whatever it does not tell is in the checkpoints.
async fn reported_positions(config: &Config) -> ReportedPositions {
    let told = tasks_of_up(config).await.unwrap_or_default().into_iter();
    told.filter_map(|(task, state)| Some((task, state.next?)))
        .collect()
}

/// What is granted and not yet in accounts' rows.
pub async fn awards(session: &Session, findings: &mut Findings) -> Done {
    let pending = progress::pointers(session.db(), session.partitions.posting).await?;
    let count = (pending.pointers.len() + pending.unreadable.len()) as u64;
    findings.note(format!(
        "{} pending (awards and milestone checks).",
        counted(count, "grant")
    ));
    if count > 0 {
        findings.follows(&Cause::NotRunning, wait(count, "grant", "applied", ""));
    }
    Ok(())
}
