//! A gate between a node and both of its stores: it shuts after so many requests, whichever store they go to. A node
//! behind a shut gate does nothing more that anyone can see, so that it can be killed between any two of its steps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use headroom::background::Supervisor;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

/// Where the gate shuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The request does not arrive.
    Before,
    /// The request arrives, and its answer does not come back.
    After,
}

struct Shared {
    /// Requests that still pass; none are counted above half of all numbers.
    left: AtomicI64,
    side: watch::Sender<Side>,
    is_shut: watch::Sender<bool>,
}

/// A gate. It ends with the runtime of the test.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

impl Gate {
    /// An open gate.
    pub fn open() -> Self {
        Self(Arc::new(Shared {
            left: AtomicI64::new(i64::MAX),
            side: watch::Sender::new(Side::Before),
            is_shut: watch::Sender::new(false),
        }))
    }

    /// A way through the gate to a port on 127.0.0.1. Answers the port where it begins.
    pub async fn to(&self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begins_at = listener.local_addr().unwrap().port();
        let (gate, supervisor) = (self.clone(), Supervisor::new());
        let tasks = supervisor.clone();
        supervisor.spawn("gate", async move {
            while let Ok((client, _)) = listener.accept().await {
                tasks.spawn("gated", gate.clone().connection(client, port));
            }
        });
        begins_at
    }

    /// Lets so many more requests pass, and shuts.
    pub fn shut_after(&self, requests: i64, side: Side) {
        self.0.side.send_replace(side);
        self.0.left.store(requests, Ordering::SeqCst);
    }

    /// Waits until it is shut.
    pub async fn shut(&self) {
        let mut is_shut = self.0.is_shut.subscribe();
        is_shut.wait_for(|is_shut| *is_shut).await.unwrap();
    }

    async fn connection(self, client: TcpStream, port: u16) {
        let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await else {
            return;
        };
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        tokio::join!(self.requests(from_client, to_server), self.answers(from_server, to_client));
    }

    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let left = self.0.left.fetch_sub(1, Ordering::SeqCst);
            let is_last = left == 0;
            if left < 0 || is_last && *self.0.side.borrow() == Side::Before {
                self.0.is_shut.send_replace(true);
                continue;
            }
            if is_last {
                // In this order: no answer passes from now on.
                self.0.is_shut.send_replace(true);
            }
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }

    async fn answers(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if !*self.0.is_shut.borrow() && to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }
}
