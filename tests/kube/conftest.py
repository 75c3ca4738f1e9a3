"""A port that nobody listens on, and the administrator's connection."""

import socket
from collections.abc import AsyncIterator

import pytest
from tests.support.scripted_api import As

from kubemtu.kube.api import Api


@pytest.fixture
def unused_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
async def api(as_user: As) -> AsyncIterator[Api]:
    """Return the administrator's connection to the lab's server."""
    async with as_user("admin") as open_api:
        yield open_api
