"""Flannel: two numbers, one of the underlay and one of the pods, and k3s, where the API has neither."""

from collections.abc import Callable

import msgspec
import pytest
import yaml

from kubemtu.cni import flannel
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.net import NodeObservation
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]
CNI = '{"plugins": [{"type": "flannel", "delegate": {"hairpinMode": true%s}}, {"type": "portmap"}]}'
NET = '{"Network": "10.244.0.0/16", "Backend": {"Type": "%s"%s}}'


def config(
    kind: str = "vxlan", backend: str = "", delegate: str = "", namespace: str = "kube-flannel", **more: str | None
) -> str:
    held = {"cni-conf.json": CNI % delegate, "net-conf.json": NET % (kind, backend)} | more
    metadata = {"name": "kube-flannel-cfg", "namespace": namespace}
    kept = {key: value for key, value in held.items() if value is not None}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": kept})


def agent(name: str = "kube-flannel-ds", version: str = "v0.28.9", namespace: str = "kube-flannel", *args: str) -> str:
    container = {"name": "kube-flannel", "image": f"flannel:{version}", "args": ["--ip-masq", *args]}
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    return yaml.safe_dump(body)


K3S = """
apiVersion: v1
kind: Node
metadata:
  name: n1
  annotations: {flannel.alpha.coreos.com/backend-type: %s}
status: {nodeInfo: {kubeletVersion: v1.30.4+k3s1}}
"""


def read(snapshot: Snapshot) -> CniState:
    state = flannel.read(snapshot)
    assert state is not None
    return state


def codes(state: CniState) -> list[str]:
    return [finding.code for finding in state.findings]


def steps(snapshot: Snapshot, target: int) -> tuple[list[EditValue], list[Rollout]]:
    found = flannel.steps(read(snapshot), target)
    return [one for one in found if isinstance(one, EditValue)], [one for one in found if isinstance(one, Rollout)]


def test_nothing_configured_leaves_it_to_the_nic(snapshot: Reading) -> None:
    state = read(snapshot(config(), agent()))
    assert (state.variant, state.encapsulation_name) == ("manifest", "vxlan")
    assert (state.pod_mtu, state.tunnel_mtu, state.conflist_mtu) == (None, None, None)
    assert (state.tunnel, state.bridge, state.ports.bridge) == ("flannel.1", "cni0", "cni0")
    assert state.conflist == "/etc/cni/net.d/10-flannel.conflist"
    assert [(key.means, key.value, key.inside) for key in state.mtu_keys] == [("base", None, "Backend.MTU")]
    assert state.findings == ()


@pytest.mark.parametrize("key", ["MTU", "mtu", "Mtu"])
def test_backend_mtu_is_the_underlays_in_any_case_of_letters(snapshot: Reading, key: str) -> None:
    state = read(snapshot(config(backend=f', "{key}": 9000'), agent()))
    assert (state.pod_mtu, state.tunnel_mtu) == (8950, 8950)
    assert state.mtu_keys[0].value == 9000


@pytest.mark.parametrize(
    ("kind", "version", "there"),
    [("vxlan", "v0.28.9", True), ("vxlan", "v0.21.2", False), ("host-gw", "v0.28.9", False)],
)
def test_where_the_tunnel_is_given_an_mtu_of_its_own(snapshot: Reading, kind: str, version: str, there: bool) -> None:
    key = read(snapshot(config(kind), agent(version=version))).tunnel_key
    place = 'ConfigMap kube-flannel/kube-flannel-cfg, data["net-conf.json"], Backend.MTU'
    assert (str(key), key and key.subtracts) == ((place, 50) if there else ("None", None))


def test_delegate_mtu_overrides(snapshot: Reading) -> None:
    state = read(snapshot(config(delegate=', "mtu": 1400'), agent()))
    assert (state.pod_mtu, state.conflist_mtu) == (1400, 1400)
    assert [(key.means, key.inside) for key in state.mtu_keys] == [
        ("pod", "plugins[0].delegate.mtu"),
        ("base", "Backend.MTU"),
    ]


def test_delegate_mtu_above_the_tunnel(snapshot: Reading) -> None:
    state = read(snapshot(config(backend=', "MTU": 1500', delegate=', "mtu": 1500'), agent()))
    (finding,) = state.findings
    assert (finding.code, finding.severity) == ("MTU119", "error")
    assert "packets of 1451-1500 bytes do not fit" in finding.message


@pytest.mark.parametrize(
    ("kind", "version"), [("vxlan", "v0.21.2"), ("vxlan", "v0.9.1"), ("host-gw", "v0.28.9"), ("ipip", "v0.28.9")]
)
def test_backend_mtu_that_nothing_reads(snapshot: Reading, kind: str, version: str) -> None:
    state = read(snapshot(config(kind, ', "MTU": 9000'), agent(version=version)))
    assert codes(state) == ["MTU111"]
    assert state.pod_mtu is None


