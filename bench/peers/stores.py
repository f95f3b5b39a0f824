"""A Redis and a Postgres for all, which `headroom dev` starts, and what processes cost."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).resolve().parents[2]
HEADROOM = REPOSITORY / "target/release/headroom"
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
DRAIN_S = 300

#: Nobody is refused but subjects of the scope `small`, which have the limits of the chat.
CATALOGUE = """
metrics = ["messages", "premium_messages"]
default_plan = "large"
scope_plans = { small = "small" }

[plans.large]
limits = [
    { metric = "messages", period = "month", max = 1_000_000_000 },
    { metric = "premium_messages", period = "month", max = 1_000_000_000 },
]

[plans.small]
limits = [
    { metric = "messages", period = "month", max = 100 },
    { metric = "premium_messages", period = "month", max = 20 },
]

[[models]]
names = ["claude-*"]
charges = { messages = 1, premium_messages = 1 }

[[models]]
names = ["*"]
charges = { messages = 1 }
"""


@dataclass(frozen=True)
class Stores:
    """Both stores, and the key that Headroom's load has."""

    folder: Path
    redis_url: str
    postgres_url: str
    api_key: str
    redis_pid: int
    postgres_pid: int

    def redis(self, *command: str, text: str | None = None) -> str:
        return output(["redis-cli", "-u", self.redis_url, "--no-auth-warning", *command], text)

    def sql(self, text: str, database: str = "headroom") -> str:
        return output(["psql", self.url_of(database), "-v", "ON_ERROR_STOP=1", "-qAt", "-c", text])

    def url_of(self, database: str) -> str:
        return self.postgres_url.rsplit("/", 1)[0] + "/" + database

    def wait_flushed(self) -> None:
        """Waits until all of Headroom's outbox is in Postgres, so that nobody pays for another's events."""
        ends_at = time.monotonic() + DRAIN_S
        while time.monotonic() < ends_at:
            cursors = [line.split("|") for line in self.sql("SELECT shard, seq FROM outbox_cursors").split()]
            if all(self.redis("HGET", f"hr:{{{shard}}}:meta", "seq").strip() == seq for shard, seq in cursors):
                return
            time.sleep(0.2)
        raise RuntimeError("the flusher does not come to an end")


@contextmanager
def started() -> Iterator[Stores]:
    """`headroom dev` with a folder of its own; its node answers nobody and flushes nothing."""
    with TemporaryDirectory(prefix="headroom-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        catalogue = folder / "catalogue.toml"
        catalogue.write_text(CATALOGUE)
        settings = {"HEADROOM_ROLE": "api", "HEADROOM_QUOTA_CATALOGUE": str(catalogue), "HEADROOM_LOG_LEVEL": "warn"}
        command = [HEADROOM, "dev", "--listen", "127.0.0.1:0", "--data-dir", folder / "data"]
        with (folder / "stores.log").open("w") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **settings}
            )
        try:
            yield of_ready_line(folder, process)
        finally:
            process.terminate()
            process.wait(timeout=120)


def of_ready_line(folder: Path, process: subprocess.Popen[str]) -> Stores:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError((folder / "stores.log").read_text())
    ready = json.loads(line)
    urls = (ready["redis_url"], ready["postgres_url"], ready["backend_key"])
    stores = Stores(folder, *urls, redis_pid=0, postgres_pid=0)
    # Whether a rewrite of the append-only file falls into a case is chance.
    stores.redis("CONFIG", "SET", "auto-aof-rewrite-percentage", "0")
    info = dict(line.split(":", 1) for line in stores.redis("INFO", "server").split("\n") if ":" in line)
    data = Path(stores.sql("SHOW data_directory").strip())
    postmaster = int((data / "postmaster.pid").read_text().split("\n")[0])
    return Stores(folder, *urls, redis_pid=int(info["process_id"]), postgres_pid=postmaster)


def output(command: list[str], text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr or done.stdout}")
    return done.stdout


def cpu_us(root: int) -> float:
    """User and system time of a process, its descendants, and those of its children that have ended."""
    times = {int(path.name): stat_of(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    parents = {pid: int(fields[1]) for pid, fields in times.items() if fields}

    def is_within(pid: int) -> bool:
        while pid not in (0, root):
            pid = parents.get(pid, 0)
        return pid == root

    own = sum(int(fields[11]) + int(fields[12]) for pid, fields in times.items() if fields and is_within(pid))
    ended = int(times[root][13]) + int(times[root][14])
    return (own + ended) * TICK_US


def stat_of(path: Path) -> list[str]:
    """The fields of `stat` after the name, which may hold anything; none when the process has just ended."""
    try:
        return (path / "stat").read_text().rsplit(") ", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
