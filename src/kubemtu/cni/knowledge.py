"""What a CNI's module declares besides what it reads and writes: nothing of it stands in another package.

The registry joins the declarations of all modules; agents get theirs from the DaemonSet that `kubemtu install` makes of
them, so that an agent knows the CNIs of whoever installed it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from kubemtu.core import encap, net, rights
from kubemtu.core.cluster import node_files
from kubemtu.core.planning.values_key import ValuesKey

Counts = Literal["pod", "base", "tunnel"]


class CalcKey(msgspec.Struct, frozen=True):
    """One key for `kubemtu calc`: where a CNI keeps its MTU, for which encapsulations, and what the number counts.

    `stacks` are the encapsulations that the CNI can have there, nearest the NIC first, by kind or by full name.
    `subtracts` tells the bytes that the CNI takes off by itself, and `subtracter` who does; None: nobody.
    """

    cni: str
    object: str
    key: str
    counts: Counts
    stacks: tuple[tuple[str, ...], ...]
    subtracts: Callable[[encap.Stack], int] | None = None
    subtracter: str = ""
    note: str = ""


class Mounted(msgspec.Struct, frozen=True, kw_only=True):
    """A ConfigMap whose name changes with its content, as kustomize makes them; a DaemonSet mounts it."""

    namespace: str
    daemonset: str
    prefix: str  # of the ConfigMap's name


class FileForm(msgspec.Struct, frozen=True):
    """A file that a cluster is made from and that is no object of the API: what it is, and what is kept of it.

    `reduce` gets a document and returns the little of it that a rule reads, as the body of an object without metadata;
    {} where it is such a file and nothing of it is of use, None where it is another one. What it leaves out may be
    credentials, and is kept nowhere. `inner` yields the manifests that it holds as texts: what each is called, and it.
    """

    what: str
    reduce: Callable[[Mapping[str, object]], dict[str, object] | None]
    inner: Callable[[Mapping[str, object]], Iterable[tuple[str, str]]] = lambda _: ()


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """One CNI, as everything outside its module knows it."""

    recognised_by: str = ""  # what it is called, and the objects that are its signs, for whoever has none of them
    ports: tuple[net.PortRule, ...] = ()  # which links of a node are the host ends of its pods
    node_paths: tuple[str, ...] = ()  # absolute paths on the node, beside the CNI configurations
    plugin_mtus: tuple[node_files.PluginRule, ...] = ()  # how its plugin comes to the MTU of a new pod
    address_annotations: tuple[str, ...] = ()  # of a Node: by which address other nodes reach its tunnel
    calc_keys: tuple[CalcKey, ...] = ()
    values_keys: tuple[ValuesKey, ...] = ()
    file_forms: tuple[FileForm, ...] = ()
    saved_files: tuple[tuple[str, str], ...] = ()  # how a saved file's name ends, and the path that it has on a node
    words: tuple[str, ...] = ()  # by which a broken document of saved files is taken for one of the pod network
    mounted: tuple[Mounted, ...] = ()  # what is read besides WANTS, where a DaemonSet names it
    edited: tuple[rights.Rule, ...] = ()  # what a change writes; what is read follows from WANTS
