//! `tidemark up`: log, store, rating, posting and the HTTP service in one process.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::data::{DataDir, Running};
use super::demo;
use super::doctor::ADAPTERS_NEED_KAFKA;
use super::engine::{Engine, Owner, archive, closing, find_owner, protect_tables, readable};
use super::keys::{local_key, read_local_key};
use super::listeners::{Listeners, first_failure, not_ready_when_leaving};
use super::output::{Done, Failure, Out};
use super::rules;
use crate::compose::{self, Engines};
use crate::domain::access::Scope;
use crate::domain::ids::{Account, AccountKind};
use crate::http::ApiState;
use crate::log::{Log, Partitions, Topic};
use crate::ops::config::{Config, StoreEngine};
use crate::ops::health::{Health, Role, TaskId};
use crate::ops::shutdown::{Shutdown, Trigger};
use crate::ops::traces;
use crate::pipeline::{self, ArchiveSetup, OwnedTasks};

/// How long closing may take once everything has been drained or given up.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether posting has taken everything, at the end.
const CAUGHT_UP_POLL: Duration = Duration::from_millis(20);

/// Runs until shutdown.
pub async fn run(config: &Config, is_demo: bool, trigger: &Trigger, shutdown: &Shutdown) -> Done {
    check(config)?;
    let data = DataDir::new(&config.data);
    let owned = match find_owner(&data).await? {
        Owner::Us(owned) => owned,
        Owner::Up(running) => return Err(already_runs(&data, &running)),
    };
    if !config.adapters.is_empty() {
        tracing::warn!(event = "adapters.idle", "{ADAPTERS_NEED_KAFKA}");
    }
    let listeners = Listeners::open(config).await?;
    let mut engine = Engine::open(owned, &data, config).await?;
    protect_tables(&engine.db, &config.store).await?;
    traces::count_in(&engine.metrics);
    let log: Arc<dyn Log> = engine.log.clone();
    let partitions = Partitions::of(&*log).await?;
    let archiving = archive(&config.archive).await?;
    let engines = Engines {
        archive: archiving.as_ref().map(readable),
        ..engine.engines()
    };
    let commands = engines.commands(partitions);
    if rules::publish_first(&commands).await? {
        tracing::info!(
            event = "rules.published",
            "no rules yet; published the testnet rules, valid from the beginning; usage is free"
        );
    }
    let health = Arc::new(Health::new(engine.metrics.clone()));
    let mut tasks = JoinSet::new();
    let crew = start_pipeline(
        &mut tasks, &engine, partitions, config, archiving, &health, shutdown,
    )
    .await;
    let running = Running {
        pid: std::process::id(),
        listen: listeners.local_address()?,
        serves_store: config.store.engine == StoreEngine::Embedded,
    };
    local_key(&commands, &data.key()).await?;
    let files = closing(config).await?;
    let service = engines.service(partitions, &config.http, health.clone(), files.clone());
    let key = read_local_key(&data.key())?;
    service.prove_listener(&key, running.listen);
    let links = sign_in_links(&service, &key, is_demo);
    let within = config.drain_timeout;
    let notice = listeners.public_notice()?;
    let served = listeners.serve(&mut tasks, &service, within, trigger, shutdown);
    let looking = engines.look_after(config.http.clone(), health.clone(), files, shutdown.clone());
    tasks.spawn(looking);
    if is_demo {
        tasks.spawn(demo::run(commands, log, partitions, shutdown.clone()));
    }
    engine.serve_store()?;
    end_if_store_fails(&engine);
    // First announced, then ready: who has seen that it is ready finds it.
    engine.announce(&running)?;
    health.set_ready(true);
    welcome(config, &running, notice.as_deref(), &data, is_demo, &links)?;
    trigger.delay_by(config.http.shutdown_delay);
    not_ready_when_leaving(health.clone(), shutdown.clone()).await;
    shutdown.clone().requested().await;
    finish(crew, &*engine.log, &health, config.drain_timeout).await;
    drain(tasks, engine, config.drain_timeout).await;
    first_failure(served)
}

