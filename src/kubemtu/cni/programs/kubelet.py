"""The kubelet's own MTU setting, which no CNI plugin ever sees (kubernetes#35625)."""

from kubemtu.core import codes
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object, config_map
from kubemtu.core.snapshot import Snapshot

FLAG = "network-plugin-mtu"
FIELD = "networkPluginMTU"
WANT = config_map("kube-system", "kubelet-config")
SET_EMPTY = frozenset({"", "0", "null", "''", '""'})


def findings(snapshot: Snapshot) -> tuple[Finding, ...]:
    """Return MTU111 for each place in the API where the kubelet is given an MTU.

    Looked at: annotations of nodes, where RKE keeps the kubelet's arguments, KubeletConfiguration objects, the
    ConfigMap kubelet-config, and the commands of static pods.
    """
    out = [
        _finding(f"{node}, annotation {key}")
        for node in snapshot.each("Node")
        for key, text in node.annotations.items()
        if FLAG in text
    ]
    out += [_finding(f"{found}, {FIELD}") for found in snapshot.each("KubeletConfiguration") if found.get(FIELD)]
    for found in snapshot.each("ConfigMap", "kube-system"):
        text = found.get("data", "kubelet")
        if found.get("metadata", "name") and isinstance(text, str) and _sets(text):
            out.append(_finding(f"{found}, data.kubelet"))
    out += [_finding(f"{pod}, {FLAG}") for pod in snapshot.each("Pod", "kube-system") if _passes(pod)]
    return tuple(out)


def _sets(text: str) -> bool:
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return any(line.startswith(f"{FIELD}:") and line.partition(":")[2].strip() not in SET_EMPTY for line in lines)


def _passes(pod: Object) -> bool:
    held = pod.get("spec", "containers")
    containers = [Object(body=body) for body in held if isinstance(body, dict)] if isinstance(held, list) else []
    return any(FLAG in str(each.get(key)) for each in containers for key in ("command", "args") if each.get(key))


def _finding(place: str) -> Finding:
    return codes.finding(
        codes.MTU111,
        place,
        "The kubelet is given a network-plugin-mtu, which reaches no pod: only kubenet ever read it.",
        f"Remove {FLAG} there; the MTU belongs into the CNI's configuration.",
    )