@pytest.mark.parametrize(
    "kind",
    ["udp", "vxlan", "host-gw", "wireguard", "ipip", "ipsec", "alloc", "tencent-vpc", "ali-vpc", "aws-vpc", "gce"],
)
def test_every_backend_is_known(snapshot: Reading, kind: str) -> None:
    state = read(snapshot(config(kind), agent()))
    assert state.findings == ()
    assert state.encapsulation_known


def test_what_the_backend_extension_does_is_not_known(snapshot: Reading) -> None:
    state = read(snapshot(config("extension"), agent()))
    assert (codes(state), state.encapsulation_known, state.encapsulation_name) == (["MTU117"], False, "unknown")


@pytest.mark.parametrize(
    ("kind", "more", "taken"),
    [("vxlan", "", 50), ("wireguard", "", 80), ("ipsec", "", 77), ("ipsec", ', "UDPEncap": true', 85), ("udp", "", 28)],
)
def test_what_flannel_itself_takes_off_the_nic(snapshot: Reading, kind: str, more: str, taken: int) -> None:
    # flannel-io/flannel: pkg/backend/{vxlan,wireguard,ipsec,udp}/*_network*.go
    assert read(snapshot(config(kind, more), agent())).subtracts == taken


@pytest.mark.parametrize(
    ("name", "namespace"), [("kube-flannel-ds-amd64", "kube-system"), ("kube-flannel", "kube-system")]
)
def test_old_names_and_rkes(snapshot: Reading, name: str, namespace: str) -> None:
    state = read(snapshot(config(namespace=namespace), agent(name, namespace=namespace)))
    assert str(state.daemonset) == f"DaemonSet {namespace}/{name}"
    assert flannel.read(snapshot(agent("kube-flannel-exporter", namespace=namespace))) is None


@pytest.mark.parametrize(
    ("args", "names"), [(["--iface=eth1"], ("eth1",)), (["-iface", "eth1", "--iface=10.0.0.1"], ("eth1",))]
)
def test_the_nic_that_it_is_told(snapshot: Reading, args: list[str], names: tuple[str, ...]) -> None:
    assert read(snapshot(config(), agent("kube-flannel-ds", "v0.28.9", "kube-flannel", *args))).nic_names == names


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"cni-conf.json": None}, "MTU108"),
        ({"net-conf.json": None}, "MTU108"),
        ({"cni-conf.json": "{"}, "MTU122"),
        ({"net-conf.json": "{"}, "MTU122"),
        ({"cni-conf.json": CNI % ', "mtu": "1400"'}, "MTU112"),
        ({"net-conf.json": NET % ("vxlan", ', "MTU": "1500"')}, "MTU112"),
        ({"net-conf.json": NET % ("vxlan", ', "MTU": 1500, "mtu": 1400')}, "MTU112"),
        ({"net-conf.json": NET % ("warp", "")}, "MTU117"),
    ],
)
def test_a_configuration_that_is_broken(snapshot: Reading, more: dict[str, str | None], code: str) -> None:
    assert codes(read(snapshot(config("vxlan", "", "", "kube-flannel", **more), agent()))) == [code]


def test_the_configmap_could_not_be_read_and_a_node_tells_the_backend(snapshot: Reading) -> None:
    state = read(snapshot(agent(), K3S % "wireguard"))
    assert codes(state) == ["MTU117"]
    assert state.tunnel == "flannel-wg"
    with pytest.raises(UsageError, match="was not read"):
        flannel.steps(state, 1400)


def test_the_change_is_the_target_and_what_flannel_subtracts(snapshot: Reading) -> None:
    (edit,), (restart,) = steps(snapshot(config(), agent()), 8950)
    assert edit.path == ("data", "net-conf.json")
    assert edit.before == NET % ("vxlan", "")
    assert edit.after == NET % ("vxlan", ', "MTU": 9000')
    assert str(restart.ref) == "DaemonSet kube-flannel/kube-flannel-ds"
    assert restart.conflist is None


def test_wireguard_subtracts_80(snapshot: Reading) -> None:
    (edit,), _ = steps(snapshot(config("wireguard", ', "MTU": 1500'), agent()), 1340)
    assert edit.after == NET % ("wireguard", ', "MTU": 1420')


def test_a_delegate_changes_with_the_backend(snapshot: Reading) -> None:
    (base, pods), (restart,) = steps(snapshot(config(delegate=', "mtu": 1450'), agent()), 1400)
    assert base.after == NET % ("vxlan", ', "MTU": 1450')
    assert (pods.path, pods.after) == (("data", "cni-conf.json"), CNI % ', "mtu": 1400')
    assert (restart.conflist, restart.mtu) == ("/etc/cni/net.d/10-flannel.conflist", 1400)


