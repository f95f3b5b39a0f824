"""Calls every route of the API in the ways of its OpenAPI document, and in ways that the document forbids.

No answer may be a 5xx, and each must be one that the document knows. Then `headroom verify` must find nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.service import BINARY, PATIENT, REPOSITORY, Service, running

FOLDER = Path(__file__).resolve().parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
REVOKE = "DELETE /v1/keys/{id}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=4, help="calls of each route in the fuzzing phase")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    options = [f"--max-examples={arguments.examples}", f"--seed={arguments.seed}"]
    with running() as service:
        known = things_of(service)
        admin = {"HEADROOM_API_KEY": service.admin_key, **known}
        backend = {"HEADROOM_API_KEY": service.backend_key, **known}
        # With ids out of answers an admin would soon revoke the key that all calls are made with.
        others, revoke, every = f"--exclude-name={REVOKE}", f"--include-name={REVOKE}", "examples,coverage,fuzzing"
        with ThreadPoolExecutor() as pool:
            by_admin = pool.submit(schemathesis, service, admin, *options, others, f"--phases={every}")
            by_backend = pool.submit(schemathesis, service, backend, *options, others, "--phases=examples,fuzzing")
        last = schemathesis(service, admin, *options, revoke, f"--phases={every}")
        return max(by_admin.result(), by_backend.result(), last, verify(service))


def things_of(service: Service) -> dict[str, str]:
    """An event and a reservation, under the names by which schemathesis.toml knows them."""
    headers = {"Authorization": f"Bearer {service.backend_key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as client:
        order = {"subject": "user:u_1", "model": "claude-sonnet-4"}
        event = client.post("/v1/consume", json=order).raise_for_status().json()
        hold = client.post("/v1/reservations", json=order).raise_for_status().json()
    return {"EVENT_ID": event["event_id"], "RESERVATION_ID": hold["reservation_id"]}


def schemathesis(service: Service, variables: dict[str, str], *options: str) -> int:
    config = ["--config-file", str(FOLDER / "schemathesis.toml")]
    run = ["run", str(REPOSITORY / "openapi.json"), "--url", service.url, "--no-color", *options]
    # What it notes down of a run would change the next one.
    with TemporaryDirectory(prefix="headroom-test-") as folder:
        command, environment = [SCHEMATHESIS, *config, *run], {**os.environ, **variables}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    sys.stdout.write(done.stdout + done.stderr)
    return done.returncode


def verify(service: Service) -> int:
    stores = {"DATABASE_URL": service.postgres_url, "REDIS_URL": service.redis_url}
    return subprocess.run([BINARY, "verify"], env={**os.environ, **PATIENT, **stores}).returncode


if __name__ == "__main__":
    sys.exit(main())
