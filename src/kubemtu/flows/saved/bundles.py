"""What support bundles are laid out like, as far as it saves reading: by their names alone most of them is of no use.

Sources: openshift/must-gather, collection-scripts, and openshift/oc, pkg/cli/admin/inspect;
openshift/insights-operator, docs/insights-archive-sample; cilium/cilium: cilium-cli/sysdump/constants.go, and
cilium/cilium: bugtool/cmd/root.go; rancherlabs/support-tools, collection/rancher/v2.x/logs-collector;
kubernetes/kubectl, pkg/cmd/clusterinfo/clusterinfo_dump.go; sosreport/sos, sos/report/plugins (host, networking).
"""

import functools
import re
from pathlib import PurePosixPath
from typing import Final

from kubemtu.cni import registry
from kubemtu.core import objects
from kubemtu.flows import wants
from kubemtu.flows.saved.facts import Document, Facts, Text

_LOG: Final = re.compile(
    r"\.log(?:\.|$)|^logs?\.txt$|^(?:current|previous)(?:\.|$)|\.log$|^hubble-(?:flows|observe)-|\.audit_log_listing$",
    re.IGNORECASE,
)
_VAR_LOG: Final = re.compile(r"(?:^|/)var/log/")  # sosreport's, and whoever copied a node's tree
_LOG_FOLDERS: Final = frozenset(
    {
        *("logs", "podlogs", "pod_logs", "containerlogs", "journald", "systemlogs"),  # Rancher's
        *("audit_logs", "host_service_logs", "network_logs", "rotated-pod-logs"),  # must-gather's
    }
)
_SECRET: Final = re.compile(r"^(?:secrets?(?:\.|$)|.*-secrets?-\d{8}-\d{6}\.)|kubeconfig", re.IGNORECASE)
_OTHER: Final = frozenset(
    {
        *(".go", ".py", ".pyc", ".js", ".ts", ".sh", ".tmpl", ".tpl", ".lock", ".sum", ".html", ".css"),
        *(".so", ".o", ".a", ".bin", ".exe", ".whl", ".jar", ".rpm", ".deb", ".iso", ".img", ".qcow2"),
        *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".pdf", ".pcap", ".pb", ".pprof", ".db"),
        *(".pem", ".crt", ".key", ".p12", ".jks"),
    }
)
# Plural names of kinds, as files are called that hold nothing else. The group stands in the folder above.
_INSPECTED: Final = (
    re.compile(r"(?:^|/)namespaces/[^/]+/[^/]+/(?P<plural>[a-z0-9]+)\.ya?ml$"),
    re.compile(r"(?:^|/)namespaces/[^/]+/[^/]+/(?P<plural>[a-z0-9]+)/[^/]+\.ya?ml$"),
    re.compile(r"(?:^|/)cluster-scoped-resources/[^/]+/(?P<plural>[a-z0-9]+)(?:/[^/]+)?\.ya?ml$"),
    re.compile(r"(?:^|/)(?:k8s-)?(?P<plural>[a-z]+s)-\d{8}-\d{6}\.ya?ml$"),  # a sysdump's
)
_POD_FOLDER: Final = re.compile(r"(?:^|/)namespaces/[^/]+/pods/[^/]+/")
# Kinds that lists hold by the thousand, of which no rule reads any; what is wanted after all is taken out below.
_MANY: Final = frozenset(
    {
        *("Event", "Endpoints", "EndpointSlice", "Service", "Secret", "Lease", "ReplicaSet", "ReplicationController"),
        *("Deployment", "StatefulSet", "Job", "CronJob", "ServiceAccount", "Role", "RoleBinding", "ClusterRole"),
        *("ClusterRoleBinding", "PersistentVolume", "PersistentVolumeClaim", "NetworkPolicy", "Ingress", "APIService"),
        *("ControllerRevision", "PodDisruptionBudget", "HorizontalPodAutoscaler", "CertificateSigningRequest"),
        *("IPAMBlock", "IPAMHandle", "BlockAffinity", "WorkloadEndpoint", "CustomResourceDefinition"),
    }
)
# What insights-operator writes without apiVersion and kind (docs/insights-archive-sample/config); the operator's own
# Network has its name beside the kind instead of in metadata.
_INSIGHTS: Final = (
    (re.compile(r"(?:^|/)config/network\.json$"), "config.openshift.io/v1", "Network"),
    (re.compile(r"(?:^|/)operator\.openshift\.io/network/[^/]+\.json$"), "operator.openshift.io/v1", "Network"),
    (re.compile(r"(?:^|/)config/infrastructure\.json$"), "config.openshift.io/v1", "Infrastructure"),
    (re.compile(r"(?:^|/)config/node/[^/]+\.json$"), "v1", "Node"),
    (re.compile(r"(?:^|/)config/pod/[^/]+/[^/]+\.json$"), "v1", "Pod"),
)
_HOST: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9.-]{0,252})\s*")


