"""Small clusters as values, for tests and for whoever writes a new CNI: say what differs from a healthy one.

    cluster()                                      three nodes, NICs 1500, canal over VXLAN, 9 pods of 1450
    cluster(nodes=(node("n1", pods=3, pod=1500),)) one node whose pods have 1500 at both ends

What could not exist is refused (`check`), so that no test proves something about an impossible cluster.
"""

import hashlib
import json

import msgspec

from kubemtu.cni import registry
from kubemtu.cni.programs import flanneld
from kubemtu.core import encap, net, objects
from kubemtu.core.cluster.cni_state import CniState, MtuKey
from kubemtu.core.snapshot import Snapshot

CONFLIST = "/etc/cni/net.d/10-canal.conflist"
INSTALLED = "2026-11-01T10:00:00Z"
INSTALLED_AT = 1793527200.0  # date -u -d 2026-11-01T10:00:00Z +%s
DAEMONSET = objects.Ref(
    api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name="canal", namespace="kube-system"
)
DAEMONSET_UID = "6f1f4b1c-7d5e-4a53-9f0e-2a5d1c3b7e90"
CONFIG_MAP = objects.Ref(
    api_version="v1", kind="ConfigMap", plural="configmaps", name="canal-config", namespace="kube-system"
)
TEMPLATE = '{"name": "k8s-pod-network", "plugins": [{"type": "calico", "mtu": __CNI_MTU__}, {"type": "portmap"}]}'
VXLAN_COST = 50


def state(mtu: int | None = 1450, **changed: object) -> CniState:
    """Canal with `veth_mtu`, over VXLAN; any field of CniState can be changed."""
    fields: dict[str, object] = {
        "name": "canal",
        "variant": "era C (veth_mtu)",
        "encapsulation": (encap.vxlan(),),
        "encapsulation_name": "vxlan",
        "pod_mtu": mtu,
        "conflist_mtu": mtu,
        "mtu_keys": (MtuKey(ref=CONFIG_MAP, path=("data", "veth_mtu"), means="pod", value=mtu),),
        "daemonset": DAEMONSET,
        "conflist": CONFLIST,
        "conflist_template": TEMPLATE,
        "ports": net.PortRule(prefixes=("cali",)),
        "tunnel": "flannel.1",
        "tunnel_stays": flanneld.STAYS,
        "plugin_mtus": registry.plugin_mtus(),
        "nic_reader": "flanneld",
        "pod_networks": ("10.42.0.0/16",),
    }
    return CniState(**(fields | changed))  # type: ignore[arg-type]  # a typo in a field's name fails at once


def link_name(namespace: str, pod: str) -> str:
    """Calico's name of the host end: "cali" and 11 hex digits of SHA-1 over "namespace.name"."""
    return "cali" + hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()[:11]


def port(
    name: str,
    address: str,
    *,
    pod: int = 1450,
    host: int | None = None,
    bridge: str | None = None,
    addresses: tuple[str, ...] = (),
    routes: tuple[net.Route, ...] = (),
    ipv6_mtu: int | None = None,
    drops: int = 0,
) -> net.PodPort:
    """Make the port of pod default/`name`; `host` defaults to what the pod's end has, `drops` count as they would."""
    host = pod if host is None else host
    outward = drops if host < pod else 0
    inward = drops if pod < host else 0
    return net.PodPort(
        netns=f"cni-{name}",
        inode=4026532000 + int(address.rpartition(".")[2]),
        host_link=link_name("default", name) if bridge is None else f"veth{name}",
        host_index=10,
        host_mtu=host,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=pod,
        bridge=bridge,
        addresses=addresses or (address,),
        ipv6_mtu=ipv6_mtu,
        routes=routes or (net.Route(family=4, destination="default", device="eth0", gateway="169.254.1.1"),),
        host_rx_dropped=outward,
        pod_tx_dropped=outward,
        host_tx_dropped=inward,
        pod_rx_dropped=inward,
    )


