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
use super::super::tx::Tx;
use super::super::tx::column;

/// The most rows in one answer; each holds at most a flush.
const ROWS_MAX: u32 = 64;
/// The most rows in one answer that is bounded by its items, too.
const PAGE_ROWS: i64 = 16;

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

// The same with a bound on items, from within a row on. They are numbered and counted before they are read, each by its key; and
// arrays are looked into once a row, since they are long.
const READ_ITEMS: &str = "-- read_feed_items
WITH page AS MATERIALIZED (
    SELECT
        place, made_at, events, signals, cardinality(events) AS event_count,
        cardinality(events) + jsonb_array_length(signals) AS item_count,
        CASE WHEN place = $1::bigint + 1 THEN $3::integer ELSE 0 END AS seen
    FROM feed WHERE place > $1 ORDER BY place LIMIT $2
),
numbered AS MATERIALIZED (
    SELECT
        page.place, page.made_at, item.number, item.event_id, item.signal,
        item.number = page.item_count AS is_last
    FROM page
    CROSS JOIN LATERAL (
        SELECT page.seen + event.number AS number, event.id AS event_id, NULL::jsonb AS signal
        FROM unnest(page.events[page.seen + 1:page.seen + $4::integer])
            WITH ORDINALITY AS event (id, number)
        UNION ALL
        SELECT page.event_count + signal.number, NULL, signal.body
        FROM jsonb_array_elements(page.signals) WITH ORDINALITY AS signal (body, number)
        WHERE page.event_count + signal.number > page.seen
    ) AS item
    ORDER BY page.place, item.number LIMIT $4
)
SELECT
    item.place, item.number, item.is_last, item.signal ->> 'type' AS type, log.kind,
    coalesce(log.event_id, (item.signal ->> 'id')::uuid) AS id,
    coalesce(log.subject, item.signal ->> 'subject') AS subject,
    coalesce(log.occurred_at, (item.signal ->> 'time')::timestamptz, item.made_at) AS occurred_at,
    coalesce(log.data, jsonb_strip_nulls(item.signal -> 'data')) AS data
FROM numbered AS item
LEFT JOIN LATERAL (
    SELECT
        event_id, kind, subject, occurred_at,
        jsonb_strip_nulls(jsonb_build_object(
            'kind', kind, 'model', model, 'plan', plan, 'charges', charges, 'amount', amount,
            'settles', settles, 'request_id', request_id, 'trace_id', trace_id,
            'metadata', metadata
        )) AS data
    FROM message_logs WHERE event_id = item.event_id LIMIT 1
) AS log ON TRUE
ORDER BY item.place, item.number";

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

/// How far the feed was read: all rows up to `place`, and of the next one the items up to `number`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedSeen {
    /// The last row that was read whole.
    pub place: u64,
    /// The last item that was read of the row behind it; 0 is none.
    pub number: u64,
}

/// The next items of the feed: at most `items` of at most 16 rows, and how far that is; where there is nothing, no further.
pub(in super::super) async fn items_after(
    tx: &Tx,
    seen: FeedSeen,
    items: u32,
) -> Result<(Vec<FeedRow>, FeedSeen), LedgerError> {
    let (place, number) = (signed(seen.place)?, signed(seen.number)?);
    let (number, items) = (i32::try_from(number), i32::try_from(items));
    let too_far = |_| LedgerError::Internal("a row of the feed has too many items".into());
    let (number, items) = (number.map_err(too_far)?, items.map_err(too_far)?);
    let rows = tx.rows(READ_ITEMS, &[&place, &PAGE_ROWS, &number, &items]).await?;
    let seen = rows.last().map_or(Ok(seen), seen_by)?;
    Ok((rows_of(&rows)?, seen))
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
        rows_of(&rows)
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

fn rows_of(rows: &[Row]) -> Result<Vec<FeedRow>, LedgerError> {
    let mut found: Vec<FeedRow> = Vec::new();
    for row in rows {
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

/// How far the feed was read when a row was the last.
fn seen_by(row: &Row) -> Result<FeedSeen, LedgerError> {
    let place = unsigned(column(row, "place")?)?;
    if column(row, "is_last")? {
        return Ok(FeedSeen { place, number: 0 });
    }
    Ok(FeedSeen { place: place.saturating_sub(1), number: unsigned(column(row, "number")?)? })
}

/// The item of a row; `None` where it is no longer there.
fn read(row: &Row) -> Result<Option<FeedItem>, LedgerError> {
    let Some(id) = column::<Option<Uuid>>(row, "id")? else { return Ok(None) };
    let unknown = || LedgerError::Internal("the feed holds what this version cannot name".into());
    let kind = match column::<Option<String>>(row, "kind")? {
        Some(name) => EventKind::named(&name).map(SignalKind::of_event),
        None => SignalKind::named(&column::<String>(row, "type")?),
    };
    Ok(Some(FeedItem {
        number: unsigned(column(row, "number")?)?,
        id,
        kind: kind.ok_or_else(unknown)?,
        subject: column(row, "subject")?,
        occurred_at: column(row, "occurred_at")?,
        data: column::<Json<Box<RawValue>>>(row, "data")?.0,
    }))
}
