"""The client that awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import httpx

from . import calls, charging
from .answers import Decision, Refund, Reservation, Settled, Usage
from .attempts import Attempts, OnUnavailable, Outcome, Policy
from .calls import Ask, Call, Metadata
from .connection import Connection
from .holding import AsyncHolding

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class AsyncHeadroom:
    """Asks the service from one event loop. Safe to share between its tasks; one for a process is enough.

    `on_unavailable` says what a decision is when the service gives none, and has no default: "closed" raises
    `Unavailable`, "open" lets the request pass uncharged and `degraded`.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        on_unavailable: OnUnavailable,
        timeout_s: float = 2.0,
        deadline_s: float = 5.0,
        retries: int = 2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.policy = Policy(on_unavailable, timeout_s, deadline_s, retries)
        connection = Connection(url, key)
        self._beyond: set[asyncio.Task[Any]] = set()
        self._http = httpx.AsyncClient(base_url=connection.url, headers=connection.headers(), transport=transport)

    async def check(
        self,
        subject: str | None,
        *,
        model: str | None = None,
        metric: str | None = None,
        feature: str | None = None,
        amount: int = 1,
    ) -> Decision:
        """Would it be accepted now? A refusal is an answer here: `allowed` is false."""
        return await self._do(calls.check(Ask(subject, model, metric, amount, feature)))

    async def consume(
        self,
        subject: str | None,
        *,
        model: str | None = None,
        metric: str | None = None,
        amount: int = 1,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Decision:
        """Decides and charges. Raises `QuotaExceeded` when a limit leaves no room."""
        return await self._do(calls.consume(Ask(subject, model, metric, amount, None, metadata), idempotency_key))

    async def reserve(
        self,
        subject: str | None,
        *,
        model: str | None = None,
        metric: str | None = None,
        amount: int = 1,
        ttl_s: int = 300,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Reservation:
        """Decides as `consume` does and holds the units, until they are settled or `ttl_s` has passed."""
        ask = Ask(subject, model, metric, amount, None, metadata)
        return await self._do(calls.reserve(ask, ttl_s, idempotency_key))

    async def commit(
        self,
        reservation_id: str,
        amount: int,
        *,
        strict: bool = False,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Settled:
        """Charges what the work took. With `strict`, more than was held is refused when it does not fit."""
        return await self._do(calls.commit(reservation_id, amount, strict, metadata, idempotency_key))

    async def release(self, reservation_id: str, *, idempotency_key: str | None = None) -> Settled:
        """Gives all that is held back."""
        return await self._do(calls.release(reservation_id, idempotency_key))

    async def extend(self, reservation_id: str, ttl_s: int, *, idempotency_key: str | None = None) -> Settled:
        """Holds the units for `ttl_s` from now on."""
        return await self._do(calls.extend(reservation_id, ttl_s, idempotency_key))

    async def refund(self, event_id: str) -> Refund:
        """Gives back exactly what an event took, once."""
        return await self._do(calls.refund(event_id))

    async def usage(self, subject: str) -> Usage:
        """The state of every limit of the subject."""
        return await self._do(calls.usage(subject))

    def reservation(
        self,
        subject: str | None,
        *,
        model: str | None = None,
        metric: str | None = None,
        amount: int = 1,
        ttl_s: int = 300,
        metadata: Metadata | None = None,
        charge_on_error: bool = False,
    ) -> AsyncHolding:
        """`async with client.reservation(…) as held:` holds units for the block, and extends the hold while it runs.

        Then it charges what `held.use(…)` added up to, or all that is held without it. An exception gives all back;
        with `charge_on_error` what was used until then is charged, as for a stream whose reader goes away.
        """
        return AsyncHolding(self, Ask(subject, model, metric, amount, None, metadata), ttl_s, charge_on_error)

    def charged(
        self,
        *,
        subject: Callable[P, str],
        model: str | None = None,
        metric: str | None = None,
        amount: int = 1,
        refund_on_error: bool = False,
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
        """A decorator: each call is charged to what `subject` makes of its arguments, before it runs."""
        return charging.async_decorator(self, subject, Ask(None, model, metric, amount), refund_on_error)

    async def aclose(self) -> None:
        """Finishes what cancelled work left to give back, and closes the connections."""
        await asyncio.gather(*self._beyond, return_exceptions=True)
        await self._http.aclose()

    async def __aenter__(self) -> AsyncHeadroom:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _do(self, call: Call[T]) -> T:
        attempts = Attempts(self.policy)
        while True:
            outcome = await self._attempt(call, attempts.timeout_s())
            wait_s = attempts.wait_s(outcome)
            if wait_s is None:
                return call.conclude(outcome, self.policy)
            await asyncio.sleep(wait_s)

    async def _attempt(self, call: Call[T], timeout_s: float) -> Outcome:
        request = self._http.request(call.method, call.path, json=call.body, headers=call.headers(), timeout=timeout_s)
        try:
            return await asyncio.wait_for(request, timeout_s)
        except httpx.TransportError as error:
            return error
        except (TimeoutError, asyncio.TimeoutError):
            return httpx.ReadTimeout(f"no answer within {timeout_s:.3f} s")

    async def _beyond_cancellation(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits work that goes on when the one who awaits it is cancelled."""
        task = asyncio.create_task(work)
        self._beyond.add(task)
        task.add_done_callback(self._beyond.discard)
        return await asyncio.shield(task)
