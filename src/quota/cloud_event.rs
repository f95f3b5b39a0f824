//! What happened as a `CloudEvent` 1.0 in the JSON format.

use chrono::DateTime;
use chrono::Utc;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::ledger::FeedItem;

/// The `source` of all of them. Ids are unique beside it.
const SOURCE: &str = "urn:headroom";

/// The attributes in the order in which they are written.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: Uuid,
    source: &'static str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: DateTime<Utc>,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

/// The text of the `CloudEvent`, without line breaks.
#[must_use]
pub fn cloud_event(item: &FeedItem) -> String {
    let event = CloudEvent {
        specversion: "1.0",
        id: item.id,
        source: SOURCE,
        r#type: item.kind.as_str(),
        subject: item.subject.as_deref(),
        time: item.occurred_at,
        datacontenttype: "application/json",
        data: &item.data,
    };
    // Strings, an instant and a document that is JSON already: nothing of it can fail.
    serde_json::to_string(&event).unwrap_or_default()
}
