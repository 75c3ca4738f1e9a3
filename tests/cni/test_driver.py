"""Every CNI through the same driver: what is recognised, what is found, and the exact bytes that a change writes."""

import msgspec
import pytest
import yaml
from tests.support import example, kilt, shapes
from tests.support.driver import run_cni

from kubemtu.cni import registry
from kubemtu.core.change.plan import Live
from kubemtu.core.net import NodeFile, NodeObservation, Route
from kubemtu.core.objects import Object
from kubemtu.core.planning import diff
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

CANAL = "ConfigMap kube-system/canal-config"
ANTREA = "ConfigMap kube-system/antrea-config"
FLANNEL = "ConfigMap kube-flannel/kube-flannel-cfg"
AWS = "DaemonSet kube-system/aws-node"
ROWS = [
    ("canal-a.yaml", "canal", rf"""{CANAL}, cni_network_config: '' -> 'mtu": 1300,\n      "'"""),
    ("canal-b-1400.yaml", "canal", f"{CANAL}, cni_network_config: '4' -> '3'"),
    ("canal-c.yaml", "canal", f"{CANAL}, veth_mtu: '45' -> '30'"),
    ("calico-manifest.yaml", "calico", "ConfigMap kube-system/calico-config, veth_mtu: '' -> '130'"),
    ("cilium-kops.yaml", "cilium", "ConfigMap kube-system/cilium-config, mtu: 'None' -> '1350'"),
    ("aws-kops.yaml", "aws-vpc-cni", f"{AWS}, 2: 'None' -> \"{{'name': 'POD_MTU', 'value': '1300'}}\""),
    ("calico-operator-1400.yaml", "calico", "Installation default, mtu: '4' -> '3'"),
    ("flannel.yaml", "flannel", rf"""{FLANNEL}, net-conf.json: '' -> ',\n    "MTU": 1350'"""),
    ("antrea.yaml", "antrea", f"{ANTREA}, antrea-agent.conf: '' -> '130'"),
    ("antrea-0.13.yaml", "antrea", rf"{ANTREA}-0d1e2f3a4b, antrea-agent.conf: '' -> 'defaultMTU: 1300\n'"),
    ("kube-ovn-1.8.yaml", "kube-ovn", "DaemonSet kube-system/kube-ovn-cni, 6: 'None' -> '--mtu=1300'"),
    ("openshift-3.yaml", "openshift", "ConfigMap openshift-node/node-config-compute, node-config.yaml: '45' -> '30'"),
    (
        "kube-router-1400.yaml",
        "kube-router",
        "ConfigMap kube-system/kube-router-cfg, cni-conf.json: '4' -> '3'",
    ),
    ("weave.yaml", "weave", "DaemonSet kube-system/weave-net, value: '37' -> '00'"),
    ("ovn-kubernetes.yaml", "ovn-kubernetes", "ConfigMap ovn-kubernetes/ovn-config, mtu: '4' -> '3'"),
]


@pytest.mark.parametrize(("shape", "name", "edit"), ROWS, ids=[row[0] for row in ROWS])
def test_a_cni_through_the_driver(shape: str, name: str, edit: str) -> None:
    bodies = [body for body in yaml.safe_load_all((shapes.HERE / shape).read_text()) if body]
    snapshot = Snapshot(source="a test", offline=True, objects=tuple(Object.of(body) for body in bodies))
    ran = run_cni(snapshot, 1300, 1450)
    assert ran.state.name == name
    assert ran.report.cni == name
    assert ran.edits == (edit,)
    assert [step for step in ran.plan.steps if step.__class__.__name__ == "Rollout"]


def test_each_cni_of_the_registry_is_among_them() -> None:
    without_a_key = {
        "azure-cni",
        "gke",
        "kindnet",
        "kubenet",
        "reference-plugins",
        "cluster-specification",
        "spiderpool",
    }  # what has no object to edit, or none that kubemtu edits
    assert {name for _, name, _ in ROWS} | without_a_key == set(registry.CNIS)


def routed(mtu: int) -> NodeObservation:
    """A node of two pods whose devices have 1500, and whose way to others has less; the way to the gateway has not."""
    ports = tuple(
        msgspec.structs.replace(
            example.port(
                f"web-{number}",
                f"10.42.1.{number}",
                pod=1500,
                routes=(
                    Route(family=4, destination="default", device="eth0", gateway="169.254.1.1", mtu=mtu),
                    Route(family=4, destination="169.254.1.1", device="eth0"),
                ),
            ),
            host_link=f"kilt{number:011x}",
        )
        for number in (1, 2)
    )
    return example.node(
        "n1",
        ports=ports,
        tunnel_name="kilt0",
        path=kilt.CONFLIST,
        text='{"plugins": [{"type": "kilt"}]}',
        files=(NodeFile(path=kilt.MTU_FILE, text=f"{mtu}\n"),),
    )


def kilts(mtu: int, node: NodeObservation) -> Snapshot:
    data = {"mtu": str(mtu), "conflist": '"limit": "route"'}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": kilt.CONFIG_MAP, "namespace": "kube-system"}}
    return Snapshot(source="a test", objects=(Object.of({**body, "data": data}),), nodes=(node,))


def test_devices_above_the_routes_are_no_fault_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CNIS", {**registry.CNIS, "kilt": kilt})
    healthy = kilts(1450, routed(1450))
    assert decide.check(healthy).findings == ()
    assert decide.check(healthy).current == (1450,)
    assert decide.plan(healthy)[0].steps == ()
    ran = run_cni(healthy, 1400)
    assert ran.edits == ("ConfigMap kube-system/kilt-config, mtu: '5' -> '0'",)
    pins, devices = (step for step in ran.plan.steps if isinstance(step, Live))
    assert (pins.pin_mtu, pins.highest_mtu) == (1400, 1450)
    (target,) = devices.nodes
    assert (target.pod_mtu, target.origin_mtu) == (1400, 1450)
    assert (target.device_mtu, target.origin_device_mtu) == (1500, 1500)
    assert target.changing == 2
    lines = list(diff.steps(ran.plan))
    assert lines[-1].startswith("take the routes of 2 running pods on 1 node, and kilt0, to 1400, live: ")


@pytest.mark.parametrize(
    ("configured", "has", "codes"),
    [
        (1450, 1500, {"MTU101", "MTU103"}),  # no route limits yet: they send what the overlay does not carry
        (1450, 1400, {"MTU102", "MTU103"}),  # they could send more
        (1500, 1500, {"MTU101", "MTU119"}),
    ],
)
def test_routes_that_do_not_suit_are_found(
    configured: int, has: int, codes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "CNIS", {**registry.CNIS, "kilt": kilt})
    found = decide.check(kilts(configured, routed(has)))
    assert {one.code for one in found.findings} == codes
