//! `tidemark worker`: rating and posting on Kafka and DynamoDB, for the partitions that the
//! consumer groups give to this process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::args::WorkerRole;
use super::engine::{archive, connect, connect_log, kafka_settings, reach_tables, topic_specs};
use super::listeners::{listen, serve};
use super::output::{Done, Failure, Out};
use crate::compose::{self, Engines};
use crate::domain::position::{Offset, Partition};
use crate::http::{self, Connections, Operator};
use crate::log::kafka::{GroupEvent, KafkaFault, KafkaForeign, KafkaSettings, Member};
use crate::log::{CountingLog, Log, Topic};
use crate::ops::config::{AdapterConfig, Config};
use crate::ops::health::{Feed, Health, Role, TaskId};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::{Shutdown, Trigger};
use crate::ops::traces;
use crate::pipeline::{self, AdapterSetup, OwnedTasks, WorkerContext};

/// How often the groups are told where the partitions stand.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// How long leaving the groups and closing may take, once everything has been drained or given up.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the topics are there.
const TOPICS_INTERVAL: Duration = Duration::from_secs(5);
/// The pause before a member whose client has stopped is replaced.
const REJOIN_PAUSE: Duration = Duration::from_secs(5);

/// Runs until shutdown.
pub async fn run(
    config: &Config,
    roles: &[WorkerRole],
    trigger: &Trigger,
    shutdown: &Shutdown,
) -> Done {
    check(config)?;
    let roles = chosen(config, roles)?;
    let (specs, kafka) = (topic_specs(config)?, kafka_settings(config)?);
    let metrics = Arc::new(Metrics::new());
    traces::count_in(&metrics);
    let health = Arc::new(Health::new(metrics.clone()));
    let listener = listen(config.worker.listen).await?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    let log = connect_log(config, specs.clone())?;
    let log: Arc<dyn Log> = Arc::new(CountingLog::new(log, metrics.clone()));
    let db = connect(&config.store, None, metrics.clone()).await?;
    // A worker that cannot reach its tables must not begin: each partition would halt by itself.
    if !reach_tables(&db, config, shutdown).await? {
        return Ok(());
    }
    let engines = Engines {
        log: log.clone(),
        db: Arc::new(db),
        metrics: metrics.clone(),
        archive: None,
    };
    let mut ctx = compose::worker(engines, &config.pipeline, &specs, health.clone());
    ctx.adapting = adapting(config, &roles)?;
    if roles.contains(&Role::Audit) {
        ctx.archive = archive(&config.archive).await?;
    }
    let ctx = Arc::new(ctx);
    let mut tasks = JoinSet::new();
    tasks.spawn(watch_dependencies(ctx.clone(), shutdown.clone()));
    tasks.spawn(watch_lag(ctx.clone(), shutdown.clone()));
    let connections = Connections::new(&config.http, metrics.clone());
    let operator = Operator {
        metrics,
        health: health.clone(),
        stalled_after: config.http.stalled_after,
    };
    let (router, drain) = (
        http::operator_router(operator, &config.http),
        config.drain_timeout,
    );
    let service = serve(
        listener,
        router,
        None,
        connections,
        drain,
        trigger.clone(),
        shutdown.clone(),
    );
    tasks.spawn(service);
    for role in &roles {
        let shift = Shift::new(config, *role, ctx.clone())?;
        tasks.spawn(work(shift, trigger.clone(), shutdown.clone()));
    }
    let topics = roles.iter().flat_map(|role| needed_topics(*role, &kafka));
    let (topics, cluster) = (
        topics.collect(),
        KafkaForeign::connect(&kafka).map_err(Failure::refused)?,
    );
    let ready = watch_topics(cluster, topics, health.clone(), shutdown.clone());
    tasks.spawn(ready);
    welcome(address, &roles)?;
    shutdown.clone().requested().await;
    health.set_ready(false);
    end(tasks, config.drain_timeout + CLOSE_WITHIN).await
}

fn check(config: &Config) -> Done {
    if config.is_cluster() {
        return Ok(());
    }
    Err(Failure::refused(
        "a worker requires log.engine = \"kafka\" and store.engine = \"dynamodb\"; with the \
         embedded log, `tidemark up` runs everything in one process",
    ))
}

/// The roles, each once. AdapterSetup is one for each gateway's topic.
fn chosen(config: &Config, roles: &[WorkerRole]) -> Done<Vec<Role>> {
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles.dedup();
    if roles.contains(&WorkerRole::Adapt) && config.adapters.is_empty() {
        return Err(Failure::refused(
            "the role adapt requires at least one [[adapters]] table in the configuration \
             (docs/adapters.md)",
        ));
    }
    let feed = |adapter: &AdapterConfig| Role::Adapt(Feed::of(&adapter.topic));
    let of = |role| match role {
        WorkerRole::Rate => vec![Role::Rate],
        WorkerRole::Post => vec![Role::Post],
        WorkerRole::Audit => vec![Role::Audit],
        WorkerRole::Adapt => config.adapters.iter().map(feed).collect(),
    };
    Ok(roles.into_iter().flat_map(of).collect())
}

