"""Networks whose pods follow a NIC of their node: kindnet, Azure's, GKE's; judged, and led to what the NICs have.

What is taken, and when: kubernetes-sigs/kind: images/kindnetd/cmd/kindnetd/cni.go; kubernetes-sigs/kindnet:
cmd/cni-kindnet/netdev.go; Azure/azure-container-networking: network/transparent_endpointclient_linux.go;
GoogleCloudPlatform/netd: scripts/install-cni.sh.
"""

from collections.abc import Callable

import pytest
import yaml

from kubemtu.cni import registry
from kubemtu.core.change.plan import Live, Rollout
from kubemtu.core.errors import UsageError
from kubemtu.core.net import Link, NodeFile, NodeObservation, PodPort, Uplink
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
KIND = "/etc/cni/net.d/10-kindnet.conflist"
GKE = "/etc/cni/net.d/10-gke-ptp.conflist"
AZURE = "/etc/cni/net.d/10-azure.conflist"
PTP = '{"cniVersion": "0.3.1", "name": "n", "plugins": [{"type": "ptp"%s}, {"type": "portmap"}]}'
OWN = '{"cniVersion": "0.4.0", "name": "kindnet", "plugins": [{"type": "cni-kindnet", "ranges": ["10.244.0.0/24"]}]}'
VNET = '{"cniVersion": "0.3.0", "name": "azure", "plugins": [{"type": "azure-vnet", "mode": "transparent"}]}'


def agent(name: str, **metadata: object) -> str:
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "kube-system", **metadata},
        "spec": {"template": {"spec": {"containers": [{"name": name, "image": f"{name}:v1.0.1"}]}}},
    }
    return yaml.safe_dump(body)


def config(**data: str) -> str:
    metadata = {"name": "cilium-config", "namespace": "kube-system"}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def pod(host_link: str, mtu: int, bridge: str | None = None) -> PodPort:
    return PodPort(
        netns=host_link,
        inode=1,
        host_link=host_link,
        host_index=9,
        host_mtu=mtu,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=mtu,
        bridge=bridge,
    )


def node(
    path: str,
    text: str,
    nic: int = 1500,
    pods: tuple[PodPort, ...] = (),
    name: str = "n1",
    wireguard: int | None = None,
) -> NodeObservation:
    links = [Link(index=2, name="eth0", mtu=nic, up=True)]
    if wireguard:
        links += [
            Link(index=3, name="cilium_host", mtu=nic, up=True),
            Link(index=4, name="cilium_wg0", mtu=wireguard, up=True),
        ]
    return NodeObservation(
        node=name,
        links=tuple(links),
        uplinks=(Uplink(peer="192.0.2.2", device="eth0", mtu=nic),),
        ports=pods,
        files=(NodeFile(path=path, text=text),),
    )


# what: DaemonSets, path and text of the conflist, NIC, a pod; name and variant, what new pods get
HEALTHY: list[tuple[str, tuple[str, ...], str, str, int, str, str, str, int]] = [
    ("kind's kindnetd", ("kindnet",), KIND, PTP % ', "mtu": 1500', 1500, "veth0a1b2c3d", "kindnet", "", 1500),
    ("kind's kindnetd, jumbo", ("kindnet",), KIND, PTP % ', "mtu": 9000', 9000, "veth0a1b2c3d", "kindnet", "", 9000),
    ("kind's kindnetd without eth0", ("kindnet",), KIND, PTP % "", 1500, "veth0a1b2c3d", "kindnet", "", 1500),
    ("kindnet's own plugin", ("kindnet",), KIND, OWN, 1460, "knet0a1b2c3d", "kindnet", "", 1460),
    ("azure-vnet and CNS", ("azure-cns",), AZURE, VNET, 1500, "azv0a1b2c3d", "azure-cni", "CNS", 1500),
    ("azure-vnet alone", (), AZURE, VNET, 1500, "azv0a1b2c3d", "azure-cni", "without CNS", 1500),
    ("netd", ("netd",), GKE, PTP % ', "mtu": 1460', 1460, "veth0a1b2c3d", "gke", "netd", 1460),
    ("netd, jumbo", ("netd",), GKE, PTP % ', "mtu": 8896', 8896, "veth0a1b2c3d", "gke", "netd", 8896),
    ("Dataplane V2", ("netd", "anetd"), GKE, PTP % ', "mtu": 1460', 1460, "gke0a1b2c3d", "gke", "Dataplane V2", 1460),
]


@pytest.mark.parametrize("row", HEALTHY, ids=[row[0] for row in HEALTHY])
def test_what_is_healthy(
    snapshot: Reading, row: tuple[str, tuple[str, ...], str, str, int, str, str, str, int]
) -> None:
    _, agents, path, text, nic, veth, name, variant, pods = row
    seen = node(path, text, nic, (pod(veth, pods),))
    whole = snapshot(*map(agent, agents), nodes=(seen,))
    state = registry.recognise(whole)
    assert (state.name, state.variant, state.findings) == (name, variant, ())
    report = decide.check(whole)
    assert (report.findings, report.current) == ((), (pods,))
    assert decide.plan(whole)[0].steps == ()


