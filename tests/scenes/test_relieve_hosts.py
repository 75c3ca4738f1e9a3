"""A kubelet that a black hole has cut off from the API server reports again once the nodes' own traffic is pinned."""

import json

import pytest
from tests.support.labs import until
from tests.support.scenes.cluster import Cluster

from kubemtu_lab.scene import Canal, Scene, nodes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
SCENE = Scene(name="cut-off", summary="", nodes=nodes(2, 1), cni=Canal(era="B", mtu=1450), grace_seconds=8.0)

CONNECTS = """
import socket, ssl, sys
with socket.create_connection(("192.168.77.1", 6443), 60) as raw:
    raw.settimeout(float(sys.argv[1]))
    try:
        ssl._create_unverified_context().wrap_socket(raw).close()
        print("answered")
    except TimeoutError:
        print("hangs")
"""
"""Begins TLS with the API server in the kernel's own segments, as a kubelet does."""


@pytest.mark.parametrize("cluster", [SCENE], indirect=True)
def test_who_was_cut_off_reports_again_and_the_change_can_be_made(cluster: Cluster) -> None:
    cluster.lab.set_port("node-2", 1400)
    until(lambda: cluster.ready("node-2") == "Unknown")
    before = {node: cluster.ip(node, "route") for node in ("node-1", "node-2")}

    relieved = cluster.run("relieve", "--yes", "--nic-mtu", "1404", "--hosts", "-o", "json")
    assert relieved.code == 0, relieved.err
    assert relieved.err.count("`kubemtu policy --path-mtu 1404 --reason TEXT --apply` writes that down") == 1
    until(lambda: cluster.ready("node-2") == "True")
    # Of another node and of the API server's Service, which goes by the default route: each a route of its own.
    assert cluster.host_routes("node-2") == {"192.168.77.1", "10.43.0.1"}
    assert cluster.links("node-2")["eth0"] == 1500

    applied = cluster.run("apply", "--yes", "-o", "json")
    assert applied.code == 0, applied.err
    told = json.loads(applied.out)
    assert told["proof"]["verdict"] == "held"
    assert any("are pinned to 1404 until" in sentence for sentence in told["remains"])
    assert cluster.host_routes("node-2") == {"192.168.77.1", "10.43.0.1"}
    until(lambda: cluster.ready("node-2") == "True")

    # Behind the same port: it is said what comes back, the restart still reaches every kubelet, and the pins go last.
    back = cluster.run("rollback", "--yes")
    assert back.code == 0, back.err
    assert "  ! Measured: 1404 bytes arrive between all nodes, and their NICs send 1500. The fault is still" in back.out
    steps = [line.split("] ")[1].split(" ")[0:3] for line in back.out.splitlines() if line.startswith("[")]
    assert [" ".join(words) for words in steps] == [
        "take 2 running",
        "edit ConfigMap kube-system/canal-config,",
        "restart the pods",
        "take the pins",
    ]
    assert {node: cluster.ip(node, "route") for node in ("node-1", "node-2")} == before
    # As was said: a connection that stands keeps its small segments, and a new one hangs in the handshake.
    assert "as soon as it connects anew" in back.out
    assert cluster.lab.python("node-2", CONNECTS, "5") == "hangs\n"
    cluster.lab.set_port("node-2", None)
    assert cluster.lab.python("node-2", CONNECTS, "60") == "answered\n"
