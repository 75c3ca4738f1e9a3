"""The objects a scene's cluster holds, as the distributions' templates would have written them; pure.

Names, keys, env, references and folders of the node follow RKE's canal templates of three eras and flannel's
kube-flannel.yml; what does not touch the pod network (RBAC, probes, tolerations, kernel modules, the folder of the
plugins' programs) is left out.
"""

import json
from collections.abc import Iterator
from typing import Any

from kubemtu.kube import crd, shipped
from kubemtu_lab import daemonsets
from kubemtu_lab import scene as scenes

Body = dict[str, object]
RKE_DEFAULT_MTU = 1450  # era C writes it whatever the underlay is
PROBE = shipped.PROBE
"""The name of the probes' DaemonSet, their Service and the Secret with their key."""
IMAGE = "kubemtu/kubemtu:lab"


def objects(scene: scenes.Scene) -> Iterator[Body]:
    """Return all objects of a scene, in an order in which they can be made."""
    yield _object("v1", "Namespace", "kube-system")
    if isinstance(scene.cni, scenes.Flannel):
        yield _object("v1", "Namespace", "kube-flannel")
    if scene.agents or scene.probes:
        yield _object("v1", "Namespace", "kubemtu")
    for place, node in enumerate(scene.nodes, 1):
        yield _node(scene, place, node)
    yield from _kubernetes()
    yield from network(scene.cni, dual_stack=scene.dual_stack)
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


