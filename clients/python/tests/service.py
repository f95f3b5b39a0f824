"""The real service, and a network before it that loses replies."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import httpx

REPOSITORY = Path(__file__).resolve().parents[3]
BINARY = os.environ.get("HEADROOM_BIN") or str(REPOSITORY / "target/debug/headroom")

#: A chat that also counts tokens.
CATALOGUE = """
metrics = ["messages", "premium_messages", "tokens"]
features = ["export"]
default_plan = "chat"

[plans.chat]
upgrade_url = "https://chat.example/upgrade"
limits = [
    { metric = "messages", period = "month", max = 100 },
    { metric = "premium_messages", period = "month", max = 20 },
    { metric = "tokens", period = "day", max = 50_000 },
]

[[models]]
names = ["claude-*"]
charges = { messages = 1, premium_messages = 1 }

[[models]]
names = ["mock-*"]
charges = { messages = 1 }
"""


#: Waits long for the stores, so that a busy machine changes nothing.
PATIENT = {
    "HEADROOM_SERVER_REQUEST_TIMEOUT_MS": "30000",
    "HEADROOM_POSTGRES_CONNECT_TIMEOUT_MS": "30000",
    "HEADROOM_REDIS_CONNECT_TIMEOUT_MS": "10000",
    "HEADROOM_REDIS_RESPONSE_TIMEOUT_MS": "10000",
}


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    admin_key: str
    backend_key: str
    redis_url: str
    postgres_url: str

    def used(self, subject: str, name: str) -> tuple[int, int]:
        """Units of a limit that are used and held, as the service itself says."""
        path = f"{self.url}/v1/subjects/{subject}/usage"
        answer = httpx.get(path, headers={"Authorization": f"Bearer {self.backend_key}"}, timeout=60)
        limit = next(one for one in answer.json()["limits"] if one["name"] == name)
        return limit["used"], limit["reserved"]


@contextmanager
def running(settings: dict[str, str] | None = None) -> Iterator[Service]:
    """`headroom dev` with a folder and stores of its own, stopped at the end."""
    with TemporaryDirectory(prefix="headroom-test-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        catalogue = Path(folder, "catalogue.toml")
        catalogue.write_text(CATALOGUE)
        others = {name: value for name, value in os.environ.items() if not name.startswith("HEADROOM_")}
        environment = {**others, **PATIENT, "HEADROOM_QUOTA_CATALOGUE": str(catalogue), **(settings or {})}
        command = [BINARY, "dev", "--listen", "127.0.0.1:0", "--data-dir", f"{folder}/data"]
        with Path(folder, "log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(Path(folder, "log").read_text())
            yield Service(**json.loads(line))
        finally:
            process.terminate()
            process.wait(timeout=60)


@dataclass(frozen=True)
class Seen:
    """A request that came through the network."""

    method: str
    path: str
    key: str | None
    body: Any


class Network:
    """Forwards to the service; what happens to the next replies is set in `faults`.

    `swallow` lets the service do what is asked and drops its reply; `pass` lets it answer; `hang` never answers; a
    number is answered as a status, without asking the service.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.faults: list[str | int] = []
        self.seen: list[Seen] = []
        self._arrived: SimpleQueue[Seen] = SimpleQueue()
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def next(self, path_end: str) -> Seen:
        """Waits for the next request whose path ends so."""
        while True:
            try:
                seen = self._arrived.get(timeout=30)
            except Empty:
                raise AssertionError(f"no request for {path_end} came") from None
            if seen.path.endswith(path_end):
                return seen

    def keys(self) -> list[str | None]:
        return [seen.key for seen in self.seen]

    def __enter__(self) -> Network:
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(network) -> type[BaseHTTPRequestHandler]:
        forwards = httpx.Client(timeout=60)

        class Handler(BaseHTTPRequestHandler):
            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                network._note(self, body)
                fault = network.faults.pop(0) if network.faults else None
                if fault == "hang":
                    network._over.wait(30)
                    return self._drop()
                if isinstance(fault, int):
                    return self._reply(fault, {"Retry-After": "0"}, b"")
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                answer = forwards.request(self.command, network.service.url + self.path, headers=headers, content=body)
                if fault == "swallow":
                    return self._drop()
                return self._reply(answer.status_code, dict(answer.headers), answer.content)

            def _reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "date", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _drop(self) -> None:
                self.close_connection = True

            do_GET = do_POST = _forward

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _note(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        key = handler.headers.get("Idempotency-Key")
        seen = Seen(handler.command, handler.path, key, json.loads(body) if body else None)
        self.seen.append(seen)
        self._arrived.put(seen)


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def program(command: list[str], port: int, log: Path, **settings: Any) -> Iterator[str]:
    """Somebody else's server, which is up once it listens on `port`; gives its URL, and is stopped at the end."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **settings)
    try:
        ends_at = time.monotonic() + 180
        while not _listens(port):
            assert process.poll() is None, f"{command[0]} ended: {log.read_text()}"
            assert time.monotonic() < ends_at, f"{command[0]} does not listen: {log.read_text()}"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
