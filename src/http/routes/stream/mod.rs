//! `GET /v1/stream`: what happens, as it happens.

mod query;
mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use futures_util::stream;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::documented::StreamProblems;
use crate::http::error::ApiError;
use crate::http::problem::NO_STORE;
use crate::http::state::Api;
use crate::quota::FeedPlace;
use crate::quota::FeedReader;
use crate::quota::FeedRow;
use crate::quota::QuotaError;

use self::query::Filter;
use self::query::StreamQuery;

/// Something is sent at least as often, so that both ends notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts: whoever resumes has to show a credential that is still good.
const LIFE: Duration = Duration::from_mins(5);
/// Items written at once: what one reader holds in memory.
const ITEMS_MAX: usize = 128;
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Asks nginx to hand on what it gets at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Follow what happens.
///
/// Server-sent events, each with a `CloudEvent` 1.0 as its data: consumes and other events once they are in Postgres, refusals (at
/// most 10 for each subject and minute), limits that were neared or reached, abuse, recoveries. In one order, whatever node answers;
/// with the header `Last-Event-ID`, or `last_event_id` in the query, it goes on behind that event, without gaps and without
/// duplicates, as long as `feed.keep_s` says. A stream ends after five minutes, when the node stops, and when its reader does
/// not read for 30 s; clients resume by themselves.
#[utoipa::path(
    get,
    operation_id = "stream",
    path = "/v1/stream",
    tag = "stream",
    params(
        StreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "the id of the last event that was read", example = "12.5"),
    ),
    responses(
        (status = 200, description = "events, until the stream ends", body = String, content_type = "text/event-stream",
            example = "id: 12.5\nevent: quota-consumed\ndata: {\"specversion\":\"1.0\",…}\n\n"),
        StreamProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn follow(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Result<Query<StreamQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let filter = query.filter(&caller)?;
    let header = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or(""));
    let after = header.or(query.last_event_id()).map(query::place_of).transpose()?;
    let reader = api.quota.read_feed(after).await?.ok_or(ApiError::Overloaded)?;
    let body = Body::from_stream(stream::unfold(Follow::new(reader, filter, after), Follow::next));
    let headers = [
        (header::CONTENT_TYPE, EVENT_STREAM),
        (header::CACHE_CONTROL, NO_STORE),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

/// A stream under way.
struct Follow {
    reader: FeedReader,
    filter: Filter,
    /// What was written, and what the filter left out since.
    read: Option<FeedPlace>,
    /// The row that is being written.
    row: Option<Arc<FeedRow>>,
    ends_at: Instant,
    /// Whether the first bytes are yet to be written, which tell the client that the stream has begun.
    is_new: bool,
}

impl Follow {
    fn new(reader: FeedReader, filter: Filter, after: Option<FeedPlace>) -> Self {
        let ends_at = Instant::now() + LIFE;
        Self { reader, filter, read: after, row: None, ends_at, is_new: true }
    }

    /// What is written next; nothing ends the stream.
    async fn next(mut self) -> Option<(Result<String, QuotaError>, Self)> {
        if std::mem::take(&mut self.is_new) {
            return Some((Ok(text::opening()), self));
        }
        let beat_at = (Instant::now() + HEARTBEAT).min(self.ends_at);
        let written = match timeout_at(beat_at, self.events()).await {
            Ok(events) => events.transpose()?,
            Err(_) if Instant::now() >= self.ends_at => return None,
            Err(_elapsed) => Ok(text::heartbeat(self.read)),
        };
        Some((written, self))
    }

    /// The next events that fit; `None` when the node stops.
    async fn events(&mut self) -> Result<Option<String>, QuotaError> {
        loop {
            if self.row.is_none() {
                self.row = self.reader.next().await?;
            }
            let Some(row) = self.row.clone() else { return Ok(None) };
            let events = self.events_of(&row);
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
    }

    /// The next of a row's events; empty when none of those looked at fits.
    fn events_of(&mut self, row: &FeedRow) -> String {
        let is_unread = |number: u64| {
            self.read.is_none_or(|read| (FeedPlace { row: row.place, number }) > read)
        };
        let items: Vec<_> =
            row.items.iter().filter(|item| is_unread(item.number)).take(ITEMS_MAX).collect();
        let mut events = String::new();
        for item in &items {
            if self.filter.takes(item) {
                text::write(&mut events, row.place, item);
            }
        }
        let has_more = items.len() == ITEMS_MAX;
        let mut read = FeedPlace { row: row.place + 1, number: 0 };
        if let Some(item) = items.last().filter(|_| has_more) {
            read = FeedPlace { row: row.place, number: item.number };
        } else {
            self.row = None;
        }
        self.read = Some(read);
        events
    }
}
