"""Runs a program as a container: `python -I -S container_exec.py TOLD program argument...`.

TOLD is JSON: `mounts` (source, target, follows, read_only: folders of the node, where the program sees them, whether
later mounts below them show), the fields of `limits.Limits`, and `open`, paths that the program must reach whoever it
is; `image` is the root folder of an unpacked image, `tools` the programs of one that is none (image_tools.Tools);
`hidden` are folders of the node that are empty for it, `own_network` says that /sys must show another network than the
node's. It has the machine's files otherwise, or the image's, in a mount namespace and under a root folder of its own,
so that paths such as /host/run can be there; the processes of the node it sees in /proc. Stands alone and imports
little, as `enter` does; a kubelet, which has Python running, forks and calls `be`.
"""

# ruff: noqa: PTH101, PTH102, PTH103, PTH112, PTH114, PTH115, PTH116, PTH118, PTH120, PTH123, PTH211, S606
# pathlib would double the time to start, and the command is the pod's own.

import ctypes
import errno
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would take longer to import than all the rest
    from typing import Any

# include/uapi/linux/{sched,mount,fcntl,prctl}.h
NEWNS = 0x00020000
BIND, REC, SLAVE, PRIVATE = 0x1000, 0x4000, 1 << 19, 1 << 18
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
ROOT = "/run/lab/root"
CLOSED = ("proc/bus", "proc/fs", "proc/irq", "proc/sys", "sys")
"""What a runtime lets nobody write who is not privileged (containerd `pkg/oci/spec.go`, ReadonlyPaths; its /sys)."""
FRESH, KERNEL = ("run", "tmp"), ("dev", "proc", "sys")
LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
HOSTS = "127.0.0.1\tlocalhost\n"
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError for what a system call refused."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount, as mount(2)."""
    words = (os.fsencode(source), os.fsencode(target), kind.encode() if kind else None, ctypes.c_ulong(flags))
    check(libc.mount(*words, options.encode() or None), f"mount {source} on {target}")


def freeze(target: str, flags: int = 0) -> None:
    """Let nobody write below a mount; other flags of it stay. No effect before Linux 5.12, without mount_setattr(2)."""
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY)
    where = (ctypes.c_int(AT_FDCWD), os.fsencode(target), ctypes.c_uint(flags))
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    failed = libc.syscall(ctypes.c_long(MOUNT_SETATTR), *where, attributes, size)
    if failed and ctypes.get_errno() != errno.ENOSYS:
        check(failed, f"mount {target} read-only")


def mirror_root(source: str = "/") -> None:
    """Make a root folder in memory with the same entries as another, the node's own or an image's.

    An image stays as it is: what a runtime gives each container anew is in memory, and the kernel's are the node's.
    """
    os.makedirs(ROOT, exist_ok=True)
    entries = list(os.scandir(source))
    mount("tmpfs", ROOT, "tmpfs", 0, "mode=755")
    mount("none", ROOT, None, PRIVATE)
    for entry in entries:
        target = os.path.join(ROOT, entry.name)
        if source != "/" and entry.name in FRESH + KERNEL:
            os.mkdir(target, 0o1777 if entry.name == "tmp" else 0o755)
            if entry.name in KERNEL:
                mount(f"/{entry.name}", target, None, BIND | REC)
            elif entry.name == "tmp":
                os.chmod(target, 0o1777)  # noqa: S103  as /tmp is, whatever the umask
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir():
            os.mkdir(target)
            mount(entry.path, target, None, BIND | REC)


def make_root(tools: "dict[str, Any]") -> None:
    """Make a root folder in memory with these programs, the machine's libraries, and what every container has."""
    os.makedirs(ROOT, exist_ok=True)
    mount("tmpfs", ROOT, "tmpfs", 0, "mode=755")
    mount("none", ROOT, None, PRIVATE)
    for name in (*KERNEL, *FRESH, "etc", "root"):
        os.mkdir(f"{ROOT}/{name}")
    os.chmod(f"{ROOT}/tmp", 0o1777)  # noqa: S103, S108  as /tmp is
    for name in KERNEL:
        mount(f"/{name}", f"{ROOT}/{name}", None, BIND | REC)
    for name, text in (("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n"), ("hosts", HOSTS)):
        with open(f"{ROOT}/etc/{name}", "w") as file:
            file.write(text)
    for path, source in tools["files"].items():
        os.makedirs(os.path.dirname(ROOT + path), exist_ok=True)
        os.close(os.open(ROOT + path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o755))
        mount(source, ROOT + path, None, BIND)
    for path, target in tools["links"].items():
        os.makedirs(os.path.dirname(ROOT + path), exist_ok=True)
        os.symlink(target, ROOT + path)
    for folder in LIBRARIES if tools["files"] else ():
        os.makedirs(os.path.dirname(ROOT + folder), exist_ok=True)
        if os.path.islink(folder):
            os.symlink(os.readlink(folder), ROOT + folder)
        elif os.path.isdir(folder):
            os.mkdir(ROOT + folder)
            mount(folder, ROOT + folder, None, BIND | REC)
            freeze(ROOT + folder)


def hide(folders: "list[str]") -> None:
    """Show empty folders in the place of the node's own."""
    for folder in folders:
        if os.path.isdir(ROOT + folder):
            mount("tmpfs", ROOT + folder, "tmpfs", 0, "mode=755")


