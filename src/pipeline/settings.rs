//! What can be set about the pipeline.

use std::time::Duration;

/// Settings of a worker. [`Settings::default`] is what `tidemark up` uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A chunk holds at most so many records.
    pub chunk_records_max: usize,
    /// A chunk holds at most so many bytes.
    pub chunk_bytes_max: usize,
    /// A chunk waits at most so long for more records.
    pub chunk_age: Duration,
    /// After so long without records a rater declares its last chunk done.
    pub idle_after: Duration,
    /// When a posting partition was sent no block for so long, the rater appends a tick, which
    /// reaches all of them: else months would never become final there.
    pub tick_after: Duration,
    /// The duplicate window reaches back so much log time, ms.
    pub window_age_ms: i64,
    /// The duplicate window reaches back so many records at most.
    pub window_records_max: u64,
    /// Whether a row per request is written to UsageTracking. Without, an event that is older than
    /// the window is rejected.
    pub usage_rows: bool,
    /// A usage row expires this long after its event time: 35 days and the retention of
    /// `usage.events`.
    pub usage_row_life: Duration,
    /// A rater keeps the referral chains of at most so many accounts in memory.
    pub chains_cached_max: usize,
    /// Changed account rows are written at least so often.
    pub flush_interval: Duration,
    /// So many changed accounts are written at once, whatever the interval.
    pub flush_accounts_max: usize,
    /// So many writes of one posting partition are under way at a time.
    pub flush_concurrency: usize,
    /// A poster keeps at most so many accounts in memory.
    pub accounts_cached_max: usize,
    /// A poster reads at most so many blocks at a time.
    pub blocks_read_max: usize,
    /// Top-K lists are exact for so many accounts.
    pub leaderboard_size: usize,
    /// Top-K lists are written at most so often; checkpoints wait for them.
    pub leaderboard_interval: Duration,
    /// Pending awards are looked for so often.
    pub award_interval: Duration,
    /// It is looked so often whether accounts are to be looked through for badges.
    pub sweep_interval: Duration,
    /// A halted task looks so often whether it was resumed.
    pub halt_poll: Duration,
    /// The first pause before a reload; it doubles up to `backoff_max`.
    pub backoff: Duration,
    /// The longest pause before a reload or between two tries.
    pub backoff_max: Duration,
    /// So often is a request repeated that surely was not carried out, before the task reloads.
    pub tries_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            chunk_records_max: 5_000,
            chunk_bytes_max: 8 << 20,
            chunk_age: Duration::from_millis(100),
            idle_after: Duration::from_millis(300),
            tick_after: Duration::from_secs(60),
            window_age_ms: 3_600_000,
            window_records_max: 2_000_000,
            usage_rows: true,
            usage_row_life: Duration::from_secs((35 + 7) * 86_400),
            chains_cached_max: 500_000,
            flush_interval: Duration::from_millis(500),
            flush_accounts_max: 20_000,
            flush_concurrency: 32,
            accounts_cached_max: 200_000,
            blocks_read_max: 64,
            leaderboard_size: 100,
            leaderboard_interval: Duration::from_secs(2),
            award_interval: Duration::from_millis(500),
            sweep_interval: Duration::from_secs(30),
            halt_poll: Duration::from_secs(2),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            tries_max: 8,
        }
    }
}
