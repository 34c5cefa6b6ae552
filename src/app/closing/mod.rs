//! Closing a month, and what people see of closed months.
//!
//! A close has three steps, each of which can be repeated:
//!
//! 1. **Begin**: the month must be final. Month, terms and control position are written, once.
//! 2. **Files**: they follow from that, from the final statements, and from what the close before
//!    carried over. A file that is there already must have the same bytes.
//! 3. **Finish**: sums, roots and the hash of every file are written, with the audit entry.
//!
//! So whoever closes, and however often a close was killed, the same record and the same bytes come
//! out. See ARCHITECTURE.md, "Closing".

mod carry;
mod claims;
mod close;
mod files;
mod gather;
mod missing;
mod view;
mod watch;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::queries::Queries;
use super::{CommandError, Refusal};
use crate::domain::time::{Millis, Month};
use crate::objects::Objects;
use crate::ops::clock::Clock;
use crate::ops::metrics::Metrics;
use crate::store::closes;
use crate::store::db::Db;

pub use claims::{AccountClaims, ClaimOfClose, CumulativeClaim, Proof};
pub use files::ClosedFile;
pub use missing::missing_files;
pub use view::{ClosePreview, CloseState, CloseView, ClosedFileInfo, last_closed_and_unfinished};
pub use watch::watch;

/// Closes at once in a process: one reads both tables whole.
const CLOSES_MAX: usize = 1;

/// Room for one close. Work on other threads holds it as well: it goes on when a request was given
/// up.
type Room = Arc<OwnedSemaphorePermit>;

/// Closes months, and shows what came of it.
pub struct Closing {
    queries: Arc<Queries>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    files: Option<Objects>,
    room: Arc<Semaphore>,
    indexes: claims::IndexCache,
}

impl Closing {
    /// Closing with the queries of a store, and with files at a place. `None`: no place is
    /// configured, so that months cannot be closed.
    pub fn new(
        queries: Arc<Queries>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        files: Option<Objects>,
    ) -> Closing {
        Closing {
            queries,
            clock,
            metrics,
            files,
            room: Arc::new(Semaphore::new(CLOSES_MAX)),
            indexes: claims::IndexCache::default(),
        }
    }

    fn db(&self) -> &dyn Db {
        self.queries.db()
    }

    fn now(&self) -> Millis {
        self.clock.now()
    }

    fn files(&self) -> Result<&Objects, CommandError> {
        let detail = "no place for the files of closed months is configured; set closing.location to \
                      a directory or s3://BUCKET/PREFIX that every process sees";
        let files = self.files.as_ref();
        files.ok_or_else(|| Refusal::conflict("no_closing_location", detail).into())
    }

    async fn stored(&self, month: Month) -> Result<closes::StoredClose, CommandError> {
        let found = closes::get(self.db(), month).await?;
        found.ok_or_else(|| {
            let detail = format!("{month} has not been closed");
            Refusal::not_found("not_closed", detail).into()
        })
    }
}
