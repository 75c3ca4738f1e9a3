"""Every command that is ever run in a pod that belongs to somebody else: one fixed list, read only, without a shell.

Nothing that a node says goes into a command: the only words that are not here are where the pod's own specification
mounts the CNI's folders. `ip` says most; where an image has none of today's, `find` and `grep` show files of /sys and
/proc in one go each, with the path before each line (busybox has no --include and no --exclude-dir, and some images
have GNU grep and no find: hence two forms). Each form was tried with busybox 1.35, findutils 4.9 and grep 3.8.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from kubemtu.core.disclosure import files as disclosure
from kubemtu.core.printed import procnet, sysfs

Command: TypeAlias = tuple[str, ...]

LINKS: Final[Command] = ("ip", "-d", "-j", "link")
ROUTES: Final[Command] = ("ip", "route", "show", "table", "all")
"""As text: the JSON of no version says that a route's MTU is locked."""

_FOLDERS: Final = ("subsystem", "device", "queues", "statistics", "power", "brif", "brport", "upper_*", "lower_*")
"""Folders of a device that lead to other devices, or hold none of what is wanted."""


def _either(names: Iterable[str]) -> Command:
    """Return the words by which `find` takes files of these names."""
    words = [word for name in names for word in ("-o", "-name", name)]
    return ("(", *words[1:], ")")


FOUND: Final[Command] = (
    *("find", sysfs.FOLDER, "-follow", "-maxdepth", "3"),
    *_either(_FOLDERS),
    *("-prune", "-o"),
    *_either(sysfs.FILES),
    *("-exec", "grep", "-sH", "", "{}", "+"),
)
GREPPED: Final[Command] = (
    *("grep", "-RsH"),
    *(f"--include={name}" for name in sysfs.FILES),
    *(f"--exclude-dir={name}" for name in _FOLDERS),
    *("", sysfs.FOLDER),
)
PROC: Final[Command] = ("grep", "-sH", "", *procnet.FILES)
MODIFIED: Final = "%Y %n"


def listed(folders: Sequence[str], files: Sequence[str]) -> Command:
    """Return the command that shows what the CNI keeps on a node: for each file when it was written, then its lines.

    `folders` and `files` are paths in the container. Nothing that holds credentials (a kubeconfig) has such a name.
    """
    names = (*(f"*{suffix}" for suffix in disclosure.SUFFIXES), *(path.rpartition("/")[2] for path in files))
    return (
        *("find", *folders, *files, "-maxdepth", "1"),
        *_either(dict.fromkeys(names)),
        *("-exec", "stat", "-c", MODIFIED, "{}", "+", "-exec", "grep", "-sH", "", "{}", "+"),
    )


FORMS: Final[tuple[tuple[str, tuple[Command, ...]], ...]] = (
    ("ip", (LINKS, ROUTES)),
    ("find", (FOUND, PROC)),
    ("grep", (GREPPED, PROC)),
)
"""The ways to see a node's network, the one that is tried first before the others, each with what it runs."""
