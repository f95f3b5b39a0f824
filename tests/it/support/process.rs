//! Nodes as processes, which a test may kill.

use std::process::ExitStatus;
use std::process::Stdio;

use tokio::process::Child;
use tokio::process::Command;

use super::ADMIN_KEY;
use super::TestApp;
use super::caller::Caller;

/// A `headroom serve` process.
pub struct Node {
    child: Child,
    url: String,
}

impl Node {
    /// Starts a node on the test's stores and waits until it answers. `settings` are environment variables.
    pub async fn start(app: &TestApp, settings: &[(&str, &str)]) -> Self {
        let address = format!("127.0.0.1:{}", headroom::embedded::free_port().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_headroom"))
            .arg("serve")
            .env_clear()
            .env("DATABASE_URL", &app.stores.postgres_url)
            .env("REDIS_URL", app.stores.redis.url())
            .env("HEADROOM_QUOTA_SHARDS", super::stores::SHARDS.to_string())
            .env("HEADROOM_SERVER_LISTEN", &address)
            .env("HEADROOM_AUTH_ADMIN_KEY", ADMIN_KEY)
            .env("HEADROOM_LOG_LEVEL", "error")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let node = Self { child, url: format!("http://{address}") };
        let client = super::caller::client();
        let ready = format!("{}/readyz", node.url);
        super::poll::eventually(
            "the node's readiness",
            std::time::Duration::from_secs(30),
            || async {
                client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success())
            },
        )
        .await;
        node
    }

    /// An admin who calls this node.
    pub fn caller(&self) -> Caller {
        Caller::new(&self.url, ADMIN_KEY)
    }

    /// Where this node answers, such as `127.0.0.1:15001`.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// SIGTERM, without waiting for the end.
    pub async fn terminate(&self) {
        super::program::signal(self.child.id().unwrap(), "TERM").await;
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}
