"""`check --exec` says of each of the lab's scenes what agents say of it, and runs nothing that it has not shown."""

import shlex
from collections.abc import Callable, Iterator

import pytest
from tests.support import declared
from tests.support.labs import until
from tests.support.scenes import outside
from tests.support.scenes.cluster import Cluster, measured

from kubemtu_lab import scenes
from kubemtu_lab.scene import Canal, Declared, HandSet, Nic, Scene, nodes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

NOT_HEARD = {"canal-black-hole": ("node-2",)}
"""Nodes whose kubelet the API server does not hear: what they print is lost behind the port, as all that is large."""
SMALL = Scene(
    name="outside", summary="", nodes=nodes(2, 1), cni=Canal(era="C", mtu=1450), version="v1.28.12", agents=True
)
every_scene = pytest.mark.parametrize("cluster", scenes.SCENES.values(), indirect=True, ids=list(scenes.SCENES))


def settled(cluster: Cluster, not_seen: tuple[str, ...] = ()) -> outside.Sides:
    """Look until both sides agree; fails with what they differ in."""
    last: list[outside.Sides] = []

    def agree() -> bool:
        last[:] = [outside.looked(cluster.lab.kubeconfig)]
        return not last[0].differences(not_seen)

    try:
        until(agree, 300)
    except TimeoutError:
        pytest.fail("\n".join(last[0].differences(not_seen)))
    return last[0]


@every_scene
def test_commands_show_what_agents_show(cluster: Cluster, request: pytest.FixtureRequest) -> None:
    scene = request.node.callspec.params["cluster"]
    sides = settled(cluster, NOT_HEARD.get(scene.name, ()))
    assert sides.outside.current == ()  # "?", never the host end in its place


@pytest.mark.parametrize(
    "cluster",
    [
        SMALL.replace(name="busybox", images={"calico-node": "busybox", "kube-flannel": "busybox"}),
        SMALL.replace(name="grep-alone", images={"calico-node": "distroless", "kube-flannel": "distroless"}),
        SMALL.replace(
            name="without-tools",
            images={"calico-node": "scratch", "kube-flannel": "scratch"},
            daemons=("kube-proxy", "kube-vip", "node-exporter"),
        ),
    ],
    indirect=True,
    ids=lambda scene: scene.name,
)
def test_whatever_tools_the_images_have(cluster: Cluster) -> None:
    settled(cluster)


def declared_scene(cni: Declared, nic: int, later: int | None = None) -> Scene:
    """Return two nodes with a pod network of another maker, whose NICs somebody set `later`."""
    faults = tuple(HandSet(node=node, links="eth0", mtu=later) for node in ("node-1", "node-2") if later is not None)
    return SMALL.replace(name=cni.name, nodes=nodes(2, 2, Nic(mtu=nic)), cni=cni, faults=faults)


@pytest.mark.parametrize(
    ("cluster", "differences"),
    [
        # Its pods' routes say less than their devices, and those are inside.
        (declared_scene(declared.CILIUM, 1450), ["agents alone: MTU101 error: nodes node-1 and node-2, 4 pods"]),
        (declared_scene(declared.AWS, 1500), []),
        (declared_scene(declared.KINDNET, 1500, later=1450), []),
    ],
    indirect=["cluster"],
    ids=["cilium", "aws", "kindnet"],
)
def test_other_pod_networks(cluster: Cluster, differences: list[str]) -> None:
    until(lambda: outside.looked(cluster.lab.kubeconfig).differences() == differences, 300)


@pytest.fixture
def broken(cluster: Cluster) -> Iterator[Callable[[str], None]]:
    """Return what makes commands on node-2 go wrong; it ends with the test."""
    yield lambda how: cluster.lab.break_exec("node-2", how)  # type: ignore[arg-type]  # a word of the lab's
    cluster.lab.break_exec("node-2", None)


@pytest.mark.parametrize("cluster", [SMALL], indirect=True)
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("hangs", "did not end within 10 s"),
        ("floods", "printed more than 4 MiB"),
        ("huge-line", "printed more than 4 MiB"),
        ("breaks", "ended before anybody said how the command did"),
        ("refused", "connection refused"),
    ],
)
def test_a_node_whose_commands_go_wrong_hides_no_other(
    cluster: Cluster, broken: Callable[[str], None], how: str, sentence: str
) -> None:
    broken(how)

    def look() -> None:
        snapshot = outside.seen(cluster.lab.kubeconfig)
        assert [node.node for node in snapshot.nodes] == ["node-1"]
        (entry,) = (entry for entry in snapshot.unread if entry.what == "node node-2")
        assert sentence in entry.message

    measured(look)


@pytest.mark.parametrize("cluster", [SMALL], indirect=True)
def test_nothing_but_what_is_shown_is_run(cluster: Cluster) -> None:
    before = len(cluster.lab.executed())
    outside.seen(cluster.lab.kubeconfig)
    ran = {shlex.join(each.command) for each in cluster.lab.executed()[before:]}
    assert ran
    shown = outside.shown(cluster.lab.kubeconfig)
    assert ran <= {line.strip().removeprefix("or ").strip() for line in shown.splitlines()}
