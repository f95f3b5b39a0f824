//! The names of all metrics. Dashboards and alerts rely on them.

use metrics::Unit;
use metrics::describe_counter;
use metrics::describe_gauge;
use metrics::describe_histogram;

/// Counter, label `outcome`: decisions by what was decided.
pub const DECISIONS_TOTAL: &str = "headroom_decisions_total";
/// Histogram: requests decided in one script call.
pub const GROUP_SIZE: &str = "headroom_group_size";
/// Histogram: time of one script call, in seconds.
pub const REDIS_CALL_SECONDS: &str = "headroom_redis_call_seconds";
/// Counter: events written to Postgres.
pub const FLUSHED_EVENTS_TOTAL: &str = "headroom_flushed_events_total";
/// Counter: events that Postgres had already.
pub const FLUSH_DUPLICATES_TOTAL: &str = "headroom_flush_duplicates_total";
/// Gauge: events in the outbox and not yet in Postgres.
pub const FLUSH_LAG_EVENTS: &str = "headroom_flush_lag_events";
/// Counter: subjects loaded from Postgres into Redis.
pub const LOADS_TOTAL: &str = "headroom_loads_total";
/// Counter: recoveries, each with an incident row.
pub const RECOVERIES_TOTAL: &str = "headroom_recoveries_total";
/// Counter: upper bound of the units that Redis lost.
pub const LOST_UNITS_BOUND_TOTAL: &str = "headroom_lost_units_bound_total";
/// Counter: requests refused because too many were in flight.
pub const SHED_TOTAL: &str = "headroom_shed_total";
/// Counter: events set aside in `dead_letters`.
pub const DEAD_LETTERS_TOTAL: &str = "headroom_dead_letters_total";
/// Counter: refusals written to Postgres.
pub const DENIALS_TOTAL: &str = "headroom_denials_total";
/// Counter: refusals that found no room in the queue, or that Postgres could not take.
pub const DENIALS_DROPPED_TOTAL: &str = "headroom_denials_dropped_total";
/// Gauge: the last place of the live feed.
pub const FEED_PLACE: &str = "headroom_feed_place";
/// Gauge: streams that follow the live feed on this node.
pub const FEED_READERS: &str = "headroom_feed_readers";
/// Counter: alerts, each about a subject.
pub const ALERTS_TOTAL: &str = "headroom_alerts_total";
/// Counter, label `outcome`: attempts to deliver to webhooks: `delivered`, `failed` or `given_up`.
pub const WEBHOOK_ATTEMPTS_TOTAL: &str = "headroom_webhook_attempts_total";
/// Counter: requests allowed without a decision because Redis was away.
pub const DEGRADED_TOTAL: &str = "headroom_degraded_total";
/// Counter, labels `route` and `status`: answered requests.
pub const HTTP_REQUESTS_TOTAL: &str = "headroom_http_requests_total";
/// Histogram, label `route`: time from the first byte of a request to its answer, in seconds.
pub const HTTP_REQUEST_SECONDS: &str = "headroom_http_request_seconds";

/// Bucket bounds of times, in seconds: from a local round trip to the longest time-out.
pub(super) const SECONDS_BUCKETS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Bucket bounds of group sizes, in requests.
pub(super) const GROUP_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Gives each metric its help text and unit in the installed recorder.
pub(super) fn describe() {
    describe_decisions();
    describe_flusher();
    describe_feed();
    describe_http();
}

fn describe_decisions() {
    describe_counter!(DECISIONS_TOTAL, Unit::Count, "decisions by outcome");
    describe_histogram!(GROUP_SIZE, Unit::Count, "requests decided in one script call");
    describe_histogram!(REDIS_CALL_SECONDS, Unit::Seconds, "time of one script call");
    describe_counter!(LOADS_TOTAL, Unit::Count, "subjects loaded from postgres into redis");
    describe_counter!(RECOVERIES_TOTAL, Unit::Count, "recoveries, each with an incident row");
    describe_counter!(
        LOST_UNITS_BOUND_TOTAL,
        Unit::Count,
        "upper bound of the units that redis lost"
    );
    describe_counter!(
        DEGRADED_TOTAL,
        Unit::Count,
        "requests allowed without a decision because redis was away"
    );
}

fn describe_flusher() {
    describe_counter!(FLUSHED_EVENTS_TOTAL, Unit::Count, "events written to postgres");
    describe_counter!(FLUSH_DUPLICATES_TOTAL, Unit::Count, "events that postgres had already");
    describe_gauge!(FLUSH_LAG_EVENTS, Unit::Count, "events in the outbox and not yet in postgres");
    describe_counter!(DEAD_LETTERS_TOTAL, Unit::Count, "events set aside in dead_letters");
    describe_counter!(DENIALS_TOTAL, Unit::Count, "refusals written to postgres");
    describe_counter!(DENIALS_DROPPED_TOTAL, Unit::Count, "refusals that were not written");
}

fn describe_feed() {
    describe_gauge!(FEED_PLACE, Unit::Count, "last place of the live feed");
    describe_counter!(ALERTS_TOTAL, Unit::Count, "alerts, each about a subject");
    describe_counter!(WEBHOOK_ATTEMPTS_TOTAL, Unit::Count, "attempts to deliver to webhooks");
    describe_gauge!(FEED_READERS, Unit::Count, "streams that follow the live feed on this node");
}

fn describe_http() {
    describe_counter!(HTTP_REQUESTS_TOTAL, Unit::Count, "answered requests by route and status");
    describe_histogram!(
        HTTP_REQUEST_SECONDS,
        Unit::Seconds,
        "time from the first byte of a request to its answer"
    );
    describe_counter!(SHED_TOTAL, Unit::Count, "requests refused because too many were in flight");
}