def node(
    name: str,
    *,
    nic: int = 1500,
    route_mtu: int | None = None,
    tunnel: int | None = None,
    pods: int = 3,
    pod: int = 1450,
    host: int | None = None,
    ports: tuple[net.PodPort, ...] | None = None,
    conflist: int | None = 1450,
    text: str | None = None,
    modified: float = INSTALLED_AT - 1,
    bridge: int | None = None,
    routes: tuple[net.Route, ...] = (),
    files: tuple[net.NodeFile, ...] = (),
    path: str = CONFLIST,
    tunnel_name: str = "flannel.1",
) -> net.NodeObservation:
    """One observed node: `tunnel` defaults to what VXLAN leaves of the NIC, `ports` to `pods` equal ones."""
    number = int("".join(digit for digit in name if digit.isdigit()) or "1")
    tunnel = nic - VXLAN_COST if tunnel is None else tunnel
    if ports is None:
        ports = tuple(
            port(f"web-{number}-{n}", f"10.42.{number}.{n + 10}", pod=pod, host=host, bridge="cni0" if bridge else None)
            for n in range(pods)
        )
    links = [
        net.Link(index=1, name="lo", mtu=65536),
        net.Link(index=2, name="eth0", mtu=nic),
        net.Link(index=3, name=tunnel_name, mtu=tunnel, kind="vxlan", vxlan=net.Vxlan(vni=1, port=8472, lower="eth0")),
        net.Link(index=4, name="docker0", mtu=1500, kind="bridge"),
        net.Link(index=5, name="kube-ipvs0", mtu=1500, kind="dummy"),
        net.Link(index=6, name="nodelocaldns", mtu=1500, kind="dummy"),
        *((net.Link(index=7, name="cni0", mtu=bridge, kind="bridge"),) if bridge else ()),
    ]
    written = text if text is not None else rendered(conflist)
    return net.NodeObservation(
        node=name,
        links=tuple(links),
        routes=(net.Route(family=4, destination="default", device="eth0", gateway="192.168.77.254"), *routes),
        uplinks=tuple(
            net.Uplink(peer=f"192.168.77.{peer}", device="eth0", mtu=nic, route_mtu=route_mtu)
            for peer in (1, 2, 3)
            if peer != number
        ),
        ports=ports,
        files=(net.NodeFile(path=path, text=written, modified=modified), *files),
        kernel="6.1.0",
    )


def rendered(mtu: int | None) -> str:
    """Return what install-cni makes of TEMPLATE for that MTU; None: without one."""
    calico: dict[str, object] = {"type": "calico"} | ({"mtu": mtu} if mtu is not None else {})
    return json.dumps({"name": "k8s-pod-network", "plugins": [calico, {"type": "portmap"}]})


def canal(mtu: int | str = 1450) -> tuple[objects.Object, objects.Object]:
    """Make the ConfigMap and the DaemonSet that `state` was read from, for what recognises a pod network by itself."""

    def fed(variable: str, key: str) -> dict[str, object]:
        return {"name": variable, "valueFrom": {"configMapKeyRef": {"name": "canal-config", "key": key}}}

    config = {
        "canal_iface": "",
        "masquerade": "true",
        "veth_mtu": str(mtu),
        "cni_network_config": TEMPLATE,
        "net-conf.json": '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}',
    }
    image = "example/canal:v3.26.1"
    install = {
        "name": "install-cni",
        "image": image,
        "env": [fed("CNI_MTU", "veth_mtu"), fed("CNI_NETWORK_CONFIG", "cni_network_config")],
    }
    flannel = {"name": "kube-flannel", "image": image, "env": [fed("FLANNELD_IFACE", "canal_iface")]}
    template = {"spec": {"initContainers": [install], "containers": [{"name": "calico-node", "image": image}, flannel]}}
    where = {"namespace": "kube-system"}
    return (
        objects.Object.of(
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "canal-config", **where}, "data": config}
        ),
        objects.Object.of(
            {
                "kind": "DaemonSet",
                "apiVersion": "apps/v1",
                "metadata": {"name": "canal", **where},
                "spec": {"selector": {"matchLabels": {"k8s-app": "canal"}}, "template": template},
            }
        ),
    )


