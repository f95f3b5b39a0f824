//! A private Redis Cluster.

use futures_util::future::join_all;
use headroom::counters::keys;
use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::PASSWORD;
use super::WITHIN;
use super::ask;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::poll::eventually;
use crate::support::stores::connect_redis;
use crate::support::stores::open_folder;

/// The slots of the primaries: those of the shards 1 and 0, which are 9,842 and 13,907, and one more.
const SLOTS: [(&str, &str); 3] = [("0", "9999"), ("10000", "16382"), ("16383", "16383")];

/// Three primaries, each with as many replicas; the replicas of the first come behind all primaries.
pub struct Cluster {
    pub servers: Vec<RedisServer>,
    pub connections: Vec<MultiplexedConnection>,
    _folders: Vec<TempDir>,
}

impl Cluster {
    /// Starts the servers, and waits until they have found each other. Without replicas nobody is voted off, however busy
    /// the machine is.
    pub async fn start(replicas: usize) -> Self {
        let timeout_ms = if replicas == 0 { "15000" } else { "1000" };
        let folders: Vec<TempDir> = (0..3 + 3 * replicas).map(|_| open_folder()).collect();
        let servers = join_all(folders.iter().map(|folder| server(folder, timeout_ms))).await;
        let connections = join_all(servers.iter().map(connect_redis)).await;
        let cluster = Self { servers, connections, _folders: folders };
        cluster.meet().await;
        cluster.replicate().await;
        eventually("the cluster", WITHIN, || cluster.is_whole()).await;
        cluster
    }

    /// The primaries get their slots, and everybody is introduced.
    async fn meet(&self) {
        for (number, (first, last)) in SLOTS.iter().enumerate() {
            let epoch = (number + 1).to_string();
            self.tell(number, &["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
            self.tell(number, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
        }
        // To everybody: by hearsay it takes seconds.
        for (number, server) in self.servers.iter().enumerate() {
            let port = server.port().to_string();
            for other in 0..number {
                self.tell(other, &["CLUSTER", "MEET", "127.0.0.1", &port]).await;
            }
        }
    }

    async fn replicate(&self) {
        for number in 3..self.servers.len() {
            let primary = self.id(number % 3).await;
            // Until the replica has heard of its primary.
            eventually("a replica", WITHIN, async || {
                let words = ["CLUSTER", "REPLICATE", &primary];
                ask::<()>(&self.connections[number], &words).await.is_ok()
            })
            .await;
        }
    }

    /// Whether everybody knows everybody, and the replicas have their copies.
    async fn is_whole(&self) -> bool {
        let known = format!("cluster_known_nodes:{}\r\n", self.servers.len());
        for (number, connection) in self.connections.iter().enumerate() {
            let info: String = ask(connection, &["CLUSTER", "INFO"]).await.unwrap();
            if !info.contains("cluster_state:ok") || !info.contains(&known) {
                return false;
            }
            let info: String = ask(connection, &["INFO", "replication"]).await.unwrap();
            if number >= 3 && !info.contains("master_link_status:up") {
                return false;
            }
            // A connection to each server in the others' eyes, too: they vote by it.
            let nodes: String = ask(connection, &["CLUSTER", "NODES"]).await.unwrap();
            if nodes.contains("handshake")
                || nodes.contains("disconnected")
                || nodes.matches("slave").count() != self.servers.len() - 3
            {
                return false;
            }
        }
        true
    }

    /// Nodes on this cluster.
    pub async fn app(&self, options: Options, nodes: usize) -> TestApp {
        let mut app = TestApp::start_with(options).await;
        app.set("HEADROOM_REDIS_CLUSTER_URLS", self.urls());
        for _ in 0..nodes {
            app.add_node().await;
        }
        app
    }

    /// The first two servers, which tell of the others.
    pub fn urls(&self) -> String {
        format!("{},{}", self.servers[0].url(), self.servers[1].url())
    }

    /// Tells a server to do something, which it has to.
    pub async fn tell(&self, server: usize, words: &[&str]) {
        ask::<()>(&self.connections[server], words).await.unwrap();
    }

    pub async fn id(&self, server: usize) -> String {
        ask(&self.connections[server], &["CLUSTER", "MYID"]).await.unwrap()
    }

    /// Whether the server takes writes for its slots.
    pub async fn is_primary(&self, server: usize) -> bool {
        let info: String = ask(&self.connections[server], &["INFO", "replication"]).await.unwrap();
        info.contains("role:master")
    }

    /// Moves the slot of a shard, key by key, as `redis-cli --cluster reshard` does.
    pub async fn move_shard(&self, shard: u16, from: usize, to: usize) {
        let slot = keys::slot(shard).to_string();
        let (old, new) = (self.id(from).await, self.id(to).await);
        self.tell(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &old]).await;
        self.tell(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &new]).await;
        let port = self.servers[to].port().to_string();
        loop {
            let words = ["CLUSTER", "GETKEYSINSLOT", &slot, "1"];
            let keys: Vec<Vec<u8>> = ask(&self.connections[from], &words).await.unwrap();
            let Some(key) = keys.first() else { break };
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(&port).arg("").arg(0).arg(5_000);
            migrate.arg("AUTH").arg(PASSWORD).arg("KEYS").arg(key);
            migrate.exec_async(&mut self.connections[from].clone()).await.unwrap();
        }
        for server in [to, from] {
            self.tell(server, &["CLUSTER", "SETSLOT", &slot, "NODE", &new]).await;
        }
    }
}

async fn server(folder: &TempDir, timeout_ms: &str) -> RedisServer {
    let extra = [
        "--cluster-enabled yes",
        &format!("--cluster-node-timeout {timeout_ms}"),
        "--cluster-replica-validity-factor 0",
        "--repl-diskless-sync-delay 0",
    ];
    let extra = extra.iter().flat_map(|it| it.split(' ')).map(str::to_owned).collect();
    let (dir, password) = (folder.path().to_owned(), Some(PASSWORD.to_owned()));
    let options = RedisOptions { dir, append_only: true, password, extra, ..Default::default() };
    RedisServer::start(options).await.unwrap()
}
