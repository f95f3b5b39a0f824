//! The text of server-sent events.

use crate::quota::FeedItem;
use crate::quota::FeedPlace;
use crate::quota::cloud_event;

/// How long a client waits before it resumes, in milliseconds.
const RETRY_MS: u32 = 1_000;

/// The first bytes of a stream.
pub(super) fn opening() -> String {
    format!("retry: {RETRY_MS}\n\n")
}

/// Bytes that are no event. An id without data moves the place from which the client resumes, past all that its filter
/// left out.
pub(super) fn heartbeat(read: Option<FeedPlace>) -> String {
    read.map_or_else(|| ":\n\n".to_owned(), |read| format!("id: {}\n\n", id(read)))
}

/// Adds one event.
pub(super) fn write(text: &mut String, row: u64, item: &FeedItem) {
    let id = id(FeedPlace { row, number: item.number });
    for part in ["id: ", &id, "\nevent: ", item.kind.as_str(), "\ndata: "] {
        text.push_str(part);
    }
    text.push_str(&cloud_event(item));
    text.push_str("\n\n");
}

fn id(place: FeedPlace) -> String {
    format!("{}.{}", place.row, place.number)
}
