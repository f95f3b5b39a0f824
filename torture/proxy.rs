//! A network that fails on command: a TCP proxy between a node and one of its stores.
//!
//! Shared by `headroom-torture` and the tests.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headroom::background::Supervisor;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The request that a fault waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A script call to Redis.
    Script,
    /// The end of a transaction in Postgres.
    Commit,
}

/// What becomes of a reply that the caller is not to see in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The connection is closed in its place.
    Closed,
    /// Nothing comes, and the connection stays open.
    Silent,
    /// It comes so much later.
    Late(Duration),
    /// It comes when [`Proxy::release`] says so.
    Held,
    /// The first half of it comes, then the connection is closed.
    Torn,
}

/// What happens to the requests that are waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Plan {
    #[default]
    Pass,
    /// The next one is executed, and its reply lost; then everything passes again.
    LoseNext(Loss),
    /// Every so-many-th is executed, and its reply lost.
    LoseEvery(u32, Loss),
    /// The next one is not executed: its connection is closed before it; then everything passes again.
    CutNext,
}

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bytes pass.
    Up,
    /// Bytes get lost in both directions, and nobody is told.
    BlackHole,
    /// Connections are closed, and new ones as soon as they are made.
    Refusing,
}

/// What a connection does with one piece of a request.
enum Verdict {
    Pass,
    Lose(Loss),
    Cut,
}

#[derive(Default)]
struct Calls {
    plan: Plan,
    seen: u32,
    faults: u32,
}

struct Shared {
    /// Where connections lead, on 127.0.0.1.
    target: AtomicU16,
    trigger: Trigger,
    calls: Mutex<Calls>,
    network: watch::Sender<Network>,
    closing: watch::Sender<()>,
    releasing: watch::Sender<()>,
}

/// A proxy in this process, on a port of its own. It ends with the runtime.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    /// Passes everything to the port on 127.0.0.1. Faults wait for script calls.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start(target_port: u16) -> std::io::Result<Self> {
        Self::start_for(Trigger::Script, target_port).await
    }

    /// The same with faults that wait for something else.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start_for(trigger: Trigger, target_port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target_port),
            trigger,
            calls: Mutex::default(),
            network: watch::Sender::new(Network::Up),
            closing: watch::Sender::new(()),
            releasing: watch::Sender::new(()),
        });
        let accepting = shared.clone();
        let supervisor = Supervisor::new();
        let tasks = supervisor.clone();
        supervisor.spawn("proxy", async move {
            while let Ok((client, _)) = listener.accept().await {
                tasks.spawn("proxied", accepting.clone().connection(client));
            }
        });
        Ok(Self { shared, address })
    }

    /// The URL of the Redis behind the proxy.
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// A URL of the target that leads through the proxy.
    pub fn reroute(&self, url: &str) -> String {
        let target = format!(":{}/", self.shared.target.load(Ordering::SeqCst));
        url.replace(&target, &format!(":{}/", self.address.port()))
    }

    /// The port on 127.0.0.1 where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes every connection, and leads new ones to another port.
    pub fn retarget(&self, port: u16) {
        self.shared.target.store(port, Ordering::SeqCst);
        self.close();
    }

    /// Closes every connection.
    pub fn close(&self) {
        self.shared.closing.send_replace(());
    }

    /// Lets everything pass from now on.
    pub fn heal(&self) {
        self.shared.calls().plan = Plan::Pass;
        self.set(Network::Up);
    }

    /// Executes the next request that is waited for and loses its reply.
    pub fn lose_next(&self, loss: Loss) {
        self.shared.calls().plan = Plan::LoseNext(loss);
    }

    /// Lets replies come that are held.
    pub fn release(&self) {
        self.shared.releasing.send_replace(());
    }

    /// Executes every one and loses every `nth` reply.
    pub fn lose_every(&self, nth: u32, loss: Loss) {
        self.shared.calls().plan = Plan::LoseEvery(nth, loss);
    }

    /// Closes the connection on which the next one comes, without passing it on.
    pub fn cut_next(&self) {
        self.shared.calls().plan = Plan::CutNext;
    }

    /// Changes what happens to all connections.
    pub fn set(&self, network: Network) {
        self.shared.network.send_replace(network);
    }

    /// How many requests that are waited for passed since the last time that this was asked.
    pub fn take_seen(&self) -> u32 {
        std::mem::take(&mut self.shared.calls().seen)
    }

    /// How many requests met a fault so far.
    pub fn faults(&self) -> u32 {
        self.shared.calls().faults
    }
}

