"""From manifests and observations to an answer, for each pod network and era: healthy ones have no finding."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from tests.support import example
from tests.support.shapes import rows

from kubemtu.cni import registry
from kubemtu.core import errors, net
from kubemtu.core.change import migration
from kubemtu.core.change.plan import EditValue, Live, Rollout
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide
from kubemtu.flows.saved import manifests

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


def conflist(mtu: object = None, **plugin: object) -> str:
    first = {"type": "calico", "nodename": "__KUBERNETES_NODE_NAME__", **plugin}
    text = json.dumps({"name": "k8s-pod-network", "plugins": [first | ({} if mtu is None else {"mtu": mtu}), PORTMAP]})
    return text.replace('"__CNI_MTU__"', "__CNI_MTU__")


def config_map(name: str, namespace: str = "kube-system", **keys: str) -> Object:
    written = {
        key.replace("net_conf_json", "net-conf.json").replace("cni_conf_json", "cni-conf.json"): value
        for key, value in keys.items()
    }
    return Object.of(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": written}
    )


def daemon_set(name: str, namespace: str, containers: Mapping[str, Mapping[str, str]], config: str) -> Object:
    """A DaemonSet whose containers take environment variables from keys of a ConfigMap: {container: {VAR: key}}."""
    rendered = [
        {
            "name": container,
            "image": f"example/{container}:v3.26.1",
            "env": [
                {"name": variable, "valueFrom": {"configMapKeyRef": {"name": config, "key": key}}}
                for variable, key in variables.items()
            ],
        }
        for container, variables in containers.items()
    ]
    inits = [one for one in rendered if one["name"] == "install-cni"]
    template = {"spec": {"initContainers": inits, "containers": [one for one in rendered if one not in inits]}}
    return Object.of(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"k8s-app": name}}, "template": template},
        }
    )


VXLAN_CONF = '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}'
CANAL_KEYS = {"canal_iface": "", "masquerade": "true", "net_conf_json": VXLAN_CONF}


def canal(era: str, mtu: int | None) -> tuple[Object, ...]:
    """Canal as RKE deployed it: the number in the CNI's JSON (B), or in veth_mtu (C)."""
    variables = {"CNI_NETWORK_CONFIG": "cni_network_config"} | ({"CNI_MTU": "veth_mtu"} if era == "C" else {})
    keys = dict(CANAL_KEYS, cni_network_config=conflist("__CNI_MTU__" if era == "C" else mtu))
    if era == "C":
        keys |= {"veth_mtu": str(mtu), "typha_service_name": "none"}
    containers = {
        "install-cni": variables,
        "calico-node": {},
        "kube-flannel": {"FLANNELD_IFACE": "canal_iface", "FLANNELD_IP_MASQ": "masquerade"},
    }
    return (
        config_map("canal-config", **keys),
        daemon_set("canal", "kube-system", containers, "canal-config"),
    )


def canal_nodes(**changed: object) -> tuple[net.NodeObservation, ...]:
    given = changed.pop("given", 1450)
    text = conflist(given).replace("__KUBERNETES_NODE_NAME__", "n")
    return tuple(example.node(name, text=text, **changed) for name in ("n1", "n2"))  # type: ignore[arg-type]  # node's fields


def cluster(objects: tuple[Object, ...], nodes: tuple[net.NodeObservation, ...]) -> Snapshot:
    made = example.cluster(nodes)
    return msgspec.structs.replace(made, objects=(*objects, *made.objects))


def flannel() -> Snapshot:
    """Flannel by its own manifest: the MTU comes out of subnet.env, pods hang on a bridge."""
    delegate = {"hairpinMode": True, "isDefaultGateway": True}
    text = json.dumps({"name": "cbr0", "plugins": [{"type": "flannel", "delegate": delegate}, PORTMAP]})
    conf = {"net_conf_json": VXLAN_CONF, "cni_conf_json": text}
    env = net.NodeFile(path="/run/flannel/subnet.env", text="FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_MTU=1450\n")
    objects = (
        config_map("kube-flannel-cfg", "kube-flannel", **conf),
        daemon_set("kube-flannel-ds", "kube-flannel", {"install-cni": {}, "kube-flannel": {}}, "kube-flannel-cfg"),
    )
    path = "/etc/cni/net.d/10-flannel.conflist"
    nodes = tuple(example.node(name, text=text, path=path, bridge=1450, files=(env,)) for name in ("n1", "n2"))
    return cluster(objects, nodes)


def calico() -> Snapshot:
    """Calico by manifest, IP in IP, the number in veth_mtu."""
    keys = {"veth_mtu": "1480", "calico_backend": "bird", "cni_network_config": conflist("__CNI_MTU__")}
    containers = {
        "install-cni": {"CNI_NETWORK_CONFIG": "cni_network_config", "CNI_MTU": "veth_mtu"},
        "calico-node": {"FELIX_IPINIPMTU": "veth_mtu"},
    }
    pool = Object.of(
        {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "IPPool",
            "metadata": {"name": "default-ipv4-ippool"},
            "spec": {"cidr": "10.42.0.0/16", "ipipMode": "Always", "vxlanMode": "Never"},
        }
    )
    objects = (
        config_map("calico-config", **keys),
        daemon_set("calico-node", "kube-system", containers, "calico-config"),
        pool,
    )
    text = conflist(1480).replace("__KUBERNETES_NODE_NAME__", "n")
    path = "/etc/cni/net.d/10-calico.conflist"
    nodes = tuple(
        example.node(name, text=text, path=path, pod=1480, tunnel=1480, tunnel_name="tunl0") for name in ("n1", "n2")
    )
    plain = tuple(
        msgspec.structs.replace(
            node,
            links=tuple(
                net.Link(index=link.index, name="tunl0", mtu=1480, kind="ipip") if link.name == "tunl0" else link
                for link in node.links
            ),
        )
        for node in nodes
    )
    return cluster(objects, plain)


