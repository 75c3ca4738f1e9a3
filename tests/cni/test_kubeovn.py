"""Kube-OVN: each version's constants against what the headers cost, --mtu, and Subnets with a number of their own."""

from collections.abc import Callable

import pytest
import yaml
from tests.support.findings import judged

from kubemtu.cni import kubeovn
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import UsageError
from kubemtu.core.net import Link, NodeObservation, PodPort
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
Observing = Callable[..., NodeObservation]
ARGS = ("spec", "template", "spec", "containers", 1, "args")


def agent(
    *args: object, version: str = "v1.13.0", namespace: str = "kube-system", container: str = "cni-server"
) -> str:
    server = {"name": container, "image": f"kubeovn/kube-ovn:{version}", "args": ["--enable-mirror=true", *args]}
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "kube-ovn-cni", "namespace": namespace},
        "spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "a:v1"}, server]}}},
    }
    return yaml.safe_dump(body)


def subnet(name: str = "ovn-default", **spec: object) -> str:
    metadata = {"name": name}
    return yaml.safe_dump({"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": metadata, "spec": spec})


def machine(*addresses: str, name: str = "n1") -> str:
    listed = [{"type": "InternalIP", "address": address} for address in addresses]
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": listed}}
    )


def read(snapshot: Snapshot) -> CniState:
    state = kubeovn.read(snapshot)
    assert state is not None
    return state


IPV4, BOTH = ("192.0.2.1",), ("192.0.2.1", "2001:db8::1")
# Version, arguments, families: what pkg/daemon/config.go of that tag leaves of a NIC of 1500, and what fits: 1442 for
# Geneve with OVN's option (20+8+8+8+14), 1422 over IPv6, 1450 and 1430 for VXLAN, 1428 for STT (20+20+18+14), and 1408
# for Geneve in ESP (RFC 4303).
DERIVED: list[tuple[str, tuple[str, ...], tuple[str, ...], int, int]] = [
    ("v0.9.0", (), IPV4, 1400, 1442),
    ("v1.8.0", (), IPV4, 1400, 1442),
    ("v1.13.0", (), IPV4, 1400, 1442),
    ("v1.13.0", ("--mtu=0",), IPV4, 1400, 1442),
    ("v1.13.0", ("--mtu", "0"), IPV4, 1400, 1442),
    ("v1.13.0", (), BOTH, 1380, 1422),
    ("v1.10.4", (), BOTH, 1400, 1422),
    ("v1.13.0", ("--network-type=vxlan",), IPV4, 1450, 1450),
    ("v1.13.0", ("--network-type=vxlan",), BOTH, 1430, 1430),
    ("v1.10.4", ("--network-type=vxlan",), IPV4, 1400, 1450),
    ("v1.10.5", ("--network-type=vxlan",), IPV4, 1450, 1450),
    ("v1.9.41", ("--network-type=stt",), IPV4, 1400, 1428),
    ("v1.11.0", ("--network-type=stt",), IPV4, 1428, 1428),
    ("v1.13.0", ("--enable-ovn-ipsec=true",), IPV4, 1400, 1408),
    ("v1.13.0", ("--network-type=vlan",), IPV4, 1500, 1500),
    ("latest", ("--network-type=geneve",), IPV4, 1400, 1442),
]


@pytest.mark.parametrize(("version", "args", "addresses", "gives", "carries"), DERIVED)
def test_each_version_takes_off_its_own_number(
    snapshot: Reading, version: str, args: tuple[str, ...], addresses: tuple[str, ...], gives: int, carries: int
) -> None:
    files = snapshot(agent(*args, version=version), machine(*addresses))
    state = read(files)
    assert (state.pod_mtu, state.subtracts) == (None, 1500 - gives)
    assert min([one.inner(1500) for one in state.encapsulation], default=1500) == carries
    assert judged(files, 1500) == []
    assert state.findings == ()


@pytest.mark.parametrize(
    ("mtu", "nic", "findings"),
    [
        ("--mtu=1400", 1500, []),
        ("--mtu=1442", 1500, []),
        ("--mtu=1443", 1500, [("MTU119", "error")]),
        ("--mtu=1500", 1500, [("MTU119", "error")]),
        ("--mtu=1400", 1450, [("MTU119", "error")]),
        ("--mtu=1300", 1500, [("MTU119", "warning")]),
        ("--mtu=1400", 9001, [("MTU119", "warning")]),
        ("--mtu=8901", 9001, []),
    ],
)
def test_the_argument_is_the_pods_own(snapshot: Reading, mtu: str, nic: int, findings: list[tuple[str, str]]) -> None:
    files = snapshot(agent(mtu), machine(*IPV4))
    assert read(files).pod_mtu == int(mtu.removeprefix("--mtu="))
    assert judged(files, nic) == findings