impl Trigger {
    /// How the request stands in the stream of a connection.
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Script => b"$7\r\nEVALSHA\r\n",
            Self::Commit => b"COMMIT\0",
        }
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, request: &[u8]) -> Verdict {
        let wanted = self.trigger.bytes();
        let count = request.windows(wanted.len()).filter(|part| *part == wanted).count();
        let mut calls = self.calls();
        (0..count).fold(Verdict::Pass, |verdict, _| match calls.next() {
            Verdict::Pass => verdict,
            fault => fault,
        })
    }

    async fn connection(self: Arc<Self>, client: TcpStream) {
        let (mut network, mut closing) = (self.network.subscribe(), self.closing.subscribe());
        if *network.borrow_and_update() == Network::Refusing {
            return;
        }
        let target = (Ipv4Addr::LOCALHOST, self.target.load(Ordering::SeqCst));
        let Ok(server) = TcpStream::connect(target).await else { return };
        tokio::select! {
            () = self.pass(client, server) => {}
            _ = network.wait_for(|network| *network == Network::Refusing) => {}
            _ = closing.changed() => {}
        }
    }

    /// Passes bytes until either side ends, or a fault ends both. A connection that lost bytes never passes any again: TCP
    /// delivers everything or nothing more.
    async fn pass(&self, client: TcpStream, server: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (mut request, mut reply) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let (mut loss, mut is_dead) = (None, false);
        let mut releasing = self.releasing.subscribe();
        loop {
            let is_written = tokio::select! {
                read = from_client.read(&mut request) => {
                    let Some(bytes) = piece(&request, read) else { return };
                    match self.verdict(bytes) {
                        Verdict::Cut => return,
                        Verdict::Lose(kind) => loss = Some(kind),
                        Verdict::Pass => {}
                    }
                    is_dead |= self.is_black_hole();
                    is_dead || to_server.write_all(bytes).await.is_ok()
                }
                read = from_server.read(&mut reply) => {
                    let Some(bytes) = piece(&reply, read) else { return };
                    match loss.take() {
                        Some(Loss::Closed) => return,
                        Some(Loss::Silent) => {
                            loss = Some(Loss::Silent);
                            continue;
                        }
                        Some(Loss::Torn) => {
                            // The connection ends either way.
                            let _ = to_client.write_all(&bytes[..bytes.len() / 2]).await;
                            return;
                        }
                        Some(Loss::Late(delay)) => pass_time(delay).await,
                        Some(Loss::Held) => drop(releasing.changed().await),
                        None => {}
                    }
                    is_dead |= self.is_black_hole();
                    is_dead || to_client.write_all(bytes).await.is_ok()
                }
            };
            if !is_written {
                return;
            }
        }
    }

    fn is_black_hole(&self) -> bool {
        *self.network.borrow() == Network::BlackHole
    }
}

/// Time that passes in the network.
async fn pass_time(delay: Duration) {
    tokio::time::sleep(delay).await;
}

impl Calls {
    /// What happens to the next request that is waited for.
    fn next(&mut self) -> Verdict {
        self.seen += 1;
        let verdict = match self.plan {
            Plan::Pass => return Verdict::Pass,
            Plan::LoseEvery(nth, _) if !self.seen.is_multiple_of(nth) => return Verdict::Pass,
            Plan::LoseEvery(_, loss) => Verdict::Lose(loss),
            Plan::LoseNext(loss) => {
                self.plan = Plan::Pass;
                Verdict::Lose(loss)
            }
            Plan::CutNext => {
                self.plan = Plan::Pass;
                Verdict::Cut
            }
        };
        self.faults += 1;
        verdict
    }
}

/// What was read; `None` at the end.
fn piece(buffer: &[u8], read: std::io::Result<usize>) -> Option<&[u8]> {
    let length = read.ok().filter(|length| *length > 0)?;
    Some(&buffer[..length])
}
