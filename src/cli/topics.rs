//! `topics`: Kafka's topics as their files have them.

use serde::Serialize;

use std::sync::Arc;

use super::args::{TopicsApplyArgs, TopicsArgs, TopicsCommand};
use super::engine::{connect, kafka_settings, topic_specs};
use super::output::{Done, Failure, Out, counted};
use crate::domain::position::Epoch;
use crate::log::Topic;
use crate::log::kafka::plan::{Difference, Remedy};
use crate::log::kafka::{Admin, KafkaFault};
use crate::log::topics::TopicSpec;
use crate::ops::config::Config;
use crate::ops::metrics::Metrics;
use crate::pipeline::progress::known_topics;
use crate::store::db::StoreError;

/// `tidemark topics …`.
pub async fn run(config: &Config, command: &TopicsCommand) -> Done {
    match command {
        TopicsCommand::Check(args) => {
            let specs = specs(config, args)?;
            let found = admin(config)?.check(&specs).await.map_err(failure)?;
            check(args, &specs, &found)
        }
        TopicsCommand::Apply(TopicsApplyArgs {
            recreate_lost,
            topics: args,
        }) => {
            let (specs, admin) = (specs(config, args)?, admin(config)?);
            if !recreate_lost {
                none_is_lost(config, &admin, &specs).await?;
            }
            let applied = admin.apply(&specs).await.map_err(failure)?;
            apply(args, &applied.mended, &applied.left)
        }
    }
}

/// Refuses to create a topic that held records of this epoch: an empty one in its place restores
/// nothing and halts the workers.
async fn none_is_lost(config: &Config, admin: &Admin, specs: &[TopicSpec]) -> Done {
    let found = admin.check(specs).await.map_err(failure)?;
    let is_missing = |topic: Topic| {
        let name = format!("{}{topic}", config.kafka.topic_prefix);
        let mut missing = found.iter().filter(|one| one.remedy == Remedy::Create);
        missing.any(|one| one.topic == name)
    };
    if !config.is_cluster()
        || ![Topic::UsageEvents, Topic::LedgerPostings]
            .into_iter()
            .any(is_missing)
    {
        return Ok(());
    }
    let db = connect(&config.store, None, Arc::new(Metrics::new())).await?;
    let known = match known_topics(&db, Epoch(config.log.epoch)).await {
        Ok(known) => known,
        // Without tables this is a new installation.
        Err(StoreError::Refused(_)) => Vec::new(),
        Err(error) => {
            return Err(Failure::failed(format!(
                "cannot tell whether a missing topic held records of this epoch: {error}. If this is \
                 a new installation or a new epoch, run the command again with --recreate-lost"
            )));
        }
    };
    match known.into_iter().find(|topic| is_missing(*topic)) {
        None => Ok(()),
        Some(topic) => Err(Failure::refused(format!(
            "topic {}{topic} is gone, but the tables know of records that it held in epoch {}. \
             Restore it. If it is lost for good, move to a new epoch \
             (docs/runbook.md#a-topic-is-gone). An empty topic in its place restores nothing and \
             halts the workers; --recreate-lost creates it all the same",
            config.kafka.topic_prefix, config.log.epoch
        ))),
    }
}

/// The topics' files, with what was given in their place.
fn specs(config: &Config, args: &TopicsArgs) -> Done<Vec<TopicSpec>> {
    let mut specs = topic_specs(config)?;
    for spec in &mut specs {
        if let Some(copies) = args.replication_factor {
            spec.replication_factor = copies;
            spec.min_insync_replicas = spec.min_insync_replicas.min(copies);
        }
        if let Some(least) = args.min_insync {
            spec.min_insync_replicas = least;
        }
        if spec.min_insync_replicas > spec.replication_factor {
            return Err(Failure::refused(format!(
                "{}: {} replicas must acknowledge each record, but there are only {}, so nothing \
                 could be written",
                spec.topic, spec.min_insync_replicas, spec.replication_factor
            )));
        }
    }
    Ok(specs)
}

