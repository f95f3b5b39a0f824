"""LiteLLM's proxy: a callback that holds units before each call and charges what it took afterwards.

In a file beside the proxy's `config.yaml`, named there as `litellm_settings: {callbacks: ["quota.headroom"]}`:

    from headroom_client import AsyncHeadroom
    from headroom_client.litellm import HeadroomCallback

    client = AsyncHeadroom("http://127.0.0.1:8080", key, on_unavailable="closed")
    headroom = HeadroomCallback(client, tokens="tokens")

LiteLLM tells the end of a call to one callback of a class, so one does it all.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

from .aio import AsyncHeadroom
from .errors import ApiError, HeadroomError, QuotaExceeded, Unavailable

_log = logging.getLogger("headroom_client")

#: Calls that take units; all others pass.
CALL_TYPES = frozenset(
    {
        "completion",
        "acompletion",
        "text_completion",
        "atext_completion",
        "embedding",
        "aembedding",
        "embeddings",
        "responses",
        "aresponses",
        "anthropic_messages",
        "aanthropic_messages",
    }
)

#: Where LiteLLM carries what a callback must find again; which of them depends on the kind of call.
_METADATA = ("metadata", "litellm_metadata")

_NAME = "headroom"
_CALLS = "calls"
_TOKENS = "tokens"

#: Tokens that an answer may have when the request sets no bound.
ANSWER_TOKENS = 4_096

Subject = Callable[[Any, Mapping[str, Any]], "str | None"]
Estimate = Callable[[Mapping[str, Any]], int]


def subject_of(user_api_key: Any, data: Mapping[str, Any]) -> str | None:
    """The end user that the request names (`user`), or else the user of the virtual key.

    Whoever holds the key says who the end user is. `None` is a caller who has not signed in.
    """
    end_user = getattr(user_api_key, "end_user_id", None) or data.get("user")
    user = end_user or getattr(user_api_key, "user_id", None)
    return f"user:{user}" if user else None


def most_tokens(data: Mapping[str, Any]) -> int:
    """The most tokens that the call may take: a token for every two bytes of what is sent, and the longest answer."""
    sent = data.get("messages") or data.get("input") or data.get("prompt") or ""
    bound = data.get("max_completion_tokens") or data.get("max_tokens") or data.get("max_output_tokens")
    return len(str(sent).encode()) // 2 + int(bound or ANSWER_TOKENS)


class HeadroomCallback(CustomLogger):  # type: ignore[misc]  # LiteLLM has no types that mypy takes
    """Charges each call to its model, by the catalogue's weights; its tokens to the metric `tokens`, if there is one.

    Before a call its model is held once, and the most tokens that it may take; afterwards `usage.total_tokens` is
    charged. A refusal is a 429 (or 403) of the proxy. A call that fails for good, after the proxy's own retries and
    fallbacks, gives back what it holds; one whose end the proxy never hears of has its units back after `ttl_s`.

    Whether calls pass while the service is away is the client's `on_unavailable`.
    """

    def __init__(
        self,
        client: AsyncHeadroom,
        *,
        calls: bool = True,
        tokens: str | None = None,
        subject: Subject = subject_of,
        estimate: Estimate = most_tokens,
        ttl_s: int = 600,
    ) -> None:
        super().__init__()
        if not calls and tokens is None:
            raise ValueError("calls or tokens must be charged")
        self._client = client
        self._calls = calls
        self._tokens = tokens
        self._subject = subject
        self._estimate = estimate
        self._ttl_s = ttl_s

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Holds units, or refuses the call."""
        if call_type not in CALL_TYPES:
            return data
        held: dict[str, str] = {}
        try:
            await self._hold(self._subject(user_api_key_dict, data), data, held)
        except HeadroomError as error:
            await self._release(held)
            raise _answer(error) from error
        _remember(data, held)
        return data

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Charges what the call took; of a streamed one at its end."""
        for what, reservation_id in _recall(kwargs.get("litellm_params") or {}).items():
            amount = 1 if what == _CALLS else _total_tokens(response_obj)
            try:
                await self._client.commit(reservation_id, amount, idempotency_key=_key("commit", reservation_id))
            except HeadroomError as error:
                _log.error("headroom could not commit %s: %s", reservation_id, error)

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """Gives back what a failed call holds."""
        await self._release(_recall(request_data))

    async def _hold(self, subject: str | None, data: Mapping[str, Any], held: dict[str, str]) -> None:
        if self._calls:
            reservation = await self._client.reserve(subject, model=data.get("model"), ttl_s=self._ttl_s)
            held[_CALLS] = reservation.reservation_id or ""
        if self._tokens:
            amount = self._estimate(data)
            reservation = await self._client.reserve(subject, metric=self._tokens, amount=amount, ttl_s=self._ttl_s)
            held[_TOKENS] = reservation.reservation_id or ""

    async def _release(self, held: Mapping[str, str]) -> None:
        for reservation_id in filter(None, held.values()):
            try:
                await self._client.release(reservation_id, idempotency_key=_key("release", reservation_id))
            except HeadroomError as error:
                _log.error("headroom could not release %s: %s", reservation_id, error)


def _remember(data: MutableMapping[str, Any], held: Mapping[str, str]) -> None:
    """Writes what a call holds to where LiteLLM carries it along."""
    # Whatever the caller wrote there is gone: nobody settles the reservation of another.
    for place in _METADATA:
        metadata = data.get(place)
        if isinstance(metadata, dict):
            metadata.pop(_NAME, None)
    place = "litellm_metadata" if isinstance(data.get("litellm_metadata"), dict) else "metadata"
    metadata = data.setdefault(place, {})
    if isinstance(metadata, dict):
        # A client that fails open held nothing.
        metadata[_NAME] = {what: reservation_id for what, reservation_id in held.items() if reservation_id}


def _recall(data: Mapping[str, Any]) -> Mapping[str, str]:
    for place in _METADATA:
        metadata = data.get(place)
        if isinstance(metadata, Mapping) and isinstance(held := metadata.get(_NAME), dict):
            return held
    return {}


def _total_tokens(response: Any) -> int:
    return int(_field(_field(response, "usage"), "total_tokens") or 0)


def _answer(error: HeadroomError) -> HTTPException:
    """What the proxy answers. Its callers see why they are refused, and nothing of the proxy's own mistakes."""
    if isinstance(error, Unavailable):
        return HTTPException(503, {"error": "quota service unavailable"}, {"Retry-After": "1"})
    if not isinstance(error, ApiError):
        return HTTPException(500, {"error": "quota service error"})
    problem = error.problem
    is_callers = isinstance(error, QuotaExceeded) or (problem.status == 403 and problem.code != "permission_denied")
    if not is_callers:
        _log.error("headroom refuses the proxy: %s", error)
        return HTTPException(500, {"error": "quota service error"})
    told = {"error": problem.detail, "code": problem.code, "violated-policies": list(problem.violated_policies)}
    return HTTPException(problem.status, told, dict(problem.headers))


def _key(act: str, reservation_id: str) -> str:
    """The same however often LiteLLM tells the end of a call."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{act} {reservation_id}"))


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
