"""Files that a cluster is made from and that are no objects of the API: by what each is told, and what is kept of it.

Such files hold certificates, keys and tokens beside the few keys that are read here (siderolabs/talos:
pkg/machinery/config/types/v1alpha1/v1alpha1_types.go; k3s-io/k3s: pkg/cli/cmds/server.go). So what is kept is named
key by key, and of texts only those that are words: everything else is left behind where it was read.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from kubemtu.cni.knowledge import FileForm
from kubemtu.core.objects import FILE

Shape: TypeAlias = "bool | dict[str, Shape] | list[Shape]"
"""What is kept: True a single value, a mapping by its keys, a list by what each of its items is."""

MACHINE, KUBESPRAY, RKE, SERVER = "MachineConfig", "kubespray", "RKE", "server"
TEMPLATE: Final = "{{ }}"
"""What stands for an expression of Jinja, of which nobody knows here what it becomes."""
UNREADABLE: Final = "(text)"
ITEMS_MOST = 200  # of one list, and of one file's variables
TALOS_VERSION = "v1alpha1"
PLUGINS = frozenset({"canal", "calico", "flannel", "weave", "aci", "none"})  # rancher/rke: cluster/network.go
SERVER_NETWORKS = frozenset({"canal", "calico", "cilium", "flannel", "none", "multus"})  # rancher/rke2: pkg/cli/cmds
SERVER_KEYS = ("flannel-backend", "flannel-conf", "flannel-iface", "flannel-cni-conf", "cluster-cidr", "cni")
_WORD: Final = re.compile(r"[\w .,:/+*-]{0,100}", re.ASCII)
_VERSION: Final = re.compile(r"v\d{1,2}\.\d{1,3}\b[\w.-]{0,30}", re.ASCII)
_EXPRESSION: Final = re.compile(r"\{\{|\{%")

_LINK: Final[dict[str, Shape]] = {
    **dict.fromkeys(("interface", "mtu", "dhcp", "ignore", "dummy"), True),
    **{each: {"interfaces": [True]} for each in ("bond", "bridge")},
    "wireguard": {"listenPort": True},
    "vlans": [dict.fromkeys(("vlanId", "mtu"), True)],
}
MACHINE_SHAPE: Final[dict[str, Shape]] = {
    "machine": {
        "type": True,
        "network": {
            "interfaces": [_LINK],
            "kubespan": dict.fromkeys(("enabled", "mtu", "advertiseKubernetesNetworks"), True),
        },
    },
    "cluster": {
        "network": {
            "podSubnets": [True],
            "cni": {"name": True, "flannel": dict.fromkeys(("backendMTU", "mtu"), True)},
        }
    },
}
# siderolabs/talos: pkg/machinery/config/types/network/{link,bond,vlan,bridge,kubespan,dhcp4}.go, types/k8s/flannel.go.
TALOS_SHAPES: Final[dict[str, dict[str, Shape]]] = {
    "KubeFlannelCNIConfig": {
        **dict.fromkeys(("backendType", "backendMTU"), True),
        "backendExtraConfig": dict.fromkeys(("MTU", "Type"), True),
    },
    "KubeSpanConfig": dict.fromkeys(("enabled", "mtu", "advertiseKubernetesNetworks"), True),
    **dict.fromkeys(("LinkConfig", "BondConfig", "VLANConfig"), dict.fromkeys(("name", "mtu"), True)),
    "DHCPv4Config": {"name": True},
}
_KUBESPRAY_READ: Final = (
    *("kube_network_plugin", "calico_mtu", "calico_veth_mtu", "calico_ipip_mode", "calico_vxlan_mode"),
    *("calico_network_backend", "calico_wireguard_enabled", "cilium_mtu", "cilium_tunnel_mode"),
    *("cilium_encryption_enabled", "kube_ovn_mtu", "kube_ovn_tunnel_type", "kube_ovn_network_type"),
    *("flannel_backend_type", "weave_mtu", "weave_password", "ipv6_stack", "enable_dual_stack_networks"),
)
_NO_SIGNS: Final = frozenset({"weave_password", "ipv6_stack", "enable_dual_stack_networks"})  # alone they tell nothing
# What stands in inventory/sample/group_vars/k8s_cluster/k8s-net-{calico,cilium}.yml where nobody has said an MTU yet.
SIGNS: Final = ("calico_cni_name", "calico_pool_blocksize", "cilium_l2announcements")
_KUBESPRAY_MTU: Final = re.compile(r"(?:calico|canal|flannel|cilium|kube_ovn|kube_router|weave)_(?:\w+_)?mtu", re.ASCII)


def _machine(value: Mapping[str, object]) -> dict[str, object] | None:
    if value.get("version") != TALOS_VERSION or "kind" in value:
        return None
    if not isinstance(value.get("machine"), dict) and not isinstance(value.get("cluster"), dict):
        return None
    image = _get(value, "machine", "install", "image")
    found = _VERSION.search(image.rpartition(":")[2]) if isinstance(image, str) else None
    version = {"talosVersion": found[0]} if found is not None else {}
    return {"apiVersion": FILE, "kind": MACHINE, **version, **_mapping(value, MACHINE_SHAPE)}


def _talos(value: Mapping[str, object]) -> dict[str, object] | None:
    kind = value.get("kind")
    if value.get("apiVersion") != TALOS_VERSION or not isinstance(kind, str):
        return None
    shape = TALOS_SHAPES.get(kind)
    return {} if shape is None else {"apiVersion": f"{FILE}/{TALOS_VERSION}", "kind": kind, **_mapping(value, shape)}


def _resource(value: Mapping[str, object]) -> dict[str, object] | None:
    """Take what `talosctl get machineconfig -o yaml` prints (siderolabs/talos: pkg/machinery/resources/config)."""
    return {} if _get(value, "metadata", "type") == "MachineConfigs.config.talos.dev" else None


def _printed(value: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    text = value.get("spec")
    if isinstance(text, str):
        yield "spec", text


def _inline(value: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield inlineManifests, in which people hand a pod network to Talos."""
    listed = _get(value, "cluster", "inlineManifests")
    for number, each in enumerate(listed[:ITEMS_MOST] if isinstance(listed, list) else ()):
        text = each.get("contents") if isinstance(each, dict) else None
        if isinstance(text, str):
            yield f"cluster.inlineManifests[{number}]", text


