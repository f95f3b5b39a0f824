//! From the feed into the queue, and from the queue to who sends.

use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::Attempt;
use crate::domain::Delivery;
use crate::domain::SignalKind;
use crate::domain::Webhook;
use crate::domain::WebhookSecret;
use crate::domain::retry_after_s;

use super::super::Ledger;
use super::super::convert::signed;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::feed;
use super::super::feed::FeedRow;
use super::super::feed::FeedSeen;
use super::super::tx::Params;
use super::super::tx::Tx;
use super::super::tx::column;
use super::WEBHOOKS;

/// Deliveries that are ended at once.
const ENDED_MAX: i64 = 1_000;
/// Ended deliveries that go at once.
const DROPPED_MAX: i64 = 1_000;

const IS_BEHIND: &str = "-- webhooks_behind
SELECT webhook_state.place < feed_state.last_place AS behind FROM webhook_state, feed_state";

const LOCK_WEBHOOK_STATE: &str = "-- lock_webhook_state
SELECT place, CASE WHEN begun_place = place + 1 THEN begun_number ELSE 0 END AS number
FROM webhook_state FOR UPDATE SKIP LOCKED";

const LAST_PLACE: &str = "-- last_place
SELECT last_place FROM feed_state";

const MOVE_WEBHOOK_STATE: &str = "-- move_webhook_state
UPDATE webhook_state SET place = $1, begun_place = $1::bigint + 1, begun_number = $2";

const INSERT_DELIVERIES: &str = "-- insert_deliveries
INSERT INTO webhook_deliveries (webhook_id, event_id, type, body)
SELECT delivery.* FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS delivery
ON CONFLICT DO NOTHING";

// Whoever takes one has a minute for it; then it is anybody's again. What is taken is settled before anything is changed: a join
// that asked anew for what is due would go past the limit.
const TAKE_DELIVERIES: &str = "-- take_deliveries
WITH taken AS MATERIALIZED (
    SELECT webhook.webhook_id, webhook.url, webhook.secret, webhook.format, due.event_id
    FROM webhooks AS webhook
    CROSS JOIN LATERAL (
        SELECT event_id FROM webhook_deliveries
        WHERE webhook_id = webhook.webhook_id AND state = 'pending' AND next_at <= now()
        ORDER BY next_at LIMIT $1
        FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE webhook.enabled AND webhook.webhook_id <> ALL($2)
)
UPDATE webhook_deliveries AS delivery
SET attempts = delivery.attempts + 1, next_at = now() + interval '1 minute'
FROM taken
WHERE delivery.webhook_id = taken.webhook_id AND delivery.event_id = taken.event_id
RETURNING
    delivery.webhook_id, delivery.event_id, delivery.body, delivery.attempts, taken.url,
    taken.secret, taken.format";

const END_ATTEMPT: &str = "-- end_attempt
UPDATE webhook_deliveries
SET state = $3, last_status = $4, last_error = $5,
    next_at = now() + make_interval(secs => $6::bigint),
    ended_at = CASE WHEN $3 = 'pending' THEN NULL ELSE now() END
WHERE webhook_id = $1 AND event_id = $2 AND state = 'pending'";

const DISABLE_WEBHOOK: &str = "-- disable_webhook
UPDATE webhooks SET enabled = FALSE, disabled_reason = $2 WHERE webhook_id = $1";

const END_UNWANTED: &str = "-- end_unwanted_deliveries
WITH unwanted AS MATERIALIZED (
    SELECT waiting.webhook_id, waiting.event_id
    FROM webhooks AS webhook
    JOIN webhook_deliveries AS waiting ON waiting.webhook_id = webhook.webhook_id
    WHERE NOT webhook.enabled AND waiting.state = 'pending'
    LIMIT $1
    FOR UPDATE OF waiting SKIP LOCKED
)
UPDATE webhook_deliveries AS delivery
SET state = 'failed', last_error = 'the webhook is disabled', ended_at = now()
FROM unwanted
WHERE delivery.webhook_id = unwanted.webhook_id AND delivery.event_id = unwanted.event_id";

const DROP_OLD_DELIVERIES: &str = "-- drop_old_deliveries
DELETE FROM webhook_deliveries WHERE (webhook_id, event_id) IN (
    SELECT webhook_id, event_id FROM webhook_deliveries
    WHERE ended_at < now() - interval '7 days' ORDER BY ended_at LIMIT $1
)";

/// What is put into the queue.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// For which webhook.
    pub webhook_id: Uuid,
    /// The id of what happened.
    pub event_id: Uuid,
    /// What it is called.
    pub kind: SignalKind,
    /// What is sent.
    pub body: String,
}

/// The one node that looks through the feed for webhooks, while it does.
pub struct WebhookFan {
    tx: Tx,
    /// How far it was looked through.
    pub seen: FeedSeen,
    /// The last place that there is.
    pub last_place: u64,
    /// Everybody who may be told.
    pub webhooks: Vec<Webhook>,
}

impl WebhookFan {
    /// What comes next in the feed, at most `items` of 16 rows, and how far that is.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn read(&self, items: u32) -> Result<(Vec<FeedRow>, FeedSeen), LedgerError> {
        feed::items_after(&self.tx, self.seen, items).await
    }

    /// Puts deliveries into the queue, each once, and goes on from there. All or nothing.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn finish(
        self,
        deliveries: &[NewDelivery],
        seen: FeedSeen,
    ) -> Result<(), LedgerError> {
        let outcome = write(&self.tx, deliveries, seen).await;
        self.tx.end(outcome).await
    }

    /// Leaves everything as it was.
    pub async fn abandon(self) {
        self.tx.roll_back().await;
    }
}