def passed_over(name: str) -> str:
    """Say why a file of that name is not opened, to be put after its name; empty: it is."""
    path = PurePosixPath(name)
    if any(part.startswith(".") for part in path.parts):
        return "is hidden"
    if any(_SECRET.search(part) for part in path.parts):
        return "may hold credentials, and nothing of them is needed"
    if _LOG.search(path.name) or not _LOG_FOLDERS.isdisjoint(path.parts[:-1]) or _VAR_LOG.search(name):
        return "is a log"
    if path.suffix.lower() in _OTHER:
        return f"ends in {path.suffix.lower()}, as nothing does that is of use here"
    if _POD_FOLDER.search(name):
        return ""
    for form in _INSPECTED:
        found = form.search(name)
        if found is not None and found["plural"] not in plurals():
            return f"holds {found['plural']}, of which no rule reads any"
    return ""


@functools.cache
def plurals() -> frozenset[str]:
    """Return how kinds are called that are read of a cluster, as in the names of files that hold nothing else."""
    return frozenset(want.plural for want in (*wants.of_cluster(), *registry.beside_wants()))


@functools.cache
def unneeded() -> frozenset[str]:
    """Return the kinds that are not kept of a list."""
    return _MANY - {want.kind for want in (*wants.of_cluster(), *registry.beside_wants())}


def named(document: Document) -> Document:
    """Return a document that has no kind, or no metadata, with what the layout of its archive says of it."""
    value = document.value
    if not isinstance(value, dict) or isinstance(value.get("metadata"), dict) is isinstance(value.get("kind"), str):
        return document
    for form, version, kind in _INSIGHTS:
        if form.search(document.of.name):
            made: dict[str, object] = {"apiVersion": version, "kind": kind, **value}
            if "metadata" not in made:
                made["metadata"] = {"name": value["name"]} if isinstance(value.get("name"), str) else {}
            return Document(of=document.of, value=made, text=document.text, line=document.line)
    return document


def take_host(text: Text, facts: Facts) -> bool:
    """Take the name of the host on which all that lies beside it was collected."""
    if text.path.name not in {"hostname", "hostnamefqdn"}:
        return False
    found = _HOST.fullmatch(text.text[:300])
    if found is None:
        facts.leave(text.name, "holds no name of a host")
        return True
    parts = text.path.parts[:-1]
    at = next((place for place, part in enumerate(parts) if part in {"systeminfo", "sos_commands"}), len(parts))
    facts.hosts.setdefault("/".join(parts[:at]), found[1])
    return True


def pod_nodes(held: list[objects.Object]) -> dict[str, str]:
    """Return on which nodes pods run that share their node's network: what was printed in one is that node's."""
    found: dict[str, str] = {}
    for each in held:
        if each.kind == "Pod" and each.get("spec", "hostNetwork") is True:
            node = each.get("spec", "nodeName")
            if isinstance(node, str) and isinstance(name := each.get("metadata", "name"), str):
                found[name] = node
    return found
