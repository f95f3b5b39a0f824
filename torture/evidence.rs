//! What a run left behind: the history, and what both stores hold once everything has come to rest.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use headroom::domain::Subject;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Failure;
use crate::history::Invocation;

/// The largest amount of one operation.
pub(crate) const AMOUNT_MAX: u64 = 3;

/// A counter's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct CounterName {
    /// A level, as the path to it.
    pub(crate) level: String,
    pub(crate) metric: String,
    pub(crate) period: String,
    pub(crate) window_end_s: i64,
}

/// Units used.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub(crate) name: CounterName,
    pub(crate) used: i64,
}

/// What an event added to a counter's use. Holds are left out: they end by themselves.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delta {
    pub(crate) name: CounterName,
    pub(crate) units: i64,
}

/// A row of the log.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Logged {
    pub(crate) event_id: Uuid,
    pub(crate) shard: u16,
    pub(crate) epoch: i64,
    pub(crate) seq: i64,
    pub(crate) subject: String,
    pub(crate) kind: String,
    pub(crate) amount: Option<i64>,
    pub(crate) request_id: String,
    /// Whether it passed a limit or came after its hold had ended, which is allowed to commits and said in the log.
    pub(crate) is_past_limit: bool,
    pub(crate) deltas: Vec<Delta>,
    /// Units of grants that it took, or gave back: the grant's number, and how many.
    pub(crate) of_grants: Vec<(u64, i64)>,
}

/// A grant.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) id: u64,
    pub(crate) event_id: Uuid,
    pub(crate) subject: String,
    pub(crate) amount: u64,
    /// The gift that it is from.
    pub(crate) gift: Option<Uuid>,
}

/// A gift.
#[derive(Clone, Debug)]
pub(crate) struct Gift {
    pub(crate) id: Uuid,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) amount: u64,
    pub(crate) state: String,
    pub(crate) request_id: String,
}

impl Logged {
    /// Whether somebody asked for it; holds lapse and windows roll over by themselves.
    pub(crate) fn is_asked_for(&self) -> bool {
        !matches!(self.kind.as_str(), "expire" | "rollover")
    }
}

/// A recovery.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    pub(crate) shard: u16,
    /// Unix milliseconds.
    pub(crate) detected_ms: i64,
    pub(crate) lost_at_most: u64,
    pub(crate) units_on_older_state: u64,
}

impl Incident {
    /// The units that may have been accepted above limits because of it.
    pub(crate) fn units_at_most(&self) -> u64 {
        self.lost_at_most * AMOUNT_MAX + self.units_on_older_state
    }
}

/// Everything that a judgement is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) shards: u16,
    /// How long an old primary may have gone on beside its successor, in milliseconds.
    pub(crate) split_ms: i64,
    pub(crate) history: Vec<Invocation>,
    pub(crate) logged: Vec<Logged>,
    pub(crate) counters: Vec<Counter>,
    /// What a node answers of each subject, which is what Redis holds.
    pub(crate) redis: Vec<Counter>,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) grants: Vec<Granted>,
    pub(crate) gifts: Vec<Gift>,
    /// The hard limits, by the scope of the level, metric and period.
    pub(crate) limits: BTreeMap<(String, String, String), i64>,
}

impl Evidence {
    /// The shard of a subject.
    pub(crate) fn shard_of(&self, subject: &str) -> u16 {
        Subject::parse(subject).map_or(0, |subject| subject.shard(self.shards))
    }

    /// The hard limit of a counter, if it has one.
    pub(crate) fn max_of(&self, name: &CounterName) -> Option<i64> {
        let last = name.level.rsplit('/').next()?;
        let (scope, _) = last.split_once(':')?;
        let limit = (scope.to_owned(), name.metric.clone(), name.period.clone());
        self.limits.get(&limit).copied()
    }