def _kubernetes() -> Iterator[Body]:
    """Return the Service that stands for the API, and who is behind it (kubernetes `pkg/controlplane/controller`)."""
    ports: list[Body] = [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": scenes.API_PORT}]
    spec: Body = {"type": "ClusterIP", "clusterIP": scenes.SERVICE_ADDRESS, "ports": ports}
    service = _object("v1", "Service", "kubernetes", "default", spec=spec)
    service["metadata"] = {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver"}}
    yield service
    behind = _object("discovery.k8s.io/v1", "EndpointSlice", "kubernetes", "default", addressType="IPv4")
    behind["metadata"] = {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"kubernetes.io/service-name": "kubernetes"},
    }
    behind["endpoints"] = [{"addresses": [scenes.address(1)], "conditions": {"ready": True}}]
    behind["ports"] = [{"name": "https", "protocol": "TCP", "port": scenes.API_PORT}]
    yield behind


def network(cni: scenes.Cni, *, dual_stack: bool = False) -> Iterator[Body]:
    """Return the objects of a CNI: its ConfigMap, its DaemonSet and what else it brings."""
    if isinstance(cni, scenes.Canal):
        yield from _canal(cni, dual_stack=dual_stack)
    elif isinstance(cni, scenes.Flannel):
        yield from _flannel(cni, dual_stack=dual_stack)
    else:
        yield from _declared(cni)


def _object(version: str, kind: str, name: str, namespace: str | None = None, **rest: object) -> Body:
    metadata: Body = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _node(scene: scenes.Scene, place: int, node: scenes.Node) -> Body:
    networks = scenes.pod_networks(place, dual_stack=scene.dual_stack)
    body = _object("v1", "Node", node.name, spec={"podCIDR": networks[0], "podCIDRs": [*networks]})
    body["metadata"] = {
        "name": node.name,
        "labels": {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "beta.kubernetes.io/os": "linux"},
    }
    return body


def _pod(name: str, node: str) -> Body:
    container = {"name": "web", "image": "registry.example/web:1"}
    body = _object("v1", "Pod", name, "default", spec={"nodeName": node, "containers": [container]})
    body["metadata"] = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    return body


# -- canal


def _canal(canal: scenes.Canal, *, dual_stack: bool) -> Iterator[Body]:
    yield _pool_definition()
    yield _object(
        "crd.projectcalico.org/v1",
        "IPPool",
        "default-ipv4-ippool",
        spec={"cidr": "10.244.0.0/16", "ipipMode": "Never", "vxlanMode": "Never", "natOutgoing": True},
    )
    keys = {
        "canal_iface": canal.iface,
        "masquerade": "true",
        "cni_network_config": _canal_chain(canal),
        "net-conf.json": _net_conf(canal.backend, canal.backend_mtu, dual_stack=dual_stack),
    }
    if canal.era == "C":
        keys |= {"typha_service_name": "none", "veth_mtu": str(canal.mtu or RKE_DEFAULT_MTU)}
    yield _object("v1", "ConfigMap", "canal-config", "kube-system", data=keys)
    yield daemonsets.daemonset("canal", "kube-system", {"k8s-app": "canal"}, _canal_template(canal))


def _canal_chain(canal: scenes.Canal) -> str:
    mtu = {"A": canal.mtu, "B": canal.mtu, "C": "__CNI_MTU__"}[canal.era]
    calico: Body = {"type": "calico", "log_level": "WARNING", "datastore_type": "kubernetes"}
    calico["nodename"] = "__KUBERNETES_NODE_NAME__"
    if mtu is not None:
        calico["mtu"] = mtu
    calico["ipam"] = {"type": "host-local", "subnet": "usePodCidr"}
    calico["policy"] = {"type": "k8s"} | ({"k8s_auth_token": "__SERVICEACCOUNT_TOKEN__"} if canal.era == "A" else {})
    kubeconfig = "__KUBECONFIG_FILEPATH__" if canal.era == "C" else "/etc/kubernetes/ssl/kubecfg-kube-node.yaml"
    calico["kubernetes"] = {"kubeconfig": kubeconfig}
    plugins: list[Body] = [calico, {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}]
    if canal.era == "C":
        plugins.append({"type": "bandwidth", "capabilities": {"bandwidth": True}})
    version = "0.3.1" if canal.era == "C" else "0.3.0"
    chain = json.dumps({"name": "k8s-pod-network", "cniVersion": version, "plugins": plugins}, indent=2)
    return chain.replace('"__CNI_MTU__"', "__CNI_MTU__")  # unquoted in the template: it becomes a number


def _canal_template(canal: scenes.Canal) -> Body:
    calico, flannel = {"A": ("v3.1.1", "v0.9.1"), "B": ("v3.4.0", "v0.10.0"), "C": ("v3.28.1", "v0.25.5")}[canal.era]
    install: Body = {
        "name": "install-cni",
        "image": f"rancher/calico-cni:{calico}",
        "command": ["/opt/cni/bin/install" if canal.era == "C" else "/install-cni.sh"],
        "env": [
            {"name": "CNI_CONF_NAME", "value": "10-calico.conflist" if canal.era == "A" else "10-canal.conflist"},
            _from_config("CNI_NETWORK_CONFIG", "canal-config", "cni_network_config"),
            _from_field("KUBERNETES_NODE_NAME", "spec.nodeName"),
            *([_from_config("CNI_MTU", "canal-config", "veth_mtu")] if canal.era == "C" else []),
        ],
        "volumeMounts": [{"name": "cni-net-dir", "mountPath": "/host/etc/cni/net.d"}],
    }
    node: Body = {
        "name": "calico-node",
        "image": f"rancher/calico-node:{calico}",
        "env": [
            {"name": "DATASTORE_TYPE", "value": "kubernetes"},
            {"name": "CALICO_NETWORKING_BACKEND", "value": "none"},
            {"name": "CLUSTER_TYPE", "value": "k8s,canal"},
            {"name": "FELIX_IPV6SUPPORT", "value": "false"},
            _from_field("NODENAME", "spec.nodeName"),
        ],
        "volumeMounts": [
            {"name": "var-run-calico", "mountPath": "/var/run/calico"},
            *([{"name": "var-lib-calico", "mountPath": "/var/lib/calico"}] if canal.era != "A" else []),
            *([{"name": "cni-net-dir", "mountPath": "/host/etc/cni/net.d"}] if canal.era == "C" else []),
        ],
    }
    flanneld: Body = {
        "name": "kube-flannel",
        "image": f"rancher/coreos-flannel:{flannel}",
        "command": ["/opt/bin/flanneld", "--ip-masq", "--kube-subnet-mgr"],
        "env": [
            _from_field("POD_NAME", "metadata.name"),
            _from_field("POD_NAMESPACE", "metadata.namespace"),
            _from_config("FLANNELD_IFACE", "canal-config", "canal_iface"),
            _from_config("FLANNELD_IP_MASQ", "canal-config", "masquerade"),
        ],
        "volumeMounts": [
            {"name": "flannel-cfg", "mountPath": "/etc/kube-flannel/"},
            *([] if canal.era == "C" else [{"name": "run", "mountPath": "/run"}]),
        ],
    }
    sidecars = [node, install, flanneld] if canal.era == "A" else [node, flanneld]
    return {
        "hostNetwork": True,
        "serviceAccountName": "canal",
        "terminationGracePeriodSeconds": 0,
        **({} if canal.era == "A" else {"initContainers": [install]}),
        "containers": sidecars,
        "volumes": [
            {"name": "flannel-cfg", "configMap": {"name": "canal-config"}},
            daemonsets.of_node("cni-net-dir", "/etc/cni/net.d"),
            daemonsets.of_node("var-run-calico", "/var/run/calico"),
            daemonsets.of_node("var-lib-calico", "/var/lib/calico"),
            *([] if canal.era == "C" else [daemonsets.of_node("run", "/run")]),
        ],
    }


def _pool_definition() -> Body:
    spec: Body = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return _object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "ippools.crd.projectcalico.org",
        spec={
            "group": "crd.projectcalico.org",
            "scope": "Cluster",
            "names": {"kind": "IPPool", "listKind": "IPPoolList", "plural": "ippools", "singular": "ippool"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    )


# -- flannel


def _flannel(flannel: scenes.Flannel, *, dual_stack: bool) -> Iterator[Body]:
    delegate: Body = {"hairpinMode": True, "isDefaultGateway": True}
    if flannel.delegate_mtu is not None:
        delegate["mtu"] = flannel.delegate_mtu
    plugins: list[Body] = [
        {"type": "flannel", "delegate": delegate},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    keys = {
        "cni-conf.json": json.dumps({"name": "cbr0", "cniVersion": "0.3.1", "plugins": plugins}, indent=2) + "\n",
        "net-conf.json": _net_conf(flannel.backend, flannel.backend_mtu, dual_stack=dual_stack),
    }
    yield _object("v1", "ConfigMap", "kube-flannel-cfg", "kube-flannel", data=keys)
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
        "env": [_from_field("POD_NAME", "metadata.name"), _from_field("POD_NAMESPACE", "metadata.namespace")],
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
        plugin |= {"bridge": cni.bridge, "gateway": cni.gateway}
    backend: Body = {"Type": "vxlan" if cni.tunnel else "host-gw", "Domain": f"{cni.name}.example"}
    if cni.tunnel:
        backend |= {"VNI": cni.vni, "Device": cni.tunnel}
    keys = {
        **dict(cni.data),
        **({} if cni.variables or cni.follows_nic or cni.flag else {cni.key: cni.form.replace("{}", str(cni.mtu))}),
        "conflist": json.dumps({"name": cni.name, "cniVersion": "0.3.1", "plugins": [plugin]}, indent=2) + "\n",
        "net-conf.json": json.dumps({"Network": scenes.POD_NETWORKS[0], "Backend": backend}, indent=2) + "\n",
    }
    yield _object("v1", "ConfigMap", cni.config_map, "kube-system", data=keys)
    source = "nic" if cni.follows_nic else ",".join(cni.variables) or cni.flag or cni.key
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
    yield daemonsets.daemonset(cni.daemonset or cni.name, "kube-system", {"k8s-app": cni.name}, template)


def _net_conf(kind: str, backend_mtu: int | None, *, dual_stack: bool) -> str:
    backend: Body = {"Type": kind}
    if backend_mtu is not None:
        backend["MTU"] = backend_mtu
    body: Body = {"Network": scenes.POD_NETWORKS[0]}
    if dual_stack:
        body |= {"EnableIPv6": True, "IPv6Network": scenes.POD_NETWORKS[1]}
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
    return _object("v1", "Pod", name, namespace, spec=spec | ({"hostNetwork": True} if host_network else {}))


def _from_config(name: str, config: str, key: str) -> Body:
    return {"name": name, "valueFrom": {"configMapKeyRef": {"name": config, "key": key}}}


def _from_field(name: str, path: str) -> Body:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
