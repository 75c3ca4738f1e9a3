"""Who keeps the CNI's configuration in a cluster, and writes it back as it was rendered: by what it is known, and how.

Each marks what it keeps with its own labels and annotations and writes under its own name, which the server notes
(metadata.managedFields). Argo CD and Flux look again by themselves; Helm, RKE and the k3s server write when somebody
upgrades or restarts them, which `Lab.reconcile` stands for, and RKE2's charts when their values change. Sources:
helm `pkg/action/validate.go`; argoproj/argo-cd `docs/user-guide/resource_tracking.md`; fluxcd/pkg `ssa/manager.go`;
rancher/wrangler `pkg/apply/desiredset.go`; rancher/rke `cluster/addons.go`, which has `kubectl apply` run;
k3s-io/helm-controller `pkg/controllers/chart`.
"""

import asyncio
import contextlib
import functools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import yaml

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object, Ref
from kubemtu.kube.api import Api
from kubemtu.kube.errors import AlreadyThere
from kubemtu_lab import calico_objects, canal_objects, informer, scene, waits

Body = dict[str, object]
RECONCILE = "reconcile"
"""The file of the lab's folder by which somebody asks the owner to write; it goes when that is done."""
RKE_STORE = "rke-network-plugin"
CHART_CONFIG = "HelmChartConfig"
CHART = Ref(
    api_version="helm.cattle.io/v1",
    kind=CHART_CONFIG,
    plural="helmchartconfigs",
    name="rke2-canal",
    namespace="kube-system",
)
INSTALLATION = Ref(api_version="operator.tigera.io/v1", kind="Installation", plural="installations", name="default")
_POLL_SECONDS = 0.1
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """By what an owner is known. `{namespace}` and `{name}` stand for the object's own."""

    manager: str
    applies: bool = False
    """Whether it applies server-side."""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


_HELM = {"app.kubernetes.io/managed-by": "Helm"}
PROFILES: Mapping[scene.OwnerKind, Profile] = {
    "helm": Profile(
        manager="helm",
        labels=_HELM,
        annotations={"meta.helm.sh/release-name": "network", "meta.helm.sh/release-namespace": "{namespace}"},
    ),
    "helm-chart-config": Profile(
        manager="helm",
        labels=_HELM,
        annotations={"meta.helm.sh/release-name": "rke2-canal", "meta.helm.sh/release-namespace": "{namespace}"},
    ),
    "argo-cd": Profile(
        manager="argocd-controller",
        annotations={"argocd.argoproj.io/tracking-id": "network:/ConfigMap:{namespace}/{name}"},
    ),
    "flux": Profile(
        manager="kustomize-controller",
        applies=True,
        labels={
            "kustomize.toolkit.fluxcd.io/name": "network",
            "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        },
    ),
    "addon": Profile(
        manager="deploy@node-1",
        labels={"objectset.rio.cattle.io/hash": "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"},
        annotations={
            "objectset.rio.cattle.io/id": "",
            "objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
            "objectset.rio.cattle.io/owner-name": "network",
            "objectset.rio.cattle.io/owner-namespace": "kube-system",
        },
    ),
    "rke": Profile(manager="kubectl-client-side-apply"),
    "operator": Profile(manager="operator"),
}


def is_kept(owner: scene.Owner | None, body: Mapping[str, object]) -> bool:
    """Tell whether an owner keeps an object: the CNI's ConfigMap, and what it was rendered from, or what it renders."""
    if owner is not None and owner.kind == "operator":
        return _mapping(body["metadata"]).get("namespace") == calico_objects.NAMESPACE
    return owner is not None and body["kind"] in ("ConfigMap", CHART_CONFIG)


def marked(owner: scene.Owner, body: Body) -> Body:
    """Return an object as its owner made it."""
    metadata = _mapping(body["metadata"])
    if body["kind"] == CHART_CONFIG or metadata["name"] == RKE_STORE:
        return body
    profile = PROFILES[owner.kind]
    words = {key: str(metadata.get(key, "")) for key in ("namespace", "name")}
    labels = {key: text.format(**words) for key, text in profile.labels.items()}
    notes = {key: text.format(**words) for key, text in profile.annotations.items()}
    if owner.kind == "rke":
        notes[_LAST_APPLIED] = json.dumps(body, separators=(",", ":")) + "\n"
    fresh = metadata | ({"labels": labels} if labels else {}) | ({"annotations": notes} if notes else {})
    return body | {"metadata": fresh}


def further(owner: scene.Owner, rendered: Sequence[Body]) -> Iterator[Body]:
    """Yield what an owner keeps besides: RKE what it rendered last."""
    if owner.kind == "rke":
        texts = "---\n".join(yaml.safe_dump(body, sort_keys=False) for body in rendered)
        metadata = {"name": RKE_STORE, "namespace": "kube-system"}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {RKE_STORE: texts}}


