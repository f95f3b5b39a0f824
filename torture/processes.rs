//! Signals, copies and disks: what the nemesis does by the system's own programs.

use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Child;
use tokio::process::Command;

use crate::Failure;

/// Room for Redis' files, where they have a disk of their own.
const DISK_SIZE: &str = "size=96m";
const FILLER: &str = "filler";

/// Sends a signal to a process that we started.
pub(crate) async fn signal(pid: u32, name: &str) -> Result<(), Failure> {
    run("/bin/sh", ["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).await
}

/// Sends a signal to a child, when there is one.
pub(crate) async fn signal_child(child: Option<&Child>, name: &str) -> Result<(), Failure> {
    match child.and_then(Child::id) {
        Some(pid) => signal(pid, name).await,
        None => Ok(()),
    }
}

/// Sends SIGKILL to a child, when there is one, and waits for its end.
pub(crate) async fn kill(child: &mut Option<Child>) -> Result<(), Failure> {
    if let Some(mut child) = child.take() {
        child.kill().await?;
    }
    Ok(())
}

/// Sends a signal to a process and its children, some of which may have ended meanwhile.
pub(crate) async fn signal_family(pid: u32, name: &str) -> Result<(), Failure> {
    signal(pid, name).await?;
    for child in children_of(pid)? {
        let _ended = signal(child, name).await;
    }
    Ok(())
}

fn children_of(pid: u32) -> Result<Vec<u32>, Failure> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended since the folder was read.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if parent.and_then(|parent| parent.parse().ok()) == Some(pid) {
            children.push(child);
        }
    }
    Ok(children)
}

/// Makes `to` what `from` is, owners and all. Files may change meanwhile: the copy is then one that a crash could have left.
pub(crate) async fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if to.exists() {
        empty(to)?;
    }
    std::fs::create_dir_all(to)?;
    let inside = from.join(".");
    run("cp", [OsStr::new("-a"), inside.as_os_str(), to.as_os_str()]).await
}

/// Removes what is in a folder, which may be a disk of its own.
fn empty(folder: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}

async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().await?;
    if status.success() { Ok(()) } else { Err(format!("{program} ended with {status}").into()) }
}

/// A disk in memory, for Redis' files.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts it; `None` where that is not allowed.
    pub(crate) async fn mount(folder: &Path) -> Result<Option<Self>, Failure> {
        std::fs::create_dir_all(folder)?;
        let words = ["-t", "tmpfs", "-o", DISK_SIZE, "tmpfs"].map(OsStr::new);
        let mounted = run("mount", words.into_iter().chain([folder.as_os_str()])).await;
        Ok(mounted.is_ok().then(|| Self(folder.to_owned())))
    }

    /// Leaves no byte free.
    pub(crate) async fn fill(&self) -> Result<(), Failure> {
        let filler = format!("of={}", self.0.join(FILLER).display());
        // It ends with an error when the disk is full, as it should.
        let _full = run("dd", ["if=/dev/zero", &filler, "bs=64k"]).await;
        Ok(())
    }

    pub(crate) fn clear(&self) -> Result<(), Failure> {
        Ok(std::fs::remove_file(self.0.join(FILLER))?)
    }
}

impl Drop for Disk {
    /// Whatever ends the run, no disk stays behind.
    fn drop(&mut self) {
        let mut umount = std::process::Command::new("umount");
        let _left_behind = umount.arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}
