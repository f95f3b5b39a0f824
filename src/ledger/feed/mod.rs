//! The tables `feed` and `feed_state`: what happens, in one order for everybody who wants to hear of it.
//!
//! A row is written by the transaction that it tells of, and gets its place once it is committed: places are given by one
//! node at a time, and in the order of ids, which per shard is that of the commits (docs/adr/0021).

mod place;
mod read;

use serde_json::Value;
use serde_json::json;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::domain::Event;
use crate::domain::Signal;

use super::convert::instant_ms;
use super::error::LedgerError;
use super::tx::Tx;

pub use place::FeedDropped;
pub use read::FeedItem;
pub use read::FeedRow;
pub use read::FeedSeen;
pub(super) use read::items_after;

const INSERT_FEED: &str = "-- insert_feed
INSERT INTO feed (events, signals) VALUES ($1, $2)";

/// Adds what a transaction did: events that are new in the log, and what is told of beside them.
pub(super) async fn add(tx: &Tx, events: &[&Event], signals: &[Signal]) -> Result<(), LedgerError> {
    if events.is_empty() && signals.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    let signals: Vec<Value> = signals.iter().map(stored).collect::<Result<_, _>>()?;
    tx.execute(INSERT_FEED, &[&ids, &Json(Value::Array(signals))]).await?;
    Ok(())
}

fn stored(signal: &Signal) -> Result<Value, LedgerError> {
    let occurred_at = signal.occurred_at_ms.map(instant_ms).transpose()?;
    Ok(json!({
        "id": signal.id,
        "type": signal.kind.as_str(),
        "subject": signal.subject,
        "time": occurred_at,
        "data": signal.data,
    }))
}
