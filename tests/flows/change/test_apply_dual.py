"""A change of pods with IPv4 and IPv6: each family is proven by itself."""

import re
from collections.abc import Iterator

import pytest
from tests.support.change.cluster import Cluster, cluster

from kubemtu_lab import nft
from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns]


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    """1500 below; 1500 - 40 - 8 - 8 - 14 leaves 1430 for pods, because the tunnel goes over IPv6 as well."""
    with cluster(scenes.resized(named("flannel-dual"), nodes=2, pods=2), "dual") as found:
        yield found


def test_both_families_of_every_pod_are_proven(lab: Cluster) -> None:
    """Each of four pods sends to one on its own node and to one on the other, over both families."""
    before = lab.picture()
    ended = lab.done("apply", "--yes", "--mtu", "1400")
    assert "proven: 16 of 16 full-size packets between pods arrived" in ended.lines
    assert lab.mtus() == {(1400, 1400)}
    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""


def test_a_hole_in_one_family_is_named_and_can_be_gone_back_from(has_nft: None, lab: Cluster) -> None:
    """The second node lets no IPv6 packet of more than 1390 bytes into its tunnel, and says nothing."""
    before = lab.picture()
    body = 'chain hole {\n type filter hook forward priority 0;\n oifname "flannel-v6.1" meta length > 1390 drop\n }\n'
    pid = lab.lab.node_pid("node-2")
    nft.load(nft.table("inet", "kmtest", body), pid)
    try:
        ended = lab.run("apply", "--yes", "--mtu", "1400")
    finally:
        nft.load(nft.table("inet", "kmtest", ""), pid)
    assert ended.code == 8
    assert re.search(  # which of the pods of a node speaks depends on the order in which the server lists them
        "error: the change is made but not proven: default/pod-2[ab] > default/pod-1[ab] over IPv6: 1390 bytes arrive, "
        "and everything larger, up to 1400, vanishes without a word: connections hang once they send full-size "
        "packets; see where with `kubemtu probe`, or go back with `kubemtu rollback`\n",
        ended.err,
    )
    assert any(line.startswith("refuted: 14 of 16 full-size packets arrived; ") for line in ended.lines)
    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""
    assert lab.questions() == []


def test_the_nodes_own_routes_of_both_families_are_pinned_where_no_pod_has_to_be(lab: Cluster) -> None:
    """Pods are small already, and one route is somebody's own: that one is named and left, the others are pinned."""
    lab.done("apply", "--yes", "--mtu", "1334")
    lab.lab.exec("node-1", ["ip", "route", "add", "192.168.77.2", "dev", "eth0"])
    before = lab.picture()
    ended = lab.done("relieve", "--yes", "--nic-mtu", "1404", "--hosts")
    left = "node node-1: its route to 192.168.77.2/32 is somebody else's and left alone, so packets of more than 1404"
    assert sum(line.startswith(left) for line in ended.lines) == 1
    assert any(line.startswith(f"  Left as it is: {left}") for line in ended.lines)
    assert "2 nodes: no pin of kubemtu is left but those of the nodes' own traffic, to 1404" in ended.lines
    assert any("nodes send at most 1404 to each other and to the API server" in line for line in ended.lines)
    assert own_routes(lab, "node-1") == {"10.43.0.1", "fd00:77::2"}
    assert own_routes(lab, "node-2") == {"10.43.0.1", "192.168.77.1", "fd00:77::1"}
    assert (
        lab.lab.exec("node-1", ["ip", "route", "show", "192.168.77.2"]).stdout == "192.168.77.2 dev eth0 scope link \n"
    )
    assert lab.mtus() == {(1334, 1334)}
    assert not lab.picture().unfinished
    back = lab.done("rollback", "--yes")
    assert "! " not in back.out  # the network carries what the NICs send
    assert lab.comes_to(before) == ""
    lab.lab.exec("node-1", ["ip", "route", "del", "192.168.77.2", "dev", "eth0"])
    lab.done("apply", "--yes", "--mtu", "1430")
    lab.forget_migrations()


def own_routes(lab: Cluster, node: str) -> set[str]:
    """Where the routes lead that kubemtu has added for the node's own traffic; each is locked to 1404."""
    shown = [lab.lab.exec(node, ["ip", family, "route", "show", "proto", "109"]).stdout for family in ("-4", "-6")]
    lines = [line for text in shown for line in text.splitlines()]
    assert all("mtu lock 1404" in line for line in lines)
    return {line.split()[0] for line in lines}
