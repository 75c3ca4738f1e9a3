"""The objects of Calico by its operator, as that renders them from an Installation, and by its manifest; pure.

Sources: tigera/operator `pkg/render/node.go` (nodeCNIConfigMap, nodeDaemonset, cniEnvvars, nodeEnvVars), projectcalico/
calico `manifests/calico-vxlan.yaml`.
"""

import hashlib
import json
from collections.abc import Iterator

from kubemtu_lab import addressing, daemonsets
from kubemtu_lab import scene as scenes

Body = dict[str, object]
NAMESPACE, MANIFEST_NAMESPACE = "calico-system", "kube-system"
VERSION = "v3.32.0"
HASH = "hash.operator.tigera.io/cni-config"
"""The annotation of the pod template by which another configuration restarts the agents."""
INSTALLATION = "Installation"


def calico(cni: scenes.Calico) -> Iterator[Body]:
    """Yield what a Calico brings: its pool of addresses, and what it is installed by."""
    yield daemonsets.definition("IPPool", "crd.projectcalico.org", scope="Cluster")
    pool: Body = {"cidr": addressing.POD_NETWORKS[4], "ipipMode": "Never", "vxlanMode": "Always", "natOutgoing": True}
    yield daemonsets.named("crd.projectcalico.org/v1", "IPPool", "default-ipv4-ippool", spec=pool)
    if not cni.operator:
        yield from _manifest(cni.mtu)
        return
    yield daemonsets.definition(INSTALLATION, "operator.tigera.io", scope="Cluster", status=True)
    network: Body = {"bgp": "Disabled", "ipPools": [{"cidr": addressing.POD_NETWORKS[4], "encapsulation": "VXLAN"}]}
    network |= {"mtu": cni.mtu} if cni.mtu is not None else {}
    spec: Body = {"variant": "Calico", "cni": {"type": "Calico"}, "calicoNetwork": network}
    yield daemonsets.named("operator.tigera.io/v1", INSTALLATION, "default", spec=spec)
    yield from rendered(cni.mtu)


def rendered(mtu: int | None) -> Iterator[Body]:
    """Yield what the operator makes of the MTU of an Installation: its ConfigMap and its DaemonSet."""
    config = {"config": _chain(str(mtu or 0))}
    yield daemonsets.named("v1", "ConfigMap", "cni-config", NAMESPACE, data=config)
    sizes: list[Body] = [
        {"name": name, "value": str(mtu)} for name in ("FELIX_VXLANMTU", "FELIX_WIREGUARDMTU") if mtu is not None
    ]
    install: list[Body] = [
        {"name": "CNI_CONF_NAME", "value": "10-calico.conflist"},
        {"name": "SLEEP", "value": "false"},
        {"name": "CNI_NET_DIR", "value": "/etc/cni/net.d"},
        daemonsets.from_config("CNI_NETWORK_CONFIG", "cni-config", "config"),
    ]
    body = _daemonset(NAMESPACE, install, [{"name": "CALICO_NETWORKING_BACKEND", "value": "vxlan"}, *sizes])
    spec = body["spec"]
    assert isinstance(spec, dict)
    digest = hashlib.sha1(config["config"].encode(), usedforsecurity=False).hexdigest()
    spec["template"]["metadata"]["annotations"] = {HASH: digest}
    yield body


def _manifest(mtu: int | None) -> Iterator[Body]:
    keys = {
        "typha_service_name": "none",
        "calico_backend": "vxlan",
        "veth_mtu": str(mtu or 0),
        "cni_network_config": _chain("__CNI_MTU__"),
    }
    yield daemonsets.named("v1", "ConfigMap", "calico-config", MANIFEST_NAMESPACE, data=keys)
    install: list[Body] = [
        {"name": "CNI_CONF_NAME", "value": "10-calico.conflist"},
        daemonsets.from_config("CNI_NETWORK_CONFIG", "calico-config", "cni_network_config"),
        daemonsets.from_config("CNI_MTU", "calico-config", "veth_mtu"),
    ]
    running: list[Body] = [
        daemonsets.from_config("CALICO_NETWORKING_BACKEND", "calico-config", "calico_backend"),
        *(
            daemonsets.from_config(name, "calico-config", "veth_mtu")
            for name in ("FELIX_IPINIPMTU", "FELIX_VXLANMTU", "FELIX_WIREGUARDMTU")
        ),
    ]
    yield _daemonset(MANIFEST_NAMESPACE, install, running)


def _chain(mtu: str) -> str:
    plugins: list[Body] = [
        {"type": "calico", "datastore_type": "kubernetes", "mtu": "MTU", "policy": {"type": "k8s"}},
        {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
    ]
    chain = json.dumps({"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": plugins}, indent=2)
    return chain.replace('"MTU"', mtu)


def _daemonset(namespace: str, install: list[Body], running: list[Body]) -> Body:
    template: Body = {
        "hostNetwork": True,
        "serviceAccountName": "calico-node",
        "terminationGracePeriodSeconds": 0,
        "initContainers": [
            {
                "name": "install-cni",
                "image": f"quay.io/calico/cni:{VERSION}",
                "env": [*install, daemonsets.from_field("KUBERNETES_NODE_NAME", "spec.nodeName")],
                "volumeMounts": [{"name": "cni-net-dir", "mountPath": "/host/etc/cni/net.d"}],
            }
        ],
        "containers": [
            {
                "name": "calico-node",
                "image": f"quay.io/calico/node:{VERSION}",
                "env": [
                    {"name": "DATASTORE_TYPE", "value": "kubernetes"},
                    *running,
                    daemonsets.from_field("NODENAME", "spec.nodeName"),
                ],
                "volumeMounts": [
                    {"name": "var-lib-calico", "mountPath": "/var/lib/calico"},
                    {"name": "cni-net-dir", "mountPath": "/host/etc/cni/net.d"},
                ],
            }
        ],
        "volumes": [
            daemonsets.of_node("cni-net-dir", "/etc/cni/net.d"),
            daemonsets.of_node("var-lib-calico", "/var/lib/calico"),
        ],
    }
    return daemonsets.daemonset("calico-node", namespace, {"k8s-app": "calico-node"}, template)
