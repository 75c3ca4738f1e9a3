"""Every CNI through the same driver: what is recognised, what is found, and the exact bytes that a change writes."""

import pytest
import yaml
from tests.support import shapes
from tests.support.driver import run_cni

from kubemtu.cni import registry
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

CANAL = "ConfigMap kube-system/canal-config"
FLANNEL = "ConfigMap kube-flannel/kube-flannel-cfg"
ROWS = [
    ("canal-a.yaml", "canal", rf"""{CANAL}, cni_network_config: '' -> 'mtu": 1300,\n      "'"""),
    ("canal-b-1400.yaml", "canal", f"{CANAL}, cni_network_config: '4' -> '3'"),
    ("canal-c.yaml", "canal", f"{CANAL}, veth_mtu: '45' -> '30'"),
    ("calico-manifest.yaml", "calico", "ConfigMap kube-system/calico-config, veth_mtu: '' -> '130'"),
    ("calico-operator-1400.yaml", "calico", "Installation default, mtu: '4' -> '3'"),
    ("flannel.yaml", "flannel", rf"""{FLANNEL}, net-conf.json: '' -> ',\n    "MTU": 1350'"""),
]


@pytest.mark.parametrize(("shape", "name", "edit"), ROWS, ids=[row[0] for row in ROWS])
def test_a_cni_through_the_driver(shape: str, name: str, edit: str) -> None:
    bodies = [body for body in yaml.safe_load_all((shapes.HERE / shape).read_text()) if body]
    snapshot = Snapshot(source="a test", offline=True, objects=tuple(Object.of(body) for body in bodies))
    ran = run_cni(snapshot, 1300, 1400)
    assert ran.state.name == name
    assert ran.report.cni == name
    assert ran.edits == (edit,)
    assert [step for step in ran.plan.steps if step.__class__.__name__ == "Rollout"]


def test_each_cni_of_the_registry_is_among_them() -> None:
    assert {name for _, name, _ in ROWS} == set(registry.CNIS)
