//! A single Redis with a replica, and a failover by hand.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use redis::aio::MultiplexedConnection;

use crate::Failure;
use crate::processes::Disk;
use crate::processes::copy;
use crate::proxy::Proxy;

/// Longer than any fault of the pair itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// One of the two.
struct Member {
    server: RedisServer,
    /// Where its files are.
    files: PathBuf,
    disk: Option<Disk>,
}

/// Both, and the ways from the nodes to the primary.
pub(crate) struct Pair {
    members: [Member; 2],
    primary: usize,
    kept: PathBuf,
    ways: Vec<Proxy>,
}

impl Member {
    async fn start(dir: &Path, is_synced: bool) -> Result<Self, Failure> {
        let files = dir.join("redis");
        let disk = Disk::mount(&files).await?;
        let sync = if is_synced { "always" } else { "everysec" };
        let extra = ["--appendfsync", sync, "--repl-diskless-sync-delay", "0"];
        let options = RedisOptions {
            dir: dir.to_owned(),
            append_only: true,
            extra: extra.map(str::to_owned).to_vec(),
            ..RedisOptions::default()
        };
        Ok(Self { server: RedisServer::start(options).await?, files, disk })
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let client = redis::Client::open(self.server.url())?;
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }

    async fn follow(&self, primary: Option<u16>) -> Result<(), Failure> {
        let mut connection = self.connect().await?;
        let mut command = redis::cmd("REPLICAOF");
        match primary {
            Some(port) => command.arg("127.0.0.1").arg(port),
            None => command.arg("NO").arg("ONE"),
        };
        Ok(command.exec_async(&mut connection).await?)
    }
}

impl Pair {
    /// Starts both, and a way to the primary for each node.
    pub(crate) async fn start(dir: &Path, is_synced: bool, nodes: usize) -> Result<Self, Failure> {
        let members = [
            Member::start(&dir.join("redis-a"), is_synced).await?,
            Member::start(&dir.join("redis-b"), is_synced).await?,
        ];
        members[1].follow(Some(members[0].server.port())).await?;
        let mut ways = Vec::new();
        for _ in 0..nodes {
            ways.push(Proxy::start(members[0].server.port()).await?);
        }
        Ok(Self { members, primary: 0, kept: dir.join("redis-kept"), ways })
    }

    /// The way of each node.
    pub(crate) fn ways(&self) -> &[Proxy] {
        &self.ways
    }

    /// The primary, past all networks.
    pub(crate) fn url(&self) -> String {
        self.primary().server.url()
    }

    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        self.primary().connect().await
    }

    fn primary(&self) -> &Member {
        &self.members[self.primary]
    }

    pub(crate) fn pid(&self) -> u32 {
        self.primary().server.pid()
    }

    /// The primary's disk, where one could be mounted.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.primary().disk.as_ref()
    }

    /// SIGKILL, and a start on what is then in the files.
    pub(crate) async fn crash(&mut self) -> Result<(), Failure> {
        self.members[self.primary].server.kill().await?;
        self.revive().await
    }

    /// Starts the primary on its files, or without them where Redis cannot read them: an operator has nothing better.
    pub(crate) async fn revive(&mut self) -> Result<(), Failure> {
        if self.members[self.primary].server.restart().await.is_ok() {
            return Ok(());
        }
        std::fs::remove_dir_all(self.primary().files.join("appendonlydir"))?;
        Ok(self.members[self.primary].server.restart().await?)
    }

    /// Puts the primary's files aside while it runs.
    pub(crate) async fn keep(&self) -> Result<(), Failure> {
        copy(&self.primary().files, &self.kept).await
    }

    /// SIGKILL, and a start on the files that were put aside.
    pub(crate) async fn restore(&mut self) -> Result<(), Failure> {
        self.members[self.primary].server.kill().await?;
        copy(&self.kept, &self.primary().files).await?;
        self.revive().await
    }

    /// SIGKILL, and a start on a file without its last `bytes`.
    pub(crate) async fn truncate(&mut self, bytes: u64) -> Result<(), Failure> {
        self.members[self.primary].server.kill().await?;
        let file = last_file(&self.primary().files.join("appendonlydir"))?;
        let file = std::fs::OpenOptions::new().write(true).open(file)?;
        file.set_len(file.metadata()?.len().saturating_sub(bytes))?;
        drop(file);
        self.revive().await
    }

    /// The replica takes over, without the events that it does not have. For `split` some nodes still write to the old primary,
    /// which then forgets what they wrote.
    pub(crate) async fn fail_over(&mut self, split: Option<Duration>) -> Result<(), Failure> {
        let (old, new) = (self.primary, 1 - self.primary);
        let port = self.members[new].server.port();
        if split.is_none() {
            self.members[old].server.kill().await?;
        }
        self.members[new].follow(None).await?;
        self.primary = new;
        let (first, rest) = self.ways.split_at(self.ways.len() / 2);
        first.iter().for_each(|way| way.retarget(port));
        tokio::time::sleep(split.unwrap_or_default()).await;
        rest.iter().for_each(|way| way.retarget(port));
        if split.is_none() {
            self.members[old].server.restart().await?;
        }
        self.members[old].follow(Some(port)).await
    }

    /// Stops both and gives their disks back.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        for mut member in self.members {
            member.server.kill().await?;
            if let Some(disk) = member.disk {
                disk.unmount().await?;
            }
        }
        Ok(())
    }
}

/// The increment that is written to: the one with the highest number.
fn last_file(folder: &Path) -> Result<PathBuf, Failure> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_suffix(".incr.aof").and_then(|name| name.rsplit_once('.'));
        if let Some(number) = number.and_then(|(_, number)| number.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.pop().ok_or("an append-only file without increments")?.1)
}
