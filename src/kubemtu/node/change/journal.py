"""Writes down what a node was before it is changed, so that any later process can take it back.

One file per migration, one JSON line per fact, appended and fsynced before the kernel is asked for anything. The
folder is /run/kubemtu, which a reboot empties, as it does the interfaces; a file from another boot that survived
elsewhere is set aside, because its interface indexes mean nothing any more. A last line that was cut off by a crash
was never acted upon and is dropped; any other damage stops everything and leaves the file as it is.

Routes are kept as the kernel's own bytes (hexadecimal rtmsg and attributes): what is sent back is what was read.
"""

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, Self

import msgspec

from kubemtu.core import errors, net, objects
from kubemtu.core.change import migration
from kubemtu.node.kernel import routes
from kubemtu.node.kernel.remembered import remembered

DIRECTORY: Final = Path("/run/kubemtu")
SCHEMA: Final = "kubemtu.io/journal/v1"
LEFT_MOST: Final = 5  # journals that are told of
_TAIL: Final = 4096  # bytes at the end that are read for the last line; the line that says "ended" has 40
NODE: Final = "node"  # owner of the node's own routes


class Began(msgspec.Struct, frozen=True, kw_only=True, tag="began", tag_field="entry", rename="camel"):
    """The first line: what was wanted when this began, on which boot."""

    desired: migration.Desired
    boot: str
    at: float  # seconds since the epoch
    schema: str = SCHEMA


class PortEntry(msgspec.Struct, frozen=True, kw_only=True, tag="port", tag_field="entry", rename="camel"):
    """Both ends of one pod port as they were when first seen. MTUs in bytes of the IP packet.

    `born_later` marks a pod that did not exist when the others were recorded: its values are those of its creation.
    """

    netns: str
    inode: int
    host_link: str
    host_index: int
    host_mtu: int
    host_ipv6_mtu: int | None = None
    pod_link: str
    pod_index: int
    pod_mtu: int
    ipv6_mtu: int | None = None
    born_later: bool = False

    @property
    def owner(self) -> str:
        """The key of this port. Inode numbers are used again soon, a host's interface indexes are not."""
        return owner(self.inode, self.host_index)


class DeviceEntry(msgspec.Struct, frozen=True, kw_only=True, tag="device", tag_field="entry", rename="camel"):
    """A tunnel or a bridge as it was when first seen."""

    link: str
    index: int
    mtu: int
    ipv6_mtu: int | None = None


class RoutesEntry(msgspec.Struct, frozen=True, kw_only=True, tag="routes", tag_field="entry", rename="camel"):
    """Routes of the node, or of one pod, as they were when first seen: hexadecimal message bodies."""

    owner: str
    bodies: tuple[str, ...]


class Hosts(msgspec.Struct, frozen=True, kw_only=True, tag="hosts", tag_field="entry", rename="camel"):
    """Routes to single hosts that were added with a locked MTU (node.change.hosts); undoing takes them away."""

    destinations: tuple[str, ...]
    mtu: int


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended", tag_field="entry", rename="camel"):
    """The change has come to its end; what is written stays known, so that it can be taken back."""

    at: float  # seconds since the epoch


class Resumed(msgspec.Struct, frozen=True, kw_only=True, tag="resumed", tag_field="entry", rename="camel"):
    """A change that had come to its end is asked for again, mostly to be taken back."""

    at: float  # seconds since the epoch


Entry = Began | PortEntry | DeviceEntry | RoutesEntry | Hosts | Ended | Resumed


def owner(inode: int, host_index: int) -> str:
    """Return the key by which a pod port's entries belong together."""
    return f"{inode}/{host_index}"


def left(directory: Path = DIRECTORY) -> tuple[net.JournalStatus, ...]:
    """Return the changes of this boot that have a journal here, the latest first; not locked, so only their ends."""
    found = []
    for name in Journal.names(directory)[:LEFT_MOST]:
        with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
            first, last = _ends(directory / f"{name}.jsonl")
            if msgspec.json.decode(first, type=Began).boot == _boot():
                found.append(net.JournalStatus(name=name, ended=b'"entry":"ended"' in last.replace(b" ", b"")))
    return tuple(found)


def _ends(path: Path) -> tuple[bytes, bytes]:
    """Return the first and the last line of a journal; thousands of pods may have made megabytes between them."""
    with path.open("rb") as file:
        first = file.readline()
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - _TAIL, 0))
        return first, file.read().splitlines()[-1]