@pytest.mark.parametrize(
    ("args", "code", "place", "words"),
    [
        (("--mtu=jumbo",), "MTU112", "--mtu", "not a number of bytes"),
        (("--mtu=70000",), "MTU112", "--mtu", "must be between 68 and 65535"),
        (("--mtu=-1",), "MTU112", "--mtu", "An MTU of -1 cannot be"),
        (("--network-type=gre",), "MTU117", "--network-type", "'gre' is none that kube-ovn-cni knows"),
    ],
)
def test_what_is_broken(snapshot: Reading, args: tuple[str, ...], code: str, place: str, words: str) -> None:
    (finding,) = read(snapshot(agent(*args))).findings
    assert (finding.code, finding.place) == (code, f"DaemonSet kube-system/kube-ovn-cni, {place}")
    assert words in finding.message


def test_the_last_of_two_counts(snapshot: Reading) -> None:
    assert read(snapshot(agent("--mtu=1300", "--mtu=1400"))).pod_mtu == 1400


@pytest.mark.parametrize(
    ("iface", "names"),
    [("eth1", ("eth1",)), ("eth1,ens5", ("eth1", "ens5")), ("eth.*", ()), ("", ()), ("(eth|ens)[0-9]", ())],
)
def test_a_pattern_is_no_name(snapshot: Reading, iface: str, names: tuple[str, ...]) -> None:
    """pkg/daemon/config.go findInterface compiles what is no device's name as an expression."""
    assert read(snapshot(agent(f"--iface={iface}"))).nic_names == names


def test_it_is_another_networks_when_it_only_adds_to_it(snapshot: Reading) -> None:
    assert kubeovn.read(snapshot(agent("--non-primary-cni-mode=true"))) is None
    assert kubeovn.read(snapshot("")) is None


def test_the_default_subnets_number_counts_before_the_argument(snapshot: Reading) -> None:
    state = read(snapshot(agent("--mtu=1400"), subnet(mtu=1500, cidrBlock="10.16.0.0/16")))
    assert state.pod_mtu == 1500
    assert str(state.mtu_keys[0].ref) == "Subnet ovn-default"
    assert judged(snapshot(agent("--mtu=1400"), subnet(mtu=1500)), 1500) == [("MTU119", "error")]
    edit, other, restart = kubeovn.steps(state, 1442)
    assert isinstance(edit, EditValue)
    assert isinstance(other, EditValue)
    assert (edit.ref.kind, edit.after) == ("DaemonSet", "--mtu=1442")
    assert (other.ref.kind, other.path, other.before, other.after) == ("Subnet", ("spec", "mtu"), 1500, 1442)
    assert isinstance(restart, Rollout)


def test_a_subnet_that_gives_its_pods_more_than_all_others(snapshot: Reading) -> None:
    state = read(snapshot(agent("--mtu=1400"), subnet("fast", mtu=8900), subnet("slow", mtu=1300)))
    (finding,) = state.findings
    assert (finding.code, finding.severity, finding.place) == ("MTU119", "error", "Subnet fast, spec.mtu")
    assert "packets of 1401-8900 bytes" in finding.message
    edits = [one for one in kubeovn.steps(state, 1400) if isinstance(one, EditValue)]
    assert [(str(one.ref), one.before, one.after) for one in edits] == [("Subnet fast", 8900, 1400)]


@pytest.mark.parametrize("held", ["1400", 1400.0, True])
def test_a_subnets_number_of_the_wrong_type(snapshot: Reading, held: object) -> None:
    (finding,) = read(snapshot(agent(), subnet(mtu=held))).findings
    assert (finding.code, finding.place) == ("MTU112", "Subnet ovn-default, spec, mtu")


