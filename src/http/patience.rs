//! Connections that are not waited for without end.
//!
//! The HTTP library waits for a request's head as long as the client likes. A client that sends half of one would keep
//! a connection, and hold up the service's end, for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

/// Longest silence between two requests. Longer than clients and proxies keep idle connections.
const IDLE_MAX: Duration = Duration::from_mins(10);

/// Longest time for which a client takes nothing of an answer, or of a stream.
const STALL_MAX: Duration = Duration::from_secs(30);

/// A listener whose connections end when a request gets no answer in time, because it never arrived whole.
pub struct PatientListener {
    inner: TcpListener,
    request_max: Duration,
}

impl PatientListener {
    /// `request_max` is the time from a request's first byte to the first byte of its answer. It must be longer than
    /// the service itself ever takes.
    #[must_use]
    pub const fn new(inner: TcpListener, request_max: Duration) -> Self {
        Self { inner, request_max }
    }
}

impl Listener for PatientListener {
    type Io = Patient<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.inner).await;
        // Nagle's delay would add 40 ms to small answers; a socket that refuses works without.
        let _ = stream.set_nodelay(true);
        (Patient::new(stream, self.request_max), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection that fails when it has been waited for too long.
pub struct Patient<S> {
    stream: S,
    request_max: Duration,
    stall_max: Duration,
    /// Whether a byte was read since the last one was written.
    is_in_request: bool,
    /// When the request began, or when the last byte was written.
    since: Instant,
    /// Since when the client has taken nothing of what is to be written.
    stalled_since: Option<Instant>,
    /// Looks at the deadline; only made anew when it fires, so that a request costs no timer.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(stream: S, request_max: Duration) -> Self {
        Self {
            stream,
            request_max,
            stall_max: STALL_MAX,
            is_in_request: false,
            since: Instant::now(),
            stalled_since: None,
            alarm: None,
        }
    }

    fn deadline(&self) -> Instant {
        if let Some(since) = self.stalled_since {
            return since + self.stall_max;
        }
        self.since + if self.is_in_request { self.request_max } else { IDLE_MAX }
    }

    /// Ready when the deadline has passed; otherwise the task is woken then.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let deadline = self.deadline();
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if alarm.deadline() > deadline {
                alarm.as_mut().reset(deadline);
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
    }

    fn note_read(&mut self) {
        if !self.is_in_request {
            self.is_in_request = true;
            self.since = Instant::now();
        }
    }

    fn note_written(&mut self) {
        self.is_in_request = false;
        self.since = Instant::now();
        self.stalled_since = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.note_read();
            return read;
        }
        self.poll_deadline(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Not vectored: the HTTP library then copies small bodies behind their heads, and one plain write costs less than gathering.
impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.note_written();
            return written;
        }
        self.stalled_since.get_or_insert_with(Instant::now);
        self.poll_deadline(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::io::duplex;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_request_that_stays_half_ends_the_connection() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server, MOMENT);
        let started = Instant::now();
        client.write_all(b"GET /li").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 7);

        let error = server.read(&mut buffer).await.unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= MOMENT);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_ends_the_connection() {
        let (_client, server) = duplex(4);
        let mut server = Patient { stall_max: MOMENT, ..Patient::new(server, MOMENT) };
        let started = Instant::now();

        let error = server.write_all(b"200 and more").await.unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= MOMENT);
    }

    #[tokio::test]
    async fn an_answered_request_is_followed_by_a_long_silence() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server, MOMENT);
        client.write_all(b"GET").await.unwrap();
        let mut buffer = [0; 64];
        server.read_exact(&mut buffer[..3]).await.unwrap();
        server.write_all(b"200").await.unwrap();

        let silence = tokio::time::timeout(MOMENT * 3, server.read(&mut buffer)).await;

        assert!(silence.is_err(), "still waiting");
    }
}
