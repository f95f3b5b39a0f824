//! `headroom dev`: the service with nothing to set up, as a new user meets it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::ChildStdout;
use tokio::process::Command;

use crate::support::PATIENT;
use crate::support::caller::Caller;
use crate::support::poll::eventually;
use crate::support::program::Outcome;
use crate::support::program::outcome;
use crate::support::program::program;
use crate::support::program::signal;
use crate::support::stores::connect;
use crate::support::stores::folder_in;
use crate::support::stores::open_folder;

/// A first start makes a database cluster.
const START_TIME_MAX: Duration = Duration::from_secs(90);
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
const MODEL: &str = "claude-sonnet-4";

/// A running `headroom dev`.
struct Dev {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: Value,
}

impl Dev {
    async fn start(folder: &Path) -> Self {
        Self::start_with(program().args(arguments(folder))).await
    }

    async fn start_with(command: &mut Command) -> Self {
        // Stores that have just been made are slow to answer when several are made at once.
        let mut child = command.envs(PATIENT).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let read = tokio::time::timeout(START_TIME_MAX, stdout.read_line(&mut line)).await;
        read.unwrap().unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
        Self { child, stdout, ready }
    }

    fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// Somebody with the key of that name.
    fn caller(&self, key: &str) -> Caller {
        Caller::new(self.text("url"), self.text(key))
    }

    /// SIGTERM, the exit code, and what else was printed.
    async fn stop(mut self) -> (Option<i32>, String) {
        signal(self.child.id().unwrap(), "TERM").await;
        let ended = tokio::time::timeout(STOP_TIME_MAX, self.child.wait()).await;
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).await.unwrap();
        (ended.unwrap().unwrap().code(), rest)
    }
}

fn arguments(folder: &Path) -> [PathBuf; 5] {
    ["dev".into(), "--data-dir".into(), folder.into(), "--listen".into(), "127.0.0.1:0".into()]
}

/// The processes other than `headroom` itself that have a file of the folder open: the stores.
fn stores_of(folder: &Path) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        !name.starts_with("headroom") && targets.any(|target| target.starts_with(folder))
    };
    pids.filter(holds).collect()
}

async fn used(caller: &Caller) -> u64 {
    caller.get("/v1/subjects/user:u_1/usage").await.used("messages-month")
}

/// Guards the line that scripts and readers rely on, and that each of its five values works.
#[tokio::test]
async fn one_line_of_json_tells_all_that_is_needed() {
    let folder = open_folder();
    let dev = Dev::start(folder.path()).await;

    let backend = dev.caller("backend_key");
    let accepted = backend.consume("user:u_1", MODEL).await;
    let forbidden = backend.delete("/v1/subjects/user:u_1/usage").await;

    let names: Vec<&String> = dev.ready.as_object().unwrap().keys().collect();
    assert_eq!(names, ["admin_key", "backend_key", "postgres_url", "redis_url", "url"]);
    assert!(accepted.is_allowed(), "{accepted:?}");
    assert_eq!(forbidden.status, 403, "the backend is no admin");
    let postgres = connect(dev.text("postgres_url")).await;
    let logged = async || {
        let count = "SELECT count(*) FROM message_logs";
        postgres.query_one(count, &[]).await.unwrap().get::<_, i64>(0) == 1
    };
    eventually("the event's way into postgres", Duration::from_secs(10), logged).await;
    assert_eq!(dev.caller("admin_key").delete("/v1/subjects/user:u_1/usage").await.status, 200);
    let mut shell = Command::new("redis-cli");
    let ping =
        outcome(shell.args(["-u", dev.text("redis_url"), "--no-auth-warning", "ping"])).await;
    assert_eq!((ping.code, ping.stdout.trim()), (0, "PONG"), "{ping:?}");
    let secrets = fs::metadata(folder.path().join("secrets.json")).unwrap();
    assert_eq!(secrets.permissions().mode() & 0o777, 0o600, "others cannot read the keys");
    assert_eq!(dev.stop().await, (Some(0), String::new()), "and it prints nothing else");
    assert_eq!(stores_of(folder.path()), [0; 0], "the stores went with it");
}

