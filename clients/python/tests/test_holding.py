"""Work that holds units while it runs."""

from __future__ import annotations

import asyncio

import pytest

from headroom_client import AsyncHeadroom, Headroom, QuotaExceeded, Unavailable

from .service import Network, Service

LIMIT = "tokens-day"


async def test_a_block_charges_what_it_used(aclient: AsyncHeadroom, service: Service, subject: str) -> None:
    async with aclient.reservation(subject, metric="tokens", amount=1000) as held:
        assert service.used(subject, LIMIT) == (0, 1000)
        held.use(100)
        held.use(20)

    assert service.used(subject, LIMIT) == (120, 0)
    assert held.settled
    assert held.settled.returned == 880


async def test_a_block_that_says_nothing_charges_what_it_held(
    aclient: AsyncHeadroom, service: Service, subject: str
) -> None:
    async with aclient.reservation(subject, metric="tokens", amount=1000):
        pass

    assert service.used(subject, LIMIT) == (1000, 0)


async def test_a_block_that_fails_gives_all_back(aclient: AsyncHeadroom, service: Service, subject: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with aclient.reservation(subject, metric="tokens", amount=1000) as held:
            held.use(100 // 0)

    assert service.used(subject, LIMIT) == (0, 0)


async def test_a_block_that_fails_charges_what_it_used_where_that_is_asked(
    client: Headroom, aclient: AsyncHeadroom, service: Service, subject: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with aclient.reservation(subject, metric="tokens", amount=1000, charge_on_error=True) as held:
            held.use(100)
            _ = 1 / 0
    with (
        pytest.raises(ZeroDivisionError),
        client.reservation(subject, metric="tokens", amount=1000, charge_on_error=True),
    ):
        _ = 1 / 0

    assert service.used(subject, LIMIT) == (100, 0)


async def test_a_block_that_is_cancelled_gives_all_back(network: Network, service: Service, subject: str) -> None:
    entered = asyncio.Event()

    async def work(client: AsyncHeadroom) -> None:
        async with client.reservation(subject, metric="tokens", amount=1000):
            entered.set()
            await asyncio.Event().wait()

    async with AsyncHeadroom(network.url, service.backend_key, on_unavailable="closed") as client:
        task = asyncio.create_task(work(client))
        await entered.wait()
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert service.used(subject, LIMIT) == (0, 0), "closing the client waits for the release"


async def test_a_refused_block_does_not_run(aclient: AsyncHeadroom, subject: str) -> None:
    with pytest.raises(QuotaExceeded):
        async with aclient.reservation(subject, metric="tokens", amount=50_001):
            pytest.fail("it ran")


async def test_a_long_block_extends_its_hold(aclient: AsyncHeadroom, network: Network, subject: str) -> None:
    async with aclient.reservation(subject, metric="tokens", amount=1000, ttl_s=2) as held:
        for _ in range(2):
            extend = await asyncio.to_thread(network.next, ":extend")
            assert extend.body == {"ttl_s": 2}

    assert held.settled
    assert not held.settled.late


async def test_a_commit_whose_reply_is_swallowed_is_done_once(
    aclient: AsyncHeadroom, network: Network, service: Service, subject: str
) -> None:
    async with aclient.reservation(subject, metric="tokens", amount=1000) as held:
        held.use(70)
        network.faults = ["swallow"]

    assert service.used(subject, LIMIT) == (70, 0)


async def test_work_that_is_done_fails_only_when_the_client_fails_closed(
    network: Network, service: Service, subject: str
) -> None:
    async with AsyncHeadroom(network.url, service.backend_key, on_unavailable="open", retries=0) as client:
        async with client.reservation(subject, metric="tokens", amount=10) as held:
            network.faults = [503]
        assert held.settled is None

    async with AsyncHeadroom(network.url, service.backend_key, on_unavailable="closed", retries=0) as client:
        with pytest.raises(Unavailable):
            async with client.reservation(subject, metric="tokens", amount=10):
                network.faults = [503]


def test_a_thread_s_block_does_the_same(client: Headroom, network: Network, service: Service, subject: str) -> None:
    with client.reservation(subject, metric="tokens", amount=1000, ttl_s=2) as held:
        held.use(5)
        network.next(":extend")
    assert service.used(subject, LIMIT) == (5, 0)

    with pytest.raises(ZeroDivisionError), client.reservation(subject, metric="tokens", amount=1000):
        _ = 1 / 0
    assert service.used(subject, LIMIT) == (5, 0)


async def test_a_decorated_function_is_charged_before_it_runs(
    client: Headroom, aclient: AsyncHeadroom, service: Service, subject: str
) -> None:
    @client.charged(subject=lambda user, text: user, metric="tokens", amount=7)
    def answer(user: str, text: str) -> str:
        return text.upper()

    @aclient.charged(subject=lambda user, text: user, metric="tokens", amount=50_000)
    async def too_much(user: str, text: str) -> str:
        pytest.fail("it ran")

    assert answer(subject, "hello") == "HELLO"
    with pytest.raises(QuotaExceeded):
        await too_much(subject, "hello")
    assert service.used(subject, LIMIT) == (7, 0)


async def test_a_decorated_function_that_fails_is_refunded_where_that_is_asked(
    client: Headroom, aclient: AsyncHeadroom, service: Service, subject: str
) -> None:
    @aclient.charged(subject=lambda user: user, metric="tokens", amount=7, refund_on_error=True)
    async def refunded(user: str) -> None:
        raise ZeroDivisionError

    @client.charged(subject=lambda user: user, metric="tokens", amount=3)
    def kept(user: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await refunded(subject)
    assert service.used(subject, LIMIT) == (0, 0)
    with pytest.raises(ZeroDivisionError):
        kept(subject)
    assert service.used(subject, LIMIT) == (3, 0)