class Keeper(msgspec.Struct, frozen=True):
    """One owner at work: the objects that it keeps, and a client under its name."""

    owner: scene.Owner
    api: Api
    kept: tuple[Body, ...]

    async def make(self) -> None:
        """Create what is kept. Raises what kube.errors draws."""
        for body in self.kept:
            if PROFILES[self.owner.kind].applies:
                await waits.answered(functools.partial(self.api.apply, body, PROFILES[self.owner.kind].manager))
            else:
                with contextlib.suppress(AlreadyThere):  # made before an answer was lost
                    await waits.created(self.api, body)

    async def run(self, folder: int) -> None:
        """Write back what others change, in the owner's time, or when it is told in the lab's folder."""
        since = None
        rendered = await waits.answered(self._values)  # the values by which all was written last
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            told = _is_told(folder)
            with contextlib.suppress(KubemtuError):  # the API is away; the next look tells
                values = await self._values()
                told = told or values != rendered or not await self._is_watched_true()
                differs = self.owner.seconds is not None and not await self._is_true()
                since = (since or time.monotonic()) if differs else None
                late = since is not None and time.monotonic() - since >= (self.owner.seconds or 0)
                if told or late:
                    for body in await self._wanted():
                        await self._write(body)
                    rendered = values  # and not before: what was refused or lost is written at the next look
                    _answer(folder)

    async def _wanted(self) -> tuple[Body, ...]:
        """Return what the owner would have: for a chart, by the values that its HelmChartConfig holds now."""
        if self.owner.kind != "helm-chart-config":
            return self.kept
        calico = _mapping(_mapping(yaml.safe_load(await self._values())).get("calico"))
        data = {"veth_mtu": str(calico.get("vethuMTU", canal_objects.RKE_DEFAULT_MTU))}
        rendered = (body for body in self.kept if body["kind"] != CHART_CONFIG)
        return tuple(body | {"data": _mapping(body["data"]) | data} for body in rendered)

    async def _values(self) -> str:
        """Return what the HelmChartConfig gives the chart; empty where there is none, or no chart."""
        chart = await self.api.get(CHART) if self.owner.kind == "helm-chart-config" else None
        return (chart.text("spec", "valuesContent") or "") if chart is not None else ""

    async def _is_watched_true(self) -> bool:
        """Tell whether all is as it should be of what the owner hears of at once, beside what it renders from."""
        return True

    async def _is_true(self) -> bool:
        for body in await self._wanted():
            found = await self.api.get(_ref(body))
            if found is None or any(found.get("data", key) != text for key, text in _mapping(body.get("data")).items()):
                return False
        return True

    async def _write(self, body: Body) -> None:
        profile = PROFILES[self.owner.kind]
        if profile.applies:
            await self.api.apply(body, profile.manager)
        else:
            await self.api.patch(_ref(body), {field: body[field] for field in ("metadata", "data")})


class OperatorKeeper(Keeper, frozen=True):
    """The tigera operator: it renders from its Installation, whenever that or its DaemonSet has changed.

    Of ConfigMap cni-config it hears nothing, and sees it at its next look, every five minutes; `Lab.reconcile` stands
    for that. What others add to the pod template's annotations stays. Sources, tigera/operator: `pkg/controller/`
    `installation/core_controller.go` (secondaryResources, AddPeriodicReconcile), `utils/component.go` (mergeState).
    """

    async def _values(self) -> str:
        held = await self.api.get(INSTALLATION)
        mtu = held.get("spec", "calicoNetwork", "mtu") if held is not None else None
        return "" if mtu is None else str(mtu)

    async def _wanted(self) -> tuple[Body, ...]:
        values = await self._values()
        return tuple(calico_objects.rendered(int(values) if values else None))

    async def _is_watched_true(self) -> bool:
        for body in await self._wanted():
            found = await self.api.get(_ref(body)) if body["kind"] == "DaemonSet" else None
            if found is not None and any(_part(found, path) != _part(Object.of(body), path) for path in _PARTS):
                return False
        return True

    async def _write(self, body: Body) -> None:
        if body["kind"] == "ConfigMap":
            await super()._write(body)
            return
        await self.api.patch(_ref(body), {"spec": {"template": _mapping(_mapping(body["spec"])["template"])}})
        values = await self._values()
        await self.api.patch(INSTALLATION, {"status": {"mtu": int(values or 0)}}, subresource="status")


_TEMPLATE = ("spec", "template")
_PARTS: tuple[tuple[str | int, ...], ...] = (
    (*_TEMPLATE, "metadata", "annotations", calico_objects.HASH),
    (*_TEMPLATE, "spec", "initContainers", 0, "env"),
    (*_TEMPLATE, "spec", "containers", 0, "env"),
)


def _part(found: Object, path: tuple[str | int, ...]) -> object:
    """Return a part of a DaemonSet; of a list of variables, those with a value of their own."""
    held = found.get(*path)
    return [each for each in held if "value" in each] if isinstance(held, list) else held


def tell(folder: Path, seconds: float) -> bool:
    """Ask a lab's owner to write, and wait until it has; False when nobody does within so many seconds."""
    told = folder / RECONCILE
    told.touch()
    deadline = time.monotonic() + seconds
    while told.exists() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return not told.exists()


def keeper(owner: scene.Owner, kubeconfig: Mapping[str, object], bodies: Sequence[Body]) -> Keeper:
    """Return an owner at work on those of these objects that it keeps; its client is the caller's to enter."""
    kept = tuple(body for body in bodies if is_kept(owner, body))
    made = OperatorKeeper if owner.kind == "operator" else Keeper
    return made(owner, informer.connect(kubeconfig, PROFILES[owner.kind].manager), kept)


def _ref(body: Body) -> Ref:
    metadata = _mapping(body["metadata"])
    kind = str(body["kind"])
    plural = f"{kind.lower()}s"
    where = {"name": str(metadata["name"]), "namespace": str(metadata["namespace"])}
    return Ref(api_version=str(body["apiVersion"]), kind=kind, plural=plural, **where)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _is_told(folder: int) -> bool:
    try:
        os.stat(RECONCILE, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _answer(folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(RECONCILE, dir_fd=folder)
