//! A reader of the live feed.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Method;
use reqwest::Response;
use serde_json::Value;

use crate::support::caller::Caller;

/// Long enough for a busy machine; a test that waits so long has failed.
const WITHIN: Duration = Duration::from_secs(20);

/// A server-sent event.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub body: Value,
}

/// A stream under way.
pub struct Stream {
    response: Response,
    text: String,
    ready: VecDeque<Event>,
}

impl Stream {
    /// Opens `/v1/stream` with a query, behind an event when there is one. Once it is open nothing is missed.
    pub async fn open(caller: &Caller, query: &str, after: Option<&str>) -> Self {
        let request = caller.request(Method::GET, &format!("/v1/stream{query}"));
        let request = match after {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{response:?}");
        Self { response, text: String::new(), ready: VecDeque::new() }
    }

    /// The next event; `None` when the stream ended.
    pub async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let chunk = tokio::time::timeout(WITHIN, self.response.chunk()).await;
            let chunk = chunk.expect("an event was told of in time").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                self.ready.extend(event(&block));
            }
        }
        self.ready.pop_front()
    }

    /// The next events, so many.
    pub async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.next().await.expect("the stream goes on"));
        }
        events
    }
}

/// The event of a block of lines; `None` for one that only says that the stream is alive.
fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned)
    };
    let body = serde_json::from_str(&field("data:")?).unwrap();
    Some(Event { id: field("id:")?, kind: field("event:")?, body })
}
