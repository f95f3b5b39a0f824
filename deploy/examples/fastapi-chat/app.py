"""A chat backend: each message is charged before it is answered, and tokens are held while the answer streams.

Run it as README.md says.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from headroom_client import AsyncHeadroom, Decision, Held, Usage
from headroom_client.fastapi import Quota

ANSWER_TOKENS_MAX = 500

# This chat would rather be silent than give messages away: it fails closed.
client = AsyncHeadroom(os.environ["HEADROOM_URL"], os.environ["HEADROOM_API_KEY"], on_unavailable="closed")


class Message(BaseModel):
    model: str
    text: str


def signed_in(x_user: Annotated[str | None, Header()] = None) -> str:
    """Who is charged. A real backend looks at its session here."""
    if x_user is None:
        raise HTTPException(401, "sign in first")
    return f"user:{x_user}"


def model_of(message: Message) -> str:
    return message.model


async def answer(message: Message, held: Held) -> AsyncIterator[str]:
    """A model that repeats what it is told, a word at a time. A token is a word."""
    for word in message.text.split()[:ANSWER_TOKENS_MAX]:
        held.use(1)
        yield f"{word} "


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await client.aclose()


quota = Quota(client, signed_in)
app = FastAPI(lifespan=lifespan)
quota.install(app)

Charged = Annotated[Decision, Depends(quota.charge(model=model_of))]
HeldTokens = Annotated[Held, Depends(quota.hold(metric="tokens", amount=ANSWER_TOKENS_MAX, charge_on_error=True))]


@app.post("/chat")
async def chat(message: Message, charged: Charged, held: HeldTokens) -> StreamingResponse:
    """Charges one message of the model; then as many tokens as were sent, also when the reader goes away."""
    return StreamingResponse(answer(message, held), media_type="text/plain", headers=dict(charged.headers))


@app.get("/usage")
async def usage(subject: Annotated[str, Depends(signed_in)]) -> Usage:
    """What the user has left, for the front end."""
    return await client.usage(subject)
