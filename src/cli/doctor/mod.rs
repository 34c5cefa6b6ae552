//! `tidemark doctor`: says in sentences what is wrong and what to do.
//!
//! One cause is told once, with what follows from it. What a partition would halt with is asked of
//! the pipeline's own checks, and told with the halts that they have caused already.

use std::pin::pin;

use futures::future::{self, Either};

use super::args::DoctorArgs;
use super::data::DataDir;
use super::engine::kafka_settings;
use super::output::{Done, Failure, counted};
use super::session::{Access, Session, Workers};
use super::set_aside;
use crate::domain::position::Partition;
use crate::log::embedded;
use crate::log::foreign::ForeignLog;
use crate::log::kafka::KafkaForeign;
use crate::ops::clock::SystemClock;
use crate::ops::config::{Config, LogEngine};
use crate::ops::health::{Feed, Role, TaskId};
use crate::pipeline::progress;
use crate::store::checkpoints;
use findings::{Backlog, Cause};

mod audits;
mod closes;
mod findings;
mod outages;
mod positions;
mod processes;
mod tables;
mod taken_up;

use outages::Glance;

pub(super) use findings::Findings;

/// What `up` and `doctor` say to an adapter that nobody will run.
pub(super) const ADAPTERS_NEED_KAFKA: &str = "[[adapters]] are configured, but they are read only by `tidemark worker --roles adapt`, which needs Kafka (docs/adapters.md).";

/// Why no session can begin, and what a cluster says without one.
pub struct NoSession {
    /// Why.
    pub why: Failure,
    glance: Option<Glance>,
}

/// Begins a session. Meanwhile the store and the broker of a cluster are asked what they say without
/// one: each takes about ten seconds to be given up, and nobody should wait for one after the other.
pub async fn open(config: &Config) -> Result<Session, Box<NoSession>> {
    let opening = Session::open(config, Access::Existing);
    if !config.is_cluster() {
        let glance = None;
        return opening
            .await
            .map_err(|why| Box::new(NoSession { why, glance }));
    }
    let (mut opening, mut glancing) = (pin!(opening), pin!(outages::glance(config)));
    let (why, glance) = match future::select(&mut opening, &mut glancing).await {
        Either::Left((Ok(session), _)) => return Ok(session),
        Either::Left((Err(why), glancing)) => (why, glancing.await),
        Either::Right((glance, opening)) => match opening.await {
            Ok(session) => return Ok(session),
            Err(why) => (why, glance),
        },
    };
    let glance = Some(glance);
    Err(Box::new(NoSession { why, glance }))
}

/// Runs `tidemark doctor`.
pub async fn run(config: &Config, args: &DoctorArgs) -> Done {
    let mut findings = Findings::default();
    let asked = ask(&args.addresses, &mut findings);
    let (opened, asked) = futures::join!(open(config), asked);
    let session = match opened {
        Ok(session) => session,
        Err(none) if matches!(none.why, Failure::Failed(_)) => {
            asked?;
            return run_blind(config, *none, findings, args).await;
        }
        Err(none) => return Err(none.why),
    };
    let done = match asked {
        Ok(()) => {
            let looked = look(&session, config, &mut findings).await;
            finish(looked, findings, args.json)
        }
        Err(failure) => Err(failure),
    };
    session.close().await;
    done
}

/// Where no session can begin: what explains that is a finding, too.
async fn run_blind(
    config: &Config,
    none: NoSession,
    mut findings: Findings,
    args: &DoctorArgs,
) -> Done {
    match blind(config, none, &mut findings).await? {
        Ok(()) => findings.report(args.json),
        Err(why) => Err(why),
    }
}

/// Finds out why no session can begin; the failure itself, if nothing that was found explains it.
pub async fn blind(
    config: &Config,
    none: NoSession,
    findings: &mut Findings,
) -> Done<Result<(), Failure>> {
    let NoSession { why, glance } = none;
    let is_explained = match glance {
        Some(glance) => outages::blind(glance, findings)?,
        None => outages::told_by_up(config, findings).await,
    };
    if let Failure::Failed(why) = &why {
        let is_told = findings.follows(&Cause::UpSilent, format!("Here: {why}."));
        // What processes say of themselves need not be why.
        if !is_told && !is_explained && !findings.is_empty() {
            findings.note(format!("Some checks could not run: {why}."));
        }
    }
    let is_explained = is_explained || !findings.is_empty();
    Ok(if is_explained { Ok(()) } else { Err(why) })
}

/// What was found is told, also if something kept the rest from being looked at.
fn finish(looked: Done, mut findings: Findings, is_json: bool) -> Done {
    match looked {
        Err(Failure::Failed(why)) if !findings.is_empty() => {
            findings.note(format!("Some checks could not run: {why}."));
        }
        looked => looked?,
    }
    findings.report(is_json)
}

async fn look(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    if !standstill(session, config, findings).await? {
        return Ok(());
    }
    for note in troubles(session, config, findings).await? {
        findings.note(note);
    }
    tables::in_flight(session, findings).await?;
    let held = positions::held(session, findings).await?;
    taken_up::look(session, config, findings).await?;
    positions::look(session, config, &held, findings).await?;
    positions::awards(session, findings).await?;
    audits::look(session, config, findings).await?;
    badges(session, findings).await?;
    closes::look(session, config, findings).await?;
    tables::protection(config, findings).await?;
    adapting(session, config, findings).await
}

