"""What the path of a request names: a group's discovery, a list, an object, or a part of an object.

Source: kubernetes/apiserver `pkg/endpoints/request/requestinfo.go`.
"""

import msgspec

from kubemtu_lab.api.errors import no_such_page, no_such_path
from kubemtu_lab.api.resources import Resource
from kubemtu_lab.api.store import Store

_OF_NAMESPACES = frozenset({"status", "finalize"})


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A list (no name), an object, or one of its subresources; an empty namespace means all of them."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class DiscoveryTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The description of all groups, of one group, or of one of its versions."""

    core: bool = False
    group: str = ""
    version: str = ""


def read_path(store: Store, path: str) -> Target | DiscoveryTarget:
    """Return what a path under /api or /apis names.

    Raises:
        Refusal: 404.
    """
    match path.strip("/").split("/"):
        case ["api"]:
            return DiscoveryTarget(core=True)
        case ["api", version]:
            return DiscoveryTarget(core=True, version=version)
        case ["api", version, *rest]:
            return _target(store, "", version, rest)
        case ["apis"]:
            return DiscoveryTarget()
        case ["apis", group]:
            return DiscoveryTarget(group=group)
        case ["apis", group, version]:
            return DiscoveryTarget(group=group, version=version)
        case ["apis", group, version, *rest]:
            return _target(store, group, version, rest)
    raise no_such_path()


def _target(store: Store, group: str, version: str, parts: list[str]) -> Target:
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and not (len(parts) == 3 and parts[2] in _OF_NAMESPACES):
        namespace, parts = parts[1], parts[2:]
    if len(parts) > 3:
        raise no_such_path()
    plural, name, subresource = (*parts, "", "")[:3]
    resource = store.resource(group, version, plural)
    if (namespace and not resource.namespaced) or (name and resource.namespaced and not namespace):
        raise no_such_page() if resource.custom else no_such_path()
    return Target(resource=resource, namespace=namespace, name=name, subresource=subresource)
