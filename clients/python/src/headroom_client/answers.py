"""What the service answers. Fields that a newer service adds are passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]

#: Headers of a decision that a backend passes on to its own caller.
RATE_LIMIT_HEADERS = ("RateLimit", "RateLimit-Policy", "Retry-After")


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a subject, after the decision."""

    name: str
    subject: str
    metric: str
    period: str
    #: The most units in a window; `None` is unlimited.
    limit: int | None
    used: int
    reserved: int
    #: Units left in the window; `None` is unlimited.
    remaining: int | None
    granted_remaining: int
    #: When the window ends; `None` for a lifetime limit.
    resets_at: datetime | None
    mode: str
    warning: str

    @property
    def unlimited(self) -> bool:
        return self.limit is None


@dataclass(frozen=True, slots=True)
class Decision:
    """May the request go on, and what is left."""

    allowed: bool
    #: The event that was charged; `None` when nothing was.
    event_id: str | None
    limits: tuple[Limit, ...]
    #: Whether the answer was given without the counters. True too when the client itself let the request pass,
    #: because the service was away and `on_unavailable` is "open".
    degraded: bool
    request_id: str
    plan: str
    upgrade_url: str | None = None
    recommended_plan: str | None = None
    #: Whether the answer repeats that of an earlier request with the same idempotency key.
    replayed: bool = False
    #: `RateLimit`, `RateLimit-Policy` and `Retry-After`, as far as they were sent.
    headers: Mapping[str, str] = field(default_factory=dict)

    def limit(self, name: str) -> Limit:
        """The limit of that name, as `messages-month`. Raises `KeyError` when there is none."""
        for limit in self.limits:
            if limit.name == name:
                return limit
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units that are held for work in progress."""

    #: What to settle it by; `None` when the client let the work pass without a hold, because the service was away.
    reservation_id: str | None
    #: The amount that is held.
    amount: int
    #: When the hold ends by itself.
    expires_at: datetime | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Settled:
    """What has become of a reservation."""

    reservation_id: str
    event_id: str
    #: `committed`, `released` or `held`.
    state: str
    #: The amount that was charged.
    amount: int
    #: The amount that was held, or still is.
    reserved: int
    returned: int
    #: Whether the charge passed a limit.
    overage: bool
    #: Whether the hold had ended by itself before.
    late: bool
    expires_at: datetime | None
    limits: tuple[Limit, ...]
    replayed: bool


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Units that a limit or a grant has again."""

    subject: str
    metric: str
    period: str | None
    units: int


@dataclass(frozen=True, slots=True)
class Refund:
    """What a refund gave back."""

    event_id: str
    refunds: str
    refunded: tuple[GivenBack, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a subject has used."""

    subject: str
    plan: str
    limits: tuple[Limit, ...]
    features: Mapping[str, bool]
    blocked: bool


def limit(data: Json) -> Limit:
    return Limit(
        name=data["name"],
        subject=data["subject"],
        metric=data["metric"],
        period=data["period"],
        limit=data.get("limit"),
        used=data["used"],
        reserved=data["reserved"],
        remaining=data.get("remaining"),
        granted_remaining=data["granted_remaining"],
        resets_at=instant(data["resets_at"]),
        mode=data["mode"],
        warning=data["warning"],
    )


def limits(data: Json) -> tuple[Limit, ...]:
    return tuple(limit(one) for one in data["limits"])


def decision(data: Json, headers: Mapping[str, str]) -> Decision:
    return Decision(
        allowed=data["allowed"],
        event_id=data["event_id"],
        limits=limits(data),
        degraded=data["degraded"],
        request_id=data["request_id"],
        plan=data.get("plan", ""),
        upgrade_url=data.get("upgrade_url"),
        recommended_plan=data.get("recommended_plan"),
        replayed=is_replay(headers),
        headers={name: headers[name] for name in RATE_LIMIT_HEADERS if name in headers},
    )


def reservation(data: Json, headers: Mapping[str, str]) -> Reservation:
    return Reservation(
        # Where the limits' own policy let the work pass without the counters, there is no hold.
        reservation_id=data.get("reservation_id"),
        amount=data.get("amount", 0),
        expires_at=instant(data.get("expires_at")),
        decision=decision(data, headers),
    )


def settled(data: Json, headers: Mapping[str, str]) -> Settled:
    return Settled(
        reservation_id=data["reservation_id"],
        event_id=data["event_id"],
        state=data["state"],
        amount=data["amount"],
        reserved=data["reserved"],
        returned=data["returned"],
        overage=data["overage"],
        late=data["late"],
        expires_at=instant(data["expires_at"]),
        limits=limits(data),
        replayed=is_replay(headers),
    )


def refund(data: Json, _headers: Mapping[str, str]) -> Refund:
    given_back = (GivenBack(one["subject"], one["metric"], one.get("period"), one["units"]) for one in data["refunded"])
    return Refund(data["event_id"], data["refunds"], tuple(given_back))


def usage(data: Json, _headers: Mapping[str, str]) -> Usage:
    return Usage(data["subject"], data["plan"], limits(data), data["features"], data["blocked"])


def passed_without_asking() -> Decision:
    """The decision of a client that fails open: nothing is known and nothing is charged."""
    return Decision(allowed=True, event_id=None, limits=(), degraded=True, request_id="", plan="")


def instant(text: str | None) -> datetime | None:
    # Python 3.10 does not read the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def is_replay(headers: Mapping[str, str]) -> bool:
    return headers.get("Idempotent-Replayed") == "true"
