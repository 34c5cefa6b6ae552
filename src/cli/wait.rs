//! `tidemark wait`: returns when everything that was appended before it can be seen.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::doctor;
use super::output::{Done, Failure, counted};
use super::recent::Recent;
use super::session::{Session, Workers};
use crate::domain::position::Partition;
use crate::log::{Bounds, LogError, Topic};
use crate::ops::config::Config;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::progress::{self, RatedSequences};
use crate::store::checkpoints;

/// How often it looks.
const POLL: Duration = Duration::from_millis(100);
/// How long the looks afterwards may take at the least, if nearly all of the time is gone.
const LOOK_LEAST: Duration = Duration::from_secs(1);
/// How often it tells how far it is.
const TELL: Duration = Duration::from_millis(500);

/// The same, where lines are written in place of a bar.
const TELL_LINE: Duration = Duration::from_secs(10);
/// How often it is looked whether anybody works, and how often in a row nobody must.
const IDLE_LOOK: Duration = Duration::from_secs(15);
const IDLE_TIMES: u32 = 3;

/// What is still awaited.
enum Awaited {
    Rating,
    /// With what they became when they were rated. Asked anew, it would move on with every event
    /// that is sent meanwhile.
    Posting(RatedSequences),
    Awards(BTreeSet<(Partition, String)>),
}

impl Awaited {
    const fn as_str(&self) -> &'static str {
        match self {
            Awaited::Rating => "events are still to be rated",
            Awaited::Posting(_) => "postings are still to be written",
            Awaited::Awards(_) => "awards are still pending",
        }
    }
}

/// Runs the command.
pub async fn run(session: &Session, config: &Config, timeout: Duration) -> Done {
    let start = Instant::now();
    let bounds = bounds(session, start, timeout).await?;
    let mut awaited = Awaited::Rating;
    let mut shown = Shown::start(session, &bounds).await;
    let mut idle = Idle::default();
    loop {
        match look(session, &bounds, &mut awaited).await {
            Ok(true) => break,
            Ok(false) => {
                shown.trouble = None;
                shown.tell(session, &bounds, &awaited).await;
            }
            Err(Failure::Failed(why)) if start.elapsed() < timeout => {
                shown.trouble = Some(why);
                shown.tell(session, &bounds, &awaited).await;
            }
            Err(failure) => return Err(failure),
        }
        no_halt(session).await?;
        if session.workers == Workers::Nobody {
            // Waiting would keep `up` from starting.
            return Err(Failure::failed(format!(
                "`tidemark up` is not running on this data, and {}; start it, then wait again",
                awaited.as_str()
            )));
        }
        if let Some(idle) = idle.look(session, config).await {
            return Err(Failure::failed(format!(
                "no live worker: nothing is {idle}, and {}; start `tidemark worker`, then wait again",
                awaited.as_str()
            )));
        }
        if start.elapsed() >= timeout {
            return Err(too_slow(&awaited, timeout, shown.trouble.as_deref()));
        }
        tokio::time::sleep(POLL).await;
    }
    drop(shown);
    let left = timeout.saturating_sub(start.elapsed()).max(LOOK_LEAST);
    let said = match tokio::time::timeout(left, afterwards(session, config)).await {
        Ok(looked) => looked?,
        Err(_) => Some(format!(
            "could not check within {timeout:?} whether the newest events were rejected"
        )),
    };
    if let Some(note) = said {
        eprintln!("tidemark: everything is done; {note}");
    }
    Ok(())
}

/// What else is to be said when everything is done; a failure, if that is of no use.
async fn afterwards(session: &Session, config: &Config) -> Done<Option<String>> {
    none_aside(session).await?;
    let said = of_recent(Recent::read(session).await)?;
    let refusal = match session.workers {
        Workers::Up => doctor::refusal(config)
            .await
            .map(doctor::Refusal::into_text),
        Workers::Nobody | Workers::Elsewhere => None,
    };
    let clocks = match doctor::store_clock_difference(session) {
        None => doctor::clock_difference(session).await,
        differs => differs,
    };
    match refusal.or(clocks) {
        Some(what) => Err(done_but(&what)),
        None => Ok(said),
    }
}

