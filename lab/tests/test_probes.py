"""Probe pods run in a lab as the shipped manifest has them: no rights, a key that comes later, a Service in front."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.labs import Body, Kube, is_ready, programs, until, waiting

from kubemtu_lab import manifests, scenes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import nodes

DEPLOY = Path(__file__).parents[2] / "deploy"
SHIPPED = [one for one in yaml.safe_load_all((DEPLOY / "probe.yaml").read_text()) if one["kind"] != "Namespace"]
KEY = "the key of a test, which nobody else has"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/kubemtu/endpointslices"
SERVICE = "/api/v1/namespaces/kubemtu/services/kubemtu-probe"


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    return start(scenes.named("canal-1500").replace(name="probes", nodes=nodes(2, 1)))


@pytest.fixture(scope="module")
def kube(lab: Lab) -> Iterator[Kube]:
    with Kube(lab.kubeconfig) as client:
        client.create("/api/v1/namespaces", {"metadata": {"name": "kubemtu"}})
        collections = {"Service": "/api/v1", "DaemonSet": "/apis/apps/v1"}
        for body in SHIPPED:
            client.create(f"{collections[body['kind']]}/namespaces/kubemtu/{body['kind'].lower()}s", body)
        until(lambda: len(client.pods("kubemtu")) == 2)
        yield client


@pytest.fixture(scope="module")
def ready(kube: Kube) -> dict[str, Any]:
    """Return the probe pods, by node, once they have their key."""
    told = 'MountVolume.SetUp failed for volume "key" : secret "kubemtu-probe" not found'
    pods = kube.pods("kubemtu")
    until(lambda: all(waiting(pod, "probe") == ("ContainerCreating", told) for pod in kube.pods("kubemtu").values()))
    assert pods.keys() == kube.pods("kubemtu").keys()
    data = {"key": base64.b64encode(KEY.encode()).decode()}
    kube.create("/api/v1/namespaces/kubemtu/secrets", {"metadata": {"name": "kubemtu-probe"}, "data": data})
    return of_nodes(kube)


def of_nodes(kube: Kube) -> dict[str, Any]:
    until(lambda: len(kube.pods("kubemtu")) == 2 and all(map(is_ready, kube.pods("kubemtu").values())))
    found: dict[str, Any] = kube.pods("kubemtu")
    return {pod["spec"]["nodeName"]: pod for pod in found.values()}


def probed(lab: Lab, place: str, target: str, *words: str) -> dict[str, Any]:
    """Return what `kubemtu node probe` tells at a place of the lab."""
    argv = [sys.executable, "-m", "kubemtu", "node", "probe", target, "--key-file=/dev/stdin", "-o", "json", *words]
    told: dict[str, Any] = json.loads(lab.exec(place, argv, text=KEY, check=False).stdout)
    return told


def endpoints(kube: Kube) -> dict[str, str]:
    """Return the pods behind the Service that are ready, by address."""
    items: Any = kube.get(SLICES)["items"]  # none before its controller has seen the Service
    assert len(items) <= 1
    listed = [each for item in items for each in item["endpoints"] or ()]
    return {each["addresses"][0]: each["targetRef"]["name"] for each in listed if each["conditions"]["ready"]}


def address(kube: Kube) -> str:
    service: Any = kube.get(SERVICE)
    return str(service["spec"]["clusterIP"])


@pytest.mark.lab
def test_the_shipped_probe_answers_who_has_its_key(lab: Lab, ready: dict[str, Any]) -> None:
    told = probed(lab, "pod-1a", ready["node-2"]["status"]["podIP"])
    assert (told["mtu"], told["protocol"]) == (1450, "UDP")


@pytest.mark.lab
@pytest.mark.parametrize("place", ["pod-1a", "node-1"])
def test_the_service_leads_to_a_probe(has_nft: None, lab: Lab, kube: Kube, ready: dict[str, Any], place: str) -> None:
    until(lambda: len(endpoints(kube)) == 2)
    until(lambda: probed(lab, place, address(kube), "--one-way")["kind"] != "unreachable")
    assert probed(lab, place, address(kube), "--one-way")["protocol"] == "UDP"


@pytest.mark.lab
def test_a_probe_can_do_nothing_else(lab: Lab, ready: dict[str, Any]) -> None:
    proc = lab.node_root("node-1") / "proc"
    (folder,) = programs(lab, "node-1", b"--key-file=/key/key")
    told = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    assert told["Uid"].split() == told["Gid"].split() == ["65534"] * 4
    assert {told[each].strip() for each in ("CapPrm", "CapEff", "CapBnd")} == {"0000000000000000"}
    assert told["NoNewPrivs"].strip() == "1"
    assert oct((folder / "root/key/key").stat().st_mode)[-3:] == "444"
    assert not (folder / "root/var/run/secrets/kubernetes.io").exists()
    assert b"KUBECONFIG" not in (folder / "environ").read_bytes()
    assert (folder / "ns/net").readlink() != (proc / "1/ns/net").readlink()


@pytest.mark.lab
def test_endpoints_follow_the_pods(kube: Kube, ready: dict[str, Any]) -> None:
    until(lambda: len(endpoints(kube)) == 2)
    gone = ready["node-2"]["metadata"]["name"]
    kube.delete(f"/api/v1/namespaces/kubemtu/pods/{gone}")
    until(lambda: len({*endpoints(kube).values()} - {gone}) == 2)
    assert sorted(endpoints(kube)) == sorted(pod["status"]["podIP"] for pod in of_nodes(kube).values())


def test_the_labs_own_probe_is_the_shipped_one() -> None:
    objects = manifests.objects(scenes.named("canal-1500").replace(probes=True))
    own: list[Body] = json.loads(json.dumps([*objects]))
    found = [each for each in own if each["metadata"]["name"] == "kubemtu-probe"]  # type: ignore[index]
    own_image = found[1]["spec"]["template"]["spec"]["containers"][0].pop("image")  # type: ignore[index]
    assert own_image == "kubemtu/kubemtu:lab"
    shipped = json.loads(json.dumps(SHIPPED))
    del shipped[1]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert found == shipped


def test_a_scene_has_no_probes_unless_it_says_so() -> None:
    for scene in scenes.SCENES.values():
        assert not scene.probes
        assert "kubemtu-probe" not in json.dumps([*manifests.objects(scene.replace(agents=True))])
