//! Creating the tables, and checking those that are there.

use std::time::Duration;

use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, IndexStatus, KeySchemaElement, KeyType,
    Projection, ProjectionType, ScalarAttributeType, TableDescription, TableStatus,
    TimeToLiveDescription, TimeToLiveSpecification, TimeToLiveStatus,
};

use super::checkpoints::{self, Versioned};
use super::db::{Db, StoreError, Table};
use super::dynamo::DynamoDb;
use super::dynamo::retry::{Repeatable, fault};
use super::installation::{self, Installation};

/// How long a new table may take until it is active.
const ACTIVE_WITHIN: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(500);

/// What was there, and what was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Created now.
    pub created: Vec<Table>,
    /// There before, and as they should be.
    pub existing: Vec<Table>,
}

/// Creates the tables that are missing (on-demand billing), waits until all are active, and
/// switches their time to live on. May be repeated, and run by several processes at once.
///
/// Errors: [`StoreError::Refused`] for a table that is there with another key, index or
/// time-to-live attribute; it is left as it is. The same if a table is missing while others hold
/// data: created empty, it would lose what it held.
pub async fn create_tables(db: &DynamoDb) -> Result<Report, StoreError> {
    let mut report = Report::default();
    may_create(db).await?;
    for table in Table::ALL {
        match describe(db, table).await? {
            Some(_) => report.existing.push(table),
            None if create(db, table).await? => report.created.push(table),
            None => report.existing.push(table),
        }
    }
    for table in Table::ALL {
        let description = active(db, table).await?;
        check(&db.table_name(table), table, &description)?;
        if let Some(attribute) = table.ttl() {
            switch_ttl_on(db, table, attribute).await?;
        }
    }
    Ok(report)
}

/// Refuses if a table is missing while others hold data.
async fn may_create(db: &DynamoDb) -> Result<(), StoreError> {
    let (missing, present) = presence(db).await?;
    if missing.is_empty() || present.is_empty() {
        return Ok(());
    }
    let mut holds_data = false;
    for table in &present {
        active(db, *table).await?;
        holds_data |= !db.scan(*table, None).await?.items.is_empty();
    }
    // A table that this installation never had belongs to a newer version.
    let installation: Option<Versioned<Installation>> = match present.contains(&Table::Checkpoints)
    {
        true => checkpoints::get(db, &installation::key()).await?,
        false => None,
    };
    let is_lost = |table: &Table| {
        installation
            .as_ref()
            .is_none_or(|known| known.value.has_marked(*table))
    };
    // Another process may have been creating them all, and writing since.
    let (missing, _) = presence(db).await?;
    let lost: Vec<Table> = missing.into_iter().filter(is_lost).collect();
    match holds_data && !lost.is_empty() {
        true => Err(refused(lost_text(db, &lost))),
        false => Ok(()),
    }
}

/// The tables that are missing, and those that are there.
async fn presence(db: &DynamoDb) -> Result<(Vec<Table>, Vec<Table>), StoreError> {
    let (mut missing, mut present) = (Vec::new(), Vec::new());
    for table in Table::ALL {
        match describe(db, table).await? {
            Some(_) => present.push(table),
            None => missing.push(table),
        }
    }
    Ok((missing, present))
}

fn lost_text(db: &DynamoDb, lost: &[Table]) -> String {
    let names: Vec<String> = lost.iter().map(|table| db.table_name(*table)).collect();
    let (tables, verb) = match names.len() {
        1 => ("table", "is"),
        _ => ("tables", "are"),
    };
    format!(
        "{tables} {} {verb} missing, but other tables hold data; nothing was created, since an empty table would lose \
         what it held: restore it from a backup of the same moment as the others (docs/runbook.md#a-table-is-missing)",
        names.join(", ")
    )
}

async fn describe(db: &DynamoDb, table: Table) -> Result<Option<TableDescription>, StoreError> {
    let name = db.table_name(table);
    let request = db.client().describe_table().table_name(name);
    let send = || {
        let request = request.clone();
        async move {
            match request.send().await {
                Ok(answer) => Ok(answer.table),
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|e| e.is_resource_not_found_exception()) =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        }
    };
    db.run(Repeatable::Yes, fault, send).await
}

/// Creates a table; `false` if somebody else did at the same time.
async fn create(db: &DynamoDb, table: Table) -> Result<bool, StoreError> {
    let index = table.index().map(index_of).transpose()?;
    let request = db
        .client()
        .create_table()
        .table_name(db.table_name(table))
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(key_schema(table.keys())?))
        .set_attribute_definitions(Some(attributes(table)?))
        .set_global_secondary_indexes(index.map(|index| vec![index]));
    let send = || {
        let request = request.clone();
        async move {
            match request.send().await {
                Ok(_) => Ok(true),
                Err(error)
                    if matches!(
                        error.as_service_error(),
                        Some(CreateTableError::ResourceInUseException(_))
                    ) =>
                {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        }
    };
    db.run(Repeatable::Yes, fault, send).await
}

fn key_schema(keys: (&str, Option<&str>)) -> Result<Vec<KeySchemaElement>, StoreError> {
    let element = |name: &str, kind: KeyType| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .map_err(refused)
    };
    let mut schema = vec![element(keys.0, KeyType::Hash)?];
    if let Some(range) = keys.1 {
        schema.push(element(range, KeyType::Range)?);
    }
    Ok(schema)
}

