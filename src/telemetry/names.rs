//! The names of all metrics, in one table. Dashboards and alerts rely on them; `docs/OPERATIONS.md` lists them.

use metrics::Unit;
use metrics::counter;
use metrics::describe_counter;
use metrics::describe_gauge;
use metrics::describe_histogram;

/// Decisions by what was decided.
pub const DECISIONS_TOTAL: &str = "headroom_decisions_total";
/// Requests decided in one script call.
pub const GROUP_SIZE: &str = "headroom_group_size";
/// Time of one script call, in seconds.
pub const REDIS_CALL_SECONDS: &str = "headroom_redis_call_seconds";
/// Events in the outbox, also those that are in Postgres and not trimmed yet.
pub const OUTBOX_EVENTS: &str = "headroom_outbox_events";
/// Age of the oldest event that is not in Postgres yet, in seconds; 0 when all are.
pub const OUTBOX_AGE_SECONDS: &str = "headroom_outbox_age_seconds";
/// Events in the outbox and not yet in Postgres.
pub const FLUSH_LAG_EVENTS: &str = "headroom_flush_lag_events";
/// Batches written to Postgres.
pub const FLUSH_BATCHES_TOTAL: &str = "headroom_flush_batches_total";
/// Events in one batch.
pub const FLUSH_BATCH_EVENTS: &str = "headroom_flush_batch_events";
/// Time of one batch's transaction, in seconds.
pub const FLUSH_SECONDS: &str = "headroom_flush_seconds";
/// Events written to Postgres.
pub const FLUSHED_EVENTS_TOTAL: &str = "headroom_flushed_events_total";
/// Events that Postgres had already.
pub const FLUSH_DUPLICATES_TOTAL: &str = "headroom_flush_duplicates_total";
/// Outbox entries and events set aside in `dead_letters`.
pub const DEAD_LETTERS_TOTAL: &str = "headroom_dead_letters_total";
/// Subjects loaded from Postgres into Redis.
pub const LOADS_TOTAL: &str = "headroom_loads_total";
/// Time of one load, of up to 64 requests' subjects, in seconds.
pub const LOAD_SECONDS: &str = "headroom_load_seconds";
/// Recoveries, each with an incident row.
pub const RECOVERIES_TOTAL: &str = "headroom_recoveries_total";
/// Upper bound of the units that Redis lost.
pub const LOST_UNITS_BOUND_TOTAL: &str = "headroom_lost_units_bound_total";
/// Units by which counters in Redis differ from Postgres and the outbox.
pub const DRIFT_UNITS: &str = "headroom_drift_units";
/// Subjects with such counters.
pub const DRIFT_SUBJECTS: &str = "headroom_drift_subjects";
/// Subjects compared.
pub const DRIFT_COMPARED_TOTAL: &str = "headroom_drift_compared_total";
/// Requests refused because too many were in flight.
pub const SHED_TOTAL: &str = "headroom_shed_total";
/// Requests allowed without a decision because Redis was away.
pub const DEGRADED_TOTAL: &str = "headroom_degraded_total";
/// Refusals written to Postgres.
pub const DENIALS_TOTAL: &str = "headroom_denials_total";
/// Refusals that found no room in the queue, or that Postgres could not take.
pub const DENIALS_DROPPED_TOTAL: &str = "headroom_denials_dropped_total";
/// The last place of the live feed.
pub const FEED_PLACE: &str = "headroom_feed_place";
/// Streams that follow the live feed on this node.
pub const FEED_READERS: &str = "headroom_feed_readers";
/// Rows of the live feed that were taken away before webhooks were told of them.
pub const FEED_UNTOLD_TOTAL: &str = "headroom_feed_untold_total";
/// Alerts, each about a subject.
pub const ALERTS_TOTAL: &str = "headroom_alerts_total";
/// Attempts to deliver to webhooks.
pub const WEBHOOK_ATTEMPTS_TOTAL: &str = "headroom_webhook_attempts_total";
/// Answered requests.
pub const HTTP_REQUESTS_TOTAL: &str = "headroom_http_requests_total";
/// Time from the first byte of a request to its answer, in seconds.
pub const HTTP_REQUEST_SECONDS: &str = "headroom_http_request_seconds";
/// Spans that found no room in the queue, or that the collector did not take.
pub const SPANS_DROPPED_TOTAL: &str = "headroom_spans_dropped_total";

