//! Child processes that answer HTTP, and the CPU time that processes take.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::Failure;
use crate::program;
use crate::wire::Wire;

/// The kernel counts CPU time in hundredths of a second for every program.
const TICK_US: f64 = 10_000.0;
const START_TRIES: usize = 1_000;
const START_PAUSE: Duration = Duration::from_millis(10);

/// A process of ours, killed when this is dropped.
pub(crate) struct Child {
    process: tokio::process::Child,
    pid: u32,
    pub(crate) address: SocketAddr,
}

impl Child {
    /// The bare handler, as another process of this program.
    pub(crate) async fn bare(log: &Path, workers: usize) -> Result<Self, Failure> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").arg(address.to_string()).arg(workers.to_string());
        Self::spawn(command, address, log).await
    }

    /// `headroom serve` with the given settings.
    pub(crate) async fn serve<V: AsRef<OsStr>>(
        log: &Path,
        settings: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Result<Self, Failure> {
        let address = free_address()?;
        let mut command = Command::new(program::headroom()?);
        command.arg("serve").env("HEADROOM_SERVER_LISTEN", address.to_string()).envs(settings);
        Self::spawn(command, address, log).await
    }

    async fn spawn(mut command: Command, address: SocketAddr, log: &Path) -> Result<Self, Failure> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let process = command.spawn()?;
        let pid = process.id().ok_or("the child ended at once")?;
        let mut child = Self { process, pid, address };
        child.wait_ready().await?;
        Ok(child)
    }

    async fn wait_ready(&mut self) -> Result<(), Failure> {
        for _ in 0..START_TRIES {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("a child ended with {status}").into());
            }
            if self.is_ready().await.unwrap_or(false) {
                return Ok(());
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        Err("a child did not become ready".into())
    }

    async fn is_ready(&self) -> Result<bool, Failure> {
        let mut wire = Wire::connect(self.address).await?;
        Ok(wire.call(b"GET /readyz HTTP/1.1\r\nhost: bench\r\n\r\n").await? == 200)
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        Ok(self.process.kill().await?)
    }
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok((Ipv4Addr::LOCALHOST, headroom::embedded::free_port()?).into())
}

/// The CPU time that the processes have taken so far, in microseconds.
pub(crate) fn cpu_us(pids: &[u32]) -> Result<f64, Failure> {
    let mut ticks = 0.0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything; the 12th and 13th field after it are user and system time.
        let rest = stat.rsplit_once(") ").ok_or("an unknown form of /proc/<pid>/stat")?.1;
        let times = rest.split(' ').skip(11).take(2);
        ticks += times.filter_map(|time| time.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(ticks * TICK_US)
}
