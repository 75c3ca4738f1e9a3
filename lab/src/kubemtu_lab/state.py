"""Where labs are remembered on the machine, and how a lab's supervisor is told from any other process.

    /run/kubemtu/labs/NAME/                      (root)
    $XDG_RUNTIME_DIR/kubemtu/labs/NAME/          (others; without it /tmp/kubemtu-UID/labs/NAME/)
    $KUBEMTU_LABS/NAME/                          (everybody, where it is set)
        lab.json  scene.json  kubeconfig  log  commands.jsonl  pods/NAMESPACE.POD  pods/NAMESPACE.POD.CONTAINER.log

The folder is only a note: a lab is its supervisor. A pid in it counts only with the start time that goes with it, so
that a process that got the same pid later is never taken for a lab.
"""

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

from kubemtu.core.objects import Object
from kubemtu_lab import errors

PROCESS_NAME = "kubemtu-lab"
MODULE = "kubemtu_lab.supervisor"
MARKER = "KUBEMTU_LAB"
"""The variable, with the lab's name, that every process of a lab inherits."""
_STUCK = ("CreateContainerConfigError", "CrashLoopBackOff")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One lab: its supervisor, by pid and start time (clock ticks since boot), and its nodes' pids, on the machine."""

    name: str
    scene: str
    pid: int
    started: int
    created: float  # seconds since the epoch
    nodes: dict[str, int] = {}
    url: str = ""
    ready: bool = False


class PodLocation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pod is: its node, and its namespace below the node's /run/netns."""

    node: str
    netns: str
    host_link: str
    addresses: tuple[str, ...]


COMMANDS = "commands.jsonl"


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """A command that the API was asked to execute in a container (pods/exec), in the order in which they began."""

    user: str
    """Who asked, by the name that RBAC knows; nothing where the API server is a real one, whose audit log tells."""
    node: str
    namespace: str
    pod: str
    container: str
    command: tuple[str, ...]
    protocol: str
    """How its streams came: v5.channel.k8s.io, v4.channel.k8s.io or SPDY/3.1."""


def root() -> Path:
    """Return the folder in which this user's labs are remembered."""
    if chosen := os.environ.get("KUBEMTU_LABS"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/run/kubemtu/labs")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime, "kubemtu/labs") if runtime else Path(f"/tmp/kubemtu-{os.geteuid()}/labs")  # noqa: S108  # `make` checks whose it is


def make(name: str) -> Path:
    """Make the folder of a new lab. Raises NameTaken when it exists and its lab runs."""
    folder = root() / name
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for each in (folder.parent, folder.parent.parent):
        if each.lstat().st_uid not in (os.geteuid(), 0):
            raise errors.Impossible(f"{each} belongs to somebody else; set XDG_RUNTIME_DIR to a folder of yours")
    with contextlib.suppress(FileNotFoundError):
        if supervisor_of(folder) is not None:
            raise errors.NameTaken(f"a lab called {name} is up; `kubemtu lab down {name}`, or choose another --name")
        shutil.rmtree(folder)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise errors.NameTaken(f"a lab called {name} is being made by somebody else; choose another --name") from None
    (folder / "pods").mkdir()
    return folder


def read(folder: Path) -> Record | None:
    """Return what a folder says about its lab; None when it says nothing (yet)."""
    try:
        return msgspec.json.decode((folder / "lab.json").read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(folder: int, name: str, content: bytes, *, mode: int = 0o644) -> None:
    """Put a file into the folder behind a descriptor: beside, then renamed, so that nobody reads half of it."""
    descriptor = os.open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)


def append(folder: int, name: str, line: bytes) -> None:
    """Add a line to a file of the folder behind a descriptor; lines of several processes do not mix."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def executed(folder: Path) -> list[Executed]:
    """Return the commands that were executed in containers by way of the API, in their order."""
    try:
        return msgspec.json.Decoder(Executed).decode_lines((folder / COMMANDS).read_bytes())
    except FileNotFoundError:
        return []


def supervisor_of(folder: Path) -> int | None:
    """Return the pid of a folder's supervisor if that very process is alive."""
    record = read(folder)
    if record is None:
        return next((pid for pid, name in strays() if name == folder.name), None)
    return record.pid if start_time(record.pid) == record.started else None


def folders() -> list[Path]:
    """Return the folders of this user's labs, by name."""
    found = root()
    return sorted(each for each in found.iterdir() if each.is_dir()) if found.is_dir() else []


def find(name: str | None) -> Path:
    """Return the folder of a running lab; None stands for the only one. Raises NoSuchLab, and says which there are."""
    running = [each for each in folders() if supervisor_of(each) is not None]
    names = ", ".join(each.name for each in running)
    if name is None:
        if len(running) == 1:
            return running[0]
        told = f"several labs are up ({names}); name one" if running else "no lab is up; `kubemtu lab up` makes one"
        raise errors.NoSuchLab(told)
    for each in running:
        if each.name == name:
            return each
    raise errors.NoSuchLab(f"no lab called {name} is up" + (f"; there is {names}" if names else ""))


def start_time(pid: int, proc: int | None = None) -> int | None:
    """Say when a process started, in clock ticks since boot (proc(5), field 22); None when it is not there, or ended.

    `proc` is a descriptor of the /proc in which to look.
    """
    try:
        descriptor = os.open(f"{pid}/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc) if proc is not None else None
        path = descriptor if descriptor is not None else f"/proc/{pid}/stat"
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # may be a descriptor
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def strays() -> list[tuple[int, str]]:
    """Return the supervisors of labs below `root`, whether or not a folder knows them: (pid, name of the lab).

    Told by the process's name and its command line, which says the folder too.
    """
    found = []
    here = str(root())
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            if entry.stat().st_uid != os.geteuid() or (entry / "comm").read_text().strip() != PROCESS_NAME:
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            name, folder = words[words.index(MODULE) + 1 :][:2]
            if str(Path(folder).parent) == here:
                found.append((int(entry.name), name))
    return found


def place(folder: Path, pod: str) -> PodLocation | None:
    """Return where a pod is, "POD" or "NAMESPACE/POD"; None when no pod of that name has a namespace of its own."""
    namespace, _, name = pod.rpartition("/")
    try:
        return msgspec.json.decode(
            (folder / "pods" / f"{namespace or 'default'}.{name}").read_bytes(), type=PodLocation
        )
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def is_ready(pod: Object) -> bool:
    """Return True when the pod's Ready condition is."""
    return any(
        each.text("type") == "Ready" and each.text("status") == "True" for each in pod.each("status", "conditions")
    )


def is_stuck(pod: Object) -> bool:
    """Return True when a container of the pod waits for something that does not come by itself."""
    for part in ("initContainerStatuses", "containerStatuses"):
        for each in pod.each("status", part):
            reason = each.text("state", "waiting", "reason")
            if reason in _STUCK or (reason and each.text("state", "waiting", "message")):
                return True
    return False