/// Says how many of the newest events were rejected: they are not waited for, and nothing of them
/// is seen. If it was most of them, that is a failure. That they could not be read just now is
/// none: what was awaited is there.
fn of_recent(read: Done<Recent>) -> Done<Option<String>> {
    let recent = match read {
        Ok(recent) => recent,
        Err(Failure::Failed(why) | Failure::Refused(why)) => {
            return Ok(Some(format!(
                "could not check whether the newest events were rejected: {why}"
            )));
        }
        Err(other) => return Err(other),
    };
    if let Some(what) = recent.rejections().or_else(|| recent.missing_usage()) {
        return Err(done_but(&what));
    }
    let (rejected, events) = recent.rejected();
    Ok((rejected > 0).then(|| {
        format!(
            "{rejected} of the newest {events} events were rejected; see why: tidemark rejects list --last 5"
        )
    }))
}

fn done_but(what: &str) -> Failure {
    Failure::failed(format!("everything is done, but: {what}"))
}

/// Whether nobody works on a cluster. A restart of all workers takes a moment, so that must last.
#[derive(Default)]
struct Idle {
    looked: Option<Instant>,
    times: u32,
}

impl Idle {
    async fn look(&mut self, session: &Session, config: &Config) -> Option<String> {
        let is_due = self.looked.get_or_insert_with(Instant::now).elapsed() >= IDLE_LOOK;
        if session.workers != Workers::Elsewhere || !is_due {
            return None;
        }
        self.looked = Some(Instant::now());
        let idle = doctor::idle_roles(config).await.ok().flatten();
        self.times = idle.as_ref().map_or(0, |_| self.times + 1);
        idle.filter(|_| self.times >= IDLE_TIMES)
    }
}

/// How far it is, for who watches.
struct Shown {
    bar: ProgressBar,
    told: Instant,
    /// What kept the last look from being one.
    trouble: Option<String>,
}

impl Shown {
    async fn start(session: &Session, bounds: &[Bounds]) -> Shown {
        let bar = super::progress::bar(Some(0), "rated");
        if !bar.is_hidden() {
            bar.set_length(unrated(session, bounds).await.unwrap_or(0));
        }
        Shown {
            bar,
            told: Instant::now(),
            trouble: None,
        }
    }

