//! What clients send, and what comes back.

use serde_json::Value;
use uuid::Uuid;

use crate::history::Act;
use crate::history::Told;

/// What is sent.
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    /// An idempotency key, which makes it safe to send again.
    pub(crate) key: Option<String>,
}

impl Request {
    /// As it goes over the wire, with the request's id and the key of who asks.
    pub(crate) fn text(&self, id: &str, key: &str) -> String {
        let Self { method, path, body, .. } = self;
        let body = body.as_ref().map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let idempotency = self
            .key
            .as_ref()
            .map_or_else(String::new, |key| format!("idempotency-key: \"{key}\"\r\n"));
        format!(
            "{method} {path} HTTP/1.1\r\nhost: torture\r\nauthorization: Bearer {key}\r\n\
             x-request-id: {id}\r\n{idempotency}content-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
    }
}

/// What came.
pub(crate) struct Reply {
    status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// An answer, head and body.
    pub(crate) fn of(status: u16, answer: &str) -> Self {
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Self { status, body: serde_json::from_str(body).unwrap_or(Value::Null) }
    }

    /// What it says.
    pub(crate) fn told(&self, act: Act) -> Told {
        let id = |name: &str| self.body[name].as_str().and_then(|id| Uuid::parse_str(id).ok());
        let wrong = Told::Wrong(self.status);
        match (self.status, act) {
            (200, Act::Check) | (403 | 404 | 409 | 410 | 422 | 429, _) => Told::Refused,
            (201, Act::Grant) => self.body["id"].as_u64().map_or(wrong, Told::Made),
            (201, Act::Gift) => id("transfer_id").map_or(wrong, Told::Done),
            (200, _) => id("event_id").map_or(wrong, Told::Done),
            (503, _) => Told::Unknown,
            _ => wrong,
        }
    }
}

/// A subject as one segment of a path.
pub(crate) fn encoded(subject: &str) -> String {
    subject.replace(':', "%3A").replace('/', "%2F")
}
