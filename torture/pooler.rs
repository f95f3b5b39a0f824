//! PgBouncer, which pools sessions between nodes and Postgres.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::sleep;

use crate::Failure;
use crate::processes::kill;
use crate::processes::signal_child;

const START_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// One PgBouncer. It ends with this.
pub(crate) struct Pooler {
    port: u16,
    settings: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Pooler {
    /// Starts it in front of the Postgres on that port; `None` where it is not installed. Beside the mode its settings are
    /// Debian's, but that it gives up and tries again within seconds, as nodes do.
    pub(crate) async fn start(dir: &Path, postgres: u16) -> Result<Option<Self>, Failure> {
        let port = headroom::embedded::free_port()?;
        let settings = dir.join("pgbouncer.ini");
        let text = format!(
            "[databases]\nheadroom = host=127.0.0.1 port={postgres} user=headroom\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = session\nmax_client_conn = 200\n\
             default_pool_size = 60\nserver_login_retry = 1\nserver_connect_timeout = 3\n\
             query_wait_timeout = 5\n"
        );
        std::fs::write(&settings, text)?;
        let log = dir.join("pgbouncer.log");
        let mut pooler = Self { port, settings, log, child: None };
        let started = pooler.revive().await;
        let is_missing = started.as_ref().is_err_and(|failure| {
            let cause = failure.downcast_ref::<std::io::Error>();
            cause.is_some_and(|cause| cause.kind() == ErrorKind::NotFound)
        });
        if is_missing {
            return Ok(None);
        }
        started.map(|()| Some(pooler))
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Starts it if it does not run, and waits until it takes connections.
    pub(crate) async fn revive(&mut self) -> Result<(), Failure> {
        if self.child.is_none() {
            self.child = Some(self.spawn()?);
        }
        let began_at = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if began_at.elapsed() > START_WITHIN {
                return Err(format!("pgbouncer does not start, see {}", self.log.display()).into());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Child, Failure> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new("pgbouncer");
        // It refuses to run as root.
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            command.args(["-u", "nobody"]);
        }
        command.arg(&self.settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(command.kill_on_drop(true).spawn()?)
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        kill(&mut self.child).await
    }

    /// `STOP` or `CONT`.
    pub(crate) async fn signal(&self, name: &str) -> Result<(), Failure> {
        signal_child(self.child.as_ref(), name).await
    }
}