    /// On a terminal a bar; elsewhere a line from time to time.
    async fn tell(&mut self, session: &Session, bounds: &[Bounds], awaited: &Awaited) {
        let every = if self.bar.is_hidden() {
            TELL_LINE
        } else {
            TELL
        };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let trouble = self.trouble.as_ref();
        let trouble = trouble.map(|why| format!(" ({why})")).unwrap_or_default();
        let state = format!("{}{trouble}", awaited.as_str());
        let left = match awaited {
            Awaited::Rating => unrated(session, bounds).await.ok(),
            Awaited::Posting(_) | Awaited::Awards(_) => Some(0),
        };
        if self.bar.is_hidden() {
            let left = left.filter(|left| *left > 0);
            let left = left
                .map(|left| format!(", {left} of them"))
                .unwrap_or_default();
            eprintln!("tidemark: waiting: {state}{left}");
            return;
        }
        self.bar.set_message(format!("; {state}"));
        if let Some(left) = left {
            let whole = self.bar.length().unwrap_or(0).max(left);
            self.bar.set_length(whole);
            self.bar.set_position(whole - left);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How many records of those that are awaited are not rated yet.
async fn unrated(session: &Session, bounds: &[Bounds]) -> Done<u64> {
    let mut left = 0;
    for (partition, bounds) in (0..).map(Partition).zip(bounds) {
        let task = TaskId::new(Role::Rate, partition);
        let stored = progress::standing(session.db(), task).await?;
        let stored = stored.filter(|stored| stored.epoch == Some(session.log.epoch()));
        left += bounds.waiting(stored.map_or(bounds.start, |stored| stored.first));
    }
    Ok(left)
}

/// What each partition of `usage.events` holds now. A log that does not answer, after a restart of
/// its broker say, is asked again.
async fn bounds(session: &Session, start: Instant, timeout: Duration) -> Done<Vec<Bounds>> {
    let mut all = Vec::new();
    for partition in (0..session.partitions.source).map(Partition) {
        all.push(loop {
            match session.log.bounds(Topic::UsageEvents, partition).await {
                Err(LogError::Unavailable(why)) if start.elapsed() < timeout => {
                    tracing::debug!(
                        event = "wait.retry",
                        why,
                        "the log did not answer; retrying"
                    );
                    tokio::time::sleep(POLL).await;
                }
                result => break result?,
            }
        });
    }
    Ok(all)
}

/// Moves on as far as possible; whether nothing is awaited any more.
async fn look(session: &Session, bounds: &[Bounds], awaited: &mut Awaited) -> Done<bool> {
    if matches!(awaited, Awaited::Rating) {
        let Some(wanted) = progress::rated(session.db(), session.log.epoch(), bounds).await? else {
            return Ok(false);
        };
        *awaited = Awaited::Posting(wanted);
    }
    if let Awaited::Posting(wanted) = awaited {
        if !progress::posted(session.db(), wanted).await? {
            return Ok(false);
        }
        // Read only now: what the postings brought about is pending already.
        *awaited = Awaited::Awards(pointers(session).await?);
    }
    let Awaited::Awards(before) = awaited else {
        return Ok(false);
    };
    let now = pointers(session).await?;
    before.retain(|pointer| now.contains(pointer));
    Ok(before.is_empty())
}

/// Those of accounts that are set aside wait for an operator, so nobody waits for them here.
async fn pointers(session: &Session) -> Done<BTreeSet<(Partition, String)>> {
    let pending = progress::pointers(session.db(), session.partitions.posting).await?;
    let aside = session.queries().set_aside().await?;
    let awaited = pending.pointers.into_iter();
    let awaited = awaited.filter(|pointer| !aside.has(pointer.account()));
    Ok(awaited.map(|p| (p.partition, p.item)).collect())
}

/// Everything is done but for accounts that are set aside.
async fn none_aside(session: &Session) -> Done {
    let aside = session.queries().set_aside().await?;
    let Some(first) = aside.names().next() else {
        return Ok(());
    };
    Err(done_but(&format!(
        "{} set aside ({first}{}): see tidemark set-aside list",
        counted(aside.len() as u64, "account"),
        if aside.len() > 1 { ", …" } else { "" }
    )))
}

/// A halted partition may be what is awaited, and waiting will not help.
async fn no_halt(session: &Session) -> Done {
    let halts = checkpoints::halts(session.db()).await.unwrap_or_default();
    match halts.first() {
        None => Ok(()),
        Some(halt) => Err(Failure::failed(format!(
            "{} has halted ({}); `tidemark doctor` says what to do",
            halt.task, halt.code
        ))),
    }
}

fn too_slow(awaited: &Awaited, timeout: Duration, trouble: Option<&str>) -> Failure {
    let trouble = trouble.map(|why| format!(" ({why})")).unwrap_or_default();
    Failure::failed(format!(
        "after {timeout:?} {}{trouble}; wait longer (--timeout 30m), or look for problems with \
         `tidemark doctor`",
        awaited.as_str()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_fails_when_everything_is_done_is_a_note() {
        let note = of_recent(Err(LogError::Unavailable("no leader".into()).into()));
        let note = note.ok().flatten().unwrap();
        assert!(note.contains("no leader"), "{note}");
        assert!(matches!(of_recent(Ok(Recent::default())), Ok(None)));
        let gone = of_recent(Err(Failure::ReaderGone));
        assert!(matches!(gone, Err(Failure::ReaderGone)));
    }
}
