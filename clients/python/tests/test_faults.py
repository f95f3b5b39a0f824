"""Lost replies, silence and a service that is away: nothing is charged twice, and the choice is the caller's."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from headroom_client import AsyncHeadroom, Headroom, HeadroomError, OnUnavailable, Unavailable

from .service import Network, Service


def away() -> str:
    """A URL where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_consume_whose_replies_are_swallowed_is_charged_once(
    client: Headroom, network: Network, service: Service, subject: str
) -> None:
    network.faults = ["swallow", "swallow"]

    decision = client.consume(subject, metric="messages", amount=5)

    assert decision.replayed
    assert len(network.seen) == 3
    assert len(set(network.keys())) == 1
    assert service.used(subject, "messages-month") == (5, 0)


async def test_the_client_that_awaits_is_charged_once_too(
    aclient: AsyncHeadroom, network: Network, service: Service, subject: str
) -> None:
    network.faults = ["swallow", "swallow"]

    decision = await aclient.consume(subject, metric="messages", amount=5)

    assert decision.replayed
    assert len(set(network.keys())) == 1
    assert service.used(subject, "messages-month") == (5, 0)


def test_a_hold_is_made_and_settled_once_through_swallowed_replies(
    client: Headroom, network: Network, service: Service, subject: str
) -> None:
    network.faults = ["swallow"]
    reservation = client.reserve(subject, metric="tokens", amount=100)
    assert reservation.reservation_id
    assert service.used(subject, "tokens-day") == (0, 100)

    network.faults = ["swallow"]
    committed = client.commit(reservation.reservation_id, 30)

    assert committed.replayed
    assert service.used(subject, "tokens-day") == (30, 0)


def test_a_release_and_a_refund_are_done_once_through_swallowed_replies(
    client: Headroom, network: Network, service: Service, subject: str
) -> None:
    reservation = client.reserve(subject, metric="tokens", amount=100)
    event_id = client.consume(subject, metric="messages", amount=3).event_id
    assert reservation.reservation_id
    assert event_id

    network.faults = ["swallow", "pass", "swallow"]
    released = client.release(reservation.reservation_id)
    refund = client.refund(event_id)

    assert released.replayed
    assert refund.refunded[0].units == 3
    assert service.used(subject, "tokens-day") == (0, 0)
    assert service.used(subject, "messages-month") == (0, 0)


def test_a_503_is_tried_again_with_the_same_key(client: Headroom, network: Network, subject: str) -> None:
    network.faults = [503, 502]

    assert client.consume(subject, metric="messages").allowed
    assert len(network.seen) == 3
    assert len(set(network.keys())) == 1


def test_two_calls_have_two_keys(client: Headroom, network: Network, service: Service, subject: str) -> None:
    client.consume(subject, metric="messages")
    client.consume(subject, metric="messages")

    assert len(set(network.keys())) == 2
    assert service.used(subject, "messages-month") == (2, 0)


def test_a_refusal_is_not_tried_again(client: Headroom, network: Network, subject: str) -> None:
    with pytest.raises(HeadroomError):
        client.consume(subject, metric="messages", amount=101)

    assert len(network.seen) == 1


def test_silence_ends_in_unavailable_with_the_key_that_tells(network: Network, subject: str) -> None:
    network.faults = ["hang", "hang", "hang"]
    key = network.service.backend_key
    with (
        Headroom(network.url, key, on_unavailable="closed", timeout_s=0.1, retries=2) as client,
        pytest.raises(Unavailable, match="Timeout") as caught,
    ):
        client.consume(subject, metric="messages", idempotency_key="mine")

    assert caught.value.idempotency_key == "mine"
    assert network.keys() == ['"mine"'] * 3


def test_the_deadline_bounds_all_attempts(network: Network, subject: str) -> None:
    network.faults = ["hang"] * 10
    key = network.service.backend_key
    with (
        Headroom(network.url, key, on_unavailable="closed", timeout_s=0.2, deadline_s=0.3, retries=10) as client,
        pytest.raises(Unavailable),
    ):
        client.consume(subject, metric="messages")

    assert len(network.seen) <= 2


@pytest.mark.parametrize(("choice", "passes"), [("open", True), ("closed", False)])
async def test_who_fails_open_lets_pass_and_who_fails_closed_does_not(choice: OnUnavailable, passes: bool) -> None:
    url = away()
    settings: dict[str, Any] = {"on_unavailable": choice, "retries": 1}
    with Headroom(url, "key", **settings) as client:
        async with AsyncHeadroom(url, "key", **settings) as aclient:
            if not passes:
                with pytest.raises(Unavailable):
                    client.consume("user:u_1", metric="messages")
                with pytest.raises(Unavailable):
                    await aclient.reserve("user:u_1", metric="messages")
                return
            decision = client.consume("user:u_1", metric="messages")
            reservation = await aclient.reserve("user:u_1", metric="messages")

    assert (decision.allowed, decision.degraded, decision.event_id) == (True, True, None)
    assert reservation.reservation_id is None


def test_who_fails_open_makes_up_no_facts() -> None:
    with Headroom(away(), "key", on_unavailable="open", retries=0) as client:
        for ask in (
            lambda: client.usage("user:u_1"),
            lambda: client.commit("rsv_1", 1),
            lambda: client.refund("e_1"),
        ):
            with pytest.raises(Unavailable):
                ask()


def test_who_fails_open_still_hears_a_refusal(service: Service, subject: str) -> None:
    with Headroom(service.url, service.backend_key, on_unavailable="open") as client:
        assert not client.check(subject, metric="messages", amount=101).allowed


def test_another_server_s_answer_is_no_decision() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>welcome</html>"))
    with (
        Headroom("http://login.example", "key", on_unavailable="open", transport=transport) as client,
        pytest.raises(HeadroomError, match="not answered by headroom"),
    ):
        client.consume("user:u_1", metric="messages")
