//! One attempt to deliver by e-mail.

use std::time::Duration;

use lettre::AsyncSmtpTransport;
use lettre::AsyncTransport as _;
use lettre::Message;
use lettre::Tokio1Executor;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::Error as SmtpError;

use crate::config::EmailConfig;
use crate::domain::Attempt;
use crate::domain::Delivery;

use super::send::failed;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends deliveries as mails, each over a connection of its own, through the server of the configuration.
pub(super) struct Mailer {
    server: Option<(Transport, Mailbox)>,
    timeout: Duration,
}

impl Mailer {
    /// A mailer whose attempts are over after the time-out.
    pub(super) fn new(config: &EmailConfig, timeout: Duration) -> Result<Self, SmtpError> {
        let Some(from) = config.from() else { return Ok(Self { server: None, timeout }) };
        let transport = Transport::from_url(config.smtp_url.expose())?;
        let transport = transport.timeout(Some(timeout)).build();
        Ok(Self { server: Some((transport, from)), timeout })
    }

    /// Sends once.
    pub(super) async fn send(&self, delivery: &Delivery) -> Attempt {
        let Some((transport, from)) = &self.server else {
            return failed(None, "no smtp server is configured");
        };
        let Some(message) = message(delivery, from) else {
            return failed(None, "the url is not mailto: and an address");
        };
        match tokio::time::timeout(self.timeout, transport.send(message)).await {
            Ok(Ok(answer)) => Attempt::Delivered { status: u16::from(answer.code()) },
            Ok(Err(error)) => {
                failed(error.status().map(u16::from), crate::telemetry::Chain(&error))
            }
            Err(_) => failed(None, "timed out"),
        }
    }
}

/// The body's first line is what the mail is about. The same delivery has the same id, by which receivers know it again.
fn message(delivery: &Delivery, from: &Mailbox) -> Option<Message> {
    let to = delivery.url.strip_prefix("mailto:")?.parse().ok()?;
    let (subject, text) = delivery.body.split_once('\n')?;
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(subject)
        .message_id(Some(format!("<{}.{}@headroom>", delivery.event_id, delivery.webhook_id)))
        .header(ContentType::TEXT_PLAIN)
        .body(text.to_owned())
        .ok()
}
