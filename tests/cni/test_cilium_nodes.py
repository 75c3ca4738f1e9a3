"""What differs from node to node in a Cilium, and what is not of its pods: overrides, netkit, the nodes' own packets.

Selectors and their order are those of cilium/cilium: pkg/option/resolver/resolver.go.
"""

from collections.abc import Callable, Mapping

import pytest
import yaml

from kubemtu.cni import cilium
from kubemtu.core.codes import Finding
from kubemtu.core.net import Link, NodeObservation, Uplink
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
CONFIG = "ConfigMap kube-system/cilium-config"
NATIVE = {"routing-mode": "native"}
VXLAN = {"routing-mode": "tunnel", "tunnel-protocol": "vxlan"}
ENCRYPTED = {"enable-wireguard": "true", "encrypt-node": "true"}


def config(**data: str) -> str:
    whole = {"enable-ipv4": "true", "identity-allocation-mode": "crd", **data}
    metadata = {"name": "cilium-config", "namespace": "kube-system"}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": whole})


def agent(version: str = "v1.19.5") -> str:
    container = {"name": "cilium-agent", "image": f"quay.io/cilium/cilium:{version}"}
    body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "cilium", "namespace": "kube-system"}}
    return yaml.safe_dump({**body, "spec": {"template": {"spec": {"containers": [container]}}}})


def listed(name: str, **labels: str) -> str:
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})


def override(name: str, mtu: str, selector: Mapping[str, object] | None) -> str:
    spec: dict[str, object] = {"defaults": {"mtu": mtu}}
    if selector is not None:
        spec["nodeSelector"] = selector
    metadata = {"name": name, "namespace": "kube-system"}
    body = {"apiVersion": "cilium.io/v2", "kind": "CiliumNodeConfig", "metadata": metadata, "spec": spec}
    return yaml.safe_dump(body)


def node(name: str, nic: int = 1500, host: int = 1500, **others: int) -> NodeObservation:
    devices = {"eth0": nic, "cilium_host": host, **others}
    return NodeObservation(
        node=name,
        links=tuple(Link(index=index, name=link, mtu=mtu) for index, (link, mtu) in enumerate(devices.items(), 2)),
        uplinks=(Uplink(peer="192.0.2.2", device="eth0", mtu=nic),),
    )


def found(snapshot: Snapshot) -> tuple[Finding, ...]:
    state = cilium.read(snapshot)
    assert state is not None
    return state.findings


NODES = (listed("n1", disk="ssd", pool="a"), listed("n2", pool="b"), listed("n3"))
JUMBO = {"matchLabels": {"pool": "a"}}
SELECTORS: tuple[tuple[Mapping[str, object], tuple[str, ...]], ...] = (
    (JUMBO, ("n1",)),
    ({"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a", "b"]}]}, ("n1", "n2")),
    ({"matchExpressions": [{"key": "pool", "operator": "NotIn", "values": ["a"]}]}, ("n2", "n3")),
    ({"matchExpressions": [{"key": "disk", "operator": "Exists"}]}, ("n1",)),
    ({"matchExpressions": [{"key": "pool", "operator": "DoesNotExist"}]}, ("n3",)),
    ({"matchLabels": {"pool": "a"}, "matchExpressions": [{"key": "disk", "operator": "DoesNotExist"}]}, ()),
    ({"matchExpressions": [{"key": "pool", "operator": "Is"}]}, ()),
)


@pytest.mark.parametrize(("selector", "selected"), SELECTORS)
def test_which_nodes_a_selector_takes(
    snapshot: Reading, selector: Mapping[str, object], selected: tuple[str, ...]
) -> None:
    whole = snapshot(config(**VXLAN, mtu="1500"), agent(), override("jumbo", "9000", selector), *NODES)
    (finding,) = found(whole)
    assert (finding.code, finding.place) == ("MTU111", "CiliumNodeConfig kube-system/jumbo, spec.defaults.mtu")
    if selected:
        said = f"{' and '.join(selected)} take{'s' if len(selected) == 1 else ''} 9000 as base MTU, so pods there send"
        assert finding.message.startswith(f"{said} 8950, and all others 1500")
    else:
        assert finding.message.startswith("It selects no node that is there")


def test_an_empty_selector_takes_every_node_and_an_absent_one_none(snapshot: Reading) -> None:
    (every,) = found(snapshot(config(**VXLAN, mtu="1500"), agent(), override("all", "1400", {}), *NODES))
    assert every.message.endswith("1350, and 1500, as the ConfigMap has it, counts nowhere.")
    (none,) = found(snapshot(config(**VXLAN, mtu="1500"), agent(), override("none", "1400", None), *NODES))
    assert none.message.startswith("It selects no node that is there")


def test_of_two_the_last_by_name_counts(snapshot: Reading) -> None:
    both = (override("b", "1400", {}), override("a", "9000", JUMBO))
    first, second = found(snapshot(config(**VXLAN, mtu="1500"), agent(), *both, *NODES))
    assert first.place == "CiliumNodeConfig kube-system/a, spec.defaults.mtu"
    assert first.message.startswith("It selects no node that is there, or another stands above it")
    assert second.message.startswith("n1, n2 and n3 take 1400")


