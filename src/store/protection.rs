//! Protection of the tables against accidents: no deletion before it is switched off, and recovery
//! to any moment of the last 35 days.

use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    ContinuousBackupsStatus, PointInTimeRecoverySpecification, PointInTimeRecoveryStatus,
    TableStatus,
};

use super::db::{Db, StoreError, Table};
use super::dynamo::DynamoDb;
use super::dynamo::retry::{Repeatable, fault};

/// A table that is being changed, or was just created, refuses for a while.
const WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_secs(1);

/// Whether a table is protected. `None`: the server has no such thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// It cannot be deleted before this is switched off.
    pub from_deletion: Option<bool>,
    /// It can be restored to any moment of the last 35 days.
    pub recovery: Option<bool>,
}

/// What [`protect`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tables of which something was switched on.
    pub changed: Vec<Table>,
    /// What the server does not have.
    pub unsupported: Vec<&'static str>,
}

impl Protection {
    /// What of it is off.
    pub fn missing(self) -> Vec<&'static str> {
        self.parts_that_are(Some(false))
    }

    fn unsupported(self) -> Vec<&'static str> {
        self.parts_that_are(None)
    }

    fn parts_that_are(self, state: Option<bool>) -> Vec<&'static str> {
        let parts = [(self.from_deletion, DELETION), (self.recovery, RECOVERY)];
        let wanted = parts.into_iter().filter(|(is, _)| *is == state);
        wanted.map(|(_, name)| name).collect()
    }

    fn is_on_where_it_was_off(self, before: Protection) -> bool {
        let changed = |was, is| was == Some(false) && is == Some(true);
        changed(before.from_deletion, self.from_deletion) || changed(before.recovery, self.recovery)
    }
}

const DELETION: &str = "deletion protection";
const RECOVERY: &str = "point-in-time recovery";

/// Looks at one table, which must exist.
pub async fn read(db: &DynamoDb, table: Table) -> Result<Protection, StoreError> {
    Ok(Protection {
        from_deletion: is_protected_from_deletion(db, table).await?,
        recovery: has_recovery(db, table).await?,
    })
}

/// Switches on what is off. May be repeated.
///
/// Errors: [`StoreError::Denied`] without the permissions `UpdateTable`,
/// `DescribeContinuousBackups` and `UpdateContinuousBackups`. What was switched on until then stays
/// on.
pub async fn protect(db: &DynamoDb) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for table in Table::ALL {
        let before = read(db, table).await?;
        let mut now = before;
        if before.from_deletion == Some(false) {
            now.from_deletion = protect_from_deletion(db, table).await?;
        }
        if before.recovery == Some(false) {
            now.recovery = switch_recovery_on(db, table).await?;
        }
        if now.is_on_where_it_was_off(before) {
            report.changed.push(table);
        }
        report.unsupported.extend(now.unsupported());
    }
    report.unsupported.sort_unstable();
    report.unsupported.dedup();
    Ok(report)
}

async fn is_protected_from_deletion(
    db: &DynamoDb,
    table: Table,
) -> Result<Option<bool>, StoreError> {
    let request = db
        .client()
        .describe_table()
        .table_name(db.table_name(table));
    let send = || request.clone().send();
    let answer = db.run(Repeatable::Yes, fault, send).await?;
    let table = answer.table();
    // Servers that know it say so in every answer.
    Ok(table.map(|table| table.deletion_protection_enabled() == Some(true)))
}

async fn has_recovery(db: &DynamoDb, table: Table) -> Result<Option<bool>, StoreError> {
    let name = db.table_name(table);
    let request = db.client().describe_continuous_backups().table_name(name);
    let send = || {
        let request = request.clone();
        async move { unless_unsupported(request.send().await) }
    };
    let answer = db.run(Repeatable::Yes, fault, send).await?;
    Ok(answer.map(|answer| {
        let backups = answer.continuous_backups_description();
        let recovery = backups
            .filter(|backups| {
                *backups.continuous_backups_status() == ContinuousBackupsStatus::Enabled
            })
            .and_then(|backups| backups.point_in_time_recovery_description())
            .and_then(|recovery| recovery.point_in_time_recovery_status());
        recovery == Some(&PointInTimeRecoveryStatus::Enabled)
    }))
}

