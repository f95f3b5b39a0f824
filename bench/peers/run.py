"""`make bench-peers`: Headroom beside what people use today, under the same load, on the same Redis.

Everyone takes a turn in every round; ratios are taken within a round, and the report shows medians over the rounds.
"""

from __future__ import annotations

import argparse
import sys

import report
from load import Exact, Measured, Pgbench, burst, measure, touch_all, wrk
from peers import DATABASE, Peer, peers, running
from stores import Stores, started

WARM_UP_S = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="how long each is loaded in each round")
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1, help="worker threads of what is written in Rust")
    parser.add_argument("--only", default="", help="only those whose names hold this text, and Headroom")
    parser.add_argument("--record", action="store_true", help="write docs/BENCHMARKS.md and the chart")
    arguments = parser.parse_args()
    everyone = [peer for peer in peers(arguments.workers) if peer.name == "Headroom" or arguments.only in peer.name]
    with started() as stores:
        stores.sql(f"CREATE DATABASE {DATABASE}")
        pgbench = Pgbench(stores, arguments.subjects) if arguments.only in Pgbench.name else None
        exact = bursts(everyone, pgbench, stores, arguments.subjects)
        rounds = [a_round(everyone, pgbench, stores, arguments, number + 1) for number in range(arguments.rounds)]
    text = report.text(arguments, rounds, exact)
    sys.stdout.write(text)
    if arguments.record:
        report.record(text, rounds)


def bursts(everyone: list[Peer], pgbench: Pgbench | None, stores: Stores, subjects: int) -> dict[str, Exact]:
    """Starts everyone for the first time: what is needed to begin with, and the bursts."""
    exact = {}
    for number, peer in enumerate(everyone):
        with running(peer, stores) as server:
            peer.prepare(stores, subjects)
            if peer.has_flusher:
                tell(f"charging {subjects} subjects once")
                touch_all(server, stores, subjects)
            if peer.decides:
                exact[peer.name] = burst(server, stores, number)
                tell(f"{peer.name}: {exact[peer.name]}")
            if peer.is_headroom:
                stores.wait_flushed()
    if pgbench:
        exact[pgbench.name] = pgbench.burst(len(everyone))
        tell(f"{pgbench.name}: {exact[pgbench.name]}")
    return exact


def a_round(
    everyone: list[Peer], pgbench: Pgbench | None, stores: Stores, arguments: argparse.Namespace, number: int
) -> dict[str, Measured]:
    measured = {}
    for peer in everyone:
        with running(peer, stores) as server:
            wrk(server, stores, WARM_UP_S, arguments.subjects)
            measured[peer.name] = measure(peer, server, stores, arguments.seconds, arguments.subjects)
            if peer.is_headroom:
                stores.wait_flushed()
        tell_of(number, peer.name, measured[peer.name])
    if pgbench:
        measured[pgbench.name] = pgbench.measure(arguments.seconds)
        tell_of(number, pgbench.name, measured[pgbench.name])
    return measured


def tell_of(number: int, name: str, it: Measured) -> None:
    cpu = f"cpu {it.server_us:6.1f} redis {it.redis_us:5.1f} postgres {it.postgres_us:6.1f}"
    tell(f"round {number} {name:32} {it.rate:7.0f}/s p50 {it.p50_us:6.0f} p99 {it.p99_us:6.0f} {cpu}")


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
