"""Everything of the agent that touches the kernel of the node, on one thread, so that acting and observing never
overlap. Journals, sockets and namespaces live and end here.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from kubemtu.core import errors, net
from kubemtu.core.change import migration
from kubemtu.core.disclosure import bounds, files
from kubemtu.node import observe
from kubemtu.node.change import engine, journal, single, watch
from kubemtu.node.kernel import file_events, netlink, netns, remembered

CNI_FILES = tuple(f"{files.CNI_FOLDER}*{suffix}" for suffix in files.SUFFIXES)
LOCK = "agent.lock"
log = logging.getLogger("kubemtu.agent")
KEPT = 4  # journals of earlier migrations that are kept: only the last one is ever taken back


class PodNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is told of the CNIs: which links are the host ends of pods, and which files to show besides."""

    ports: net.Ports
    files: tuple[str, ...] = ()  # absolute paths on the node

    @property
    def all_files(self) -> tuple[str, ...]:
        """The CNI configurations, as patterns, and these files."""
        return (*CNI_FILES, *self.files)


class NodeKernel:
    """Makes the node true to a Desired, hears what happens to it, and observes it. Not for two threads at once."""

    def __init__(self, node: str, directory: Path, roots: netns.Roots, pod_network: PodNetwork) -> None:
        """Start listening in the calling thread's namespace. Raises Denied or Refused."""
        self._pod_network = pod_network
        self._node = node
        self._directory = directory
        self._roots = roots
        self._engine: engine.Engine | None = None
        self._settled = False  # the node has come to the end of what was asked
        self._watch: watch.Watch | None = None
        self._listener: netlink.Monitor | None = netlink.Monitor()
        self._files = _file_events(roots, pod_network)

    def close(self) -> None:
        """Let go of everything."""
        self.let_go(listen=False)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._files is not None:
            self._files.close()
            self._files = None

    @property
    def hears(self) -> bool:
        """Return True when whatever happens to this node's links, routes and files makes a descriptor readable."""
        listening = self._watch or self._listener
        return self._files is not None and listening is not None and listening.everywhere

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when links or routes change; another one after most calls."""
        if self._watch is not None:
            return self._watch.fileno()
        assert self._listener is not None
        return self._listener.fileno()

    def files_fileno(self) -> int | None:
        """Return the descriptor that becomes readable when the CNI's files may have changed; None: there is none."""
        return self._files.fileno() if self._files is not None else None

    def files_changed(self) -> bool:
        """Read what happened to the CNI's files; True when they may be other ones now."""
        if self._files is None:
            return False
        try:
            return self._files.drain()
        except (errors.KubemtuError, OSError) as error:
            log.warning("%s; until then, this node is looked at more often", error)
            self._files.close()
            self._files = None
            return True

    def make_true(self, desired: migration.Desired) -> migration.Applied:
        """Make the node true to `desired`; what goes wrong is in `failures` and never raised."""
        self._settled = False
        try:
            self._be_ready(desired)
            assert self._engine is not None
            applied = self._engine.make_true(desired)
        except (errors.KubemtuError, OSError) as error:
            return failed(desired, str(error))
        except ValueError as error:  # a network that is none, as somebody wrote it by hand
            sentence = f"the spec of NodeMTU {self._node} asks for what makes no sense: {error}; correct it"
            return failed(desired, sentence, migration.OUT_OF_BOUNDS)
        self._settled = applied.done and desired.phase is migration.Phase.SETTLE
        return applied

    def drain(self) -> migration.Applied | None:
        """Read what happened, and correct what it made wrong; None when nothing was."""
        if self._watch is None:
            if self._listener is not None:
                with contextlib.suppress(errors.NodeFailure):
                    for _ in self._listener.events():
                        pass
            return None
        try:
            return self._watch.drain()
        except (errors.KubemtuError, OSError, ValueError):
            return None  # the next make_true meets the same, and says so

    def sweep(self) -> None:
        """Let go of pods that have ended, and try again where a pod's namespace was not found."""
        if self._watch is not None:
            with contextlib.suppress(errors.KubemtuError, OSError, ValueError):  # the next make_true says what is wrong
                self._watch.sweep()

    def look(self, peers: Sequence[str]) -> net.NodeObservation:
        """Observe all that the node shows now, as far as a rule asks for it and its NodeMTU can hold it."""
        network = self._pod_network
        seen = observe.observe(self._node, ports=network.ports, peers=peers, files=network.all_files, roots=self._roots)
        remembered.trim(len(seen.ports), remembered.SEEN)
        routes = tuple(route for route in seen.routes if route.tells)
        return bounds.bounded(msgspec.structs.replace(seen, routes=routes, journals=journal.left(self._directory)))

    def let_go(self, *, listen: bool = True) -> None:
        """Stop working for a spec: close the journal, as ended where the node has settled, and every namespace."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._engine is not None:
            self._engine.close()
            if self._settled:
                with contextlib.suppress(errors.KubemtuError):  # a full disk: it stays open, which is true enough
                    self._engine.known.end()
            self._engine.known.close()
            self._engine = None
        self._settled = False
        if listen and self._listener is None:
            self._listener = netlink.Monitor()

    def forget(self) -> None:
        """Remove the journals of all changes; that of `node set` is not the agent's."""
        for name in journal.Journal.names(self._directory):
            if name != single.NAME:
                with contextlib.suppress(OSError):
                    (self._directory / f"{name}.jsonl").unlink()

    def _be_ready(self, desired: migration.Desired) -> None:
        if self._engine is None or self._engine.known.name != desired.migration:
            self.let_go()
            known = journal.Journal.open(desired.migration, self._directory)
            try:
                self._engine = engine.Engine(known, roots=self._roots)
            except BaseException:
                known.close()
                raise
            self._forget_old(desired.migration)
        if self._watch is None:
            self._watch = watch.Watch(self._engine, desired)
            if self._listener is not None:
                self._listener.close()
                self._listener = None
        self._watch.desired = desired

    def _forget_old(self, name: str) -> None:
        """Remove journals that nothing can be taken back from any more."""
        names = [one for one in journal.Journal.names(self._directory) if one not in {name, single.NAME}]
        for one in names[KEPT:]:
            with contextlib.suppress(OSError):
                (self._directory / f"{one}.jsonl").unlink()