/// Ends the process, as if it had been killed, once the embedded store could not be synced: SQLite
/// must not be closed then ([`Durability::failed`](crate::store::durability::Durability::failed)).
/// Whatever restarts it goes on at the checkpoints.
fn end_if_store_fails(engine: &Engine) {
    let failed = engine.store_failed();
    tokio::spawn(async move {
        let why = failed.await;
        tracing::error!(
            event = "process.failed",
            why,
            "the store cannot be used by this process any more; exiting with code 1. Nothing that \
             was acknowledged is lost; the next start continues"
        );
        std::process::exit(1);
    });
}

/// With Kafka and DynamoDB both elsewhere, partitions are shared out among workers.
fn check(config: &Config) -> Done {
    if config.is_cluster() {
        return Err(Failure::refused(
            "log.engine is \"kafka\" and store.engine is \"dynamodb\": run `tidemark worker` \
             instead; `up` needs an embedded log or store",
        ));
    }
    Ok(())
}

/// Lets the pipeline finish: rating first, then posting, once it has taken what rating has sent. So
/// a stop leaves nothing on the way, and the next start may be on another log.
async fn finish(mut crew: OwnedTasks, log: &dyn Log, health: &Health, within: Duration) {
    let deadline = Instant::now() + within;
    let of = |role| move |task: &TaskId| task.role == role;
    let tasks = crew.tasks();
    let rating: Vec<TaskId> = tasks.iter().copied().filter(of(Role::Rate)).collect();
    let posting: Vec<TaskId> = tasks.iter().copied().filter(of(Role::Post)).collect();
    crew.let_go(&rating, within).await;
    // What is not audited yet is audited after the next start.
    let auditing: Vec<TaskId> = tasks.iter().copied().filter(of(Role::Audit)).collect();
    let left = deadline.saturating_duration_since(Instant::now());
    crew.let_go(&auditing, left).await;
    while Instant::now() < deadline && !all_is_taken(log, health).await {
        tokio::time::sleep(CAUGHT_UP_POLL).await;
    }
    let left = deadline.saturating_duration_since(Instant::now());
    crew.let_go(&posting, left.max(CLOSE_WITHIN)).await;
}

/// Whether posting has come to the end of its log, but for partitions that cannot.
async fn all_is_taken(log: &dyn Log, health: &Health) -> bool {
    for task in health.tasks() {
        if task.id.role != Role::Post || task.halted.is_some() {
            continue;
        }
        let bounds = log.bounds(Topic::LedgerPostings, task.id.partition).await;
        if bounds.is_ok_and(|bounds| task.next.unwrap_or(0) < bounds.end.0) {
            return false;
        }
    }
    true
}

fn already_runs(data: &DataDir, running: &Running) -> Failure {
    Failure::failed(format!(
        "`tidemark up` is already running on {} (process {}, {}); stop it, or use another directory \
         with --data",
        data.path().display(),
        running.pid,
        running.url("/")
    ))
}

async fn start_pipeline(
    tasks: &mut JoinSet<()>,
    engine: &Engine,
    partitions: Partitions,
    config: &Config,
    archiving: Option<ArchiveSetup>,
    health: &Arc<Health>,
    shutdown: &Shutdown,
) -> OwnedTasks {
    let mut ctx = compose::worker(
        engine.engines(),
        &config.pipeline,
        &engine.specs,
        health.clone(),
    );
    if config.pipeline.audit {
        ctx.archive = archiving;
    }
    let ctx = Arc::new(ctx);
    tasks.spawn(pipeline::watch_lag(ctx.clone(), shutdown.receiver()));
    let mut crew = OwnedTasks::new(ctx);
    let mut all = pipeline::all_tasks(partitions.source, partitions.posting);
    if config.pipeline.audit {
        all.extend(pipeline::audit_tasks(partitions.source));
    }
    for task in all {
        crew.start(task).await;
    }
    crew
}