fn adapting(config: &Config, roles: &[Role]) -> Done<Option<AdapterSetup>> {
    if !roles.iter().any(|role| matches!(role, Role::Adapt(_))) {
        return Ok(None);
    }
    let log = KafkaForeign::connect(&kafka_settings(config)?).map_err(Failure::refused)?;
    Ok(Some(AdapterSetup {
        log: Arc::new(log),
        adapters: config.adapters.clone(),
    }))
}

fn welcome(address: std::net::SocketAddr, roles: &[Role]) -> Done {
    let mut out = Out::new();
    out.line(format!(
        "tidemark worker is up ({}). Health and metrics: http://{address}/healthz  /readyz  /metrics",
        roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
    ))?;
    out.finish_if_read()
}

/// Says that this process is ready while there is something to work on for each of its roles: where
/// a topic is missing, the group has nothing to share out, and nothing else would tell. Of
/// gateways' topics one is enough. A broker that does not answer changes nothing.
async fn watch_topics(
    cluster: KafkaForeign,
    topics: Vec<(Role, String)>,
    health: Arc<Health>,
    shutdown: Shutdown,
) -> Done {
    let mut told = Vec::new();
    loop {
        let mut missing: Vec<String> = Vec::new();
        for (_, topic) in &topics {
            if matches!(cluster.has_topic(topic).await, Ok(false)) {
                missing.push(topic.clone());
            }
        }
        if missing != told {
            say_missing(&missing);
        }
        if shutdown.is_requested() {
            return Ok(());
        }
        let names = missing.iter().map(|topic| format!("topic {topic}"));
        health.set_missing(names.collect());
        health.set_ready(has_work(&topics, &missing));
        told = missing;
        let pause = tokio::time::sleep(TOPICS_INTERVAL);
        if shutdown.bounded(Duration::ZERO, pause).await.is_none() {
            health.set_ready(false);
            return Ok(());
        }
    }
}

fn has_work(topics: &[(Role, String)], missing: &[String]) -> bool {
    let is_there = |(_, topic): &&(Role, String)| !missing.contains(topic);
    let (adapted, ours): (Vec<_>, Vec<_>) = topics
        .iter()
        .partition(|(role, _)| matches!(role, Role::Adapt(_)));
    ours.iter().all(is_there) && (adapted.is_empty() || adapted.iter().any(is_there))
}

fn say_missing(topics: &[String]) {
    if topics.is_empty() {
        tracing::info!(event = "topics.found", "all topics exist now");
        return;
    }
    let topics = topics.join(", ");
    tracing::error!(
        event = "topics.missing",
        topics,
        "missing topics. On a new installation, create them with `tidemark topics apply`; a topic \
         that held records must be restored instead (docs/runbook.md#a-topic-is-gone)"
    );
}

async fn watch_dependencies(ctx: Arc<WorkerContext>, shutdown: Shutdown) -> Done {
    let (log, db) = (ctx.log.clone(), ctx.db.clone());
    http::watch_dependencies(log, db, ctx.health.clone(), shutdown).await;
    Ok(())
}

async fn watch_lag(ctx: Arc<WorkerContext>, shutdown: Shutdown) -> Done {
    pipeline::watch_lag(ctx, shutdown.receiver()).await;
    Ok(())
}

/// Waits for all, but not longer than `within`; the first failure is what the process ends with.
async fn end(mut tasks: JoinSet<Done>, within: Duration) -> Done {
    let mut result = Ok(());
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(Failure::failed(error)));
            if result.is_ok() {
                result = ended;
            }
        }
    };
    if tokio::time::timeout(within, all).await.is_err() {
        let seconds = within.as_secs();
        tracing::warn!(
            event = "stop.unfinished",
            seconds,
            "shutdown timed out; other workers take over, nothing is lost"
        );
    }
    tracing::info!(event = "process.stopped", "stopped");
    result
}

/// What this process does in one role.
struct Shift {
    role: Role,
    /// Whose partitions the group shares out: its name in the cluster.
    topic: String,
    settings: KafkaSettings,
    drain: Duration,
    ctx: Arc<WorkerContext>,
    crew: OwnedTasks,
}

/// How a membership ended.
enum Left {
    /// The process is to stop.
    Stopped,
    /// The client has stopped; another may join.
    Failed,
    /// Somebody else has our static id.
    Fenced,
}

