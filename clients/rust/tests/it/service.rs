//! The real service: `headroom dev` with a folder and stores of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;

/// A chat that also counts tokens.
const CATALOGUE: &str = r#"
metrics = ["messages", "premium_messages", "tokens"]
default_plan = "chat"

[plans.chat]
limits = [
    { metric = "messages", period = "month", max = 100 },
    { metric = "premium_messages", period = "month", max = 20 },
    { metric = "tokens", period = "day", max = 50_000 },
]

[[models]]
names = ["claude-*"]
charges = { messages = 1, premium_messages = 1 }
"#;

/// A running service.
pub struct Service {
    pub url: String,
    pub key: String,
    process: Child,
    folder: PathBuf,
}

impl Service {
    /// Starts one, and waits until it is ready.
    pub async fn start() -> Self {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("headroom-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        // Postgres runs as another user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("catalogue.toml"), CATALOGUE).unwrap();
        let mut process = command(&folder).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap();
        let log = fs::read_to_string(folder.join("log")).unwrap();
        let line = line.unwrap_or_else(|| panic!("no service: {log}"));
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { url: text("url"), key: text("backend_key"), process, folder }
    }

    /// Where it answers.
    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// Stops it, and removes its folder.
    pub async fn stop(mut self) {
        let pid = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
        assert!(self.process.wait().await.unwrap().success());
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn command(folder: &std::path::Path) -> Command {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/headroom");
    let binary = std::env::var("HEADROOM_BIN").unwrap_or_else(|_| built.to_owned());
    let mut command = Command::new(binary);
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .env_remove("HEADROOM_BIN")
        .env("HEADROOM_QUOTA_CATALOGUE", folder.join("catalogue.toml"))
        .env("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", "30000")
        .env("HEADROOM_POSTGRES_CONNECT_TIMEOUT_MS", "30000")
        .env("HEADROOM_REDIS_CONNECT_TIMEOUT_MS", "10000")
        .env("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", "10000")
        .stdout(Stdio::piped())
        .stderr(fs::File::create(folder.join("log")).unwrap())
        .kill_on_drop(true);
    command
}
