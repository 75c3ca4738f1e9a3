"""What a container's securityContext takes away from its program, and the command with which `container_exec` does it.

Without one a program has all that the lab has. Of the fields, those are heeded that a program can feel: runAsUser,
runAsGroup, runAsNonRoot, capabilities, allowPrivilegeEscalation and readOnlyRootFilesystem; no seccomp profile is
installed, and fsGroup changes no file. Where capabilities are named, a program that is not privileged has what a
runtime gives besides: its capabilities but for those that are dropped, and /sys and parts of /proc read-only.
Source: kubernetes `pkg/kubelet/kuberuntime/security_context{,_others}.go`, containerd `pkg/oci/spec.go`
(defaultUnixCaps, ReadonlyPaths); capabilities(7), include/uapi/linux/capability.h.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object
from kubemtu_lab import image_tools, images
from kubemtu_lab.volumes import Mount

_PROGRAM = Path(__file__).with_name("container_exec.py")

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""By their number in the kernel."""
GIVEN = frozenset({
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
})  # fmt: skip
"""What containerd gives to every container that does not drop it."""


class RootRefused(KubemtuError):
    """The program would be root and must not be; the message is kubelet's."""

    exit_code = 5


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the program of a container may be and have; the defaults take nothing away."""

    user: int | None = None
    group: int | None = None
    capabilities: tuple[int, ...] | None = None
    """The numbers of those that are left; None for all. With some, /sys and parts of /proc can only be read."""
    no_new_privileges: bool = False
    read_only: bool = False


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command sees that is executed in a container, besides its volumes."""

    tools: image_tools.Tools | None = None
    """The programs of the image; None for the machine's."""
    hidden: tuple[str, ...] = ()
    """Folders of the node that are empty for it."""
    own_network: bool = False
    """The network is the pod's, not the node's."""


def of(pod: Object, container: Object, image: images.Image | None = None) -> Limits:
    """Read the limits of a container, whose user is that of its image where the pod says none. Raises RootRefused."""
    user = _integer(pod, container, "runAsUser")
    group = _integer(pod, container, "runAsGroup")
    if user is None and image is not None:
        user, group = image.user, image.group if group is None else group
    _refuse_root(pod, container, user)
    if user == 0 and not group:
        user = group = None  # what every program of a lab is, unless something is taken from it
    if container.flag("securityContext", "privileged"):
        return Limits(user=user, group=group)
    return Limits(
        user=user,
        group=0 if group is None and user is not None else group,
        capabilities=_left(container),
        no_new_privileges=container.flag("securityContext", "allowPrivilegeEscalation") is False,
        read_only=bool(container.flag("securityContext", "readOnlyRootFilesystem")),
    )


def command(
    argv: list[str],
    mounts: Sequence[Mount],
    limits: Limits,
    environment: Mapping[str, str],
    image: images.Image | None = None,
) -> list[str]:
    """Return the command that runs a program with these folders and limits; the program itself where it has none.

    With an image it sees the image's files, and of the node's what is mounted.
    """
    if not mounts and limits == Limits() and image is None:
        return argv
    told = orders(argv, mounts, limits, environment, image)
    return [sys.executable, "-I", "-S", str(_PROGRAM), msgspec.json.encode(told).decode(), *argv]


def orders(
    argv: list[str],
    mounts: Sequence[Mount],
    limits: Limits,
    environment: Mapping[str, str],
    image: images.Image | None = None,
    view: View | None = None,
) -> dict[str, object]:
    """Return what `container_exec` is told of a program."""
    told: dict[str, object] = msgspec.to_builtins(limits) | {"mounts": msgspec.to_builtins(mounts)}
    told |= msgspec.to_builtins(view) if view is not None else {}
    if image is not None:
        told["image"] = image.root
    elif view is not None and view.tools is not None:
        pass  # all of it belongs to everybody
    elif limits.user or _may_not_pass(limits):
        told["open"] = _needed(argv[0], environment)
    return told


def _may_not_pass(limits: Limits) -> bool:
    """Return True for a program that a folder of somebody else may keep out, whoever it is."""
    return limits.capabilities is not None and CAPABILITIES.index("DAC_OVERRIDE") not in limits.capabilities


def _needed(program: str, environment: Mapping[str, str]) -> list[str]:
    """Return the paths that a program must reach: itself, what runs kubemtu; none has a link in it, but for its end."""
    path = Path(shutil.which(program) or program)
    ways = [path.parent.resolve() / path.name, path.resolve()]
    ways += [Path(each).resolve() for each in (sys.executable, sys.prefix, sys.base_prefix)]
    ways += [Path(each).resolve() for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]
    return sorted({str(each) for each in ways if os.path.lexists(each)})


def _refuse_root(pod: Object, container: Object, user: int | None) -> None:
    own = container.flag("securityContext", "runAsNonRoot")
    if not (pod.flag("spec", "securityContext", "runAsNonRoot") if own is None else own):
        return
    where = f'(pod: "{pod.name}_{pod.namespace}({pod.text("metadata", "uid")})", container: {container.text("name")})'
    if user is None:  # the user of an image that says none is root
        raise RootRefused(f"container has runAsNonRoot and image will run as root {where}")
    if user == 0:
        raise RootRefused(f"container's runAsUser breaks non-root policy {where}")


def _integer(pod: Object, container: Object, field: str) -> int | None:
    """Return a field that a container may set for itself, and the pod for all of its containers."""
    own = container.integer("securityContext", field)
    return pod.integer("spec", "securityContext", field) if own is None else own


def _left(container: Object) -> tuple[int, ...] | None:
    told = container.mapping("securityContext", "capabilities")
    if not told:
        return None
    dropped, added = _named(told.get("drop")), _named(told.get("add"))
    given = {number for number, name in enumerate(CAPABILITIES) if name in GIVEN}
    return tuple(sorted((given - dropped) | added))


def _named(words: object) -> set[int]:
    names = {str(word).upper().removeprefix("CAP_") for word in (words if isinstance(words, list) else ())}
    return {number for number, name in enumerate(CAPABILITIES) if name in names or "ALL" in names}
