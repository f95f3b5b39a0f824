//! Requests byte by byte, for what no client library would send.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// No answer of the tests takes longer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A connection that a test writes to as it likes.
pub struct RawConnection {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A status and a body, read from the wire.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub body: String,
}

impl RawConnection {
    pub async fn open(address: impl tokio::net::ToSocketAddrs) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), unread: Vec::new() }
    }

    /// Sends a part of a request. A server that has closed the connection is no failure: its answer may still be there.
    pub async fn send(&mut self, part: impl AsRef<[u8]>) {
        let _closed = self.stream.write_all(part.as_ref()).await;
    }

    /// The next answer; `None` when the server closed the connection instead.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        tokio::time::timeout(ANSWER_TIME_MAX, self.read_answer()).await.unwrap()
    }

    /// Whether the server closes the connection without another word.
    pub async fn is_closed(&mut self) -> bool {
        self.answer().await.is_none()
    }

    async fn read_answer(&mut self) -> Option<RawAnswer> {
        loop {
            if let Some((answer, end)) = whole(&self.unread) {
                self.unread.drain(..end);
                return Some(answer);
            }
            let mut bytes = [0; 4_096];
            let count = self.stream.read(&mut bytes).await.unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.unread.extend_from_slice(&bytes[..count]);
        }
    }
}

impl RawAnswer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// The head and the body that its `Content-Length` announces, with where they end.
fn whole(bytes: &[u8]) -> Option<(RawAnswer, usize)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
    let body = rest.get(..length)?.to_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let end = head.len() + 4 + length;
    Some((RawAnswer { status, body }, end))
}
