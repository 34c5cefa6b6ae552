//! Open rejects among the newest of each partition, by reason. Who looks again reads what is new of
//! the log, and of the store what became of those that were open.

use std::collections::{BTreeMap, VecDeque};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::Queries;
use crate::app::CommandError;
use crate::domain::position::{Offset, Partition};
use crate::log::{Bounds, ReadLimit, Topic};
use crate::store::redrive;

/// So many of each partition's newest are looked at.
pub const OPEN_LOOKED_MAX: u64 = 50;
/// Partitions that are read at the same time.
const PARTITIONS_TOGETHER: usize = 8;

/// How much of a partition is read at a time.
const READ: ReadLimit = ReadLimit {
    records: OPEN_LOOKED_MAX as usize,
    bytes: 4 * 1024 * 1024,
};

/// What was read of each partition, the last time that somebody looked.
#[derive(Default)]
pub(super) struct OpenRejects(Mutex<BTreeMap<u32, Window>>);

/// The newest rejects of a partition that were open.
#[derive(Clone, Default)]
struct Window {
    /// What was read ends here.
    end: u64,
    open: VecDeque<OpenReject>,
}

#[derive(Clone)]
struct OpenReject {
    offset: u64,
    /// Of its original; what becomes of it is stored under this.
    name: String,
    reason: &'static str,
}

impl Window {
    /// Forgets what is not among the newest any more, or not kept; everything, of another log.
    fn slide(&mut self, bounds: Bounds) {
        let (start, end) = (bounds.start.0, bounds.end.0);
        let first = start.max(end.saturating_sub(OPEN_LOOKED_MAX));
        if end < self.end {
            *self = Window::default();
        }
        self.open.retain(|reject| reject.offset >= first);
        self.end = self.end.max(first);
    }
}

impl Queries {
    /// How many of the newest rejects of all partitions are open, by reason. One looks at a time:
    /// whoever comes next has little left to read.
    pub async fn open_rejects(&self) -> Result<BTreeMap<&'static str, usize>, CommandError> {
        let mut windows = self.open_rejects.0.lock().await;
        let partitions = self.reject_partitions().await?;
        windows.retain(|partition, _| *partition < partitions);
        let known = |partition| windows.get(&partition).cloned().unwrap_or_default();
        let look = |(partition, window)| async move {
            let window = self.look_again(partition, window).await?;
            Ok::<_, CommandError>((partition, window))
        };
        let looks: Vec<_> = (0..partitions).map(|n| look((n, known(n)))).collect();
        let looks = stream::iter(looks).buffered(PARTITIONS_TOGETHER);
        let mut found: BTreeMap<u32, Window> = looks.try_collect().await?;
        self.forget_decided(&mut found).await?;
        *windows = found;
        let mut open = BTreeMap::new();
        for reject in windows.values().flat_map(|window| &window.open) {
            *open.entry(reject.reason).or_default() += 1;
        }
        Ok(open)
    }

    /// Reads what is new of a partition.
    async fn look_again(&self, partition: u32, mut window: Window) -> Result<Window, CommandError> {
        let (topic, place) = (Topic::UsageRejected, Partition(partition));
        let bounds = self.log().bounds(topic, place).await?;
        window.slide(bounds);
        while window.end < bounds.end.0 {
            let from = Offset(window.end);
            let listed = redrive::list(self.log(), place, from, READ).await?;
            window
                .open
                .extend(listed.found.iter().map(|found| OpenReject {
                    offset: found.offset.0,
                    name: found.name(),
                    reason: found.reject.reason().as_str(),
                }));
            let last = listed.found.last().map(|found| found.offset.0 + 1);
            let next = listed.next.map(|next| next.0).or(last);
            // Nothing more is there, whatever the bounds said.
            let Some(next) = next.filter(|next| *next > window.end) else {
                window.end = bounds.end.0;
                break;
            };
            window.end = next;
        }
        Ok(window)
    }

    /// What was redriven or discarded is never open again.
    async fn forget_decided(
        &self,
        windows: &mut BTreeMap<u32, Window>,
    ) -> Result<(), CommandError> {
        let open = windows.values().flat_map(|window| &window.open);
        let names: Vec<String> = open.map(|reject| reject.name.clone()).collect();
        let fates = redrive::fates_of(self.db(), &names).await?;
        let mut is_open = fates.iter().map(Option::is_none);
        for window in windows.values_mut() {
            window.open.retain(|_| is_open.next().unwrap_or(true));
        }
        Ok(())
    }
}
