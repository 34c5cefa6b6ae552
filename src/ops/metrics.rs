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
    /// Events that were accepted by rating and counted. A chunk that is rated again after a crash counts again, here and below.
    events_rated_total: IntCounter;
    /// Events that were rejected by rating, by reason code; the reason conflict means the same identity with other content.
    events_rejected_total: IntCounterVec["reason"];
    /// Events that were dropped because the same event had been seen before.
    events_duplicate_total: IntCounter;
    /// Requests whose points and cost were taken back by a reversal.
    events_reversed_total: IntCounter;
    /// Records that were found in another partition than their user's and sent on to it.
    events_forwarded_total: IntCounter;
    /// Events whose duplicates had to be looked for in their usage row, because the window in memory does not reach back far enough.
    slow_lane_events_total: IntCounter;
    /// Events whose model is in no catalogue and carries no size, and which were rated in the lowest tier; the names are in the log.
    default_tier_events_total: IntCounter;
    /// Events of the last five minutes, by what became of them: rated, rejected, without_usage (successful, rated, without token
    /// counts; among those that were rated).
    recent_events: IntGaugeVec["outcome"];
    /// Successful events without token counts: their usage is unknown, not zero.
    unknown_usage_events_total: IntCounter;
    /// Rated events by service and tier; the tier is none where the service has no models.
    usage_events_total: IntCounterVec["service", "tier"];
    /// Points that usage has earned, before multipliers, by who earned them (user or provider), service and tier.
    usage_points_total: CounterVec["earner", "service", "tier"];
    /// Points that were issued, before multipliers, by kind: usage of users and of providers, referral shares, first uses, awards, adjustments.
    points_issued_total: CounterVec["kind"];
    /// Points that adjustments took away.
    points_deducted_total: Counter;
    /// Heartbeats (tick records) that were written; by them months become final in partitions that hear nothing else.
    ticks_total: IntCounter;
    /// Chunks that were rated.
    chunks_total: IntCounter;
    /// Records in a chunk.
    chunk_events: Histogram in EVENTS;
    /// Bytes of records in a chunk.
    chunk_bytes: Histogram in BYTES;
    /// From the cut of a chunk until everything that it emits is durable, in seconds.
    chunk_seconds: Histogram in SECONDS;
    /// Time that each stage of the work takes, in seconds. Of rating, per chunk: cut, rate, emit. Of posting, per read: load, apply; per
    /// flush: write, effects; then checkpoint.
    stage_seconds: HistogramVec["role", "stage"] in SECONDS;
    /// Posting blocks that rating has emitted; a chunk that is rated again counts again.
    postings_blocks_total: IntCounter;
    /// Posting blocks that were dropped because their sequence number had been applied before.
    postings_duplicate_blocks_total: IntCounter;
    /// Accounts in memory, by posting partition.
    accounts_cached: IntGaugeVec["partition"];
    /// Accounts in memory that have something to write, by posting partition.
    accounts_dirty: IntGaugeVec["partition"];
    /// Accounts that a read of posting blocks named and that were in memory (hit) or had to be loaded from the store (miss).
    account_lookups_total: IntCounterVec["result"];
    /// Accounts whose rows were written.
    flush_rows_total: IntCounter;
    /// Writes of accounts of which a sum is at the end of its range, so that it says less than was added; the log names them.
    saturated_flushes_total: IntCounter;
    /// Accounts that one flush wrote.
    flush_accounts: Histogram in EVENTS;
    /// Duration of a flush, in seconds.
    flush_seconds: Histogram in SECONDS;
    /// Whenever newer events have become visible in account rows: how old the newest of them was by then, by its own time, in seconds.
    freshness_seconds: Histogram in AGES;
    /// The time of the newest event that is visible in account rows, by posting partition, in seconds since 1970.
    visible_event_timestamp_seconds: GaugeVec["partition"];
    /// Writes of account rows by what became of them: written; try_again (the row is as before); somebody_else (another worker wrote).
    condition_outcomes_total: IntCounterVec["outcome"];
    /// How often a partition threw away its memory and began again at its checkpoint.
    reloads_total: IntCounterVec["role"];
    /// What the consumer group has done to this process: partitions assigned, revoked, lost, by role.
    group_events_total: IntCounterVec["role", "event"];
    /// Accounts that are set aside: their postings and awards wait while their partition goes on.
    accounts_set_aside: IntGaugeVec["partition"];
    /// Unix time of the append of the oldest posting that an account which is set aside may lack; absent while there is none. The log drops it one retention later.
    accounts_set_aside_since_timestamp_seconds: GaugeVec["partition"];
    /// Accounts that were set aside, by reason code.
    accounts_set_aside_total: IntCounterVec["reason"];
    /// 1 while a partition is halted, by reason code; tidemark doctor says more.
    halted: IntGaugeVec["role", "partition", "reason"];
    /// Records of a partition whose work is not done: not rated and sent on, or posted in memory and not in rows yet.
    lag_records: IntGaugeVec["role", "partition"];
    /// How long the oldest of these records has been in the log, in seconds; 0 when there is none.
    lag_seconds: GaugeVec["role", "partition"];
    /// The offset up to which a partition's work is durable.
    checkpoint_offset: IntGaugeVec["role", "partition"];
    /// When a partition's checkpoint last moved, or covered everything that there was, in seconds since 1970.
    checkpoint_timestamp_seconds: GaugeVec["role", "partition"];
    /// When a partition last made progress, or had nothing to do, in seconds since 1970.
    last_progress_timestamp_seconds: GaugeVec["role", "partition"];
    /// Awards that reached an account's row, by kind.
    awards_applied_total: IntCounterVec["kind"];
    /// The control number of the newest rules and prices that this process has seen.
    rules_version: IntGauge;
    /// Write units that the store says were consumed.
    store_write_units_total: CounterVec["table"];
    /// Read units that the store says were consumed.
    store_read_units_total: CounterVec["table"];
    /// Answers of the store that report consumption, by table and operation.
    store_requests_total: IntCounterVec["table", "operation"];
    /// Requests that the store throttled.
    store_throttles_total: IntCounter;
    /// Requests that DynamoDB did not let in, or that could not be signed: expired or missing credentials, a missing permission, a
    /// skewed clock. Nothing was written; the tasks try again.
    store_denials_total: IntCounter;
    /// Requests to the store that were sent again.
    store_retries_total: IntCounter;
    /// How many requests to the store may be on their way at once. Falls when answers do not come in time, and rises with answers
    /// that do.
    store_in_flight_max: IntGauge;
    /// Records of gateways' topics that adapters have read, by topic; one that is read again counts again, here and below.
    adapter_records_total: IntCounterVec["topic"];
    /// Usage events that adapters have made of them.
    adapter_events_total: IntCounterVec["topic"];
    /// Log entries that adapters have passed over, by reason.
    adapter_skipped_total: IntCounterVec["topic", "reason"];
    /// Log entries that adapters have refused, by reason code.
    adapter_refused_total: IntCounterVec["topic", "reason"];
    /// Events of successful requests whose gateway does not know how many tokens they took: nothing is charged for them.
    adapter_usage_unknown_total: IntCounterVec["topic"];
    /// Events whose gateway counts a total of tokens that is not the sum of its parts. The parts count.
    adapter_odd_totals_total: IntCounterVec["topic"];
    /// Failed requests (5xx) whose gateway does not say where they went: they lower no provider's uptime.
    adapter_unattributed_failures_total: IntCounterVec["topic"];
    /// Records of gateways' topics that expired or were deleted before they were read: their usage is lost. Raise the retention there.
    adapter_lost_records_total: IntCounterVec["topic"];
    /// HTTP requests that brought usage, by form; `events` are tidemark's own forms.
    ingest_requests_total: IntCounterVec["format"];
    /// Usage events that the log has taken from them.
    ingest_events_total: IntCounterVec["format"];
    /// Items in them that were passed over, by reason.
    ingest_skipped_total: IntCounterVec["format", "reason"];
    /// Items in them that were refused, by reason code; those of gateways are kept in usage.rejected.
    ingest_refused_total: IntCounterVec["format", "reason"];
    /// Events in them of successful requests whose gateway does not say how many tokens they took: nothing is charged for them.
    ingest_usage_unknown_total: IntCounterVec["format"];
    /// Events whose gateway counts a total of tokens that is not the sum of its parts. The parts count.
    ingest_odd_totals_total: IntCounterVec["format"];
    /// Events of deployments whose ids the gateway made up: the vendor stands for the provider. Set http.gateways.providers.
    ingest_made_up_providers_total: IntCounterVec["format"];
    /// Failed requests (5xx) whose gateway does not say where they went: they lower no provider's uptime.
    ingest_unattributed_failures_total: IntCounterVec["format"];
    /// Records that the log has acknowledged to this process, whatever wrote them, by topic.
    log_appended_records_total: IntCounterVec["topic"];
    /// Appends that the log refused: its disk is full (disk_full), or the clock has jumped ahead (clock_ahead). Nothing was appended.
    log_refused_appends_total: IntCounterVec["reason"];
    /// 1 while what this process depends on (log, store) cannot be used, by cause; 0 or absent otherwise.
    dependency_down: IntGaugeVec["dependency", "code"];
    /// HTTP requests that were answered, by route and status code.
    http_requests_total: IntCounterVec["route", "code"];
    /// Time to answer an HTTP request, in seconds.
    http_request_seconds: HistogramVec["route"] in SECONDS;
    /// Connections to the HTTP service that are open.
    http_connections: IntGauge;
    /// Connections that were refused because too many were open: of everybody (all), or from one address (address).
    http_connections_refused_total: IntCounterVec["limit"];
    /// Connections that were closed because their client did not send the head of a request (head), or did not take its answer (answer).
    http_connections_timed_out_total: IntCounterVec["waiting_for"];
    /// Bodies of requests that were refused: too_large, too_slow, or no_room because too many bytes were being read.
    http_bodies_refused_total: IntCounterVec["reason"];
    /// API keys that were looked for: cached, read from the store, made_up (refused without a read), limited (too many unknown ones of the
    /// older form), or believed because the store did not answer in time.
    http_key_lookups_total: IntCounterVec["result"];
    /// Spans for the collector of traces: sent, failed (it did not take them) or dropped (too many waited). Only with tracing.endpoint.
    trace_spans_total: IntCounterVec["outcome"];
    /// Codes that were made, accounts that were referred, of these those with a success, and with fifty; see analytics_timestamp_seconds.
    referral_accounts: IntGaugeVec["step"];
    /// Users and providers that have ever been seen; see analytics_timestamp_seconds.
    known_accounts: IntGaugeVec["kind"];
    /// Accounts that were active today (so far) and yesterday, UTC; see analytics_timestamp_seconds.
    active_accounts: IntGaugeVec["kind", "day"];
    /// Users whose credit balance is below zero; see analytics_timestamp_seconds.
    credits_overdrawn_accounts: IntGauge;
    /// When the tables were last read whole for the numbers about everybody, in seconds since 1970.
    analytics_timestamp_seconds: Gauge;
    /// Always 1; the labels tell what is running.
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
