"""Where no station answers, ICMP echo finds the same sizes, within its limits."""

from typing import TYPE_CHECKING

import pytest

from kubemtu.node.probe import echo, paths

if TYPE_CHECKING:
    from tests.support.lines import Net

B4, B6 = "10.9.3.1", "fd09:3::1"
both = pytest.mark.parametrize("address", [B4, B6], ids=["v4", "v6"])
pytestmark = pytest.mark.netns


@both
@pytest.mark.parametrize("ping", [False, True], ids=["raw", "ping socket"])
def test_a_healthy_path(net: "Net", address: str, ping: bool) -> None:
    if ping:
        net.allow_ping()
    found = net.measure(address, over=echo.EchoChannel).forward.search
    assert (found.ending, found.mtu, found.rounds) == ("exact", 1500, 1)


@both
@pytest.mark.parametrize("ping", [False, True], ids=["raw", "ping socket"])
def test_a_router_that_speaks(net: "Net", address: str, ping: bool) -> None:
    if ping:
        net.allow_ping()
    net.middle(1420)
    path = net.measure(address, over=echo.EchoChannel)
    assert (path.forward.search.mtu, path.forward.search.limit) == (1420, "router")
    assert paths.judge(path).kind == "lower"


@both
@pytest.mark.parametrize("mtu", [1450, 1411])
def test_a_black_hole(net: "Net", address: str, mtu: int) -> None:
    net.middle(mtu)
    net.mute()
    path = net.measure(address, over=echo.EchoChannel)
    assert (path.forward.search.ending, path.forward.search.mtu) == ("exact", mtu)
    assert paths.judge(path).kind == "black hole"


def test_a_smaller_way_back_is_not_blamed_over_ipv4(net: "Net") -> None:
    net.ip("r2", "route change 10.9.1.0/24 via 10.9.2.1 mtu lock 1400")
    assert net.measure(over=echo.EchoChannel).forward.search.mtu == 1500


def test_a_host_that_answers_no_echo_is_unreachable(net: "Net") -> None:
    net.ip("b", "link set dev e0 down")
    assert net.measure(over=echo.EchoChannel).forward.search.ending == "unreachable"
