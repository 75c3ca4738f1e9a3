"""Services lead to pods: from pods, from nodes and from outside, to other nodes, the same node and the pod itself."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.labs import Kube, until

from kubemtu_lab import nft, proxy, scenes
from kubemtu_lab.cluster import FABRIC, Lab
from kubemtu_lab.scene import nodes

SERVICES = "/api/v1/namespaces/default/services"
ANSWER = """
import socket, sys
family = socket.AF_INET6 if sys.argv[2] == "6" else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM); s.bind(("", 7008))
print("ready", flush=True)
while True:
    heard, sender = s.recvfrom(65535)
    s.sendto(f"{sys.argv[1]} {sender[0]}".encode(), sender)
"""
"""Tells everybody who asks by UDP who it is, and whom it sees."""
ASK = """
import json, socket, sys
told = []
for _ in range(int(sys.argv[3])):
    s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    try:
        s.connect((sys.argv[1], int(sys.argv[2])))
        s.send(b"?")
        told.append(s.recv(100).decode().split())
    except OSError as error:
        told.append([type(error).__name__, ""])
print(json.dumps(told))
"""
WEB = {
    "type": "NodePort",
    "selector": {"app": "web"},
    "ports": [{"name": "udp", "protocol": "UDP", "port": 53, "targetPort": 7008}],
}


def asked(lab: Lab, place: str, target: str, port: int, times: int = 40) -> dict[str, str]:
    """Who answered at a place, each over a flow of its own, and whom they saw."""
    told = lab.exec(place, [sys.executable, "-I", "-S", "-c", ASK, target, str(port), str(times)]).stdout
    return dict(json.loads(told))


@pytest.fixture(scope="module")
def answering() -> Iterator[Callable[..., None]]:
    """Make every pod of a lab answer."""
    processes: list[subprocess.Popen[bytes]] = []

    def make(lab: Lab, family: str = "4") -> None:
        for pod in (pod for node in lab.scene.nodes for pod in node.pods):
            argv = [sys.executable, "-I", "-S", "-c", ANSWER, pod, family]
            processes.append(lab.spawn(pod, argv, stdout=subprocess.PIPE))
            assert processes[-1].stdout is not None
            assert processes[-1].stdout.readline() == b"ready\n"

    yield make
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="module", params=["canal-1500", "flannel"])
def lab(
    has_nft: None, request: pytest.FixtureRequest, start: Callable[..., Lab], answering: Callable[..., None]
) -> Lab:
    found = start(scenes.named(request.param).replace(name=f"proxy-{request.param}", nodes=nodes(2, 2)))
    answering(found)
    return found


@pytest.fixture
def service(lab: Lab) -> Iterator[dict[str, Any]]:
    """Make a Service of all four pods; it is gone everywhere when the test ends."""
    with Kube(lab.kubeconfig) as kube:
        answer = kube.http.post(SERVICES, json={"metadata": {"name": "web"}, "spec": WEB})
        spec: dict[str, Any] = answer.raise_for_status().json()["spec"]
        until(lambda: all("mod 4" in rules(lab, node) for node in ("node-1", "node-2")))
        yield spec
        kube.delete(f"{SERVICES}/web")
        until(lambda: not any("default/web" in rules(lab, node) for node in ("node-1", "node-2")))


def rules(lab: Lab, node: str) -> str:
    return lab.exec(node, [nft.program(), "list", "ruleset"]).stdout


@pytest.mark.lab
@pytest.mark.parametrize("place", ["pod-1a", "pod-2b", "node-1", "node-2"])
def test_the_address_leads_to_every_pod(lab: Lab, service: dict[str, Any], place: str) -> None:
    seen = asked(lab, place, service["clusterIP"], 53)
    assert seen.keys() == {"pod-1a", "pod-1b", "pod-2a", "pod-2b"}
    if place == "pod-1a":
        assert seen["pod-2a"] == lab.address("pod-1a")  # between nodes a pod keeps its address
        assert seen["pod-1a"] != lab.address("pod-1a")  # to itself it cannot: it would take the answer for a stranger's


@pytest.mark.lab
@pytest.mark.parametrize("place", ["pod-2a", "node-2", FABRIC])
def test_a_node_port_leads_to_every_pod_by_any_node(lab: Lab, service: dict[str, Any], place: str) -> None:
    seen = asked(lab, place, "192.168.77.1", service["ports"][0]["nodePort"])
    assert seen.keys() == {"pod-1a", "pod-1b", "pod-2a", "pod-2b"}


@pytest.mark.lab
def test_a_service_without_pods_refuses(lab: Lab) -> None:
    with Kube(lab.kubeconfig) as kube:
        kube.create(SERVICES, {"metadata": {"name": "none"}, "spec": WEB | {"selector": {"app": "none"}}})
        until(lambda: "reject" in rules(lab, "node-1"))
        found: Any = kube.get(f"{SERVICES}/none")
        assert asked(lab, "pod-1a", found["spec"]["clusterIP"], 53, 1).keys() == {"ConnectionRefusedError"}
        kube.delete(f"{SERVICES}/none")
        until(lambda: "reject" not in rules(lab, "node-1"))


@pytest.mark.lab
def test_a_dual_stack_service_leads_to_pods_over_ipv6(
    has_nft: None, start: Callable[..., Lab], answering: Callable[..., None]
) -> None:
    lab = start(scenes.named("flannel-dual").replace(name="proxy-dual", nodes=nodes(2, 1)))
    answering(lab, "6")
    with Kube(lab.kubeconfig) as kube:
        spec = WEB | {"ipFamilyPolicy": "RequireDualStack"}
        answer = kube.http.post(SERVICES, json={"metadata": {"name": "web"}, "spec": spec}).raise_for_status().json()
        until(lambda: all("ip6 kube-proxy" in rules(lab, f"node-{each}") for each in (1, 2)))
        until(lambda: rules(lab, "node-1").count("mod 2") == 4)
        for place in ("pod-1a", "node-2"):
            assert asked(lab, place, answer["spec"]["clusterIPs"][1], 53).keys() == {"pod-1a", "pod-2a"}


NODE = proxy.ProxyNode(name="n1", addresses=("192.168.77.1",), networks=("10.244.1.0/24",))
NOTHING = nft.table("ip", "kube-proxy", "") + nft.table("ip6", "kube-proxy", "")


def made(spec: dict[str, Any], *endpoints: dict[str, Any]) -> str:
    """Return the rules for one Service, whose endpoints are these."""
    metadata = {"name": "web", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}}
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8080}]
    given = {"clusterIPs": ["10.43.1.1"], "selector": {"app": "web"}, "ports": ports} | spec
    held = {"addressType": "IPv4", "ports": [{"name": "", "port": 8080}], "endpoints": list(endpoints)}
    return proxy.ruleset(NODE, [{"metadata": metadata, "spec": given}], [{"metadata": metadata, **held}])


def endpoint(address: str, node: str = "n1", *, ready: bool = True) -> dict[str, Any]:
    return {"addresses": [address], "nodeName": node, "conditions": {"ready": ready}}


def test_a_lab_without_services_has_no_rules() -> None:
    assert proxy.ruleset(NODE, [], []) == NOTHING
    assert made({"clusterIPs": ["None"]}, endpoint("10.244.1.2")) == NOTHING
    assert made({"clusterIPs": []}) == NOTHING


def test_who_is_behind_a_service_without_a_selector_is_for_others_to_say() -> None:
    """The API's own is one: default/kubernetes."""
    assert "dnat ip to" in made({"selector": None}, endpoint("192.168.77.1"))


def test_only_what_is_ready_is_sent_to() -> None:
    told = made({}, endpoint("10.244.1.2", ready=False), endpoint("10.244.2.2", "n2"))
    assert "ip daddr 10.43.1.1 tcp dport 80 dnat ip to numgen random mod 1 map { 0 : 10.244.2.2 . 8080 }" in told
    assert "reject" not in told
    assert "ip daddr 10.43.1.1 tcp dport 80 reject" in made({}, endpoint("10.244.1.2", ready=False))


def test_a_local_policy_keeps_traffic_on_the_node() -> None:
    told = made({"internalTrafficPolicy": "Local"}, endpoint("10.244.1.2"), endpoint("10.244.2.2", "n2"))
    assert "map { 0 : 10.244.1.2 . 8080 }" in told
    assert "10.244.2.2" not in told


def test_an_address_that_is_none_is_left_out() -> None:
    assert "reject" in made({}, endpoint("10.244.1.2 ; flush ruleset"), endpoint("fd00::1"))
