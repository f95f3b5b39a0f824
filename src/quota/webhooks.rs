//! Webhooks: who is told, what is put into the queue, and what became of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::domain::AlertKind;
use crate::domain::Attempt;
use crate::domain::Delivery;
use crate::domain::SignalKind;
use crate::domain::Webhook;
use crate::domain::WebhookFormat;
use crate::domain::WebhookSecret;
use crate::ledger::Action;
use crate::ledger::DeliveryRow;
use crate::ledger::FeedItem;
use crate::ledger::FeedRow;
use crate::ledger::FeedSeen;
use crate::ledger::NewDelivery;
use crate::ledger::WebhookFan;
use crate::telemetry::names;

use super::Quota;
use super::actor::Actor;
use super::cloud_event::cloud_event;
use super::error::QuotaError;
use super::feed::DROPS_MAX;
use super::feed::is_within;

/// Items of the feed that are looked at in one transaction. A row of it, which is a flush, may have more.
const PAGE_ITEMS_MAX: u32 = 1_000;
/// Deliveries that are put into the queue in one transaction.
const PAGE_DELIVERIES_MAX: u32 = 4_000;
/// Deliveries of one answer.
const DELIVERIES_MAX: u32 = 100;
/// Bytes of a secret, as Standard Webhooks recommends.
const SECRET_BYTES: usize = 32;
/// Characters of a chat message's data.
const MESSAGE_CHARS_MAX: usize = 1_500;

/// What an admin says of a webhook.
#[derive(Clone, Debug)]
pub struct WebhookOrder {
    /// Where deliveries go.
    pub url: String,
    /// What a body looks like.
    pub format: WebhookFormat,
    /// The kinds that are asked for; none is all.
    pub kinds: Vec<SignalKind>,
    /// Only what is about this subject or below it.
    pub subject: Option<String>,
    /// Whether anything is sent.
    pub enabled: bool,
}

impl WebhookOrder {
    fn webhook(self, id: Uuid) -> Webhook {
        let Self { url, format, kinds, subject, enabled } = self;
        let (disabled_reason, since_place) = (None, 0);
        Webhook { id, url, format, kinds, subject, enabled, disabled_reason, since_place }
    }
}

