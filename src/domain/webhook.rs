//! Who is told of what happens over HTTP.

use std::fmt;

use uuid::Uuid;

use super::signal::SignalKind;

/// What the body of a delivery looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// A `CloudEvent`, signed as Standard Webhooks says.
    #[default]
    Standard,
    /// A message of a Slack incoming webhook.
    Slack,
    /// A message of a Discord webhook.
    Discord,
    /// An e-mail.
    Email,
}

impl WebhookFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Slack, Self::Discord, Self::Email];

    /// The name in the API and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Email => "email",
        }
    }

    /// The format with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}

/// A receiver, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id, a `UUIDv7`.
    pub id: Uuid,
    /// Where deliveries go; `mailto:` and an address for e-mail.
    pub url: String,
    /// What a body looks like.
    pub format: WebhookFormat,
    /// The kinds that are asked for; none is all.
    pub kinds: Vec<SignalKind>,
    /// Only what is about this subject or below it; `None` is all.
    pub subject: Option<String>,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why the service has stopped sending.
    pub disabled_reason: Option<String>,
    /// The place of the feed after which it is told of things.
    pub since_place: u64,
}

/// The key that deliveries are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(pub Vec<u8>);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To which webhook.
    pub webhook_id: Uuid,
    /// The id of what happened.
    pub event_id: Uuid,
    /// Where it goes.
    pub url: String,
    /// What its body looks like, and with that how it is sent.
    pub format: WebhookFormat,
    /// What it is signed with.
    pub secret: WebhookSecret,
    /// What is sent.
    pub body: String,
    /// How often it was sent, this time included.
    pub attempts: u64,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver took it.
    Delivered {
        /// The status of its answer, 2xx.
        status: u16,
    },
    /// The receiver wants nothing more, and gets nothing more.
    Gone,
    /// It did not take it; it may be tried again.
    Failed {
        /// The status of its answer, if any.
        status: Option<u16>,
        /// What went wrong.
        error: String,
    },
}

/// How long after each attempt the next one is made, in seconds: at 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
const RETRIES_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// How long to wait after so many attempts, in seconds; `None` gives up.
#[must_use]
pub fn retry_after_s(attempts: u64) -> Option<u64> {
    let place = usize::try_from(attempts).ok()?.checked_sub(1)?;
    RETRIES_S.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_made_ten_times_and_then_given_up() {
        assert_eq!((1..=9).filter_map(retry_after_s).collect::<Vec<_>>(), RETRIES_S);
        assert_eq!((retry_after_s(0), retry_after_s(10)), (None, None));
    }

    #[test]
    fn a_secret_does_not_show() {
        assert_eq!(format!("{:?}", WebhookSecret(vec![7])), "WebhookSecret");
    }

    #[test]
    fn formats_are_found_by_their_names() {
        let names = WebhookFormat::ALL.map(WebhookFormat::as_str);
        assert_eq!(names, ["standard", "slack", "discord", "email"]);
        assert_eq!(names.map(WebhookFormat::named), WebhookFormat::ALL.map(Some));
        assert_eq!(WebhookFormat::named("fax"), None);
    }
}
