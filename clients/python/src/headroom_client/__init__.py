"""Client of Headroom, the quota service for chat backends.

`Headroom` blocks and `AsyncHeadroom` awaits; otherwise they are the same. What a framework needs is in
`headroom_client.fastapi` and `headroom_client.litellm`, which import that framework.
"""

from .aio import AsyncHeadroom
from .answers import Decision, GivenBack, Limit, Refund, Reservation, Settled, Usage
from .attempts import OnUnavailable, Policy
from .client import Headroom
from .errors import (
    ApiError,
    Conflict,
    Forbidden,
    HeadroomError,
    InvalidRequest,
    NotFound,
    Problem,
    QuotaExceeded,
    Unauthenticated,
    Unavailable,
)
from .holding import Held

__all__ = [
    "ApiError",
    "AsyncHeadroom",
    "Conflict",
    "Decision",
    "Forbidden",
    "GivenBack",
    "Headroom",
    "HeadroomError",
    "Held",
    "InvalidRequest",
    "Limit",
    "NotFound",
    "OnUnavailable",
    "Policy",
    "Problem",
    "QuotaExceeded",
    "Refund",
    "Reservation",
    "Settled",
    "Unauthenticated",
    "Unavailable",
    "Usage",
]
