//! Private servers: they keep their data over a crash, and leave no process behind.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use headroom::background::Supervisor;
use headroom::embedded::EmbeddedError;
use headroom::embedded::PostgresOptions;
use headroom::embedded::PostgresServer;
use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use headroom::embedded::find::Search;
use redis::AsyncConnectionConfig;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio_postgres::NoTls;

use crate::support::stores::open_folder;

fn redis_options(folder: &TempDir) -> RedisOptions {
    RedisOptions { dir: folder.path().to_owned(), append_only: true, ..RedisOptions::default() }
}

fn postgres_options(folder: &TempDir) -> PostgresOptions {
    PostgresOptions { dir: folder.path().to_owned(), ..PostgresOptions::default() }
}

async fn redis_command(url: &str, words: &[&str]) -> redis::RedisResult<redis::Value> {
    let client = redis::Client::open(url).unwrap();
    // Half a second is the library's patience, which a command that waits on a busy machine outlasts.
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(&mut connection).await
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // The connection ends with the client.
    Supervisor::new().spawn("connection", connection.map(drop));
    Ok(client)
}

/// The processes that `pid` started, and `pid`; zombies have ended and do not count.
fn family(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|other| *other == pid || parent(*other) == Some(pid))
        .filter(|other| is_alive(*other))
        .collect()
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z"))
}

#[tokio::test]
async fn redis_keeps_its_data_over_a_crash() {
    let folder = open_folder();
    let mut server = RedisServer::start(redis_options(&folder)).await.unwrap();
    redis_command(&server.url(), &["SET", "key", "value"]).await.unwrap();
    let (port, pid) = (server.port(), server.pid());

    server.kill().await.unwrap();
    assert!(redis_command(&server.url(), &["PING"]).await.is_err());
    server.restart().await.unwrap();

    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    let value = redis_command(&server.url(), &["GET", "key"]).await.unwrap();
    assert_eq!(value, redis::Value::BulkString(b"value".to_vec()));
}

#[tokio::test]
async fn redis_asks_for_its_password_and_is_copied_with_it() {
    let (folder, copy_folder) = (open_folder(), open_folder());
    let password = Some("p@ss \"word\"/\\ö".to_owned());
    let primary =
        RedisServer::start(RedisOptions { password: password.clone(), ..redis_options(&folder) });
    let primary = primary.await.unwrap();
    let replica = RedisServer::start(RedisOptions {
        password,
        replica_of: Some(primary.port()),
        extra: vec!["--repl-diskless-sync-delay".to_owned(), "0".to_owned()],
        ..redis_options(&copy_folder)
    });
    let replica = replica.await.unwrap();

    let stranger = format!("redis://127.0.0.1:{}/", primary.port());
    assert!(redis_command(&stranger, &["PING"]).await.is_err());
    redis_command(&primary.url(), &["SET", "key", "value"]).await.unwrap();
    let role = redis_command(&replica.url(), &["ROLE"]).await.unwrap();
    assert!(format!("{role:?}").contains("slave"), "{role:?}");
}

#[tokio::test]
async fn redis_stops_when_asked_and_when_dropped() {
    let folder = open_folder();
    let mut server = RedisServer::start(redis_options(&folder)).await.unwrap();
    let stopped = server.pid();

    server.stop().await.unwrap();
    assert!(!is_alive(stopped));
    server.restart().await.unwrap();
    let dropped = server.pid();
    drop(server);

    assert!(!is_alive(dropped));
}

