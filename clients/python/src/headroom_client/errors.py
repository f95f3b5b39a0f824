"""Why a request is not answered with what was asked for: one class a kind of problem (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from . import answers
from .answers import Decision


@dataclass(frozen=True, slots=True)
class Problem:
    """The service's own words: `application/problem+json`."""

    status: int
    #: For programs: `limit_exceeded`, `model_not_allowed`, …; empty when the answer was no problem of the service.
    code: str
    type: str
    title: str
    #: What is wrong with this request, for people.
    detail: str
    request_id: str
    upgrade_url: str | None
    #: Names of the limits that leave no room.
    violated_policies: tuple[str, ...]
    #: Seconds after which the same request may pass.
    retry_after_s: int | None
    #: The body as it came, to be passed on.
    body: Mapping[str, Any]
    #: `RateLimit`, `RateLimit-Policy` and `Retry-After`, as far as they were sent.
    headers: Mapping[str, str] = field(default_factory=dict)


class HeadroomError(Exception):
    """Whatever this client raises."""


class Unavailable(HeadroomError):
    """No answer, or a 503, after every retry. What was asked may have been done: the idempotency key tells."""

    def __init__(self, reason: str, idempotency_key: str | None = None, problem: Problem | None = None) -> None:
        super().__init__(reason)
        #: Sent again with this key, the request is done once.
        self.idempotency_key = idempotency_key
        #: `None` when the service did not answer at all.
        self.problem = problem


class ApiError(HeadroomError):
    """The service refuses, and says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.code}: {problem.detail} (request {problem.request_id})")
        self.problem = problem


class QuotaExceeded(ApiError):
    """429: a limit leaves no room. Nothing was charged."""

    def __init__(self, problem: Problem, decision: Decision | None) -> None:
        super().__init__(problem)
        #: Every limit that the request was measured against; `None` for a refusal without limits.
        self.decision = decision


class InvalidRequest(ApiError):
    """400, 413, 415, 422 and the like: a mistake of the caller, also a key that was used for something else."""


class Unauthenticated(ApiError):
    """401: no credential, or one that is not valid."""


class Forbidden(ApiError):
    """403: a feature or a model that is not in the plan, a blocked subject, or a key that may not."""


class NotFound(ApiError):
    """404: no such subject, metric, event or reservation within the caller's reach."""


class Conflict(ApiError):
    """409 or 410: what is asked does not fit what has become of the reservation, the event or the grant."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Conflict,
    500: ApiError,
}


def problem_of(response: httpx.Response) -> Problem:
    """Reads any answer that is no success, also one of something between here and the service."""
    body = _object(response)
    return Problem(
        status=response.status_code,
        code=str(body.get("code", "")),
        type=str(body.get("type", "about:blank")),
        title=str(body.get("title", response.reason_phrase)),
        detail=str(body.get("detail", response.reason_phrase)),
        request_id=str(body.get("request_id", response.headers.get("X-Request-Id", ""))),
        upgrade_url=body.get("upgrade_url"),
        violated_policies=tuple(body.get("violated-policies", ())),
        retry_after_s=retry_after_s(response),
        body=body,
        headers={name: response.headers[name] for name in answers.RATE_LIMIT_HEADERS if name in response.headers},
    )


def error_of(response: httpx.Response) -> ApiError:
    """The error that a refusal is raised as."""
    problem = problem_of(response)
    if problem.status == 429:
        has_limits = "limits" in problem.body
        decision = answers.decision(problem.body, response.headers) if has_limits else None
        return QuotaExceeded(problem, decision)
    return _BY_STATUS.get(problem.status, InvalidRequest)(problem)


def retry_after_s(response: httpx.Response) -> int | None:
    """Seconds, by the header; `None` without one, or with a date."""
    text = response.headers.get("Retry-After", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _object(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
