//! `tidemark wait`: returns when everything that was appended before it can be seen.
//!
//! What keeps it from that, and what is wrong with new events although it can be seen, is what
//! `doctor` finds: the same checks, the same sentences. What `doctor` finds besides, of audits,
//! closes and protection, keeps nothing from being seen.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::args::WaitArgs;
use super::doctor::{self, Findings, NoSession};
use super::output::{Done, Failure};
use super::session::{Session, Workers};
use crate::domain::position::Partition;
use crate::log::{Bounds, LogError, Topic};
use crate::ops::config::Config;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::progress::{self, RatedSequences};
use crate::store::checkpoints;

/// How often it looks.
const POLL: Duration = Duration::from_millis(100);
/// How long it may take to find out what is wrong, also if all of the time is gone.
const LOOK_WITHIN: Duration = Duration::from_secs(20);
/// How long one look at the positions may take. A store that hangs must not keep anybody from
/// finding out that it does.
const POSITIONS_WITHIN: Duration = Duration::from_secs(10);
/// How often it tells how far it is.
const TELL: Duration = Duration::from_millis(500);

/// The same, where lines are written in place of a bar.
const TELL_LINE: Duration = Duration::from_secs(10);
/// How often it is looked for what is in the way, and how often in a row something must be that
/// does not pass by itself: a restart of all workers takes a moment.
const STANDSTILL_LOOK: Duration = Duration::from_secs(15);
const STANDSTILL_TIMES: u32 = 3;

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
pub async fn run(session: &Session, config: &Config, args: &WaitArgs) -> Done {
    let (start, timeout) = (Instant::now(), args.timeout);
    let mut standstill = Standstill::new(config, &args.addresses);
    let bounds = match bounds(session, start, timeout).await {
        Ok(bounds) => bounds,
        Err(why) => return Err(standstill.explain(session, why).await),
    };
    let mut awaited = Awaited::Rating;
    let mut shown = Shown::start(session, &bounds).await;
    loop {
        match positions(session, &bounds, &mut awaited).await {
            Ok(true) => break,
            Ok(false) => shown.trouble = standstill.first(),
            Err(Failure::Failed(why)) => shown.trouble = standstill.first().or(Some(why)),
            Err(failure) => return Err(failure),
        }
        shown.tell(session, &bounds, &awaited).await;
        if session.workers == Workers::Nobody {
            // Waiting would keep `up` from starting.
            return Err(Failure::failed(format!(
                "`tidemark up` is not running on this data, and {}; start it, then wait again",
                awaited.as_str()
            )));
        }
        standstill.look(session).await;
        if standstill.is_lasting() || has_halted(session).await {
            return Err(standstill.report(session, awaited.as_str()).await);
        }
        if start.elapsed() >= timeout {
            let trouble = shown.trouble.take();
            let slow = too_slow(&awaited, timeout, trouble.as_deref());
            return Err(standstill.explain(session, slow).await);
        }
        tokio::time::sleep(POLL).await;
    }
    drop(shown);
    afterwards(session, config, &args.addresses).await
}

/// As [`run`], where no session can begin: what explains that is said, as `doctor` does.
pub async fn run_blind(config: &Config, none: NoSession, args: &WaitArgs) -> Done {
    let mut findings = Findings::default();
    doctor::ask(&args.addresses, &mut findings).await?;
    match doctor::blind(config, none, &mut findings).await? {
        Ok(()) => Err(with_findings("cannot wait", &findings)),
        Err(why) => Err(why),
    }
}

/// What `doctor` says although everything is done: a failure. What else is to be known of the
/// newest events, how many were rejected among it, is said.
async fn afterwards(session: &Session, config: &Config, addresses: &[String]) -> Done {
    let mut findings = Findings::default();
    let notes = tokio::time::timeout(LOOK_WITHIN, async {
        doctor::ask(addresses, &mut findings).await?;
        if !doctor::standstill(session, config, &mut findings).await? {
            return Ok(Vec::new());
        }
        doctor::troubles(session, config, &mut findings).await
    });
    let unsure = "could not check whether anything is wrong";
    let notes = match notes.await {
        Ok(Ok(notes)) => notes,
        Ok(Err(Failure::Failed(why))) => vec![format!("{unsure}: {why}")],
        Ok(Err(failure)) => return Err(failure),
        Err(_) => vec![format!("{unsure} within {LOOK_WITHIN:?}")],
    };
    if !findings.is_empty() {
        return Err(with_findings("everything is done, but", &findings));
    }
    for note in notes {
        eprintln!("tidemark: everything is done; {note}");
    }
    Ok(())
}

