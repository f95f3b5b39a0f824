"""How often a request is sent, and what follows each time. Without I/O, so that both clients share it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Literal

import httpx

from .errors import retry_after_s

#: What happens to a decision when the service gives no answer: `closed` raises `Unavailable`, `open` lets the request
#: pass uncharged.
OnUnavailable = Literal["open", "closed"]

#: An attempt ended in an answer or in a fault of the network.
Outcome = httpx.Response | httpx.TransportError

RETRIES_MAX = 10
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 1.0
#: The service or something before it is away for a moment. All else would be answered the same again.
_PASSING = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds of one call."""

    on_unavailable: OnUnavailable
    #: How long one attempt waits for the service.
    timeout_s: float = 2.0
    #: How long all attempts and the waits between them may take.
    deadline_s: float = 5.0
    #: How often a request is sent again, 0 to 10.
    retries: int = 2

    def __post_init__(self) -> None:
        if self.on_unavailable not in ("open", "closed"):
            raise ValueError('on_unavailable must be "open" or "closed"')
        if not 0 <= self.retries <= RETRIES_MAX:
            raise ValueError(f"retries must be 0 to {RETRIES_MAX}")
        if self.timeout_s <= 0 or self.deadline_s <= 0:
            raise ValueError("timeout_s and deadline_s must be above 0")


class Attempts:
    """The attempts of one call."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._ends_at_s = time.monotonic() + policy.deadline_s
        self._retries_left = policy.retries
        self._longest_wait_s = _FIRST_WAIT_S

    def timeout_s(self) -> float:
        """How long the next attempt may take."""
        left_s = self._ends_at_s - time.monotonic()
        return max(0.001, min(self._policy.timeout_s, left_s))

    def wait_s(self, outcome: Outcome) -> float | None:
        """Seconds until the next attempt; `None` when there is none, because it is pointless or too late."""
        if not is_passing(outcome) or self._retries_left == 0:
            return None
        wait_s = max(self._jittered_s(), _asked_s(outcome))
        if time.monotonic() + wait_s >= self._ends_at_s:
            return None
        self._retries_left -= 1
        return wait_s

    def _jittered_s(self) -> float:
        longest_s = self._longest_wait_s
        self._longest_wait_s = min(2 * longest_s, _LONGEST_WAIT_S)
        return random.uniform(longest_s / 2, longest_s)


def is_passing(outcome: Outcome) -> bool:
    """Whether the same request may be answered in a moment."""
    return isinstance(outcome, httpx.TransportError) or outcome.status_code in _PASSING


def _asked_s(outcome: Outcome) -> float:
    return 0.0 if isinstance(outcome, httpx.TransportError) else retry_after_s(outcome) or 0.0