def show_own_network() -> None:
    """Mount a /sys that shows the devices of this process's network; where the machine forbids it, the node's stays."""
    try:
        mount("sysfs", f"{ROOT}/sys", "sysfs", 0)
    except PermissionError:
        return


def close_kernel() -> None:
    """Let the program change nothing of the kernel by files, but for those that it is given as volumes."""
    for name in CLOSED:
        target = f"{ROOT}/{name}"
        if os.path.isdir(target):
            mount(target, target, None, BIND | REC)
            freeze(target)


def inside(path: str) -> str:
    """Say where a path leads below ROOT, following links as the program will, which has ROOT as its root folder."""
    parts, here = path.strip("/").split("/"), ""
    for _ in range(1000):
        if not parts:
            return ROOT + here
        name, parts = parts[0], parts[1:]
        step = f"{here}/{name}"
        if os.path.islink(ROOT + step):
            target = os.readlink(ROOT + step)
            here = "" if target.startswith("/") else here
            parts = [word for word in target.strip("/").split("/") if word not in ("", ".")] + parts
        elif name == "..":
            here = here.rpartition("/")[0]
        else:
            here = step
    raise OSError(errno.ELOOP, f"mount on {path}: {os.strerror(errno.ELOOP)}")


def open_up(paths: list[str]) -> None:
    """Let everybody pass through the folders on the way to paths without links, by covers that show the way only.

    An image belongs to everybody; the machine's interpreter may be below a folder of root's.
    """
    closed: dict[str, set[str]] = {}
    for path in paths:
        parts = path.strip("/").split("/")
        for place, name in enumerate(parts):
            folder = "/".join([ROOT, *parts[:place]])
            if not os.stat(folder).st_mode & 0o001:
                closed.setdefault(folder, set()).add(name)
    for folder in sorted(closed, key=len):
        kept = {name: os.open(f"{folder}/{name}", os.O_PATH | os.O_DIRECTORY) for name in closed[folder]}
        mount("tmpfs", folder, "tmpfs", 0, "mode=755")
        for name, descriptor in kept.items():
            os.mkdir(f"{folder}/{name}")
            os.fchdir(descriptor)
            mount(".", f"{folder}/{name}", None, BIND | REC)
            os.close(descriptor)
    os.chdir("/")


def bound(left: list[int]) -> None:
    """Let no program below have other capabilities than these: what execve(2) gives to root is cut to them."""
    for number in range(64):
        if number not in left and libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(number)):
            return  # the kernel knows no more of them


def become(user: int, group: int) -> None:
    """Be another user, who has no capability; in a lab without root there is none, and the same one loses them all."""
    try:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    except OSError:
        bound([])


def main() -> None:
    """Unshare, mount, give up what must be given up, execute."""
    execute(json.loads(sys.argv[1]), sys.argv[2:])


def be(told: "dict[str, Any]", command: list[str], environment: "dict[str, str]", report: int) -> None:
    """Become the program, in a process that was just forked; say on a descriptor why that cannot be.

    What reads the descriptor sees its end once the program runs.
    """
    os.set_inheritable(report, False)
    os.environ.clear()
    os.environ.update(environment)
    try:
        execute(told, command)
    except OSError as error:
        os.write(report, os.fsencode(f"{error.errno or 0} {error.strerror or error}"))
    except Exception as bug:
        os.write(report, os.fsencode(f"0 {bug!r}"))
    os._exit(127)


def execute(told: "dict[str, Any]", command: list[str]) -> None:
    """Be the program."""
    check(libc.unshare(NEWNS), "unshare")
    mount("none", "/", None, REC | SLAVE)
    if told.get("tools") is not None:
        make_root(told["tools"])
    else:
        mirror_root(told.get("image") or "/")
    hide(told.get("hidden", []))
    if told.get("own_network"):
        show_own_network()
    targets = [inside(each["target"]) for each in told["mounts"]]
    for each, target in zip(told["mounts"], targets, strict=True):
        os.makedirs(each["source"], exist_ok=True)
        os.makedirs(target, exist_ok=True)
    open_up(told.get("open", []))
    if told.get("read_only"):
        freeze(ROOT, AT_RECURSIVE)
    if told.get("capabilities") is not None:
        close_kernel()
    for each, target in zip(told["mounts"], targets, strict=True):
        mount(each["source"], target, None, BIND | REC)
        if not each["follows"]:
            mount("none", target, None, REC | PRIVATE)
        if each["read_only"]:
            freeze(target)
    os.chroot(ROOT)
    os.chdir("/")
    if told.get("capabilities") is not None:
        bound(told["capabilities"])
    if told.get("user") is not None:
        become(told["user"], told["group"])
    if told.get("no_new_privileges"):
        check(libc.prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))), "prctl no new privileges")
    run(command)


def run(command: list[str]) -> None:
    """Become a program of this root folder, found as a shell finds it. os.execvp imports what is not there any more."""
    program, refused = command[0], errno.ENOENT
    folders = [""] if "/" in program else os.environ.get("PATH", "").split(":")
    for folder in folders:
        try:
            os.execv(os.path.join(folder, program), command)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                refused = error.errno or errno.EIO
    raise OSError(refused, os.strerror(refused))


if __name__ == "__main__":
    main()