impl Quota {
    /// All webhooks, the oldest first.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, QuotaError> {
        self.ledger.webhooks().await.map_err(QuotaError::of_ledger)
    }

    /// One webhook.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownWebhook`], and as [`Quota::webhooks`].
    pub async fn webhook(&self, id: Uuid) -> Result<Webhook, QuotaError> {
        let found = self.webhooks().await?.into_iter().find(|webhook| webhook.id == id);
        found.ok_or(QuotaError::UnknownWebhook)
    }

    /// Makes a webhook, which is told of what happens from now on, and answers its secret, `whsec_…`, which nobody is shown
    /// again.
    ///
    /// # Errors
    ///
    /// [`QuotaError::TooManyWebhooks`], and as [`Quota::webhooks`].
    pub async fn create_webhook(
        &self,
        order: WebhookOrder,
        actor: &Actor,
    ) -> Result<(Uuid, String), QuotaError> {
        let mut secret = vec![0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|error| QuotaError::Internal(error.into()))?;
        let secret = WebhookSecret(secret);
        let webhook = order.webhook(Uuid::now_v7());
        let target = webhook.id.to_string();
        let act = actor.act(Action::WebhookCreate, &target);
        let inserted = self.ledger.insert_webhook(&webhook, &secret, &act).await;
        if !inserted.map_err(QuotaError::of_ledger)? {
            return Err(QuotaError::TooManyWebhooks);
        }
        Ok((webhook.id, format!("whsec_{}", STANDARD.encode(&secret.0))))
    }

    /// Changes a webhook; one that the service had disabled is sent to again, if the order says so. What waits for one that is
    /// disabled is given up.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownWebhook`], and as [`Quota::webhooks`].
    pub async fn put_webhook(
        &self,
        id: Uuid,
        order: WebhookOrder,
        actor: &Actor,
    ) -> Result<(), QuotaError> {
        let target = id.to_string();
        let act = actor.act(Action::WebhookPut, &target);
        let webhook = order.webhook(id);
        let updated = self.ledger.update_webhook(&webhook, &act).await;
        updated.map_err(QuotaError::of_ledger)?.then_some(()).ok_or(QuotaError::UnknownWebhook)?;
        if !webhook.enabled {
            self.end_unwanted_deliveries().await?;
        }
        Ok(())
    }

    /// Takes a webhook away, and what was to be sent to it.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownWebhook`], and as [`Quota::webhooks`].
    pub async fn delete_webhook(&self, id: Uuid, actor: &Actor) -> Result<(), QuotaError> {
        let target = id.to_string();
        let act = actor.act(Action::WebhookDelete, &target);
        let deleted = self.ledger.delete_webhook(id, &act).await;
        deleted.map_err(QuotaError::of_ledger)?.then_some(()).ok_or(QuotaError::UnknownWebhook)
    }

    /// The latest deliveries of a webhook, the newest first; at most 100.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownWebhook`], and as [`Quota::webhooks`].
    pub async fn deliveries(&self, id: Uuid) -> Result<Vec<DeliveryRow>, QuotaError> {
        self.webhook(id).await?;
        self.ledger.deliveries(id, DELIVERIES_MAX).await.map_err(QuotaError::of_ledger)
    }

    /// Sends a delivery again, or all that were given up; answers how many.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownWebhook`], and as [`Quota::webhooks`].
    pub async fn replay(
        &self,
        id: Uuid,
        event_id: Option<Uuid>,
        actor: &Actor,
    ) -> Result<u64, QuotaError> {
        self.webhook(id).await?;
        let target = id.to_string();
        let act = actor.act(Action::WebhookReplay, &target);
        self.ledger.replay(id, event_id, &act).await.map_err(QuotaError::of_ledger)
    }

    /// Puts into the queue what comes next in the feed for webhooks, each once over all nodes. Answers whether there is more.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn fan_out(&self) -> Result<bool, QuotaError> {
        let fan = self.ledger.begin_webhook_fan().await.map_err(QuotaError::of_ledger)?;
        let Some(fan) = fan else { return Ok(false) };
        let enabled = fan.webhooks.iter().filter(|webhook| webhook.enabled).count();
        if enabled == 0 {
            let seen = FeedSeen { place: fan.last_place, number: 0 };
            fan.finish(&[], seen).await.map_err(QuotaError::of_ledger)?;
            return Ok(false);
        }
        match fan.read(page_items(enabled)).await {
            Ok((rows, seen)) => enqueue(fan, &rows, seen).await,
            Err(error) => {
                fan.abandon().await;
                Err(QuotaError::of_ledger(error))
            }
        }
    }

    /// Deliveries that are due, which this node has a minute to send: at most `limit` of each webhook, and none of those that are
    /// `busy`.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn take_deliveries(
        &self,
        limit: u32,
        busy: &[Uuid],
    ) -> Result<Vec<Delivery>, QuotaError> {
        self.ledger.take_deliveries(limit, busy).await.map_err(QuotaError::of_ledger)
    }

    /// Writes down what became of an attempt. A receiver that is gone is sent nothing more: what waits for it is given up.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away; the delivery is then made again.
    pub async fn end_attempt(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
    ) -> Result<(), QuotaError> {
        let retried = self.ledger.end_attempt(delivery, attempt).await;
        let outcome = match (attempt, retried.map_err(QuotaError::of_ledger)?) {
            (Attempt::Delivered { .. }, _) => "delivered",
            (Attempt::Failed { .. }, true) => "failed",
            (Attempt::Failed { .. } | Attempt::Gone, _) => "given_up",
        };
        metrics::counter!(names::WEBHOOK_ATTEMPTS_TOTAL, "outcome" => outcome).increment(1);
        if *attempt == Attempt::Gone {
            self.end_unwanted_deliveries().await?;
        }
        Ok(())
    }

    /// Gives up what is to be sent to webhooks that are disabled; it can be replayed.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn end_unwanted_deliveries(&self) -> Result<(), QuotaError> {
        for _ in 0..DROPS_MAX {
            if self.ledger.end_unwanted_deliveries().await.map_err(QuotaError::of_ledger)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Takes away what was delivered or given up long ago.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn drop_old_deliveries(&self) -> Result<(), QuotaError> {
        for _ in 0..DROPS_MAX {
            if self.ledger.drop_old_deliveries().await.map_err(QuotaError::of_ledger)? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Items of a page for so many webhooks, each of which may want all of them.
fn page_items(webhooks: usize) -> u32 {
    let webhooks = u32::try_from(webhooks).unwrap_or(u32::MAX).max(1);
    (PAGE_DELIVERIES_MAX / webhooks).clamp(1, PAGE_ITEMS_MAX)
}

async fn enqueue(fan: WebhookFan, rows: &[FeedRow], seen: FeedSeen) -> Result<bool, QuotaError> {
    let last_place = fan.last_place;
    // What is kept no longer leaves nothing to read behind it.
    let seen = if rows.is_empty() { FeedSeen { place: last_place, number: 0 } } else { seen };
    let mut deliveries = Vec::new();
    for row in rows {
        for webhook in fan.webhooks.iter().filter(|webhook| is_sent(webhook, row.place)) {
            let wanted = row.items.iter().filter(|item| is_wanted(webhook, item));
            deliveries.extend(wanted.map(|item| delivery(webhook, item)));
        }
    }
    fan.finish(&deliveries, seen).await.map_err(QuotaError::of_ledger)?;
    Ok(seen.place < last_place)
}

/// Whether a webhook is told of a row: one that is enabled, of what came after it was made.
const fn is_sent(webhook: &Webhook, place: u64) -> bool {
    webhook.enabled && webhook.since_place < place
}

fn is_wanted(webhook: &Webhook, item: &FeedItem) -> bool {
    let is_asked = webhook.kinds.is_empty() || webhook.kinds.contains(&item.kind);
    is_asked && is_within(item, webhook.subject.as_deref()) && is_channel(webhook, item)
}

/// The part of an alert's data that says who is told of it.
#[derive(Deserialize)]
struct Told {
    channels: Option<Vec<Uuid>>,
}

/// Whether the rule behind an alert, if it is one, lets this webhook be told.
fn is_channel(webhook: &Webhook, item: &FeedItem) -> bool {
    let is_alert = AlertKind::ALL.iter().any(|kind| kind.signal() == item.kind);
    let told = is_alert.then(|| serde_json::from_str::<Told>(item.data.get()).ok());
    let channels = told.flatten().and_then(|told| told.channels);
    channels.is_none_or(|channels| channels.contains(&webhook.id))
}

fn delivery(webhook: &Webhook, item: &FeedItem) -> NewDelivery {
    let (webhook_id, event_id, kind) = (webhook.id, item.id, item.kind);
    let body = match webhook.format {
        WebhookFormat::Standard => cloud_event(item),
        WebhookFormat::Slack => json!({ "text": message(item) }).to_string(),
        WebhookFormat::Discord => {
            let mentions = json!({ "parse": [] });
            json!({ "content": message(item), "allowed_mentions": mentions }).to_string()
        }
        WebhookFormat::Email => mail(item),
    };
    NewDelivery { webhook_id, event_id, kind, body }
}

/// What a mail is about, on its first line, and what it says.
fn mail(item: &FeedItem) -> String {
    let subject = item.subject.as_deref().unwrap_or("headroom");
    let data: serde_json::Value = serde_json::from_str(item.data.get()).unwrap_or_default();
    let (kind, time) = (item.kind.as_str(), item.occurred_at.to_rfc3339());
    format!("{kind} {subject}\n{kind} {subject}\n{time}\n\n{data:#}\n")
}

/// What a chat shows: the type, whom it is about, and the data without what chats read as markup.
fn message(item: &FeedItem) -> String {
    let is_plain = |letter: &char| !matches!(letter, '<' | '>' | '&' | '`' | '@');
    let data: String = item.data.get().chars().filter(is_plain).take(MESSAGE_CHARS_MAX).collect();
    let subject = item.subject.as_deref().unwrap_or("headroom");
    format!("{} {subject}\n```{data}```", item.kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_by_its_items_and_by_its_deliveries() {
        let pages = [0, 1, 4, 100, 10_000].map(page_items);
        assert_eq!(pages, [1_000, 1_000, 1_000, 40, 1]);
    }

    fn webhook(id: u128) -> Webhook {
        Webhook {
            id: Uuid::from_u128(id),
            url: "https://app.example/hook".into(),
            format: WebhookFormat::Standard,
            kinds: Vec::new(),
            subject: None,
            enabled: true,
            disabled_reason: None,
            since_place: 7,
        }
    }

    fn item(kind: SignalKind, data: &str) -> FeedItem {
        FeedItem {
            number: 1,
            id: Uuid::nil(),
            kind,
            subject: None,
            occurred_at: chrono::DateTime::UNIX_EPOCH,
            data: serde_json::value::RawValue::from_string(data.to_owned()).unwrap(),
        }
    }

    #[test]
    fn a_webhook_is_told_of_what_comes_after_it_while_it_is_enabled() {
        let disabled = Webhook { enabled: false, ..webhook(1) };

        assert_eq!([6, 7, 8].map(|place| is_sent(&webhook(1), place)), [false, false, true]);
        assert!(!is_sent(&disabled, 8));
    }

    /// Guards who hears of an alert: the channels of its rule, if it names any; data of other kinds names none.
    #[test]
    fn an_alert_is_for_the_channels_of_its_rule() {
        let named = format!(r#"{{ "channels": ["{}"] }}"#, Uuid::from_u128(1));
        let alert = item(AlertKind::ALL[0].signal(), &named);
        let is_alert = |kind: &SignalKind| AlertKind::ALL.iter().any(|it| it.signal() == *kind);
        let other = SignalKind::ALL.into_iter().find(|kind| !is_alert(kind)).unwrap();

        assert_eq!([1, 2].map(|id| is_channel(&webhook(id), &alert)), [true, false]);
        assert!(is_channel(&webhook(2), &item(AlertKind::ALL[0].signal(), "{}")));
        assert!(is_channel(&webhook(2), &item(other, &named)));
    }

    #[test]
    fn a_chat_reads_no_markup_in_what_is_said() {
        let item = item(SignalKind::ALL[0], r#"{"note":"<!channel> & `@all` ok"}"#);

        let said = message(&item);

        let text = r#"{"note":"!channel  all ok"}"#;
        assert!(said.ends_with(&format!("headroom\n```{text}```")), "{said}");
    }
}