/// What was found, each cause on a line, after a few words.
fn with_findings(what: &str, findings: &Findings) -> Failure {
    let texts = findings.texts();
    match &texts[..] {
        [only] => Failure::failed(format!("{what}: {only}")),
        many => Failure::failed(format!("{what}:\n  ! {}", many.join("\n  ! "))),
    }
}

/// What keeps everything from moving on.
struct Standstill<'s> {
    config: &'s Config,
    addresses: &'s [String],
    looked: Instant,
    /// What the last look found.
    found: Findings,
    /// How often in a row something was found that does not pass by itself.
    times: u32,
}

impl<'s> Standstill<'s> {
    fn new(config: &'s Config, addresses: &'s [String]) -> Standstill<'s> {
        Standstill {
            config,
            addresses,
            looked: Instant::now(),
            found: Findings::default(),
            times: 0,
        }
    }

    /// Looks, if it is time to.
    async fn look(&mut self, session: &Session) {
        if self.looked.elapsed() < STANDSTILL_LOOK {
            return;
        }
        self.look_now(session).await;
        self.times = match self.found.is_lasting() {
            true => self.times + 1,
            false => 0,
        };
    }

    /// What is found in time counts, also if the rest cannot be looked at.
    async fn look_now(&mut self, session: &Session) {
        let mut found = Findings::default();
        let looked = tokio::time::timeout(LOOK_WITHIN, async {
            doctor::ask(self.addresses, &mut found).await?;
            doctor::standstill(session, self.config, &mut found).await
        });
        if let Ok(Err(Failure::Failed(why))) = looked.await {
            tracing::debug!(event = "wait.unsure", why, "some checks could not run");
        }
        self.found = found;
        self.looked = Instant::now();
    }

    const fn is_lasting(&self) -> bool {
        self.times >= STANDSTILL_TIMES
    }

    /// The worst of what was found.
    fn first(&self) -> Option<String> {
        self.found.texts().into_iter().next()
    }

    /// What was found is why nothing more happens.
    async fn report(&mut self, session: &Session, awaited: &str) -> Failure {
        let halted = Failure::failed(format!(
            "a partition has halted, and {awaited}; `tidemark doctor` says what to do"
        ));
        if !self.is_lasting() {
            self.look_now(session).await;
        }
        match self.found.is_empty() {
            true => halted,
            false => with_findings(
                &format!("waiting does not help, and {awaited}"),
                &self.found,
            ),
        }
    }

    /// A failure, with what explains it, if anything does.
    async fn explain(&mut self, session: &Session, failure: Failure) -> Failure {
        self.look_now(session).await;
        match failure {
            Failure::Failed(why) if !self.found.is_empty() => with_findings(&why, &self.found),
            other => other,
        }
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
            Awaited::Rating => unrated(session, bounds).await,
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
async fn unrated(session: &Session, bounds: &[Bounds]) -> Option<u64> {
    let counted = tokio::time::timeout(POSITIONS_WITHIN, count_unrated(session, bounds));
    counted.await.ok()?.ok()
}

async fn count_unrated(session: &Session, bounds: &[Bounds]) -> Done<u64> {
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

/// Moves on as far as possible, within bounds; whether nothing is awaited any more.
async fn positions(session: &Session, bounds: &[Bounds], awaited: &mut Awaited) -> Done<bool> {
    let looked = look(session, bounds, awaited);
    match tokio::time::timeout(POSITIONS_WITHIN, looked).await {
        Ok(looked) => looked,
        Err(_) => Err(Failure::failed(format!(
            "the store has not answered for {} s",
            POSITIONS_WITHIN.as_secs()
        ))),
    }
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

/// A halted partition may be what is awaited, and waiting will not help.
async fn has_halted(session: &Session) -> bool {
    let halts = tokio::time::timeout(POSITIONS_WITHIN, checkpoints::halts(session.db())).await;
    halts.is_ok_and(|halts| halts.is_ok_and(|halts| !halts.is_empty()))
}

fn too_slow(awaited: &Awaited, timeout: Duration, trouble: Option<&str>) -> Failure {
    let trouble = trouble.map(|why| format!(" ({why})")).unwrap_or_default();
    Failure::failed(format!(
        "after {timeout:?} {}{trouble}; wait longer (--timeout 30m), or look for problems with \
         `tidemark doctor`",
        awaited.as_str()
    ))
}
