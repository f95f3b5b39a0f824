//! What a node answers of a subject's usage.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use chrono::DateTime;
use serde_json::Value;

use crate::Failure;
use crate::catalogue;
use crate::evidence::Counter;
use crate::evidence::CounterName;
use crate::request::encoded;
use crate::wire::Wire;

const WITHIN: Duration = Duration::from_secs(10);
/// Far longer than a recovery takes, also on a machine that has much else to do.
const NOTICED_WITHIN: Duration = Duration::from_mins(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// The counters of the subject and the levels above it. Asked again until there is an answer: nodes may still recover.
pub(crate) async fn read(
    node: SocketAddr,
    key: &str,
    subject: &str,
) -> Result<Vec<Counter>, Failure> {
    let text = text_of(key, subject);
    let began_at = Instant::now();
    loop {
        let mut wire = Wire::connect(node).await?;
        if wire.call(text.as_bytes()).await? == 200 {
            let answer = wire.answer();
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            return counters(&serde_json::from_str(body)?).ok_or_else(|| "a usage".into());
        }
        if began_at.elapsed() > WITHIN {
            return Err(format!("no usage of {subject}: {}", wire.answer()).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the node has noticed whatever each shard forgot, and has told Postgres what it remembers of that, which it does
/// before it loads a subject. Not for a node that is down, which remembers nothing.
pub(crate) async fn await_telling(node: SocketAddr, key: &str, shards: u16) -> Result<(), Failure> {
    let (noticed, told) = (catalogue::one_of_each(shards), catalogue::one_of_each(shards));
    for subject in noticed.iter().chain(&told) {
        await_decision(node, key, subject).await?;
    }
    Ok(())
}

/// Waits until the node has decided something of the subject, unless it is down.
async fn await_decision(node: SocketAddr, key: &str, subject: &str) -> Result<(), Failure> {
    let text = text_of(key, subject);
    let began_at = Instant::now();
    while began_at.elapsed() < NOTICED_WITHIN {
        let Ok(mut wire) = Wire::connect(node).await else { return Ok(()) };
        let asked = tokio::time::timeout(ANSWER_WITHIN, wire.call(text.as_bytes())).await;
        if matches!(asked, Ok(Ok(200))) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("a node decides nothing of {subject}").into())
}

fn text_of(key: &str, subject: &str) -> String {
    let path = format!("/v1/subjects/{}/usage", encoded(subject));
    format!("GET {path} HTTP/1.1\r\nhost: torture\r\nauthorization: Bearer {key}\r\n\r\n")
}

fn counters(body: &Value) -> Option<Vec<Counter>> {
    body["limits"].as_array()?.iter().map(counter).collect()
}

fn counter(limit: &Value) -> Option<Counter> {
    let resets_at = DateTime::parse_from_rfc3339(limit["resets_at"].as_str()?).ok()?;
    let name = CounterName {
        level: limit["subject"].as_str()?.to_owned(),
        metric: limit["metric"].as_str()?.to_owned(),
        period: limit["period"].as_str()?.to_owned(),
        window_end_s: resets_at.timestamp(),
    };
    Some(Counter { name, used: limit["used"].as_i64()? })
}