def _manifest(value: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    text = value.get("manifest")
    if value.get("kind") == "KubeInlineManifestConfig" and isinstance(text, str):
        yield "manifest", text


def _kubespray(value: Mapping[str, object]) -> dict[str, object] | None:
    if "kind" in value or "apiVersion" in value:
        return None
    others = itertools.islice(filter(_speaks_of_mtu, value), ITEMS_MOST)
    kept = _mapping(value, dict.fromkeys((*_KUBESPRAY_READ, *SIGNS, *others), True))
    if not kept.keys() - _NO_SIGNS:
        return None
    if "weave_password" in kept:  # that there is one makes a difference, what it is makes none
        kept["weave_password"] = bool(value["weave_password"])
    return {"apiVersion": FILE, "kind": KUBESPRAY, **kept}


def _speaks_of_mtu(key: object) -> bool:
    return isinstance(key, str) and len(key) < 64 and _KUBESPRAY_MTU.fullmatch(key) is not None


def _rke(value: Mapping[str, object]) -> dict[str, object] | None:
    plugin = _get(value, "network", "plugin")
    if "kind" in value or not isinstance(plugin, str) or plugin not in PLUGINS:
        return None
    if not {"nodes", "services", "ssh_key_path", "kubernetes_version"} & value.keys():
        return None
    options = dict.fromkeys(("flannel_backend_type", "canal_flannel_backend_type"), True)
    shape: dict[str, Shape] = {"network": {"plugin": True, "mtu": True, "options": {**options}}}
    return {"apiVersion": FILE, "kind": RKE, **_mapping(value, shape)}


def _server(value: Mapping[str, object]) -> dict[str, object] | None:
    if "kind" in value or "apiVersion" in value:
        return None
    named = value.get("cni")
    listed = named if isinstance(named, list) else [named]
    is_ours = bool(listed) and all(isinstance(each, str) and each in SERVER_NETWORKS for each in listed)
    if not is_ours and not any(key in value for key in SERVER_KEYS[:4]):
        return None
    kept = _mapping(value, dict.fromkeys(SERVER_KEYS[:5], True))
    return {"apiVersion": FILE, "kind": SERVER, **kept} | ({"cni": list(dict.fromkeys(listed))} if is_ours else {})


def _mapping(value: Mapping[str, object], shape: Mapping[str, Shape]) -> dict[str, object]:
    return {key: _kept(value[key], inner) for key, inner in shape.items() if key in value}


def _kept(value: object, shape: Shape) -> object:
    if isinstance(shape, dict):
        return _mapping(value, shape) if isinstance(value, dict) else {}
    if isinstance(shape, list):
        return [_kept(each, shape[0]) for each in value[:ITEMS_MOST]] if isinstance(value, list) else []
    if isinstance(value, str):
        return TEMPLATE if _EXPRESSION.search(value) else value if _WORD.fullmatch(value) else UNREADABLE
    if isinstance(value, int) and abs(value) > 2**63:
        return UNREADABLE
    return value if value is None or isinstance(value, bool | int | float) else UNREADABLE


def _get(value: object, *path: str) -> object:
    here = value
    for key in path:
        here = here.get(key) if isinstance(here, dict) else None
    return here


FORMS: Final = (
    FileForm("a machine configuration of Talos", _machine, _inline),
    FileForm("a document of a Talos configuration", _talos, _manifest),
    FileForm("a machine configuration that talosctl printed", _resource, _printed),
    FileForm("variables of kubespray", _kubespray),
    FileForm("RKE's cluster.yml", _rke),
    FileForm("a config.yaml of k3s or RKE2", _server),
)
