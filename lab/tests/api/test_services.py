"""What the API gives a Service: its address, its node ports, and two ports of one number."""

from typing import Any

import httpx2
import pytest
from tests.support.lab_api import call

from kubemtu_lab import addressing
from kubemtu_lab.api.errors import Refusal
from kubemtu_lab.api.resources import Object, Resource
from kubemtu_lab.api.store import Store
from kubemtu_lab.api.tables import table

UDP_AND_TCP: list[Object] = [
    {"name": "udp", "protocol": "UDP", "port": 7843},
    {"name": "tcp", "protocol": "TCP", "port": 7843},
]


@pytest.fixture
def services(store: Store) -> Resource:
    return store.resource("", "v1", "services")


def service(name: str = "s", **spec: object) -> Object:
    return {"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]} | spec}


def made(store: Store, resource: Resource, body: Object) -> Any:
    return store.create(resource, "default", body)["spec"]


def test_each_service_has_an_address_of_its_own(store: Store, services: Resource) -> None:
    first, second = made(store, services, service("a")), made(store, services, service("b"))
    assert (first["clusterIP"], first["clusterIPs"]) == ("10.43.1.1", ["10.43.1.1"])
    assert second["clusterIP"] == "10.43.1.2"
    assert first["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (first["type"], first["ipFamilies"], first["sessionAffinity"]) == ("ClusterIP", ["IPv4"], "None")
    store.delete(services, "default", "a")
    assert made(store, services, service("c"))["clusterIP"] == "10.43.1.1"


def test_an_address_may_be_asked_for(store: Store, services: Resource) -> None:
    assert made(store, services, service("dns", clusterIP="10.43.0.10"))["clusterIPs"] == ["10.43.0.10"]
    assert made(store, services, service("v6", clusterIP="fd00:10:43::a"))["ipFamilies"] == ["IPv6"]
    both = made(store, services, service("both", ipFamilyPolicy="RequireDualStack"))
    assert both["clusterIPs"] == ["10.43.1.1", "fd00:10:43::101"]
    assert both["ipFamilies"] == ["IPv4", "IPv6"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"clusterIP": "10.43.1.1"}, "failed to allocate IP 10.43.1.1: provided IP is already allocated"),
        (
            {"clusterIP": "10.9.0.1"},
            "failed to allocate IP 10.9.0.1: the provided network does not match the current range",
        ),
        ({"clusterIP": "ten"}, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ({"ports": []}, "spec.ports: Required value"),
        ({"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}, "provided port is not in the valid range"),
        ({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30000}]}, "provided port is already allocated"),
    ],
)
def test_what_cannot_be_had_is_refused(store: Store, services: Resource, spec: Object, told: str) -> None:
    made(store, services, service("first", type="NodePort"))
    with pytest.raises(Refusal) as refused:
        made(store, services, service("second", **spec))
    assert refused.value.code == 422
    assert told in str(refused.value.status["message"])


def test_an_address_stays_for_life(store: Store, services: Resource) -> None:
    store.create(services, "default", service(type="NodePort"))
    replaced = store.update(services, "default", "s", service(type="NodePort", selector={"app": "other"}))
    assert (replaced["spec"]["clusterIP"], replaced["spec"]["ports"][0]["nodePort"]) == ("10.43.1.1", 30000)
    with pytest.raises(Refusal, match="may not change once set"):
        store.update(services, "default", "s", service(clusterIP="10.43.0.77"))


def test_headless_and_external_services_have_none(store: Store, services: Resource) -> None:
    assert made(store, services, service("h", clusterIP="None", ports=None))["clusterIPs"] == ["None"]
    body: Object = {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert "clusterIP" not in made(store, services, body)


def test_a_cluster_of_ipv6_alone_has_services_of_ipv6_alone(services: Resource) -> None:
    store = Store(families=addressing.IPV6)
    spec = made(store, services, service("one", ports=UDP_AND_TCP))
    assert (spec["clusterIPs"], spec["ipFamilies"]) == (["fd00:10:43::101"], ["IPv6"])
    spec = made(store, services, service("two", ports=UDP_AND_TCP, ipFamilyPolicy="PreferDualStack"))
    assert (spec["clusterIPs"], spec["ipFamilies"]) == (["fd00:10:43::102"], ["IPv6"])
    assert made(store, services, service("none", clusterIP="None", ports=None))["ipFamilies"] == ["IPv6"]
    for asked, told in (
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack services"),
        ({"ipFamilies": ["IPv4"]}, r'spec.ipFamilies\[0\]: Invalid value: "IPv4": not configured on this cluster'),
        ({"clusterIP": "10.43.0.9"}, r'spec.ipFamilies\[0\]: Invalid value: "IPv4": not configured on this cluster'),
    ):
        with pytest.raises(Refusal, match=told):
            made(store, services, service("wrong", ports=UDP_AND_TCP, **asked))


def test_two_ports_of_one_number_stay_two_when_applied_twice(store: Store, services: Resource) -> None:
    for _ in range(2):
        held, _ = store.apply(services, "default", "s", service(ports=UDP_AND_TCP), manager="kubectl")
    assert [each["protocol"] for each in held["spec"]["ports"]] == ["UDP", "TCP"]
    (entry,) = held["metadata"]["managedFields"]
    assert 'k:{"port":7843,"protocol":"UDP"}' in entry["fieldsV1"]["f:spec"]["f:ports"]
    other = [UDP_AND_TCP[0], UDP_AND_TCP[1] | {"port": 7844}]
    held, _ = store.apply(services, "default", "s", service(ports=other), manager="kubectl")
    assert [(each["protocol"], each["port"]) for each in held["spec"]["ports"]] == [("UDP", 7843), ("TCP", 7844)]


def test_a_port_must_be_a_number(store: Store, services: Resource) -> None:
    with pytest.raises(
        Refusal, match=r"cannot unmarshal string into Go struct field Service.spec.ports\[0\].port of type int64"
    ):
        made(store, services, service(ports=[{"port": "80"}]))


def test_kubectl_prints_addresses_and_endpoints(store: Store, services: Resource) -> None:
    item = store.create(services, "default", service(type="NodePort", ports=UDP_AND_TCP))
    cells = table(services, [item], {}, include="None", now=store.clock())["rows"][0]["cells"]
    assert cells == ["s", "NodePort", "10.43.1.1", "<none>", "7843:30000/UDP,7843:30000/TCP", "0s", "app=web"]
    slices = store.resource("discovery.k8s.io", "v1", "endpointslices")
    endpoints = [{"addresses": [f"10.244.1.{each}"]} for each in range(2, 7)]
    body: Object = {"addressType": "IPv4", "ports": [{"port": 7843}], "endpoints": endpoints}
    made_slice = store.create(slices, "default", {"metadata": {"name": "s-1"}} | body)
    cells = table(slices, [made_slice], {}, include="None", now=store.clock())["rows"][0]["cells"]
    assert cells == ["s-1", "IPv4", 7843, "10.244.1.2,10.244.1.3,10.244.1.4 + 2 more...", "0s"]


async def test_every_api_hands_out_addresses(http: httpx2.AsyncClient) -> None:
    answer = await call(http, "POST", "/api/v1/namespaces/default/services", service(ports=UDP_AND_TCP))
    assert answer["spec"]["clusterIP"].startswith("10.43.")
    served = (await call(http, "GET", "/apis/discovery.k8s.io/v1"))["resources"]
    assert [each["name"] for each in served] == ["endpointslices"]
