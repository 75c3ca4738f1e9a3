"""The kinds that kubemtu keeps its state in: their definitions, and putting them into a cluster."""

import asyncio
import importlib.resources
import time

import yaml

from kubemtu.core import errors
from kubemtu.core.objects import Object
from kubemtu.kube.api import Api

NAMES = ("nodemtus", "mtumigrations", "mtuprobes", "mtupolicies")
SECONDS = 30.0  # that a server may take to serve a new kind


def text(name: str) -> str:
    """The YAML of one definition, as it is in the package."""
    return importlib.resources.files("kubemtu.kube").joinpath("crds", f"{name}.yaml").read_text("utf-8")


def definitions() -> tuple[dict[str, object], ...]:
    """All definitions, decoded."""
    # libyaml, where PyYAML was built with it, takes a fifth of the 28 ms that every `apply` would wait for.
    loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(yaml.load(text(name), Loader=loader) for name in NAMES)  # noqa: S506  both are safe loaders


async def install(api: Api, *, seconds: float = SECONDS) -> None:
    """Put the definitions into the cluster, or bring them up to date, and wait until they are served.

    Raises Forbidden without the right to write CustomResourceDefinitions, Surprise when the server does not take them
    up within `seconds`.
    """
    for body in definitions():
        made = await api.apply(body)
        await _established(api, made, seconds)
    api.forget()


async def _established(api: Api, made: Object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    group, plural = made.text("spec", "group"), made.text("spec", "names", "plural") or ""
    versions = [version.text("name") for version in made.each("spec", "versions")]
    found: Object | None = made
    while True:
        if found is None:
            raise errors.Conflict(f"{made} was deleted while kubemtu installed it; run the same command again")
        conditions = {one.text("type"): one for one in found.each("status", "conditions")}
        named, established = conditions.get("NamesAccepted"), conditions.get("Established")
        if named is not None and named.text("status") == "False":
            raise errors.Surprise(
                f"{made} is not accepted: {named.text('message')}; another definition has its names: remove that one"
            )
        if established is not None and established.text("status") == "True":
            api.forget()
            if all([await api.serves(f"{group}/{version}", plural) for version in versions]):
                return
        if time.monotonic() >= deadline:
            raise errors.Surprise(
                f"{api.connection.server} did not serve {made.name} within {seconds:g} s; look at its conditions with "
                f"`kubectl describe crd {made.name}`, then run the same command again"
            )
        await asyncio.sleep(0.1)
        found = await api.get(await api.ref(made.body))