def _file_events(roots: netns.Roots, network: PodNetwork) -> file_events.FileEvents | None:
    """Watch the CNI's files; None, and a line in the log, where the kernel gives no more of such watches."""
    try:
        return file_events.FileEvents(roots.file(path) for path in network.all_files)
    except (errors.KubemtuError, OSError) as error:
        log.warning("%s; until then, this node is looked at more often", error)
        return None


def strangers(desired: migration.Desired, known: Collection[str]) -> list[str]:
    """Say which hosts of the spec are none of the cluster's nodes nor its API server, a sentence each."""
    if desired.host_mtu is None:
        return []
    return [
        f"{address!r:.60} is no address of a node or of the API server that this agent knows: its route is not pinned"
        for address in desired.host_addresses
        if address not in known
    ]


def failed(desired: migration.Desired, sentence: str, refused_reason: str = "") -> migration.Applied:
    """Report that nothing could be done at all, or with a `refused_reason` that nothing was tried."""
    return migration.Applied(
        phase=desired.phase,
        restore=desired.restore,
        done=False,
        pods=0,
        settings_changed=0,
        failures=(sentence,),
        refused_reason=refused_reason,
    )


def leave(directory: Path) -> None:
    """Remove the agent's own file, and its folder unless something else is in it; for whoever holds it, at its end.

    Where the folder is a mount, as in a pod, it stays, empty, until the node is rebooted.
    """
    with contextlib.suppress(OSError):
        (directory / LOCK).unlink()
        directory.rmdir()


def only_one(directory: Path, patience: float) -> int:
    """Hold the node for this agent until its process ends; returns the descriptor that holds it.

    Waits for an agent that is ending. Raises Conflict when another one works on, NodeFailure when the folder cannot be
    written.
    """
    path = directory / LOCK
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.NodeFailure(f"{path}: {error.strerror}; give the agent a folder that it can write") from error
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            other = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise errors.Conflict(
                f"another kubemtu agent (process {other}) is at work on this node and holds {path}; two would overrule "
                "each other: stop that one first"
            ) from None
        break
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same, and only its owner's name is missing
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
