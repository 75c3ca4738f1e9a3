"""System calls that Python 3.11 has no name for: namespaces, mounts, the death of a parent.

Every call raises OSError as those of `os` do. Constants: include/uapi/linux/{sched,mount,prctl}.h.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SHARED = 0x100000
MNT_DETACH = 0x2
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name for new ones (for the network: the calling thread only)."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespace behind a descriptor (for the network: the calling thread only)."""
    _check(_libc.setns(descriptor, flags), f"setns({flags:#x})")


@contextlib.contextmanager
def network(pid: int) -> Iterator[int]:
    """Hold the network namespace of a process open while the block lasts. Raises OSError when it has ended."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def mount(source: str, target: str | Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount, as mount(2)."""
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _check(result, f"mount {kind or source} on {target}")


def unmount(target: str | Path, flags: int = MNT_DETACH) -> None:
    """Unmount, as umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def set_hostname(name: str) -> None:
    """Name this UTS namespace."""
    _check(_libc.sethostname(name.encode(), len(name.encode())), f"sethostname {name}")


def set_process_name(name: str) -> None:
    """Name this process in /proc/self/comm; the kernel keeps 15 bytes."""
    _check(_libc.prctl(PR_SET_NAME, ctypes.c_char_p(name.encode())), f"prctl name {name}")


def die_with_parent(signal_number: int) -> None:
    """Let the kernel send this process a signal when the thread that forked it ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number)), "prctl parent death signal")


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Let what children of this process leave behind become its own children, instead of init's, during a block."""
    was = ctypes.c_int()
    _check(_libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(was)), "prctl child subreaper")
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1)), "prctl child subreaper")
    try:
        yield
    finally:
        _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(was.value)), "prctl child subreaper")


def map_to_root() -> None:
    """Enter a new user namespace in which the calling user is root (user_namespaces(7))."""
    user, group = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