@pytest.mark.parametrize(
    ("snapshot", "cni", "mtu"),
    [
        (cluster(canal("B", 1450), canal_nodes()), "canal", 1450),
        (cluster(canal("C", 1450), canal_nodes()), "canal", 1450),
        (flannel(), "flannel", 1450),
        (calico(), "calico", 1480),
    ],
    ids=["canal B", "canal C", "flannel", "calico"],
)
def test_a_healthy_cluster_has_no_finding_and_nothing_to_do(snapshot: Snapshot, cni: str, mtu: int) -> None:
    found = decide.check(snapshot)
    assert (found.cni, found.findings, found.verdict) == (cni, (), "healthy")
    assert (found.recommended_mtu, found.current) == (mtu, (mtu,))
    made, _topology = decide.plan(snapshot)
    assert made.steps == ()


def test_canal_as_rke_first_deployed_it() -> None:
    snapshot = cluster(canal("B", None), canal_nodes(pod=1500, given=None))
    found = decide.check(snapshot)
    assert found.verdict == "broken"
    assert [one.code for one in found.findings] == ["MTU119", "MTU101"]
    made, _topology = decide.plan(snapshot)
    live, edit, rollout, devices = made.steps
    assert isinstance(edit, EditValue)
    assert isinstance(edit.after, str)
    assert json.loads(edit.after)["plugins"][0]["mtu"] == 1450
    assert isinstance(rollout, Rollout)
    assert isinstance(live, Live)
    assert (live.pin_mtu, live.highest_mtu, live.underlay) == (1450, 1500, 1500)
    assert isinstance(devices, Live)
    assert (live.until, devices.start) == (migration.Phase.PIN_PORTS, migration.Phase.DEVICES)
    assert made.warnings == ()


def test_era_c_changes_the_key_and_not_the_text() -> None:
    made, _topology = decide.plan(cluster(canal("C", 1500), canal_nodes(pod=1500, given=1500)))
    edit = made.steps[1]
    assert isinstance(edit, EditValue)
    assert (edit.path, edit.before, edit.after) == (("data", "veth_mtu"), "1500", "1450")


def test_a_lost_key_is_found_and_restored_first() -> None:
    config, agent = canal("B", None)
    held = {key: value for key, value in config.mapping("data").items() if key != "canal_iface"}
    lost = Object.of({**config.body, "data": held})
    snapshot = cluster((lost, agent), canal_nodes(pod=1500, given=None))
    assert "MTU108" in {one.code for one in decide.check(snapshot).findings}
    made, _topology = decide.plan(snapshot)
    first = made.steps[1]
    assert isinstance(first, EditValue)
    assert (first.path, first.before, first.after) == (("data", "canal_iface"), None, "")


def test_saved_manifests_without_a_nic_are_right_on_a_condition() -> None:
    snapshot = Snapshot(source="a folder", offline=True, objects=canal("C", 1450))
    found = decide.check(snapshot)
    assert (found.verdict, found.findings) == ("healthy", ())
    assert found.summary == (
        "The configuration suits NICs of 1500 or more, and of 1500 best: new pods get 1450, and vxlan goes around their"
        " packets. No node was observed: --nic-mtu N judges it against the smallest NIC of yours."
    )
    live = decide.check(Snapshot(source="a cluster", objects=canal("C", 1450)))
    assert live.verdict == "incomplete"  # here somebody could have looked
    assert decide.check(snapshot, 1500).verdict == "healthy"
    assert decide.check(snapshot, 1400).verdict == "broken"


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="an MTU of 1451 does not fit"):
        decide.plan(cluster(canal("C", 1450), canal_nodes()), 1451)


def test_another_pod_network_is_not_guessed_at() -> None:
    with pytest.raises(errors.NotRecognised):
        decide.check(Snapshot(source="a folder", offline=True))


def test_edits_are_seen_before_they_are_made() -> None:
    snapshot = Snapshot(source="a folder", objects=canal("C", 1500))
    ref = example.CONFIG_MAP
    smaller = EditValue(ref=ref, path=("data", "veth_mtu"), before="1500", after="1450", why="")
    gone = EditValue(ref=ref, path=("data", "masquerade"), before="true", after=None, why="")
    deeper = EditValue(ref=ref, path=("metadata", "labels", "new"), before=None, after="yes", why="")
    after = decide.edited(snapshot, (smaller, gone, deeper))
    held = after.objects[0]
    assert held.text("data", "veth_mtu") == "1450"
    assert held.get("data", "masquerade") is None
    assert held.text("metadata", "labels", "new") == "yes"
    assert snapshot.objects[0].text("data", "veth_mtu") == "1500"
    assert registry.recognise(after).pod_mtu == 1450


SHAPED = {
    "canal-a.yaml": (1500, ["MTU119"], 1450),
    "canal-b.yaml": (1500, ["MTU119"], 1450),
    "canal-b-1400.yaml": (1500, ["MTU119"], 1450),
    "canal-c.yaml": (1500, [], 1450),
    "canal-c-1400.yaml": (1400, ["MTU119"], 1350),
    "flannel.yaml": (1500, [], 1450),
    "calico-manifest.yaml": (1500, [], 1480),
}


@pytest.mark.parametrize(("path", "known"), rows(SHAPED))
def test_manifests_against_a_nic(path: Path, known: tuple[int, list[str], int]) -> None:
    nic, expected, recommended = known
    found = decide.check(manifests.load(path), nic)
    assert ([one.code for one in found.findings], found.recommended_mtu) == (expected, recommended)
