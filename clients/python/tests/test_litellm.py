"""The callback in LiteLLM's real proxy, with a model that LiteLLM makes up."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from headroom_client import AsyncHeadroom
from headroom_client.litellm import HeadroomCallback

from .service import REPOSITORY, Network, Service, free_port, program

MASTER_KEY = f"sk-{secrets.token_hex(32)}"
EXAMPLE = REPOSITORY / "deploy/examples/litellm"
#: Models that fail: for good, and with a fallback that answers.
MORE_MODELS = """
  - model_name: mock-broken
    litellm_params: {model: openai/broken, api_key: none, mock_response: litellm.InternalServerError}
  - model_name: mock-fallen
    litellm_params: {model: openai/fallen, api_key: none, mock_response: litellm.InternalServerError}

router_settings:
  num_retries: 1
  retry_after: 0
  fallbacks: [{mock-fallen: [mock-parrot]}]

litellm_settings:"""


@dataclass
class Proxy:
    """LiteLLM's proxy, which asks the service through a network that can fail."""

    url: str
    network: Network

    def complete(self, user: str, model: str = "mock-parrot", **more: Any) -> httpx.Response:
        body = {"model": model, "user": user, "messages": [{"role": "user", "content": "speak"}], **more}
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=120)

    def settled(self, user: str, name: str, used: int) -> None:
        """Waits until that is used and nothing held: the proxy tells the end of a call after its answer."""
        ends_at = time.monotonic() + 60
        while (found := self.network.service.used(f"user:{user}", name)) != (used, 0):
            assert time.monotonic() < ends_at, f"{name} is {found}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def proxy(service: Service) -> Iterator[Proxy]:
    with TemporaryDirectory(prefix="headroom-test-") as folder, Network(service) as network:
        shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
        config = Path(folder, "config.yaml")
        example = config.read_text()
        assert example.count("\nlitellm_settings:") == 1
        config.write_text(example.replace("\nlitellm_settings:", MORE_MODELS))
        port = free_port()
        environment = {
            **os.environ,
            "HEADROOM_URL": network.url,
            "HEADROOM_API_KEY": service.backend_key,
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks another host at its start
        }
        litellm = Path(sys.executable).with_name("litellm")
        where = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        command = [str(litellm), *where, "--telemetry", "False"]
        with program(command, port, Path(folder, "log"), cwd=folder, env=environment) as url:
            yield Proxy(url, network)


def test_a_call_is_charged_to_its_model_and_its_tokens_when_it_ends(proxy: Proxy) -> None:
    answer = proxy.complete("l_1")

    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "to be or not to be"
    taken = answer.json()["usage"]["total_tokens"]
    assert taken > 0
    proxy.settled("l_1", "messages-month", 1)
    proxy.settled("l_1", "tokens-day", taken)


def test_a_stream_is_charged_at_its_end(proxy: Proxy) -> None:
    answer = proxy.complete("l_2", stream=True, stream_options={"include_usage": True})

    assert answer.status_code == 200
    assert answer.text.rstrip().endswith("[DONE]")
    proxy.settled("l_2", "messages-month", 1)
    used, _ = proxy.network.service.used("user:l_2", "tokens-day")
    assert used > 0
    proxy.settled("l_2", "tokens-day", used)


def test_a_spent_quota_is_a_429_of_the_proxy(proxy: Proxy) -> None:
    asked = len(proxy.network.seen)

    refused = proxy.complete("l_3", max_tokens=60_000)

    assert refused.status_code == 429
    assert "tokens-day" in refused.text
    assert [seen.path for seen in proxy.network.seen[asked:] if seen.path == "/v1/reservations"]
    assert proxy.network.service.used("user:l_3", "tokens-day") == (0, 0)
    proxy.settled("l_3", "messages-month", 0)


def test_a_call_that_fails_for_good_gives_all_back(proxy: Proxy) -> None:
    answer = proxy.complete("l_4", model="mock-broken")

    assert answer.status_code == 500
    proxy.settled("l_4", "messages-month", 0)
    proxy.settled("l_4", "tokens-day", 0)


def test_a_call_that_falls_back_is_charged_once(proxy: Proxy) -> None:
    answer = proxy.complete("l_5", model="mock-fallen")

    assert answer.status_code == 200
    proxy.settled("l_5", "messages-month", 1)
    proxy.settled("l_5", "tokens-day", answer.json()["usage"]["total_tokens"])


def test_replies_that_are_swallowed_change_nothing(proxy: Proxy) -> None:
    proxy.network.faults = ["swallow", "pass"] * 4

    answer = proxy.complete("l_6")

    assert answer.status_code == 200
    proxy.settled("l_6", "messages-month", 1)
    proxy.settled("l_6", "tokens-day", answer.json()["usage"]["total_tokens"])


def test_a_caller_cannot_settle_the_reservation_of_another(proxy: Proxy) -> None:
    metadata = {"headroom": {"calls": "rsv_forged", "tokens": "rsv_forged"}}

    answer = proxy.complete("l_7", metadata=metadata)

    assert answer.status_code == 200
    proxy.settled("l_7", "messages-month", 1)
    assert not [seen.path for seen in proxy.network.seen if "rsv_forged" in seen.path]


def test_while_the_service_is_away_a_proxy_that_fails_closed_answers_503(proxy: Proxy) -> None:
    proxy.network.faults = [503, 503, 503]

    assert proxy.complete("l_8").status_code == 503
    assert proxy.network.service.used("user:l_8", "messages-month") == (0, 0)


async def test_a_proxy_that_fails_open_lets_the_call_pass() -> None:
    async with AsyncHeadroom(f"http://127.0.0.1:{free_port()}", "key", on_unavailable="open", retries=0) as client:
        callback = HeadroomCallback(client)
        data: dict[str, Any] = {"model": "mock-parrot", "user": "u", "metadata": {"headroom": {"calls": "rsv_1"}}}

        assert await callback.async_pre_call_hook(None, None, data, "acompletion") is data
        await callback.async_log_success_event({"litellm_params": data}, {}, None, None)

    assert data["metadata"] == {"headroom": {}}
