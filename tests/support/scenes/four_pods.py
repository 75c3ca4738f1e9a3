"""Two nodes with two pods each, on a pod network that is only declared, and what is found of all four."""

from tests.support.scenes.cluster import Cluster
from tests.support.scenes.places import ALL_PODS, BOTH_OF

from kubemtu_lab.scene import Declared, HandSet, Nic, Scene, nodes

PODS = ("pod-1a", "pod-1b", "pod-2a", "pod-2b")
NODES = ("node-1", "node-2")
TOO_LARGE = f"MTU101 error: nodes node-1 and node-2, 4 pods: {ALL_PODS}"
FILES_ARE_RIGHT = [
    f"MTU104 error: node node-1, 2 pods: {BOTH_OF.format(1)}",
    f"MTU104 error: node node-2, 2 pods: {BOTH_OF.format(2)}",
    TOO_LARGE,
]
"""Once both nodes' files have been written: what runs is as it was born, and what is born now is right."""


def scene(cni: Declared, *, nic: int = 1500, later: int | None = None) -> Scene:
    """Return the scene with NICs of `nic`, of which somebody makes `later` when all is up."""
    faults = tuple(HandSet(node=node, links="eth0", mtu=later) for node in NODES if later is not None)
    return Scene(name=cni.name, summary=cni.name, nodes=nodes(2, 2, Nic(mtu=nic)), cni=cni, faults=faults)


def write_files(cluster: Cluster) -> None:
    """Have somebody's own installer start anew and so write each node's file; wait for what is found."""
    restart = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    template: dict[str, object] = {"spec": {"template": {"metadata": {"annotations": restart}}}}
    cluster.kube.merge("/apis/apps/v1/namespaces/kube-system/daemonsets/node-setup", template)
    cluster.settle(FILES_ARE_RIGHT)


def sizes(cluster: Cluster) -> set[int]:
    """Return the MTUs that the pods' own ends have."""
    return {cluster.links(pod)["eth0"] for pod in PODS}
