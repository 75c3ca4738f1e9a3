"""A CNI that nobody has heard of: one module, one line in the registry, and kubemtu does all that it does elsewhere.

The agents run from the package as it is, which knows no kilt: what they must know, `install` tells them by the API.
"""

import os
from collections.abc import Iterator

import pytest
from tests.support import kilt
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.datagrams import send
from tests.support.scenes.places import ALL_PODS
from tests.support.scenes.traffic import apply_under_traffic

from kubemtu.cni import registry
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import Declared, Scene, nodes

pytestmark = pytest.mark.lab

KEY = "ConfigMap kube-system/kilt-config, data.mtu"
AS_DEPLOYED = [f"MTU119 error: {KEY}", f"MTU101 error: nodes node-1 and node-2, 4 pods: {ALL_PODS}"]


@pytest.fixture(params=[kilt.DEVICES, kilt.ROUTES], ids=["by-device", "by-route"])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, can_make_labs: None) -> Iterator[Cluster]:
    monkeypatch.setattr(registry, "CNIS", {**registry.CNIS, "kilt": kilt})  # the one line
    scene = Scene(name="kilt", summary="A CNI that is made up", nodes=nodes(2, 2), cni=request.param)
    with Lab.up(scene, f"kmtest-{os.getpid()}-kilt") as lab:
        found = Cluster(lab)
        ended = found.run("install", "--yes", "--no-probes", "--image", "kubemtu/kubemtu:lab")
        assert ended.code == 0, ended.err
        yield found
        found.close()


def test_it_is_recognised_judged_planned_changed_live_and_taken_back(cluster: Cluster) -> None:
    assert isinstance(cluster.lab.scene.cni, Declared)
    by_route = cluster.lab.scene.cni.by_route
    now = cluster.settle(AS_DEPLOYED)
    assert (now.cni, now.variant) == ("kilt", "limits by route" if by_route else "sets devices")
    assert (now.verdict, now.recommended_mtu, now.current) == ("broken", 1450, [1500])
    assert cluster.plan().lines == ["live", "mtu: 1500 -> 1450", "rollout", "live"]
    places = ("pod-1a", "pod-1b", "pod-2a", "pod-2b", "node-1", "node-2")
    before = {place: cluster.ip(place, "route") for place in places}

    counted = apply_under_traffic(cluster)
    assert counted.udp_sent > 0
    assert (counted.udp_lost_silently, counted.tcp_resets, counted.connect_failures) == (0, 0, 0)
    assert counted.pods_restarted == 0

    assert cluster.healthy().current == [1450]  # devices of 1500 behind routes of 1450 are no fault
    for pod in places[:4]:
        assert cluster.links(pod)["eth0"] == (1500 if by_route else 1450)
        assert ("proto static mtu 1450" in cluster.ip(pod, "route", "show", "default")) is by_route
    assert {mtu for name, mtu in cluster.links("node-1").items() if name.startswith("kilt") and name != "kilt0"} == {
        1500 if by_route else 1450
    }
    assert cluster.plan().lines == []
    assert send(cluster, "pod-1a", "pod-2a", 1401, 1500) == {"sent": 50, "refused": 50, "answered": 50}

    ended = cluster.run("rollback", "--yes")
    assert ended.code == 0, ended.err
    assert {place: cluster.ip(place, "route") for place in places} == before
    cluster.settle(AS_DEPLOYED)
