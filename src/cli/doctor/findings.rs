//! What was found: notes, and one fault per cause, with what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::cli::output::{Done, Failure, Out, counted};
use crate::domain::position::Partition;
use crate::domain::time::Millis;
use crate::ops::health::TaskId;
use crate::pipeline::HaltCode;

/// How many different things of one cause are told; the rest is counted.
const TOLD_MAX: usize = 4;

/// What was found.
#[derive(Default)]
pub struct Findings {
    /// What is as it should be, or only worth knowing.
    notes: Vec<String>,
    /// What is wrong and what to do, but for halts.
    faults: BTreeMap<Cause, Fault>,
    /// Partitions that stand still, or will, by the code of their halts.
    stops: BTreeMap<String, Stop>,
    /// Partitions of which their process does not know yet whether they can go on.
    loading: BTreeSet<TaskId>,
}

/// Why something is wrong; in the order in which they are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Nobody works on this data.
    NotRunning,
    /// `up` runs and does not answer.
    UpSilent,
    /// The store cannot be used.
    StoreDown,
    /// The broker cannot be reached.
    LogDown,
    /// A topic is gone.
    TopicMissing(String),
    /// The log takes no events.
    LogRefuses,
    /// This machine's clock disagrees with that of the log.
    ClocksDiffer,
    /// This machine's clock disagrees with the store's.
    StoreClockDiffers,
    /// Prices and links do not agree with the control feed.
    TablesApart,
    /// `tidemark recover` did not come to its end.
    RecoveryBrokenOff,
    /// Most recent events are rejected.
    Rejected,
    /// Most recent events have no token counts.
    WithoutUsage,
    /// No rules have been published.
    NoRules,
    /// Accounts are set aside.
    SetAside,
    /// The auditor has found differences.
    AuditFindings,
    /// The archive cannot be read.
    Archive,
    /// Partitions have not been taken up yet, or nobody knows whether they can go on.
    NotTakenUp,
    /// A process that was asked does not answer, or takes no events.
    Process(String),
    /// What processes that were asked say of themselves.
    Reported(String),
    /// The close of a month was begun and not finished.
    CloseUnfinished,
    /// Files of closed months are gone, or their place cannot be read.
    CloseFiles,
    /// Work has been waiting for too long, and nothing tells why.
    Late,
    /// Adapters are configured where nobody runs them.
    AdaptersIdle,
    /// An adapter's topic.
    Adapter(String),
    /// Tables can be deleted, or not be restored.
    Unprotected,
}

impl Cause {
    /// Whether it stays until somebody acts; an outage passes by itself once what is down is back.
    const fn is_lasting(&self) -> bool {
        !matches!(
            self,
            Cause::UpSilent
                | Cause::StoreDown
                | Cause::LogDown
                | Cause::LogRefuses
                | Cause::NotTakenUp
                | Cause::Process(_)
                | Cause::Reported(_)
        )
    }
}

/// One cause.
struct Fault {
    /// What it is, and what to do.
    what: String,
    /// What comes of it.
    follows: Vec<String>,
}

/// Partitions that stand still for one reason, or will as soon as somebody takes them up.
#[derive(Default)]
pub struct Stop {
    /// What is wrong, each sentence once, and where.
    what: Vec<(String, BTreeSet<TaskId>)>,
    /// Those that stand still by their own word, and since when, if that is recorded.
    halted: BTreeMap<TaskId, Option<Millis>>,
    follows: Vec<String>,
}

impl Findings {
    /// Something worth knowing.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// A cause, told once.
    pub fn fault(&mut self, cause: Cause, what: impl Into<String>) {
        let follows = Vec::new();
        let what = what.into();
        self.faults.entry(cause).or_insert(Fault { what, follows });
    }

    /// Whether this cause was found.
    pub fn has(&self, cause: &Cause) -> bool {
        self.faults.contains_key(cause)
    }

    /// Whether something was found that does not pass by itself.
    pub fn is_lasting(&self) -> bool {
        !self.stops.is_empty() || self.faults.keys().any(Cause::is_lasting)
    }

