//! `[pipeline]`: rating and posting.

use std::time::Duration;

use super::kinds::{boolean, duration};
use super::reader::Reader;
use super::{KIB, MIB, count, secs};

/// Most accounts on a leaderboard. A list with its spare candidates is one item, which DynamoDB
/// limits to 400 KB; where lists are built, the compiler holds this number to that.
pub const LEADERBOARD_SIZE_MAX: i64 = 500;

/// How far back duplicates are looked for in memory without usage rows at least: what is older
/// cannot be checked, and is rejected. Where windows are kept, the compiler holds this to the
/// bounds of events.
pub const WINDOW_UNCHECKED_MIN: Duration = secs(900);
/// How far back duplicates are looked for in memory at least.
const WINDOW_MIN: Duration = secs(600);

/// Rating and posting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    /// Most records in a chunk.
    pub chunk_records_max: usize,
    /// Most bytes in a chunk.
    pub chunk_bytes_max: usize,
    /// How long a chunk waits to fill.
    pub chunk_age_max: Duration,
    /// How often changed accounts are written.
    pub flush_interval: Duration,
    /// So many changed accounts are written before their interval is over.
    pub flush_accounts_max: usize,
    /// Most writes under way at a time, per posting partition.
    pub flush_concurrency: usize,
    /// Most accounts in memory, per posting partition.
    pub cached_accounts_max: usize,
    /// Most accounts whose referrers are in memory, per source partition.
    pub cached_chains_max: usize,
    /// Accounts on a leaderboard.
    pub leaderboard_size: usize,
    /// How often leaderboards are written.
    pub leaderboard_interval: Duration,
    /// How far back duplicates are looked for in memory, in log time.
    pub duplicate_window: Duration,
    /// How far back duplicates are looked for in memory, in records per partition.
    pub duplicate_window_records_max: usize,
    /// Whether each request gets a row in UsageTracking.
    pub usage_rows: bool,
    /// Whether `up` audits its own rating.
    pub audit: bool,
    /// How often pending awards are looked for.
    pub award_poll_interval: Duration,
    /// How often a halted partition looks whether it has been resumed.
    pub halted_poll_interval: Duration,
    /// How long a posting partition may hear nothing from a source partition before a tick is sent.
    pub tick_interval: Duration,
}

impl PipelineConfig {
    pub(super) fn read(reader: &mut Reader) -> PipelineConfig {
        let ms = Duration::from_millis;
        let config = PipelineConfig {
            chunk_records_max: count(reader, "pipeline.chunk_records_max", 5_000, 1, 1_000_000),
            chunk_bytes_max: count(
                reader,
                "pipeline.chunk_bytes_max",
                8 * MIB,
                256 * KIB,
                1024 * MIB,
            ),
            chunk_age_max: reader.get(
                "pipeline.chunk_age_max",
                ms(100),
                duration(ms(1)..=secs(60)),
            ),
            flush_interval: reader.get(
                "pipeline.flush_interval",
                ms(500),
                duration(ms(10)..=secs(60)),
            ),
            flush_accounts_max: count(reader, "pipeline.flush_accounts_max", 20_000, 1, 10_000_000),
            flush_concurrency: count(reader, "pipeline.flush_concurrency", 32, 1, 1_000),
            cached_chains_max: count(
                reader,
                "pipeline.cached_chains_max",
                500_000,
                1_000,
                100_000_000,
            ),
            cached_accounts_max: count(
                reader,
                "pipeline.cached_accounts_max",
                200_000,
                1,
                100_000_000,
            ),
            leaderboard_size: count(
                reader,
                "pipeline.leaderboard_size",
                100,
                1,
                LEADERBOARD_SIZE_MAX,
            ),
            leaderboard_interval: reader.get(
                "pipeline.leaderboard_interval",
                secs(2),
                duration(ms(100)..=secs(600)),
            ),
            duplicate_window: reader.get(
                "pipeline.duplicate_window",
                secs(3600),
                duration(WINDOW_MIN..=secs(86_400)),
            ),
            duplicate_window_records_max: count(
                reader,
                "pipeline.duplicate_window_records_max",
                2_000_000,
                1_000,
                1_000_000_000,
            ),
            usage_rows: reader.get("pipeline.usage_rows", true, boolean()),
            audit: reader.get("pipeline.audit", true, boolean()),
            award_poll_interval: reader.get(
                "pipeline.award_poll_interval",
                ms(500),
                duration(ms(10)..=secs(600)),
            ),
            halted_poll_interval: reader.get(
                "pipeline.halted_poll_interval",
                secs(2),
                duration(ms(100)..=secs(600)),
            ),
            tick_interval: reader.get(
                "pipeline.tick_interval",
                secs(60),
                duration(secs(1)..=secs(3600)),
            ),
        };
        reader.must(
            config.usage_rows || config.duplicate_window >= WINDOW_UNCHECKED_MIN,
            "pipeline.duplicate_window",
            "is too short for pipeline.usage_rows = false: events that are a few minutes late would be rejected",
            format!("at least {}m without usage rows", WINDOW_UNCHECKED_MIN.as_secs() / 60),
        );
        reader.must(
            config.flush_accounts_max <= config.cached_accounts_max,
            "pipeline.flush_accounts_max",
            "is more than pipeline.cached_accounts_max: changed accounts stay in memory until they are written",
            format!("at most {}", config.cached_accounts_max),
        );
        config
    }
}
