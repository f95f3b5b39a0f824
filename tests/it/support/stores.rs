//! Private stores: a Redis of the test's own, and a database of its own in a Postgres that the tests share.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headroom::embedded::PostgresOptions;
use headroom::embedded::PostgresServer;
use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use headroom::ledger::Ledger;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

use super::recorder::Recorder;

/// A client whose connection is driven by a task of its own.
pub type PostgresClient = tokio_postgres::Client;

/// The shards of a database under test.
pub const SHARDS: u16 = 2;
/// The migrated database that the tests' databases are copied from.
const TEMPLATE: &str = "template_headroom";
/// What the folder of the shared Postgres is called, before the process id.
const SHARED_PREFIX: &str = "headroom-test-shared-";

/// Where Linux keeps files in memory, and the room that tests which run beside one another may need there.
const MEMORY: &str = "/dev/shm";
const MEMORY_ROOM_MIN: u64 = 4 << 30;

/// Names a folder that keeps the shared Postgres with its template. The first process makes it, later ones, as they are started
/// by the thousand where mutants are tried, copy it and save most of their start.
const KEPT: &str = "HEADROOM_TEST_POSTGRES";

static SHARED: OnceCell<Shared> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The Postgres that the tests share. It ends with the process.
struct Shared {
    server: PostgresServer,
    _folder: TempDir,
}

/// The stores of one test.
pub struct Stores {
    _recorder: Option<Recorder>,
    pub redis: RedisServer,
    /// The server behind `postgres_url`, when it is the test's own.
    pub postgres: Option<PostgresServer>,
    pub postgres_url: String,
    folder: TempDir,
}

impl Stores {
    /// A Redis with an append-only file, and a migrated database: in the shared Postgres, or in one of the test's own.
    pub async fn start(own_postgres: bool) -> Self {
        let folder = open_folder();
        let redis = RedisServer::start(RedisOptions {
            dir: folder.path().to_owned(),
            append_only: true,
            ..RedisOptions::default()
        });
        let (redis, (postgres, postgres_url)) = if own_postgres {
            tokio::join!(redis, own_database(folder.path()))
        } else {
            tokio::join!(redis, shared_database())
        };
        let redis = redis.unwrap();
        let recorder = Recorder::start(&redis);
        Self { _recorder: recorder, redis, postgres, postgres_url, folder }
    }

    /// A folder that goes with the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Removes the database from the shared Postgres. Hundreds of them would take gigabytes.
    pub async fn remove_database(&self) {
        let Some((server, name)) = self.postgres_url.rsplit_once('/') else { return };
        if self.postgres.is_some() {
            return;
        }
        let client = connect(&format!("{server}/postgres")).await;
        client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }

    /// A connection to Redis.
    pub async fn redis_connection(&self) -> redis::aio::MultiplexedConnection {
        connect_redis(&self.redis).await
    }

    /// A client of Postgres.
    pub async fn postgres_client(&self) -> PostgresClient {
        connect(&self.postgres_url).await
    }
}

/// A connection to a Redis, which waits long for answers.
pub async fn connect_redis(server: &RedisServer) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    let patient = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(30)))
        .set_response_timeout(Some(Duration::from_secs(30)));
    client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}

/// A folder that the account of Postgres can enter, for one test: in memory where there is room, since a disk that pauses for
/// seconds while several stores sync to it would fail a test that is right.
pub fn open_folder() -> TempDir {
    folder_in(memory_or_disk(), "headroom-test-")
}

fn memory_or_disk() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| memory_with_room().unwrap_or_else(std::env::temp_dir))
}

/// Where files are kept in memory, unless it is too small, as it is in a container with no more than the default.
fn memory_with_room() -> Option<PathBuf> {
    let shown = ["--output=avail", "--block-size=1", MEMORY];
    let shown = std::process::Command::new("df").args(shown).output().ok()?;
    let available: u64 =
        String::from_utf8(shown.stdout).ok()?.lines().nth(1)?.trim().parse().ok()?;
    (available >= MEMORY_ROOM_MIN).then(|| PathBuf::from(MEMORY))
}

/// A folder at that place that every account can enter.
pub fn folder_in(place: &Path, prefix: &str) -> TempDir {
    let mut folder = tempfile::Builder::new();
    folder.prefix(prefix).permissions(Permissions::from_mode(0o755)).tempdir_in(place).unwrap()
}

/// A client of the database behind `url`.
pub async fn connect(url: &str) -> PostgresClient {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    headroom::background::Supervisor::new().spawn("postgres", async {
        // It ends with the client, or with the server that a test stops.
        let _ = connection.await;
    });
    client
}

/// Removes the shared folders of runs that have ended: nothing is dropped at the end of a process.
fn remove_left_behind(place: &Path) {
    for entry in std::fs::read_dir(place).unwrap().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(SHARED_PREFIX));
        let Some((pid, _)) = pid.and_then(|rest| rest.split_once('-')) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            // Another run may remove it at the same time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

async fn own_database(folder: &Path) -> (Option<PostgresServer>, String) {
    let options = PostgresOptions { dir: folder.to_owned(), ..PostgresOptions::default() };
    let server = PostgresServer::start(options).await.unwrap();
    let url = server.url("headroom");
    Ledger::migrate(&url, SHARDS).await.unwrap();
    (Some(server), url)
}

async fn shared_database() -> (Option<PostgresServer>, String) {
    let shared = SHARED.get_or_init(start_shared).await;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let client = connect(&shared.server.url("postgres")).await;
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await.unwrap();
    (None, shared.server.url(&name))
}

async fn start_shared() -> Shared {
    let kept = std::env::var_os(KEPT).map(PathBuf::from);
    // Hundreds of databases: on the disk, but with nothing synced. A run of a few tests has few of them.
    let place = kept.as_ref().map_or_else(std::env::temp_dir, |_| memory_or_disk().to_owned());
    remove_left_behind(&place);
    let name = format!("{SHARED_PREFIX}{}-", std::process::id());
    let folder = folder_in(&place, &name);
    let options =
        || PostgresOptions { dir: folder.path().to_owned(), ..PostgresOptions::default() };
    if let Some(kept) = kept.as_deref().filter(|kept| kept.exists()) {
        copy(kept, folder.path());
        return Shared { server: PostgresServer::start(options()).await.unwrap(), _folder: folder };
    }
    let mut server = PostgresServer::start(options()).await.unwrap();
    let client = connect(&server.url("postgres")).await;
    client.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
    Ledger::migrate(&server.url(TEMPLATE), SHARDS).await.unwrap();
    if let Some(kept) = kept {
        server.stop().await.unwrap();
        let making = kept.with_extension(std::process::id().to_string());
        copy(folder.path(), &making);
        if std::fs::rename(&making, &kept).is_err() {
            // Another process was quicker.
            assert!(kept.exists(), "{} was not made", kept.display());
            std::fs::remove_dir_all(&making).unwrap();
        }
        server.restart().await.unwrap();
    }
    Shared { server, _folder: folder }
}

/// Copies what is in a folder, with its owners, into another, which is made.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let done = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    assert!(done.unwrap().success(), "{} was not copied", from.display());
}
