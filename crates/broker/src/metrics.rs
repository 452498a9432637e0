//! What the agent counts. docs/metrics.md lists every name with unit and meaning; keep the two in step.
//!
//! One [`Metrics`] per agent, shared by both gateways and the broker. Labels are few and fixed (front end, API,
//! outcome): no topic, no client, nothing that grows with use; what is counted by topic is in [`crate::costs`], and
//! bounded. A call costs no allocation: attribute values are `&'static str` and the attribute lists live on the stack. Without the feature `metrics` every method is empty
//! and no OpenTelemetry crate is linked; without a meter ([`Metrics::disabled`]) they cost one branch.

use std::sync::Arc;

use crate::catalog::Catalog;
#[cfg(feature = "metrics")]
use crate::costs::{self, Ledger};
#[cfg(feature = "metrics")]
use crate::groups::tally;
use crate::groups::tally::Tally;

/// Which front end a connection or request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontEnd {
    /// Kafka.
    Kafka,
    /// gRPC.
    Grpc,
}

/// Instruments; one per agent, shared.
#[derive(Debug, Default)]
pub struct Metrics {
    #[cfg(feature = "metrics")]
    instruments: Option<Box<instruments::Instruments>>,
    #[cfg(feature = "metrics")]
    ledger: Option<Arc<Ledger>>,
    /// Counted whether somebody looks at it or not: the bound on their memory rests on it.
    groups: Arc<Tally>,
}

