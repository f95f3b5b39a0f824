"""Where the service is, and who calls."""

from __future__ import annotations

from dataclasses import dataclass, field

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Connection:
    """A URL and a key that can be used."""

    url: str
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        if not self.key or not self.key.isascii() or not self.key.isprintable():
            raise ValueError("key must be an API key of the service")

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "User-Agent": f"headroom-client-python/{VERSION}"}
