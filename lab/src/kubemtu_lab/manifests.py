"""The objects a scene's cluster holds, as the distributions' templates would have written them; pure.

Names, keys, env, references and folders of the node follow RKE's canal templates of three eras and flannel's
kube-flannel.yml; what does not touch the pod network (RBAC, probes, tolerations, kernel modules, the folder of the
plugins' programs) is left out.
"""

import json
from collections.abc import Iterator
from typing import Any

from kubemtu.kube import crd, shipped
from kubemtu_lab import addressing, calico_objects, canal_objects, daemonsets, owners
from kubemtu_lab import scene as scenes

Body = dict[str, object]
PROBE = shipped.PROBE
"""The name of the probes' DaemonSet, their Service and the Secret with their key."""
IMAGE = "kubemtu/kubemtu:lab"


def objects(scene: scenes.Scene) -> Iterator[Body]:
    """Return all objects of a scene, in an order in which they can be made."""
    yield daemonsets.named("v1", "Namespace", "kube-system")
    if isinstance(scene.cni, scenes.Flannel):
        yield daemonsets.named("v1", "Namespace", "kube-flannel")
    if isinstance(scene.cni, scenes.Calico) and scene.cni.operator:
        yield daemonsets.named("v1", "Namespace", calico_objects.NAMESPACE)
    if scene.agents or scene.probes:
        yield daemonsets.named("v1", "Namespace", "kubemtu")
    for place, node in enumerate(scene.nodes, 1):
        yield _node(scene, place, node)
    yield from _kubernetes(scene.families)
    yield from _kept(scene)
    for name in scene.daemons:
        yield from daemonsets.of(name, scene.version)
    if scene.agents and scene.image:  # the product as it is shipped
        yield from shipped.everything(IMAGE, probes=scene.probes)
    elif scene.agents:
        yield from crd.definitions()
        yield _agent()
    if scene.probes and not scene.image:
        yield from _probe()
    for node in scene.nodes:
        for pod in node.pods:
            yield _pod(pod, node.name)


def _kept(scene: scenes.Scene) -> Iterator[Body]:
    """Return the objects of the CNI, marked by who keeps them."""
    rendered = list(network(scene.cni, scene.families))
    for body in rendered:
        yield owners.marked(scene.owner, body) if owners.is_kept(scene.owner, body) and scene.owner else body
    if scene.owner is not None:
        yield from owners.further(scene.owner, rendered)


