//! Do all tables belong to this installation? Checked when a task is taken up, and once a minute.
//!
//! A table that was deleted and created again, or Checkpoints restored without the others, is
//! noticed here although no row of it is touched. An installation of an older tidemark is marked by
//! its first task.

use std::time::Duration;

use super::failure::{Failure, HaltCode};
use super::retry::persist;
use super::{WorkerContext, layout};
use crate::ops::clock::Moment;
use crate::store::conditional::write_once;
use crate::store::db::{Table, Write};
use crate::store::installation::{self, Installation, Marks};

/// How often a task looks.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// How often marking is begun again when other tasks do it, too.
const MARKING_TRIES_MAX: u32 = 6;

/// When a task looks next.
#[derive(Debug, Default)]
pub(super) struct NextCheck(Option<Moment>);

impl NextCheck {
    /// Whether it is time; then the next time is a minute later.
    pub(super) fn is_due(&mut self, ctx: &WorkerContext) -> bool {
        let now = ctx.clock.moment();
        let is_due = self.0.is_none_or(|next| now >= next);
        if is_due {
            self.0 = Some(now.plus(CHECK_INTERVAL));
        }
        is_due
    }
}

/// What every task looks at once a minute. Halts if a table is another one than the installation's,
/// or if a later epoch has begun in them.
pub(super) async fn check_tables(ctx: &WorkerContext) -> Result<(), Failure> {
    check(ctx).await?;
    layout::check_epoch(ctx).await
}

/// Halts if a table is another one than the installation's.
pub(super) async fn check(ctx: &WorkerContext) -> Result<(), Failure> {
    ctx.protections.tables_marked(check_marks(ctx)).await
}

async fn check_marks(ctx: &WorkerContext) -> Result<(), Failure> {
    for _ in 0..MARKING_TRIES_MAX {
        let marks = persist(ctx, || installation::read(&*ctx.db)).await?;
        if let Some(what) = marks.contradiction() {
            return Err(Failure::halt(HaltCode::RowRegressed, what));
        }
        if is_complete(&marks) {
            return Ok(());
        }
        mark(ctx, marks).await?;
    }
    Err(Failure::reload(
        "the tables could not be marked with their installation",
    ))
}

fn is_complete(marks: &Marks) -> bool {
    let Some(stored) = &marks.installation else {
        return false;
    };
    installation::marked_tables().all(|table| stored.value.has_marked(table))
}

/// Marks what is not marked yet: first the installation is stored, then each table names it, then
/// the installation says so. After a crash in between the next task goes on.
async fn mark(ctx: &WorkerContext, marks: Marks) -> Result<(), Failure> {
    let unmarked = marks.unmarked();
    let write = ctx.next_write();
    let Some(stored) = marks.installation else {
        let new = Installation {
            id: write.to_string(),
            created_at: ctx.clock.now(),
            tables: Vec::new(),
        };
        return put(ctx, installation::put(&new, None, write)).await;
    };
    for table in unmarked {
        put(ctx, installation::mark(table, &stored.value.id)).await?;
    }
    // Read again before it is said that every table is marked: a write may have been lost.
    let now = persist(ctx, || installation::read(&*ctx.db)).await?;
    if !now.unmarked().is_empty() || now.contradiction().is_some() {
        return Ok(());
    }
    let all = Installation {
        tables: installation::marked_tables()
            .map(Table::name)
            .map(str::to_owned)
            .collect(),
        ..stored.value
    };
    put(ctx, installation::put(&all, Some(stored.write), write)).await
}

/// A write that another task may have made, or whose answer may be lost: what is there is read
/// again.
async fn put(ctx: &WorkerContext, write: Write) -> Result<(), Failure> {
    match write_once(&*ctx.db, vec![write]).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_transient() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
