//! A private Postgres for these tests, and a fresh database for each of them.
#![expect(clippy::unwrap_used, reason = "a test whose surroundings cannot be made must stop")]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Metric;
use headroom::domain::Period;
use headroom::domain::Tally;
use headroom::domain::Window;
use headroom::domain::event::Delta;
use headroom::domain::event::Deltas;
use headroom::ledger::Act;
use headroom::ledger::Action;
use headroom::ledger::Batch;
use headroom::ledger::FlushGuards;
use headroom::ledger::Flushed;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;
use headroom::ledger::LedgerOptions;
use tokio_postgres::Client;
use tokio_postgres::NoTls;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

// The server runs for as long as the shell's standard input is open, which the end of this process closes, however it
// ends. It listens on a socket in its own folder, so there is no port to collide on.
const RUN_SERVER: &str = r#"
set -eu
run=""
if [ "$(id -u)" = 0 ]; then
    chown postgres "$1"
    run="setpriv --reuid=postgres --regid=postgres --init-groups"
fi
cd "$1"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
PATH="$bin:$PATH"
$run initdb --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --no-sync >initdb.log 2>&1
$run pg_ctl --pgdata=data --wait --log=postgres.log --options="-c listen_addresses='' \
    -c unix_socket_directories='$1' -c fsync=off -c max_connections=300" start >pg_ctl.log 2>&1
echo ready
read -r _ || true
$run pg_ctl --pgdata=data --wait --mode=immediate stop >>pg_ctl.log 2>&1 || true
rm -rf "$1"
"#;

/// A running server.
pub struct Server {
    folder: PathBuf,
    shell: Mutex<Child>,
}

impl Server {
    /// Starts a server of its own.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("hr-pg-").tempdir().unwrap().keep();
        let mut shell = Command::new("sh")
            .args(["-c", RUN_SERVER, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "{}", logs(&folder));
        Self { folder, shell: Mutex::new(shell) }
    }

    /// The server that the tests of this process share.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Stops the server and waits for its end.
    pub fn stop(&self) {
        let mut shell = self.shell.lock().unwrap();
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }

    fn url(&self, user: &str, database: &str) -> String {
        format!("host={} user={user} dbname={database}", self.folder.display())
    }

    /// A new database, without any tables.
    pub async fn database(&self) -> Database {
        self.database_with("").await
    }

    async fn database_with(&self, options: &str) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // From `template0`, which nobody is ever connected to.
        let admin = Database { folder: self.folder.clone(), url: self.url("postgres", "postgres") };
        admin.run(&format!("CREATE DATABASE {name} TEMPLATE template0 {options}")).await;
        Database { folder: self.folder.clone(), url: self.url("postgres", &name) }
    }
}

fn logs(folder: &Path) -> String {
    let mut all = String::new();
    for name in ["initdb.log", "pg_ctl.log", "postgres.log"] {
        let Ok(mut file) = fs::File::open(folder.join(name)) else { continue };
        file.read_to_string(&mut all).unwrap();
    }
    format!("owner {}: {all}", fs::metadata(folder).unwrap().uid())
}

/// A database of one test.
pub struct Database {
    folder: PathBuf,
    /// How its owner connects.
    pub url: String,
}

impl Database {
    /// How another role connects.
    pub fn url_of(&self, user: &str) -> String {
        self.url.replacen("user=postgres", &format!("user={user}"), 1)
    }

