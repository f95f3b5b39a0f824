"""Blocks of work that hold units while they run."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from . import calls
from .answers import Reservation, Settled
from .calls import Ask
from .errors import ApiError, HeadroomError, Unavailable

if TYPE_CHECKING:
    from .aio import AsyncHeadroom
    from .client import Headroom

_log = logging.getLogger("headroom_client")

#: A hold is extended when a third of its time has passed, so that one lost extend does not end it.
_EXTENDS_IN_A_TTL = 3


class Held:
    """The units of a running block."""

    def __init__(self, reservation: Reservation) -> None:
        #: The hold, with the decision that allowed it.
        self.reservation = reservation
        #: What the block took so far; `None` until it says so.
        self.used: int | None = None
        #: What has become of the hold, after the block. `None` too when there was none to settle.
        self.settled: Settled | None = None

    def use(self, amount: int) -> None:
        """Adds to what the block took."""
        if amount < 0:
            raise ValueError("amount must not be below 0")
        self.used = (self.used or 0) + amount

    @property
    def reservation_id(self) -> str | None:
        return self.reservation.reservation_id

    def to_commit(self, is_failed: bool, charge_on_error: bool) -> int | None:
        """What will be charged; `None` releases all. Who never said what was used, used all that is held."""
        if is_failed:
            return self.used if charge_on_error else None
        return self.reservation.amount if self.used is None else self.used


class AsyncHolding:
    """`async with`: reserves, extends, and then commits or releases."""

    def __init__(self, client: AsyncHeadroom, ask: Ask, ttl_s: int, charge_on_error: bool) -> None:
        self._client = client
        self._ask = ask
        self._ttl_s = ttl_s
        self._charge_on_error = charge_on_error
        self._extender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Held:
        self._held = Held(await self._client._do(calls.reserve(self._ask, self._ttl_s, None)))
        if self._held.reservation_id is not None:
            self._extender = asyncio.create_task(self._extend(self._held.reservation_id))
        return self._held

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self._extender is not None:
            self._extender.cancel()
        if (reservation_id := self._held.reservation_id) is None:
            return
        # Also a block that was cancelled gives back what it holds, and at once.
        await self._client._beyond_cancellation(self._settle(reservation_id, is_failed=error is not None))

    async def _settle(self, reservation_id: str, *, is_failed: bool) -> None:
        try:
            if (amount := self._held.to_commit(is_failed, self._charge_on_error)) is None:
                self._held.settled = await self._client.release(reservation_id)
            else:
                self._held.settled = await self._client.commit(reservation_id, amount)
        except HeadroomError as error:
            if may_not_raise(self._client.policy.on_unavailable, error, is_failed):
                tell_unsettled(reservation_id, error)
            else:
                raise

    async def _extend(self, reservation_id: str) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / _EXTENDS_IN_A_TTL)
            try:
                await self._client.extend(reservation_id, self._ttl_s)
            except ApiError as error:
                _log.error("headroom does not extend %s any more: %s", reservation_id, error)
                return
            except HeadroomError as error:
                _log.warning("headroom could not extend %s: %s", reservation_id, error)


class SyncHolding:
    """`with`: reserves, extends from a thread, and then commits or releases."""

    def __init__(self, client: Headroom, ask: Ask, ttl_s: int, charge_on_error: bool) -> None:
        self._client = client
        self._ask = ask
        self._ttl_s = ttl_s
        self._charge_on_error = charge_on_error
        self._is_over = threading.Event()

    def __enter__(self) -> Held:
        self._held = Held(self._client._do(calls.reserve(self._ask, self._ttl_s, None)))
        if (reservation_id := self._held.reservation_id) is not None:
            threading.Thread(target=self._extend, args=[reservation_id], daemon=True).start()
        return self._held

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._is_over.set()
        if (reservation_id := self._held.reservation_id) is not None:
            self._settle(reservation_id, is_failed=error is not None)

    def _settle(self, reservation_id: str, *, is_failed: bool) -> None:
        try:
            if (amount := self._held.to_commit(is_failed, self._charge_on_error)) is None:
                self._held.settled = self._client.release(reservation_id)
            else:
                self._held.settled = self._client.commit(reservation_id, amount)
        except HeadroomError as error:
            if may_not_raise(self._client.policy.on_unavailable, error, is_failed):
                tell_unsettled(reservation_id, error)
            else:
                raise

    def _extend(self, reservation_id: str) -> None:
        while not self._is_over.wait(self._ttl_s / _EXTENDS_IN_A_TTL):
            try:
                self._client.extend(reservation_id, self._ttl_s)
            except ApiError as error:
                if not self._is_over.is_set():
                    _log.error("headroom does not extend %s any more: %s", reservation_id, error)
                return
            except HeadroomError as error:
                _log.warning("headroom could not extend %s: %s", reservation_id, error)


def may_not_raise(on_unavailable: str, error: HeadroomError, is_failed: bool) -> bool:
    """The block's own error goes first, and a client that fails open does not fail work that is done."""
    return is_failed or (on_unavailable == "open" and isinstance(error, Unavailable))


def tell_unsettled(reservation_id: str, error: HeadroomError) -> None:
    # The units come back by themselves when the hold ends.
    _log.error("headroom could not settle %s: %s", reservation_id, error)