async fn write(tx: &Tx, deliveries: &[NewDelivery], seen: FeedSeen) -> Result<(), LedgerError> {
    if !deliveries.is_empty() {
        let webhook_ids: Vec<_> = deliveries.iter().map(|it| it.webhook_id).collect();
        let event_ids: Vec<_> = deliveries.iter().map(|it| it.event_id).collect();
        let types: Vec<_> = deliveries.iter().map(|it| it.kind.as_str()).collect();
        let bodies: Vec<_> = deliveries.iter().map(|it| it.body.as_str()).collect();
        tx.execute(INSERT_DELIVERIES, &[&webhook_ids, &event_ids, &types, &bodies]).await?;
    }
    tx.execute(MOVE_WEBHOOK_STATE, &[&signed(seen.place)?, &signed(seen.number)?]).await?;
    Ok(())
}

impl Ledger {
    /// Begins to look through the feed; `None` when there is nothing new, or another node is at it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn begin_webhook_fan(&self) -> Result<Option<WebhookFan>, LedgerError> {
        let row = self.connection().await?.row(IS_BEHIND, &[]).await?;
        if !column::<bool>(&row, "behind")? {
            return Ok(None);
        }
        let tx = self.begin().await?;
        let outcome = look(&tx).await;
        match outcome {
            Ok(Some((seen, last_place, webhooks))) => {
                Ok(Some(WebhookFan { tx, seen, last_place, webhooks }))
            }
            Ok(None) => {
                tx.roll_back().await;
                Ok(None)
            }
            Err(error) => tx.end(Err(error)).await,
        }
    }

    /// Deliveries that are due, which nobody else gets for a minute: at most `limit` of each webhook, and none of those that are
    /// `busy`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn take_deliveries(
        &self,
        limit: u32,
        busy: &[Uuid],
    ) -> Result<Vec<Delivery>, LedgerError> {
        let params: Params<'_> = &[&i64::from(limit), &busy];
        let rows = self.connection().await?.rows(TAKE_DELIVERIES, params).await?;
        rows.iter().map(read_due).collect()
    }

    /// Writes down what became of an attempt, and disables a receiver that is gone. Answers whether it is tried again.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn end_attempt(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
    ) -> Result<bool, LedgerError> {
        let retry_s = retry_after_s(delivery.attempts);
        let (state, status, error, retry_s) = match attempt {
            Attempt::Delivered { status } => ("delivered", Some(*status), None, None),
            Attempt::Gone => ("failed", Some(410), Some("the receiver is gone"), None),
            Attempt::Failed { status, error } => {
                let state = if retry_s.is_some() { "pending" } else { "failed" };
                (state, *status, Some(error.as_str()), retry_s)
            }
        };
        let (status, wait_s) = (status.map(i64::from), signed(retry_s.unwrap_or(0))?);
        let (webhook_id, event_id) = (delivery.webhook_id, delivery.event_id);
        let connection = self.connection().await?;
        let params: Params<'_> = &[&webhook_id, &event_id, &state, &status, &error, &wait_s];
        connection.execute(END_ATTEMPT, params).await?;
        if *attempt == Attempt::Gone {
            connection.execute(DISABLE_WEBHOOK, &[&webhook_id, &"answered 410"]).await?;
        }
        Ok(retry_s.is_some())
    }

    /// Gives up what is to be sent to webhooks that are disabled, at most 1,000 deliveries, and answers how many.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn end_unwanted_deliveries(&self) -> Result<u64, LedgerError> {
        self.connection().await?.execute(END_UNWANTED, &[&ENDED_MAX]).await
    }

    /// Takes away deliveries that ended more than seven days ago, at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn drop_old_deliveries(&self) -> Result<u64, LedgerError> {
        self.connection().await?.execute(DROP_OLD_DELIVERIES, &[&DROPPED_MAX]).await
    }
}

fn read_due(row: &Row) -> Result<Delivery, LedgerError> {
    Ok(Delivery {
        webhook_id: column(row, "webhook_id")?,
        event_id: column(row, "event_id")?,
        url: column(row, "url")?,
        format: super::read_format(row)?,
        secret: WebhookSecret(column(row, "secret")?),
        body: column(row, "body")?,
        attempts: unsigned(column(row, "attempts")?)?,
    })
}

async fn look(tx: &Tx) -> Result<Option<(FeedSeen, u64, Vec<Webhook>)>, LedgerError> {
    let state = tx.rows(LOCK_WEBHOOK_STATE, &[]).await?;
    let Some(row) = state.first() else { return Ok(None) };
    let (place, number) = (column(row, "place")?, column(row, "number")?);
    let seen = FeedSeen { place: unsigned(place)?, number: unsigned(number)? };
    let last_place = unsigned(column(&tx.row(LAST_PLACE, &[]).await?, "last_place")?)?;
    let rows = tx.rows(WEBHOOKS, &[]).await?;
    let webhooks = rows.iter().map(super::read).collect::<Result<_, _>>()?;
    Ok(Some((seen, last_place, webhooks)))
}
