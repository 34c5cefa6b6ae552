//! `tidemark tables copy`: the tables of one store into another, for a move to DynamoDB proper.

use std::path::Path;
use std::sync::Arc;

use indicatif::ProgressBar;

use super::engine::{connect, protect_tables};
use super::output::{Done, Failure, Out, counted};
use super::progress;
use super::session::{Session, Workers};
use crate::ops::config::{Config, Sources, StoreEngine};
use crate::ops::metrics::Metrics;
use crate::store::db::{Db, Item, Table};
use crate::store::dynamo::DynamoDb;
use crate::store::{pages, tables};

/// Copies every item into the store that another configuration names. Its tables must be empty, so
/// that repeating it after an interruption means beginning with empty tables again, and nothing is
/// ever mixed.
pub async fn copy(session: &Session, into: &Path) -> Done {
    if session.workers == Workers::Up {
        return Err(Failure::failed(
            "`tidemark up` is running on this data; stop it first, so that nothing changes while it is copied",
        ));
    }
    let (target, config) = target(into).await?;
    tables::create_tables(&target).await?;
    protect_tables(&target, &config.store).await?;
    for table in Table::ALL {
        let first = target.scan(table, None).await?.items;
        if !first.is_empty() {
            let name = table.name();
            return Err(Failure::refused(format!(
                "table {name} of {} is not empty; delete its tables, or choose another store.table_prefix",
                into.display()
            )));
        }
    }
    let before = positions(session.db()).await?;
    let mut out = Out::new();
    let bar = progress::bar(None, "items copied");
    for table in Table::ALL {
        bar.set_message(format!(" ({})", table.name()));
        let count = copy_table(session.db(), &target, table, &bar).await?;
        out.line(format!("{}: {}", table.name(), counted(count, "item")))?;
    }
    bar.finish_and_clear();
    if positions(session.db()).await? != before {
        return Err(Failure::failed(format!(
            "the tables changed during the copy, so it is unusable; stop every `tidemark worker`, \
             delete the tables of {}, and copy again",
            into.display()
        )));
    }
    out.line("copied; from now on, start tidemark only with that configuration")?;
    out.finish()
}

/// Where every task stands. Whoever rates, posts or adapts moves these.
async fn positions(db: &dyn Db) -> Done<Vec<Item>> {
    let mut all = Vec::new();
    pages::scan(db, Table::Checkpoints, |item| {
        all.push(item);
        Ok(())
    })
    .await?;
    Ok(all)
}

async fn target(file: &Path) -> Done<(DynamoDb, Config)> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::refused(format!("cannot read {}: {error}", file.display())))?;
    let sources = Sources {
        file: Some((file.display().to_string(), text)),
        ..Sources::default()
    };
    let config = Config::read(&sources).map_err(Failure::refused)?;
    if config.store.engine != StoreEngine::DynamoDb {
        return Err(Failure::refused(format!(
            "{}: store.engine must be \"dynamodb\"",
            file.display()
        )));
    }
    let db = connect(&config.store, None, Arc::new(Metrics::new())).await?;
    Ok((db, config))
}

async fn copy_table(from: &dyn Db, into: &dyn Db, table: Table, bar: &ProgressBar) -> Done<u64> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = from.scan(table, after).await?;
        let items = page.items.len() as u64;
        into.put_all(table, page.items).await?;
        count += items;
        bar.inc(items);
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}
