"""Two API servers to talk to: a scripted one for what no healthy server does, the lab's own for everything else."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tests.support import scripted_api
from tests.support.scripted_api import QUICK, As, Scripted

from kubemtu.kube import connect
from kubemtu.kube.api import Api
from kubemtu_lab import api as lab_api


@pytest.fixture
def scripted() -> Scripted:
    """Make an Api whose server says just that, and the list of what it was asked."""
    return scripted_api.scripted


@pytest.fixture
async def server() -> AsyncIterator[lab_api.ApiBackend]:
    """Return the lab's API server; `reader` is a user whom no rule knows."""
    async with lab_api.api(users={"reader": ["viewers"]}) as running:
        yield running


@pytest.fixture
def as_user(server: lab_api.ApiBackend, tmp_path: Path) -> As:
    """Connect to the lab's server as one of its users, by a kubeconfig."""

    @contextlib.asynccontextmanager
    async def connected(user: str) -> AsyncIterator[Api]:
        path = tmp_path / f"kubeconfig-{user}"
        path.write_text(yaml.safe_dump(server.kubeconfig(user=user)), "utf-8")
        async with Api(connect.settings(str(path), environ={}), backoff=QUICK) as open_api:
            yield open_api

    return connected
