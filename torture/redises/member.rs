//! One Redis of a run.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use headroom::clock::Clock;
use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;

use super::wall_clock::WallClock;
use crate::Failure;
use crate::processes::Disk;
use crate::processes::copy;
use crate::processes::signal;
use crate::proxy::Proxy;

/// How long an answer may take. A server that is stopped gives none.
const PATIENCE: Duration = Duration::from_secs(8);

/// A server, its files, and their disk where one could be mounted. Both end with this, in that order.
pub(crate) struct Member {
    pub(crate) server: RedisServer,
    files: PathBuf,
    kept: PathBuf,
    disk: Option<Disk>,
    clock: Option<WallClock>,
    ahead_s: i64,
    /// The network that everybody else is led through, where there is one.
    front: Option<Proxy>,
}

impl Member {
    /// Starts it in a folder of its own, with more settings, behind a network if it is given one, and with a clock of its own
    /// where there is the library for that.
    pub(crate) async fn start(
        dir: &Path,
        settings: Vec<String>,
        front: Option<Proxy>,
        library: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let disk = Disk::mount(&dir.join("redis")).await?;
        let clock = library.map(|library| WallClock::new(library, dir)).transpose()?;
        let options = RedisOptions {
            dir: dir.to_owned(),
            append_only: true,
            extra: settings,
            environment: clock.as_ref().map(WallClock::environment).unwrap_or_default(),
            ..RedisOptions::default()
        };
        let server = RedisServer::start(options).await?;
        if let Some(front) = &front {
            front.retarget(server.port());
        }
        let files = dir.join("redis").join("appendonlydir");
        Ok(Self { server, files, kept: dir.join("kept"), disk, clock, ahead_s: 0, front })
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// The port by which others know it.
    pub(crate) fn known_port(&self) -> u16 {
        self.front.as_ref().map_or(self.server.port(), Proxy::port)
    }

    /// The URL by which others know it.
    pub(crate) fn known_url(&self) -> String {
        self.front.as_ref().map_or_else(|| self.server.url(), Proxy::url)
    }

    pub(crate) fn front(&self) -> Option<&Proxy> {
        self.front.as_ref()
    }

    /// How far its clock was set ahead, in seconds.
    pub(crate) const fn ahead_s(&self) -> i64 {
        self.ahead_s
    }

    /// Sets its clock to so many seconds ahead of everybody else's. `false` where its clock cannot be set.
    pub(crate) async fn set_clock(&mut self, ahead_s: i64) -> Result<bool, Failure> {
        let Some(clock) = &self.clock else { return Ok(false) };
        clock.set(ahead_s)?;
        self.ahead_s = ahead_s;
        let told = self.ask::<(i64, i64)>(&["TIME"]).await;
        let Ok((seconds, _)) = told else { return Ok(false) };
        Ok((seconds - Clock::system().now().timestamp() - ahead_s).abs() <= 1)
    }

    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let client = redis::Client::open(self.server.url())?;
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }

    /// The answer to a command.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, Failure> {
        let mut connection = self.connect().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        Ok(command.query_async(&mut connection).await?)
    }

    pub(crate) async fn tell(&self, words: &[&str]) -> Result<(), Failure> {
        self.ask::<redis::Value>(words).await.map(|_| ())
    }

    pub(crate) async fn signal(&self, name: &str) -> Result<(), Failure> {
        signal(self.server.pid(), name).await
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        Ok(self.server.kill().await?)
    }

    /// Starts it on its files, or without them where Redis cannot read them: an operator has nothing better.
    pub(crate) async fn revive(&mut self) -> Result<(), Failure> {
        if self.server.restart().await.is_ok() {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.files)?;
        Ok(self.server.restart().await?)
    }

    /// SIGKILL, and a start on what is then in its files.
    pub(crate) async fn crash(&mut self) -> Result<(), Failure> {
        self.kill().await?;
        self.revive().await
    }

    /// Puts its files aside while it runs.
    pub(crate) async fn keep(&self) -> Result<(), Failure> {
        copy(&self.files, &self.kept).await
    }

    /// SIGKILL, and a start on the files that were put aside, if any were.
    pub(crate) async fn restore(&mut self) -> Result<(), Failure> {
        if !self.kept.exists() {
            return self.crash().await;
        }
        self.kill().await?;
        copy(&self.kept, &self.files).await?;
        self.revive().await
    }

    /// SIGKILL, and a start on a file without its last `bytes`.
    pub(crate) async fn truncate(&mut self, bytes: u64) -> Result<(), Failure> {
        self.kill().await?;
        let file = std::fs::OpenOptions::new().write(true).open(last_file(&self.files)?)?;
        file.set_len(file.metadata()?.len().saturating_sub(bytes))?;
        drop(file);
        self.revive().await
    }

    /// Leaves no byte of its disk free. `false` where it has none of its own.
    pub(crate) async fn fill_disk(&self) -> Result<bool, Failure> {
        let Some(disk) = &self.disk else { return Ok(false) };
        disk.fill().await?;
        Ok(true)
    }

    /// Makes room again, and starts it if it ended: a Redis that syncs before each answer does when it cannot write.
    pub(crate) async fn clear_disk(&mut self) -> Result<(), Failure> {
        let Some(disk) = &self.disk else { return Ok(()) };
        disk.clear()?;
        if self.tell(&["PING"]).await.is_err() {
            self.revive().await?;
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