    /// Everything that was found, the worst first: what it is, what to do, and what follows from it.
    pub fn texts(&self) -> Vec<String> {
        let faults = self.faults().into_iter();
        faults.map(|lines| lines.join(" ")).collect()
    }

    /// Whether nothing is wrong, as far as was found.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many things were found to be wrong.
    pub fn count(&self) -> usize {
        self.faults.len() + self.stops.len()
    }

    /// What comes of a cause; false if that was not found.
    pub fn follows(&mut self, cause: &Cause, text: impl Into<String>) -> bool {
        let fault = self.faults.get_mut(cause);
        let is_there = fault.is_some();
        if let Some(fault) = fault {
            fault.follows.push(text.into());
        }
        is_there
    }

    /// A partition that has recorded a halt.
    pub fn halted(&mut self, task: TaskId, code: &str, since: Millis, message: &str) {
        let stop = self.stops.entry(code.to_owned()).or_default();
        stop.halted.insert(task, Some(since));
        stop.say(message, Some(task));
    }

    /// A partition that has halted as its process says, which may not have been able to record it.
    pub fn says_it_halted(&mut self, task: TaskId, code: &str) {
        if self.halted_with(task).is_none() {
            let stop = self.stops.entry(code.to_owned()).or_default();
            stop.halted.insert(task, None);
        }
    }

    /// What a partition would halt with; `None`: no single partition would. What has halted already
    /// does not: then it is why resuming that alone does not help.
    pub fn will_halt(&mut self, task: Option<TaskId>, code: HaltCode, message: &str) {
        let halted = task.and_then(|task| self.halted_with(task));
        let halted = halted.filter(|with| with != code.as_str() && code != HaltCode::LogDamaged);
        if let Some(with) = halted {
            let message = message.trim_end_matches('.');
            let (code, advice) = (code.as_str(), code.advice());
            let text = format!("Resumed now, it would halt again ({code}): {message}. {advice}");
            self.waits_behind(&with, text);
            return;
        }
        let stop = self.stops.entry(code.as_str().to_owned()).or_default();
        stop.say(message, task);
    }

    /// The code of what a partition stands still with.
    pub fn stopped(&self, task: TaskId) -> Option<String> {
        let is_here = |(_, stop): &(&String, &Stop)| {
            stop.halted.contains_key(&task) || stop.what.iter().any(|(_, at)| at.contains(&task))
        };
        let found = self.stops.iter().find(is_here);
        found.map(|(code, _)| code.clone())
    }

    /// A partition of which its process does not know yet whether it can go on.
    pub fn is_loading(&mut self, task: TaskId) {
        self.loading.insert(task);
    }

    /// Those of them that nothing stops.
    pub fn not_loaded(&self) -> Vec<TaskId> {
        let loading = self.loading.iter().copied();
        loading
            .filter(|task| self.stopped(*task).is_none())
            .collect()
    }

    /// The code with which a partition has halted.
    fn halted_with(&self, task: TaskId) -> Option<String> {
        let mut stops = self.stops.iter();
        let found = stops.find(|(_, stop)| stop.halted.contains_key(&task));
        found.map(|(code, _)| code.clone())
    }

    /// What waits behind partitions that stand still. Each text is told once.
    pub fn waits_behind(&mut self, code: &str, text: impl Into<String>) {
        let text = text.into();
        if let Some(stop) = self.stops.get_mut(code)
            && !stop.follows.contains(&text)
        {
            stop.follows.push(text);
        }
    }

