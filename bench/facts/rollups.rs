//! The rollups of a log that is itself left out. They are counted here as the folds and flushes count them.

use std::collections::BTreeMap;
use std::fmt::Write;

use chrono::DateTime;
use futures_util::SinkExt;
use headroom::domain::Event;

use super::Database;
use super::fill::DAY_S;
use super::fill::ROLL_UP_MONTHS;
use super::fill::traffic;
use crate::Failure;

const HOUR_S: i64 = 3_600;
const COPY_HOURS: &str = "COPY usage_hours (hour, shard, metric, model, events, units) FROM STDIN";
const COPY_DAYS: &str = "COPY usage_days (day, subject, metric, model, events, units) FROM STDIN";
const DENIALS: &str = "INSERT INTO denial_hours
SELECT hour, 'limit_exceeded', metric, model, events / 20 + 1 FROM usage_hours";

/// Metric and model.
type Kind = (String, String);

/// Events and units.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    events: u64,
    units: i64,
}

/// What is not written yet.
#[derive(Debug, Default)]
struct Counted {
    hour: i64,
    by_kind: BTreeMap<Kind, Sums>,
    day: i64,
    by_subject: BTreeMap<String, BTreeMap<Kind, Sums>>,
}

/// Fills the rollups of the last 30 days, and answers how many rows `usage_days` has.
pub(super) async fn fill(database: &Database, events: u64, subjects: u64) -> Result<u64, Failure> {
    eprintln!("counting {events} events");
    let mut counted = Counted::default();
    let mut rows = 0;
    for event in traffic(events, subjects).events() {
        let at_s = event.occurred_at_ms.div_euclid(1_000);
        if at_s.div_euclid(HOUR_S) != counted.hour {
            counted.write_hour(database).await?;
            counted.hour = at_s.div_euclid(HOUR_S);
        }
        if at_s.div_euclid(DAY_S) != counted.day {
            rows += counted.write_day(database).await?;
            counted.day = at_s.div_euclid(DAY_S);
        }
        counted.count(&event);
    }
    counted.write_hour(database).await?;
    rows += counted.write_day(database).await?;
    for sql in [DENIALS, ROLL_UP_MONTHS, "VACUUM ANALYZE"] {
        database.client.batch_execute(sql).await?;
    }
    Ok(rows)
}

impl Counted {
    fn count(&mut self, event: &Event) {
        let root = event.subject.split('/').next().unwrap_or_default();
        if !self.by_subject.contains_key(root) {
            self.by_subject.insert(root.to_owned(), BTreeMap::new());
        }
        let model = event.model.as_deref().unwrap_or_default();
        for line in &event.deltas.lines {
            let kind = (line.metric.as_str().to_owned(), model.to_owned());
            let of_subject = self.by_subject.get_mut(root).map(|it| it.entry(kind.clone()));
            let sums = [Some(self.by_kind.entry(kind)), of_subject];
            for entry in sums.into_iter().flatten() {
                let sums = entry.or_default();
                (sums.events, sums.units) = (sums.events + 1, sums.units + line.units);
            }
        }
    }

    async fn write_hour(&mut self, database: &Database) -> Result<(), Failure> {
        let hour = DateTime::from_timestamp(self.hour * HOUR_S, 0).unwrap_or_default();
        let mut text = String::new();
        for ((metric, model), Sums { events, units }) in std::mem::take(&mut self.by_kind) {
            let hour = hour.to_rfc3339();
            writeln!(text, "{hour}\t0\t{metric}\t{model}\t{events}\t{units}")?;
        }
        copy(database, COPY_HOURS, text).await.map(drop)
    }

    async fn write_day(&mut self, database: &Database) -> Result<u64, Failure> {
        let day = DateTime::from_timestamp(self.day * DAY_S, 0).unwrap_or_default().date_naive();
        let mut text = String::new();
        for (subject, kinds) in std::mem::take(&mut self.by_subject) {
            for ((metric, model), Sums { events, units }) in kinds {
                writeln!(text, "{day}\t{subject}\t{metric}\t{model}\t{events}\t{units}")?;
            }
        }
        copy(database, COPY_DAYS, text).await
    }
}

/// Sends rows, and answers how many there were.
async fn copy(database: &Database, sql: &str, text: String) -> Result<u64, Failure> {
    let sink = database.client.copy_in(sql).await?;
    let mut sink = std::pin::pin!(sink);
    sink.feed(axum::body::Bytes::from(text)).await?;
    Ok(sink.finish().await?)
}
