"""One service for all tests; every test has subjects of its own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from headroom_client import AsyncHeadroom, Headroom

from .service import Network, Service, running

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def network(service: Service) -> Iterator[Network]:
    with Network(service) as network:
        yield network


@pytest.fixture
def subject() -> str:
    return f"user:u_{next(_numbers)}"


@pytest.fixture
def client(network: Network) -> Iterator[Headroom]:
    key = network.service.backend_key
    with Headroom(network.url, key, on_unavailable="closed", timeout_s=30, deadline_s=60) as client:
        yield client


@pytest.fixture
async def aclient(network: Network) -> AsyncIterator[AsyncHeadroom]:
    key = network.service.backend_key
    async with AsyncHeadroom(network.url, key, on_unavailable="closed", timeout_s=30, deadline_s=60) as client:
        yield client