    /// Reads what Postgres holds.
    pub(crate) async fn read(&mut self, database: &Client) -> Result<(), Failure> {
        let sql = "SELECT event_id, shard, epoch, seq, subject, kind, amount, request_id,
            coalesce(overage, false) OR coalesce(late, false) AS is_past_limit, deltas
            FROM message_logs";
        let rows = database.query(sql, &[]).await?;
        self.logged = rows.iter().map(logged).collect::<Result<_, _>>()?;
        let sql = "SELECT subject, metric, period, window_end, used FROM usage_counters";
        let rows = database.query(sql, &[]).await?;
        self.counters = rows.iter().map(counter).collect::<Result<_, _>>()?;
        let sql = "SELECT shard, detected_at, lost_at_most, detail FROM incidents";
        let rows = database.query(sql, &[]).await?;
        self.incidents = rows.iter().map(incident).collect::<Result<_, _>>()?;
        let sql = "SELECT id, event_id, subject, amount, transfer_id FROM grants";
        let rows = database.query(sql, &[]).await?;
        self.grants = rows.iter().map(granted).collect::<Result<_, _>>()?;
        let sql = "SELECT id, from_subject, to_subject, amount, state, request_id FROM transfers";
        let rows = database.query(sql, &[]).await?;
        self.gifts = rows.iter().map(gift).collect::<Result<_, _>>()?;
        Ok(())
    }
}

fn logged(row: &Row) -> Result<Logged, Failure> {
    let subject: String = row.try_get("subject")?;
    let deltas: Value = row.try_get("deltas")?;
    let lines = deltas.as_array().ok_or("deltas that are no list")?;
    let deltas = lines.iter().filter(|line| line.get(6).is_none());
    Ok(Logged {
        event_id: row.try_get("event_id")?,
        shard: u16::try_from(row.try_get::<_, i64>("shard")?)?,
        epoch: row.try_get("epoch")?,
        seq: row.try_get("seq")?,
        kind: row.try_get("kind")?,
        amount: row.try_get("amount")?,
        request_id: row.try_get::<_, Option<String>>("request_id")?.unwrap_or_default(),
        is_past_limit: row.try_get("is_past_limit")?,
        of_grants: lines.iter().filter_map(of_grant).collect(),
        deltas: deltas.map(|line| delta(&subject, line)).collect::<Option<_>>().ok_or("a delta")?,
        subject,
    })
}

/// `[depth, metric, period, window start, window end, units]`
fn delta(subject: &str, line: &Value) -> Option<Delta> {
    let depth = usize::try_from(line.get(0)?.as_u64()?).ok()?;
    let level: Vec<&str> = subject.split('/').take(depth).collect();
    let name = CounterName {
        level: level.join("/"),
        metric: line.get(1)?.as_str()?.to_owned(),
        period: line.get(2)?.as_str()?.to_owned(),
        window_end_s: line.get(4)?.as_i64()?,
    };
    Some(Delta { name, units: line.get(5)?.as_i64()? })
}

/// The same with `grant:` and a number behind.
fn of_grant(line: &Value) -> Option<(u64, i64)> {
    let id = line.get(6)?.as_str()?.strip_prefix("grant:")?.parse().ok()?;
    Some((id, line.get(5)?.as_i64()?))
}

fn granted(row: &Row) -> Result<Granted, Failure> {
    Ok(Granted {
        id: u64::try_from(row.try_get::<_, i64>("id")?)?,
        event_id: row.try_get("event_id")?,
        subject: row.try_get("subject")?,
        amount: u64::try_from(row.try_get::<_, i64>("amount")?)?,
        gift: row.try_get("transfer_id")?,
    })
}

fn gift(row: &Row) -> Result<Gift, Failure> {
    Ok(Gift {
        id: row.try_get("id")?,
        from: row.try_get("from_subject")?,
        to: row.try_get("to_subject")?,
        amount: u64::try_from(row.try_get::<_, i64>("amount")?)?,
        state: row.try_get("state")?,
        request_id: row.try_get::<_, Option<String>>("request_id")?.unwrap_or_default(),
    })
}

fn counter(row: &Row) -> Result<Counter, Failure> {
    let name = CounterName {
        level: row.try_get("subject")?,
        metric: row.try_get("metric")?,
        period: row.try_get("period")?,
        window_end_s: row.try_get::<_, DateTime<Utc>>("window_end")?.timestamp(),
    };
    Ok(Counter { name, used: row.try_get("used")? })
}

fn incident(row: &Row) -> Result<Incident, Failure> {
    let detail: Value = row.try_get("detail")?;
    Ok(Incident {
        shard: u16::try_from(row.try_get::<_, i64>("shard")?)?,
        detected_ms: row.try_get::<_, DateTime<Utc>>("detected_at")?.timestamp_millis(),
        lost_at_most: u64::try_from(row.try_get::<_, i64>("lost_at_most")?)?,
        units_on_older_state: detail["units_on_older_state"].as_u64().unwrap_or(0),
    })
}