def cluster(
    nodes: tuple[net.NodeObservation, ...] | None = None, *, silent: tuple[str, ...] = (), **changed: object
) -> Snapshot:
    """Make a snapshot of nodes (three healthy ones unless given), with the pods and CNI pods that the API has there."""
    seen = nodes if nodes is not None else tuple(node(name) for name in ("n1", "n2", "n3"))
    made: list[objects.Object] = []
    for name in (*(one.node for one in seen), *silent):
        made += [objects.Object.of({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}}), _cni_pod(name)]
    for one in seen:
        made += [_pod(one.node, each) for each in one.ports]
    fields: dict[str, object] = {"source": "an example", "objects": tuple(made), "nodes": seen}
    snapshot = Snapshot(**(fields | changed))  # type: ignore[arg-type]  # as in `state`
    check(snapshot)
    return snapshot


def story(veth_mtu: int | str, nodes: tuple[net.NodeObservation, ...] | None = None) -> Snapshot:
    """Return a cluster with its canal in it, so that a pod network is recognised: what a real reading would be."""
    made = cluster(nodes)
    return msgspec.structs.replace(made, objects=(*canal(veth_mtu), *made.objects))


def began(snapshot: Snapshot, before: float, *pods: str) -> Snapshot:
    """Let these pods have begun so many seconds before all nodes were looked at."""
    main = [{"name": "main", "state": {"running": {"startedAt": INSTALLED}}}]
    dated = tuple(
        objects.Object.of(objects.placed(one.body, ("status", "containerStatuses"), main)) if one.name in pods else one
        for one in snapshot.objects
    )
    looked = tuple(msgspec.structs.replace(seen, observed_at=INSTALLED_AT + before) for seen in snapshot.nodes)
    return msgspec.structs.replace(snapshot, objects=dated, nodes=looked)


def unported(seen: net.NodeObservation, *kept: int) -> net.NodeObservation:
    """Return a node that shows only those of its pods' ports."""
    return msgspec.structs.replace(seen, ports=tuple(seen.ports[index] for index in kept))


def trio(**changed: object) -> tuple[net.NodeObservation, ...]:
    """Three nodes that differ from healthy ones in the same way; the arguments are those of `node`."""
    return tuple(node(name, **changed) for name in ("n1", "n2", "n3"))  # type: ignore[arg-type]  # as in `state`


def check(snapshot: Snapshot) -> None:
    """Refuse what no kernel and no API server could show. Raises ValueError with a sentence."""
    names = [seen.node for seen in snapshot.nodes]
    if len(set(names)) != len(names):
        raise ValueError(f"a node was observed twice: {names}")
    for seen in snapshot.nodes:
        inodes = [one.inode for one in seen.ports]
        if len(set(inodes)) != len(inodes):
            raise ValueError(f"two ports of node {seen.node} are in the same namespace")
        for link in seen.links:
            lower = seen.link(link.vxlan.lower) if link.vxlan is not None and link.vxlan.lower else None
            if link.vxlan is not None and link.vxlan.lower and lower is None:
                raise ValueError(f"{link.name} of node {seen.node} is bound to {link.vxlan.lower}, which is not there")
        for one in seen.ports:
            if one.bridge is not None and seen.link(one.bridge) is None:
                raise ValueError(f"{one.host_link} of node {seen.node} is a port of {one.bridge}, which is not there")
            if not all(68 <= mtu <= 65535 for mtu in one.ends):
                raise ValueError(f"{one.host_link} of node {seen.node}: a veth has an MTU of 68 to 65535")


def _pod(node_name: str, one: net.PodPort) -> objects.Object:
    return objects.Object.of(
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": one.netns.removeprefix("cni-"), "namespace": "default"},
            "spec": {"nodeName": node_name},
            "status": {
                "phase": "Running",
                "podIP": one.addresses[0],
                "podIPs": [{"ip": address} for address in one.addresses if not address.startswith("fe80")],
            },
        }
    )


def _cni_pod(node_name: str) -> objects.Object:
    return objects.Object.of(
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": f"canal-{node_name}",
                "namespace": "kube-system",
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "canal", "uid": DAEMONSET_UID}
                ],
            },
            "spec": {"nodeName": node_name, "hostNetwork": True},
            "status": {
                "phase": "Running",
                "initContainerStatuses": [
                    {"name": "install-cni", "state": {"terminated": {"finishedAt": INSTALLED, "exitCode": 0}}}
                ],
            },
        }
    )
