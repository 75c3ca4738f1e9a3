"""Who keeps the configuration writes it back: `plan` says so beforehand, and `check` names them afterwards."""

import json
import os
from collections.abc import Iterator

import pytest
import yaml
from tests.support.labs import Body, until
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.places import ALL_PODS
from tests.support.scenes.traffic import apply_under_traffic

from kubemtu import access
from kubemtu.core import rights
from kubemtu.core.objects import Object
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import Calico, Canal, Nic, Owner, OwnerKind, Scene, nodes

pytestmark = pytest.mark.lab
TOO_LARGE = Scene(
    name="owned",
    summary="veth_mtu is 1500, which the overlay does not carry, and somebody keeps it so",
    nodes=nodes(1, 1),
    cni=Canal(era="C", mtu=1500),
    version="v1.28.12",
    agents=True,
)
CONFIG = "/api/v1/namespaces/kube-system/configmaps/canal-config"
CHART = "/apis/helm.cattle.io/v1/namespaces/kube-system/helmchartconfigs/rke2-canal"
CHART_CONFIG = "/api/v1/namespaces/kube-system/configmaps/rke2-canal-config"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MIGRATIONS = "/apis/kubemtu.io/v1alpha1/mtumigrations"
CHANGER = ("--as", "changer")
KINDS: tuple[tuple[OwnerKind, str, str], ...] = (
    ("helm", "Helm (release network)", "helm"),
    ("argo-cd", "Argo CD (application network)", "argocd-controller"),
    ("flux", "Flux (Kustomization network)", "kustomize-controller"),
    ("addon", "the server manifest network", "deploy@node-1"),
    ("rke", "RKE (cluster.yml: network.mtu)", "kubectl-client-side-apply"),
)
"""The owner, as what `plan` names it, and the manager that the server notes."""


