//! Metrics: one typed struct whose doc comments are the help texts.
//!
//! Names follow Prometheus: `tidemark_` in front, units last, `_total` for counters. Labels are bounded: partitions, roles, reason
//! codes, tables, topics, routes; never an account, a model or a free text (those belong into log lines).

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec,
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// What every metric's name begins with.
pub const PREFIX: &str = "tidemark_";
/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bucket bounds for durations, in seconds: from a write into memory to a store that hangs.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Bucket bounds for numbers of events in a chunk.
const EVENTS: &[f64] = &[
    1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0, 50_000.0, 100_000.0,
];

/// Bucket bounds for bytes: from a record to the largest chunk.
const BYTES: &[f64] = &[
    1_024.0,
    16_384.0,
    131_072.0,
    524_288.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
    33_554_432.0,
];
/// Bucket bounds for how old numbers are, in seconds: from at once to a day.
const AGES: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0,
    86_400.0,
];

/// What a metric is made of, besides its name and help text.
struct Shape {
    labels: &'static [&'static str],
    buckets: &'static [f64],
}

/// A kind of metric that `metrics!` can declare.
trait Kind: Collector + Clone + Sized + 'static {
    fn build(opts: Opts, shape: &Shape) -> prometheus::Result<Self>;
}

macro_rules! kinds {
    ($($kind:ident($opts:ident, $shape:ident) $build:expr;)+) => {$(
        impl Kind for $kind {
            fn build($opts: Opts, $shape: &Shape) -> prometheus::Result<$kind> {
                $build
            }
        }
    )+};
}

kinds! {
    Counter(opts, _shape) Counter::with_opts(opts);
    IntCounter(opts, _shape) IntCounter::with_opts(opts);
    IntGauge(opts, _shape) IntGauge::with_opts(opts);
    Gauge(opts, _shape) Gauge::with_opts(opts);
    IntCounterVec(opts, shape) IntCounterVec::new(opts, shape.labels);
    IntGaugeVec(opts, shape) IntGaugeVec::new(opts, shape.labels);
    CounterVec(opts, shape) CounterVec::new(opts, shape.labels);
    GaugeVec(opts, shape) GaugeVec::new(opts, shape.labels);
    Histogram(opts, shape) Histogram::with_opts(HistogramOpts::from(opts).buckets(shape.buckets.to_vec()));
    HistogramVec(opts, shape) HistogramVec::new(HistogramOpts::from(opts).buckets(shape.buckets.to_vec()), shape.labels);
}

/// Declares [`Metrics`]: `/// help` and `name: Kind` with `["label", …]` and `in BUCKETS` where the kind takes them.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident $([$($label:literal),+])? $(in $buckets:ident)?;)+) => {
        /// Every metric of this process, in a registry of its own.
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $name: $kind,)+
        }

        impl Metrics {
            /// Name, help text and labels of every metric, in the order in which they are declared.
            pub const DECLARED: &'static [Declared] = &[$(Declared {
                name: concat!("tidemark_", stringify!($name)),
                help: concat!($($help),+),
                labels: &[$($($label),+)?],
                kind: stringify!($kind),
            },)+];

            fn build() -> prometheus::Result<Metrics> {
                let registry = Registry::new();
                $(let $name: $kind = {
                    let name = concat!("tidemark_", stringify!($name));
                    let shape = Shape { labels: &[$($($label),+)?], buckets: &[] };
                    $(let shape = Shape { buckets: $buckets, ..shape };)?
                    let metric = <$kind as Kind>::build(Opts::new(name, concat!($($help),+).trim()), &shape)?;
                    registry.register(Box::new(metric.clone()))?;
                    metric
                };)+
                Ok(Metrics { registry, $($name,)+ })
            }
        }
    };
}

/// What is declared of one metric.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Its full name.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it is made of, such as `IntCounterVec` or `Histogram`.
    pub kind: &'static str,
}

