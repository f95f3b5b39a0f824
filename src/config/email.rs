//! `[email]`: the server that mails are sent through.

use lettre::AsyncSmtpTransport;
use lettre::Tokio1Executor;
use lettre::message::Mailbox;
use serde::Deserialize;
use serde::Serialize;

use super::error::ConfigError;
use super::secret::SecretUrl;

/// Who sends mails, and through which server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// URL with scheme `smtp` or `smtps`; may hold a password. Empty sends no mails.
    pub smtp_url: SecretUrl,
    /// Who mails are from: an address, or a name and an address.
    pub from: String,
}

impl EmailConfig {
    /// Who mails are from; `None` when none are sent.
    #[must_use]
    pub fn from(&self) -> Option<Mailbox> {
        self.from.parse().ok().filter(|_| !self.smtp_url.is_empty())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.smtp_url.is_empty() {
            return Ok(());
        }
        let url = AsyncSmtpTransport::<Tokio1Executor>::from_url(self.smtp_url.expose());
        if url.is_err() {
            return Err(ConfigError::invalid("email.smtp_url", "must be a url of smtp or smtps"));
        }
        let is_mailbox = self.from().is_some();
        let wrong = || ConfigError::invalid("email.from", "must be an address of mail");
        is_mailbox.then_some(()).ok_or_else(wrong)
    }
}
