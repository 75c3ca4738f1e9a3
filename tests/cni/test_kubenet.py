"""kubenet: the kubelet's flag where it can be seen, else the smallest interface of each node, whatever it is for."""

from collections.abc import Callable

import msgspec
import pytest
import yaml

from kubemtu.cni import kubenet, registry
from kubemtu.core.errors import UsageError
from kubemtu.core.net import Link, NodeFile, NodeObservation, PodPort
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
Observing = Callable[..., NodeObservation]


def kops(mtu: object = None, network: str = "kubenet") -> str:
    kubelet = {} if mtu is None else {"networkPluginMTU": mtu}
    spec = {"networking": {network: {}}, "kubelet": kubelet}
    metadata = {"name": "minimal.example.com"}
    return yaml.safe_dump({"apiVersion": "kops.k8s.io/v1alpha2", "kind": "Cluster", "metadata": metadata, "spec": spec})


def told(text: str) -> str:
    annotations = {"rke.example/kubelet-args": text}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "annotations": annotations}})


def seen(node: NodeObservation, size: int, *more: Link) -> NodeObservation:
    port = PodPort(
        netns="cni-1",
        inode=1,
        host_link="veth1a2b3c4d",
        host_index=20,
        host_mtu=size,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=size,
        bridge="cbr0",
        addresses=("10.244.0.2",),
    )
    bridge = Link(index=30, name="cbr0", mtu=size, kind="bridge")
    return msgspec.structs.replace(node, links=(*node.links, bridge, *more), ports=(port,))


@pytest.mark.parametrize(
    ("text", "mtu", "nic", "findings"),
    [
        (kops(), None, 1500, []),
        (kops(1460), 1460, 1460, []),
        (kops(1500), 1500, 1460, [("MTU119", "error")]),
        (kops("1460"), None, 1460, [("MTU112", "error")]),
        (kops(network="external"), None, 1500, []),
        (told('["--network-plugin=kubenet","--network-plugin-mtu=1400"]'), 1400, 1400, []),
        (told('{"network-plugin": "kubenet", "network-plugin-mtu": "1500"}'), 1500, 1460, [("MTU119", "error")]),
        (told("--network-plugin=kubenet --network-plugin-mtu=jumbo"), None, 1500, [("MTU112", "error")]),
    ],
)
def test_what_kubelets_are_given(
    snapshot: Reading, text: str, mtu: int | None, nic: int, findings: list[tuple[str, str]]
) -> None:
    files = snapshot(text)
    state = registry.recognise(files)
    assert (state.name, state.pod_mtu, state.encapsulation) == ("kubenet", mtu, ())
    assert [(one.code, one.severity) for one in decide.check(files, nic).findings] == findings


@pytest.mark.parametrize("text", [kops(network="calico"), told("--network-plugin=cni"), ""])
def test_another_network_is_not_taken_for_it(snapshot: Reading, text: str) -> None:
    assert kubenet.read(snapshot(text)) is None


@pytest.mark.parametrize(
    ("more", "size", "codes"),
    [
        ((), 1500, []),
        ((), 1460, ["MTU104", "MTU102"]),
        ((Link(index=40, name="docker0", mtu=1400, kind="bridge"),), 1500, ["MTU120"]),
        ((Link(index=40, name="wg0", mtu=1420, kind="wireguard"),), 1500, []),
        ((Link(index=40, name="docker0", mtu=1400, kind="bridge", up=False),), 1500, []),
    ],
)
def test_the_smallest_interface_is_taken_whatever_it_is_for(
    snapshot: Reading, node: Observing, more: tuple[Link, ...], size: int, codes: list[str]
) -> None:
    """findMinMTU looks at all that is up and neither loopback nor point-to-point."""
    files = snapshot(nodes=tuple(seen(node(name), size, *more) for name in ("n1", "n2")))
    assert registry.recognise(files).name == "kubenet"
    found = [one.code for one in decide.check(files).findings]
    assert list(dict.fromkeys(found)) == codes


def test_a_bridge_beside_a_cni_configuration_is_none_of_its(snapshot: Reading, node: Observing) -> None:
    held = msgspec.structs.replace(seen(node(), 1500), files=(NodeFile(path="/etc/cni/net.d/10-x.conf", text="{}"),))
    assert kubenet.read(snapshot(nodes=(held,))) is None


def test_no_object_holds_the_flag(snapshot: Reading, node: Observing) -> None:
    state = registry.recognise(snapshot(nodes=(seen(node(), 1500),)))
    assert kubenet.steps(state, 1500) == ()
    with pytest.raises(UsageError, match="--network-plugin-mtu=1400"):
        kubenet.steps(state, 1400)
    given = registry.recognise(snapshot(kops(1400)))
    assert kubenet.steps(given, 1400) == ()
    with pytest.raises(UsageError, match=r"spec.kubelet.networkPluginMTU"):
        kubenet.steps(given, 1500)
