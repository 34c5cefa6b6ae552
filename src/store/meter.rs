//! What the store says that we consume: write and read units, by table and operation.
//!
//! DynamoDB bills failed conditions too, but does not report their units; they are not in these
//! sums.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::db::Table;
use crate::ops::metrics::Metrics;

/// An operation of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// One item.
    Get,
    /// Several items.
    BatchGet,
    /// A page of one partition key or of an index.
    Query,
    /// A page of a table.
    Scan,
    /// One item written.
    Put,
    /// One item deleted.
    Delete,
    /// A transaction.
    Transact,
    /// Several unconditional puts.
    BatchPut,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 8] = [
        Operation::Get,
        Operation::BatchGet,
        Operation::Query,
        Operation::Scan,
        Operation::Put,
        Operation::Delete,
        Operation::Transact,
        Operation::BatchPut,
    ];

    /// As it stands in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::BatchGet => "batch_get",
            Operation::Query => "query",
            Operation::Scan => "scan",
            Operation::Put => "put",
            Operation::Delete => "delete",
            Operation::Transact => "transact",
            Operation::BatchPut => "batch_put",
        }
    }

    /// Whether it writes.
    pub const fn writes(self) -> bool {
        matches!(
            self,
            Operation::Put | Operation::Delete | Operation::Transact | Operation::BatchPut
        )
    }
}

/// What one answer reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consumed {
    /// Units without saying of which kind.
    pub total: Option<f64>,
    /// Write units.
    pub write: Option<f64>,
    /// Read units.
    pub read: Option<f64>,
}

/// Units come in halves, so that halves are counted, as integers.
#[derive(Debug, Default)]
struct Cell {
    requests: AtomicU64,
    write_halves: AtomicU64,
    read_halves: AtomicU64,
}

/// A reading of the meter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Answers that reported units.
    pub answers: u64,
    /// Write units.
    pub write: f64,
    /// Read units.
    pub read: f64,
}

/// Adds up what is consumed; shared by all who use one client.
#[derive(Default)]
pub struct StoreMeter {
    cells: [[Cell; Operation::ALL.len()]; Table::ALL.len()],
    throttles: AtomicU64,
    retries: AtomicU64,
    metrics: Option<Arc<Metrics>>,
}

impl std::fmt::Debug for StoreMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreMeter({:?})", self.total())
    }
}

impl StoreMeter {
    /// A meter at zero that also feeds the process's metrics.
    pub fn with_metrics(metrics: Arc<Metrics>) -> StoreMeter {
        // Told from the start, so that no graph is empty before the first use.
        for table in Table::ALL {
            let label = [table.name()];
            drop(metrics.store_write_units_total.with_label_values(&label));
            drop(metrics.store_read_units_total.with_label_values(&label));
        }
        StoreMeter {
            metrics: Some(metrics),
            ..StoreMeter::default()
        }
    }

    /// Adds what one answer reports for one table: the units of a kind where they are given, else
    /// the total as the operation's own kind.
    pub fn add(&self, table: Table, operation: Operation, consumed: Consumed) {
        let (write, read) = match (consumed.write, consumed.read, operation.writes()) {
            (None, None, true) => (consumed.total, None),
            (None, None, false) => (None, consumed.total),
            (write, read, _) => (write, read),
        };
        let cell = &self.cells[table as usize][operation as usize];
        cell.requests.fetch_add(1, Ordering::Relaxed);
        let (write, read) = (halves(write), halves(read));
        cell.write_halves.fetch_add(write, Ordering::Relaxed);
        cell.read_halves.fetch_add(read, Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            let label = [table.name()];
            let (writes, reads) = (
                &metrics.store_write_units_total,
                &metrics.store_read_units_total,
            );
            writes.with_label_values(&label).inc_by(units(write));
            reads.with_label_values(&label).inc_by(units(read));
            let requests = &metrics.store_requests_total;
            requests
                .with_label_values(&[table.name(), operation.as_str()])
                .inc();
        }
    }

    /// Counts a throttled request.
    pub fn throttled(&self) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            metrics.store_throttles_total.inc();
        }
    }

    /// Tells how many requests may be on their way at once.
    pub fn allows(&self, in_flight: usize) {
        if let Some(metrics) = &self.metrics {
            metrics.store_in_flight_max.set(in_flight as i64);
        }
    }

    /// Tells by how much the store's clock is ahead of this machine's.
    pub fn clock_ahead(&self, ahead_ms: i64) {
        if let Some(metrics) = &self.metrics {
            let seconds = ahead_ms as f64 / 1_000.0;
            metrics.store_clock_ahead_seconds.set(seconds);
        }
    }

    /// Counts a request that was denied.
    pub fn denied(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.store_denials_total.inc();
        }
    }

    /// Counts a request that is sent again.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            metrics.store_retries_total.inc();
        }
    }

    /// What one table and operation have consumed.
    pub fn of(&self, table: Table, operation: Operation) -> Units {
        let cell = &self.cells[table as usize][operation as usize];
        Units {
            answers: cell.requests.load(Ordering::Relaxed),
            write: units(cell.write_halves.load(Ordering::Relaxed)),
            read: units(cell.read_halves.load(Ordering::Relaxed)),
        }
    }

    /// What one table has consumed.
    pub fn of_table(&self, table: Table) -> Units {
        let all = Operation::ALL.map(|operation| self.of(table, operation));
        all.into_iter().fold(Units::default(), Units::plus)
    }

    /// What all tables have consumed.
    pub fn total(&self) -> Units {
        let all = Table::ALL.map(|table| self.of_table(table));
        all.into_iter().fold(Units::default(), Units::plus)
    }

    /// Requests that were throttled.
    pub fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }

    /// Requests that were sent again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}

impl Units {
    fn plus(self, other: Units) -> Units {
        Units {
            answers: self.answers + other.answers,
            write: self.write + other.write,
            read: self.read + other.read,
        }
    }
}

/// Reported units as a count of halves; nonsense (negative, not a number) counts nothing.
fn halves(units: Option<f64>) -> u64 {
    (units.unwrap_or(0.0) * 2.0).round() as u64
}

fn units(halves: u64) -> f64 {
    halves as f64 / 2.0
}
