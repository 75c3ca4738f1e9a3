"""A line of two hosts and two routers for each test, as the tests speak of it, and a station at its far end."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.lines import Net

from kubemtu_lab.line import stations


def _need(what: str, there: bool) -> None:
    if not there:
        assert not os.environ.get("CI"), f"{what} must be there in CI"
        pytest.skip(f"{what} is not there")


@pytest.fixture
def bare(namespaces: None) -> Iterator[Net]:
    """Return a fresh network without a station."""
    with Net() as made:
        yield made


@pytest.fixture
def net(namespaces: None) -> Iterator[Net]:
    """Return a fresh network with a station at its far end."""
    with Net(meanwhile=stations.serve) as made:
        stations.wait(made.processes[0])
        yield made


@pytest.fixture(scope="session")
def nft() -> None:
    """Skips where there is no nft to make a network lose and mangle."""
    _need("nft (nftables)", shutil.which("nft") is not None or Path("/usr/sbin/nft").exists())


@pytest.fixture(scope="session")
def tun() -> None:
    """Skips where there is no TUN device to make a round trip take its time."""
    _need("/dev/net/tun", Path("/dev/net/tun").exists())