fn admin(config: &Config) -> Done<Admin> {
    if config.kafka.bootstrap.is_empty() {
        return Err(Failure::refused(
            "no brokers are configured: set kafka.bootstrap, or TIDEMARK_KAFKA_BOOTSTRAP=kafka-1:9092",
        ));
    }
    Admin::connect(&kafka_settings(config)?).map_err(failure)
}

fn failure(fault: KafkaFault) -> Failure {
    match fault {
        KafkaFault::Settings(_) => Failure::refused(fault),
        KafkaFault::Unavailable(_) | KafkaFault::Refused(_) => Failure::failed(fault),
    }
}

fn check(args: &TopicsArgs, specs: &[TopicSpec], found: &[Difference]) -> Done {
    let mut out = Out::new();
    print(&mut out, args, found, "apply would", future)?;
    if found.is_empty() && !args.json {
        let count = counted(specs.len() as u64, "topic");
        out.line(format!("{count}, all as declared"))?;
    }
    out.finish()?;
    match found.is_empty() {
        true => Ok(()),
        false => Err(Failure::Said(1)),
    }
}

fn apply(args: &TopicsArgs, mended: &[Difference], left: &[Difference]) -> Done {
    let mut out = Out::new();
    let all: Vec<_> = mended.iter().chain(left).cloned().collect();
    print(&mut out, args, &all, "apply", past)?;
    if all.is_empty() && !args.json {
        out.line("nothing to do: all topics are as declared")?;
    }
    out.finish()?;
    match left.is_empty() {
        true => Ok(()),
        false => Err(Failure::Said(1)),
    }
}

fn future(remedy: &Remedy) -> &'static str {
    match remedy {
        Remedy::Create => "create it",
        Remedy::Set(_) => "set it",
        Remedy::Wait => "wait until nothing is refused",
        Remedy::Refuse(_) => "refuse it",
    }
}

fn past(remedy: &Remedy) -> &'static str {
    match remedy {
        Remedy::Create => "created it",
        Remedy::Set(_) => "set it",
        Remedy::Wait => "skipped it, because another change was refused",
        Remedy::Refuse(_) => "refused it",
    }
}

/// A line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    topic: &'a str,
    setting: &'a str,
    is: &'a str,
    should_be: &'a str,
    apply: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    procedure: Option<&'a str>,
}

fn print(
    out: &mut Out,
    args: &TopicsArgs,
    all: &[Difference],
    title: &str,
    say: fn(&Remedy) -> &'static str,
) -> Done {
    if args.json {
        return all.iter().try_for_each(|one| out.json(&line(one)));
    }
    if all.is_empty() {
        return Ok(());
    }
    let row = |one: &Difference| {
        vec![
            one.topic.clone(),
            one.setting.to_owned(),
            one.is.clone(),
            one.should_be.clone(),
            say(&one.remedy).to_owned(),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    out.table(&["topic", "setting", "actual", "declared", title], &rows)?;
    for (procedure, of) in procedures(all) {
        out.line(format!("\n{}: {procedure}.", of.join(", ")))?;
    }
    Ok(())
}

/// Each procedure once, with what it is for.
fn procedures(all: &[Difference]) -> Vec<(&str, Vec<String>)> {
    let mut grouped: Vec<(&str, Vec<String>)> = Vec::new();
    for one in all {
        let Some(text) = procedure(one) else { continue };
        let of = format!("{} {}", one.topic, one.setting);
        match grouped.iter_mut().find(|(known, _)| *known == text) {
            Some((_, known)) => known.push(of),
            None => grouped.push((text, vec![of])),
        }
    }
    grouped
}

fn line(one: &Difference) -> Line<'_> {
    Line {
        topic: &one.topic,
        setting: one.setting,
        is: &one.is,
        should_be: &one.should_be,
        apply: one.remedy.word(),
        procedure: procedure(one),
    }
}

fn procedure(one: &Difference) -> Option<&str> {
    match &one.remedy {
        Remedy::Refuse(procedure) => Some(procedure),
        Remedy::Create | Remedy::Set(_) | Remedy::Wait => None,
    }
}
