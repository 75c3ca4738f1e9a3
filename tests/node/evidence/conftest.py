"""Lines of two hosts and two routers that carry real TCP: a serves, b asks, and everything is driven from the test."""

import os
import shutil
from collections.abc import Iterator

import pytest
from tests.support.tcp_lines import TcpLine, TcpLineMaker

from kubemtu_lab.line import faults


@pytest.fixture(scope="module")
def tcp_lines(namespaces: None) -> Iterator[TcpLineMaker]:
    """Make lines, and deletes them at the end of the module."""
    made: list[TcpLine] = []

    def make(*broken: faults.Fault, probing: int = 0) -> TcpLine:
        made.append(tcp_line := TcpLine(*broken, probing=probing))
        return tcp_line

    yield make
    for tcp_line in made:
        tcp_line.close()


@pytest.fixture(scope="session", autouse=True)
def nft(namespaces: None) -> None:
    """Skips where there is no nft to make a network lose."""
    if shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        assert not os.environ.get("CI"), "nft must be there in CI"
        pytest.skip("nft (nftables) is not there")
