"""Objects of the Kubernetes API, as they came: nothing is assumed to be there, nothing is dropped.

A diagnosis tool must survive sick clusters, so an object stays the JSON it was, and each read names a path and a type.
A missing field is None; a field of the wrong type is one sentence that says which object, which path and what it holds.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Self, TypeAlias

import msgspec

from kubemtu.core import errors

Value: TypeAlias = str | int | dict[str, str] | None
"""What an edit puts into an object: a scalar, an item of a list such as a container's variable, or nothing."""
type_name = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
    float: "a number",
}


FILE = "file"
"""The apiVersion of what is no object of the API, but a document of a file that a cluster is made from.

`file/VERSION` where the document has a kind; without it the kind is our word for such files, and the document has none.
"""
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""A name of an object as the API wants it: the subdomain of RFC 1123, section 2.1."""
PATCH = ", a patch"
"""How the origin of an object ends that is a patch, and of which what it patches was not read."""


class Ref(msgspec.Struct, frozen=True, kw_only=True, rename="camel", order=True):
    """The address of one object of the API: enough to read it, to patch it and to print it as kubectl would."""

    api_version: str
    """Group and version."""
    kind: str
    """The kind."""
    plural: str
    """The kind as it stands in addresses."""
    name: str
    """Name of the object."""
    namespace: str | None = None
    """Namespace of the object; null for cluster-wide ones."""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"

    @property
    def of_file(self) -> bool:
        """True for a document of a file that a cluster is made from; its name is that of the file."""
        return self.api_version.partition("/")[0] == FILE

    @property
    def said_kind(self) -> str:
        """The kind as the document itself says it; empty where it has none."""
        return self.kind if not self.of_file or "/" in self.api_version else ""


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What must be read before a CNI can be told: one collection, or one named object, of the API.

    `api_versions` are tried in order; the first that the server knows is used. `name` None means the whole collection,
    `namespace` None means all namespaces (or a cluster-scoped kind).
    """

    kind: str
    plural: str
    api_versions: tuple[str, ...]
    namespace: str | None = None
    name: str | None = None
    label_selector: str | None = None

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        if self.name:
            return f"{self.kind} {f'{self.namespace}/' if self.namespace else ''}{self.name}"
        return f"{self.plural}{where}" + (f" with {self.label_selector}" if self.label_selector else "")


NODES = Want(kind="Node", plural="nodes", api_versions=("v1",))
PODS = Want(kind="Pod", plural="pods", api_versions=("v1",))  # of all namespaces


def config_map(namespace: str, name: str) -> Want:
    """Want one ConfigMap."""
    return Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), namespace=namespace, name=name)


def daemonsets(namespace: str) -> Want:
    """Want the DaemonSets of a namespace, also of a server before Kubernetes 1.9, which has no apps/v1."""
    versions = ("apps/v1", "extensions/v1beta1")
    return Want(kind="DaemonSet", plural="daemonsets", api_versions=versions, namespace=namespace)


def daemonset(namespace: str | None, name: str) -> Ref:
    """Return the address of a DaemonSet on a server that has apps/v1."""
    return Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name=name, namespace=namespace)


