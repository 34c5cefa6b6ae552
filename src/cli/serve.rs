//! `tidemark serve`: the HTTP service on Kafka and DynamoDB. It keeps nothing of its own; any
//! number may run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::engine::{
    archive, closing, connect, connect_log_to_append, reach_tables, readable, topic_specs,
};
use super::listeners::{self, first_failure, listen, load_tls, not_ready_when_leaving};
use super::output::{Done, Failure, Out};
use crate::compose::Engines;
use crate::http::{self, Connections, Hosts, Operator};
use crate::log::{CountingLog, Log, LogError, Partitions};
use crate::ops::clock::SystemClock;
use crate::ops::config::Config;
use crate::ops::health::{Dependency, Health, Outage};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::{Shutdown, Trigger};
use crate::ops::traces;
use crate::pipeline;
use crate::store::db::Db;
use crate::store::layout;

/// How often the broker is asked while it does not answer at the start.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Runs until shutdown.
pub async fn run(config: &Config, trigger: &Trigger, shutdown: &Shutdown) -> Done {
    check(config)?;
    let tls = load_tls(config.serve.tls.as_ref())?;
    let metrics = Arc::new(Metrics::new());
    traces::count_in(&metrics);
    let listener = listen(config.serve.listen).await?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    let db = connect(&config.store, None, metrics.clone()).await?;
    if !reach_tables(&db, config, shutdown).await? {
        return Ok(());
    }
    let db: Arc<dyn Db> = Arc::new(db);
    let log = connect_log_to_append(config, topic_specs(config)?, db.clone()).await?;
    let log: Arc<dyn Log> = Arc::new(CountingLog::new(log, metrics.clone()));
    let health = Arc::new(Health::new(metrics.clone()));
    let Some(partitions) = partitions(&*log, &*db, &health, shutdown).await? else {
        return Ok(());
    };
    let operator = Operator {
        metrics: metrics.clone(),
        health: health.clone(),
        stalled_after: config.http.stalled_after,
    };
    let metrics_served = serve_metrics(config, operator, trigger, shutdown).await?;
    let counted = metrics.clone();
    let archiving = archive(&config.archive).await?;
    let engines = Engines {
        log,
        db,
        metrics,
        archive: archiving.as_ref().map(readable),
    };
    let files = closing(config).await?;
    let service = engines.service(partitions, &config.http, health.clone(), files.clone());
    let connections = service.connections();
    let router = match config.serve.metrics_listen {
        None => http::router(service, Hosts::Any),
        Some(_) => http::router_without_metrics(service, Hosts::Any),
    };
    let looking = engines.look_after(config.http.clone(), health.clone(), files, shutdown.clone());
    tokio::spawn(looking);
    tokio::spawn(pipeline::watch_recent(
        Arc::new(SystemClock),
        counted,
        shutdown.receiver(),
    ));
    welcome(address, tls.is_some())?;
    health.set_ready(true);
    trigger.delay_by(config.http.shutdown_delay);
    tokio::spawn(not_ready_when_leaving(health, shutdown.clone()));
    let drain = config.drain_timeout;
    listeners::serve(
        listener,
        router,
        tls,
        connections,
        drain,
        trigger.clone(),
        shutdown.clone(),
    )
    .await?;
    first_failure(metrics_served)
}

/// Serves metrics and health at an address of their own, if there is one; how that ended.
async fn serve_metrics(
    config: &Config,
    operator: Operator,
    trigger: &Trigger,
    shutdown: &Shutdown,
) -> Done<Option<oneshot::Receiver<Done>>> {
    let Some(address) = config.serve.metrics_listen else {
        return Ok(None);
    };
    let listener = listen(address).await?;
    let connections = Connections::new(&config.http, operator.metrics.clone());
    let served = listeners::serve(
        listener,
        http::operator_router(operator, &config.http),
        None,
        connections,
        config.drain_timeout,
        trigger.clone(),
        shutdown.clone(),
    );
    let (ended, result) = oneshot::channel();
    tokio::spawn(async move {
        // Nobody may want to know any more.
        let _ = ended.send(served.await);
    });
    Ok(Some(result))
}

fn check(config: &Config) -> Done {
    if config.is_cluster() {
        return Ok(());
    }
    Err(Failure::refused(
        "`serve` requires log.engine = \"kafka\" and store.engine = \"dynamodb\"; with the embedded \
         log, `tidemark up` includes the service",
    ))
}

/// How many partitions the topics have. In an epoch that has begun, the tables know as well: what
/// people ask for is answered while the log is out of reach, and `/readyz` tells that events are
/// not taken. Before that, waits for a broker that is not there yet; a topic that is missing is
/// told. `None`: stopped meanwhile.
async fn partitions(
    log: &dyn Log,
    db: &dyn Db,
    health: &Health,
    shutdown: &Shutdown,
) -> Done<Option<Partitions>> {
    let mut shutdown = shutdown.clone();
    let mut is_told = false;
    loop {
        let error = match Partitions::of(log).await {
            Ok(partitions) => return Ok(Some(partitions)),
            Err(error @ (LogError::Unavailable(_) | LogError::NoTopic { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        if let Ok(Some(layout)) = layout::get(db, log.epoch()).await {
            tracing::warn!(event = "serve.without_log", %error, "cannot read the topics; requests that need only the store are answered");
            let outage = Outage {
                code: error.code(),
                detail: error.to_string(),
            };
            health.set_outage(Dependency::Log, Some(outage));
            return Ok(Some(layout.partitions()));
        }
        if !is_told {
            tracing::warn!(event = "serve.waiting", %error, "cannot read the topics yet; retrying every second");
            is_told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_AGAIN_AFTER) => {}
            () = shutdown.requested() => return Ok(None),
        }
    }
}

fn welcome(address: SocketAddr, has_tls: bool) -> Done {
    let scheme = if has_tls { "https" } else { "http" };
    let mut out = Out::new();
    out.line(format!(
        "tidemark serves on {scheme}://{address}. API reference: {scheme}://{address}/docs. Create \
         keys with `tidemark keys create`."
    ))?;
    out.finish_if_read()
}
