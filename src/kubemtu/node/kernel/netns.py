"""Network namespaces: finds those of the pods, and works inside them.

Python 3.11 has no os.setns, so ctypes calls it. A namespace belongs to a thread, so every visit happens on a thread of
its own which is never switched back: it ends, and with it the visit, whatever went wrong
(containernetworking/plugins: pkg/ns/README.md explains what happens to those who switch back and fail).
"""

import contextlib
import ctypes
import os
import resource
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from kubemtu.core.errors import KubemtuError
from kubemtu.node import errors
from kubemtu.node.kernel import netlink

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_SPARE: Final = 128  # descriptors left for everything else in this process


NAMES: Final = ("/run/netns", "/var/run/netns", "/run/docker/netns")
"""Folders in which container runtimes give network namespaces a name: containerd and CRI-O, older ones, Docker."""


class Roots(msgspec.Struct, frozen=True, kw_only=True):
    """Where this process sees the node's file system: an agent in a container sees it under another path."""

    files: Path = Path("/")
    netns: tuple[Path, ...] = tuple(map(Path, NAMES))
    proc: Path = Path("/proc")
    sysctl: Path = Path("/proc/sys")

    @classmethod
    def under(cls, prefix: Path) -> "Roots":
        """Return the usual places below a prefix, for example /host.

        `/proc` stays: what it shows is the container's, or the node's with hostPID. A runtime mounts its /proc/sys
        read-only in a container without privilege, so where the node's own /proc/sys/net is below the prefix, that is
        written: it shows the network namespace of whoever looks, as any does (fs/proc/proc_sysctl.c).
        """
        names = tuple(prefix / name.lstrip("/") for name in NAMES)
        sysctl = prefix / "proc/sys"
        return cls(files=prefix, netns=names, sysctl=sysctl if (sysctl / "net").is_dir() else Path("/proc/sys"))

    def file(self, path: str) -> Path:
        """Say where the node's file of that absolute path is for this process."""
        return self.files / path.lstrip("/")


class Netns(msgspec.Struct, frozen=True):
    """One namespace, open: `name` under /run/netns or "pid:N", `inode` tells whether two are the same."""

    name: str
    inode: int
    descriptor: int


class Opened:
    """Namespaces held open while a `with` lasts: an open descriptor keeps its namespace alive."""

    def __init__(self) -> None:
        """Start empty."""
        self.all: list[Netns] = []

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every descriptor."""
        for each in self.all:
            os.close(each.descriptor)

    def add(self, path: str, name: str, inodes: set[int], device: int) -> Netns | None:
        """Open the namespace at `path` unless it is one of the `inodes`; None for that, and for what is none."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO there must not hold us
        except OSError:  # vanished, or a process of another user: whoever needed it says that it was not found
            return None
        status = os.fstat(descriptor)
        if status.st_ino in inodes or status.st_dev != device:  # another device: a leftover file, not a namespace
            os.close(descriptor)
            return None
        inodes.add(status.st_ino)
        self.all.append(found := Netns(name, status.st_ino, descriptor))
        return found


def identity(sock: netlink.Socket) -> tuple[int, int]:
    """Return device and inode of a socket's network namespace."""
    descriptor = sock.namespace()
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return status.st_dev, status.st_ino


def named(roots: Roots, opened: Opened, inodes: set[int], device: int) -> list[Netns]:
    """Return the namespaces that the container runtime has given a name, each once, without those in `inodes`."""
    found: list[Netns] = []
    add = Opened.add if len(inodes) <= 1 else _add  # looking before opening costs time where hardly any is known yet
    for folder in _folders(roots):
        with contextlib.suppress(OSError):  # deleted in between
            names = sorted(os.listdir(folder))  # noqa: PTH208  half the time of Path.iterdir
            found += [each for name in names if (each := add(opened, f"{folder}/{name}", name, inodes, device))]
    return found


def _folders(roots: Roots) -> list[Path]:
    """Return the folders that exist, each once: /var/run is mostly a link to /run, and 250 names take 1 ms."""
    found: dict[tuple[int, int], Path] = {}
    for folder in roots.netns:
        with contextlib.suppress(OSError):  # no such folder: this runtime names none
            status = folder.stat()
            found.setdefault((status.st_dev, status.st_ino), folder)
    return list(found.values())


def named_inodes(roots: Roots) -> set[int]:
    """Return the inode numbers of everything that has a name, without opening it."""
    found = set()
    for folder in _folders(roots):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # deleted in between
                    found.add(entry.stat().st_ino)
    return found


def unnamed(roots: Roots, opened: Opened, inodes: set[int], device: int) -> list[Netns]:
    """Return the namespaces that only a process holds ("pid:N"), each once, without those in `inodes`."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(roots.proc):  # noqa: PTH208
            if not name.isdigit():
                continue
            if (each := _add(opened, f"{roots.proc}/{name}/ns/net", f"pid:{name}", inodes, device)) is not None:
                found.append(each)
    return found


def _add(opened: Opened, path: str, name: str, inodes: set[int], device: int) -> Netns | None:
    with contextlib.suppress(OSError):
        if os.stat(path).st_ino not in inodes:  # noqa: PTH116  1-4 µs; opening takes three times that
            return opened.add(path, name, inodes, device)
    return None


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise errors.refusal("entering a pod's network namespace", code)


def _on_thread(work: Callable[[], T]) -> T:
    """Run `work` on a thread that ends afterwards; its result or its exception comes back."""
    result: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # carried over to the caller's thread
            raised.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return result[0]


def inside(descriptor: int, work: Callable[[], T]) -> T:
    """Run `work` inside a namespace and return what it returns. Raises Refused or Denied when there is no way in."""

    def run() -> T:
        _enter(descriptor)
        return work()

    return _on_thread(run)


def each(descriptors: Iterable[int], work: Callable[[int], T]) -> list[T | KubemtuError | OSError]:
    """Run `work` inside each namespace, one after the other on one thread; it gets the place in the order.

    A namespace that cannot be entered, or whose work raises one of our errors or OSError, yields that as its result.
    """

    def run() -> list[T | KubemtuError | OSError]:
        results: list[T | KubemtuError | OSError] = []
        for place, descriptor in enumerate(descriptors):
            try:
                _enter(descriptor)
                results.append(work(place))
            except (KubemtuError, OSError) as error:
                results.append(error)
        return results

    return _on_thread(run)


def sockets(descriptors: Sequence[int]) -> list[netlink.Socket | KubemtuError | OSError]:
    """Return a netlink socket inside each namespace, opened by one thread. 11-18 µs each.

    Raises the limit of open files when it is about to be hit.
    """
    make_room(len(descriptors))
    return each(descriptors, lambda _place: netlink.Socket())


def make_room(more: int) -> None:
    """Raise the limit of open files when so many more would hit it; above the hard limit, opening says EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(os.listdir("/proc/self/fd")) + more + _SPARE  # noqa: PTH208
    if wanted > soft:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(wanted, soft), hard), hard))
