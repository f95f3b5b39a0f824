//! How far each shard is: what it accepted, and what waits for Postgres.

use serde::Serialize;

use super::Quota;
use super::error::QuotaError;
use super::outbox_gauges::age_s;

/// Where a shard is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardView {
    /// Its number, from 0.
    pub shard: u16,
    /// Its epoch; `None` when Redis does not know the shard.
    pub epoch: Option<u64>,
    /// Events accepted in the epoch.
    pub seq: u64,
    /// Events that are not in Postgres yet.
    pub waiting: u64,
    /// How long the oldest of them has waited, in seconds; 0 without one.
    pub waiting_s: f64,
    /// Whether the shard decides nothing, since it is being recovered.
    pub is_fenced: bool,
}

impl Quota {
    /// Where all shards are, in order.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away.
    pub async fn shards(&self) -> Result<Vec<ShardView>, QuotaError> {
        let mut views = Vec::new();
        for cursor in self.ledger.cursors().await.map_err(QuotaError::of_ledger)? {
            let page = self.counters.read_outbox(cursor.shard, cursor.epoch, cursor.seq, 1).await;
            let page = page.map_err(QuotaError::of_counters)?;
            views.push(ShardView {
                shard: cursor.shard,
                epoch: page.epoch,
                seq: page.seq,
                waiting: page.seq.saturating_sub(cursor.seq),
                waiting_s: age_s(&page, self.counters.redis_now_ms()),
                is_fenced: page.is_fenced,
            });
        }
        Ok(views)
    }
}
