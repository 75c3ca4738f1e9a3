"""The kinds that kubemtu keeps its state in: their definitions, and putting them into a cluster.

A definition in a cluster says which version of kubemtu wrote it (the annotation VERSION). It is written when there is
none, or an older one of ours; never over a newer one, nor over what is not ours, nor by force over fields that somebody
else has written, as GitOps does.
"""

import asyncio
import importlib.resources
import re
import time
from typing import Literal

import msgspec
import yaml

import kubemtu
from kubemtu.core import errors
from kubemtu.core.change import migration
from kubemtu.core.objects import Object, Ref
from kubemtu.kube.api import Api

SECONDS = 30.0  # that a server may take to serve a new kind
VERSION = f"{migration.GROUP}/version"
OURS = ("app.kubernetes.io/name", "kubemtu")
API_VERSION, KIND, PLURAL = "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"

Standing = Literal["absent", "older", "same", "newer", "foreign"]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How a definition in the cluster stands beside ours; `version` is what its annotation says."""

    name: str
    standing: Standing
    version: str = ""


def plurals() -> tuple[str, ...]:
    """Return the plurals of all kinds that the package defines, sorted."""
    folder = importlib.resources.files("kubemtu.kube").joinpath("crds")
    return tuple(sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml")))


def text(plural: str) -> str:
    """Return the YAML of one definition, with the version of kubemtu that it is of."""
    written = importlib.resources.files("kubemtu.kube").joinpath("crds", f"{plural}.yaml").read_text("utf-8")
    named = f"  name: {plural}.{migration.GROUP}\n"
    return written.replace(named, f'{named}  annotations:\n    {VERSION}: "{kubemtu.__version__}"\n', 1)


def definitions() -> tuple[dict[str, object], ...]:
    """Return all definitions, decoded, in the order of their plurals."""
    # libyaml, where PyYAML was built with it, takes a fifth of the 28 ms that every `apply` would wait for.
    loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(yaml.load(text(name), Loader=loader) for name in plurals())  # noqa: S506  both are safe loaders


def ref(plural: str) -> Ref:
    """Return the address of one definition."""
    return Ref(api_version=API_VERSION, kind=KIND, plural=PLURAL, name=f"{plural}.{migration.GROUP}")


async def standing(api: Api, plural: str) -> Found:
    """Look how the definition of that plural stands in the cluster. Raises Forbidden without the right to read it."""
    found = await api.get(ref(plural))
    name = ref(plural).name
    if found is None:
        return Found(name=name, standing="absent")
    label, value = OURS
    if found.text("metadata", "labels", label) != value:
        return Found(name=name, standing="foreign")
    version = found.text("metadata", "annotations", VERSION) or ""
    theirs, ours = _number(version), _number(kubemtu.__version__)
    return Found(
        name=name,
        version=version,
        standing="newer" if theirs > ours else "older" if theirs < ours else "same",
    )


async def install(
    api: Api, *, downgrade: bool = False, force: bool = False, only_absent: bool = False, seconds: float = SECONDS
) -> None:
    """Put the definitions into the cluster, or bring them up to date, and wait until they are served.

    `downgrade` writes over newer ones too, `force` over fields that others manage; with `only_absent` those that are
    there stay as they are. Raises Forbidden without the right to write CustomResourceDefinitions, Conflict for one that
    is not ours, is newer, or has fields that somebody else manages, Surprise when the server does not take them up
    within `seconds`.
    """
    due = []
    for plural, body in zip(plurals(), definitions(), strict=True):
        found = await standing(api, plural)
        refuse(found, downgrade=downgrade or only_absent)
        if only_absent and found.standing == "older":
            raise errors.Conflict(
                f"CustomResourceDefinition {found.name} is of {found.version or 'an earlier kubemtu'}, and would drop "
                f"what {kubemtu.__version__} writes; bring it up to date with `kubemtu install`"
            )
        due.append((body, found.standing == "absent" or not only_absent))
    for body, written in due:
        made = await api.apply(body, force=force) if written else Object.of(body)
        await _established(api, made, seconds, fresh=written)
    api.forget()


def refuse(found: Found, *, downgrade: bool) -> None:
    """Raise Conflict for a definition that must not be written over."""
    if found.standing == "foreign":
        raise errors.Conflict(
            f"CustomResourceDefinition {found.name} is there and is not kubemtu's (it has no label {'='.join(OURS)}); "
            "nothing was changed: see whose it is"
        )
    if found.standing == "newer" and not downgrade:
        raise errors.Conflict(
            f"CustomResourceDefinition {found.name} is of kubemtu {found.version}, and this is {kubemtu.__version__}: "
            "an older one would lose what the newer keeps there; nothing was changed: use the newer kubemtu, or ask "
            "for it with --allow-downgrade"
        )


async def remove(api: Api, *, seconds: float = SECONDS) -> None:
    """Take away those of the definitions that are ours, with all objects of their kinds, and wait until they are gone.

    Raises Forbidden without the right to, Surprise when one stays for longer than `seconds`.
    """
    for plural in plurals():
        if (await standing(api, plural)).standing in {"absent", "foreign"}:
            continue
        await api.delete(ref(plural))
        deadline = time.monotonic() + seconds
        while await api.get(ref(plural)) is not None:
            if time.monotonic() >= deadline:
                raise errors.Surprise(
                    f"CustomResourceDefinition {ref(plural).name} is not gone after {seconds:g} s; look at its "
                    f"conditions and finalizers with `kubectl describe crd {ref(plural).name}`"
                )
            await asyncio.sleep(0.1)
    api.forget()


def _number(version: str) -> tuple[int, ...]:
    """Return what orders versions: their numbers; nothing comes before all others."""
    return tuple(int(one) for one in re.findall(r"[0-9]+", version))


async def _established(api: Api, definition: Object, seconds: float, *, fresh: bool) -> None:
    deadline = time.monotonic() + seconds
    group, plural = definition.text("spec", "group"), definition.text("spec", "names", "plural") or ""
    versions = [version.text("name") for version in definition.each("spec", "versions")]
    found: Object | None = definition if fresh else await api.get(await api.ref(definition.body))
    while True:
        if found is None:
            raise errors.Conflict(f"{definition} was deleted while kubemtu installed it; run the same command again")
        conditions = {one.text("type"): one for one in found.each("status", "conditions")}
        named, established = conditions.get("NamesAccepted"), conditions.get("Established")
        if named is not None and named.text("status") == "False":
            raise errors.Surprise(
                f"{definition} is not accepted: {named.text('message')}; another definition has its names: remove that "
                "one"
            )
        if established is not None and established.text("status") == "True":
            api.forget()
            if all([await api.serves(f"{group}/{version}", plural) for version in versions]):
                return
        if time.monotonic() >= deadline:
            raise errors.Surprise(
                f"{api.connection.server} did not serve {definition.name} within {seconds:g} s; look at its conditions "
                f"with `kubectl describe crd {definition.name}`, then run the same command again"
            )
        await asyncio.sleep(0.1)
        found = await api.get(await api.ref(definition.body))
