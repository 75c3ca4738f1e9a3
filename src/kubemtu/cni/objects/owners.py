"""Who writes an object back: whoever owns the source reverts what is changed behind its back."""

import re
from typing import Literal

import yaml

from kubemtu.cni.objects import reading
from kubemtu.core import codes
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot

RKE = "RKE (cluster.yml: network.mtu)"
RKE_VALUES = ValuesKey(  # rancher/rke: types/rke_types.go, NetworkConfig; cluster/network.go
    form="cluster.yml",
    path=("network", "mtu"),
    counts="pod",
    file="cluster.yml of RKE; in Rancher, below rancherKubernetesEngineConfig",
    owner="RKE",
    signs=("nodes", "kubernetes_version", "ssh_key_path"),
)
RKE_STORE = "rke-network-plugin"  # rancher/rke: cluster/addons.go, the addon as it was rendered last
DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
ARGO = "argocd.argoproj.io/tracking-id"
ARGO_LABEL = "argocd.argoproj.io/instance"
FLUX = {"kustomize.toolkit.fluxcd.io/name": "Kustomization", "helm.toolkit.fluxcd.io/name": "HelmRelease"}
HELM_RELEASE = "meta.helm.sh/release-name"
WRANGLER = "objectset.rio.cattle.io/owner-gvk"
WRANGLER_ID = "objectset.rio.cattle.io/id"
WRANGLER_NAME = "objectset.rio.cattle.io/owner-name"
ADDON = "addonmanager.kubernetes.io/mode"
KOPS = "addon.kops.k8s.io/name"

MANAGERS = {  # who marks objects by the name alone under which it writes: each provider's documentation
    "Terraform": "Terraform (a kubernetes_manifest of its provider hashicorp/kubernetes)",
    "kapp-controller": "kapp-controller",
}


def by_chart(chart: str, path: tuple[str, ...], counts: Literal["pod", "base"], variant: str = "") -> ValuesKey:
    """Return the key of the HelmChartConfig of a chart that RKE2's server deploys (rancher/rke2-charts: packages)."""
    return ValuesKey(
        form="helmchartconfig",
        path=path,
        counts=counts,
        file=f"HelmChartConfig kube-system/{chart}",
        variant=variant,
        owner=f"release {chart}",
        chart=chart,
    )


def without_values(release: str) -> str:
    """Name Helm behind RKE2's server as the owner, where no HelmChartConfig holds values of the release yet."""
    return f"Helm (release {release}, through a HelmChartConfig that does not exist yet)"


def of(resource: Object | None, out: list[Finding]) -> str:
    """Name who writes an object back, judged by its labels and annotations; empty when nobody does."""
    if resource is None:
        return ""
    labels = _texts(resource, "labels", out)
    notes = _texts(resource, "annotations", out)
    names = []
    if tracking := notes.get(ARGO) or labels.get(ARGO_LABEL):
        names.append(f"Argo CD (application {tracking.partition(':')[0]})")
    release = notes.get(HELM_RELEASE, "")
    names += [f"Flux ({kind} {labels[label]})" for label, kind in FLUX.items() if label in labels]
    if release and notes.get(WRANGLER_ID) and WRANGLER not in notes:  # rancher/fleet#2156, comment of the maintainer
        names.append(f"Rancher Fleet (release {release})")
    elif release or labels.get("app.kubernetes.io/managed-by") == "Helm":
        names.append(f"Helm (release {release or 'unknown'})")
    names += [MANAGERS[each] for each in _managers(resource) if each in MANAGERS]
    if notes.get(WRANGLER, "").endswith("Addon"):
        name = notes.get(WRANGLER_NAME, "")
        names.append(f"the server manifest {name or resource.name} (a file in /var/lib/rancher/*/server/manifests)")
    if KOPS in labels:
        names.append(f"kops (addon {labels[KOPS]})")
    if labels.get(ADDON) == "Reconcile":
        names.append("the addon manager (mode Reconcile)")
    return ", ".join(names)


def rke_rendered(snapshot: Snapshot, kind: str, name: str, out: list[Finding]) -> tuple[bool, Object | None]:
    """Return whether RKE deploys the network, and the object that it rendered last, None when it cannot be read."""
    store = snapshot.find("ConfigMap", RKE_STORE, "kube-system")
    if store is None:
        return False, None
    text = reading.value(store, out, "data", RKE_STORE)
    if text is None:
        return True, None
    for document in DOCUMENT.split(text):
        # The addon holds half a megabyte of CRDs, which take seconds to parse and say nothing here.
        if name not in document or not re.search(rf"^kind:\s*{kind}\s*$", document, re.MULTILINE):
            continue
        try:
            body: object = yaml.safe_load(document)
        except (yaml.YAMLError, RecursionError, ValueError) as why:
            out.append(_unreadable(store, " ".join(str(why).split())))
            continue
        found = Object.of(body, f"rendered in {store}") if isinstance(body, dict) else None
        if found is not None and found.get("metadata", "name") == name:
            return True, found
    return True, None


def _managers(resource: Object) -> tuple[str, ...]:
    """Return who has written to an object, as the API server notes it, each once."""
    listed = resource.get("metadata", "managedFields")
    noted = [each.get("manager") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return tuple(dict.fromkeys(name for name in noted if isinstance(name, str)))


def _unreadable(store: Object, reason: str) -> Finding:
    return codes.finding(
        codes.MTU117,
        f"{store}, data.{RKE_STORE}",
        f"What RKE rendered is no YAML ({reason:.120}), so a difference to the live objects cannot be seen.",
        "Run `rke up`, which renders it anew.",
    )


def drift(live: Object, rendered: Object, keys: tuple[str, ...]) -> Finding | None:
    """Return MTU113 when keys of a live ConfigMap differ from what RKE rendered last; None when they are the same."""
    changed = [key for key in keys if live.get("data", key) != rendered.get("data", key)]
    if not changed:
        return None
    shown = ", ".join(
        f"{key} is {_short(live.get('data', key))} and was rendered as {_short(rendered.get('data', key))}"
        for key in changed
    )
    return codes.finding(
        codes.MTU113,
        f"{live}, {', '.join(f'data.{key}' for key in changed)}",
        f"The live object has drifted from what RKE rendered: {shown}. The next Kubernetes upgrade takes it back.",
        "Set network.mtu in cluster.yml (in Rancher: rancherKubernetesEngineConfig.network.mtu) to the same MTU. RKE"
        " before v1.1.0 does not know it: there, run `kubemtu apply` again after each upgrade.",
    )


def _short(held: object) -> str:
    if held is None:
        return "absent"
    text = str(held)
    return f'"{text}"' if len(text) <= 12 and "\n" not in text else f"a text of {len(text)} characters"


def _texts(resource: Object, which: str, out: list[Finding]) -> dict[str, str]:
    nothing: dict[str, object] = {}
    held = reading.attempt(lambda: resource.mapping("metadata", which), nothing, out, f"{resource}, metadata.{which}")
    return {key: text for key, text in held.items() if isinstance(text, str)}
