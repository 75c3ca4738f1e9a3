"""Every kind of path there is, in namespaces: the right class and the exact size, over IPv4 and IPv6.

First the whole table of scenes, over every round trip that they make sense with; then what it has no row for.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from kubemtu.node.probe import paths
from kubemtu_lab.line import scenes, stations
from kubemtu_lab.line.network import Line
from kubemtu_lab.line.scene import Family, LineScene

if TYPE_CHECKING:
    from tests.support.lines import Net

B4, B6 = "10.9.3.1", "fd09:3::1"
both = pytest.mark.parametrize("address", [B4, B6], ids=["v4", "v6"])
pytestmark = pytest.mark.netns
LINES = [(scene, rtt) for scene in scenes.ALL.values() for rtt in scene.rtts]
CASES = [(scene, rtt, family) for scene, rtt in LINES for family in scene.families]


@pytest.fixture(scope="module")
def line(request: pytest.FixtureRequest, namespaces: None, nft: None, tun: None) -> Iterator[Line]:
    """The line of one scene, with a station at its far end, for both families."""
    scene, rtt = request.param
    with stations.stage(scene, rtt) as made:
        yield made


@pytest.mark.parametrize(
    ("line", "scene", "family"),
    [pytest.param((scene, rtt), scene, family, id=f"{scene.name}-{rtt}ms-v{family}") for scene, rtt, family in CASES],
    indirect=["line"],
)
def test_a_scene_is_judged_rightly(line: Line, scene: LineScene, family: Family) -> None:
    deep = scene.deep or line.rtt == 0  # what TCP believes and tunnels cut does not depend on the round trip
    result = stations.judge(line, scene, family, deep=deep)
    verdict = result.verdict
    assert (verdict.kind in scene.kinds, verdict.mtu) == (True, scene.told), verdict
    assert scene.says[0 if family == 4 else 1] in verdict.sentence
    assert result.both_ways == (scene.back is not None)
    if deep:
        assert result.forward is not None
        assert scene.flows > 1 or result.forward.search.mtu == scene.mtu
        assert (result.backward.search.mtu if result.backward is not None else None) == scene.back


@pytest.mark.parametrize("name", ["loss-5", "black-hole-loss-5"])
def test_of_many_measurements_with_loss_both_ways_none_is_wrong(nft: None, namespaces: None, name: str) -> None:
    scene = scenes.ALL[name]
    seen: Counter[tuple[str, int]] = Counter()
    with stations.stage(scene, 0, rate=1_000_000) as made:
        while (left := 400 - seen["exact", scene.mtu]) > 0:  # all share one machine: some say that it was too busy
            found = [path.forward.search for path in stations.measure(made, [paths.Target(address=B4)] * left)]
            seen.update((one.ending, one.mtu) for one in found)
            assert {mtu for ending, mtu in seen if ending == "exact"} == {scene.mtu}


@both
def test_a_healthy_path_takes_one_round(net: "Net", address: str) -> None:
    path = net.measure(address, back=True)
    found = path.forward.search
    assert (found.ending, found.mtu, found.limit, found.rounds) == ("exact", 1500, "own interface", 1)
    assert path.backward is not None
    assert (path.backward.state, path.backward.mtu) == ("exact", 1500)
    assert net.verdict(address).kind == "ok"


@both
def test_a_router_that_speaks_is_named_whatever_it_says(net: "Net", address: str) -> None:
    net.middle(1387)
    verdict = net.verdict(address)
    assert (verdict.kind, verdict.mtu) == ("lower", 1387)
    assert ("10.9.1.254" if address == B4 else "fd09:1::254") in verdict.sentence


@both
def test_a_black_hole_at_the_least_that_ipv6_may_have(net: "Net", address: str) -> None:
    net.middle(1280)
    net.mute()
    verdict = net.verdict(address)
    assert (verdict.kind, verdict.mtu) == ("black hole", 1280)


@both
def test_forwards_only(net: "Net", address: str) -> None:
    """A device that is smaller where it receives: a veth takes its MTU and four bytes, and says nothing."""
    net.ip("r2", "link set dev m mtu 1400")
    net.ip("r2", "route change 10.9.1.0/24 via 10.9.2.1", "route change fd09:1::/64 via fd09:2::1")
    path = net.measure(address, back=True)
    assert (path.forward.search.mtu, path.backward and path.backward.mtu) == (1404, 1400)
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


def test_a_tunnel_of_our_own_that_inherits_df_is_no_black_hole_either(net: "Net") -> None:
    """VXLAN left at 1500 over 1500: probes vanish here without a word, but whoever asks the kernel is told 1450."""
    for place, own, other in (("a", "10.9.1.1", "10.9.3.1"), ("b", "10.9.3.1", "10.9.1.1")):
        last = 1 if place == "a" else 2
        device = f"link add vx type vxlan id 7 local {own} remote {other} dstport 4789 df inherit"
        net.ip(place, device, "link set dev vx mtu 1500", "link set dev vx up", f"addr add 10.77.0.{last}/24 dev vx")
    verdict = net.verdict("10.77.0.2", back=False)
    assert (verdict.kind, verdict.mtu) == ("lower", 1450)


@both
def test_a_host_without_a_station_is_told_at_once(net: "Net", address: str) -> None:
    net.processes[0].kill()
    net.processes[0].wait()
    path = net.measure(address, back=True)
    assert path.forward.search.ending == "unreachable"
    assert "nobody listens on port 7843" in path.forward.note


def test_no_route_is_told_without_a_packet(net: "Net") -> None:
    net.ip("a", "route del default")
    path = net.measure()
    assert path.forward.search.packets == 0
    assert "no way to 10.9.3.1" in path.forward.note


def test_another_key_is_met_with_silence(net: "Net") -> None:
    assert net.measure(secret=b"another key altogether").forward.search.ending == "unreachable"


@pytest.mark.parametrize("percent", [5, 20])
def test_loss_changes_no_verdict(net: "Net", nft: None, percent: int) -> None:
    net.middle(1450)
    net.mute()
    net.lose(percent)
    for _ in range(10):
        path = net.measure()
        assert (path.forward.search.ending, path.forward.search.mtu) == ("exact", 1450)


def test_mostly_loss_is_never_called_an_mtu_that_it_is_not(net: "Net", nft: None) -> None:
    net.middle(1450)
    net.mute()
    net.lose(65)  # each way: seven of eight round trips fail
    verdict = net.verdict(back=False)
    assert verdict.kind in {"loss", "unreachable"} or verdict.mtu == 1450
    assert verdict.kind != "ok"
