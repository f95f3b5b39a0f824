"""Who is compared: how each is started, and what it needs to begin with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stores import HEADROOM, REPOSITORY, Stores

FOLDER = Path(__file__).resolve().parent
DATABASE = "peers"
READY_S = 60


@dataclass(frozen=True)
class Server:
    """A server that answers; `pid` is the root of its processes."""

    url: str
    pid: int


@dataclass(frozen=True)
class Peer:
    name: str
    command: Callable[[int], list[str]]
    settings: dict[str, str] = field(default_factory=dict)
    #: Whether a second Headroom flushes.
    has_flusher: bool = False
    #: Whether its requests wait for Postgres, whose time is then theirs.
    waits_for_postgres: bool = False
    #: Whether it decides anything.
    decides: bool = True
    #: Fills its tables, once it has run for the first time.
    prepare: Callable[[Stores, int], None] = lambda stores, subjects: None
    is_headroom: bool = False


def peers(workers: int) -> list[Peer]:
    """Everyone but the one that pgbench calls. All that is written in Rust has so many worker threads."""
    node = ["node", "--no-warnings"]
    threads = {"TOKIO_WORKER_THREADS": str(workers), "HEADROOM_SERVER_WORKER_THREADS": str(workers)}
    serve = [str(HEADROOM), "serve"]
    bare = [str(HEADROOM.with_name("headroom-bench")), "bare"]
    limitador = str(REPOSITORY / "target/peers/release/headroom-bench-limitador")
    uvicorn = [str(REPOSITORY / "target/peers-python/bin/uvicorn"), "app:app", "--no-access-log", "--workers", "2"]
    api, whole = ({"HEADROOM_ROLE": role, **threads} for role in ("api", "all"))
    flexible = [*node, str(FOLDER / "fastify/flexible.js")]
    document = [*node, str(FOLDER / "fastify/document002.js")]
    return [
        Peer("Headroom", lambda _: serve, api, has_flusher=True, is_headroom=True),
        Peer("Headroom, flusher within", lambda _: serve, whole, is_headroom=True),
        Peer("bare axum handler", lambda port: [*bare, f"127.0.0.1:{port}", str(workers)], decides=False),
        Peer("limitador, axum", lambda _: [limitador], threads),
        Peer("rate-limiter-flexible, Fastify", lambda _: flexible),
        Peer("the same with auto-pipelining", lambda _: flexible, {"AUTO_PIPELINING": "yes"}),
        Peer("limits, FastAPI", lambda port: [*uvicorn, "--port", str(port), "--app-dir", str(FOLDER / "fastapi")]),
        Peer("document 002, Fastify", lambda _: document, waits_for_postgres=True, prepare=fill_document),
    ]


def fill_document(stores: Stores, subjects: int) -> None:
    """Everybody has used something before, so that most are found in Redis."""
    known = f"SELECT 'user:u_' || n, 1, 1 FROM generate_series(1, {subjects}) n"
    stores.sql(
        f"INSERT INTO user_usage (user_id, total_messages, premium_messages) {known} ON CONFLICT DO NOTHING", DATABASE
    )
    value = '"{\\"messages\\":1,\\"premium\\":1}"'
    sets = (f"SET document002:user:u_{number} {value} EX 3600\n" for number in range(1, subjects + 1))
    stores.redis(text="".join(sets))


@contextmanager
def running(peer: Peer, stores: Stores) -> Iterator[Server]:
    with ExitStack() as stack:
        if peer.has_flusher:
            stack.enter_context(process(peer, [str(HEADROOM), "serve"], stores, {"HEADROOM_ROLE": "background"}))
        port = free_port()
        yield stack.enter_context(process(peer, peer.command(port), stores, peer.settings, port))


@contextmanager
def process(
    peer: Peer, command: list[str], stores: Stores, settings: dict[str, str], port: int = 0
) -> Iterator[Server]:
    port = port or free_port()
    database = "headroom" if peer.is_headroom else DATABASE
    environment = {
        **os.environ,
        "PORT": str(port),
        "REDIS_URL": stores.redis_url,
        "DATABASE_URL": stores.url_of(database),
        "HEADROOM_SERVER_LISTEN": f"127.0.0.1:{port}",
        "HEADROOM_LOG_LEVEL": "warn",
        **settings,
    }
    log = stores.folder / "peers.log"
    with log.open("a") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_ready(url, child, log)
        yield Server(url, child.pid)
    finally:
        child.terminate()
        child.wait(timeout=60)


def wait_ready(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    ends_at = time.monotonic() + READY_S
    while time.monotonic() < ends_at and child.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    sys.exit(f"{child.args!r} is not ready:\n{log.read_text()[-4_000:]}")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