def test_an_underlay_subnet_has_what_its_nic_has(snapshot: Reading) -> None:
    """charts/kube-ovn gives --network-type the tunnel's type also where the default Subnet is on a VLAN."""
    files = snapshot(agent("--network-type=geneve"), subnet(vlan="vlan10"), subnet("other", vlan="v", mtu=9000))
    state = read(files)
    assert (state.encapsulation, state.encapsulation_name, state.subtracts) == ((), "none", 0)
    assert judged(files, 1500) == []
    with pytest.raises(UsageError, match="on the VLAN of their provider network"):
        kubeovn.steps(state, 1400)


def test_somebody_elses_subnets_are_not_its_own(snapshot: Reading) -> None:
    foreign = subnet(mtu=9000).replace("kubeovn.io/v1", "example.org/v1")
    assert read(snapshot(agent("--mtu=1400"), foreign)).pod_mtu == 1400


@pytest.mark.parametrize(
    ("args", "path", "before", "after"),
    [
        ((), 1, None, "--mtu=1442"),
        (("--iface=",), 2, None, "--mtu=1442"),
        (("--mtu=0", "--iface="), 1, "--mtu=0", "--mtu=1442"),
        (("--iface=", "--mtu", "1400", "--x=y"), 3, "1400", "1442"),
    ],
)
def test_one_argument_is_edited_and_all_others_stay(
    snapshot: Reading, args: tuple[str, ...], path: int, before: str | None, after: str
) -> None:
    edit, restart = kubeovn.steps(read(snapshot(agent(*args))), 1442)
    assert isinstance(edit, EditValue)
    assert isinstance(restart, Rollout)
    assert (edit.path, edit.before, edit.after) == ((*ARGS, path), before, after)
    assert restart.ref == edit.ref


def test_the_edit_leads_where_it_was_meant_to(snapshot: Reading) -> None:
    files = snapshot(agent("--mtu=1500"))
    edit, _ = kubeovn.steps(read(files), 1400)
    assert isinstance(edit, EditValue)
    after = decide.edited(files, [edit])
    assert read(after).pod_mtu == 1400
    assert decide.edited(after, [edit.undo()]).objects == files.objects


def test_there_is_no_place_for_the_argument(snapshot: Reading) -> None:
    with pytest.raises(UsageError, match="has no container cni-server with arguments"):
        kubeovn.steps(read(snapshot(agent(container="cni"))), 1400)


def seen(node: NodeObservation, size: int, nic: int) -> NodeObservation:
    port = PodPort(
        netns="cni-1",
        inode=1,
        host_link="3c1f9a77be01_h",
        host_index=20,
        host_mtu=size,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=size,
        bridge="ovs-system",
        addresses=("10.16.0.9",),
    )
    second = Link(index=8, name="eth1", mtu=nic)
    return NodeObservation(node=node.node, links=(*node.links, second), uplinks=node.uplinks, ports=(port,))


@pytest.mark.parametrize(
    ("args", "size", "nic", "found"),
    [
        ((), 1400, 1500, []),
        ((), 1442, 1500, ["MTU104"]),  # it fits, and a new one gets 1400
        ((), 1500, 1500, ["MTU104", "MTU101"]),
        ((), 8901, 9001, []),
        (("--mtu=1400",), 1400, 1500, []),
        (("--mtu=1400",), 1442, 1500, ["MTU104"]),
        (("--iface=eth1",), 1400, 1500, []),
    ],
)
def test_nodes_are_judged_by_what_the_agent_takes_off_their_nics(
    snapshot: Reading, node: Observing, args: tuple[str, ...], size: int, nic: int, found: list[str]
) -> None:
    nodes = tuple(seen(node(name, mtu=nic), size, nic) for name in ("n1", "n2"))
    files = snapshot(agent(*args), machine(*IPV4, name="n1"), machine("192.0.2.2", name="n2"), nodes=nodes)
    assert list(dict.fromkeys(one.code for one in decide.check(files).findings)) == found
    made, _ = decide.plan(files)
    assert bool(made.steps) is bool(found)


def test_what_is_left_free_is_said(snapshot: Reading) -> None:
    said = decide.check(snapshot(agent(), machine(*IPV4)), 1500)
    assert said.summary == (
        "The configuration suits NICs of 1500: new pods get 1400, the path between nodes carries 1442, of which"
        " kube-ovn leaves 42 free by design. No node was observed."
    )


def test_what_is_given_away_is_no_design(snapshot: Reading) -> None:
    said = decide.check(snapshot(agent("--mtu=1399", "--network-type=vxlan"), machine(*IPV4)), 1450)
    assert "by design" not in said.summary
