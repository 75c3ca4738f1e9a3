"""Pods that are born while the MTU is changed, and what `ip` says of them."""

import json

from tests.support.change.cluster import Cluster
from tests.support.labs import Body, is_ready, until


def born(lab: Cluster, *names: str, host_network: bool = False) -> None:
    """Make pods on alternating nodes, and wait until they run."""
    for number, name in enumerate(names):
        spec: Body = {
            "nodeName": lab.nodes[number % 2],
            "hostNetwork": host_network,
            "containers": [{"name": "main", "image": "registry.example/app:1"}],
        }
        body: Body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        lab.kube.create("/api/v1/namespaces/default/pods", body)
    until(lambda: all(name in lab.kube.pods() and is_ready(lab.kube.pods()[name]) for name in names))


def ends(lab: Cluster, pod: str) -> tuple[int, int]:
    """Both ends of a pod, the node's first."""
    place = lab.lab.pod(pod)
    links = json.loads(lab.lab.exec(place.node, ["ip", "-j", "link", "show", "dev", place.host_link]).stdout)
    inside = json.loads(lab.lab.exec(pod, ["ip", "-j", "link", "show", "dev", "eth0"]).stdout)
    return links[0]["mtu"], inside[0]["mtu"]


def pinned(lab: Cluster, pod: str) -> bool:
    """Return True when the pod's default route is locked to an MTU."""
    return " lock " in lab.lab.exec(pod, ["ip", "route", "show", "default"]).stdout