/// Bucket bounds of times, in seconds: from a local round trip to the longest time-out.
const SECONDS_BUCKETS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Bucket bounds of group sizes, in requests.
const GROUP_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Bucket bounds of flush batches, in events.
const BATCH_BUCKETS: [f64; 8] = [1.0, 8.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0];

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples by buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// A label, with those of its values that are known before they occur.
type Label = (&'static str, &'static [&'static str]);

/// One metric of the service.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// `headroom_`, what is measured, its base unit, and `total` for a counter.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [Label],
    /// Its help text.
    pub about: &'static str,
}

const SHARD: &[Label] = &[("shard", &[])];
const NONE: &[Label] = &[];

/// Every metric.
pub const ALL: &[Metric] = &[
    counter(DECISIONS_TOTAL, &[("outcome", &[])], "decisions by outcome"),
    histogram(GROUP_SIZE, &GROUP_BUCKETS, NONE, "requests decided in one script call"),
    histogram(REDIS_CALL_SECONDS, &SECONDS_BUCKETS, NONE, "time of one script call"),
    gauge(OUTBOX_EVENTS, SHARD, "events in the outbox, flushed ones that are not trimmed too"),
    gauge(OUTBOX_AGE_SECONDS, SHARD, "age of the oldest event that is not in postgres yet"),
    gauge(FLUSH_LAG_EVENTS, SHARD, "events in the outbox and not yet in postgres"),
    counter(FLUSH_BATCHES_TOTAL, NONE, "batches written to postgres"),
    histogram(FLUSH_BATCH_EVENTS, &BATCH_BUCKETS, NONE, "events in one batch"),
    histogram(FLUSH_SECONDS, &SECONDS_BUCKETS, NONE, "time of one batch's transaction"),
    counter(FLUSHED_EVENTS_TOTAL, NONE, "events written to postgres"),
    counter(FLUSH_DUPLICATES_TOTAL, NONE, "events that postgres had already"),
    counter(DEAD_LETTERS_TOTAL, NONE, "outbox entries and events set aside in dead_letters"),
    counter(LOADS_TOTAL, NONE, "subjects loaded from postgres into redis"),
    histogram(LOAD_SECONDS, &SECONDS_BUCKETS, NONE, "time of one load of several subjects"),
    counter(RECOVERIES_TOTAL, NONE, "recoveries, each with an incident row"),
    counter(LOST_UNITS_BOUND_TOTAL, NONE, "upper bound of the units that redis lost"),
    gauge(DRIFT_UNITS, NONE, "units by which redis differs from postgres and the outbox"),
    gauge(DRIFT_SUBJECTS, NONE, "subjects whose counters in redis differ"),
    counter(DRIFT_COMPARED_TOTAL, NONE, "subjects that were compared"),
    counter(SHED_TOTAL, NONE, "requests refused because too many were in flight"),
    counter(DEGRADED_TOTAL, NONE, "requests allowed without a decision while redis was away"),
    counter(DENIALS_TOTAL, NONE, "refusals written to postgres"),
    counter(DENIALS_DROPPED_TOTAL, NONE, "refusals that were not written"),
    gauge(FEED_PLACE, NONE, "last place of the live feed"),
    gauge(FEED_READERS, NONE, "streams that follow the live feed on this node"),
    counter(FEED_UNTOLD_TOTAL, NONE, "rows of the live feed that webhooks were never told of"),
    counter(ALERTS_TOTAL, NONE, "alerts, each about a subject"),
    counter(
        WEBHOOK_ATTEMPTS_TOTAL,
        &[("outcome", &["delivered", "failed", "given_up"])],
        "attempts to deliver to webhooks",
    ),
    counter(HTTP_REQUESTS_TOTAL, &[("route", &[]), ("status", &[])], "answered requests"),
    histogram(
        HTTP_REQUEST_SECONDS,
        &SECONDS_BUCKETS,
        &[("route", &[])],
        "time from the first byte of a request to its answer",
    ),
    counter(SPANS_DROPPED_TOTAL, NONE, "spans that were not exported"),
];

const fn counter(name: &'static str, labels: &'static [Label], about: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, about }
}

const fn gauge(name: &'static str, labels: &'static [Label], about: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, about }
}

const fn histogram(
    name: &'static str,
    buckets: &'static [f64],
    labels: &'static [Label],
    about: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram(buckets), labels, about }
}

impl Metric {
    /// Seconds when the name says so, a count otherwise.
    fn unit(&self) -> Unit {
        let is_time = self.name.ends_with("_seconds");
        if is_time { Unit::Seconds } else { Unit::Count }
    }

    /// Gives the metric its help text and unit in the installed recorder. A counter starts at 0 there, so that its first
    /// event is an increase, which alerts look for.
    fn describe(&self) {
        let Self { name, about, .. } = *self;
        match self.kind {
            Kind::Counter => describe_counter!(name, self.unit(), about),
            Kind::Gauge => describe_gauge!(name, self.unit(), about),
            Kind::Histogram(_) => describe_histogram!(name, self.unit(), about),
        }
        match (self.kind, self.labels) {
            (Kind::Counter, []) => counter!(name).increment(0),
            (Kind::Counter, [(label, values)]) => {
                values.iter().for_each(|value| counter!(name, *label => *value).increment(0));
            }
            _ => {}
        }
    }
}

/// Describes every metric in the installed recorder.
pub(super) fn describe() {
    ALL.iter().for_each(Metric::describe);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_unit_and_whether_they_only_grow() {
        for metric in ALL {
            let Metric { name, kind, about, .. } = metric;
            assert!(name.starts_with("headroom_") && !about.is_empty(), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            // Base units alone.
            for other in ["_ms", "_milliseconds", "_minutes", "_kilobytes"] {
                assert!(!name.contains(other), "{name}");
            }
            if let Kind::Histogram(buckets) = kind {
                assert!(buckets.is_sorted() && !buckets.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn a_name_stands_in_the_table_once() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
