"""Folders of its own for a lab and for each of its nodes, in private mount namespaces: the disk stays as it was.

A node must find an empty /etc/cni/net.d and keep what it writes there. Where the machine has no such folder we may not
make it (and without root could not), so its nearest existing parent is covered by a tmpfs that mirrors it by links:

    /etc (disk)   fstab hosts ssl/ ...          /etc (tmpfs)  fstab -> .disk/fstab, ssl -> .disk/ssl, ..., cni/net.d/
                                                              .disk/ = the folder below, bound
"""

import os
from pathlib import Path

from kubemtu_lab import kernel

OWN_FOLDERS = (
    Path("/run"),
    Path("/etc/cni/net.d"),
    Path("/etc/kubernetes"),
    Path("/etc/kube-flannel"),
    Path("/var/lib/calico"),
    Path("/var/lib/cni"),
    Path("/var/lib/kubemtu"),
)
"""What every node keeps for itself."""


def detach_from_host() -> None:
    """Let no mount of ours reach the machine, and make sure that every own folder of a node exists to mount on."""
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    for folder in OWN_FOLDERS:
        if not _is_folder(folder):
            _make(folder)


def private_folders() -> None:
    """Give this mount namespace empty own folders."""
    for folder in OWN_FOLDERS:
        kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    for folder in (Path("/run/netns"), Path("/run/lock")):
        folder.mkdir()
    # What is mounted here later, as pods' namespaces are, shows in containers whose mounts follow (HostToContainer).
    kernel.mount("none", "/run", "", kernel.MS_SHARED)


def own_proc() -> None:
    """Mount /proc and /sys as this process's namespaces see them, where the machine allows it.

    Inside some containers both are covered in parts, and then an unprivileged user may not mount them anew
    (kernel: fs/namespace.c, mount_too_revealing); the old ones do for all that the lab itself needs.
    """
    for kind, target in (("proc", "/proc"), ("sysfs", "/sys")):
        try:
            kernel.mount(kind, target, kind, kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        except PermissionError:
            continue


def write_sysctl(path: str, value: str | int) -> None:
    """Set a setting of the calling thread's network namespace; `path` below /proc/sys/net, as "ipv4/ip_forward"."""
    Path("/proc/sys/net", path).write_text(str(value))


def _make(folder: Path) -> None:
    parent = next(each for each in folder.parents if _is_folder(each))
    if not _is_tmpfs_of_ours(parent):
        _mirror(parent)
    folder.mkdir(parents=True)


def _is_tmpfs_of_ours(folder: Path) -> bool:
    return any(_is_folder(each / ".disk") for each in (folder, *folder.parents))


def _is_folder(path: Path) -> bool:
    """Tell whether there is a folder that we may reach; buildah, run by root, leaves an /etc/cni for root alone."""
    try:
        return path.is_dir()
    except PermissionError:
        return False


def _mirror(folder: Path) -> None:
    below = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        entries = list(os.scandir(folder))
    except PermissionError:
        entries = []
    kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    disk = folder / ".disk"
    disk.mkdir()
    kernel.mount(f"/proc/self/fd/{below}", disk, "", kernel.MS_BIND | kernel.MS_REC)
    kernel.unmount(disk)  # the recursive bind took the tmpfs itself along, on top
    os.close(below)
    for entry in entries:
        target = (disk / entry.name).readlink() if entry.is_symlink() else f".disk/{entry.name}"
        (folder / entry.name).symlink_to(target)
