//! One attempt to deliver.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use reqwest::Client;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;

use crate::config::WebhooksConfig;
use crate::domain::Attempt;
use crate::domain::Delivery;
use crate::telemetry::Chain;

use super::guard::PublicResolver;
use super::guard::is_public;
use super::sign::signature;

/// Characters of an error that the log of deliveries keeps.
const ERROR_CHARS_MAX: usize = 300;
const USER_AGENT: &str = concat!("headroom/", env!("CARGO_PKG_VERSION"));

/// Sends deliveries. It follows no redirects, reads no answer's body, and goes to public addresses over https alone, unless
/// the configuration says otherwise.
pub(super) struct Sender {
    client: Client,
    allow_private: bool,
}

impl Sender {
    pub(super) fn new(config: &WebhooksConfig) -> Result<Self, reqwest::Error> {
        crate::tls::make_ready();
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(config.timeout())
            .user_agent(USER_AGENT)
            .https_only(!config.allow_private)
            .no_proxy();
        let client = if config.allow_private {
            client
        } else {
            client.dns_resolver(Arc::new(PublicResolver))
        };
        Ok(Self { client: client.build()?, allow_private: config.allow_private })
    }

    /// Sends once; `now_ms` is in Unix milliseconds.
    pub(super) async fn send(&self, delivery: &Delivery, now_ms: i64) -> Attempt {
        let Some(url) = self.destination(&delivery.url) else {
            return failed(None, "the url is not https to a public address");
        };
        let at_s = now_ms.div_euclid(1_000);
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", delivery.event_id.to_string())
            .header("webhook-timestamp", at_s.to_string())
            .header("webhook-signature", signature(delivery, at_s))
            .body(delivery.body.clone());
        match request.send().await {
            Ok(answer) => attempt_of(answer.status()),
            Err(error) => failed(None, Chain(&error.without_url())),
        }
    }

    /// The url, when deliveries may go there. Names are looked at when they are resolved.
    fn destination(&self, url: &str) -> Option<Url> {
        let url = Url::parse(url).ok()?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        let is_allowed = match host.parse::<IpAddr>() {
            Ok(address) => is_public(address),
            Err(_) => true,
        };
        (self.allow_private || (is_allowed && url.scheme() == "https")).then_some(url)
    }
}

fn attempt_of(status: StatusCode) -> Attempt {
    match status {
        status if status.is_success() => Attempt::Delivered { status: status.as_u16() },
        StatusCode::GONE => Attempt::Gone,
        status => failed(Some(status.as_u16()), format_args!("answered {}", status.as_u16())),
    }
}

/// A failure, told of with a bound.
pub(super) fn failed(status: Option<u16>, error: impl fmt::Display) -> Attempt {
    let error = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
    Attempt::Failed { status, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(allow_private: bool) -> Sender {
        Sender::new(&WebhooksConfig { allow_private, timeout_ms: 15_000 }).unwrap()
    }

    #[test]
    fn deliveries_go_to_public_addresses_over_https() {
        let strict = sender(false);
        for url in [
            "http://example.com/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://2130706433/",
            "https://0x7f.1/",
            "ftp://example.com/",
            "https:///",
            "x",
        ] {
            assert!(strict.destination(url).is_none(), "{url}");
        }
        assert!(strict.destination("https://example.com/hook").is_some());
        assert!(sender(true).destination("http://127.0.0.1:8080/").is_some());
    }
}