@pytest.mark.parametrize(("kind", "version"), [("host-gw", "v0.28.9"), ("vxlan", "v0.9.1")])
def test_where_backend_mtu_is_not_read_the_delegate_is_what_is_left(snapshot: Reading, kind: str, version: str) -> None:
    (edit,), _ = steps(snapshot(config(kind), agent(version=version)), 1400)
    assert edit.path == ("data", "cni-conf.json")
    assert edit.after == CNI % ', "mtu": 1400'


def test_each_daemonset_of_an_old_manifest_restarts(snapshot: Reading) -> None:
    found = snapshot(config(), agent("kube-flannel-ds-amd64"), agent("kube-flannel-ds-arm64"))
    assert [str(one.ref) for one in steps(found, 1400)[1]] == [
        "DaemonSet kube-flannel/kube-flannel-ds-amd64",
        "DaemonSet kube-flannel/kube-flannel-ds-arm64",
    ]


def test_nothing_to_change(snapshot: Reading, node: Callable[..., NodeObservation]) -> None:
    text = config(backend=', "MTU": 1500')
    assert steps(snapshot(text, agent(), nodes=(node(subnet="FLANNEL_MTU=1450\n"),)), 1450) == ([], [])
    assert len(steps(snapshot(text, agent(), nodes=(node(subnet="FLANNEL_MTU=8950\n"),)), 1450)[1]) == 1


@pytest.mark.parametrize("key", ["cni-conf.json", "net-conf.json"])
def test_a_lost_key_stops_everything(snapshot: Reading, key: str) -> None:
    lost: dict[str, str | None] = {key: None}
    with pytest.raises(UsageError, match=f"lacks {key}"):
        steps(snapshot(config("vxlan", "", "", "kube-flannel", **lost), agent()), 1400)


def test_a_plugin_without_a_delegate_is_refused(snapshot: Reading) -> None:
    bare = '{"plugins": [{"type": "flannel"}]}'
    with pytest.raises(Malformed, match="delegate"):
        steps(snapshot(config("host-gw", "", "", "kube-flannel", **{"cni-conf.json": bare}), agent()), 1400)


def test_k3s_keeps_its_configuration_on_the_nodes(snapshot: Reading) -> None:
    state = read(snapshot(K3S % "vxlan"))
    assert state.variant == "k3s embedded"
    assert state.mtu_keys == ()
    assert state.daemonset is None
    assert (state.tunnel, state.encapsulation_name) == ("flannel.1", "vxlan")
    assert state.owner.startswith("k3s")
    with pytest.raises(UsageError, match="--flannel-conf"):
        flannel.steps(state, 1400)


def test_nobody_is_called_k3s_who_does_not_say_so(snapshot: Reading, node: Callable[..., NodeObservation]) -> None:
    """MicroK8s starts flanneld with such a file, too; k3s tells itself by its kubelets' version."""
    held = msgspec.structs.replace(snapshot(nodes=(node(net_conf=NET % ("vxlan", "")),)), offline=True)
    state = read(held)
    assert (state.variant, state.owner) == ("without objects in the API", "")
    with pytest.raises(UsageError, match="No object of flannel's was read, only files of its own"):
        flannel.steps(state, 1400)


def test_what_some_namespaces_hold_does_not_say_that_no_other_holds_the_configuration(snapshot: Reading) -> None:
    """`kubectl cluster-info dump` has the nodes, with flannel's annotations, and no ConfigMap at all."""
    nodes = (K3S % "vxlan").replace("+k3s1", "")
    state = read(snapshot(nodes))
    assert (state.variant, state.encapsulation_name) == ("by its nodes alone", "vxlan")
    (unread,) = (finding for finding in state.findings if finding.code == "MTU117")
    assert unread.message.startswith("It was not read, so whether it gives the backend an MTU of its own is unknown")
    assert read(snapshot(K3S % "vxlan")).findings == ()
    told = read(msgspec.structs.replace(snapshot(nodes), offline=False))
    assert (told.variant, told.findings) == ("without objects in the API", ())  # a cluster says itself what it lacks


def test_k3s_files_tell_its_mtu(snapshot: Reading, node: Callable[..., NodeObservation]) -> None:
    by_conf = read(snapshot(K3S % "vxlan", nodes=(node(net_conf=NET % ("vxlan", ', "MTU": 9000')),)))
    assert (by_conf.pod_mtu, by_conf.tunnel_mtu) == (8950, 8950)
    by_subnet = read(snapshot(K3S % "vxlan", nodes=(node(subnet='FLANNEL_MTU="1450"\n'),)))
    assert (by_subnet.pod_mtu, by_subnet.tunnel_mtu) == (None, None)  # the file says so, not the configuration
    assert by_subnet.subtracts == 50


def test_a_live_cluster_is_not_flannel_for_a_leftover_file(
    snapshot: Reading, node: Callable[..., NodeObservation]
) -> None:
    assert flannel.read(snapshot(nodes=(node(subnet="FLANNEL_MTU=1450\n"),))) is None
