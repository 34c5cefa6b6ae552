//! Closes of months. Rows, in table Checkpoints under partition `closes`:
//! - one item per month: first that its close was begun (`state` is `begun`), with everything that
//!   decides the bytes of its files; then also what came of it (`closed`).
//! - `head`: the newest month whose close was begun. Months are closed in order, so that what one
//!   carries over is there for the next.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit;
use super::conditional::{Attempts, WriteOutcome};
use super::db::{Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::closing::Terms;
use crate::domain::position::{Control, Position};
use crate::domain::time::{Millis, Month};

const PARTITION: &str = "closes";
const HEAD: &str = "head";
const BEGUN: &str = "begun";
const CLOSED: &str = "closed";

/// The first step of a close. Nothing else decides what comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BegunClose {
    /// The month.
    pub month: Month,
    /// Wallets are those as of this position of the control feed.
    pub control: Control,
    /// The terms.
    pub terms: Terms,
    /// How far the posting partitions were, in their order: all of them past the month.
    pub positions: Vec<Position>,
    /// Who began it.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// The last step of a close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinishedClose {
    /// The whole `close.json`: sums, roots, and the hash of every file.
    pub file: String,
    /// Who finished it.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// A close as it stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredClose {
    /// How it began.
    pub begun: BegunClose,
    /// How it ended; `None`: it has not.
    pub finished: Option<FinishedClose>,
}

fn key(month: Month) -> Key {
    Key::new(Table::Checkpoints, PARTITION, month.to_string())
}

fn head_key() -> Key {
    Key::new(Table::Checkpoints, PARTITION, HEAD)
}

fn decode_close(item: &Item) -> Result<StoredClose, StoreError> {
    let unknown = Row::new(head_key(), item);
    let row = Row::new(
        Key::new(Table::Checkpoints, PARTITION, unknown.text("item")?),
        item,
    );
    let begun = row.json("begun")?;
    let finished = match row.text("state")? {
        BEGUN => None,
        CLOSED => Some(row.json("closed")?),
        other => return Err(row.newer(format!("its state is '{other}'"))),
    };
    Ok(StoredClose { begun, finished })
}

/// The close of a month; `None`: it was not begun.
pub async fn get(db: &dyn Db, month: Month) -> Result<Option<StoredClose>, StoreError> {
    db.get(&key(month))
        .await?
        .as_ref()
        .map(decode_close)
        .transpose()
}

/// Months sort before the head.
fn months() -> Query {
    Query {
        range: RangeFilter::Between("0".to_owned(), ":".to_owned()),
        ..pages::whole(Table::Checkpoints, PARTITION)
    }
}

/// All closes, oldest first. There are twelve a year.
pub async fn all(db: &dyn Db) -> Result<Vec<StoredClose>, StoreError> {
    let items = pages::all(db, months()).await?;
    items.iter().map(decode_close).collect()
}

/// The newest closes before a month, or of all, newest first.
pub async fn newest(
    db: &dyn Db,
    before: Option<Month>,
    limit: u32,
) -> Result<Vec<StoredClose>, StoreError> {
    let until = before.map(|month| Month(month.0 - 1).to_string());
    // There is no month before the year 0.
    if until.as_deref().is_some_and(|until| until < "0") {
        return Ok(Vec::new());
    }
    let query = Query {
        range: RangeFilter::Between("0".to_owned(), until.unwrap_or_else(|| ":".to_owned())),
        descending: true,
        limit: Some(limit),
        ..pages::whole(Table::Checkpoints, PARTITION)
    };
    let page = db.query(&query).await?;
    page.items.iter().map(decode_close).collect()
}

/// Begins a close after that of `previous`, which must be finished, with an entry of the audit
/// trail: its terms never change from then on. `None`: it is the first. What stands then: it was written, or somebody else had begun this month, or another.
pub async fn begin(
    db: &dyn Db,
    close: &BegunClose,
    previous: Option<Month>,
) -> Result<Option<StoredClose>, StoreError> {
    let mut attempts = Attempts::new(db);
    loop {
        if let Some(stored) = get(db, close.month).await? {
            return Ok(Some(stored));
        }
        let head = db.get(&head_key()).await?;
        let newest = head.map(|item| Row::new(head_key(), &item).parsed("month"));
        if newest.transpose()? != previous {
            // Another process may have begun this very month between the two reads.
            return get(db, close.month).await;
        }
        if attempts.write(begin_writes(close, previous)).await? == WriteOutcome::Written {
            return get(db, close.month).await;
        }
    }
}

fn begin_writes(close: &BegunClose, previous: Option<Month>) -> Vec<Write> {
    let head = match previous {
        None => Condition::Absent,
        Some(month) => Condition::Equals("month", Attr::S(month.to_string())),
    };
    let mut writes = vec![
        Write::Put {
            table: Table::Checkpoints,
            item: Fields::of(&head_key()).text("month", close.month).item(),
            condition: head,
        },
        Write::Put {
            table: Table::Checkpoints,
            item: item(close, None),
            condition: Condition::Absent,
        },
    ];
    writes.extend(previous.map(|month| Write::Check {
        key: key(month),
        condition: Condition::Equals("state", Attr::S(CLOSED.to_owned())),
    }));
    writes.push(audit::write(&audit::Entry {
        at: close.at,
        action: "closes.begin".to_owned(),
        subject: close.month.to_string(),
        by: close.by.clone(),
        detail: json!({"control": close.control.0, "terms": close.terms}),
    }));
    writes
}

fn item(begun: &BegunClose, finished: Option<&FinishedClose>) -> Item {
    let fields = Fields::of(&key(begun.month)).json("begun", begun);
    match finished {
        None => fields.text("state", BEGUN).item(),
        Some(finished) => fields.text("state", CLOSED).json("closed", finished).item(),
    }
}

/// Finishes a close, with an entry of the audit trail. What stands then: what was finished first.
pub async fn finish(
    db: &dyn Db,
    begun: &BegunClose,
    finished: &FinishedClose,
    entry: &audit::Entry,
) -> Result<FinishedClose, StoreError> {
    let mut attempts = Attempts::new(db);
    loop {
        let stored = get(db, begun.month).await?;
        if let Some(StoredClose {
            finished: Some(finished),
            ..
        }) = stored
        {
            return Ok(finished);
        }
        let put = Write::Put {
            table: Table::Checkpoints,
            item: item(begun, Some(finished)),
            condition: Condition::Equals("state", Attr::S(BEGUN.to_owned())),
        };
        if attempts.write(vec![put, audit::write(entry)]).await? == WriteOutcome::Written {
            return Ok(finished.clone());
        }
    }
}