@pytest.fixture
def owned(can_make_labs: None, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    kind: OwnerKind = request.param
    cni = Canal(era="C", mtu=1500, rke2=kind == "helm-chart-config")
    scene = TOO_LARGE.replace(owner=Owner(kind=kind), cni=cni)
    with Lab.up(scene, f"kmtest-{os.getpid()}-{kind}") as lab:
        assert lab.unready == ()
        cluster = Cluster(lab)
        yield cluster
        cluster.close()


def bind(cluster: Cluster, role: Body, namespace: str = "") -> None:
    """Give the user of `CHANGER` a role, in one namespace or in all."""
    kind = "Role" if namespace else "ClusterRole"
    where = f"{RBAC}/namespaces/{namespace}" if namespace else RBAC
    name = Object.of(role).name
    cluster.kube.create(f"{where}/{kind.lower()}s", role)
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": CHANGER[1]}
    body: Body = {"metadata": {"name": name}, "roleRef": reference, "subjects": [user]}
    cluster.kube.create(f"{where}/{kind.lower()}bindings", body)


def veth_mtu(cluster: Cluster, path: str = CONFIG) -> str | None:
    return Object.of(cluster.kube.get(path)).text("data", "veth_mtu")


@pytest.mark.parametrize(("owned", "name", "manager"), KINDS, indirect=["owned"], ids=[each[0] for each in KINDS])
def test_an_owner_writes_back_and_is_named_before_and_after(owned: Cluster, name: str, manager: str) -> None:
    planned = owned.run("plan")
    assert planned.code == 0
    assert name in planned.out
    assert "will put the old value back unless the change is made there too" in planned.out
    applied = owned.run("apply", "--yes")
    assert applied.code == 0, applied.err
    assert veth_mtu(owned) == "1450"
    owned.lab.reconcile()
    assert veth_mtu(owned) == "1500"
    checked = owned.run("check")
    assert checked.code == 1
    assert "MTU119 error  ConfigMap kube-system/canal-config, data.veth_mtu" in checked.out
    assert f"The key was last written by {manager}, " in checked.out
    assert f"It is kept by {name}" in checked.out


@pytest.mark.parametrize("owned", ["helm-chart-config"], indirect=True)
def test_what_a_chart_is_given_stays_and_what_is_changed_behind_it_does_not(owned: Cluster) -> None:
    applied = owned.run("apply", "--yes")
    assert applied.code == 0, applied.err
    values = Object.of(owned.kube.get(CHART)).text("spec", "valuesContent")
    assert yaml.safe_load(values or "") == {"calico": {"vethuMTU": 1450}}
    owned.lab.reconcile()
    assert veth_mtu(owned, CHART_CONFIG) == "1450"
    owned.kube.merge(CHART_CONFIG, {"data": {"veth_mtu": "1400"}})
    checked = owned.run("check")
    assert "MTU113 warning  ConfigMap kube-system/rke2-canal-config, data.veth_mtu" in checked.out
    owned.lab.reconcile()
    assert veth_mtu(owned, CHART_CONFIG) == "1450"
    assert owned.run("check").code == 0


def test_the_values_that_a_chart_lacks_are_made_and_taken_away_again(can_make_labs: None) -> None:
    """The chart's own 1450 does not fit NICs of 1450: nobody has given it values, so `apply` makes them."""
    cni = Canal(era="C", rke2=True, values=False)
    scene = TOO_LARGE.replace(owner=Owner(kind="helm-chart-config"), cni=cni, nodes=nodes(2, 2, Nic(mtu=1450)))
    with Lab.up(scene, f"kmtest-{os.getpid()}-unvalued") as lab:
        cluster = Cluster(lab)
        planned = cluster.run("plan").out
        assert "--- HelmChartConfig kube-system/rke2-canal is not there" in planned
        assert "+calico:\n+  vethuMTU: 1400" in planned
        assert "delete HelmChartConfig kube-system/rke2-canal, if nobody has changed it" in planned
        bind(cluster, access.roles()[1])
        refused = cluster.run("apply", "--yes", *CHANGER)
        assert refused.code == 4
        assert 'the rule {apiGroups: ["helm.cattle.io"], resources: [helmchartconfigs], verbs: [create]}' in refused.err
        assert veth_mtu(cluster, CHART_CONFIG) == "1450"
        assert cluster.kube.get(MIGRATIONS)["items"] == []
        bind(
            cluster, {"metadata": {"name": "kubemtu-values"}, "rules": [rights.VALUES.body()]}, namespace="kube-system"
        )
        counted = apply_under_traffic(cluster, *CHANGER)
        assert counted.udp_sent > 0
        assert (counted.udp_lost_silently, counted.tcp_resets, counted.connect_failures) == (0, 0, 0)
        assert counted.pods_restarted == 0
        made = cluster.kube.get(CHART)
        assert made["spec"] == {"valuesContent": "calico:\n  vethuMTU: 1400\n"}
        lab.reconcile()
        assert veth_mtu(cluster, CHART_CONFIG) == "1400"
        assert cluster.healthy().current == [1400]
        ended = cluster.run("rollback", "--yes", *CHANGER)
        assert ended.code == 0, ended.err
        assert "rke2-canal" not in json.dumps(cluster.kube.get(CHART.rpartition("/")[0]))
        until(lambda: veth_mtu(cluster, CHART_CONFIG) == "1450")
        cluster.close()


CNI_CONFIG = "/api/v1/namespaces/calico-system/configmaps/cni-config"
AGENT = "/apis/apps/v1/namespaces/calico-system/daemonsets/calico-node"
INSTALLATION = "/apis/operator.tigera.io/v1/installations/default"
CONTAINERS = ("spec", "template", "spec", "containers")
ROUTE = "10.244.2.0/24 via 10.244.2.0 dev vxlan.calico proto static onlink mtu {}"


def calico_mtu(cluster: Cluster) -> object:
    text = Object.of(cluster.kube.get(CNI_CONFIG)).text("data", "config")
    return json.loads(text or "")["plugins"][0]["mtu"]


def test_the_tigera_operator_takes_back_what_is_changed_behind_its_installation(can_make_labs: None) -> None:
    """An edit of what it renders is named and taken back (projectcalico/calico#6133); one of its Installation stays.

    Felix gives vxlan.calico's routes the 1500 that the kernel refuses the device.
    """
    cni = Calico(mtu=1500)
    scene = TOO_LARGE.replace(owner=Owner(kind="operator"), cni=cni, nodes=nodes(2, 2), version="v1.30.4")
    place = "Installation default, spec.calicoNetwork.mtu"
    with Lab.up(scene, f"kmtest-{os.getpid()}-operator") as lab:
        assert lab.unready == ()
        cluster = Cluster(lab)
        as_deployed = [f"MTU119 error: {place}", f"MTU101 error: nodes node-1 and node-2, 4 pods: {ALL_PODS}"]
        now = cluster.settle(as_deployed)
        assert (now.cni, now.variant, now.recommended_mtu, now.current) == ("calico", "operator", 1450, [1500])
        assert cluster.links("node-1")["vxlan.calico"] == 1450
        assert ROUTE.format(1500) in cluster.ip("node-1", "route")

        by_hand = str(Object.of(cluster.kube.get(CNI_CONFIG)).get("data", "config")).replace("1500", "1450")
        cluster.kube.merge(CNI_CONFIG, {"data": {"config": by_hand}})
        drifted = cluster.check().one("MTU113")
        assert drifted.place == "ConfigMap calico-system/cni-config, data.config"
        assert "the Installation 1500: the tigera operator writes it anew from that" in drifted.message
        lab.reconcile()
        assert calico_mtu(cluster) == 1500
        containers = json.loads(json.dumps(Object.of(cluster.kube.get(AGENT)).get(*CONTAINERS)).replace("1500", "1450"))
        cluster.kube.merge(AGENT, {"spec": {"template": {"spec": {"containers": containers}}}})
        until(lambda: '"1450"' not in json.dumps(cluster.kube.get(AGENT)))  # it hears of its DaemonSet at once
        now = cluster.settle(as_deployed)
        assert "ConfigMap calico-system/cni-config, which is made from it, was last written by operator, 20" in (
            now.one("MTU119").message
        )

        assert "takes back what is changed in them by hand" in cluster.run("plan").out
        assert cluster.plan().lines == ["live", "mtu: 1500 -> 1450", "rollout", "live"]
        counted = apply_under_traffic(cluster)
        assert counted.udp_sent > 0
        assert (counted.udp_lost_silently, counted.tcp_resets, counted.connect_failures) == (0, 0, 0)
        assert counted.pods_restarted == 0
        assert calico_mtu(cluster) == 1450
        assert ROUTE.format(1450) in cluster.ip("node-1", "route")
        lab.reconcile()
        assert cluster.healthy().current == [1450]
        assert Object.of(cluster.kube.get(INSTALLATION)).get("status", "mtu") == 1450
        assert cluster.plan().lines == []
        ended = cluster.run("rollback", "--yes")
        assert ended.code == 0, ended.err
        until(lambda: calico_mtu(cluster) == 1500)
        cluster.settle(as_deployed)
        cluster.close()


def test_calico_by_its_manifest_that_has_room(can_make_labs: None) -> None:
    """Pods of 1400 on NICs of 1500: the tunnel and the routes through it, which Felix gave the same, grow with them."""
    scene = TOO_LARGE.replace(cni=Calico(mtu=1400, operator=False), nodes=nodes(2, 2), version="v1.30.4")
    with Lab.up(scene, f"kmtest-{os.getpid()}-calico") as lab:
        cluster = Cluster(lab)
        now = cluster.settle(["MTU119 note: ConfigMap kube-system/calico-config, data.veth_mtu"])
        assert (now.recommended_mtu, now.current) == (1450, [1400])
        assert cluster.plan().lines == ["live", "veth_mtu: 1400 -> 1450", "rollout"]
        counted = apply_under_traffic(cluster)
        assert counted.udp_sent > 0
        assert (counted.udp_lost_silently, counted.tcp_resets, counted.connect_failures) == (0, 0, 0)
        assert counted.pods_restarted == 0
        assert cluster.healthy().current == [1450]
        assert cluster.links("node-1")["vxlan.calico"] == 1450
        assert ROUTE.format(1450) in cluster.ip("node-1", "route")
        ended = cluster.run("rollback", "--yes")
        assert ended.code == 0, ended.err
        until(lambda: ROUTE.format(1400) in cluster.ip("node-1", "route"))
        cluster.close()


def test_an_owner_that_looks_by_itself_stops_a_change_that_says_whose_doing_it_was(can_make_labs: None) -> None:
    scene = TOO_LARGE.replace(owner=Owner(kind="argo-cd", seconds=0.0))
    with Lab.up(scene, f"kmtest-{os.getpid()}-heals") as lab:
        cluster = Cluster(lab)
        applied = cluster.run("apply", "--yes")
        assert applied.code == 8
        # Whether it looks at once after the edit, before the restart or at the end.
        at_once = ": data.veth_mtu was set to '1450' and is '1500' again (last written by argocd-controller at 20"
        later = ", data.veth_mtu is not what was planned: argocd-controller, 20"
        assert any(f"ConfigMap kube-system/canal-config{said}" in applied.err for said in (at_once, later)), applied.err
        assert "Applied" not in applied.out
        until(lambda: veth_mtu(cluster) == "1500")
        found = Object.of(cluster.kube.get(CONFIG)).each("metadata", "managedFields")
        owners = [each.text("manager") for each in found if each.get("fieldsV1", "f:data", "f:veth_mtu") is not None]
        assert owners == ["argocd-controller"]
        assert cluster.run("rollback", "--yes").code == 0
        cluster.close()
