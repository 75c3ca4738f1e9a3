"""A switch port that takes less than the NICs send cuts off who reports through it, as on a real cluster."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.labs import Kube, Probes, until

from kubemtu_lab import nft, scenes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import IN_CLUSTER, KUBECONFIG, Canal, Scene, nodes

pytestmark = pytest.mark.lab
Start = Callable[..., Lab]
NODE = "/api/v1/nodes/node-2"
TLS = """
import socket, ssl, sys, yaml, base64
cluster = yaml.safe_load(open(sys.argv[1]))["clusters"][0]["cluster"]
host, port = cluster["server"].removeprefix("https://").split(":")
context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
raw = socket.create_connection((host, int(port)), timeout=60)  # small packets: they come, also if late
raw.settimeout(float(sys.argv[2]))
try:
    context.wrap_socket(raw, server_hostname=host)
    print("speaks TLS")
except TimeoutError:
    print("connects, and TLS hangs")
"""
"""A plain client: the system's own segments, and the certificate checked."""


def tls(lab: Lab, place: str, kubeconfig: str, seconds: float = 60.0) -> str:
    """Return what a plain client at a place meets where its node's kubeconfig leads; a hang is waited for so long.

    A few seconds are for where a hang is expected: what is only late would be taken for one.
    """
    return lab.exec(place, [sys.executable, "-c", TLS, kubeconfig, str(seconds)]).stdout.strip()


def ready(kube: Kube, path: str = NODE) -> str:
    """Return the status of the Ready condition of a node or a pod."""
    found: Any = kube.get(path)
    return next(str(each["status"]) for each in found["status"]["conditions"] if each["type"] == "Ready")


def test_a_node_behind_a_port_of_1400_is_silenced_and_comes_back(has_nft: None, start: Start) -> None:
    """The server's part of a handshake alone is larger than 1400; a running pod notices nothing of all that."""
    scene = Scene(name="behind", summary="", nodes=nodes(2, 1), cni=Canal(era="B", mtu=1450), grace_seconds=6.0)
    lab = start(scene)
    with Kube(lab.kubeconfig) as kube:
        for place, kubeconfig in (("node-1", IN_CLUSTER), ("node-2", KUBECONFIG), ("pod-2a", IN_CLUSTER)):
            assert tls(lab, place, kubeconfig) == "speaks TLS"
        before = lab.pod("pod-2a").netns
        lab.set_port("node-2", 1400)
        assert tls(lab, "node-2", KUBECONFIG, 2.0) == "connects, and TLS hangs"
        assert tls(lab, "node-2", IN_CLUSTER, 2.0) == "connects, and TLS hangs"
        assert tls(lab, "pod-2a", IN_CLUSTER, 2.0) == "connects, and TLS hangs"
        assert tls(lab, "node-1", KUBECONFIG) == "speaks TLS"
        until(lambda: ready(kube) == "Unknown")
        until(lambda: ready(kube, "/api/v1/nodes/node-1") == "True")
        until(lambda: ready(kube, "/api/v1/namespaces/default/pods/pod-2a") == "False")
        assert lab.pod("pod-2a").netns == before  # kubelet has it run on, and its small packets arrive
        with Probes(lab) as probe:  # VXLAN takes 50 of 1400, and the port's veth four more (is_skb_forwardable)
            assert probe("pod-1a", "pod-2a", 1354, 1355) == {1354: "arrived", 1355: "lost"}
        assert "10.43.0.1" in lab.exec("node-2", [nft.program(), "list", "ruleset"]).stdout

        lab.set_port("node-2", None)
        until(lambda: ready(kube) == "True")
        until(lambda: ready(kube, "/api/v1/namespaces/default/pods/pod-2a") == "True")
        assert lab.pod("pod-2a").netns == before
        assert tls(lab, "node-2", IN_CLUSTER) == "speaks TLS"

        # One way: what is sent to the node does not fit, as the server's certificate; what it sends itself does.
        lab.set_port("node-2", 1400, "to-node")
        assert tls(lab, "node-2", KUBECONFIG, 2.0) == "connects, and TLS hangs"
        lab.set_port("node-2", 1400, "from-node")
        assert tls(lab, "node-2", KUBECONFIG) == "speaks TLS"
        lab.set_port("node-2", None)

        # The control plane's own port is a wall to all others, and none to its own node.
        lab.set_port("node-1", 1400)
        assert tls(lab, "node-2", KUBECONFIG, 2.0) == "connects, and TLS hangs"
        assert tls(lab, "node-1", KUBECONFIG) == "speaks TLS"
        lab.set_port("node-1", None)


def test_a_daemon_may_take_its_time_when_it_is_restarted(start: Start) -> None:
    lab = start(scenes.named("flannel").replace(name="slow", nodes=nodes(1, 0), daemon_seconds=2.0))
    with Kube(lab.kubeconfig) as kube:
        name = kube.restart_daemon("node-1", "kube-flannel", ready=False)
        path = f"/api/v1/namespaces/kube-flannel/pods/{name}"

        def phase() -> tuple[str, str]:
            found: Any = kube.get(path)
            return str(found["status"].get("phase")), ready(kube, path) if "conditions" in found["status"] else ""

        until(lambda: phase() == ("Running", "False"))
        until(lambda: phase() == ("Running", "True"))
