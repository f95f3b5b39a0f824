//! Deliveries under way: a few at a time to each webhook, and no webhook waits for another.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::domain::Delivery;
use crate::quota::Quota;
use crate::quota::QuotaError;

use super::Channels;

/// Deliveries to one webhook that a node makes at a time; the next are taken when the slowest of them is over, which is after
/// the time-out. With 100 webhooks at most 800 are under way.
const OF_ONE_MAX: u32 = 8;
/// Attempts that are written down at a time. Many may be over at once, and the connections to Postgres are for others, too.
const WRITES_MAX: usize = 4;

/// What a node sends at the moment.
pub(super) struct UnderWay<'a> {
    sending: &'a Sending<'a>,
    /// Webhooks that are sent to.
    busy: Vec<Uuid>,
    /// One for each of them, which answers whom it was for.
    batches: FuturesUnordered<BoxFuture<'a, (Uuid, Result<(), QuotaError>)>>,
}

/// What every attempt needs.
pub(super) struct Sending<'a> {
    quota: &'a Quota,
    channels: &'a Channels,
    writes: Semaphore,
}

impl<'a> Sending<'a> {
    pub(super) fn new(quota: &'a Quota, channels: &'a Channels) -> Self {
        Self { quota, channels, writes: Semaphore::new(WRITES_MAX) }
    }

    /// Makes deliveries to one webhook. What cannot be written down while Postgres is away is made again.
    async fn make(&self, webhook_id: Uuid, due: Vec<Delivery>) -> (Uuid, Result<(), QuotaError>) {
        let ended = join_all(due.iter().map(|delivery| self.attempt(delivery))).await;
        let failed = ended.into_iter().find_map(|ended| match ended {
            Ok(()) | Err(QuotaError::Unavailable { .. }) => None,
            Err(error) => Some(error),
        });
        (webhook_id, failed.map_or(Ok(()), Err))
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<(), QuotaError> {
        let attempt = self.channels.send(delivery, self.quota.clock().now_ms()).await;
        // It is never closed.
        let _permit = self.writes.acquire().await;
        self.quota.end_attempt(delivery, &attempt).await
    }
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(sending: &'a Sending<'a>) -> Self {
        Self { sending, busy: Vec::new(), batches: FuturesUnordered::new() }
    }

    /// Begins what is due to webhooks that are not sent to at the moment; goes on with the others meanwhile.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away, and what went wrong with an attempt.
    pub(super) async fn look(&mut self) -> Result<(), QuotaError> {
        let (quota, busy) = (self.sending.quota, self.busy.clone());
        let mut look = pin!(quota.take_deliveries(OF_ONE_MAX, &busy));
        loop {
            tokio::select! {
                due = &mut look => return due.map(|due| self.begin(due)),
                ended = self.end_one() => ended?,
            }
        }
    }

    fn begin(&mut self, due: Vec<Delivery>) {
        let mut by_webhook: BTreeMap<Uuid, Vec<Delivery>> = BTreeMap::new();
        for delivery in due {
            by_webhook.entry(delivery.webhook_id).or_default().push(delivery);
        }
        for (webhook_id, due) in by_webhook {
            self.busy.push(webhook_id);
            self.batches.push(Box::pin(self.sending.make(webhook_id, due)));
        }
    }

    /// Waits until the deliveries to one webhook are over, for good when there are none. May be dropped, and called again.
    ///
    /// # Errors
    ///
    /// What went wrong with an attempt.
    pub(super) async fn end_one(&mut self) -> Result<(), QuotaError> {
        let Some((webhook_id, ended)) = self.batches.next().await else {
            return std::future::pending().await;
        };
        self.busy.retain(|busy| *busy != webhook_id);
        ended
    }

    /// Waits until all deliveries are over.
    ///
    /// # Errors
    ///
    /// What went wrong with an attempt.
    pub(super) async fn end_all(mut self) -> Result<(), QuotaError> {
        while !self.batches.is_empty() {
            self.end_one().await?;
        }
        Ok(())
    }
}
