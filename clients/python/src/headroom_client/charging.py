"""Functions whose calls are charged."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from . import calls
from .answers import Decision
from .calls import Ask
from .errors import HeadroomError

if TYPE_CHECKING:
    from .aio import AsyncHeadroom
    from .client import Headroom

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("headroom_client")


def decorator(
    client: Headroom, subject: Callable[P, str], ask: Ask, refund_on_error: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def charged(*args: P.args, **kwargs: P.kwargs) -> R:
            whom = replace(ask, subject=subject(*args, **kwargs))
            decision = client._do(calls.consume(whom, None))
            try:
                return function(*args, **kwargs)
            except BaseException:
                if refund_on_error:
                    _refund(client, decision)
                raise

        return charged

    return decorate


def async_decorator(
    client: AsyncHeadroom, subject: Callable[P, str], ask: Ask, refund_on_error: bool
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        @functools.wraps(function)
        async def charged(*args: P.args, **kwargs: P.kwargs) -> R:
            whom = replace(ask, subject=subject(*args, **kwargs))
            decision = await client._do(calls.consume(whom, None))
            try:
                return await function(*args, **kwargs)
            except BaseException:
                if refund_on_error:
                    await client._beyond_cancellation(_async_refund(client, decision))
                raise

        return charged

    return decorate


def _refund(client: Headroom, decision: Decision) -> None:
    if decision.event_id is None:
        return
    try:
        client.refund(decision.event_id)
    except HeadroomError as error:
        _tell(decision.event_id, error)


async def _async_refund(client: AsyncHeadroom, decision: Decision) -> None:
    if decision.event_id is None:
        return
    try:
        await client.refund(decision.event_id)
    except HeadroomError as error:
        _tell(decision.event_id, error)


def _tell(event_id: str, error: HeadroomError) -> None:
    # The function's own error is what its caller must see.
    _log.error("headroom could not refund %s: %s", event_id, error)
