"""Manifests of the kinds that people have in trouble, each as small as its trouble allows."""

import json
from collections.abc import Mapping

import yaml

from kubemtu.core.snapshot import Snapshot

CALICO = {"type": "calico", "mtu": "@", "ipam": {"type": "host-local"}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
KEYS = ("FELIX_IPINIPMTU", "FELIX_VXLANMTU", "FELIX_WIREGUARDMTU")


def conflist(mtu: str | None) -> str:
    """Return the text of cni_network_config, `mtu` as it stands there; None: no such member."""
    plugin = {key: held for key, held in CALICO.items() if key != "mtu" or mtu is not None}
    return json.dumps({"name": "k8s-pod-network", "plugins": [plugin, PORTMAP]}, indent=2).replace('"@"', str(mtu))


def config_map(name: str, namespace: str, data: Mapping[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": dict(data),
    }


def variable(name: str, held: str, config: str = "") -> dict[str, object]:
    """Return a variable with the literal `held`, or, with a ConfigMap, one that its key `held` fills."""
    if not config:
        return {"name": name, "value": held}
    return {"name": name, "valueFrom": {"configMapKeyRef": {"name": config, "key": held}}}


def daemonset(
    name: str, namespace: str, init: Mapping[str, object], *running: Mapping[str, object]
) -> dict[str, object]:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"initContainers": [init], "containers": list(running)}}},
    }


def canal(veth: str = "1450", mtu: str | None = "__CNI_MTU__", backend: str = "vxlan", **more: str) -> str:
    """Canal of today, as upstream's canal.yaml makes it."""
    data = {
        "canal_iface": "",
        "masquerade": "true",
        "veth_mtu": veth,
        "cni_network_config": conflist(mtu),
        "net-conf.json": json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": backend}}),
        **more,
    }
    filled = variable("CNI_MTU", "veth_mtu", "canal-config")
    init = {"name": "install-cni", "image": "calico/cni:v3.28.1", "env": [filled]}
    agent = {"name": "calico-node", "image": "calico/node:v3.28.1"}
    named = variable("FLANNELD_IFACE", "canal_iface", "canal-config")
    flanneld = {"name": "kube-flannel", "image": "flannel:v0.24.4", "env": [named]}
    return yaml.safe_dump_all(
        [config_map("canal-config", "kube-system", data), daemonset("canal", "kube-system", init, agent, flanneld)]
    )


def calico(
    veth: str | None = "0",
    mtu: str | None = "__CNI_MTU__",
    backend: str = "bird",
    env: tuple[dict[str, object], ...] = (),
    **more: str,
) -> str:
    """Calico by manifest; `veth` also sizes the tunnels, as upstream's calico.yaml has it, unless it is None."""
    data = {"calico_backend": backend, "cni_network_config": conflist(mtu), **more}
    fed = []
    if veth is not None:
        data["veth_mtu"] = veth
        fed = [variable(name, "veth_mtu", "calico-config") for name in KEYS]
    install = [variable("CNI_MTU", "veth_mtu", "calico-config")] if mtu == "__CNI_MTU__" else []
    init = {"name": "install-cni", "image": "calico/cni:v3.26.1", "env": install}
    agent = {"name": "calico-node", "image": "calico/node:v3.26.1", "env": [*fed, *env]}
    return yaml.safe_dump_all(
        [config_map("calico-config", "kube-system", data), daemonset("calico-node", "kube-system", init, agent)]
    )


def pool(ipip: str = "Never", vxlan: str = "Never") -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "IPPool",
            "metadata": {"name": "default-ipv4-ippool"},
            "spec": {"cidr": "10.244.0.0/16", "ipipMode": ipip, "vxlanMode": vxlan},
        }
    )


def flannel(net_conf: str, *args: str) -> str:
    data = {
        "cni-conf.json": json.dumps({"plugins": [{"type": "flannel", "delegate": {}}, PORTMAP]}),
        "net-conf.json": net_conf,
    }
    running = {"name": "kube-flannel", "image": "flannel:v0.28.9", "args": ["--ip-masq", "--kube-subnet-mgr", *args]}
    init = {"name": "install-cni", "image": "flannel:v0.28.9"}
    return yaml.safe_dump_all(
        [
            config_map("kube-flannel-cfg", "kube-flannel", data),
            daemonset("kube-flannel-ds", "kube-flannel", init, running),
        ]
    )


def chart(values: str, name: str = "rke2-canal") -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "helm.cattle.io/v1",
            "kind": "HelmChartConfig",
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"valuesContent": values},
        }
    )


def k3s(*names: str) -> str:
    return yaml.safe_dump_all(
        [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "annotations": {"flannel.alpha.coreos.com/backend-type": "vxlan"}},
                "status": {"nodeInfo": {"kubeletVersion": "v1.27.7+k3s2"}},
            }
            for name in names
        ]
    )


def installation(**spec: object) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "operator.tigera.io/v1",
            "kind": "Installation",
            "metadata": {"name": "default"},
            "spec": dict(spec),
        }
    )


def unread(snapshot: Snapshot) -> list[str]:
    return [entry.what for entry in snapshot.unread]
