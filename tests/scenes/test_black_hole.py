"""A black hole at the switch port through which agents report: found at once, and for as long as it is there."""

import functools
import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from tests.support.labs import until
from tests.support.scenes import situations
from tests.support.scenes.cluster import NODE_MTUS, Cluster, measured

from kubemtu_lab.scene import Flannel, Scene, nodes

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("has_nft")]

Way = Literal["both", "to-node", "from-node"]
SCENE = Scene(name="black-hole", summary="", nodes=nodes(3, 1), cni=Flannel(), version="v1.30.4", probes=True)
SHAPES: dict[Way, str] = {"both": "link", "to-node": "receives", "from-node": "sends"}


@pytest.fixture
def lab(cluster: Cluster) -> Iterator[Cluster]:
    """The lab, all of whose agents see their probe pods; its ports take everything in the end."""
    until(lambda: all(len(situations.seen_ends(cluster, node)) == 2 for node in cluster.lab.record.nodes))
    yield cluster
    for node in cluster.lab.record.nodes:
        cluster.lab.set_port(node, None)


def reported(cluster: Cluster, node: str) -> str:
    """When the agent of a node last told something, as it says."""
    found: Any = cluster.kube.get(f"{NODE_MTUS}/{node}")
    return str(found["status"]["observedAt"])


def judge(lab: Cluster, node: str, way: Way) -> None:
    """All commands name the node, are certain, and none of them ends with 0."""
    ended = lab.run("probe", "-o", "json")
    found = json.loads(ended.out)
    assert (ended.code, found["ok"], found["unmeasuredNodes"]) == (1, False, [])
    for layer in found["layers"]:
        assert [(one["where"], one["members"], one["confidence"]) for one in layer["faults"]] == [
            (SHAPES[way], [node], "certain")
        ], layer["name"]
    proven = lab.run("check", "--prove", "-o", "json")
    codes = {one["code"] for one in json.loads(proven.out)["findings"]}
    assert proven.code == 1
    assert "MTU123" in codes
    assert not codes & {"MTU118", "MTU125"}
    asked = lab.run("why", node, "node-3", "-o", "json")
    diagnosis = json.loads(asked.out)["diagnosis"]
    assert (asked.code, diagnosis["isMtu"], diagnosis["confidence"]) == (1, "yes", "certain")
    assert diagnosis["mtu"] in {1400, 1404}  # a port takes a VLAN tag's room more from its wire: is_skb_forwardable
    assert diagnosis["location"] in {f"between {node} and node-3", f"between node-3 and {node}"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cluster", [SCENE], indirect=True)
def test_a_port_that_takes_less_silences_nobody(lab: Cluster) -> None:
    """node-1 has the API server, which all others reach through its port."""
    faults: tuple[tuple[str, Way], ...] = (
        ("node-2", "to-node"),
        ("node-2", "from-node"),
        ("node-2", "both"),
        ("node-1", "both"),
    )
    for node, way in faults:
        before = {each: reported(lab, each) for each in lab.lab.record.nodes}
        lab.lab.set_port(node, 1400, way)
        look = functools.partial(judge, lab, node, way)
        measured(look)
        if way == "both":
            _all_have_reported(lab, before)
            measured(look)
            lab.lab.set_port(node, None)


def _all_have_reported(lab: Cluster, since: dict[str, str]) -> None:
    """Wait until every agent has told something anew: its beat is 15 s."""
    until(lambda: all(reported(lab, node) != when for node, when in since.items()))
