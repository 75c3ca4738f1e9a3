"""The objects of canal as RKE's templates of three eras wrote them, and as RKE2's chart does; pure.

Sources: rancher/rke `templates/canal.go` of the eras, rancher/rke2-charts `packages/rke2-canal`.
"""

import json
from collections.abc import Iterator

from kubemtu_lab import daemonsets
from kubemtu_lab import scene as scenes

Body = dict[str, object]
RKE_DEFAULT_MTU = 1450  # era C writes it whatever the underlay is


def canal(canal: scenes.Canal, *, net_conf: str) -> Iterator[Body]:
    """Yield what a canal brings: its ConfigMap, its DaemonSet, the pool of addresses, and RKE2's HelmChartConfig."""
    yield daemonsets.definition("IPPool", "crd.projectcalico.org", scope="Cluster")
    yield daemonsets.named(
        "crd.projectcalico.org/v1",
        "IPPool",
        "default-ipv4-ippool",
        spec={"cidr": "10.244.0.0/16", "ipipMode": "Never", "vxlanMode": "Never", "natOutgoing": True},
    )
    keys = {
        "canal_iface": canal.iface,
        "masquerade": "true",
        "cni_network_config": _canal_chain(canal),
        "net-conf.json": net_conf,
    }
    if canal.era == "C":
        keys |= {"typha_service_name": "none", "veth_mtu": str(canal.mtu or RKE_DEFAULT_MTU)}
    yield daemonsets.named("v1", "ConfigMap", canal.config_map, "kube-system", data=keys)
    if canal.rke2:
        yield daemonsets.definition("HelmChartConfig", "helm.cattle.io", scope="Namespaced")
    if canal.rke2 and canal.values:
        values = f"calico:\n  vethuMTU: {canal.mtu or RKE_DEFAULT_MTU}\n"
        chart = daemonsets.named("helm.cattle.io/v1", "HelmChartConfig", "rke2-canal", "kube-system")
        yield chart | {"spec": {"valuesContent": values}}
    name = "rke2-canal" if canal.rke2 else "canal"
    yield daemonsets.daemonset(name, "kube-system", {"k8s-app": "canal"}, _canal_template(canal))


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
            daemonsets.from_config("CNI_NETWORK_CONFIG", canal.config_map, "cni_network_config"),
            daemonsets.from_field("KUBERNETES_NODE_NAME", "spec.nodeName"),
            *([daemonsets.from_config("CNI_MTU", canal.config_map, "veth_mtu")] if canal.era == "C" else []),
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
            daemonsets.from_field("NODENAME", "spec.nodeName"),
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
            daemonsets.from_field("POD_NAME", "metadata.name"),
            daemonsets.from_field("POD_NAMESPACE", "metadata.namespace"),
            daemonsets.from_config("FLANNELD_IFACE", canal.config_map, "canal_iface"),
            daemonsets.from_config("FLANNELD_IP_MASQ", canal.config_map, "masquerade"),
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
            {"name": "flannel-cfg", "configMap": {"name": canal.config_map}},
            daemonsets.of_node("cni-net-dir", "/etc/cni/net.d"),
            daemonsets.of_node("var-run-calico", "/var/run/calico"),
            daemonsets.of_node("var-lib-calico", "/var/lib/calico"),
            *([] if canal.era == "C" else [daemonsets.of_node("run", "/run")]),
        ],
    }
