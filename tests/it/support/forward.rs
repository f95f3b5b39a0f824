//! An address that stays while the server behind it changes, as a failover does it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;

use headroom::background::Supervisor;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Forwards connections to the port that is current.
pub struct Forward {
    port: u16,
    target: Arc<AtomicU16>,
    closing: watch::Sender<()>,
    _tasks: Supervisor,
}

impl Forward {
    /// Forwards to `target` on this machine.
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(target));
        let closing = watch::Sender::new(());
        let tasks = Supervisor::new();
        tasks.spawn("forward", accept(listener, target.clone(), closing.clone()));
        Self { port, target, closing, _tasks: tasks }
    }

    /// The URL of a Redis behind this address.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Closes every connection and forwards new ones to `target`.
    pub fn switch(&self, target: u16) {
        self.move_new_ones(target);
        self.closing.send_replace(());
    }

    /// Forwards new connections to `target`, and leaves those that are open where they are.
    pub fn move_new_ones(&self, target: u16) {
        self.target.store(target, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, target: Arc<AtomicU16>, closing: watch::Sender<()>) {
    let connections = Supervisor::new();
    while let Ok((stream, _)) = listener.accept().await {
        let target = target.load(Ordering::SeqCst);
        connections.spawn("connection", forward(stream, target, closing.subscribe()));
    }
}

async fn forward(mut stream: TcpStream, target: u16, mut closing: watch::Receiver<()>) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    tokio::select! {
        // Either side may end the connection as it likes.
        _ = tokio::io::copy_bidirectional(&mut stream, &mut server) => {}
        _ = closing.changed() => {}
    }
}