metrics! {
    /// Events that rating accepted and counted. A chunk that is rated again after a crash counts
    /// again, here and below.
    events_rated_total: IntCounter;
    /// Events that rating rejected, by reason code. conflict means the same identity with different
    /// content.
    events_rejected_total: IntCounterVec["reason"];
    /// Events dropped as duplicates.
    events_duplicate_total: IntCounter;
    /// Requests whose points and cost were taken back by a reversal.
    events_reversed_total: IntCounter;
    /// Requests that a later report completed: what was unknown is rated now, and the difference
    /// posted.
    events_completed_total: IntCounter;
    /// Records found in a partition other than their user's and forwarded to it.
    events_forwarded_total: IntCounter;
    /// Events checked for duplicates in their usage row (dedup lookup), because the window in
    /// memory does not reach back far enough.
    slow_lane_events_total: IntCounter;
    /// Events rated in the lowest tier because their model is not in the catalogue and its name has
    /// no size; the log has the names.
    default_tier_events_total: IntCounter;
    /// Events of the last five minutes by outcome: rated, rejected, without_usage (rated and
    /// successful, but without token counts).
    recent_events: IntGaugeVec["outcome"];
    /// Successful events without token counts: their usage is unknown, not zero.
    unknown_usage_events_total: IntCounter;
    /// Of these, events whose token counts a later report supplied.
    unknown_usage_completed_total: IntCounter;
    /// Rated events by service and tier; the tier is none for services without models.
    usage_events_total: IntCounterVec["service", "tier"];
    /// Points earned by usage, before multipliers, by earner (user or provider), service and tier: what
    /// the first report of a request came to. Reversals and completions do not change it.
    usage_points_total: CounterVec["earner", "service", "tier"];
    /// Points issued, before multipliers, by kind: usage of users and of providers, referral
    /// shares, first uses, awards, adjustments. Reversals and completions do not change it.
    points_issued_total: CounterVec["kind"];
    /// Points deducted by adjustments.
    points_deducted_total: Counter;
    /// Heartbeats (tick records) written. They make months final in partitions that receive nothing
    /// else.
    ticks_total: IntCounter;
    /// Chunks that the auditor rated again, and whose posting blocks are what that gave.
    audit_chunks_total: IntCounter;
    /// Records in these chunks.
    audit_records_total: IntCounter;
    /// Differences that the auditor found between the log and what rating it again gives, by kind. It
    /// changes nothing: `tidemark audit findings` names chunk and account.
    audit_findings_total: IntCounterVec["kind"];
    /// Chunks that cannot be audited, because what it takes to rate them again is gone, by reason.
    audit_skipped_total: IntCounterVec["reason"];
    /// Rows that were written into files of the archive.
    archive_rows_total: IntCounter;
    /// Files of the archive that were written.
    archive_files_total: IntCounter;
    /// Bytes of these files.
    archive_bytes_total: IntCounter;
    /// Attempts to close a month that failed for another reason than that they were refused.
    closing_failures_total: IntCounter;
    /// When the newest month that is closed began, as a Unix time; 0 before the first.
    closing_last_closed_timestamp_seconds: IntGauge;
    /// 1 while the close of a month was begun and is not finished.
    closing_unfinished: IntGauge;
    /// Files of closed months that are gone or have another length, as they were last looked for.
    closing_files_missing: IntGauge;
    /// 1 while it cannot be checked whether the files of closed months are there.
    closing_files_unchecked: IntGauge;
    /// Attempts to write a file of the archive that failed. The audit waits and tries again.
    archive_write_failures_total: IntCounter;
    /// The log time up to which the archive of a source partition has rows, as a Unix time.
    archive_covered_timestamp_seconds: GaugeVec["partition"];
    /// Chunks rated.
    chunks_total: IntCounter;
    /// Records in a chunk.
    chunk_events: Histogram in EVENTS;
    /// Bytes of records in a chunk.
    chunk_bytes: Histogram in BYTES;
    /// Time from the cut of a chunk until everything it emits is durable, in seconds.
    chunk_seconds: Histogram in SECONDS;
    /// Time of each stage, in seconds. Rating, per chunk: cut, rate, emit. Posting, per read: load,
    /// apply; per flush: write, effects; then checkpoint.
    stage_seconds: HistogramVec["role", "stage"] in SECONDS;
    /// Posting blocks emitted by rating; a chunk that is rated again counts again.
    postings_blocks_total: IntCounter;
    /// Posting blocks dropped because their sequence number was already applied.
    postings_duplicate_blocks_total: IntCounter;
    /// Accounts in memory, by posting partition.
    accounts_cached: IntGaugeVec["partition"];
    /// Accounts in memory with unwritten changes, by posting partition.
    accounts_dirty: IntGaugeVec["partition"];
    /// Accounts named by posting blocks, by whether they were in memory (hit) or loaded from the
    /// store (miss).
    account_lookups_total: IntCounterVec["result"];
    /// Account rows written.
    flush_rows_total: IntCounter;
    /// Account writes in which a sum is at the end of its range and is therefore too low; the log
    /// names the accounts.
    saturated_flushes_total: IntCounter;
    /// Accounts written by one flush.
    flush_accounts: Histogram in EVENTS;
    /// Duration of a flush, in seconds.
    flush_seconds: Histogram in SECONDS;
    /// Age of the newest visible event, by its own time, at each moment when newer events became
    /// visible in account rows, in seconds.
    freshness_seconds: Histogram in AGES;
    /// Time of the newest event visible in account rows, by posting partition, in seconds since
    /// 1970.
    visible_event_timestamp_seconds: GaugeVec["partition"];
    /// Conditional writes of account rows by outcome: written; try_again (the row is unchanged);
    /// somebody_else (another worker wrote this row).
    condition_outcomes_total: IntCounterVec["outcome"];
    /// Times a partition discarded its memory and restarted from its checkpoint.
    reloads_total: IntCounterVec["role"];
    /// Consumer group events of this process (partitions assigned, revoked, lost), by role.
    group_events_total: IntCounterVec["role", "event"];
    /// Accounts that are set aside: their postings and awards wait while their partition continues.
    accounts_set_aside: IntGaugeVec["partition"];
    /// Append time of the oldest posting that an account which is set aside may lack, in seconds
    /// since 1970; absent if there is none. The log drops it one retention later.
    accounts_set_aside_since_timestamp_seconds: GaugeVec["partition"];
    /// Accounts that were set aside, by reason code.
    accounts_set_aside_total: IntCounterVec["reason"];
    /// 1 while a partition is halted, by reason code; `tidemark doctor` has details.
    halted: IntGaugeVec["role", "partition", "reason"];
    /// Records of a partition that are not done: not yet rated and sent, or posted in memory but
    /// not yet in rows.
    lag_records: IntGaugeVec["role", "partition"];
    /// Time that the oldest of these records has been in the log, in seconds; 0 if there is none.
    lag_seconds: GaugeVec["role", "partition"];
    /// Offset up to which a partition's work is durable.
    checkpoint_offset: IntGaugeVec["role", "partition"];
    /// Time when a partition's checkpoint last moved, or covered everything in the log, in seconds
    /// since 1970.
    checkpoint_timestamp_seconds: GaugeVec["role", "partition"];
    /// Time when a partition last made progress or was idle, in seconds since 1970.
    last_progress_timestamp_seconds: GaugeVec["role", "partition"];
    /// Awards applied to account rows, by kind.
    awards_applied_total: IntCounterVec["kind"];
    /// Badges granted, by id.
    badges_granted_total: IntCounterVec["badge"];
    /// 1 while all accounts are to be looked through for badges, because badges were published or a
    /// month has become final.
    badge_sweep_due: IntGauge;
    /// Control number of the newest rules and prices that this process has seen.
    rules_version: IntGauge;
    /// Write units consumed, as reported by the store.
    store_write_units_total: CounterVec["table"];
    /// Read units consumed, as reported by the store.
    store_read_units_total: CounterVec["table"];
    /// Store answers that report consumption, by table and operation.
    store_requests_total: IntCounterVec["table", "operation"];
    /// Requests that the store throttled.
    store_throttles_total: IntCounter;
    /// Requests that DynamoDB denied or that could not be signed: expired or missing credentials, a
    /// missing permission, a skewed clock. Nothing was written; the tasks retry.
    store_denials_total: IntCounter;
    /// Requests to the store that were retried.
    store_retries_total: IntCounter;
    /// Limit of concurrent requests to the store. It falls when answers are late and rises with
    /// answers that are on time.
    store_in_flight_max: IntGauge;
    /// Seconds by which the store's clock, as its newest answer shows it, is ahead of this
    /// machine's; negative if it is behind. 0 for an embedded store.
    store_clock_ahead_seconds: Gauge;
    /// Seconds by which the append time of the newest record that rating read was ahead of this
    /// machine's clock; 0 if it was not.
    log_clock_ahead_seconds: GaugeVec["partition"];
    /// Records that adapters read from gateways' topics, by topic; a record that is read again
    /// counts again, here and below.
    adapter_records_total: IntCounterVec["topic"];
    /// Usage events that adapters created.
    adapter_events_total: IntCounterVec["topic"];
    /// Log entries that adapters skipped, by reason.
    adapter_skipped_total: IntCounterVec["topic", "reason"];
    /// Log entries that adapters refused, by reason code.
    adapter_refused_total: IntCounterVec["topic", "reason"];
    /// Events of successful requests whose gateway reports no token counts; their tokens are not
    /// charged.
    adapter_usage_unknown_total: IntCounterVec["topic"];
    /// Events whose token total, as reported by the gateway, is not the sum of its parts. The parts
    /// count.
    adapter_odd_totals_total: IntCounterVec["topic"];
    /// Failed requests (5xx) without a known provider: they lower no provider's uptime.
    adapter_unattributed_failures_total: IntCounterVec["topic"];
    /// Records of gateways' topics that expired or were deleted before they were read; their usage
    /// is lost. Raise the retention of these topics.
    adapter_lost_records_total: IntCounterVec["topic"];
    /// HTTP requests with usage, by format; `events` are tidemark's own formats.
    ingest_requests_total: IntCounterVec["format"];
    /// Usage events accepted by the log.
    ingest_events_total: IntCounterVec["format"];
    /// Items skipped, by reason.
    ingest_skipped_total: IntCounterVec["format", "reason"];
    /// Items refused, by reason code; those of gateways' formats are kept in usage.rejected.
    ingest_refused_total: IntCounterVec["format", "reason"];
    /// Events of successful requests without token counts; their tokens are not charged.
    ingest_usage_unknown_total: IntCounterVec["format"];
    /// Events whose token total, as reported by the gateway, is not the sum of its parts. The parts
    /// count.
    ingest_odd_totals_total: IntCounterVec["format"];
    /// Events of deployments whose ids the gateway generated: the vendor takes the provider's
    /// place. Publish rules.providers, or set http.gateways.providers.
    ingest_made_up_providers_total: IntCounterVec["format"];
    /// Failed requests (5xx) without a known provider: they lower no provider's uptime.
    ingest_unattributed_failures_total: IntCounterVec["format"];
    /// Records that the log acknowledged to this process, of all kinds, by topic.
    log_appended_records_total: IntCounterVec["topic"];
    /// Appends that the log refused: its disk is full (disk_full) or the clock jumped ahead
    /// (clock_ahead). Nothing was appended.
    log_refused_appends_total: IntCounterVec["reason"];
    /// 1 while a dependency of this process (log, store) is unavailable, by cause; 0 or absent
    /// otherwise.
    dependency_down: IntGaugeVec["dependency", "code"];
    /// HTTP requests answered, by route and status code.
    http_requests_total: IntCounterVec["route", "code"];
    /// Time to answer an HTTP request, in seconds.
    http_request_seconds: HistogramVec["route"] in SECONDS;
    /// Open connections to the HTTP service.
    http_connections: IntGauge;
    /// Connections refused because too many were open, by limit: in total (all) or from one address
    /// (address).
    http_connections_refused_total: IntCounterVec["limit"];
    /// Connections closed because the client did not send the head of a request (head) or did not
    /// read its answer (answer).
    http_connections_timed_out_total: IntCounterVec["waiting_for"];
    /// Request bodies refused: too_large, too_slow, or no_room because too many bytes were being
    /// read.
    http_bodies_refused_total: IntCounterVec["reason"];
    /// API key lookups by result: cached, read (from the store), made_up (refused without a read),
    /// limited (too many unknown keys of the older form), or believed (cached, because the store
    /// did not answer in time).
    http_key_lookups_total: IntCounterVec["result"];
    /// Exports that were downloaded, by what they hold, format and outcome: complete, interrupted (the
    /// client stopped reading) or failed (the file is incomplete; the log says why).
    exports_total: IntCounterVec["what", "format", "outcome"];
    /// Wallets that were linked, by outcome: linked (also the present one again), unlinked, or refused
    /// (the message or its signature).
    wallet_changes_total: IntCounterVec["outcome"];
    /// Addresses whose weight in a vote was asked for.
    votes_addresses_total: IntCounter;
    /// Spans for the trace collector: sent, failed (not accepted) or dropped (queue full). Only
    /// with tracing.endpoint.
    trace_spans_total: IntCounterVec["outcome"];
    /// Referral funnel: codes created, accounts referred, and of these those with one success and
    /// with fifty; see analytics_timestamp_seconds.
    referral_accounts: IntGaugeVec["step"];
    /// Users and providers ever seen; see analytics_timestamp_seconds.
    known_accounts: IntGaugeVec["kind"];
    /// Accounts active today (so far) and yesterday, UTC; see analytics_timestamp_seconds.
    active_accounts: IntGaugeVec["kind", "day"];
    /// Users whose credit balance is below zero; see analytics_timestamp_seconds.
    credits_overdrawn_accounts: IntGauge;
    /// Time of the last full read of the tables for these numbers, in seconds since 1970.
    analytics_timestamp_seconds: Gauge;
    /// Always 1; the labels say what is running.
    build_info: IntGaugeVec["version"];
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Metrics {
        let metrics = Metrics::build().expect(
            "the declarations above are valid and no name occurs twice; a test builds them",
        );
        metrics
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        metrics
    }

    /// Everything in Prometheus' text format ([`CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(event = "metrics.failed", %error, "could not render the metrics as text");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}
