"""The load, what it costs, and whether the answers to a burst are exact."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from peers import DATABASE, FOLDER, Peer, Server
from stores import Stores, cpu_us, output

CONNECTIONS = 64
BURST = 500
#: pgbench has a session for each of its clients; each asks five times.
BURST_CLIENTS = 100
_runs = itertools.count(int(time.time()) % 100_000 * 1_000)


@dataclass(frozen=True)
class Measured:
    """A turn: rates in requests a second, times in microseconds, CPU time a request."""

    rate: float
    p50_us: float
    p99_us: float
    server_us: float
    redis_us: float
    postgres_us: float
    waits_for_postgres: bool = False

    @property
    def cpu_us(self) -> float:
        """What a request costs: the server and Redis, and Postgres where the request waits for it."""
        return self.server_us + self.redis_us + (self.postgres_us if self.waits_for_postgres else 0)


@dataclass(frozen=True)
class Exact:
    """How many of 500 passed a limit of 100; of 500 premium ones a limit of 20; of 500 others the 80 then left."""

    one: int
    premium: int
    others: int


def wrk(server: Server, stores: Stores, seconds: float, subjects: int, first: int | None = None) -> dict[str, int]:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", str(FOLDER / "consume.lua"), server.url]
    arguments = [stores.api_key, str(next(_runs)), str(subjects), *([] if first is None else [str(first)])]
    result: dict[str, int] = json.loads(output([*command, "--", *arguments]).strip().split("\n")[-1])
    if result["refused"] or result["failed"]:
        raise RuntimeError(f"{server.url} did not accept all: {result}")
    return result


def touch_all(server: Server, stores: Stores, subjects: int) -> None:
    """Charges every subject, so that none has to be loaded later."""
    done = 0
    while done < subjects:
        done += wrk(server, stores, 2, subjects, done + 1)["requests"] - CONNECTIONS


def measure(peer: Peer, server: Server, stores: Stores, seconds: float, subjects: int) -> Measured:
    pids = [server.pid, stores.redis_pid, stores.postgres_pid]
    before = [cpu_us(pid) for pid in pids]
    result = wrk(server, stores, seconds, subjects)
    spent = [(cpu_us(pid) - earlier) / result["requests"] for pid, earlier in zip(pids, before, strict=True)]
    rate = result["requests"] / result["duration_us"] * 1_000_000
    return Measured(rate, result["p50_us"], result["p99_us"], *spent, peer.waits_for_postgres)


def burst(server: Server, stores: Stores, run: int) -> Exact:
    def passed(subject: str, model: str) -> int:
        return asyncio.run(passed_at_once(server, stores, f"small:{run}{subject}", model))

    return Exact(passed("a", "gpt-4o"), passed("b", "claude-sonnet-4"), passed("b", "gpt-4o"))


async def passed_at_once(server: Server, stores: Stores, subject: str, model: str) -> int:
    """Opens a connection for each request, then sends all at once."""
    host, port = server.url.removeprefix("http://").split(":")
    streams = [await asyncio.open_connection(host, int(port)) for _ in range(BURST)]
    body = json.dumps({"subject": subject, "model": model})
    for number, (_, writer) in enumerate(streams):
        head = [
            "POST /v1/consume HTTP/1.1",
            "Host: bench",
            f"Authorization: Bearer {stores.api_key}",
            "Content-Type: application/json",
            f'Idempotency-Key: "{subject}-{model}-{number}"',
            f"Content-Length: {len(body)}",
        ]
        writer.write("\r\n".join([*head, "", body]).encode())
    statuses = await asyncio.gather(*(status_of(*stream) for stream in streams))
    if set(statuses) - {200, 429}:
        raise RuntimeError(f"statuses of a burst: {sorted(set(statuses))}")
    return statuses.count(200)


async def status_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


class Pgbench:
    """A function in Postgres, which pgbench calls in serializable transactions."""

    name = "Postgres alone, pgbench"
    decides = True

    def __init__(self, stores: Stores, subjects: int) -> None:
        self.stores, self.subjects = stores, subjects
        known = f"SELECT 'user:u_' || n, 1, 1 FROM generate_series(1, {subjects}) n"
        schema = (FOLDER / "postgres/schema.sql").read_text()
        # Without statistics the function would read the whole table, and every transaction would be in another's way.
        stores.sql(f"{schema} INSERT INTO counters {known}; ANALYZE", DATABASE)

    def measure(self, seconds: float) -> Measured:
        log = self.stores.folder / f"pgbench-{next(_runs)}"
        before = cpu_us(self.stores.postgres_pid)
        # The time that pgbench takes to open its sessions is in it.
        length_s = max(1, round(seconds)) + 2
        logging = ["--log", f"--log-prefix={log}"]
        options = [f"--time={length_s}", f"--define=subjects={self.subjects}", *logging]
        told = self._pgbench("consume.sql", CONNECTIONS, *options)
        rate = float(told.split("tps = ")[1].split()[0])
        latencies = [int(line.split()[2]) for path in log.parent.glob(f"{log.name}.*") for line in lines_of(path)]
        cuts = statistics.quantiles(latencies, n=100)
        postgres_us = (cpu_us(self.stores.postgres_pid) - before) / len(latencies)
        return Measured(rate, cuts[49], cuts[98], 0, 0, postgres_us, waits_for_postgres=True)

    def burst(self, run: int) -> Exact:
        def passed(subject: str, model: str) -> int:
            name = f"small:{run}{subject}"
            names = [f"--define=subject='{name}'", f"--define=model='{model}'"]
            self._pgbench("burst.sql", BURST_CLIENTS, *names, f"--transactions={BURST // BURST_CLIENTS}")
            logged = f"SELECT count(*) FROM messages WHERE subject = '{name}' AND model = '{model}'"
            return int(self.stores.sql(logged, DATABASE))

        return Exact(passed("a", "gpt-4o"), passed("b", "claude-sonnet-4"), passed("b", "gpt-4o"))

    def _pgbench(self, script: str, clients: int, *options: str) -> str:
        # A serialization failure is tried again; that is part of what a request costs.
        common = ["--no-vacuum", "--jobs=1", "--max-tries=1000", f"--client={clients}"]
        file = f"--file={FOLDER / 'postgres' / script}"
        return output(["pgbench", *common, file, *options, self.stores.url_of(DATABASE)])


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()
