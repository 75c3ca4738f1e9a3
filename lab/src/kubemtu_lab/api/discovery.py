"""What a client asks before anything else: which groups, versions and kinds there are (meta/v1 APIResourceList)."""

import re

from kubemtu_lab.api.errors import no_such_path
from kubemtu_lab.api.resources import PODS, VERBS, Object, Resource
from kubemtu_lab.api.store import Store

KUBERNETES = "v1.32.4"
"""The release whose behaviour the lab's own server follows."""
_VERSION = re.compile(r"v(?P<major>\d+)(?:(?P<stage>alpha|beta)(?P<minor>\d+))?\Z")


def version() -> Object:
    """Return the answer of /version."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    return {"major": major, "minor": minor, "gitVersion": f"{KUBERNETES}+kubemtu-lab", "platform": "linux/amd64"}


def core_versions(address: str) -> Object:
    """Return the answer of /api; `address` is the host and port that the client used."""
    cidrs = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": cidrs}


def groups(store: Store) -> Object:
    """Return the answer of /apis."""
    names = dict.fromkeys(each.group for each in store.resources if each.group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(store, name) for name in names]}


def group(store: Store, name: str) -> Object:
    """Return the answer of /apis/<group>.

    Raises:
        Refusal: 404.
    """
    if not name or all(each.group != name for each in store.resources):
        raise no_such_path()
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(store, name)


def resources(store: Store, name: str, served: str) -> Object:
    """Return the answer of /api/v1 or /apis/<group>/<version>.

    Raises:
        Refusal: 404.
    """
    here = [each for each in store.resources if (each.group, each.version) == (name, served)]
    if not here:
        raise no_such_path()
    listed: list[Object] = []
    for each in here:
        listed.append(_entry(each, each.plural, list(VERBS)) | _names(each))
        listed += [_entry(each, f"{each.plural}/{name}", verbs) for name, verbs in _subresources(each)]
        if each == PODS:
            listed.append(_entry(each, "pods/exec", ["create", "get"]) | {"kind": "PodExecOptions"})
            listed.append(_entry(each, "pods/log", ["get"]))
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": here[0].api_version, "resources": listed}


def _group(store: Store, name: str) -> Object:
    served = {each.version for each in store.resources if each.group == name}
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version} for version in sorted(served, key=_rank, reverse=True)
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _rank(version: str) -> tuple[int, int, int]:
    """Order versions as Kubernetes does: v2 before v1, and both before v3beta1 and v3alpha1."""
    found = _VERSION.match(version)
    if found is None:
        return -1, 0, 0
    stage = {None: 2, "beta": 1, "alpha": 0}[found["stage"]]
    return stage, int(found["major"]), int(found["minor"] or 0)


def _entry(resource: Resource, name: str, verbs: list[str]) -> Object:
    entry: Object = {"name": name, "singularName": resource.singular if name == resource.plural else ""}
    return entry | {"namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs}


def _names(resource: Resource) -> Object:
    named = {"shortNames": list(resource.short_names), "categories": list(resource.categories)}
    return {field: words for field, words in named.items() if words}


def _subresources(resource: Resource) -> list[tuple[str, list[str]]]:
    found = [("status", ["get", "patch", "update"])] if resource.status else []
    return found + ([("token", ["create"])] if resource.kind == "ServiceAccount" else [])
