"""The results as Markdown, and as a chart."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
from collections.abc import Callable

from load import BURST, BURST_CLIENTS, CONNECTIONS, Exact, Measured
from peers import FOLDER
from stores import REPOSITORY

PAGE = REPOSITORY / "docs/BENCHMARKS.md"
CHART = REPOSITORY / "docs/images/peers.svg"
BEGIN, END = "<!-- peers: begin -->\n", "<!-- peers: end -->\n"
OURS = "Headroom"
Round = dict[str, Measured]


def median(rounds: list[Round], name: str, value: Callable[[Measured], float]) -> float:
    return statistics.median(value(one[name]) for one in rounds)


def ratio(rounds: list[Round], name: str, value: Callable[[Measured], float]) -> float:
    """Headroom's value by another's, within each round; the median."""
    return statistics.median(value(one[OURS]) / value(one[name]) for one in rounds)


def text(arguments: argparse.Namespace, rounds: list[Round], exact: dict[str, Exact]) -> str:
    conditions = (
        f"{versions()}. {CONNECTIONS} connections, {arguments.subjects} subjects, {arguments.rounds} rounds of "
        f"{arguments.seconds:g} s each, {arguments.workers} worker thread(s) of what is written in Rust."
    )
    columns = [
        "",
        "req/s",
        "p50 ms",
        "p99 ms",
        "CPU µs/request",
        "of it Redis",
        "Postgres, CPU µs/request",
        "Headroom's req/s ÷ its",
        "Headroom's CPU ÷ its",
        "Headroom's p99 ÷ its",
    ]
    burst = [
        f"{BURST} at once",
        "of a limit of 100 passed",
        "of a second limit of 20 passed",
        "of the 80 left of the first passed",
    ]
    lines = [*header(columns), *(line(rounds, name) for name in rounds[0])]
    lines += ["", *header(burst), *map(exactness, exact.items())]
    note = f"\npgbench has {BURST_CLIENTS} sessions, which ask {BURST // BURST_CLIENTS} times each."
    return "\n".join([conditions, "", *lines, note if any("pgbench" in name for name in exact) else "", ""])


def header(columns: list[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|---|{'--:|' * (len(columns) - 1)}"]


def line(rounds: list[Round], name: str) -> str:
    def of(value: Callable[[Measured], float]) -> float:
        return median(rounds, name, value)

    compared = (lambda it: it.rate, lambda it: it.cpu_us, lambda it: it.p99_us)
    cells = [
        f"{of(lambda it: it.rate):.0f}",
        f"{of(lambda it: it.p50_us) / 1_000:.2f}",
        f"{of(lambda it: it.p99_us) / 1_000:.2f}",
        f"{of(lambda it: it.cpu_us):.1f}",
        f"{of(lambda it: it.redis_us):.1f}",
        f"{of(lambda it: it.postgres_us):.1f}",
        *(f"{ratio(rounds, name, value):.2f}" for value in compared),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def exactness(of: tuple[str, Exact]) -> str:
    name, it = of
    return f"| {name} | {it.one} | {it.premium} | {it.others} |"


def versions() -> str:
    """The day, the machine and the versions of what runs on it."""

    def first(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True)
        return (done.stdout or done.stderr).strip().split("\n")[0]

    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    redis = first("redis-server", "--version").split(" sha")[0]
    postgres = first("psql", "--version").replace("psql (PostgreSQL)", "Postgres")
    machine = [today, f"{os.cpu_count()} cores", redis, postgres, first("rustc", "--version")]
    python, wrk = first("python3", "--version"), first("wrk", "--version").split(" [")[0]
    return "; ".join([*machine, f"node {first('node', '--version')}", python, wrk, *packages()])


def packages() -> list[str]:
    """What is compared, as it is pinned."""
    node = json.loads((FOLDER / "fastify/package.json").read_text())["dependencies"]
    python = (FOLDER / "fastapi/requirements.txt").read_text()
    pinned = re.findall(r"^(limits|fastapi|uvicorn|coredis)==(.+)$", python, re.MULTILINE)
    crate = re.search(r'name = "limitador"\nversion = "(.+)"', (FOLDER / "limitador/Cargo.lock").read_text())
    rust = [f"limitador {crate[1]}"] if crate else []
    return [*(f"{name} {version}" for name, version in [*node.items(), *pinned]), *rust]


def record(results: str, rounds: list[Round]) -> None:
    """Puts the results between their marks; the rest of the page is written by hand."""
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    picture = "![Requests a second and CPU time a request](images/peers.svg)"
    PAGE.write_text(f"{before}{BEGIN}\n{results}\n{picture}\n\n{END}{after}")
    CHART.write_text(chart(rounds))


ROW, BAR, LABELS, WIDTH = 30, 16, 220, 760
#: Readable on light and on dark pages.
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .muted { fill: #59636e }
.bar { fill: #8c959f } .ours { fill: #2f6feb }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .muted { fill: #9198a1 } .bar { fill: #656c76 } .ours { fill: #4493f8 }
}
"""


def chart(rounds: list[Round]) -> str:
    panels = [
        ("Requests a second (more is better)", lambda it: it.rate),
        ("CPU µs a request, with Redis, and Postgres where a request waits (less is better)", lambda it: it.cpu_us),
    ]
    parts, y = [], 0
    for title, value in panels:
        parts += panel(rounds, title, value, y)
        y += (len(rounds[0]) + 2) * ROW
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img">\n'
        f"<title>Headroom beside what people use today</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def panel(rounds: list[Round], title: str, value: Callable[[Measured], float], y: int) -> list[str]:
    values = {name: median(rounds, name, value) for name in rounds[0]}
    scale = (WIDTH - LABELS - 80) / max(values.values())
    parts = [f'<text class="title" x="0" y="{y + 20}">{title}</text>']
    for place, (name, it) in enumerate(values.items(), start=1):
        top, width = y + place * ROW + 4, max(1.0, it * scale)
        kind = "ours" if name.startswith(OURS) else "bar"
        parts += [
            f'<text x="0" y="{top + 13}">{name}</text>',
            f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{width:.1f}" height="{BAR}" rx="3"/>',
            f'<text class="muted" x="{LABELS + width + 8:.1f}" y="{top + 13}">{it:,.0f}</text>',
        ]
    return parts
