"""Both clients against the real service."""

from __future__ import annotations

from datetime import timezone

import pytest

from headroom_client import (
    AsyncHeadroom,
    Conflict,
    Forbidden,
    Headroom,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    Unauthenticated,
)

from .service import Network, Service


def test_a_consume_is_charged_and_tells_every_limit(client: Headroom, service: Service, subject: str) -> None:
    decision = client.consume(subject, model="claude-sonnet-4", metadata={"chat": "c_1"})

    assert decision.allowed
    assert decision.event_id
    assert decision.plan == "chat"
    limit = decision.limit("premium_messages-month")
    assert (limit.used, limit.remaining, limit.unlimited) == (1, 19, False)
    assert limit.resets_at is not None
    assert limit.resets_at.tzinfo == timezone.utc
    assert 'premium_messages-month";r=19' in decision.headers["RateLimit"]
    assert service.used(subject, "messages-month") == (1, 0)


def test_a_refused_consume_raises_what_there_is_to_tell(client: Headroom, subject: str) -> None:
    client.consume(subject, metric="messages", amount=100)

    with pytest.raises(QuotaExceeded) as caught:
        client.consume(subject, metric="messages")

    problem = caught.value.problem
    assert (problem.status, problem.code) == (429, "limit_exceeded")
    assert problem.violated_policies == ("messages-month",)
    assert problem.upgrade_url == "https://chat.example/upgrade"
    assert problem.retry_after_s
    assert caught.value.decision
    assert caught.value.decision.limit("messages-month").remaining == 0


def test_a_check_answers_a_refusal_and_charges_nothing(client: Headroom, service: Service, subject: str) -> None:
    assert client.check(subject, model="claude-sonnet-4", amount=20).allowed
    assert not client.check(subject, model="claude-sonnet-4", amount=21).allowed
    assert service.used(subject, "messages-month") == (0, 0)


def test_a_reservation_is_extended_and_committed_with_what_was_taken(client: Headroom, subject: str) -> None:
    reservation = client.reserve(subject, metric="tokens", amount=4096, ttl_s=60)
    assert reservation.reservation_id
    assert reservation.expires_at

    extended = client.extend(reservation.reservation_id, 600)
    committed = client.commit(reservation.reservation_id, 1234)

    assert extended.expires_at
    assert extended.expires_at > reservation.expires_at
    assert (committed.state, committed.amount, committed.returned) == ("committed", 1234, 2862)
    usage = client.usage(subject)
    limit = next(limit for limit in usage.limits if limit.name == "tokens-day")
    assert (limit.used, limit.reserved, usage.features) == (1234, 0, {"export": False})


def test_a_strict_commit_that_does_not_fit_is_a_conflict(client: Headroom, subject: str) -> None:
    reservation = client.reserve(subject, metric="tokens", amount=50_000)
    assert reservation.reservation_id

    with pytest.raises(Conflict) as caught:
        client.commit(reservation.reservation_id, 50_001, strict=True)

    assert caught.value.problem.code == "commit_does_not_fit"
    assert client.release(reservation.reservation_id).returned == 50_000
    with pytest.raises(Conflict) as caught:
        client.commit(reservation.reservation_id, 1)
    assert caught.value.problem.status == 409


def test_a_refund_gives_back_what_the_event_took_once(client: Headroom, service: Service, subject: str) -> None:
    event_id = client.consume(subject, model="claude-sonnet-4").event_id
    assert event_id

    refund = client.refund(event_id)
    again = client.refund(event_id)

    assert {given.metric for given in refund.refunded} == {"messages", "premium_messages"}
    assert (refund.refunds, again.event_id) == (event_id, refund.event_id)
    assert service.used(subject, "messages-month") == (0, 0)


def test_every_kind_of_refusal_has_its_own_class(client: Headroom, network: Network, subject: str) -> None:
    with pytest.raises(InvalidRequest, match="amount"):
        client.consume(subject, metric="messages", amount=-1)
    with pytest.raises(NotFound, match="unknown_metric"):
        client.consume(subject, metric="steps")
    with pytest.raises(Forbidden, match="feature_not_entitled"):
        client.check(subject, feature="export")
    with (
        Headroom(network.url, "hr_live_wrong", on_unavailable="closed") as stranger,
        pytest.raises(Unauthenticated),
    ):
        stranger.usage(subject)
    client.consume(subject, metric="messages", idempotency_key="k")
    with pytest.raises(InvalidRequest, match="idempotency_mismatch"):
        client.consume(subject, metric="messages", amount=2, idempotency_key="k")


def test_a_caller_who_has_not_signed_in_has_no_subject(client: Headroom) -> None:
    with pytest.raises(Forbidden, match="model_not_allowed"):
        client.consume(None, model="claude-sonnet-4")


def test_a_path_is_a_subject_too(client: Headroom, subject: str) -> None:
    path = f"{subject}/project:p_1"

    decision = client.consume(path, metric="messages", amount=3)

    assert {limit.subject for limit in decision.limits} == {path}
    assert client.usage(path).limits[0].used == 3


async def test_the_client_that_awaits_does_the_same(aclient: AsyncHeadroom, service: Service, subject: str) -> None:
    decision = await aclient.consume(subject, model="claude-sonnet-4")
    reservation = await aclient.reserve(subject, metric="tokens", amount=100)
    assert decision.event_id
    assert reservation.reservation_id

    extended = await aclient.extend(reservation.reservation_id, 600)
    committed = await aclient.commit(reservation.reservation_id, 40)
    refund = await aclient.refund(decision.event_id)
    usage = await aclient.usage(subject)

    assert (extended.state, committed.amount, refund.refunds) == ("held", 40, decision.event_id)
    assert {limit.name: limit.used for limit in usage.limits}["tokens-day"] == 40
    assert not (await aclient.check(subject, metric="tokens", amount=50_000)).allowed
    with pytest.raises(QuotaExceeded):
        await aclient.consume(subject, metric="tokens", amount=50_000)


def test_settings_that_cannot_be_are_refused_at_once() -> None:
    for url, key, settings in [
        ("localhost:8080", "k", {}),
        ("http://localhost", "", {}),
        ("http://localhost", "k", {"retries": 11}),
        ("http://localhost", "k", {"timeout_s": 0}),
    ]:
        with pytest.raises(ValueError, match="must"):
            Headroom(url, key, on_unavailable="closed", **settings)
    with pytest.raises(ValueError, match="on_unavailable"):
        Headroom("http://localhost", "k", on_unavailable="maybe")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Headroom("http://localhost", "k")  # type: ignore[call-arg]
