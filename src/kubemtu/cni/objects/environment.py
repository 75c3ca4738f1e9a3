"""A CNI whose MTU is a variable of its DaemonSet's container: read it, find what nobody reads, and edit it."""

from collections.abc import Iterable, Mapping

from kubemtu.cni.objects import daemonset, reading
from kubemtu.core.change.plan import EditValue
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Object

Path = tuple[str | int, ...]
CONTAINERS: Path = ("spec", "template", "spec", "containers")


def variables(agent: Object | None, out: list[Finding]) -> tuple[daemonset.Variable, ...]:
    """Return the variables of all containers; none, and a finding in `out`, where they cannot be read."""
    nothing: tuple[daemonset.Variable, ...] = ()
    return reading.attempt(lambda: daemonset.variables(agent), nothing, out, str(agent))


def held(agent: Object | None, container: str, out: list[Finding]) -> Mapping[str, daemonset.Variable]:
    """Return the variables of one container by name; the last of two counts, as for the kernel's."""
    return {each.name: each for each in variables(agent, out) if each.container == container}


def strays(agent: Object | None, container: str, known: Iterable[str], right: str) -> list[Finding]:
    """Return MTU111 for each variable that speaks of an MTU and is none that the container reads; see `right`.

    One that another container of the DaemonSet has counts as well: it is read by nothing there.
    """
    names = frozenset(known)
    return [
        reading.stray(f"{agent}, container {each.container}, variable {each.name}", each.name, right)
        for each in variables(agent, [])
        if "MTU" in each.name.upper().split("_") and (each.name not in names or each.container != container)
    ]


def place(agent: Object, container: str, name: str) -> Path:
    """Return the path of a variable's value; where there is none yet, the end of the container's list.

    Raises UsageError when the DaemonSet has no such container.
    """
    at = _container(agent, container)
    listed = agent.get(*at, "env")
    items = listed if isinstance(listed, list) else []
    for index in range(len(items) - 1, -1, -1):
        item = items[index]
        if isinstance(item, dict) and item.get("name") == name:
            return (*at, "env", index, "value")
    return (*at, "env", len(items))


def edits(agent: Object, container: str, name: str, value: int, why: str) -> list[EditValue]:
    """Return the edit that sets a variable, none where it is so already.

    Raises UsageError when something else fills it, or the container has no list of variables to put it into.
    """
    path = place(agent, container, name)
    ref = reading.ref(agent, "daemonsets")
    if path[-1] != "value":
        if not isinstance(agent.get(*path[:-1]), list):
            raise UsageError(
                f"The container {container} of {ref} has no variables, so kubemtu adds none: kubectl -n"
                f" {ref.namespace} set env daemonset/{ref.name} -c {container} {name}={value} does."
            )
        return [EditValue(ref=ref, path=path, before=None, after={"name": name, "value": str(value)}, why=why)]
    if agent.get(*path[:-1], "valueFrom") is not None:
        raise UsageError(
            f"The variable {name} of {ref} is filled from elsewhere (valueFrom): set {value} there, then restart it."
        )
    before = agent.get(*path)
    if before == str(value):
        return []
    return [
        EditValue(ref=ref, path=path, before=before if isinstance(before, str) else None, after=str(value), why=why)
    ]


def _container(agent: Object, name: str) -> Path:
    listed = agent.get(*CONTAINERS)
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(item, dict) and item.get("name") == name:
            return (*CONTAINERS, index)
    raise UsageError(f"{agent} has no container {name}, so there is nothing to set: compare it with its own manifest.")