/// Works in one role until shutdown, through lost memberships.
async fn work(mut shift: Shift, trigger: Trigger, shutdown: Shutdown) -> Done {
    loop {
        let left = match shift.join() {
            Ok((member, events)) => shift.serve(member, events, &shutdown).await,
            Err(fault) => {
                trigger.shut_down();
                return Err(Failure::refused(fault));
            }
        };
        match left {
            Left::Stopped => return Ok(()),
            Left::Fenced => {
                trigger.shut_down();
                return Err(Failure::failed(
                    "another process joined with this worker's kafka.instance and took its \
                     partitions; give each worker its own",
                ));
            }
            Left::Failed => {
                let pause = tokio::time::sleep(REJOIN_PAUSE);
                let _ = shutdown.bounded(Duration::ZERO, pause).await;
            }
        }
    }
}

/// The topics without which a role cannot work, by their names in the cluster.
fn needed_topics(role: Role, settings: &KafkaSettings) -> Vec<(Role, String)> {
    let cuts = (role == Role::Rate).then(|| settings.topic_name(Topic::LedgerCuts));
    let topics = [topic_of(role, settings)].into_iter().chain(cuts);
    topics.map(|topic| (role, topic)).collect()
}

/// The topic that a role reads, by its name in the cluster.
fn topic_of(role: Role, settings: &KafkaSettings) -> String {
    match role {
        Role::Rate => settings.topic_name(Topic::UsageEvents),
        Role::Post => settings.topic_name(Topic::LedgerPostings),
        Role::Audit => settings.topic_name(Topic::LedgerCuts),
        Role::Adapt(feed) => feed.topic().to_owned(),
    }
}

impl Shift {
    fn new(config: &Config, role: Role, ctx: Arc<WorkerContext>) -> Done<Shift> {
        let settings = kafka_settings(config)?;
        let topic = topic_of(role, &settings);
        Ok(Shift {
            role,
            topic,
            settings,
            drain: config.drain_timeout,
            crew: OwnedTasks::new(ctx.clone()),
            ctx,
        })
    }

    fn join(&self) -> Result<(Member, UnboundedReceiver<GroupEvent>), KafkaFault> {
        Member::join(&self.settings, self.role.as_str(), &self.topic, self.drain)
    }

    async fn serve(
        &mut self,
        member: Member,
        mut events: UnboundedReceiver<GroupEvent>,
        shutdown: &Shutdown,
    ) -> Left {
        let mut commits = tokio::time::interval(COMMIT_INTERVAL);
        let mut stop = shutdown.clone();
        let left = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => if let Some(left) = self.take(&member, event).await { break left },
                    None => break Left::Failed,
                },
                _ = commits.tick() => member.commit(&self.positions()),
                () = stop.requested() => break Left::Stopped,
            }
        };
        let ours = self.crew.tasks();
        match left {
            Left::Stopped => self.crew.let_go(&ours, self.drain).await,
            Left::Failed | Left::Fenced => self.crew.stop_now(&ours).await,
        }
        member.leave().await;
        left
    }

    async fn take(&mut self, member: &Member, event: GroupEvent) -> Option<Left> {
        match event {
            GroupEvent::Assigned(partitions) => {
                self.tell("assigned", &partitions);
                for task in self.tasks(&partitions) {
                    self.crew.start(task).await;
                }
            }
            GroupEvent::Revoked(partitions) => {
                self.tell("revoked", &partitions);
                let tasks = self.tasks(&partitions);
                self.crew.let_go(&tasks, self.drain).await;
                member.release(&partitions);
            }
            GroupEvent::Lost(partitions) => {
                self.tell("lost", &partitions);
                let tasks = self.tasks(&partitions);
                self.crew.stop_now(&tasks).await;
            }
            GroupEvent::Failed(why) => {
                let role = self.role.as_str();
                tracing::error!(event = "group.failed", role, why, "joining again");
                return Some(Left::Failed);
            }
            GroupEvent::Fenced => return Some(Left::Fenced),
        }
        None
    }

    fn tell(&self, event: &'static str, partitions: &[Partition]) {
        let numbers: Vec<u32> = partitions.iter().map(|partition| partition.0).collect();
        let role = self.role.as_str();
        tracing::info!(event = "group.partitions", role, what = event, partitions = ?numbers);
        self.ctx
            .metrics
            .group_events_total
            .with_label_values(&[role, event])
            .inc();
    }

    fn tasks(&self, partitions: &[Partition]) -> Vec<TaskId> {
        let task = |partition: &Partition| TaskId::new(self.role, *partition);
        partitions.iter().map(task).collect()
    }

    fn positions(&self) -> Vec<(Partition, Offset)> {
        let positions = self.crew.positions(self.role);
        let position = |(task, next): (TaskId, Offset)| (task.partition, next);
        positions.into_iter().map(position).collect()
    }
}