    /// One text per cause: what it is, what to do, and what follows from it, each on a line.
    fn faults(&self) -> Vec<Vec<String>> {
        let stops = self.stops.iter().map(|(code, stop)| stop.lines(code));
        let mut all: Vec<Vec<String>> = Vec::new();
        let mut late: Vec<Vec<String>> = Vec::new();
        for (cause, fault) in &self.faults {
            let lines = std::iter::once(&fault.what).chain(&fault.follows);
            let lines = lines.cloned().collect();
            match cause {
                Cause::NotRunning
                | Cause::UpSilent
                | Cause::StoreDown
                | Cause::LogDown
                | Cause::TopicMissing(_)
                | Cause::LogRefuses
                | Cause::ClocksDiffer
                | Cause::StoreClockDiffers
                | Cause::RecoveryBrokenOff
                | Cause::TablesApart
                | Cause::Rejected
                | Cause::WithoutUsage
                | Cause::NoRules
                | Cause::SetAside
                | Cause::AuditFindings
                | Cause::NotTakenUp
                | Cause::Process(_)
                | Cause::Reported(_)
                | Cause::CloseUnfinished
                | Cause::CloseFiles
                | Cause::Archive => all.push(lines),
                Cause::Late | Cause::AdaptersIdle | Cause::Adapter(_) | Cause::Unprotected => {
                    late.push(lines);
                }
            }
        }
        all.extend(stops);
        all.extend(late);
        all
    }

    /// Says it all. Exit code 1 if something is wrong.
    pub fn report(&self, is_json: bool) -> Done {
        let faults = self.faults();
        let mut out = Out::new();
        if is_json {
            let texts = self.texts();
            out.json(&json!({"well": texts.is_empty(), "faults": texts, "notes": self.notes}))?;
        } else {
            for note in &self.notes {
                out.line(format!("  {note}"))?;
            }
            for lines in &faults {
                let [what, follows @ ..] = &lines[..] else {
                    continue;
                };
                out.line(format!("! {what}"))?;
                for line in follows {
                    out.line(format!("    {line}"))?;
                }
            }
            if faults.is_empty() {
                out.line("All is well.")?;
            }
        }
        out.finish()?;
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Failure::Said(1))
        }
    }
}

impl Stop {
    fn say(&mut self, message: &str, task: Option<TaskId>) {
        let message = message.trim_end_matches('.');
        let known = self.what.iter_mut().find(|(known, _)| known == message);
        match known {
            Some((_, at)) => at.extend(task),
            None => self
                .what
                .push((message.to_owned(), task.into_iter().collect())),
        }
    }

    fn lines(&self, code: &str) -> Vec<String> {
        let known = HaltCode::from_name(code);
        let advice = known.map_or("", HaltCode::advice);
        let mut text = match known {
            // Partitions of topics are damaged, whoever reads them.
            Some(HaltCode::LogDamaged) => format!(
                "The log is damaged: {}. The other partitions continue without it.",
                self.what()
            ),
            _ => self.who(code),
        };
        // The error says so itself.
        if !advice.is_empty() && known != Some(HaltCode::LogDamaged) {
            text.push(' ');
            text.push_str(advice);
        }
        if !self.halted.is_empty() {
            if known == Some(HaltCode::LogDamaged) {
                text.push_str(&format!(" {}.", self.stand_still(code)));
            }
            let tasks: Vec<String> = self.halted.keys().map(ToString::to_string).collect();
            text.push_str(&format!(" Then: tidemark resume {}", tasks.join(" ")));
        }
        std::iter::once(text).chain(self.follows.clone()).collect()
    }

    /// `rate/0 and rate/1 have been halted since … (log_recreated): …; so will rate/2.`
    fn who(&self, code: &str) -> String {
        let all: BTreeSet<TaskId> = self.what.iter().flat_map(|(_, at)| at).copied().collect();
        let coming: Vec<TaskId> = all
            .into_iter()
            .filter(|task| !self.halted.contains_key(task))
            .collect();
        let what = self.what();
        match (self.halted.is_empty(), coming.is_empty()) {
            // The process that said it knows why, and says so in its log.
            (false, true) if what.is_empty() => format!("{}.", self.stand_still(code)),
            (false, true) => format!("{}: {what}.", self.stand_still(code)),
            (false, false) => format!(
                "{}: {what}. {} will halt as well when a worker takes {} over.",
                self.stand_still(code),
                listed(&coming),
                them(coming.len())
            ),
            (true, _) => format!(
                "{} will halt as soon as a worker takes {} over ({code}): {what}.",
                listed(&coming),
                them(coming.len())
            ),
        }
    }

