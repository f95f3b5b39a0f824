//! What admins send and get about webhooks.

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::SignalKind;
use crate::domain::Subject;
use crate::domain::Webhook;
use crate::domain::WebhookFormat;
use crate::http::error::ApiError;
use crate::quota::DeliveryRow;
use crate::quota::WebhookOrder;

const URL_BYTES_MAX: usize = 2_000;

/// A receiver.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookOrder)]
pub struct OrderBody {
    /// Where deliveries go: `https`, at most 2,000 bytes. Private addresses are refused when something is sent.
    #[schema(example = "https://app.example/hooks/headroom", max_length = 2000)]
    url: String,
    /// Only these types; without, all.
    #[serde(default)]
    #[schema(example = json!(["quota-warning", "abuse-detected"]))]
    types: Vec<String>,
    /// Only what is about this subject and all below it.
    #[schema(example = "org:acme")]
    subject: Option<String>,
    /// `standard`, `slack` or `discord`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "standard")]
    format: WebhookFormat,
    /// Whether anything is sent.
    #[serde(default = "yes")]
    #[schema(default = true)]
    enabled: bool,
}

const fn yes() -> bool {
    true
}

impl OrderBody {
    pub(super) fn order(self) -> Result<WebhookOrder, ApiError> {
        let is_url = self.url.len() <= URL_BYTES_MAX
            && (self.url.starts_with("https://") || self.url.starts_with("http://"))
            && self.url.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_url {
            return Err(ApiError::invalid("url", "must be an https url of at most 2000 bytes"));
        }
        let kinds: Option<_> = self.types.iter().map(|name| SignalKind::named(name)).collect();
        let known = SignalKind::ALL.map(SignalKind::as_str).join(", ");
        let subject = self.subject.as_deref().map(Subject::parse).transpose();
        let subject = subject.map_err(ApiError::subject)?;
        Ok(WebhookOrder {
            url: self.url,
            format: self.format,
            kinds: kinds
                .ok_or_else(|| ApiError::invalid("types", format_args!("must be of {known}")))?,
            subject: subject.map(|subject| subject.as_str().to_owned()),
            enabled: self.enabled,
        })
    }
}

/// A receiver as it is configured.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookBody {
    /// Its id.
    id: Uuid,
    /// Where deliveries go.
    url: String,
    /// The types that are asked for; none is all.
    types: Vec<&'static str>,
    /// Only what is about this subject and all below it.
    #[schema(required)]
    subject: Option<String>,
    /// What a body looks like.
    format: &'static str,
    /// Whether anything is sent.
    enabled: bool,
    /// Why the service has stopped sending.
    #[schema(required)]
    disabled_reason: Option<String>,
    /// The key that deliveries are signed with; shown when the webhook is made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
}

impl WebhookBody {
    pub(super) fn of(webhook: Webhook, secret: Option<String>) -> Self {
        let types = webhook.kinds.iter().map(|kind| kind.as_str()).collect();
        let Webhook { id, url, format, subject, enabled, disabled_reason, .. } = webhook;
        let format = format.as_str();
        Self { id, url, types, subject, format, enabled, disabled_reason, secret }
    }
}

/// All receivers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Webhooks)]
pub struct WebhooksBody {
    /// The receivers, the oldest first.
    pub(super) webhooks: Vec<WebhookBody>,
}

/// What was sent, or is to be sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Deliveries)]
pub struct DeliveriesBody {
    /// The latest 100, the newest first.
    pub(super) deliveries: Vec<DeliveryBody>,
}

/// One delivery.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryBody {
    /// The id of what happened: `webhook-id`.
    event_id: Uuid,
    /// The type of what happened.
    r#type: String,
    /// `pending`, `delivered` or `failed`.
    state: String,
    /// How often it was sent.
    attempts: u64,
    /// When it is sent next.
    #[schema(required)]
    next_at: Option<DateTime<Utc>>,
    /// The status of the last answer.
    #[schema(required)]
    last_status: Option<i64>,
    /// Why the last attempt failed.
    #[schema(required)]
    last_error: Option<String>,
    /// When it was put into the queue.
    created_at: DateTime<Utc>,
    /// When it was taken or given up.
    #[schema(required)]
    ended_at: Option<DateTime<Utc>>,
}

impl From<DeliveryRow> for DeliveryBody {
    fn from(row: DeliveryRow) -> Self {
        let DeliveryRow { event_id, kind, state, attempts, next_at, .. } = row;
        let DeliveryRow { last_status, last_error, created_at, ended_at, .. } = row;
        let r#type = kind;
        Self {
            event_id,
            r#type,
            state,
            attempts,
            next_at,
            last_status,
            last_error,
            created_at,
            ended_at,
        }
    }
}

/// Which deliveries are sent again.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Replay)]
pub struct ReplayBody {
    /// This one, also when it was taken; without, all that were given up.
    pub(super) event_id: Option<Uuid>,
}

/// How many deliveries are sent again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Replayed)]
pub struct ReplayedBody {
    /// Deliveries.
    pub(super) replayed: u64,
}