def _kubernetes(families: addressing.Families) -> Iterator[Body]:
    """Return the Service that stands for the API, and who is behind it (kubernetes `pkg/controlplane/controller`)."""
    ports: list[Body] = [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": scenes.API_PORT}]
    spec: Body = {"type": "ClusterIP", "clusterIP": addressing.SERVICE[families[0]], "ports": ports}
    service = daemonsets.named("v1", "Service", "kubernetes", "default", spec=spec)
    service["metadata"] = {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver"}}
    yield service
    family = addressing.NAMES[families[0]]
    behind = daemonsets.named("discovery.k8s.io/v1", "EndpointSlice", "kubernetes", "default", addressType=family)
    behind["metadata"] = {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"kubernetes.io/service-name": "kubernetes"},
    }
    behind["endpoints"] = [{"addresses": addressing.node(1, families[:1]), "conditions": {"ready": True}}]
    behind["ports"] = [{"name": "https", "protocol": "TCP", "port": scenes.API_PORT}]
    yield behind


def network(cni: scenes.Cni, families: addressing.Families = addressing.IPV4) -> Iterator[Body]:
    """Return the objects of a CNI: its ConfigMap, its DaemonSet and what else it brings."""
    if isinstance(cni, scenes.Canal):
        yield from canal_objects.canal(cni, net_conf=_net_conf(cni.backend, cni.backend_mtu, families))
    elif isinstance(cni, scenes.Calico):
        yield from calico_objects.calico(cni)
    elif isinstance(cni, scenes.Flannel):
        yield from _flannel(cni, families)
    else:
        yield from _declared(cni)


def _node(scene: scenes.Scene, place: int, node: scenes.Node) -> Body:
    networks = addressing.pod_networks(place, scene.families)
    body = daemonsets.named("v1", "Node", node.name, spec={"podCIDR": networks[0], "podCIDRs": [*networks]})
    body["metadata"] = {
        "name": node.name,
        "labels": {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "beta.kubernetes.io/os": "linux"},
    }
    return body


def _pod(name: str, node: str) -> Body:
    container = {"name": "web", "image": "registry.example/web:1"}
    body = daemonsets.named("v1", "Pod", name, "default", spec={"nodeName": node, "containers": [container]})
    body["metadata"] = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    return body


# -- flannel


def _flannel(flannel: scenes.Flannel, families: addressing.Families) -> Iterator[Body]:
    delegate: Body = {"hairpinMode": True, "isDefaultGateway": True}
    if flannel.delegate_mtu is not None:
        delegate["mtu"] = flannel.delegate_mtu
    plugins: list[Body] = [
        {"type": "flannel", "delegate": delegate},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    keys = {
        "cni-conf.json": json.dumps({"name": "cbr0", "cniVersion": "0.3.1", "plugins": plugins}, indent=2) + "\n",
        "net-conf.json": _net_conf(flannel.backend, flannel.backend_mtu, families),
    }
    yield daemonsets.named("v1", "ConfigMap", "kube-flannel-cfg", "kube-flannel", data=keys)
    mount = {"name": "flannel-cfg", "mountPath": "/etc/kube-flannel/"}
    install = {
        "name": "install-cni",
        "image": "ghcr.io/flannel-io/flannel:v0.25.5",
        "command": ["cp"],
        "args": ["-f", "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist"],
        "volumeMounts": [{"name": "cni", "mountPath": "/etc/cni/net.d"}, mount],
    }
    flanneld = {
        "name": "kube-flannel",
        "image": "ghcr.io/flannel-io/flannel:v0.25.5",
        "command": ["/opt/bin/flanneld"],
        "args": ["--ip-masq", "--kube-subnet-mgr", *([f"--iface={flannel.iface}"] if flannel.iface else [])],
        "env": [
            daemonsets.from_field("POD_NAME", "metadata.name"),
            daemonsets.from_field("POD_NAMESPACE", "metadata.namespace"),
        ],
        "volumeMounts": [{"name": "run", "mountPath": "/run/flannel"}, mount],
    }
    template: Body = {
        "hostNetwork": True,
        "serviceAccountName": "flannel",
        "initContainers": [install],
        "containers": [flanneld],
        "volumes": [
            daemonsets.of_node("run", "/run/flannel"),
            daemonsets.of_node("cni", "/etc/cni/net.d"),
            {"name": "flannel-cfg", "configMap": {"name": "kube-flannel-cfg"}},
        ],
    }
    yield daemonsets.daemonset("kube-flannel-ds", "kube-flannel", {"app": "flannel", "k8s-app": "flannel"}, template)


# -- a CNI that is only declared


def _declared(cni: scenes.Declared) -> Iterator[Body]:
    """Return its ConfigMap and its DaemonSet; the overlay between the nodes is built as flanneld builds one."""
    plugin: Body = {"type": cni.plugin or cni.name, "prefix": cni.prefix, "mtuFile": cni.mtu_file}
    plugin["limit"] = "route" if cni.by_route else "device"
    if cni.subtracts:
        plugin["subtracts"] = cni.subtracts
    if cni.updates:
        plugin["updates"] = True
    if cni.literal:
        plugin["mtu"] = scenes.DECLARED_MTU
    if cni.bridge:
        plugin["bridge"] = cni.bridge
        plugin |= {"gateway": cni.gateway} if cni.gateway else {"isDefaultGateway": True}
    if cni.once:
        plugin["once"] = cni.once
    backend: Body = {"Type": "vxlan" if cni.tunnel else "host-gw", "Domain": f"{cni.name}.example"}
    if cni.tunnel:
        backend |= {"VNI": cni.vni, "Device": cni.tunnel}
    number: Body = {cni.key: cni.form.replace("{}", str(cni.mtu))}
    if cni.number_in:
        space, name = cni.number_in
        yield daemonsets.named("v1", "Namespace", space)
        yield daemonsets.named("v1", "ConfigMap", name, space, data=number)
    keys = {
        **dict(cni.data),
        **({} if cni.variables or cni.follows_nic or cni.flag or cni.number_in else number),
        "conflist": json.dumps({"name": cni.name, "cniVersion": "0.3.1", "plugins": [plugin]}, indent=2) + "\n",
        "net-conf.json": json.dumps({"Network": addressing.POD_NETWORKS[4], "Backend": backend}, indent=2) + "\n",
    }
    if cni.namespace != "kube-system":
        yield daemonsets.named("v1", "Namespace", cni.namespace)
    yield daemonsets.named("v1", "ConfigMap", cni.config_map, cni.namespace, data=keys)
    key = "/".join((*cni.number_in, cni.key)) if cni.number_in else cni.key
    source = "nic" if cni.follows_nic else ",".join(cni.variables) or cni.flag or key
    given = [*cni.arguments, *([f"{cni.flag}={cni.mtu}"] if cni.flag else [])]
    install: Body = {
        "name": cni.agent or "install-declared",
        "image": cni.image or f"registry.example/{cni.name}:1",
        "args": [scenes.DECLARED, f"/etc/cni/net.d/10-{cni.name}.conflist", source, cni.mtu_file, cni.literal, *given],
    }
    if cni.variables:
        install["env"] = [{"name": cni.variables[-1], "value": str(cni.mtu)}]
    routes: Body = {"name": "kube-flannel", "image": f"registry.example/{cni.name}:1"}
    template: Body = {
        "hostNetwork": True,
        "initContainers": [] if cni.agent else [install],
        "containers": [install, routes] if cni.agent else [routes],
        "volumes": [{"name": "config", "configMap": {"name": cni.config_map}}],
    }
    yield daemonsets.daemonset(cni.daemonset or cni.name, cni.namespace, {"k8s-app": cni.name}, template)


def _net_conf(kind: str, backend_mtu: int | None, families: addressing.Families) -> str:
    backend: Body = {"Type": kind}
    if backend_mtu is not None:
        backend["MTU"] = backend_mtu
    body: Body = {"Network": addressing.POD_NETWORKS[4]} if 4 in families else {"EnableIPv4": False}
    if 6 in families:
        body |= {"EnableIPv6": True, "IPv6Network": addressing.POD_NETWORKS[6]}
    return json.dumps(body | {"Backend": backend}, indent=2) + "\n"


# -- kubemtu's own, as shipped; but without an image the agent has the lab's kubeconfig instead of a role


def _agent() -> Body:
    (body,) = _shipped(shipped.AGENT, "DaemonSet")
    template: Any = body["spec"]
    spec = template["template"]["spec"]
    del spec["serviceAccountName"]
    (container,) = spec["containers"]
    container["args"] = [*container["args"], "--kubeconfig", scenes.IN_CLUSTER]
    spec["terminationGracePeriodSeconds"] = 5
    return body


def _probe() -> Iterator[Body]:
    yield from _shipped(PROBE)


def _shipped(name: str, kind: str = "") -> Iterator[Body]:
    for body in shipped.objects(IMAGE):
        if shipped.name_of(body) == name and kind in ("", body["kind"]):
            yield body


def program(name: str, node: str, argv: list[str], *, host_network: bool = False, namespace: str = "default") -> Body:
    """Return a pod that runs a program of this machine in its network namespace, started again whenever it ends."""
    container = {"name": "main", "image": scenes.EXEC_IMAGE, "command": argv}
    spec: Body = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 1}
    return daemonsets.named("v1", "Pod", name, namespace, spec=spec | ({"hostNetwork": True} if host_network else {}))
