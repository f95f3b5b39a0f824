"""FastAPI: dependencies that charge a route, and answers that say why one is refused."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from .aio import AsyncHeadroom
from .answers import Decision
from .errors import ApiError, Forbidden, HeadroomError, NotFound, QuotaExceeded, Unavailable
from .holding import Held

_log = logging.getLogger("headroom_client")

_PROBLEM = "application/problem+json"
#: What a caller of the backend is told; all else is between the backend and the service.
_FOR_CALLERS = frozenset(
    {
        "type",
        "title",
        "status",
        "detail",
        "code",
        "violated-policies",
        "limits",
        "upgrade_url",
        "recommended_plan",
        "plan",
        "request_id",
    }
)


class Quota:
    """Makes dependencies for routes.

    `subject` is itself a dependency, and answers who is charged: `user:u_1`. There the backend's own sign-in goes.
    """

    def __init__(self, client: AsyncHeadroom, subject: Callable[..., Any]) -> None:
        self._client = client
        self._subject = subject

    def install(self, app: FastAPI) -> None:
        """Answers refusals with 429 or 403 and the service's problem, and a service that is away with 503."""
        app.add_exception_handler(QuotaExceeded, _refused)
        app.add_exception_handler(Forbidden, _refused)
        app.add_exception_handler(Unavailable, _away)
        app.add_exception_handler(ApiError, _broken)

    def charge(
        self,
        *,
        model: str | Callable[..., Any] | None = None,
        metric: str | None = None,
        amount: int | Callable[..., Any] = 1,
        refund_on_error: bool = False,
    ) -> Callable[..., AsyncIterator[Decision]]:
        """A dependency that charges before the route runs. `model` and `amount` may be dependencies themselves.

        With `refund_on_error` an exception of the route, also an `HTTPException`, gives the units back.
        """
        client = self._client

        async def charge(
            response: Response,
            subject: str | None = Depends(self._subject),
            model: str | None = Depends(_constant(model)),
            amount: int = Depends(_constant(amount)),
        ) -> AsyncIterator[Decision]:
            decision = await client.consume(subject, model=model, metric=metric, amount=amount)
            response.headers.update(decision.headers)
            try:
                yield decision
            except BaseException:
                if refund_on_error and decision.event_id is not None:
                    await client._beyond_cancellation(_give_back(client, decision.event_id))
                raise

        return charge

    def hold(
        self,
        *,
        model: str | Callable[..., Any] | None = None,
        metric: str | None = None,
        amount: int | Callable[..., Any] = 1,
        ttl_s: int = 300,
        charge_on_error: bool = False,
    ) -> Callable[..., AsyncIterator[Held]]:
        """A dependency that holds units while the route runs, as `AsyncHeadroom.reservation` does.

        With FastAPI 0.118 and later a route's dependencies live until its answer is sent: also one that is streamed.
        """
        client = self._client

        async def hold(
            response: Response,
            subject: str | None = Depends(self._subject),
            model: str | None = Depends(_constant(model)),
            amount: int = Depends(_constant(amount)),
        ) -> AsyncIterator[Held]:
            holding = client.reservation(
                subject, model=model, metric=metric, amount=amount, ttl_s=ttl_s, charge_on_error=charge_on_error
            )
            async with holding as held:
                response.headers.update(held.reservation.decision.headers)
                yield held

        return hold


def _constant(value: Any) -> Callable[..., Any]:
    if callable(value):
        return value  # type: ignore[no-any-return]

    def constant() -> Any:
        return value

    return constant


async def _give_back(client: AsyncHeadroom, event_id: str) -> None:
    try:
        await client.refund(event_id)
    except HeadroomError as error:
        _log.error("headroom could not refund %s: %s", event_id, error)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - what it was installed for
    problem = error.problem
    if problem.code == "permission_denied":
        return await _broken(_request, error)
    body = {name: value for name, value in problem.body.items() if name in _FOR_CALLERS}
    return JSONResponse(body, problem.status, headers=dict(problem.headers), media_type=_PROBLEM)


async def _away(_request: Request, error: Exception) -> Response:
    problem = error.problem if isinstance(error, Unavailable) else None
    retry_after_s = problem.retry_after_s if problem else None
    _log.error("headroom gives no answer: %s", error)
    body = {"title": "Service Unavailable", "status": 503, "code": "store_unavailable"}
    return JSONResponse(body, 503, headers={"Retry-After": str(retry_after_s or 1)}, media_type=_PROBLEM)


async def _broken(_request: Request, error: Exception) -> Response:
    # A key that is not valid, or a metric that does not exist: the backend's own mistake, and not its caller's.
    is_callers = isinstance(error, NotFound) and error.problem.code == "unknown_subject"
    _log.error("headroom refuses the backend: %s", error)
    status = 404 if is_callers else 500
    return JSONResponse({"title": "Internal Server Error", "status": status}, status, media_type=_PROBLEM)