/// Why events are not taken, rated or posted, if they are not; false, if nothing else can be looked
/// at. Cheap enough to be asked from time to time.
pub async fn standstill(session: &Session, config: &Config, findings: &mut Findings) -> Done<bool> {
    running(session, config, findings);
    log_refusals(config, findings);
    let is_store_there = outages::store(session, findings).await;
    outages::process(session, config, findings).await;
    let is_log_there = outages::log(session, config, findings).await?;
    if !findings.has(&Cause::LogDown) {
        outages::workers(session, config, findings).await?;
    }
    if !is_store_there {
        return Ok(false);
    }
    // Before anything is said to come: what has halted is not about to. If halts cannot be read,
    // their table may be the one that is missing.
    let halts = halts(session, config, findings).await;
    if !tables::look(session, findings).await? {
        return Ok(false);
    }
    halts?;
    rules(session, findings).await?;
    Ok(is_log_there)
}

/// What is wrong although everything goes on: with what comes in, with accounts, with clocks. What
/// else is to be known of the newest events.
pub async fn troubles(
    session: &Session,
    config: &Config,
    findings: &mut Findings,
) -> Done<Vec<String>> {
    outages::store_clock(session, findings);
    accounts_aside(session, config, findings).await?;
    tables::clocks(session, findings).await?;
    outages::clocks(session, findings).await;
    Ok(outages::recent(session, findings).await)
}

/// Asks processes that were named.
pub async fn ask(addresses: &[String], findings: &mut Findings) -> Done {
    processes::look(addresses, findings).await
}

fn running(session: &Session, config: &Config, findings: &mut Findings) {
    match session.workers {
        Workers::Nobody => findings.fault(
            Cause::NotRunning,
            format!(
                "`tidemark up` is not running on this data, so nothing is ingested, rated or \
                 posted. Start it: tidemark up --data {}",
                config.data.display()
            ),
        ),
        Workers::Up => findings.note("`tidemark up` is running on this data."),
        Workers::Elsewhere => {}
    }
}

/// Badges that accounts are being looked through for.
async fn badges(session: &Session, findings: &mut Findings) -> Done {
    if session.queries().are_badges_due().await? {
        findings.note(
            "Badges were published, and not all accounts have been looked through for them yet. The \
             worker that posts partition 0 does it (docs/badges.md).",
        );
    }
    Ok(())
}

/// Why the embedded log takes no events, if it takes none.
fn log_refusals(config: &Config, findings: &mut Findings) {
    if config.log.engine != LogEngine::Embedded {
        return;
    }
    let dir = DataDir::new(&config.data).log();
    for what in embedded::faults(&dir, &SystemClock, config.log.clock_confirmed_until) {
        findings.fault(Cause::LogRefuses, what);
    }
}

async fn rules(session: &Session, findings: &mut Findings) -> Done {
    match session.rules().await? {
        None => findings.fault(
            Cause::NoRules,
            "No rules are published, so no event can be rated. Publish them: tidemark pricing init \
             testnet (or mainnet)",
        ),
        Some(timeline) => {
            let network = if timeline.at(session.now()).is_mainnet() {
                "mainnet: usage costs credits"
            } else {
                "testnet: usage is free"
            };
            findings.note(format!("The rules in force are complete ({network})."));
        }
    }
    Ok(())
}

/// What has halted: as it is recorded, and as a running `up` says.
async fn halts(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    if session.workers == Workers::Up && !findings.has(&Cause::UpSilent) {
        let told = taken_up::tasks_of_up(config).await.unwrap_or_default();
        for (task, state) in told {
            if let Some(code) = state.halted {
                findings.says_it_halted(task, &code);
            }
        }
    }
    for halt in checkpoints::halts(session.db()).await? {
        let task = halt.task.parse().map_err(Failure::failed)?;
        findings.halted(task, &halt.code, halt.at, &halt.message);
    }
    Ok(())
}

/// So many accounts that are set aside are told one by one.
const ASIDE_TOLD_MAX: usize = 5;

/// Accounts that wait while their partition goes on.
async fn accounts_aside(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    let aside = session.queries().set_aside().await?;
    if aside.is_empty() {
        return Ok(());
    }
    findings.fault(Cause::SetAside, set_aside::headline(aside.len()));
    let retention = set_aside::retention(config)?;
    for record in aside.unreadable.iter().take(ASIDE_TOLD_MAX) {
        findings.follows(&Cause::SetAside, set_aside::unreadable_sentence(record));
    }
    let left = ASIDE_TOLD_MAX.saturating_sub(aside.unreadable.len());
    for record in aside.records.iter().take(left) {
        let held = set_aside::Held::of(session, retention, record).await?;
        findings.follows(&Cause::SetAside, set_aside::sentence(record, &held));
    }
    if aside.len() > ASIDE_TOLD_MAX {
        let more = aside.len() - ASIDE_TOLD_MAX;
        findings.follows(
            &Cause::SetAside,
            format!("And {more} more: tidemark set-aside list"),
        );
    }
    Ok(())
}

/// How far behind adapters are. They need Kafka.
async fn adapting(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    if config.adapters.is_empty() {
        return Ok(());
    }
    if session.workers != Workers::Elsewhere {
        findings.fault(Cause::AdaptersIdle, ADAPTERS_NEED_KAFKA);
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
            Err(Failure::Failed(why)) => findings.fault(
                Cause::Adapter(adapter.topic.clone()),
                format!(
                    "The adapter of {} has nothing to read: {why}.",
                    adapter.topic
                ),
            ),
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
        let bounds = log.bounds(topic, partition).await?;
        let task = TaskId::new(Role::Adapt(Feed::of(topic)), partition);
        let stored = progress::standing(session.db(), task).await?;
        let next = stored.and_then(|stored| stored.next_in(session.log.epoch(), &info));
        let next = next.unwrap_or(bounds.start);
        waiting.add(partition, bounds.waiting(next));
    }
    Ok(waiting)
}