@pytest.mark.parametrize("row", HEALTHY, ids=[row[0] for row in HEALTHY])
def test_pods_that_are_larger_than_the_nic(
    snapshot: Reading, row: tuple[str, tuple[str, ...], str, str, int, str, str, str, int]
) -> None:
    _, agents, path, text, _, veth, name, _, old = row
    seen = node(path, text, 1400, (pod(veth, old),))
    whole = snapshot(*map(agent, agents), nodes=(seen,))
    found = decide.check(whole).findings
    assert ("MTU101", "n1") in [(one.code, one.place.removeprefix("node ").partition(",")[0]) for one in found]
    plan, _ = decide.plan(whole)
    assert plan.target == 1400
    assert isinstance(plan.steps[0], Live)
    restarts = [str(step.ref) for step in plan.steps if isinstance(step, Rollout)]
    literal = '"mtu"' in text or text == PTP % ""
    expected = {"kindnet": "kindnet", "gke": "netd"}.get(name)
    assert restarts == ([f"DaemonSet kube-system/{expected}"] if literal else [])


@pytest.mark.parametrize(
    ("agents", "path", "text", "words"),
    [
        (("kindnet",), KIND, PTP % ', "mtu": 1500', "Give the NICs that MTU, restart kindnet"),
        (("azure-cns",), AZURE, VNET, "azure-vnet copies the MTU of each node's primary NIC"),
        (("netd",), GKE, PTP % ', "mtu": 1500', "gcloud compute networks update --mtu"),
    ],
)
def test_another_mtu_than_the_nics_have(
    snapshot: Reading, agents: tuple[str, ...], path: str, text: str, words: str
) -> None:
    whole = snapshot(*map(agent, agents), nodes=(node(path, text),))
    with pytest.raises(UsageError, match=words):
        decide.plan(whole, 1450)
    mixed = snapshot(*map(agent, agents), nodes=(node(path, text), node(path, text, 1400, name="n2")))
    with pytest.raises(UsageError, match="cannot be given to new ones"):
        decide.plan(mixed)


@pytest.mark.parametrize(("device", "mtu"), [(1380, 1380), (1365, 1365)])
def test_dataplane_v2_that_encrypts(snapshot: Reading, device: int, mtu: int) -> None:
    """netd gives pods what cilium_wg0 has: the NIC less 80, or less 95 (cilium/cilium#45940)."""
    seen = node(GKE, PTP % f', "mtu": {mtu}', 1460, (pod("gke0a1b2c3d", mtu),), wireguard=device)
    whole = snapshot(agent("netd"), agent("anetd"), config(**{"enable-wireguard": "true"}), nodes=(seen,))
    state = registry.recognise(whole)
    assert (state.encapsulation_name, state.subtracts) == ("wireguard", 1460 - mtu)
    assert decide.check(whole).findings == ()
    assert decide.plan(whole)[0].steps == ()


def test_owners(snapshot: Reading) -> None:
    assert registry.recognise(snapshot(agent("netd"))).owner == "GKE"
    mode = {"labels": {"addonmanager.kubernetes.io/mode": "Reconcile"}}
    assert registry.recognise(snapshot(agent("netd", **mode))).owner == "the addon manager (mode Reconcile)"
    kops = {"labels": {"addon.kops.k8s.io/name": "networking.kindnet"}}
    assert registry.recognise(snapshot(agent("kindnet", **kops))).owner == "kops (addon networking.kindnet)"


def test_a_veth_of_a_bridge_is_not_a_pods_of_ptp(snapshot: Reading) -> None:
    """docker gives its containers' veths such names, too."""
    state = registry.recognise(snapshot(agent("kindnet")))
    free = Link(index=5, name="veth0a1b2c3d", mtu=1500, kind="veth", peer_netnsid=1)
    held = Link(index=6, name="veth4e5f6a7b", mtu=1500, kind="veth", peer_netnsid=2, master="docker0")
    assert state.ports.covers(free)
    assert not state.ports.covers(held)
    assert registry.ports().covers(free)
    assert not registry.ports().covers(held)


def test_another_networks_ports_of_such_names_are_not_its_own(snapshot: Reading) -> None:
    """Agents look for the ports of every known network: a second veth of a pod is not taken for its first."""
    text = '{"cniVersion": "0.4.0", "name": "aws-cni", "plugins": [{"type": "aws-cni", "mtu": "1500"}]}'
    seen = node("/etc/cni/net.d/10-aws.conflist", text, pods=(pod("eni0a1b2c3d4e5", 1500), pod("veth0a1b2c3d", 9000)))
    aws = yaml.safe_load(agent("aws-node"))
    aws["spec"]["template"]["spec"]["containers"][0] |= {
        "image": "amazon-k8s-cni:v1.19.2",
        "env": [{"name": "POD_MTU", "value": "1500"}],
    }
    whole = snapshot(yaml.safe_dump(aws), nodes=(seen,))
    report = decide.check(whole)
    assert (report.findings, report.current) == ((), (1500,))
    assert decide.plan(whole)[0].steps == ()
