//! Reading the feed.

use chrono::DateTime;
use chrono::Utc;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::domain::EventKind;
use crate::domain::SignalKind;

use super::super::Ledger;
use super::super::convert::signed;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::tx::column;

/// The most rows in one answer; each holds at most a flush.
const ROWS_MAX: u32 = 64;

// What is archived or erased meanwhile is left out; its row stays, so that places have no gaps.
const READ_FEED: &str = "-- read_feed
WITH page AS (
    SELECT place, made_at, events, signals FROM feed WHERE place > $1 ORDER BY place LIMIT $2
)
SELECT
    page.place, item.number, item.id, item.type, item.kind, item.subject, item.occurred_at, item.data
FROM page
LEFT JOIN LATERAL (
    SELECT
        event.number, log.event_id AS id, NULL AS type, log.kind, log.subject, log.occurred_at,
        jsonb_strip_nulls(jsonb_build_object(
            'kind', log.kind, 'model', log.model, 'plan', log.plan, 'charges', log.charges,
            'amount', log.amount, 'settles', log.settles, 'request_id', log.request_id,
            'trace_id', log.trace_id, 'metadata', log.metadata
        )) AS data
    FROM unnest(page.events) WITH ORDINALITY AS event (id, number)
    JOIN message_logs AS log ON log.event_id = event.id
    UNION ALL
    SELECT
        cardinality(page.events) + signal.number, (signal.body ->> 'id')::uuid,
        signal.body ->> 'type', NULL, signal.body ->> 'subject',
        coalesce((signal.body ->> 'time')::timestamptz, page.made_at), jsonb_strip_nulls(signal.body -> 'data')
    FROM jsonb_array_elements(page.signals) WITH ORDINALITY AS signal (body, number)
) AS item ON TRUE
ORDER BY page.place, item.number";

const FIRST_PLACE: &str = "-- first_place
SELECT min(place) AS place FROM feed";

/// Something that happened.
#[derive(Clone, Debug)]
pub struct FeedItem {
    /// Its number in its row, from 1; numbers may have gaps.
    pub number: u64,
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub kind: SignalKind,
    /// Whom it is about, as a path; `None` is about no subject.
    pub subject: Option<String>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// What else is known: a JSON object.
    pub data: Box<RawValue>,
}

/// What one transaction did.
#[derive(Clone, Debug)]
pub struct FeedRow {
    /// Its place in the feed.
    pub place: u64,
    /// What happened, in order.
    pub items: Vec<FeedItem>,
}

impl Ledger {
    /// The rows of the feed after a place, in order, without gaps; at most `limit` and at most 64.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn read_feed(&self, after: u64, limit: u32) -> Result<Vec<FeedRow>, LedgerError> {
        let limit = i64::from(limit.min(ROWS_MAX));
        let rows = self.connection().await?.rows(READ_FEED, &[&signed(after)?, &limit]).await?;
        let mut found: Vec<FeedRow> = Vec::new();
        for row in &rows {
            let place = unsigned(column(row, "place")?)?;
            if found.last().is_none_or(|last| last.place != place) {
                found.push(FeedRow { place, items: Vec::new() });
            }
            if let (Some(item), Some(last)) = (read(row)?, found.last_mut()) {
                last.items.push(item);
            }
        }
        Ok(found)
    }

    /// The first place of the feed that is still there; `None` when there is nothing.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn first_feed_place(&self) -> Result<Option<u64>, LedgerError> {
        let row = self.connection().await?.row(FIRST_PLACE, &[]).await?;
        column::<Option<i64>>(&row, "place")?.map(unsigned).transpose()
    }
}

/// The item of a row; `None` where there is none.
fn read(row: &Row) -> Result<Option<FeedItem>, LedgerError> {
    let Some(number) = column::<Option<i64>>(row, "number")? else { return Ok(None) };
    let unknown = || LedgerError::Internal("the feed holds what this version cannot name".into());
    let kind = match column::<Option<String>>(row, "kind")? {
        Some(name) => EventKind::named(&name).map(SignalKind::of_event),
        None => SignalKind::named(&column::<String>(row, "type")?),
    };
    Ok(Some(FeedItem {
        number: unsigned(number)?,
        id: column(row, "id")?,
        kind: kind.ok_or_else(unknown)?,
        subject: column(row, "subject")?,
        occurred_at: column(row, "occurred_at")?,
        data: column::<Json<Box<RawValue>>>(row, "data")?.0,
    }))
}