/// The attributes that are keys of the table or of its index; all are texts.
fn attributes(table: Table) -> Result<Vec<AttributeDefinition>, StoreError> {
    let (hash, range) = table.keys();
    let names = [Some(hash), range, table.index().map(|(_, key)| key)];
    let define = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .map_err(refused)
    };
    names.into_iter().flatten().map(define).collect()
}

fn index_of((name, key): (&str, &str)) -> Result<GlobalSecondaryIndex, StoreError> {
    let everything = Projection::builder()
        .projection_type(ProjectionType::All)
        .build();
    GlobalSecondaryIndex::builder()
        .index_name(name)
        .set_key_schema(Some(key_schema((key, None))?))
        .projection(everything)
        .build()
        .map_err(refused)
}

fn refused(why: impl ToString) -> StoreError {
    StoreError::Refused(why.to_string())
}

/// Waits until the table and its index are active.
async fn active(db: &DynamoDb, table: Table) -> Result<TableDescription, StoreError> {
    let mut waited = Duration::ZERO;
    loop {
        match describe(db, table).await? {
            Some(description) if is_active(&description) => return Ok(description),
            _ if waited >= ACTIVE_WITHIN => break,
            _ => db.clock().sleep(POLL).await,
        }
        waited += POLL;
    }
    Err(StoreError::Unavailable(format!(
        "table {} is not active after {} s; run the same command again",
        db.table_name(table),
        ACTIVE_WITHIN.as_secs()
    )))
}

fn is_active(table: &TableDescription) -> bool {
    let indexes = table.global_secondary_indexes();
    table.table_status() == Some(&TableStatus::Active)
        && indexes
            .iter()
            .all(|index| matches!(index.index_status(), None | Some(IndexStatus::Active)))
}

/// A key as text, to compare and to show: `userId + month`.
fn shown(schema: &[KeySchemaElement]) -> String {
    let of = |kind: KeyType| schema.iter().filter(move |part| *part.key_type() == kind);
    let parts = of(KeyType::Hash).chain(of(KeyType::Range));
    let names: Vec<&str> = parts.map(KeySchemaElement::attribute_name).collect();
    names.join(" + ")
}

fn check(name: &str, table: Table, found: &TableDescription) -> Result<(), StoreError> {
    let fault = |what: &str, is: &str, wanted: &str| {
        refused(format!(
            "table {name} is there already, but its {what} is {is} where tidemark needs {wanted}; \
             choose another table prefix, or move that table away"
        ))
    };
    let compare = |what: &str, is: &str, wanted: &str| match is == wanted {
        true => Ok(()),
        false => Err(fault(what, is, wanted)),
    };
    compare(
        "key",
        &shown(found.key_schema()),
        &shown(&key_schema(table.keys())?),
    )?;
    for wanted in attributes(table)? {
        let is = found
            .attribute_definitions()
            .iter()
            .find(|a| a.attribute_name() == wanted.attribute_name());
        let is = is.map_or("missing", |a| a.attribute_type().as_str());
        compare(
            &format!("attribute {}", wanted.attribute_name()),
            is,
            wanted.attribute_type().as_str(),
        )?;
    }
    let Some((index, key)) = table.index() else {
        return Ok(());
    };
    let is = found
        .global_secondary_indexes()
        .iter()
        .find(|i| i.index_name() == Some(index));
    let is = is.map_or("missing".to_owned(), |i| shown(i.key_schema()));
    compare(&format!("index {index}"), &is, key)
}

async fn switch_ttl_on(db: &DynamoDb, table: Table, attribute: &str) -> Result<(), StoreError> {
    if is_ttl_on(db, table, attribute).await? {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder()
        .attribute_name(attribute)
        .enabled(true)
        .build()
        .map_err(refused)?;
    let request = db
        .client()
        .update_time_to_live()
        .table_name(db.table_name(table))
        .time_to_live_specification(specification);
    let send = || request.clone().send();
    match db.run(Repeatable::Yes, fault, send).await {
        Ok(_) => Ok(()),
        // Refused if somebody else has switched it on meanwhile.
        Err(_) if is_ttl_on(db, table, attribute).await? => Ok(()),
        Err(error) => Err(error),
    }
}

async fn is_ttl_on(db: &DynamoDb, table: Table, attribute: &str) -> Result<bool, StoreError> {
    let name = db.table_name(table);
    let request = db.client().describe_time_to_live().table_name(&name);
    let send = || request.clone().send();
    let answer = db.run(Repeatable::Yes, fault, send).await?;
    let description = answer.time_to_live_description();
    match description.and_then(enabled_attribute) {
        None => Ok(false),
        Some(found) if found == attribute => Ok(true),
        Some(found) => Err(refused(format!(
            "table {name} expires its items by the attribute {found}; tidemark needs {attribute}: switch its time to \
             live off, then run the same command again"
        ))),
    }
}

/// The attribute by which items expire, if any does (or will).
fn enabled_attribute(found: &TimeToLiveDescription) -> Option<&str> {
    let on = matches!(
        found.time_to_live_status(),
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    );
    found.attribute_name().filter(|_| on)
}
