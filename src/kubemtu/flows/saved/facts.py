"""What was found in files, as it was found: texts, documents, and what each recogniser made of them."""

from pathlib import PurePosixPath
from typing import Literal

import msgspec

from kubemtu.core.net import NodeFile
from kubemtu.core.objects import Object
from kubemtu.core.printed.values import Output
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows.saved.bounds import Bounds


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A file as text: `name` is its path below what was given, with / between the parts; "-" is standard input."""

    name: str
    text: str
    alone: bool = False  # it is all that was given

    @property
    def path(self) -> PurePosixPath:
        """The name as a path, of which parts are asked for."""
        return PurePosixPath(self.name)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document of a text: what it is as JSON, its own text, and the line of its file where it begins."""

    of: Text
    value: object
    text: str
    line: int = 1

    @property
    def place(self) -> str:
        """File and line, as a sentence names them."""
        return f"{self.of.name}:{self.line}"


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """What tools printed on one node: the name of the file, and of the host where a prompt in it tells that.

    `node` is what the output itself calls its node: a name, or an address of it.
    """

    name: str
    output: Output
    host: str = ""
    node: str = ""


class Facts(msgspec.Struct, kw_only=True):
    """All that has been found so far; recognisers add to it, `assembling` makes a snapshot of it."""

    counted: Bounds = msgspec.field(default_factory=Bounds)
    """How much was read for them."""
    objects: list[Object] = msgspec.field(default_factory=list)
    files: list[tuple[str, NodeFile]] = msgspec.field(default_factory=list)
    """Names of files as they were found, and the files of nodes that they are."""
    printed: list[Printed] = msgspec.field(default_factory=list)
    """What tools of nodes printed."""
    resources: list[Document] = msgspec.field(default_factory=list)
    """Documents that `talosctl get` printed, each of which is one link, route or address of a node."""
    snapshots: list[tuple[str, Snapshot]] = msgspec.field(default_factory=list)
    """Names of files, and the snapshots that they hold."""
    hosts: dict[str, str] = msgspec.field(default_factory=dict)
    """Folders, and the names of the hosts on which what lies in them was collected."""
    kustomizations: dict[str, tuple[str, dict[str, object]]] = msgspec.field(default_factory=dict)
    """Folders, and the place and content of the kustomization.yaml in each."""
    operations: dict[str, tuple[str, list[dict[str, object]]]] = msgspec.field(default_factory=dict)
    """Names of files, and the place and content of the JSON 6902 patch in each."""
    unread: list[Unread] = msgspec.field(default_factory=list)
    unused: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Reasons, and the names of the files that were not used for them."""

    def skip(self, where: str, message: str, why: Literal["malformed", "broken"] = "malformed") -> None:
        """Note what could not be read: "broken" is a text of the pod network's that no parser takes."""
        self.unread.append(Unread(what=where, why=why, message=message))

    def leave(self, where: str, reason: str) -> None:
        """Note what was not used, with a reason to be put after its name; of many with one reason some are named."""
        self.unused.setdefault(reason, []).append(where)

    @property
    def any(self) -> bool:
        """True when something was found that a snapshot can be made of."""
        return bool(self.objects or self.files or self.printed or self.resources or self.snapshots)

    @property
    def is_one_snapshot(self) -> bool:
        """True when a saved snapshot is all that there is, so that it comes back as it was."""
        others = (self.objects, self.files, self.printed, self.resources, self.unread, self.unused)
        return len(self.snapshots) == 1 and not any(others)