/// Guards that nothing is lost between two evenings: data and keys survive a stop, and a crash.
#[tokio::test]
async fn data_and_keys_survive_a_restart_and_a_crash() {
    let folder = open_folder();
    let first = Dev::start(folder.path()).await;
    assert!(first.caller("backend_key").consume("user:u_1", MODEL).await.is_allowed());
    let keys = |dev: &Dev| [dev.text("admin_key").to_owned(), dev.text("backend_key").to_owned()];
    let first_keys = keys(&first);
    assert_eq!(first.stop().await.0, Some(0));

    let mut second = Dev::start(folder.path()).await;
    let after_stop = (keys(&second), used(&second.caller("backend_key")).await);
    assert!(second.caller("backend_key").consume("user:u_1", MODEL).await.is_allowed());
    let saved = async || stores_have_saved(&second).await;
    eventually("the append-only file's write", Duration::from_secs(10), saved).await;
    second.child.kill().await.unwrap();
    let are_gone = async || stores_of(folder.path()).is_empty();
    eventually("the end of the stores", STOP_TIME_MAX, are_gone).await;
    let third = Dev::start(folder.path()).await;

    assert_eq!(after_stop, (first_keys.clone(), 1));
    assert_eq!((keys(&third), used(&third.caller("backend_key")).await), (first_keys, 2));
    assert_eq!(third.stop().await.0, Some(0));
    assert_eq!(stores_of(folder.path()), [0; 0]);
}

/// Whether the second event is in Postgres, where a crash of everything cannot take it away.
async fn stores_have_saved(dev: &Dev) -> bool {
    let count = "SELECT count(*) FROM message_logs";
    let postgres = connect(dev.text("postgres_url")).await;
    postgres.query_one(count, &[]).await.unwrap().get::<_, i64>(0) == 2
}

/// Guards the data: two services on one folder would destroy it.
#[tokio::test]
async fn a_second_service_on_the_same_folder_is_refused() {
    let folder = open_folder();
    let first = Dev::start(folder.path()).await;

    let second = outcome(program().args(arguments(folder.path()))).await;

    assert_eq!((second.code, second.stdout.as_str()), (2, ""), "{second:?}");
    let words = format!("error: {} is in use by another headroom", folder.path().display());
    assert!(second.stderr.contains(&words), "{second:?}");
    assert!(first.caller("backend_key").consume("user:u_1", MODEL).await.is_allowed());
    assert_eq!(first.stop().await.0, Some(0));
}

/// Guards the first minute on a bare machine: what is missing is named as it is installed.
#[tokio::test]
async fn missing_programs_are_named_with_their_packages() {
    let folder = open_folder();
    let bare = outcome(program().args(arguments(folder.path())).env("PATH", "/nonexistent")).await;

    assert_eq!((bare.code, bare.stdout.as_str()), (2, ""), "{bare:?}");
    assert!(bare.stderr.contains("redis-server not found, install"), "{bare:?}");
    assert!(bare.stderr.contains("package redis-server"), "{bare:?}");
    assert_eq!(stores_of(folder.path()), [0; 0], "nothing is left running");
}

/// A copy of the program, which may lie where nobody cannot go, and a folder of nobody's.
fn program_and_folder_of_nobody() -> [TempDir; 2] {
    const NOBODY: u32 = 65_534;
    // Programs may be forbidden where the folders of tests are.
    let (program, data) = (folder_in(&std::env::temp_dir(), "headroom-test-"), open_folder());
    fs::copy(env!("CARGO_BIN_EXE_headroom"), program.path().join("headroom")).unwrap();
    chown(data.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    [program, data]
}

/// Guards that no special rights are needed. Run by root it becomes nobody; run by anybody else the other tests show it.
#[tokio::test]
async fn an_ordinary_user_can_run_it() {
    let id: Outcome = outcome(Command::new("id").arg("-u")).await;
    if id.stdout.trim() != "0" {
        return;
    }
    let [folder, data] = program_and_folder_of_nobody();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        .arg(folder.path().join("headroom"))
        .args(arguments(data.path()))
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true);

    let dev = Dev::start_with(&mut command).await;

    assert!(dev.caller("backend_key").consume("user:u_1", MODEL).await.is_allowed());
    assert_eq!(dev.stop().await.0, Some(0));
    assert_eq!(stores_of(data.path()), [0; 0]);
}