class Journal:
    """What is known about the node before the migration, by owner and device; held by one process at a time."""

    def __init__(self, name: str, path: Path, descriptor: int) -> None:
        """Use `open` or `begin`."""
        self.name = name
        self.path = path
        self.began: Began | None = None
        self.ended = False
        self.ports: dict[str, PortEntry] = {}
        self.devices: dict[str, DeviceEntry] = {}
        self.hosts: dict[str, int] = {}  # routes that were added, and their MTU
        self.originals: dict[str, dict[bytes, routes.Raw]] = {}
        self._descriptor = descriptor

    @property
    def late(self) -> bool:
        """Whether it was begun after the first phase, on a node that joined or whose journal is gone.

        Then what it holds as the first state may be the change's own doing, and pins in it are no originals.
        """
        began = self.began
        return began is not None and (began.desired.restore or began.desired.phase is not migration.Phase.RECORD)

    @classmethod
    def open(cls, name: str, directory: Path = DIRECTORY) -> Self:
        """Open or make the journal of one migration.

        Raises Malformed when it is damaged, Conflict when another process holds it, UsageError for a name that no
        MTUMigration can have, NodeFailure when the folder cannot be written.
        """
        if objects.NAME.fullmatch(name) is None:
            raise errors.UsageError(f"{name!r} is no name of a migration: use lower-case letters, digits, '-' and '.'")
        path = directory / f"{name}.jsonl"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = _locked(path)
        except OSError as error:
            raise errors.NodeFailure(
                f"{path}: {error.strerror}; nothing was changed, because nothing could be written down first"
            ) from error
        journal = cls(name, path, descriptor)
        try:
            journal._load()
            if journal.began is not None and journal.began.boot != _boot():
                aside = path.with_suffix(f".{journal.began.boot[:8]}.old")
                path.rename(aside)
                journal.close()
                return cls.open(name, directory)
        except BaseException:
            journal.close()
            raise
        return journal

    @staticmethod
    def names(directory: Path = DIRECTORY) -> list[str]:
        """Return the migrations that have a journal here, the latest first."""
        found = [path for path in directory.glob("*.jsonl") if path.stat().st_size] if directory.is_dir() else []
        return [path.stem for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]

    def begin(self, desired: migration.Desired) -> None:
        """Write the first line, unless it is there; where the change had ended, that it has not any more."""
        if self.began is None:
            self.append([Began(desired=desired, boot=_boot(), at=time.time())])
        elif self.ended:
            self.append([Resumed(at=time.time())])

    def end(self) -> None:
        """Write that the change has come to its end, unless it has been written."""
        if not self.ended:
            self.append([Ended(at=time.time())])

    def append(self, entries: Iterable[Entry]) -> None:
        """Write entries and wait until they are on the disk. Raises NodeFailure; then nothing counts as known.

        A file system that is nearly full takes a part and says how much (write(2)): the rest is tried, and what cannot
        be written whole is taken away again, so that the next entry stands on a line of its own.
        """
        kept = list(entries)
        if not kept:
            return
        left = memoryview(b"".join(_ENCODER.encode(entry) + b"\n" for entry in kept))
        try:
            before = os.fstat(self._descriptor).st_size
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, before)
                raise
        except OSError as error:
            raise errors.NodeFailure(
                f"{self.path}: {error.strerror}; nothing was changed after that: make room there, then run the same "
                "command again"
            ) from error
        for entry in kept:
            self._take(entry)

    def forget_gone(self, present: Collection[int]) -> None:
        """Let go, in memory and not in the file, of pods whose host ends are none of the `present` indexes.

        An interface's index is not used again, so nobody asks for them any more.
        """
        for each in [each for each, port in self.ports.items() if port.host_index not in present]:
            del self.ports[each]
            self.originals.pop(each, None)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Delete the file: nothing can be taken back from here any more."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def _load(self) -> None:
        content = self.path.read_bytes()
        whole, _newline, torn = content.rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if whole else (), 1):
            try:
                entry = _DECODER.decode(line)
                if (number == 1) != isinstance(entry, Began):
                    raise ValueError("the first line, and only that, says what was wanted")  # noqa: TRY301
                self._take(entry)
            except (msgspec.MsgspecError, ValueError, struct.error) as error:
                raise errors.Malformed(
                    f"{self.path}, line {number}: this is no journal entry ({error}). The file was left as it is; "
                    f"move it away only when `kubemtu node show` shows no pins and equal MTUs"
                ) from error
        if torn:
            os.truncate(self._descriptor, len(content) - len(torn))

    def _take(self, entry: Entry) -> None:
        match entry:
            case Began():
                self.began = entry
            case Ended():
                self.ended = True
            case Resumed():
                self.ended = False
            case Hosts():
                self.hosts.update(dict.fromkeys(entry.destinations, entry.mtu))
            case PortEntry():
                self.ports.setdefault(entry.owner, entry)
            case DeviceEntry():
                self.devices.setdefault(entry.link, entry)
            case RoutesEntry():
                self.originals[entry.owner] = _originals(entry.bodies) | self.originals.get(entry.owner, {})


@remembered(1024)
def _originals(bodies: tuple[str, ...]) -> dict[bytes, routes.Raw]:
    """Return routes by their identity, of two the first; remembered, since the pods of a node mostly route alike."""
    return {original.identity: original for original in map(routes.raw, map(bytes.fromhex, reversed(bodies)))}


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)


def _boot() -> str:
    """Return the kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise errors.Conflict(
            f"{path} is held by another kubemtu process on this node, which is at work; wait for it or stop it"
        ) from None
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)
    return descriptor
