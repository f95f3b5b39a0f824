"""FastAPI, in this process and as the example: a chat under uvicorn."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException

from headroom_client import AsyncHeadroom, Decision, Headroom, Held
from headroom_client.fastapi import Quota

from .service import REPOSITORY, Network, Service, free_port, program


def signed_in(x_user: Annotated[str, Header()]) -> str:
    return x_user


@pytest.fixture
async def caller(aclient: AsyncHeadroom, subject: str) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    quota = Quota(aclient, signed_in)
    quota.install(app)

    @app.post("/message")
    async def message(charged: Annotated[Decision, Depends(quota.charge(model="claude-sonnet-4"))]) -> str | None:
        return charged.event_id

    @app.post("/unknown-model", dependencies=[Depends(quota.charge(model="llama"))])
    @app.post("/unknown-metric", dependencies=[Depends(quota.charge(metric="steps"))])
    async def unknown() -> None:
        pytest.fail("it ran")

    @app.post("/fails/{refund}", dependencies=[Depends(quota.charge(metric="tokens", amount=3))])
    async def fails() -> None:
        raise HTTPException(418)

    @app.post("/refunds", dependencies=[Depends(quota.charge(metric="tokens", amount=5, refund_on_error=True))])
    async def refunds() -> None:
        raise HTTPException(418)

    @app.post("/holds")
    async def holds(held: Annotated[Held, Depends(quota.hold(metric="tokens", amount=100))]) -> None:
        held.use(9)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://chat", headers={"X-User": subject}) as caller:
        yield caller


async def test_a_dependency_charges_and_tells_what_is_left(
    caller: httpx.AsyncClient, service: Service, subject: str
) -> None:
    answer = await caller.post("/message")

    assert answer.status_code == 200
    assert answer.json(), "the route sees the decision"
    assert 'premium_messages-month";r=19' in answer.headers["RateLimit"]
    assert service.used(subject, "premium_messages-month") == (1, 0)


async def test_a_refusal_is_a_429_with_the_problem(
    caller: httpx.AsyncClient, aclient: AsyncHeadroom, subject: str
) -> None:
    await aclient.consume(subject, model="claude-sonnet-4", amount=20)

    answer = await caller.post("/message")

    assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
    assert answer.json()["violated-policies"] == ["premium_messages-month"]
    assert answer.json()["upgrade_url"] == "https://chat.example/upgrade"
    assert int(answer.headers["Retry-After"]) > 0


async def test_what_the_caller_may_not_and_what_the_backend_got_wrong_are_told_apart(
    caller: httpx.AsyncClient,
) -> None:
    forbidden = await caller.post("/unknown-model")
    broken = await caller.post("/unknown-metric")

    assert (forbidden.status_code, forbidden.json()["code"]) == (403, "model_not_allowed")
    assert (broken.status_code, broken.json()) == (500, {"title": "Internal Server Error", "status": 500})


async def test_a_service_that_is_away_is_a_503(caller: httpx.AsyncClient, network: Network) -> None:
    network.faults = [503, 503, 503]

    answer = await caller.post("/message")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


async def test_a_route_that_fails_is_refunded_where_that_is_asked(
    caller: httpx.AsyncClient, service: Service, subject: str
) -> None:
    assert (await caller.post("/refunds")).status_code == 418
    assert service.used(subject, "tokens-day") == (0, 0)
    assert (await caller.post("/fails/not")).status_code == 418
    assert service.used(subject, "tokens-day") == (3, 0)


async def test_a_route_that_holds_charges_what_it_used(
    caller: httpx.AsyncClient, service: Service, subject: str
) -> None:
    assert (await caller.post("/holds")).status_code == 200

    assert service.used(subject, "tokens-day") == (9, 0)


@pytest.fixture(scope="session")
def chat(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    environment = {**os.environ, "HEADROOM_URL": service.url, "HEADROOM_API_KEY": service.backend_key}
    log = tmp_path_factory.mktemp("chat") / "log"
    with program(command, port, log, cwd=REPOSITORY / "deploy/examples/fastapi-chat", env=environment) as url:
        yield url


@pytest.fixture
def known(client: Headroom, subject: str) -> str:
    """A subject that is loaded already: the example does not wait for long."""
    client.check(subject, metric="tokens")
    return subject


def test_the_example_charges_a_message_and_the_tokens_that_were_streamed(
    chat: str, service: Service, known: str
) -> None:
    user = {"X-User": known.removeprefix("user:")}
    message = {"model": "claude-sonnet-4", "text": "to be or not to be"}

    with httpx.stream("POST", f"{chat}/chat", json=message, headers=user, timeout=60) as answer:
        assert answer.status_code == 200
        assert 'premium_messages-month";r=19' in answer.headers["RateLimit"]
        assert answer.read() == b"to be or not to be "

    usage = httpx.get(f"{chat}/usage", headers=user, timeout=60).json()
    used = {limit["name"]: (limit["used"], limit["reserved"]) for limit in usage["limits"]}
    assert used == {"messages-month": (1, 0), "premium_messages-month": (1, 0), "tokens-day": (6, 0)}
    assert httpx.post(f"{chat}/chat", json=message).status_code == 401


def test_the_example_refuses_what_is_spent(chat: str, service: Service, known: str) -> None:
    user = {"X-User": known.removeprefix("user:")}
    message = {"model": "claude-sonnet-4", "text": "hello"}
    statuses = [httpx.post(f"{chat}/chat", json=message, headers=user, timeout=60).status_code for _ in range(21)]

    assert statuses == [200] * 20 + [429]
    assert service.used(known, "messages-month") == (20, 0), "the refused one is not charged on any limit"
