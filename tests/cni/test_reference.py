"""The reference plugins as the pod network: only files on nodes say it (containernetworking/plugins: plugins/main)."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.cni import registry
from kubemtu.core.change.plan import Live
from kubemtu.core.errors import KubemtuError, UsageError
from kubemtu.core.net import Link, NodeFile, NodeObservation, PodPort, Uplink
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
PATH = "/etc/cni/net.d/10-net.conflist"


def node(
    plugin: str,
    name: str = "n1",
    nic: int = 1500,
    pods: tuple[PodPort, ...] = (),
    links: tuple[Link, ...] = (),
    path: str = PATH,
) -> NodeObservation:
    text = f'{{"cniVersion": "0.4.0", "name": "net", "plugins": [{plugin}, {{"type": "portmap"}}]}}'
    return NodeObservation(
        node=name,
        links=(Link(index=2, name="eth0", mtu=nic, up=True), *links),
        uplinks=(Uplink(peer="192.0.2.2", device="eth0", mtu=nic),),
        ports=pods,
        files=(NodeFile(path=path, text=text),),
    )


def pod(mtu: int, bridge: str | None = None) -> PodPort:
    return PodPort(
        netns="p",
        inode=1,
        host_link="veth0a1b2c3d",
        host_index=9,
        host_mtu=mtu,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=mtu,
        bridge=bridge,
    )


@pytest.mark.parametrize(
    ("plugin", "variant", "bridge", "pods"),
    [
        ('{"type": "bridge", "mtu": 1500}', "bridge", "cni0", 1500),
        ('{"type": "bridge", "bridge": "cbr0", "mtu": 1400}', "bridge", "cbr0", 1400),
        ('{"type": "bridge"}', "bridge", "cni0", 1500),
        ('{"type": "ptp", "mtu": 1450}', "ptp", None, 1450),
        ('{"type": "ptp", "mtu": 0}', "ptp", None, 1500),
        ('{"type": "macvlan", "master": "eth0", "mtu": 1400}', "macvlan", None, 1400),
        ('{"type": "ipvlan", "master": "eth0"}', "ipvlan", None, None),
    ],
)
def test_each_is_read(snapshot: Reading, plugin: str, variant: str, bridge: str | None, pods: int | None) -> None:
    whole = snapshot(nodes=(node(plugin, nic=pods or 1500),))
    state = registry.recognise(whole)
    assert (state.name, state.variant, state.bridge, state.pod_mtu) == ("reference-plugins", variant, bridge, pods)
    assert (state.encapsulation_known, state.encapsulation, state.findings) == (True, (), ())
    assert state.source == f"mtu of the plugin {variant} in {PATH} on each node"
    assert decide.check(whole).findings == ()


def test_running_pods_are_led_to_what_the_files_say(snapshot: Reading) -> None:
    whole = snapshot(nodes=(node('{"type": "ptp", "mtu": 1400}', nic=1400, pods=(pod(1500),)),))
    assert {one.code for one in decide.check(whole).findings} == {"MTU101", "MTU104"}
    plan, _ = decide.plan(whole)
    assert (plan.target, [type(step) for step in plan.steps]) == (1400, [Live, Live])


def test_a_file_that_gives_too_much(snapshot: Reading) -> None:
    whole = snapshot(nodes=(node('{"type": "bridge", "mtu": 1500}', nic=1400),))
    (finding,) = decide.check(whole).findings
    assert (finding.code, finding.place) == ("MTU119", f"mtu of the plugin bridge in {PATH} on each node")
    with pytest.raises(UsageError) as caught:
        decide.plan(whole)
    assert f"n1: {PATH} says else" in str(caught.value)
    assert 'Write "mtu": 1400 where' in str(caught.value)


def test_pods_without_veths_are_not_changed(snapshot: Reading) -> None:
    with pytest.raises(UsageError, match="Pods of the plugin macvlan share the node's NIC"):
        decide.plan(snapshot(nodes=(node('{"type": "macvlan", "master": "eth0"}'),)))


@pytest.mark.parametrize("kind", ["vxlan", "wireguard", "ipip", "gretap"])
def test_a_tunnel_that_nothing_explains(snapshot: Reading, kind: str) -> None:
    seen = node('{"type": "bridge", "mtu": 1400}', links=(Link(index=7, name="tun7", mtu=1420, kind=kind),))
    (finding,) = registry.recognise(snapshot(nodes=(seen,))).findings
    assert (finding.code, finding.place) == ("MTU117", "tun7")


def test_nodes_of_two_kinds(snapshot: Reading) -> None:
    nodes = (node('{"type": "bridge", "mtu": 1500}'), node('{"type": "ptp", "mtu": 1500}', "n2"))
    (finding,) = registry.recognise(snapshot(nodes=nodes)).findings
    assert (finding.code, finding.place) == ("MTU117", f"node n2, {PATH}")


def test_nodes_that_say_different_numbers(snapshot: Reading) -> None:
    nodes = (node('{"type": "ptp", "mtu": 1500}'), node('{"type": "ptp", "mtu": 1400}', "n2"))
    assert registry.recognise(snapshot(nodes=nodes)).pod_mtu is None
    with pytest.raises(UsageError, match=f"n2: {PATH} says else"):
        decide.plan(snapshot(nodes=nodes))


def test_what_another_cni_has_left_is_its_own(snapshot: Reading) -> None:
    flannel = '{"type": "flannel", "delegate": {"isDefaultGateway": true}}'
    seen = node(flannel, path="/etc/cni/net.d/10-flannel.conflist")
    config = """
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data: {net-conf.json: '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'}
"""
    assert registry.recognise(snapshot(config, nodes=(seen,))).name == "flannel"


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["1500", "+1500", " 1500", "٠", "9" * 400, "\x1b[2J"]),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)
KINDS = ["bridge", "ptp", "macvlan", "ipvlan", "aws-cni", "azure-vnet", "cni-kindnet", "gke", "cilium-cni"]
AGENTS = ["aws-node", "kindnet", "netd", "azure-cns", "cilium", ""]


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(KINDS), mtu=JUNK, bridge=JUNK, agent=st.sampled_from(AGENTS), target=st.integers(0, 70000))
def test_a_nodes_file_may_hold_anything(kind: str, mtu: object, bridge: object, agent: str, target: int) -> None:
    seen = node(json.dumps({"type": kind, "mtu": mtu, "bridge": bridge}))
    body: dict[str, object] = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": agent, "namespace": "kube-system"},
    }
    whole = Snapshot(source="a test", objects=(Object.of(body),) if agent else (), nodes=(seen,))
    try:
        said = [text for one in decide.check(whole).findings for text in (one.place, one.message, one.remedy)]
        decide.plan(whole, target)
    except KubemtuError as sentence:
        said = [str(sentence)]
    assert all(said)
