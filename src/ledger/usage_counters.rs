//! The table `usage_counters`: the sums of what the log holds.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;

use crate::domain::Event;
use crate::domain::EventKind;
use crate::domain::Period;
use crate::domain::Tally;
use crate::domain::event::Delta;
use crate::domain::event::LimitInForce;

use super::convert::instant_ms;
use super::convert::instant_s;
use super::convert::signed;
use super::crossings;
use super::crossings::Crossing;
use super::error::LedgerError;
use super::tx::Tx;

// `near` leaves few of the counters before each is compared with three levels, which costs as much as to change it.
const ADD_TO_COUNTERS: &str = "-- add_to_counters
WITH sum AS (
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[],
        $7::bigint[], $8::boolean[], $9::bigint[], $10::timestamptz[], $11::bigint[],
        $12::bigint[], $13::bigint[]
    ) AS sum (
        subject, metric, period, window_start, window_end, used, carried, rolled_over, refunded,
        reset_at, max, warning_percent, critical_percent
    )
), added AS (
    INSERT INTO usage_counters (
        subject, metric, period, window_start, window_end, used, carried, rolled_over, refunded,
        reset_at
    )
    SELECT
        subject, metric, period, window_start, window_end, used, carried, rolled_over, refunded,
        reset_at
    FROM sum
    ON CONFLICT (subject, metric, period, window_start) DO UPDATE SET
        used = usage_counters.used + excluded.used,
        carried = usage_counters.carried + excluded.carried,
        rolled_over = usage_counters.rolled_over OR excluded.rolled_over,
        refunded = usage_counters.refunded + excluded.refunded,
        reset_at = greatest(usage_counters.reset_at, excluded.reset_at),
        updated_at = now()
    RETURNING subject, metric, period, window_start, used, carried
), near AS (
    SELECT
        subject, metric, period, window_start, sum.window_end, added.used,
        sum.max + added.carried AS max, sum.warning_percent, sum.critical_percent
    FROM added
    JOIN sum USING (subject, metric, period, window_start)
    WHERE added.used * 100
        >= (sum.max + added.carried) * least(sum.warning_percent, sum.critical_percent, 100)
    OFFSET 0
)
INSERT INTO crossings (
    subject, metric, period, window_start, level, window_end, used, max
)
SELECT subject, metric, period, window_start, level.name, window_end, used, max
FROM near
CROSS JOIN LATERAL (
    VALUES ('warning', warning_percent), ('critical', critical_percent), ('limit', 100)
) AS level (name, percent)
WHERE used * 100 >= max * level.percent
ON CONFLICT DO NOTHING
RETURNING subject, metric, period, window_start, level, window_end, used, max";

/// The key of a counter: level, metric, period, first second of the window.
pub(super) type Key<'a> = (&'a str, &'a str, &'static str, i64);

/// What some events do to one counter together.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    window_end_s: i64,
    used: i64,
    /// What was carried into the window; `None` when no event says that the window before was carried over.
    carried: Option<i64>,
    refunded: i64,
    /// The limit that the last of the events was decided by.
    limit: Option<LimitInForce>,
    /// When the last reset among the events was decided, in Unix milliseconds.
    reset_at_ms: Option<i64>,
}

impl Sum {
    const fn none(window_end_s: i64) -> Self {
        Self { window_end_s, used: 0, carried: None, refunded: 0, limit: None, reset_at_ms: None }
    }
}

/// What some events do to each counter, in key order.
pub(super) type Sums<'a> = BTreeMap<Key<'a>, Sum>;

/// Adds sums to the counters, each counter once and in key order, so that two transactions never wait for each other's
/// rows.
///
/// Answers the levels that counters came to for the first time in their windows.
pub(super) async fn add(tx: &Tx, sums: &Sums<'_>) -> Result<Vec<Crossing>, LedgerError> {
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    let columns = Columns::of(sums)?;
    let rows = tx
        .rows(
            ADD_TO_COUNTERS,
            &[
                &columns.subjects,
                &columns.metrics,
                &columns.periods,
                &columns.window_starts,
                &columns.window_ends,
                &columns.used,
                &columns.carried,
                &columns.rolled_over,
                &columns.refunded,
                &columns.reset_ats,
                &columns.limits.max,
                &columns.limits.warning_percents,
                &columns.limits.critical_percents,
            ],
        )
        .await?;
    rows.iter().map(crossings::read).collect()
}