async fn protect_from_deletion(db: &DynamoDb, table: Table) -> Result<Option<bool>, StoreError> {
    let request = db
        .client()
        .update_table()
        .table_name(db.table_name(table))
        .deletion_protection_enabled(true);
    let send = || {
        let request = request.clone();
        async move { unless_busy(request.send().await) }
    };
    if repeat_while_busy(db, send).await?.is_none() {
        return Ok(None);
    }
    // The next change of the table would be refused while this one is under way.
    wait_active(db, table).await?;
    let is_on = is_protected_from_deletion(db, table).await?;
    // A server that takes the request and forgets it has no deletion protection.
    Ok(is_on.filter(|is_on| *is_on))
}

async fn switch_recovery_on(db: &DynamoDb, table: Table) -> Result<Option<bool>, StoreError> {
    let specification = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(true)
        .build()
        .map_err(|error| StoreError::Refused(error.to_string()))?;
    let request = db
        .client()
        .update_continuous_backups()
        .table_name(db.table_name(table))
        .point_in_time_recovery_specification(specification);
    let send = || {
        let request = request.clone();
        async move { unless_busy(request.send().await) }
    };
    let answer = repeat_while_busy(db, send).await?;
    Ok(answer.map(|_| true))
}

/// What became of a change.
enum Change<T> {
    Done(T),
    /// The table is being changed, or was just created.
    Busy,
    Unsupported,
}

/// Repeats a change until the table takes it; `None`: the server does not know it.
async fn repeat_while_busy<T, E, Fut>(
    db: &DynamoDb,
    send: impl Fn() -> Fut,
) -> Result<Option<T>, StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    Fut: Future<Output = Result<Change<T>, SdkError<E, HttpResponse>>> + Send,
{
    let mut waited = Duration::ZERO;
    loop {
        match db.run(Repeatable::Yes, fault, &send).await? {
            Change::Done(answer) => return Ok(Some(answer)),
            Change::Unsupported => return Ok(None),
            Change::Busy if waited >= WITHIN => {
                let what = format!(
                    "the tables are still being changed after {} s",
                    waited.as_secs()
                );
                return Err(StoreError::Unavailable(what));
            }
            Change::Busy => db.clock().sleep(POLL).await,
        }
        waited += POLL;
    }
}

async fn wait_active(db: &DynamoDb, table: Table) -> Result<(), StoreError> {
    let request = db
        .client()
        .describe_table()
        .table_name(db.table_name(table));
    let mut waited = Duration::ZERO;
    while waited < WITHIN {
        let send = || request.clone().send();
        let answer = db.run(Repeatable::Yes, fault, send).await?;
        let status = answer.table().and_then(|table| table.table_status());
        if status == Some(&TableStatus::Active) {
            return Ok(());
        }
        db.clock().sleep(POLL).await;
        waited += POLL;
    }
    let name = db.table_name(table);
    Err(StoreError::Unavailable(format!(
        "table {name} is not active after {} s; run the same command again",
        waited.as_secs()
    )))
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    let meta = error.as_service_error().and_then(|error| error.code());
    meta.unwrap_or_default()
}

/// An operation that a server other than AWS may not have.
fn is_unsupported(code: &str) -> bool {
    matches!(
        code,
        "UnknownOperationException" | "UnsupportedOperationException"
    )
}

#[expect(
    clippy::result_large_err,
    reason = "the SDK's own error, on its way to `run`"
)]
fn unless_unsupported<T, E: ProvideErrorMetadata>(
    result: Result<T, SdkError<E, HttpResponse>>,
) -> Result<Option<T>, SdkError<E, HttpResponse>> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is_unsupported(code(&error)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the SDK's own error, on its way to `run`"
)]
fn unless_busy<T, E: ProvideErrorMetadata>(
    result: Result<T, SdkError<E, HttpResponse>>,
) -> Result<Change<T>, SdkError<E, HttpResponse>> {
    let error = match result {
        Ok(answer) => return Ok(Change::Done(answer)),
        Err(error) => error,
    };
    match code(&error) {
        "ResourceInUseException"
        | "ContinuousBackupsUnavailableException"
        | "LimitExceededException" => Ok(Change::Busy),
        code if is_unsupported(code) => Ok(Change::Unsupported),
        _ => Err(error),
    }
}