@pytest.mark.parametrize(("host", "severity"), [(9000, None), (1500, "warning"), (9001, "error")])
def test_each_agent_is_held_against_its_own_node_s_base(snapshot: Reading, host: int, severity: str | None) -> None:
    """Each is read when its pod starts (Documentation/configuration/per-node-config.rst)."""
    seen = (node("n1", 9001, host), node("n2"), node("n3"))
    whole = snapshot(config(**VXLAN, mtu="1500"), agent(), override("jumbo", "9000", JUMBO), *NODES, nodes=seen)
    behind = [(one.place, one.severity) for one in found(whole) if one.code == "MTU103"]
    assert behind == ([("node n1, cilium_host", severity)] if severity else [])


def test_an_override_that_is_no_number(snapshot: Reading) -> None:
    (finding,) = found(snapshot(config(**VXLAN, mtu="1500"), agent(), override("odd", "15OO", JUMBO), *NODES))
    assert (finding.code, finding.place) == ("MTU112", "CiliumNodeConfig kube-system/odd, spec.defaults.mtu")


def test_an_override_that_says_the_same_says_nothing(snapshot: Reading) -> None:
    assert found(snapshot(config(**VXLAN, mtu="1500"), agent(), override("same", "1500", JUMBO), *NODES)) == ()


@pytest.mark.parametrize(
    ("data", "sizes"), [({}, "60 bytes"), ({"enable-ipv4": "false", "enable-ipv6": "true"}, "80 bytes")]
)
def test_the_nodes_own_packets_are_encrypted_too(snapshot: Reading, data: Mapping[str, str], sizes: str) -> None:
    """cilium/cilium#37919: routes of the node are not told; WireGuard takes 60 bytes over IPv4, 80 over IPv6."""
    whole = snapshot(config(**NATIVE, **ENCRYPTED, **data), agent(), nodes=(node("n1", cilium_wg0=1405),))
    (finding,) = found(whole)
    assert (finding.code, finding.severity) == ("MTU142", "warning")
    assert finding.place == f"{CONFIG}, data.encrypt-node"
    assert f"which takes {sizes}" in finding.message
    largest = "1441-1500" if sizes.startswith("60") else "1421-1500"
    assert f"the largest (NICs of 1500: {largest}) no longer fit the NIC" in finding.message


@pytest.mark.parametrize(
    "data",
    [{"enable-wireguard": "true"}, {"encrypt-node": "true"}, {"enable-wireguard": "true", "encrypt-node": "false"}],
)
def test_where_they_are_not_nothing_is_said(snapshot: Reading, data: Mapping[str, str]) -> None:
    assert found(snapshot(config(**NATIVE, **data), agent(), nodes=(node("n1"),))) == ()


@pytest.mark.parametrize("mode", ["netkit", "netkit-l2"])
def test_pods_on_netkit_are_not_seen_and_said_so(snapshot: Reading, mode: str) -> None:
    whole = snapshot(config(**VXLAN, **{"datapath-mode": mode}, mtu="1500"), agent(), nodes=(node("n1"),))
    (finding,) = found(whole)
    assert (finding.code, finding.severity, finding.place) == ("MTU118", "note", f"{CONFIG}, data.datapath-mode")
    planned, _ = decide.plan(whole, 1400)
    assert any(said.startswith("Pods hang on netkit devices") for said in planned.warnings)


def test_manifests_alone_are_judged_with_netkit_as_without(snapshot: Reading) -> None:
    assert found(snapshot(config(**VXLAN, **{"datapath-mode": "netkit"}, mtu="1500"), agent())) == ()
    assert found(snapshot(config(**VXLAN, **{"datapath-mode": "veth"}), agent(), nodes=(node("n1"),))) == ()


@pytest.mark.parametrize(
    ("host", "others", "severity", "said"),
    [
        # cilium/cilium#38992: the link of EKS' pod identity, a dummy of 1500, was counted
        (1500, {"pod-id-link0": 1500}, "warning", "the agent has found 1500 (as pod-id-link0 has)"),
        # cilium/cilium#47643: no ENI was taken for the primary one, and MaxMTU was left
        (65520, {}, "error", "the agent has found 65520: its pods send more than gets through"),
    ],
)
def test_eni_and_a_base_of_another_device(
    snapshot: Reading, host: int, others: Mapping[str, int], severity: str, said: str
) -> None:
    whole = snapshot(config(**NATIVE, ipam="eni"), agent(), nodes=(node("n1", 9001, host, **others),))
    (finding,) = found(whole)
    assert (finding.code, finding.severity, finding.place) == ("MTU120", severity, "node n1, eth0")
    assert said in finding.message


def test_eni_takes_the_primary_one_alone(snapshot: Reading) -> None:
    """Further ENIs, and those of EFA, are the agent's own and do not count (pkg/mtu/manager.go consideredDevices)."""
    seen = node("n1", 9001, 9001, eth1=1500, eth2=9001)
    assert found(snapshot(config(**NATIVE, ipam="eni"), agent(), nodes=(seen,))) == ()