/// The sums of the deltas of `events`. Those of minutes and hours are left out: their counters live in Redis alone. Those of
/// holds and grants have tables of their own.
pub(super) fn sums<'a>(events: &[&'a Event]) -> Result<Sums<'a>, LedgerError> {
    let mut sums = BTreeMap::new();
    for event in events {
        let of_limits = |delta: &&Delta| {
            let is_held = matches!(delta.tally, Tally::Held { .. });
            delta.grant.is_none() && !is_held && is_kept(delta.period)
        };
        for delta in event.deltas.lines.iter().filter(of_limits) {
            add_delta(&mut sums, event, delta)?;
        }
    }
    Ok(sums)
}

/// Whether Postgres has counters of the period (docs/adr/0011).
pub(super) const fn is_kept(period: Period) -> bool {
    match period {
        Period::Minute | Period::Hour => false,
        Period::Day | Period::Week | Period::Month | Period::Lifetime => true,
    }
}

fn add_delta<'a>(
    sums: &mut Sums<'a>,
    event: &'a Event,
    delta: &'a Delta,
) -> Result<(), LedgerError> {
    let window = delta.window;
    let level = event.level(delta.depth);
    let key = (level, delta.metric.as_str(), delta.period.as_str(), window.start_s);
    let none = Sum::none(window.end_s);
    let sum = sums.entry(key).or_insert(none);
    let count = match delta.tally {
        Tally::Used | Tally::Held { .. } => &mut sum.used,
        Tally::Carried => sum.carried.get_or_insert(0),
        Tally::Refunded => &mut sum.refunded,
    };
    *count = count
        .checked_add(delta.units)
        .ok_or_else(|| LedgerError::BadData("a sum of units is above 2^63 - 1".into()))?;
    sum.limit = delta.limit.or(sum.limit);
    if event.kind == EventKind::Reset {
        sum.reset_at_ms = sum.reset_at_ms.max(Some(event.occurred_at_ms));
    }
    Ok(())
}

/// Sums, a column each.
struct Columns<'a> {
    subjects: Vec<&'a str>,
    metrics: Vec<&'a str>,
    periods: Vec<&'static str>,
    window_starts: Vec<DateTime<Utc>>,
    window_ends: Vec<DateTime<Utc>>,
    used: Vec<i64>,
    carried: Vec<i64>,
    rolled_over: Vec<bool>,
    refunded: Vec<i64>,
    reset_ats: Vec<Option<DateTime<Utc>>>,
    limits: Limits,
}

/// The limits in force, a column each.
struct Limits {
    max: Vec<Option<i64>>,
    warning_percents: Vec<Option<i64>>,
    critical_percents: Vec<Option<i64>>,
}

impl Limits {
    fn of(limits: &[Option<LimitInForce>]) -> Result<Self, LedgerError> {
        let max = limits.iter().map(|it| it.map(|it| signed(it.max.get())).transpose());
        let percents = |percent: fn(LimitInForce) -> u8| {
            limits.iter().map(|it| it.map(|it| i64::from(percent(it)))).collect()
        };
        Ok(Self {
            max: max.collect::<Result<_, _>>()?,
            warning_percents: percents(|it| it.warning_percent),
            critical_percents: percents(|it| it.critical_percent),
        })
    }
}

impl<'a> Columns<'a> {
    fn of(sums: &Sums<'a>) -> Result<Self, LedgerError> {
        let keys = || sums.keys();
        let values = || sums.values();
        Ok(Self {
            subjects: keys().map(|key| key.0).collect(),
            metrics: keys().map(|key| key.1).collect(),
            periods: keys().map(|key| key.2).collect(),
            window_starts: keys().map(|key| instant_s(key.3)).collect::<Result<_, _>>()?,
            window_ends: values()
                .map(|sum| instant_s(sum.window_end_s))
                .collect::<Result<_, _>>()?,
            used: values().map(|sum| sum.used).collect(),
            carried: values().map(|sum| sum.carried.unwrap_or(0)).collect(),
            rolled_over: values().map(|sum| sum.carried.is_some()).collect(),
            refunded: values().map(|sum| sum.refunded).collect(),
            reset_ats: values()
                .map(|sum| sum.reset_at_ms.map(instant_ms).transpose())
                .collect::<Result<_, _>>()?,
            limits: Limits::of(&values().map(|sum| sum.limit).collect::<Vec<_>>())?,
        })
    }
}
