//! The table `crossings`: counters that came near to their limit or reached it, once for each window and level.
//!
//! Its rows are written by the statement that changes the counters (`usage_counters::add`), so that a crossing is known if
//! and only if the event that made it is in the log.

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use serde_json::json;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::Signal;
use crate::domain::SignalKind;

use super::error::LedgerError;
use super::tx::column;

/// A counter that came to a level for the first time in its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Crossing {
    subject: String,
    metric: String,
    period: String,
    window_start: DateTime<Utc>,
    window_end: DateTime<Utc>,
    level: String,
    used: i64,
    max: i64,
}

pub(super) fn read(row: &Row) -> Result<Crossing, LedgerError> {
    Ok(Crossing {
        subject: column(row, "subject")?,
        metric: column(row, "metric")?,
        period: column(row, "period")?,
        window_start: column(row, "window_start")?,
        window_end: column(row, "window_end")?,
        level: column(row, "level")?,
        used: column(row, "used")?,
        max: column(row, "max")?,
    })
}

/// What the feed says of them.
pub(super) fn signals(crossings: &[Crossing]) -> Vec<Signal> {
    crossings.iter().map(signal).collect()
}

fn signal(crossing: &Crossing) -> Signal {
    let is_reached = crossing.level == "limit";
    let kind = if is_reached { SignalKind::Reached } else { SignalKind::Warning };
    let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let data = json!({
        "level": crossing.level,
        "metric": crossing.metric,
        "period": crossing.period,
        "window_start": instant(crossing.window_start),
        "window_end": instant(crossing.window_end),
        "used": crossing.used,
        "max": crossing.max,
    });
    Signal::new(Uuid::now_v7(), kind, Some(crossing.subject.clone()), data)
}
