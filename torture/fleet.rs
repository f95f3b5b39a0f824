//! The nodes: `headroom serve` processes, each behind networks of its own.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tokio::process::Child;
use tokio::process::Command;

use crate::Failure;
use crate::processes::kill;
use crate::processes::signal_child;
use crate::proxy::Proxy;
use crate::wire::Wire;

const PAUSE: Duration = Duration::from_millis(25);
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// A node that starts while a store is away ends, and is started again.
const START_WITHIN: Duration = Duration::from_mins(1);

/// One node.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    /// The networks to Redis: its own, or those of all nodes to each server.
    pub(crate) redis: Vec<Proxy>,
    pub(crate) postgres: Proxy,
    pub(crate) offset_ms: i64,
    settings: Vec<(&'static str, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub(crate) fn new(
        redis: Vec<Proxy>,
        postgres: Proxy,
        settings: Vec<(&'static str, String)>,
        log: PathBuf,
    ) -> Result<Self, Failure> {
        let address = (Ipv4Addr::LOCALHOST, headroom::embedded::free_port()?).into();
        Ok(Self { address, redis, postgres, offset_ms: 0, settings, log, child: None })
    }

    fn spawn(&self) -> Result<Child, Failure> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(crate::program::headroom()?);
        command
            .arg("serve")
            .env_clear()
            .env("HEADROOM_SERVER_LISTEN", self.address.to_string())
            .env("HEADROOM_CLOCK_OFFSET_MS", self.offset_ms.to_string())
            .envs(self.settings.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        Ok(command.spawn()?)
    }

    /// Starts the node, again as long as it ends because a store is away, and waits until it answers.
    pub(crate) async fn start(&mut self) -> Result<(), Failure> {
        let began_at = Instant::now();
        loop {
            if began_at.elapsed() > START_WITHIN {
                return Err(format!("a node does not start, see {}", self.log.display()).into());
            }
            let has_ended = match self.child.as_mut() {
                None => true,
                Some(child) => child.try_wait()?.is_some(),
            };
            if has_ended {
                self.child = Some(self.spawn()?);
            } else if self.asked("/livez").await.unwrap_or(0) == 200 {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        kill(&mut self.child).await
    }

    /// `STOP` or `CONT`.
    pub(crate) async fn signal(&self, name: &str) -> Result<(), Failure> {
        signal_child(self.child.as_ref(), name).await
    }

    /// Waits until the node and both of its stores are ready.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        let began_at = Instant::now();
        while self.asked("/readyz").await.unwrap_or(0) != 200 {
            if began_at.elapsed() > START_WITHIN {
                return Err(format!("a node is not ready, see {}", self.log.display()).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn asked(&self, path: &str) -> Result<u16, Failure> {
        let text = format!("GET {path} HTTP/1.1\r\nhost: torture\r\n\r\n");
        let asking = async {
            let mut wire = Wire::connect(self.address).await?;
            wire.call(text.as_bytes()).await
        };
        tokio::time::timeout(LOOK_WITHIN, asking).await?
    }
}