#[tokio::test]
async fn postgres_keeps_its_data_over_a_crash() {
    let folder = open_folder();
    let mut server = PostgresServer::start(postgres_options(&folder)).await.unwrap();
    let client = connect(&server.url("headroom")).await.unwrap();
    let filled = "CREATE TABLE kept AS SELECT 7::bigint AS number";
    client.batch_execute(filled).await.unwrap();
    let (port, pid) = (server.port(), server.pid());

    server.kill().await.unwrap();
    assert!(connect(&server.url("headroom")).await.is_err());
    server.restart().await.unwrap();

    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    let client = connect(&server.url("headroom")).await.unwrap();
    let row = client.query_one("SELECT number FROM kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 7);
}

/// The orphan keeps the shared memory of the killed server in use until it notices.
#[tokio::test]
async fn postgres_restarts_although_a_backend_of_the_killed_one_is_busy() {
    let folder = open_folder();
    let mut server = PostgresServer::start(postgres_options(&folder)).await.unwrap();
    let client = connect(&server.url("headroom")).await.unwrap();
    let watcher = connect(&server.url("headroom")).await.unwrap();
    let busy = "SELECT count(*) FROM generate_series(1, 5000000) AS busy";

    let (_either, ()) = tokio::join!(client.batch_execute(busy), async {
        until_busy(&watcher).await;
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    });

    connect(&server.url("headroom")).await.unwrap();
}

async fn until_busy(watcher: &tokio_postgres::Client) {
    let others = "SELECT 1 FROM pg_stat_activity \
        WHERE state = 'active' AND query LIKE '%AS busy' AND pid <> pg_backend_pid()";
    for _ in 0..10_000 {
        if !watcher.query(others, &[]).await.unwrap().is_empty() {
            return;
        }
    }
    panic!("the query never ran");
}

#[tokio::test]
async fn postgres_asks_for_its_password_and_takes_settings() {
    let folder = open_folder();
    let options = PostgresOptions {
        password: Some("p@ss/wörd".to_owned()),
        durable: true,
        extra: vec!["work_mem=7MB".to_owned()],
        ..postgres_options(&folder)
    };
    let server = PostgresServer::start(options).await.unwrap();

    let stranger = format!("postgres://headroom:wrong@127.0.0.1:{}/headroom", server.port());
    assert!(connect(&stranger).await.is_err());
    let client = connect(&server.url("headroom")).await.unwrap();
    let row = client.query_one("SHOW work_mem", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "7MB");
    assert!(!folder.path().join("postgres.password").exists());
}

#[tokio::test]
async fn postgres_leaves_no_process_behind_when_dropped() {
    let folder = open_folder();
    let server = PostgresServer::start(postgres_options(&folder)).await.unwrap();
    let family = family(server.pid());
    assert!(family.len() > 1, "{family:?}");

    drop(server);

    let left: Vec<_> = family.into_iter().filter(|pid| is_alive(*pid)).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Names the folder for [`servers_until_killed`], which runs in a process of its own.
const FOLDER_VARIABLE: &str = "EMBEDDED_SERVERS_FOLDER";

/// Not a test by itself: the process that the next test kills. Does nothing in a normal run.
#[tokio::test]
async fn servers_until_killed() {
    let mut variables = headroom::config::process_env().into_iter();
    let Some((_, dir)) = variables.find(|(name, _)| name == FOLDER_VARIABLE) else {
        return;
    };
    let redis = RedisServer::start(RedisOptions {
        dir: dir.clone().into(),
        append_only: true,
        ..RedisOptions::default()
    });
    let postgres =
        PostgresServer::start(PostgresOptions { dir: dir.into(), ..PostgresOptions::default() });
    let (redis, postgres) = (redis.await.unwrap(), postgres.await.unwrap());
    redis_command(&redis.url(), &["SET", "key", "value"]).await.unwrap();
    println!("\npids {} {}", redis.pid(), postgres.pid());
    tokio::time::timeout(Duration::from_mins(2), std::future::pending::<()>()).await.unwrap_err();
}

/// `headroom dev` that is killed cannot stop its servers, so the kernel does. The next one waits
/// for them to end, and finds their data.
#[tokio::test]
async fn the_servers_of_a_killed_process_end_and_the_next_process_takes_over() {
    let folder = open_folder();
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "embedded::servers_until_killed", "--nocapture"])
        .env(FOLDER_VARIABLE, folder.path())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let pids = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(pids) = line.strip_prefix("pids ") {
            break pids.to_owned();
        }
    };

    process.kill().await.unwrap();
    let redis = RedisServer::start(redis_options(&folder)).await.unwrap();
    let postgres = PostgresServer::start(postgres_options(&folder)).await.unwrap();

    for pid in pids.split(' ') {
        assert!(!is_alive(pid.parse().unwrap()), "{pid}");
    }
    let value = redis_command(&redis.url(), &["GET", "key"]).await.unwrap();
    assert_eq!(value, redis::Value::BulkString(b"value".to_vec()));
    connect(&postgres.url("headroom")).await.unwrap();
}

/// The kernel would take the end of the thread that started a server for the end of its parent.
#[test]
fn a_server_outlives_the_thread_that_asked_for_it() {
    let folder = open_folder();
    let options = redis_options(&folder);
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let start = move || runtime().block_on(RedisServer::start(options));

    let server = std::thread::spawn(start).join().unwrap().unwrap();

    // Redis looks at signals ten times a second, so it is kept waiting for longer than that.
    let waited = runtime().block_on(redis_command(&server.url(), &["BLPOP", "none", "0.4"]));
    assert_eq!(waited.unwrap(), redis::Value::Nil);
    assert!(is_alive(server.pid()));
}

/// A clone below a closed home folder: Postgres cannot run as root, nor enter as another user.
#[tokio::test]
async fn postgres_keeps_its_data_elsewhere_when_its_account_cannot_enter() {
    let closed =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();

    let server = PostgresServer::start(postgres_options(&closed)).await.unwrap();

    connect(&server.url("headroom")).await.unwrap();
    drop(server);
    if let Ok(data) = fs::read_link(closed.path().join("postgres")) {
        fs::remove_dir_all(data.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_missing_program_names_the_package_to_install() {
    let search = Search::in_folders(vec![Path::new("/nonexistent").to_owned()]);

    let redis = search.redis_server().unwrap_err().to_string();
    let postgres = search.postgres().unwrap_err().to_string();

    assert!(redis.contains("Debian package redis-server"), "{redis}");
    assert!(postgres.contains("Debian package postgresql"), "{postgres}");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let folder = open_folder();
    let options = RedisOptions {
        extra: vec!["--no-such-option".to_owned(), "1".to_owned()],
        ..redis_options(&folder)
    };

    let error = RedisServer::start(options).await.err().unwrap();

    assert!(matches!(error, EmbeddedError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("no-such-option"), "{error}");
}
