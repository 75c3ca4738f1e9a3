"""Every kind of path there is, in namespaces: the right class and the exact size, over IPv4 and IPv6."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.node.probe.conftest import Net

B4, B6 = "10.9.3.1", "fd09:3::1"
both = pytest.mark.parametrize("address", [B4, B6], ids=["v4", "v6"])
pytestmark = pytest.mark.netns


@both
def test_a_healthy_path_takes_one_round(net: "Net", address: str) -> None:
    path = net.measure(address, back=True)
    found = path.forward.found
    assert (found.ending, found.mtu, found.limit, found.rounds) == ("exact", 1500, "own interface", 1)
    assert path.back is not None
    assert (path.back.state, path.back.mtu) == ("exact", 1500)
    assert net.verdict(address).kind == "ok"


@both
@pytest.mark.parametrize("mtu", [1450, 1387])
def test_a_router_that_speaks_is_named(net: "Net", address: str, mtu: int) -> None:
    net.middle(mtu)
    verdict = net.verdict(address)
    assert (verdict.kind, verdict.mtu) == ("lower", mtu)
    assert ("10.9.1.254" if address == B4 else "fd09:1::254") in verdict.sentence


@both
@pytest.mark.parametrize("mtu", [1450, 1433, 1280])
def test_a_black_hole_is_found_exactly(net: "Net", address: str, mtu: int) -> None:
    net.middle(mtu)
    net.mute()
    verdict = net.verdict(address)
    assert (verdict.kind, verdict.mtu) == ("black hole", mtu)


@both
def test_forwards_only(net: "Net", address: str) -> None:
    """A device that is smaller where it receives: a veth takes its MTU and four bytes, and says nothing."""
    net.ip("r2", "link set dev m mtu 1400")
    net.ip("r2", "route change 10.9.1.0/24 via 10.9.2.1", "route change fd09:1::/64 via fd09:2::1")
    path = net.measure(address, back=True)
    assert (path.forward.found.mtu, path.back and path.back.mtu) == (1404, 1400)
    assert net.verdict(address, back=False).kind == "black hole"


@both
def test_backwards_only(net: "Net", address: str) -> None:
    prefix, gateway = ("10.9.1.0/24", "10.9.2.1") if address == B4 else ("fd09:1::/64", "fd09:2::1")
    net.ip("r2", f"route change {prefix} via {gateway} mtu lock 1400")
    verdict = net.verdict(address)
    assert (verdict.kind, verdict.mtu) == ("asymmetric", 1400)
    assert net.verdict(address, back=False).kind == "ok"
    assert verdict.sentence.startswith("1500 bytes arrive there and 1400 come back")


@both
@pytest.mark.parametrize("kind", ["lower", "black hole"])
def test_jumbo_over_plain_ethernet(net: "Net", address: str, kind: str) -> None:
    for place, device in (("a", "e0"), ("r1", "l"), ("r2", "r"), ("b", "e0")):
        net.ip(place, f"link set dev {device} mtu 9000")
    if kind == "black hole":
        net.mute()
    verdict = net.verdict(address)
    assert (verdict.kind, verdict.mtu) == (kind, 1500)


@both
def test_the_receivers_own_mtu(net: "Net", address: str) -> None:
    net.ip("b", "link set dev e0 mtu 1450")
    verdict = net.verdict(address)
    assert (verdict.kind, verdict.mtu) == ("receiver", 1454)
    assert "1450" in verdict.sentence


def test_fragments_where_something_clears_df(net: "Net", nft: None) -> None:
    net.middle(1450)
    net.nft("r1", "prerouting", "ip frag-off set 0")
    verdict = net.verdict(back=False)
    assert (verdict.kind, verdict.mtu) == ("fragmented", 1450)


@both
def test_a_path_mtu_that_the_kernel_learned_and_that_is_not_true_any_more(net: "Net", address: str) -> None:
    net.middle(1300)
    assert net.verdict(address, back=False).kind == "lower"
    net.middle(1500)
    verdict = net.verdict(address, back=False)
    assert (verdict.kind, verdict.mtu) == ("stale path MTU", 1500)
    assert "1300" in verdict.sentence


@both
def test_more_than_the_own_interface_is_refused_here(net: "Net", address: str) -> None:
    verdict = net.verdict(address, expected=9000)
    assert (verdict.kind, verdict.mtu) == ("refused here", 1500)


@pytest.mark.parametrize("df", ["set", "inherit"])
def test_a_tunnel_of_our_own_that_is_too_large_for_what_is_below_is_no_black_hole(net: "Net", df: str) -> None:
    """VXLAN left at 1500 over 1500: probes vanish here without a word, but whoever asks the kernel is told 1450."""
    for place, own, other in (("a", "10.9.1.1", "10.9.3.1"), ("b", "10.9.3.1", "10.9.1.1")):
        last = 1 if place == "a" else 2
        device = f"link add vx type vxlan id 7 local {own} remote {other} dstport 4789 df {df}"
        net.ip(place, device, "link set dev vx mtu 1500", "link set dev vx up", f"addr add 10.77.0.{last}/24 dev vx")
    verdict = net.verdict("10.77.0.2", back=False)
    assert (verdict.kind, verdict.mtu) == ("lower", 1450)


def test_a_dead_host_is_unreachable_and_not_an_mtu(net: "Net") -> None:
    net.ip("b", "link set dev e0 down")
    assert net.verdict().kind == "unreachable"


@both
def test_a_host_without_a_station_is_told_at_once(net: "Net", address: str) -> None:
    net.processes[0].kill()
    net.processes[0].wait()
    path = net.measure(address, back=True)
    assert path.forward.found.ending == "unreachable"
    assert "nobody listens on port 7843" in path.forward.note


def test_no_route_is_told_without_a_packet(net: "Net") -> None:
    net.ip("a", "route del default")
    path = net.measure()
    assert path.forward.found.packets == 0
    assert "no way to 10.9.3.1" in path.forward.note


def test_another_key_is_met_with_silence(net: "Net") -> None:
    assert net.measure(secret=b"another key altogether").forward.found.ending == "unreachable"


@pytest.mark.parametrize("percent", [5, 20])
def test_loss_changes_no_verdict(net: "Net", nft: None, percent: int) -> None:
    net.middle(1450)
    net.mute()
    net.lose(percent)
    for _ in range(10):
        path = net.measure()
        assert (path.forward.found.ending, path.forward.found.mtu) == ("exact", 1450)


def test_mostly_loss_is_never_called_an_mtu_that_it_is_not(net: "Net", nft: None) -> None:
    net.middle(1450)
    net.mute()
    net.lose(65)  # each way: seven of eight round trips fail
    verdict = net.verdict(back=False)
    assert verdict.kind in {"loss", "unreachable"} or verdict.mtu == 1450
    assert verdict.kind != "ok"
