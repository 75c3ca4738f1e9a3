"""Which node a file is of, and what several files say of one node, put together."""

import contextlib
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final, TypeVar

import msgspec

from kubemtu.core.errors import Malformed
from kubemtu.core.net import Link, NodeFile, NodeObservation
from kubemtu.core.objects import Object, node_addresses

T = TypeVar("T")
NODE_OWN: Final = re.compile(r"\d\d-.+\.conf(?:list)?|subnet\.env|net-conf\.json")  # names that a node itself uses
SAME_EVERYWHERE: Final = frozenset({"subnet.env", "net-conf.json"})  # of these no name tells anything of a node
_WORD: Final = re.compile(r"[A-Za-z0-9]+")
NAME_MOST = 255  # characters of one part of a path: NAME_MAX
PIPED = "-"  # what is piped in is called
UNNAMED = "node"  # of which nothing tells the name
WORDS_MOST = 40  # of one part of a path
_ROOTS: Final = frozenset({"etc", "run", "var", "proc", "sys", "usr", "host", "rootfs"})  # what lies at a node's root
_SAYS: Final = re.compile(  # what people add to a node's name when they save what a command printed there
    r"(?:(?:^|[-_. ]+)(?:ip|link|links|iplink|addr|address|addrs|ipaddr|ipaddrshow|iplinkshow|route|routes|iproute|rule"
    r"|routeshow|a|r|l|d|j|s|show|list|ifconfig|node|mtu|nics?|network(?:ing)?|systeminfo|netns|details?|output|out|text|json|all|table"
    r"|main|cmd|stdout|\d{4}-\d\d-\d\d(?:_\d\d){3}))+$",
    re.IGNORECASE,
)


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """By what a file tells its node: names of Nodes, hosts of folders, nodes of pods, and what all of it lies in."""

    nodes: frozenset[str]
    hosts: Mapping[str, str]
    pods: Mapping[str, str]
    folder: str

    def told(self, path: PurePosixPath) -> str:
        """Return the node that the path tells by a host, a Node or a pod of the node's own network; empty: none."""
        for parent in path.parents:
            if host := self.hosts.get("" if str(parent) == "." else str(parent)):
                return self.node(host)
        for part in reversed(path.parts):
            if part in self.nodes:
                return part
        words = [word for part in reversed(path.parts) for word in _words(part)]
        node = max((word for word in words if word in self.nodes), key=len, default="")
        return node or self.pods.get(max((word for word in words if word in self.pods), key=len, default=""), "")

    def node(self, host: str) -> str:
        """Return the Node that a host is: one may have its domain in its name, and the other not."""
        if host in self.nodes:
            return host
        short = host.partition(".")[0]
        alike = [node for node in self.nodes if node.partition(".")[0] == short]
        return alike[0] if len(alike) == 1 else host


def of_file(name: str, places: Places, together: Collection[str]) -> str:
    """Return the node that a file of a node is of.

    Told is it by its path, by the folder in which the tree of a node was copied, or in which several of its files lie
    (`together`: such folders); else by the file's own name.
    """
    path = PurePosixPath(name)
    if node := places.told(path):
        return node
    parts = path.parts[:-1]
    root = next((at for at, part in enumerate(parts) if part in _ROOTS), None)
    if root is not None:
        return parts[root - 1] if root else places.folder
    if NODE_OWN.fullmatch(path.name) is None:
        return path.stem
    if str(path.parent) in together or path.name in SAME_EVERYWHERE:
        folder = path.parent.name or places.folder
        return folder if folder != path.name else f"node of {path.name}"
    return path.stem


def of_output(name: str, places: Places, host: str = "") -> str:
    """Return the node that a saved output is of: as `of_file`, but a file is seldom named after its node alone.

    `host` is the one that a prompt in it names.
    """
    path = PurePosixPath(name)
    if node := places.told(path):
        return node
    if host:
        return places.node(host)
    for part in (path.name.removesuffix(path.suffix) if path.suffix else path.name, *reversed(path.parts[:-1])):
        if left := _SAYS.sub("", part[:NAME_MOST]):
            return left if left != PIPED else UNNAMED
    return places.folder


