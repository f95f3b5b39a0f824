"""Each operation of the service as a request and what its answer means. Without I/O."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from . import answers
from .answers import Decision, Json, Refund, Reservation, Settled, Usage
from .attempts import Outcome, Policy, is_passing
from .errors import HeadroomError, QuotaExceeded, Unavailable, error_of, problem_of

T = TypeVar("T")

#: Serializable by `json`.
Metadata = Mapping[str, Any]

_log = logging.getLogger("headroom_client")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One operation, sent as often as it takes."""

    method: str
    path: str
    decode: Callable[[Json, Mapping[str, str]], T]
    body: Json | None = None
    #: The same in each attempt, so that one whose answer was lost is not charged again.
    idempotency_key: str | None = None
    #: The answer of a client that fails open; `None` for what must not be made up.
    when_open: Callable[[], T] | None = None
    #: What a refusal means for a question; `None` raises it.
    when_refused: Callable[[Decision], T] | None = None

    def headers(self) -> dict[str, str]:
        return {"Idempotency-Key": f'"{self.idempotency_key}"'} if self.idempotency_key else {}

    def conclude(self, outcome: Outcome, policy: Policy) -> T:
        """What the last attempt comes to: the answer, or an error that is raised."""
        if isinstance(outcome, httpx.Response):
            if outcome.is_success:
                return self._decoded(outcome)
            if not is_passing(outcome):
                return self._refused(outcome)
        error = self._unavailable(outcome)
        if policy.on_unavailable == "closed" or self.when_open is None:
            raise error from (outcome if isinstance(outcome, Exception) else None)
        _log.warning("headroom gives no answer, the request passes uncharged: %s", error)
        return self.when_open()

    def _decoded(self, response: httpx.Response) -> T:
        try:
            return self.decode(response.json(), response.headers)
        except (ValueError, KeyError, TypeError) as error:
            raise HeadroomError(f"{self.path} is not answered by headroom: {error!r}") from error

    def _refused(self, response: httpx.Response) -> T:
        error = error_of(response)
        if self.when_refused and isinstance(error, QuotaExceeded) and error.decision:
            return self.when_refused(error.decision)
        raise error

    def _unavailable(self, outcome: Outcome) -> Unavailable:
        if isinstance(outcome, httpx.Response):
            problem = problem_of(outcome)
            reason = f"{problem.status} {problem.code}: {problem.detail}"
            return Unavailable(reason, self.idempotency_key, problem)
        return Unavailable(f"{type(outcome).__name__}: {outcome}", self.idempotency_key)


@dataclass(frozen=True, slots=True)
class Ask:
    """Who is charged, and for what: exactly one of `model`, `metric` and, in a check, `feature`."""

    #: `None` is a caller who has not signed in.
    subject: str | None
    model: str | None = None
    metric: str | None = None
    amount: int = 1
    feature: str | None = None
    metadata: Metadata | None = field(default=None)

    def body(self) -> dict[str, Any]:
        fields = {
            "subject": self.subject,
            "model": self.model,
            "metric": self.metric,
            "feature": self.feature,
            "amount": None if self.feature else self.amount,
            "metadata": self.metadata,
        }
        return {name: value for name, value in fields.items() if value is not None}


def check(ask: Ask) -> Call[Decision]:
    return Call(
        "POST",
        "/v1/check",
        answers.decision,
        ask.body(),
        when_open=answers.passed_without_asking,
        when_refused=lambda decision: decision,
    )


def consume(ask: Ask, idempotency_key: str | None) -> Call[Decision]:
    key = idempotency_key or new_key()
    return Call("POST", "/v1/consume", answers.decision, ask.body(), key, when_open=answers.passed_without_asking)


def reserve(ask: Ask, ttl_s: int, idempotency_key: str | None) -> Call[Reservation]:
    def without_hold() -> Reservation:
        return Reservation(None, ask.amount, None, answers.passed_without_asking())

    key = idempotency_key or new_key()
    body = {**ask.body(), "ttl_s": ttl_s}
    return Call("POST", "/v1/reservations", answers.reservation, body, key, when_open=without_hold)


def commit(
    reservation_id: str, amount: int, strict: bool, metadata: Metadata | None, idempotency_key: str | None
) -> Call[Settled]:
    body: dict[str, Any] = {"amount": amount, "strict": strict}
    if metadata is not None:
        body["metadata"] = metadata
    return _settle(reservation_id, "commit", body, idempotency_key)


def release(reservation_id: str, idempotency_key: str | None) -> Call[Settled]:
    return _settle(reservation_id, "release", {}, idempotency_key)


def extend(reservation_id: str, ttl_s: int, idempotency_key: str | None) -> Call[Settled]:
    return _settle(reservation_id, "extend", {"ttl_s": ttl_s}, idempotency_key)


def refund(event_id: str) -> Call[Refund]:
    # An event is refunded once, with any key: the same answer comes again.
    return Call("POST", f"/v1/events/{_segment(event_id)}:refund", answers.refund, {})


def usage(subject: str) -> Call[Usage]:
    return Call("GET", f"/v1/subjects/{_segment(subject)}/usage", answers.usage)


def new_key() -> str:
    return str(uuid.uuid4())


def _settle(reservation_id: str, act: str, body: Json, idempotency_key: str | None) -> Call[Settled]:
    path = f"/v1/reservations/{_segment(reservation_id)}:{act}"
    return Call("POST", path, answers.settled, body, idempotency_key or new_key())


def _segment(text: str) -> str:
    return quote(text, safe=":")