    /// Runs statements past the ledger.
    pub async fn run(&self, sql: &str) {
        self.try_run(&self.url, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Runs statements as `url` says, and answers the SQLSTATE of a failure.
    pub async fn try_run(&self, url: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
        assert!(self.folder.exists());
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::select! {
            outcome = client.batch_execute(sql) => outcome,
            ended = connection => ended,
        }
    }

    /// One number out of the database.
    pub async fn number(&self, sql: &str) -> i64 {
        self.rows(sql, &[]).await[0].get(0)
    }

    /// How Postgres would run a statement with those parameters, once it knows how much each table holds.
    pub async fn plan(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> String {
        self.run("VACUUM ANALYZE").await;
        let rows = self.rows(&format!("EXPLAIN (ANALYZE, TIMING OFF) {sql}"), params).await;
        rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
    }

    /// What `work` answers when it is given a connection past the ledger.
    pub async fn with<T>(&self, work: impl AsyncFnOnce(&mut Client) -> T) -> T {
        let (mut client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::select! {
            answer = work(&mut client) => answer,
            _ = connection => panic!("the connection ended"),
        }
    }

    async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.with(async |client| client.query(sql, params).await.unwrap()).await
    }
}

/// How a ledger is opened in these tests.
pub fn options(url: &str) -> LedgerOptions {
    LedgerOptions {
        url: url.to_owned(),
        pool_max: 4,
        connect_timeout_ms: 5_000,
        statement_timeout_ms: 20_000,
    }
}

/// A ledger of 4 shards in a database of its own on the shared server.
pub async fn ledger() -> (Database, Ledger) {
    let database = Server::shared().database().await;
    Ledger::migrate(&database.url, 4).await.unwrap();
    let ledger = Ledger::connect(&options(&database.url)).unwrap();
    (database, ledger)
}

/// A ledger whose texts are ordered as in English and not by their bytes, which this machine may do by itself.
pub async fn ledger_in_english() -> (Database, Ledger) {
    let english = "LOCALE_PROVIDER icu ICU_LOCALE 'en'";
    let database = Server::shared().database_with(english).await;
    Ledger::migrate(&database.url, 4).await.unwrap();
    let ledger = Ledger::connect(&options(&database.url)).unwrap();
    (database, ledger)
}

/// A new database on the shared server, without any tables.
pub async fn empty_database() -> Database {
    Server::shared().database().await
}

/// What an admin does to `target` with the key `k_1`.
pub const fn act(action: Action, target: &str) -> Act<'_> {
    Act { actor: "k_1", action, target, reason: Some("a test"), request_id: Some("r_1") }
}

/// The day that the tests' events happen on: 2026-11-22 (UTC).
pub const DAY: Window = Window { start_s: 1_795_305_600, end_s: 1_795_392_000 };

/// A delta on the day's counter of a metric.
pub fn delta(depth: u8, metric: &str, units: i64) -> Delta {
    let metric = Metric::new(metric).unwrap();
    let (grant, tally, after, limit) = (None, Tally::Used, None, None);
    Delta { depth, metric, period: Period::Day, window: DAY, grant, tally, units, after, limit }
}

/// Deltas that events share.
pub fn deltas(lines: Vec<Delta>) -> Arc<Deltas> {
    Arc::new(Deltas { plan: "pro".to_owned(), lines, late: false, overage: false })
}

/// A UUID (version 7) of that instant, unlike any other.
pub fn id_at(at_ms: i64) -> Uuid {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut random = [0; 10];
    random[6..].copy_from_slice(&number);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(at_ms).unwrap(), &random).into_uuid()
}

/// A consume of `deltas` on `subject`, an hour into the day.
pub fn consume(seq: u64, subject: &str, deltas: &Arc<Deltas>) -> Event {
    let occurred_at_ms = (DAY.start_s + 3_600) * 1_000 + i64::try_from(seq).unwrap();
    Event {
        seq,
        event_id: id_at(occurred_at_ms),
        occurred_at_ms,
        kind: EventKind::Consume,
        subject: subject.to_owned(),
        model: Some("claude-4".to_owned()),
        amount: 1,
        until_s: None,
        of: None,
        deltas: Arc::clone(deltas),
        request_id: None,
        trace_id: None,
        metadata: None,
    }
}

/// One message a day of `subject`'s root.
pub fn message(seq: u64, subject: &str) -> Event {
    consume(seq, subject, &deltas(vec![delta(1, "messages", 1)]))
}

/// A batch of shard 1 in its first epoch that holds `events`.
pub fn batch(from_seq: u64, events: Vec<Event>) -> Batch {
    let to_seq = from_seq + events.len() as u64;
    Batch { shard: 1, epoch: 1, from_seq, to_seq, events, dead: vec![], forget: vec![] }
}

/// Flushes with every guard.
pub async fn flush(ledger: &Ledger, batch: &Batch) -> Result<Flushed, LedgerError> {
    ledger.flush(batch, FlushGuards::default()).await
}

/// What the day's counter of a subject and metric says; none when there is none.
pub async fn used(ledger: &Ledger, subject: &str, metric: &str) -> Option<i64> {
    let base = ledger.base(1, &[subject], DAY.start_at()).await.unwrap();
    base.counters.into_iter().find(|counter| counter.metric == metric).map(|counter| counter.used)
}

/// Asserts I1: every counter is the sum of the log.
pub async fn assert_sums_agree(ledger: &Ledger) {
    assert_eq!(ledger.log_sums_differ(10).await.unwrap(), []);
}