class Object(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the API as JSON, with typed reads.

    `body` is the whole object: {"apiVersion": str, "kind": str, "metadata": {...}, ...}. Treat it as read-only.
    """

    body: dict[str, object]
    """The whole object, as the API gave it."""
    origin: str = ""
    """File and line of an object that was read from a file; else empty."""

    @classmethod
    def of(cls, body: dict[str, object], origin: str = "") -> Self:
        """Wrap a decoded object."""
        return cls(body=body, origin=origin)

    @property
    def kind(self) -> str:
        """The kind, or an empty string."""
        return self.text("kind") or ""

    @property
    def api_version(self) -> str:
        """The apiVersion, or an empty string."""
        return self.text("apiVersion") or ""

    @property
    def name(self) -> str:
        """metadata.name, or an empty string."""
        return self.text("metadata", "name") or ""

    @property
    def namespace(self) -> str | None:
        """metadata.namespace; None for a cluster-scoped object."""
        return self.text("metadata", "namespace")

    @property
    def resource_version(self) -> str | None:
        """metadata.resourceVersion; None for an object that never met a server."""
        return self.text("metadata", "resourceVersion")

    @property
    def labels(self) -> dict[str, str]:
        """metadata.labels; what is no text is left out."""
        return self._texts("labels")

    @property
    def annotations(self) -> dict[str, str]:
        """metadata.annotations; what is no text is left out."""
        return self._texts("annotations")

    def _texts(self, field: str) -> dict[str, str]:
        held = self.get("metadata", field)
        return {key: text for key, text in held.items() if isinstance(text, str)} if isinstance(held, dict) else {}

    @property
    def of_file(self) -> bool:
        """True for what was kept of a file that a cluster is made from, whoever read it having left the rest."""
        return self._word("apiVersion").partition("/")[0] == FILE

    @property
    def is_patch(self) -> bool:
        """True for a patch that stands alone: what it leaves out is not missing."""
        return self.origin.endswith(PATCH)

    def __str__(self) -> str:
        namespace = self._word("metadata", "namespace")
        where = f"{namespace}/" if namespace else ""
        place = f" ({self.origin})" if self.origin else ""
        return f"{self._word('kind')} {where}{self._word('metadata', 'name')}{place}"

    def _word(self, *path: str) -> str:
        """Return the string at `path`, or an empty one: a sentence about what is unlike must not fail by the same."""
        found = self.get(*path)
        return found if isinstance(found, str) else ""

    def get(self, *path: str | int) -> object:
        """Return whatever stands at `path`, or None; a scalar on the way counts as absent."""
        here: object = self.body
        for key in path:
            if isinstance(here, dict) and isinstance(key, str):
                here = here.get(key)
            elif isinstance(here, list) and isinstance(key, int) and -len(here) <= key < len(here):
                here = here[key]
            else:
                return None
        return here

    def text(self, *path: str | int) -> str | None:
        """Return the string at `path`, or None. Raises Malformed when something else stands there."""
        found = self.get(*path)
        if found is None or isinstance(found, str):
            return found
        raise self._unlike(path, found, str)

    def integer(self, *path: str | int) -> int | None:
        """Return the integer at `path`, or None. Raises Malformed for anything else, a quoted number included."""
        found = self.get(*path)
        if found is None or (isinstance(found, int) and not isinstance(found, bool)):
            return found
        raise self._unlike(path, found, int)

    def flag(self, *path: str | int) -> bool | None:
        """Return the boolean at `path`, or None. Raises Malformed when something else stands there."""
        found = self.get(*path)
        if found is None or isinstance(found, bool):
            return found
        raise self._unlike(path, found, bool)

    def mapping(self, *path: str | int) -> dict[str, object]:
        """Return the mapping at `path`; absent and null are empty. Raises Malformed when anything else stands there."""
        found = self.get(*path)
        if found is None:
            return {}
        if isinstance(found, dict):
            return found
        raise self._unlike(path, found, dict)

    def each(self, *path: str | int) -> Iterator["Object"]:
        """Return the mappings in the list at `path`, each as an Object; absent and null are empty. Raises Malformed."""
        found = self.get(*path)
        if found is None:
            return
        if not isinstance(found, list):
            raise self._unlike(path, found, list)
        for index, item in enumerate(found):
            if not isinstance(item, dict):
                raise self._unlike((*path, index), item, dict)
            yield Object(body=item, origin=f"{self}, {dotted((*path, index))}")

    def _unlike(self, path: tuple[str | int, ...], value: object, wanted: type) -> errors.Malformed:
        """Say what stands there instead, and not the value: a password of digits is an integer, too."""
        is_now = type_name.get(type(value), type(value).__name__)
        whole = str(self) if self._word("kind") else self.origin
        return errors.Malformed(
            f"{whole}: {dotted(path)} must be {type_name[wanted]} but is {is_now}; correct it there"
        )


def node_addresses(node: Object, types: Collection[str] = ("InternalIP",)) -> tuple[str, ...]:
    """Return a Node's addresses of these types, in their order; the internal ones are those by which nodes meet."""
    entries = (entry for entry in node.each("status", "addresses") if entry.text("type") in types)
    return tuple(address for entry in entries if (address := entry.text("address")))


def pod_networks(node: Object) -> tuple[str, ...]:
    """Return the networks of a Node's own pods: spec.podCIDRs, else spec.podCIDR (core/v1 NodeSpec)."""
    several = node.get("spec", "podCIDRs")
    found = [one for one in several if isinstance(one, str)] if isinstance(several, list) else []
    return tuple(found) or tuple(filter(None, (node.text("spec", "podCIDR"),)))


def pod_addresses(pod: Object) -> tuple[str, ...]:
    """Return a Pod's addresses; servers before Kubernetes 1.16 name one alone."""
    several = tuple(address for entry in pod.each("status", "podIPs") if (address := entry.text("ip")))
    single = pod.text("status", "podIP")
    return several or ((single,) if single else ())


def placed(body: Mapping[str, object], path: Sequence[str | int], value: object) -> dict[str, object]:
    """Return a copy of `body` in which `value` stands at `path`, or nothing when it is None.

    A list takes a value at its end as well, behind its last item, and goes with the last one taken away, as the API
    server keeps no empty one. Raises Malformed when the path leads beyond its end.
    """
    key, *rest = path
    assert isinstance(key, str)  # an object is a mapping
    if rest:
        inner = _placed(body.get(key), rest, value)
        if inner != [] or value is not None:
            return {**body, key: inner}
    if value is None:
        return {name: kept for name, kept in body.items() if name != key}
    return {**body, key: value}


def _placed(held: object, path: Sequence[str | int], value: object) -> object:
    key, *rest = path
    if isinstance(key, str):
        return placed(held if isinstance(held, dict) else {}, path, value)
    items = held if isinstance(held, list) else []
    if not 0 <= key <= len(items) - bool(rest):
        raise errors.Malformed(f"{dotted(tuple(path))} leads beyond a list of {len(items)}; make a new plan")
    inner = [_placed(items[key], rest, value)] if rest else [value] if value is not None else []
    return [*items[:key], *inner, *items[key + 1 :]]


def dotted(path: tuple[str | int, ...]) -> str:
    """Return a path as users write it: `data.veth_mtu`, `spec.containers[0].env`, `data["net-conf.json"]`."""
    out = ""
    for key in path:
        if isinstance(key, int):
            out += f"[{key}]"
        elif "." in key or "/" in key:
            out += f'["{key}"]'
        else:
            out += f".{key}" if out else key
    return out


def last(path: tuple[str | int, ...]) -> str:
    """Return the end of a path as users name it: the key, or the list's with the index."""
    key = path[-1]
    return key if isinstance(key, str) else dotted(path[-2:])
