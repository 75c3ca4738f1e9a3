"""Which addresses Services have, as far as somebody says it: no node does, for only kube-proxy and its like know them.

Said by ServiceCIDR objects (Kubernetes 1.33; staging/src/k8s.io/api/networking/v1/types.go), by the flag of the API
server and the controller manager where they are pods, by kubeadm's own record of it, and by OpenShift's Network.
"""

import re
from collections.abc import Iterable, Iterator

from kubemtu.core import networks
from kubemtu.core.objects import Object, Want, config_map
from kubemtu.core.text import json_values

FLAG = "--service-cluster-ip-range"  # kubernetes/kubernetes: cmd/kube-apiserver/app/options/options.go
SERVERS = ("kube-apiserver", "kube-controller-manager")
CIDRS = Want(
    kind="ServiceCIDR", plural="servicecidrs", api_versions=("networking.k8s.io/v1", "networking.k8s.io/v1beta1")
)
KUBEADM = config_map("kube-system", "kubeadm-config")
WANTS = (
    CIDRS,
    KUBEADM,
    *(
        Want(
            kind="Pod",
            plural="pods",
            api_versions=("v1",),
            namespace="kube-system",
            label_selector=f"component={name}",  # cmd/kubeadm/app/util/staticpod/utils.go, ComponentPod
        )
        for name in SERVERS
    ),
)
# kubernetes/kubernetes: cmd/kubeadm/app/apis/kubeadm/v1beta4/types.go, Networking.ServiceSubnet
_SUBNET = re.compile(r"^\s*serviceSubnet:\s*[\"']?([0-9a-fA-F.:/, ]+)", re.MULTILINE)


def of(objects: Iterable[Object]) -> tuple[str, ...]:
    """Return the networks that Services have their addresses of, each once; empty where nobody says it."""
    found: dict[str, None] = {}
    for one in objects:
        for text in _said(one):
            if network := networks.canonical(text.strip()):  # what is no network is no way to anywhere
                found[network] = None
    return tuple(found)


def _said(one: Object) -> Iterator[str]:
    match one.kind:
        case "ServiceCIDR":
            yield from json_values.texts(one.get("spec", "cidrs"))
        case "Network":
            yield from json_values.texts(one.get("spec", "serviceNetwork"))  # openshift/api: config/v1/types_network.go
        case "ConfigMap" if one.name == KUBEADM.name:
            held = one.get("data", "ClusterConfiguration")
            for listed in _SUBNET.findall(held) if isinstance(held, str) else ():
                yield from listed.split(",")
        case "Pod" if one.namespace == KUBEADM.namespace and one.name.startswith(SERVERS):
            yield from _flags(one)


def _flags(pod: Object) -> Iterator[str]:
    containers = pod.get("spec", "containers")
    for container in containers if isinstance(containers, list) else ():
        words = [
            word
            for part in ("command", "args")
            if isinstance(container, dict)
            for word in json_values.texts(container.get(part))
        ]
        for place, word in enumerate(words):
            name, equals, value = word.partition("=")
            if name == FLAG:
                listed = value if equals else next(iter(words[place + 1 : place + 2]), "")
                yield from listed.split(",")
