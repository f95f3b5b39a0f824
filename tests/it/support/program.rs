//! The program as a user runs it, and the processes behind it.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::ADMIN_KEY;
use super::TestApp;

/// No command of the tests takes longer.
const COMMAND_TIME_MAX: Duration = Duration::from_mins(1);

/// How a run of the program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// What it printed, as JSON; for commands that end well.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Fails when a text stands anywhere in what was printed.
    pub fn assert_hides(&self, secret: &str) {
        let printed = format!("{}{}", self.stdout, self.stderr);
        assert!(!printed.contains(secret), "printed a secret: {self:?}");
    }
}

/// The program with nothing in its environment but `PATH`.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs the program to its end with these variables alone.
pub async fn run<A, K, V>(arguments: &[A], env: impl IntoIterator<Item = (K, V)>) -> Outcome
where
    A: AsRef<OsStr>,
    K: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    outcome(program().args(arguments).envs(env)).await
}

/// Runs a command to its end.
pub async fn outcome(command: &mut Command) -> Outcome {
    let output = tokio::time::timeout(COMMAND_TIME_MAX, command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or(-1);
    Outcome { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The variables that point the program at a test's stores.
pub fn env_of(app: &TestApp) -> Vec<(String, String)> {
    [
        ("DATABASE_URL", app.stores.postgres_url.clone()),
        ("REDIS_URL", app.stores.redis.url()),
        ("HEADROOM_QUOTA_SHARDS", super::stores::SHARDS.to_string()),
        ("HEADROOM_AUTH_ADMIN_KEY", ADMIN_KEY.to_owned()),
        // On a machine that runs all tests at once a connection may take its time.
        ("HEADROOM_POSTGRES_CONNECT_TIMEOUT_MS", "10000".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Sends a signal to a process that a test started.
pub async fn signal(pid: u32, name: &str) {
    let script = ["-c", "kill -s \"$0\" \"$1\""];
    let mut shell = Command::new("/bin/sh");
    let sent = shell.args(script).args([name, &pid.to_string()]).status().await.unwrap();
    assert!(sent.success(), "{name} to {pid}");
}
