//! A sentinel, which promotes the replica when the primary does not answer.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tokio::process::Child;
use tokio::process::Command;
use tokio::time::sleep;

use crate::Failure;

/// What the sentinel calls the primary.
const NAME: &str = "counters";
const START_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The settings of a server that is known by another port than its own.
pub(super) const fn announce(port: &str) -> [&str; 4] {
    ["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", port]
}

/// The process. It ends with this.
pub(crate) struct Sentinel {
    url: String,
    _process: Child,
}

impl Sentinel {
    /// Starts it, and waits until it knows a replica that it could promote.
    pub(crate) async fn start(dir: &Path, primary: u16) -> Result<Self, Failure> {
        let folder = dir.join("sentinel");
        std::fs::create_dir_all(&folder)?;
        let port = headroom::embedded::free_port()?;
        let file = folder.join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nlogfile sentinel.log\n\
             sentinel monitor {NAME} 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds {NAME} 700\n\
             sentinel failover-timeout {NAME} 2000\n",
            folder.display()
        );
        std::fs::write(&file, text)?;
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let sentinel = Self {
            url: format!("redis://127.0.0.1:{port}"),
            _process: command.kill_on_drop(true).spawn()?,
        };
        let began_at = Instant::now();
        while !sentinel.knows_a_replica().await.unwrap_or(false) {
            if began_at.elapsed() > START_WITHIN {
                return Err("the sentinel finds no replica".into());
            }
            sleep(POLL).await;
        }
        Ok(sentinel)
    }

    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HEADROOM_REDIS_SENTINEL_URLS", self.url.clone()),
            ("HEADROOM_REDIS_SENTINEL_PRIMARY", NAME.to_owned()),
        ]
    }

    /// The port of the primary that it names, as others know it.
    pub(crate) async fn primary(&self) -> Result<u16, Failure> {
        let mut connection =
            redis::Client::open(self.url.as_str())?.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(NAME);
        let (_host, port): (String, u16) = command.query_async(&mut connection).await?;
        Ok(port)
    }

    async fn knows_a_replica(&self) -> Result<bool, Failure> {
        let mut connection =
            redis::Client::open(self.url.as_str())?.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("REPLICAS").arg(NAME);
        let replicas: Vec<std::collections::HashMap<String, String>> =
            command.query_async(&mut connection).await?;
        let is_linked = |replica: &std::collections::HashMap<String, String>| {
            replica.get("master-link-status").is_some_and(|status| status == "ok")
        };
        Ok(replicas.iter().any(is_linked))
    }
}
