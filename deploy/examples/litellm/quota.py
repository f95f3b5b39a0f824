"""A callback of LiteLLM's proxy: each call is charged to its model, and its tokens to `tokens`."""

import os

from headroom_client import AsyncHeadroom
from headroom_client.litellm import HeadroomCallback

# The proxy of this example gives no call away: it fails closed.
client = AsyncHeadroom(os.environ["HEADROOM_URL"], os.environ["HEADROOM_API_KEY"], on_unavailable="closed")

headroom = HeadroomCallback(client, tokens="tokens")
