"""The nginx example under a real nginx, before a backend that has no code for quotas."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from .service import REPOSITORY, Service, free_port, program, running

EXAMPLE = REPOSITORY / "deploy/examples/nginx"
SECRET = "a shared secret of at least 32 bytes"


def token(user: str) -> str:
    """A token of the user with the shared secret (RFC 7519, HS256)."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = {"sub": user, "exp": int(time.time()) + 3600}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{encoded(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


@dataclass
class Backend:
    """A chat that answers whatever comes."""

    port: int
    seen: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def backend() -> Iterator[Backend]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            backend.seen.append({name.lower(): value for name, value in self.headers.items()})
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(403 if body == b"forbidden" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    backend = Backend(server.server_port)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield backend
    server.shutdown()
    server.server_close()


@dataclass
class Gateway:
    """nginx with the example's configuration."""

    url: str
    service: Service
    backend: Backend

    def say(self, user: str | None, headers: dict[str, str] | None = None, text: str = "hello") -> httpx.Response:
        signed_in = {"Authorization": f"Bearer {token(user)}"} if user else {}
        return httpx.post(f"{self.url}/chat", content=text, timeout=60, headers={**signed_in, **(headers or {})})

    def report(self, user: str, password: str) -> httpx.Response:
        return httpx.post(f"{self.url}/reports", content="hello", auth=(user, password), timeout=60)


@contextmanager
def nginx(service_url: str, key: str, backend: Backend) -> Iterator[str]:
    """The example as it is, but for addresses, the time that it waits, the key and one user."""
    with TemporaryDirectory(prefix="headroom-test-") as folder:
        port = configure(Path(folder), service_url, key, backend)
        command = ["nginx", "-p", folder, "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]
        with program(command, port, Path(folder, "log")) as url:
            yield url


def configure(folder: Path, service_url: str, key: str, backend: Backend) -> int:
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    port = free_port()
    config = (EXAMPLE / "nginx.conf").read_text()
    for example, own in [
        ("127.0.0.1:8080", service_url.removeprefix("http://")),
        ("127.0.0.1:9000", f"127.0.0.1:{backend.port}"),
        ("127.0.0.1:8000", f"127.0.0.1:{port}"),
    ]:
        assert config.count(example) == 1
        config = config.replace(example, own)
    (folder / "nginx.conf").write_text(config)
    asked = (EXAMPLE / "headroom_ask.conf").read_text()
    assert asked.count("timeout 1s;") == asked.count("timeout 3s;") == 1
    (folder / "headroom_ask.conf").write_text(
        asked.replace("timeout 1s;", "timeout 60s;").replace("timeout 3s;", "timeout 60s;")
    )
    (folder / "headroom_key.conf").write_text(f'proxy_set_header X-Api-Key "{key}";\n')
    digest = base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
    (folder / "users").write_text(f"ann:{{SHA}}{digest}\n")
    folder.chmod(0o755)  # nginx' workers run as another user
    return port


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    settings = {"HEADROOM_JWT_ALGORITHM": "HS256", "HEADROOM_JWT_SECRET": SECRET}
    with running(settings) as service, backend() as chat, nginx(service.url, service.backend_key, chat) as url:
        yield Gateway(url, service, chat)


def problem(answer: httpx.Response) -> tuple[int, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json().get("code")


def test_a_message_is_charged_before_it_reaches_the_backend(gateway: Gateway) -> None:
    answer = gateway.say("u_charged", {"X-Chat-Model": "claude-sonnet-4"})

    assert (answer.status_code, answer.text) == (200, "hello")
    assert 'premium_messages-month";r=19' in answer.headers["RateLimit"]
    seen = gateway.backend.seen[-1]
    assert (seen["x-headroom-subject"], seen["x-chat-model"]) == ("user:u_charged", "claude-sonnet-4")
    assert len(seen["x-headroom-event-id"]) == 36
    assert gateway.service.used("user:u_charged", "premium_messages-month") == (1, 0)


def test_a_spent_quota_is_a_429_for_the_caller_and_never_reaches_the_backend(gateway: Gateway) -> None:
    premium = {"X-Chat-Model": "claude-sonnet-4"}
    statuses = [gateway.say("u_spent", premium).status_code for _ in range(20)]
    reached = len(gateway.backend.seen)

    refused = gateway.say("u_spent", premium)

    assert statuses == [200] * 20
    assert problem(refused) == (429, "limit_exceeded")
    assert int(refused.headers["Retry-After"]) > 0
    assert 'premium_messages-month";r=0' in refused.headers["RateLimit"]
    assert len(gateway.backend.seen) == reached
    assert gateway.service.used("user:u_spent", "messages-month") == (20, 0)
    assert gateway.say("u_spent", {"X-Chat-Model": "mock-1"}).status_code == 200, "another model has room"


def test_a_model_that_is_not_in_the_plan_is_a_403(gateway: Gateway) -> None:
    assert problem(gateway.say("u_model", {"X-Chat-Model": "llama"})) == (403, "model_not_allowed")


def test_who_has_not_signed_in_is_told_so(gateway: Gateway) -> None:
    stranger = gateway.say(None)

    assert stranger.status_code == 401
    assert stranger.headers["WWW-Authenticate"].startswith("Bearer")
    assert gateway.say(None, {"Authorization": "Bearer x.y.z"}).status_code == 401


def test_a_caller_cannot_speak_for_the_gateway(gateway: Gateway) -> None:
    forged = {
        "X-Chat-Model": "claude-sonnet-4",
        "X-Headroom-Subject": "user:u_victim",
        "X-Headroom-Model": "mock-1",
        "X-Headroom-Metric": "tokens",
        "X-Api-Key": "hr_live_forged",
        "X-Request-Id": "the-same",
        "Idempotency-Key": "the-same",
    }

    for _ in range(2):
        assert gateway.say("u_forger", forged).status_code == 200

    assert gateway.backend.seen[-1]["x-headroom-subject"] == "user:u_forger"
    assert gateway.service.used("user:u_forger", "premium_messages-month") == (2, 0)
    assert gateway.service.used("user:u_victim", "messages-month") == (0, 0)


def test_users_of_nginx_are_charged_by_their_name(gateway: Gateway) -> None:
    assert gateway.report("ann", "secret").status_code == 200
    assert gateway.report("ann", "wrong").status_code == 401

    assert gateway.backend.seen[-1]["x-headroom-subject"] == "user:ann"
    assert gateway.service.used("user:ann", "messages-month") == (1, 0), "a wrong password costs nothing"


def test_the_backend_s_own_403_stays_its_own(gateway: Gateway) -> None:
    answer = gateway.say("u_own", {"X-Chat-Model": "mock-1"}, text="forbidden")

    assert (answer.status_code, answer.text) == (403, "forbidden")


def test_while_headroom_is_away_no_message_passes() -> None:
    with backend() as chat, nginx(f"http://127.0.0.1:{free_port()}", "key", chat) as url:
        answer = httpx.post(f"{url}/chat", content="hello")

        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert chat.seen == []