#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "without the feature nothing is counted"))]
impl Metrics {
    /// Instruments of `meter`; the names carry the prefix `streamhouse_` themselves. `ledger` is what the object store's
    /// requests are counted in.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn new(meter: &opentelemetry::metrics::Meter, ledger: Arc<Ledger>) -> Self {
        costs::register(meter, &ledger);
        let groups = Arc::default();
        tally::register(meter, &groups);
        Self { instruments: Some(Box::new(instruments::Instruments::new(meter))), ledger: Some(ledger), groups }
    }

    /// Counts nothing.
    #[must_use]
    pub fn disabled() -> Self {
        Self::default()
    }

    /// A client's connection was accepted.
    pub fn connection_opened(&self, front_end: FrontEnd) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.connections_opened.add(1, &front_end.attributes());
            i.connections.add(1, &front_end.attributes());
        });
    }

    /// A connection that was counted as opened ended.
    pub fn connection_closed(&self, front_end: FrontEnd) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.connections.add(-1, &front_end.attributes()));
    }

    /// A connection was refused at a limit; it was not counted as opened.
    pub fn connection_refused(&self, front_end: FrontEnd) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.connections_refused.add(1, &front_end.attributes()));
    }

    /// A request was answered, `seconds` after it was read. `error`: its answer says so at the top level.
    pub fn request(&self, front_end: FrontEnd, api: &'static str, seconds: f64, error: bool) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.requests.record(seconds, &instruments::request_attributes(front_end, api, error)));
    }

    /// A batch got its place in line.
    pub fn append(&self, records: u64, bytes: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.append_batches.add(1, &[]);
            i.append_records.add(records, &[]);
            i.append_bytes.add(bytes, &[]);
        });
    }

    /// A batch was refused or given up; `code` names the variant of `AppendError`.
    pub fn append_rejected(&self, code: &'static str) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.append_rejected.add(1, &instruments::code(code)));
    }

    /// A batch is durable, `seconds` after it got its place in line.
    pub fn append_acked(&self, seconds: f64, bytes: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.append_acked.record(seconds, &[]);
            i.append_acked_bytes.add(bytes, &[]);
        });
    }

    /// A flush closed: `bytes` of batches in `ranges` partitions, gathered over `gather_seconds`.
    pub fn flush(&self, bytes: u64, ranges: u64, gather_seconds: f64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.flush_bytes.record(instruments::as_float(bytes), &[]);
            i.flush_ranges.record(instruments::as_float(ranges), &[]);
            i.flush_gather.record(gather_seconds, &[]);
        });
    }

    /// A PUT ended, retries of the store's client included.
    pub fn object_put(&self, seconds: f64, bytes: u64, ok: bool) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.object_put.record(seconds, &instruments::ok(ok));
            i.object_put_bytes.add(bytes, &instruments::ok(ok));
        });
    }

    /// A PUT was begun again beside one that takes long.
    pub fn object_put_hedge(&self) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.object_put_hedges.add(1, &[]));
    }

    /// Garbage collection deleted an object.
    pub fn object_deleted(&self) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.objects_deleted.add(1, &[]));
    }

    /// Retention deleted records of a partition.
    pub fn records_deleted(&self, records: u64, bytes: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.records_deleted.add(records, &[]);
            i.record_bytes_deleted.add(bytes, &[]);
        });
    }

    /// A rewrite let `ranges` rows with `bytes` of records take the place of `rows`.
    pub fn rewritten(&self, bytes: u64, rows: u64, ranges: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.rewrite_bytes.add(bytes, &[]);
            i.rewrite_rows_replaced.add(rows, &[]);
            i.rewrite_rows_written.add(ranges, &[]);
        });
    }

    /// A rewrite of one object ended: `done`, `partly`, `refused` or `failed`.
    pub fn rewrite_job(&self, outcome: &'static str) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.rewrite_jobs.add(1, &instruments::outcome(outcome)));
    }

    /// Compaction went through a log: it read so many bytes and took so many records out.
    pub fn compacted(&self, bytes_read: u64, records_removed: u64, bytes_removed: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.compaction_bytes_read.add(bytes_read, &[]);
            i.compaction_records_removed.add(records_removed, &[]);
            i.compaction_bytes_removed.add(bytes_removed, &[]);
        });
    }

    /// A pass of compaction over one log ended: `done`, `refused` or `failed`.
    pub fn compaction_pass(&self, outcome: &'static str) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.compaction_passes.add(1, &instruments::outcome(outcome)));
    }

    /// This agent gave its leases up: it could not commit while another could.
    pub fn gave_up(&self) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.gave_up.add(1, &[]));
    }

    /// A probe of the stores ended.
    pub fn probe(&self, ok: bool) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.probes.add(1, &instruments::ok(ok)));
    }

    /// A ranged read ended, retries of the store's client included.
    pub fn object_get(&self, seconds: f64, bytes: u64, ok: bool) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.object_get.record(seconds, &instruments::ok(ok));
            i.object_get_bytes.add(bytes, &instruments::ok(ok));
        });
    }

    /// The disk cache had `bytes` of a range, or not.
    pub fn cache_read(&self, hit: bool, bytes: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.cache_reads.add(1, &instruments::hit(hit));
            i.cache_read_bytes.add(bytes, &instruments::hit(hit));
        });
    }

    /// Bytes went into the disk cache.
    pub fn cache_written(&self, bytes: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.cache_written_bytes.add(bytes, &[]));
    }

    /// Bytes did not go into the disk cache, as its disk was behind.
    pub fn cache_dropped(&self, bytes: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.cache_dropped_bytes.add(bytes, &[]));
    }

    /// So many pieces left the disk cache.
    pub fn cache_evicted(&self, pieces: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.cache_evictions.add(pieces, &[]));
    }

    /// Bytes in the disk cache now.
    pub fn cache_bytes(&self, value: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.cache_bytes.record(i64::try_from(value).unwrap_or(i64::MAX), &[]));
    }

    /// Bytes that were read ahead of a consumer are wanted now, or went away unused.
    pub fn read_ahead(&self, bytes: u64, used: bool) {
        #[cfg(feature = "metrics")]
        if bytes > 0 {
            self.with(|i| i.read_ahead_bytes.add(bytes, &instruments::used(used)));
        }
    }

    /// A segment commit ended: one metadata transaction with `segments` objects and `ranges` partitions. `outcome` is
    /// one of a few words such as `committed`, `fenced`, `not_committed`, `unknown`.
    pub fn commit(&self, seconds: f64, segments: u64, ranges: u64, outcome: &'static str) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.commit.record(seconds, &instruments::outcome(outcome));
            i.commit_segments.add(segments, &instruments::outcome(outcome));
            i.commit_ranges.add(ranges, &instruments::outcome(outcome));
        });
    }

    /// A fetch was answered with `bytes` of records, so many of them from tail memory and from the object store.
    pub fn fetch(&self, bytes: u64, from_tail: u64, from_store: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.fetches.add(1, &[]);
            i.fetch_bytes.record(instruments::as_float(bytes), &[]);
            i.fetch_source_bytes.add(from_tail, &instruments::source("tail"));
            i.fetch_source_bytes.add(from_store, &instruments::source("store"));
        });
    }

    /// Record bytes went to a consumer that named another zone than this agent's.
    pub fn fetch_other_zone(&self, bytes: u64) {
        #[cfg(feature = "metrics")]
        if let Some(ledger) = &self.ledger {
            ledger.crossed_zones(bytes);
        }
    }

    /// What coordinators hold and do.
    pub(crate) fn groups(&self) -> &Arc<Tally> {
        &self.groups
    }

    /// A coordinator loaded so many rows of its groups.
    pub fn groups_loaded(&self, seconds: f64, rows: u64) {
        #[cfg(feature = "metrics")]
        self.with(|i| {
            i.group_load.record(seconds, &[]);
            i.group_load_rows.add(rows, &[]);
        });
    }

    /// Where the names of topics are found.
    pub(crate) fn name_topics(&self, catalog: &Arc<Catalog>) {
        #[cfg(feature = "metrics")]
        if let Some(ledger) = &self.ledger {
            ledger.name_topics(catalog);
        }
    }

    /// A long poll ended, by data or by its time-out.
    pub fn fetch_wait(&self, seconds: f64) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.fetch_wait.record(seconds, &[]));
    }

    /// Bytes held in tail memory now.
    pub fn tail_bytes(&self, value: i64) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.tail_bytes.record(value, &[]));
    }

    /// Partitions whose lease this agent holds now.
    pub fn partitions_led(&self, value: i64) {
        #[cfg(feature = "metrics")]
        self.with(|i| i.partitions_led.record(value, &[]));
    }

    #[cfg(feature = "metrics")]
    fn with(&self, record: impl FnOnce(&instruments::Instruments)) {
        if let Some(instruments) = &self.instruments {
            record(instruments);
        }
    }
}

