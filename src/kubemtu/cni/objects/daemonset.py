"""A DaemonSet as its containers see it: environment variables, the ConfigMap keys behind them, images, host paths."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from kubemtu.cni.objects import reading
from kubemtu.core import objects
from kubemtu.core.errors import Malformed
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot

KEY = re.compile(r"[-._a-zA-Z0-9]+")  # what the API server takes as a key of a ConfigMap
VERSION = re.compile(r":v?(\d+)\.(\d+)(?:\.(\d+))?")


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One environment variable of one container: a literal, or a key of a ConfigMap."""

    container: str
    name: str
    value: str | None = None
    config_map: str | None = None
    key: str | None = None
    optional: bool = False


def ref(agent: Object | None, namespace: str | None, name: str) -> Ref:
    """Return the address of a DaemonSet: its own where it was read, else what that name should have."""
    if agent is not None:
        return reading.ref(agent, "daemonsets")
    return objects.daemonset(namespace, name)


def containers(daemonset: Object, which: Literal["all", "init", "running"] = "all") -> Iterator[Object]:
    """Yield the containers of the pod template, init containers first. Raises Malformed."""
    if which != "running":
        yield from daemonset.each("spec", "template", "spec", "initContainers")
    if which != "init":
        yield from daemonset.each("spec", "template", "spec", "containers")


def container(daemonset: Object | None, name: str) -> Object | None:
    """Return the container of that name, or None. Raises Malformed."""
    if daemonset is None:
        return None
    return next((found for found in containers(daemonset) if found.text("name") == name), None)


def variables(daemonset: Object | None) -> tuple[Variable, ...]:
    """Return every environment variable of every container. Raises Malformed."""
    if daemonset is None:
        return ()
    out = []
    for found in containers(daemonset):
        where = found.text("name") or ""
        for each in found.each("env"):
            source = ("valueFrom", "configMapKeyRef")
            out.append(
                Variable(
                    container=where,
                    name=each.text("name") or "",
                    value=each.text("value"),
                    config_map=each.text(*source, "name"),
                    key=each.text(*source, "key"),
                    optional=bool(each.flag(*source, "optional")),
                )
            )
    return tuple(out)


def variable(daemonset: Object | None, name: str) -> Variable | None:
    """Return the first environment variable of that name, of any container, or None. Raises Malformed."""
    return next((each for each in variables(daemonset) if each.name == name), None)


def resolve(daemonset: Object | None, name: str, snapshot: Snapshot) -> str | None:
    """Return what a variable holds; None when no container has it, or its ConfigMap's key is not there.

    Raises Malformed.
    """
    found = variable(daemonset, name)
    if found is None or daemonset is None:
        return None
    if found.config_map is None or found.key is None:
        return found.value or ""
    source = snapshot.find("ConfigMap", found.config_map, daemonset.namespace)
    held = source.get("data", found.key) if source is not None else None
    return None if held is None else str(held)


def needs(daemonset: Object | None, config_map: str) -> dict[str, str]:
    """Return the keys of a ConfigMap without which a container does not start, and that container's name.

    They are the keys that a variable names and does not call optional. A DaemonSet that cannot be read needs none.
    """
    try:
        found = variables(daemonset)
    except Malformed:
        return {}
    return {
        each.key: each.container
        for each in found
        if each.config_map == config_map and each.key is not None and KEY.fullmatch(each.key) and not each.optional
    }


def version(daemonset: Object | None, *names: str) -> tuple[int, int, int] | None:
    """Return the version in the image tag of the first container of one of those names; None when it has none."""
    for name in names:
        found = container(daemonset, name)
        match = VERSION.search((found.text("image") or "").rpartition("/")[2]) if found is not None else None
        if match is not None:
            return int(match[1]), int(match[2]), int(match[3] or 0)
    return None


def host_path(daemonset: Object | None, *mounts: str) -> str | None:
    """Return the directory of the node that any container mounts at one of `mounts`, or None. Raises Malformed."""
    if daemonset is None:
        return None
    volumes = {
        volume.text("name"): volume.text("hostPath", "path")
        for volume in daemonset.each("spec", "template", "spec", "volumes")
    }
    for found in containers(daemonset):
        for mount in found.each("volumeMounts"):
            if (mount.text("mountPath") or "").rstrip("/") in mounts:
                path = volumes.get(mount.text("name"))
                if path:
                    return path.rstrip("/")
    return None


def arguments(resource: Object | None) -> tuple[str, ...]:
    """Return the words of the command and its arguments; what is no word is left out."""
    if resource is None:
        return ()
    words: list[str] = []
    for key in ("command", "args"):
        held = resource.get(key)
        if isinstance(held, list):
            words += [word for word in held if isinstance(word, str)]
    return tuple(words)


def flag_values(resource: Object | None, flag: str) -> tuple[str, ...]:
    """Return the values given to a flag, as `--flag=value`, `-flag value` or several times."""
    words = arguments(resource)
    out = []
    for index, word in enumerate(words):
        name, equals, held = word.lstrip("-").partition("=")
        if not word.startswith("-") or name != flag:
            continue
        if equals:
            out.append(held)
        elif index + 1 < len(words):
            out.append(words[index + 1])
    return tuple(out)