def _words(part: str) -> Iterator[str]:
    """Yield what may be a name in a part of a path: from the beginning of any word of it to the end of any."""
    ends = [found.span() for found in itertools.islice(_WORD.finditer(part), WORDS_MOST)]
    for number, (begin, _) in enumerate(ends):
        if part[begin - 1 : begin] != ".":  # not a domain without its host
            yield from (part[begin:end] for _, end in ends[number:])


def folders_of_several(names: Iterable[str]) -> frozenset[str]:
    """Return the folders in which several files lie whose names are a node's own."""
    count: dict[str, int] = {}
    for name in names:
        path = PurePosixPath(name)
        if NODE_OWN.fullmatch(path.name) is not None:
            count[str(path.parent)] = count.get(str(path.parent), 0) + 1
    return frozenset(folder for folder, number in count.items() if number > 1)


def joined(parts: Iterable[NodeObservation]) -> NodeObservation:
    """Return what several observations of one node say together: of two that differ, the first."""
    first, *others = parts
    whole = first
    for each in others:
        differing = _differing(whole.links, each.links)
        whole = msgspec.structs.replace(
            whole,
            links=_links(whole.links, each.links),
            routes=tuple(dict.fromkeys((*whole.routes, *each.routes))),
            uplinks=_by(whole.uplinks, each.uplinks, lambda one: one.peer),
            ports=_by(whole.ports, each.ports, lambda one: one.host_link),
            files=_by(whole.files, each.files, lambda one: one.path),
            journals=_by(whole.journals, each.journals, lambda one: one.name),
            errors=tuple(dict.fromkeys((*whole.errors, *each.errors, *differing))),
            host_pins=tuple(dict.fromkeys((*whole.host_pins, *each.host_pins))),
            kernel=whole.kernel or each.kernel,
            observed_at=whole.observed_at or each.observed_at,
        )
    return whole


def _by(old: Iterable[T], new: Iterable[T], key: Callable[[T], object]) -> tuple[T, ...]:
    held = {key(one): one for one in (*new, *old)}  # the older one, in the place of the newer
    order = dict.fromkeys(key(one) for one in (*old, *new))
    return tuple(held[each] for each in order)


def _links(old: tuple[Link, ...], new: tuple[Link, ...]) -> tuple[Link, ...]:
    """Join by name: `ip addr` knows no kind of a device, `ifconfig` no index, `ip -d link` both."""
    held = {link.name: link for link in old}
    for link in new:
        known = held.get(link.name)
        held[link.name] = link if known is None else _link(known, link)
    return tuple(held.values())


def _differing(old: tuple[Link, ...], new: tuple[Link, ...]) -> Iterator[str]:
    """Say of each interface that has two MTUs, as where outputs are of two moments, which is taken."""
    held = {link.name: link.mtu for link in old}
    for link in new:
        if link.mtu != held.get(link.name, link.mtu):
            yield f"{link.name} has {held[link.name]} in one file and {link.mtu} in another: the former is taken"


def _link(known: Link, other: Link) -> Link:
    return msgspec.structs.replace(
        known,
        index=known.index or other.index,
        kind=known.kind or other.kind,
        master=known.master or other.master,
        peer_index=known.peer_index if known.peer_index is not None else other.peer_index,
        peer_netnsid=known.peer_netnsid if known.peer_netnsid is not None else other.peer_netnsid,
        vxlan=known.vxlan or other.vxlan,
    )


def addresses(objects: Iterable[Object]) -> dict[str, tuple[str, ...]]:
    """Return the addresses by which each Node is reached by others."""
    found: dict[str, tuple[str, ...]] = {}
    for each in objects:
        if each.kind == "Node":
            with contextlib.suppress(Malformed):  # who lays the nodes out says what is wrong with it
                found[each.name] = node_addresses(each)
    return found


def files_of(node: str, files: Iterable[NodeFile]) -> NodeObservation:
    """Return what files alone say of a node."""
    return NodeObservation(node=node, files=tuple(files), seen_by="files")
