"""Runs a program as a container with host folders: `python -I -S contain.py MOUNTS program argument...`.

MOUNTS is JSON, [[folder of the node, where the container sees it, does it see later mounts], ...]. The container has
the machine's files otherwise, in a mount namespace and under a root folder of its own, so that paths such as /host/run
can be there. Stands alone and imports little, as `enter` does.
"""

# ruff: noqa: PTH102, PTH103, PTH115, PTH118, PTH211, S606
# pathlib would double the time to start, and the command is the pod's own.

import ctypes
import json
import os
import sys

NEWNS = 0x00020000
BIND, REC, SLAVE, PRIVATE = 0x1000, 0x4000, 1 << 19, 1 << 18
ROOT = "/run/lab/root"
libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    """Mount, as mount(2)."""
    words = (os.fsencode(source), os.fsencode(target), kind.encode() if kind else None, ctypes.c_ulong(flags), None)
    if libc.mount(*words):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def mirror_root() -> None:
    """Make a root folder in memory with the same entries as the node's own."""
    os.makedirs(ROOT, exist_ok=True)
    entries = list(os.scandir("/"))
    mount("tmpfs", ROOT, "tmpfs", 0)
    mount("none", ROOT, None, PRIVATE)
    for entry in entries:
        target = os.path.join(ROOT, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir():
            os.mkdir(target)
            mount(entry.path, target, None, BIND | REC)


def main() -> None:
    """Unshare, mount, execute."""
    mounts, command = json.loads(sys.argv[1]), sys.argv[2:]
    if libc.unshare(NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", None, REC | SLAVE)
    mirror_root()
    for source, target, follows in mounts:
        os.makedirs(source, exist_ok=True)
        inside = ROOT + os.path.realpath(target)
        os.makedirs(inside, exist_ok=True)
        mount(source, inside, None, BIND | REC)
        if not follows:
            mount("none", inside, None, REC | PRIVATE)
    os.chroot(ROOT)
    os.chdir("/")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