/// Paths of pages that sign in, once each, with the key of this machine's commands: as admin, and
/// as accounts of the demo.
fn sign_in_links(service: &ApiState, key: &str, is_demo: bool) -> Vec<(&'static str, String)> {
    let mut links = vec![("admin", service.sign_in_path(key, None))];
    if is_demo {
        let accounts = [
            ("user-1", AccountKind::User),
            ("prov-1", AccountKind::Provider),
        ];
        links.extend(accounts.map(|(id, kind)| {
            let account = Account::of_checked(kind, id);
            (id, service.sign_in_path(key, Some(Scope::Account(account))))
        }));
    }
    links
}

fn welcome(
    config: &Config,
    running: &Running,
    notice: Option<&str>,
    data: &DataDir,
    is_demo: bool,
    links: &[(&'static str, String)],
) -> Done {
    let dir = data.path().display();
    let at = running.url("");
    let mut out = Out::new();
    let reach = notice.unwrap_or("Only this machine can reach it.");
    out.line(format!(
        "tidemark is up. Data: {dir}. {reach} Requests need a key: `tidemark keys create`, or on this machine the one in {dir}/key."
    ))?;
    out.line(format!("  events    POST {at}/api/v1/events"))?;
    out.line(format!("  health    {at}/healthz  {at}/readyz"))?;
    out.line(format!("  metrics   {at}/metrics"))?;
    out.line(format!("  the API   {at}/docs"))?;
    let origin = config.http.public_origin.as_ref();
    let pages = origin.map_or_else(|| at.clone(), ToString::to_string);
    out.line(format!("  pages     {pages}/"))?;
    // Whoever reads them is signed in: they are for the person at the terminal, not for log files.
    if std::io::stdout().is_terminal() {
        for (who, path) in links {
            out.line(format!("  as {who:<6} {pages}{path}"))?;
        }
        out.line("Each link signs in once and expires after a day.")?;
    } else {
        out.line(format!(
            "Sign in with the key in {dir}/key. On a terminal, sign-in links are shown here."
        ))?;
    }
    let option = if data.path() == std::path::Path::new("./data") {
        String::new()
    } else {
        format!(" --data {dir}")
    };
    out.line("In another terminal:")?;
    if !is_demo {
        out.line(format!(
            "  tidemark emit{option}                     send 10,000 generated events"
        ))?;
    }
    out.line(format!(
        "  tidemark leaderboard users{option}        who has the most points"
    ))?;
    out.line(format!(
        "  tidemark statement user user-1{option}    what an account earned, and for what"
    ))?;
    out.line(format!(
        "  tidemark doctor{option}                   check for problems"
    ))?;
    out.line("Stop with Ctrl-C.")?;
    out.finish_if_read()
}

/// Waits until every task has finished what it had begun, but not longer than `within`; then closes
/// log and store.
async fn drain(mut tasks: JoinSet<()>, engine: Engine, within: Duration) {
    if tokio::time::timeout(within, all_end(&mut tasks))
        .await
        .is_err()
    {
        tracing::warn!(
            event = "process.unfinished",
            seconds = within.as_secs(),
            "shutdown timed out; the next start repeats unfinished work, nothing is lost"
        );
        // Each ends at its next wait for anything, as if the process had been killed there; nothing
        // outlives the store.
        drop(tokio::time::timeout(CLOSE_WITHIN, tasks.shutdown()).await);
    }
    engine.close(CLOSE_WITHIN).await;
    tracing::info!(event = "process.stopped", "stopped");
}

async fn all_end(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Err(error) if !error.is_cancelled() => {
                tracing::error!(event = "task.panic", %error, "a task panicked")
            }
            _ => (),
        }
    }
}