    fn stand_still(&self, code: &str) -> String {
        let tasks: Vec<TaskId> = self.halted.keys().copied().collect();
        let verb = if tasks.len() == 1 { "has" } else { "have" };
        let halted = match self.halted.values().flatten().min() {
            Some(since) => format!("been halted since {since}"),
            None => "halted".to_owned(),
        };
        format!("{} {verb} {halted} ({code})", listed(&tasks))
    }

    /// Each sentence once; where there are several, with their partitions.
    fn what(&self) -> String {
        if let [(only, _)] = &self.what[..] {
            return only.clone();
        }
        let told = self.what.iter().take(TOLD_MAX);
        let mut parts: Vec<String> = told
            .map(|(text, at)| {
                let at: Vec<TaskId> = at.iter().copied().collect();
                match at.is_empty() {
                    true => text.clone(),
                    false => format!("{}: {text}", listed(&at)),
                }
            })
            .collect();
        let left = self.what.len().saturating_sub(TOLD_MAX);
        if left > 0 {
            parts.push(format!("and {left} more like these"));
        }
        parts.join("; ")
    }
}

fn them(count: usize) -> &'static str {
    if count == 1 { "it" } else { "them" }
}

/// `rate/0, rate/1 and post/2`.
pub(super) fn listed(tasks: &[TaskId]) -> String {
    let names: Vec<String> = tasks.iter().map(ToString::to_string).collect();
    match &names[..] {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What waits, by partition.
#[derive(Clone, Default)]
pub struct Backlog(Vec<(Partition, u64)>);

impl Backlog {
    /// Counts a partition's.
    pub fn add(&mut self, partition: Partition, count: u64) {
        if count > 0 {
            self.0.push((partition, count));
        }
    }

    /// All of it.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// ` (partition 0: 12, partition 3: 1)`; nothing if nothing waits.
    pub fn by_partition(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let part =
            |(partition, count): &(Partition, u64)| format!("partition {partition}: {count}");
        let parts: Vec<String> = self.0.iter().map(part).collect();
        format!(" ({})", parts.join(", "))
    }

    /// `12 records wait to be rated (partition 0: 12).`
    pub fn wait(&self, noun: &str, done: &str) -> String {
        wait(self.sum(), noun, done, &self.by_partition())
    }
}

/// `12 records wait to be rated.`
pub fn wait(count: u64, noun: &str, done: &str, by: &str) -> String {
    let verb = if count == 1 { "waits" } else { "wait" };
    format!("{} {verb} to be {done}{by}.", counted(count, noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> TaskId {
        text.parse().unwrap()
    }

    fn faults(findings: &Findings) -> Vec<String> {
        let all = findings.faults().into_iter();
        all.map(|lines| lines.join("\n")).collect()
    }

    const AT: Millis = Millis(1_795_000_000_000);

    #[test]
    fn halts_of_one_code_are_one_cause_with_one_command() {
        let mut findings = Findings::default();
        for name in ["rate/1", "rate/0"] {
            findings.halted(task(name), "log_recreated", AT, "the topic is another one.");
        }
        findings.will_halt(
            Some(task("rate/2")),
            HaltCode::LogRecreated,
            "the topic is another one",
        );
        findings.waits_behind("log_recreated", "7 records wait to be rated.");
        let [only] = &faults(&findings)[..] else {
            panic!("one cause")
        };
        let expected = format!(
            "rate/0 and rate/1 have been halted since {AT} (log_recreated): the topic is another one. rate/2 will halt as well when a worker takes it over. {} \
             Then: tidemark resume rate/0 rate/1\n7 records wait to be rated.",
            HaltCode::LogRecreated.advice()
        );
        assert_eq!(*only, expected);
        assert_eq!(
            findings.stopped(task("rate/2")).as_deref(),
            Some("log_recreated")
        );
        assert_eq!(findings.stopped(task("post/2")), None);
    }

    #[test]
    fn different_sentences_of_one_cause_stand_with_their_partitions_and_the_many_are_counted() {
        let mut findings = Findings::default();
        for n in 0..6 {
            let what = format!("row {n} is gone");
            findings.halted(task(&format!("post/{n}")), "row_regressed", AT, &what);
        }
        let text = &faults(&findings)[0];
        assert!(
            text.contains(
                "post/0: row 0 is gone; post/1: row 1 is gone; post/2: row 2 is gone; post/3: row 3 is gone; and 2 more like these."
            ),
            "{text}"
        );
        assert!(
            text.ends_with("Then: tidemark resume post/0 post/1 post/2 post/3 post/4 post/5"),
            "{text}"
        );
    }

    #[test]
    fn a_damaged_log_and_who_stands_still_for_it_are_one_cause() {
        let mut findings = Findings::default();
        let what = "usage.events/1 is damaged: a hole; restore the data directory from a backup, or start a new epoch";
        findings.will_halt(Some(task("rate/1")), HaltCode::LogDamaged, what);
        let before = faults(&findings);
        assert_eq!(
            before,
            [format!(
                "The log is damaged: {what}. The other partitions continue without it."
            )]
        );
        findings.halted(task("rate/1"), "log_damaged", AT, what);
        let after = faults(&findings);
        assert_eq!(
            after,
            [format!(
                "{} rate/1 has been halted since {AT} (log_damaged). Then: tidemark resume rate/1",
                before[0]
            )]
        );
    }

    #[test]
    fn what_has_halted_is_not_about_to() {
        let mut findings = Findings::default();
        let (one, other) = (task("rate/0"), task("rate/1"));
        findings.halted(one, "tables_behind_log", AT, "the tables are old");
        for task in [one, other] {
            findings.will_halt(Some(task), HaltCode::StoreRefused, "table X is missing.");
            findings.will_halt(Some(task), HaltCode::StoreRefused, "table X is missing.");
        }
        let texts = faults(&findings);
        let [refused, behind] = &texts[..] else {
            panic!("{texts:#?}")
        };
        assert!(
            refused.starts_with("rate/1 will halt as soon as"),
            "{refused}"
        );
        let again = "\nResumed now, it would halt again (store_refused): table X is missing. ";
        assert!(
            behind.starts_with("rate/0 has been halted since"),
            "{behind}"
        );
        assert_eq!(behind.matches(again).count(), 1, "{behind}");
        assert!(!behind.contains("will halt"), "{behind}");
    }

    #[test]
    fn a_halt_that_could_not_be_recorded_is_told_in_the_same_words() {
        let mut findings = Findings::default();
        findings.says_it_halted(task("post/1"), "store_refused");
        assert!(faults(&findings)[0].starts_with("post/1 has halted (store_refused). "));
        findings.will_halt(Some(task("post/1")), HaltCode::StoreRefused, "it is gone");
        let told = faults(&findings).remove(0);
        assert!(
            told.starts_with("post/1 has halted (store_refused): it is gone. "),
            "{told}"
        );
        // What is recorded is as well.
        findings.halted(task("post/1"), "store_refused", AT, "it is gone");
        findings.says_it_halted(task("post/1"), "store_refused");
        let told = faults(&findings).remove(0);
        assert!(
            told.starts_with(&format!("post/1 has been halted since {AT}")),
            "{told}"
        );
    }

    #[test]
    fn a_code_of_a_newer_tidemark_is_told_without_advice() {
        let mut findings = Findings::default();
        findings.halted(task("rate/1"), "moon_eclipsed", AT, "it is dark");
        assert_eq!(
            faults(&findings),
            [format!(
                "rate/1 has been halted since {AT} (moon_eclipsed): it is dark. Then: tidemark \
                 resume rate/1"
            )]
        );
    }

    #[test]
    fn nobody_at_work_comes_first_and_lateness_last() {
        let mut findings = Findings::default();
        findings.fault(Cause::Late, "late");
        findings.halted(task("rate/1"), "log_damaged", AT, "it");
        findings.fault(Cause::NoRules, "rules");
        findings.fault(Cause::NotRunning, "nobody");
        assert!(findings.follows(&Cause::NotRunning, "so it waits"));
        assert!(!findings.follows(&Cause::Adapter("a".to_owned()), "so it waits"));
        let firsts: Vec<String> = findings
            .faults()
            .iter()
            .map(|lines| lines[0].chars().take(7).collect())
            .collect();
        assert_eq!(firsts, ["nobody", "rules", "The log", "late"]);
    }
}
