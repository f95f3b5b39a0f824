"""`limits` with its Redis storage: one limit after the other, as its documentation has it."""

from __future__ import annotations

import os

from fastapi import FastAPI, Response
from limits import RateLimitItemPerMonth
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from pydantic import BaseModel

app = FastAPI()
limiter = FixedWindowRateLimiter(RedisStorage(f"async+{os.environ['REDIS_URL']}"))
LARGE = [RateLimitItemPerMonth(1_000_000_000, namespace=name) for name in ("messages", "premium")]
SMALL = [RateLimitItemPerMonth(100, namespace="messages"), RateLimitItemPerMonth(20, namespace="premium")]


class Order(BaseModel):
    subject: str
    model: str


@app.post("/v1/consume")
async def consume(order: Order, response: Response) -> dict[str, bool]:
    messages, premium = SMALL if order.subject.startswith("small:") else LARGE
    allowed = await limiter.hit(messages, order.subject)
    if allowed and order.model.startswith("claude-"):
        allowed = await limiter.hit(premium, order.subject)
    if not allowed:
        response.status_code = 429
    return {"allowed": allowed}


@app.get("/readyz")
async def readyz() -> str:
    return "ready"