#[cfg(feature = "metrics")]
mod instruments {
    use opentelemetry::KeyValue;
    use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};

    use super::FrontEnd;

    /// Bucket bounds of latencies, in seconds: 0.5 ms to 10 s.
    const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    /// Bucket bounds of sizes, in bytes: 1 KiB to 64 MiB.
    const BYTES: [f64; 9] =
        [1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];
    /// Bucket bounds of counts of partitions.
    const COUNT: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

    /// Every instrument by the meaning it has in docs/metrics.md.
    #[derive(Debug)]
    pub(super) struct Instruments {
        pub(super) connections_opened: Counter<u64>,
        pub(super) connections: UpDownCounter<i64>,
        pub(super) connections_refused: Counter<u64>,
        pub(super) requests: Histogram<f64>,
        pub(super) append_batches: Counter<u64>,
        pub(super) append_records: Counter<u64>,
        pub(super) append_bytes: Counter<u64>,
        pub(super) append_rejected: Counter<u64>,
        pub(super) append_acked: Histogram<f64>,
        pub(super) append_acked_bytes: Counter<u64>,
        pub(super) flush_bytes: Histogram<f64>,
        pub(super) flush_ranges: Histogram<f64>,
        pub(super) flush_gather: Histogram<f64>,
        pub(super) object_put: Histogram<f64>,
        pub(super) object_put_bytes: Counter<u64>,
        pub(super) object_put_hedges: Counter<u64>,
        pub(super) objects_deleted: Counter<u64>,
        pub(super) records_deleted: Counter<u64>,
        pub(super) record_bytes_deleted: Counter<u64>,
        pub(super) rewrite_bytes: Counter<u64>,
        pub(super) rewrite_rows_replaced: Counter<u64>,
        pub(super) rewrite_rows_written: Counter<u64>,
        pub(super) rewrite_jobs: Counter<u64>,
        pub(super) compaction_passes: Counter<u64>,
        pub(super) compaction_bytes_read: Counter<u64>,
        pub(super) compaction_records_removed: Counter<u64>,
        pub(super) compaction_bytes_removed: Counter<u64>,
        pub(super) gave_up: Counter<u64>,
        pub(super) probes: Counter<u64>,
        pub(super) object_get: Histogram<f64>,
        pub(super) object_get_bytes: Counter<u64>,
        pub(super) cache_reads: Counter<u64>,
        pub(super) cache_read_bytes: Counter<u64>,
        pub(super) cache_written_bytes: Counter<u64>,
        pub(super) cache_dropped_bytes: Counter<u64>,
        pub(super) cache_evictions: Counter<u64>,
        pub(super) cache_bytes: Gauge<i64>,
        pub(super) read_ahead_bytes: Counter<u64>,
        pub(super) commit: Histogram<f64>,
        pub(super) commit_segments: Counter<u64>,
        pub(super) commit_ranges: Counter<u64>,
        pub(super) fetches: Counter<u64>,
        pub(super) fetch_bytes: Histogram<f64>,
        pub(super) fetch_source_bytes: Counter<u64>,
        pub(super) fetch_wait: Histogram<f64>,
        pub(super) tail_bytes: Gauge<i64>,
        pub(super) partitions_led: Gauge<i64>,
        pub(super) group_load: Histogram<f64>,
        pub(super) group_load_rows: Counter<u64>,
    }

    impl Instruments {
        pub(super) fn new(m: &Meter) -> Self {
            Self {
                connections_opened: counter(m, "streamhouse_connections_opened_total", "Connections accepted"),
                connections: m
                    .i64_up_down_counter("streamhouse_connections")
                    .with_description("Connections open now")
                    .build(),
                connections_refused: counter(m, "streamhouse_connections_refused_total", "Refused at a limit"),
                requests: seconds(m, "streamhouse_request_seconds", "From request read to answer ready"),
                append_batches: counter(m, "streamhouse_append_batches_total", "Batches that got their place in line"),
                append_records: counter(m, "streamhouse_append_records_total", "Records in those batches"),
                append_bytes: counter(m, "streamhouse_append_bytes_total", "Bytes of those batches"),
                append_rejected: counter(m, "streamhouse_append_rejected_total", "Batches refused or given up"),
                append_acked: seconds(m, "streamhouse_append_ack_seconds", "From place in line to durable"),
                append_acked_bytes: counter(m, "streamhouse_append_acked_bytes_total", "Bytes made durable"),
                flush_bytes: histogram(m, "streamhouse_flush_bytes", "By", "Batch bytes in one flush", &BYTES),
                flush_ranges: histogram(m, "streamhouse_flush_ranges", "", "Partitions in one flush", &COUNT),
                flush_gather: seconds(m, "streamhouse_flush_gather_seconds", "From a flush's first batch to its close"),
                object_put: seconds(m, "streamhouse_object_put_seconds", "Object store writes, retries included"),
                object_put_bytes: counter(m, "streamhouse_object_put_bytes_total", "Bytes written to the object store"),
                object_put_hedges: counter(
                    m,
                    "streamhouse_object_put_hedges_total",
                    "Writes begun again beside a slow one",
                ),
                objects_deleted: counter(m, "streamhouse_objects_deleted_total", "Objects deleted as garbage"),
                records_deleted: counter(m, "streamhouse_records_deleted_total", "Records deleted by retention"),
                record_bytes_deleted: counter(m, "streamhouse_record_bytes_deleted_total", "Bytes of those records"),
                rewrite_bytes: counter(m, "streamhouse_rewrite_bytes_total", "Record bytes rewritten"),
                rewrite_rows_replaced: counter(m, "streamhouse_rewrite_rows_replaced_total", "Ranges they were in"),
                rewrite_rows_written: counter(m, "streamhouse_rewrite_rows_written_total", "Ranges they are in now"),
                rewrite_jobs: counter(m, "streamhouse_rewrite_jobs_total", "Rewrites of one object that ended"),
                compaction_passes: counter(m, "streamhouse_compaction_passes_total", "Passes of compaction over a log"),
                compaction_bytes_read: counter(m, "streamhouse_compaction_bytes_read_total", "Record bytes they read"),
                compaction_records_removed: counter(
                    m,
                    "streamhouse_compaction_records_removed_total",
                    "Records they took out",
                ),
                compaction_bytes_removed: counter(
                    m,
                    "streamhouse_compaction_bytes_removed_total",
                    "Bytes by which logs became smaller",
                ),
                gave_up: counter(m, "streamhouse_gave_up_total", "Times this agent gave its leases up"),
                probes: counter(m, "streamhouse_probes_total", "Probes of the stores"),
                object_get: seconds(m, "streamhouse_object_get_seconds", "Object store reads, retries included"),
                object_get_bytes: counter(m, "streamhouse_object_get_bytes_total", "Bytes read from the object store"),
                cache_reads: counter(m, "streamhouse_cache_reads_total", "Ranges looked for in the disk cache"),
                cache_read_bytes: counter(m, "streamhouse_cache_read_bytes_total", "Bytes of those ranges"),
                cache_written_bytes: counter(
                    m,
                    "streamhouse_cache_written_bytes_total",
                    "Bytes put into the disk cache",
                ),
                cache_dropped_bytes: counter(m, "streamhouse_cache_dropped_bytes_total", "Bytes left out of it"),
                cache_evictions: counter(m, "streamhouse_cache_evictions_total", "Pieces that left the disk cache"),
                cache_bytes: gauge(m, "streamhouse_cache_bytes", "Bytes in the disk cache"),
                read_ahead_bytes: counter(m, "streamhouse_read_ahead_bytes_total", "Bytes read ahead of consumers"),
                commit: seconds(m, "streamhouse_commit_seconds", "Segment commits (metadata transactions)"),
                commit_segments: counter(m, "streamhouse_commit_segments_total", "Segments in those commits"),
                commit_ranges: counter(m, "streamhouse_commit_ranges_total", "Ranges in those commits"),
                fetches: counter(m, "streamhouse_fetch_total", "Fetches answered"),
                fetch_bytes: histogram(m, "streamhouse_fetch_bytes", "By", "Record bytes in one answer", &BYTES),
                fetch_source_bytes: counter(m, "streamhouse_fetch_source_bytes_total", "Fetched bytes by source"),
                fetch_wait: seconds(m, "streamhouse_fetch_wait_seconds", "Time a long poll waited"),
                tail_bytes: gauge(m, "streamhouse_tail_bytes", "Bytes held in tail memory"),
                partitions_led: gauge(m, "streamhouse_partitions_led", "Partitions whose lease this agent holds"),
                group_load: seconds(m, "streamhouse_group_load_seconds", "Loads of a coordinator's groups"),
                group_load_rows: counter(m, "streamhouse_group_load_rows_total", "Rows in those loads"),
            }
        }
    }

    fn counter(meter: &Meter, name: &'static str, description: &'static str) -> Counter<u64> {
        meter.u64_counter(name).with_description(description).build()
    }

    fn gauge(meter: &Meter, name: &'static str, description: &'static str) -> Gauge<i64> {
        meter.i64_gauge(name).with_description(description).build()
    }

    fn seconds(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<f64> {
        histogram(meter, name, "s", description, &SECONDS)
    }

    fn histogram(
        meter: &Meter,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        bounds: &[f64],
    ) -> Histogram<f64> {
        meter.f64_histogram(name).with_unit(unit).with_description(description).with_boundaries(bounds.to_vec()).build()
    }

    impl FrontEnd {
        const fn name(self) -> &'static str {
            match self {
                Self::Kafka => "kafka",
                Self::Grpc => "grpc",
            }
        }

        pub(super) fn attributes(self) -> [KeyValue; 1] {
            [KeyValue::new("front_end", self.name())]
        }
    }

    pub(super) fn request_attributes(front_end: FrontEnd, api: &'static str, error: bool) -> [KeyValue; 3] {
        [KeyValue::new("front_end", front_end.name()), KeyValue::new("api", api), KeyValue::new("ok", truth(!error))]
    }

    pub(super) fn ok(ok: bool) -> [KeyValue; 1] {
        [KeyValue::new("ok", truth(ok))]
    }

    pub(super) fn hit(hit: bool) -> [KeyValue; 1] {
        [KeyValue::new("hit", truth(hit))]
    }

    pub(super) fn used(used: bool) -> [KeyValue; 1] {
        [KeyValue::new("used", truth(used))]
    }

    pub(super) fn code(code: &'static str) -> [KeyValue; 1] {
        [KeyValue::new("code", code)]
    }

    pub(super) fn outcome(outcome: &'static str) -> [KeyValue; 1] {
        [KeyValue::new("outcome", outcome)]
    }

    pub(super) fn source(source: &'static str) -> [KeyValue; 1] {
        [KeyValue::new("source", source)]
    }

    const fn truth(value: bool) -> &'static str {
        if value { "true" } else { "false" }
    }

    /// Sizes and counts are far below 2^53, where `f64` is exact.
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    pub(super) const fn as_float(value: u64) -> f64 {
        value as f64
    }
}
