//! A private primary with a replica, and the sentinel that watches them.

use std::process::Stdio;

use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use headroom::embedded::free_port;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::process::Command;

use super::PASSWORD;
use super::WITHIN;
use super::ask;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::poll::eventually;
use crate::support::stores::open_folder;

/// What the sentinel calls the primary.
const NAME: &str = "counters";

pub struct Watched {
    /// The first is the primary when all begins.
    pub servers: Vec<RedisServer>,
    sentinel_url: String,
    sentinel: Option<MultiplexedConnection>,
    _process: Child,
    _folders: Vec<TempDir>,
}

impl Watched {
    /// Starts the servers, and waits until the sentinel knows whom to promote.
    pub async fn start() -> Self {
        let folders: Vec<TempDir> = (0..3).map(|_| open_folder()).collect();
        let primary = server(&folders[0], None).await;
        let replica = server(&folders[1], Some(primary.port())).await;
        let port = free_port().unwrap();
        let process = sentinel(&folders[2], port, primary.port());
        let sentinel_url = format!("redis://127.0.0.1:{port}");
        let servers = vec![primary, replica];
        let mut watched =
            Self { servers, sentinel_url, sentinel: None, _process: process, _folders: folders };
        eventually("the sentinel", WITHIN, || watched.answers()).await;
        watched.sentinel = watched.connect().await;
        // It looks every ten seconds, and not at all for thirty when the machine was busy.
        for period in ["INFO-PERIOD", "PUBLISH-PERIOD", "TILT-PERIOD"] {
            let words = ["SENTINEL", "DEBUG", period, "100"];
            ask::<()>(watched.sentinel(), &words).await.unwrap();
        }
        eventually("the replica", WITHIN, || watched.knows_the_replica()).await;
        watched
    }

    async fn answers(&self) -> bool {
        self.connect().await.is_some()
    }

    async fn connect(&self) -> Option<MultiplexedConnection> {
        let client = redis::Client::open(self.sentinel_url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    }

    fn sentinel(&self) -> &MultiplexedConnection {
        self.sentinel.as_ref().unwrap()
    }

    async fn knows_the_replica(&self) -> bool {
        let words = ["SENTINEL", "REPLICAS", NAME];
        let replicas: Vec<std::collections::HashMap<String, String>> =
            ask(self.sentinel(), &words).await.unwrap();
        let is_linked = |replica: &std::collections::HashMap<String, String>| {
            replica["flags"] == "slave" && replica["master-link-status"] == "ok"
        };
        replicas.iter().any(is_linked)
    }

    /// Nodes that ask the sentinel. The login comes from the URL, whose host nobody asks.
    pub async fn app(&self, options: Options, nodes: usize) -> TestApp {
        let mut app = TestApp::start_with(options).await;
        let port = self.servers[0].port();
        app.set("REDIS_URL", self.servers[0].url().replace(&format!("127.0.0.1:{port}"), NAME));
        app.set(
            "HEADROOM_REDIS_SENTINEL_URLS",
            format!("redis://127.0.0.1:1, {}", self.sentinel_url),
        );
        app.set("HEADROOM_REDIS_SENTINEL_PRIMARY", NAME);
        for _ in 0..nodes {
            app.add_node().await;
        }
        app
    }

    /// A failover by hand, without loss.
    pub async fn fail_over(&self) {
        ask::<()>(self.sentinel(), &["SENTINEL", "FAILOVER", NAME]).await.unwrap();
    }

    /// Waits until the sentinel names the server, and the server agrees.
    pub async fn await_primary(&self, server: usize) {
        eventually("the new primary", WITHIN, async || {
            let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
            let (_, named): (String, u16) = ask(self.sentinel(), &words).await.unwrap();
            let info = self.replication(server).await.unwrap_or_default();
            named == self.servers[server].port() && info.contains("role:master")
        })
        .await;
    }

    /// Over a connection of its own: the sentinel closes those to a server that changes its role.
    async fn at(&self, server: usize) -> redis::RedisResult<MultiplexedConnection> {
        let client = redis::Client::open(self.servers[server].url())?;
        client.get_multiplexed_async_connection().await
    }

    async fn replication(&self, server: usize) -> redis::RedisResult<String> {
        ask(&self.at(server).await?, &["INFO", "replication"]).await
    }

    /// Makes the second server a primary of its own, and the sentinel name it. The first knows nothing of that, as behind a
    /// network that is cut.
    pub async fn name_the_copy(&self) {
        let port = self.servers[1].port().to_string();
        ask::<()>(self.sentinel(), &["SENTINEL", "REMOVE", NAME]).await.unwrap();
        ask::<()>(&self.at(1).await.unwrap(), &["REPLICAOF", "NO", "ONE"]).await.unwrap();
        let monitor = ["SENTINEL", "MONITOR", NAME, "127.0.0.1", &port, "1"];
        ask::<()>(self.sentinel(), &monitor).await.unwrap();
    }

    /// The last place that a server has given in a shard.
    pub async fn seq(&self, server: usize, shard: u16) -> Option<u64> {
        let meta = headroom::counters::keys::meta(shard);
        ask(&self.at(server).await.unwrap(), &["HGET", &meta, "seq"]).await.unwrap()
    }

    /// Waits until the other server copies the primary, and the sentinel has noticed.
    pub async fn await_copy(&self) {
        eventually("the copy", WITHIN, || self.knows_the_replica()).await;
    }
}

async fn server(folder: &TempDir, replica_of: Option<u16>) -> RedisServer {
    let (dir, password) = (folder.path().to_owned(), Some(PASSWORD.to_owned()));
    let extra = ["--repl-diskless-sync-delay", "0"].map(str::to_owned).to_vec();
    let options =
        RedisOptions { dir, append_only: true, password, replica_of, extra, ..Default::default() };
    RedisServer::start(options).await.unwrap()
}

fn sentinel(folder: &TempDir, port: u16, primary: u16) -> Child {
    let file = folder.path().join("sentinel.conf");
    let dir = folder.path().display();
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {dir}\n\
         sentinel monitor {NAME} 127.0.0.1 {primary} 1\n\
         sentinel auth-pass {NAME} \"{PASSWORD}\"\n\
         sentinel down-after-milliseconds {NAME} 500\n\
         sentinel failover-timeout {NAME} 1000\n"
    );
    std::fs::write(&file, text).unwrap();
    Command::new("redis-server")
        .arg(&file)
        .arg("--sentinel")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
