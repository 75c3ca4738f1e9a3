"""A small cluster in which people name things: two nodes, of which one has an agent, pods, and Services."""

from collections.abc import Mapping

import msgspec

from kubemtu.core import net
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import lookup
from kubemtu.core.why.endpoints import Endpoint, Inventory


def made(kind: str, name: str, namespace: str = "", **parts: object) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    labels = parts.pop("labels", None)
    return Object.of({"kind": kind, "metadata": metadata | ({"labels": labels} if labels else {}), **parts})


def node(name: str, *addresses: str) -> Object:
    listed = [{"type": "InternalIP", "address": address} for address in addresses]
    return made("Node", name, status={"addresses": [*listed, {"type": "Hostname", "address": name}]})


def pod(
    name: str, on: str, *addresses: str, namespace: str = "default", phase: str = "Running", host: bool = False
) -> Object:
    status = {"phase": phase, "podIPs": [{"ip": address} for address in addresses]}
    return made("Pod", name, namespace, spec={"nodeName": on, "hostNetwork": host}, status=status)


def service(name: str, spec: Mapping[str, object], namespace: str = "default", **parts: object) -> Object:
    return made("Service", name, namespace, spec=spec, **parts)


def endpoints(name: str, *addresses: str, namespace: str = "default", ready: bool = True) -> Object:
    listed = [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses]
    labels = {"kubernetes.io/service-name": name}
    return made("EndpointSlice", f"{name}-x", namespace, labels=labels, endpoints=listed)


def port(link: str, *addresses: str, mtu: int = 1450, host: int = 1450) -> net.PodPort:
    return net.PodPort(
        netns=f"cni-{link}",
        inode=1,
        host_link=link,
        host_index=5,
        host_mtu=host,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=mtu,
        addresses=addresses,
    )


N1 = net.NodeObservation(
    node="n1",
    uplinks=(
        net.Uplink(peer="192.0.2.2", device="eth0", mtu=1500),
        net.Uplink(peer="192.0.2.3", device="eth1", mtu=9000),
    ),
    links=(net.Link(index=3, name="flannel.1", mtu=1450, kind="vxlan"),),
    ports=(port("cali1", "10.42.1.10", "fd00:42:1::10", "fe80::1"), port("cali2", "10.42.1.11", mtu=1400, host=1450)),
)
SNAPSHOT = Snapshot(
    source="a test",
    objects=(
        node("n1", "192.0.2.1", "2001:db8::1"),
        node("n2", "192.0.2.2"),
        pod("web-1", "n1", "10.42.1.10", "fd00:42:1::10"),
        pod("web-2", "n1", "10.42.1.11"),
        pod("pg-0", "n2", "10.42.2.10", namespace="db"),
        pod("exporter", "n1", "192.0.2.1", host=True),
        pod("job-1", "n1", "10.42.1.99", phase="Succeeded"),
        pod("late", "n1", phase="Pending"),
        pod("n2", "n1", "10.42.1.12"),
        pod("api", "n2", "10.42.2.11"),
    ),
    nodes=(N1,),
)
SERVICES = (
    service(
        "web",
        {"clusterIPs": ["10.43.0.7"], "externalIPs": ["198.51.100.1"], "ports": [{"port": 80, "nodePort": 30080}]},
        status={"loadBalancer": {"ingress": [{"ip": "198.51.100.2"}]}},
    ),
    endpoints("web", "10.42.1.10", "10.42.2.10"),
    service("api", {"clusterIP": "10.43.0.8"}),
    service("pg", {"clusterIP": "None"}, namespace="db"),
    endpoints("pg", "10.42.2.10", namespace="db"),
    endpoints("pg", "10.42.2.99", namespace="db", ready=False),
)
KNOWN = Inventory(snapshot=SNAPSHOT, services=SERVICES)


def find(word: str, **changed: object) -> Endpoint:
    return lookup.find(word, msgspec.structs.replace(KNOWN, **changed))
