"""Files out of what `stat -c "%Y %n"` and `grep -H ''` print of them: when each was written, and its lines.

    1700000000 /host/etc/cni/net.d/10-net.conflist
    /host/etc/cni/net.d/10-net.conflist:{"name": "pods",

No line of a file can pass for another's, for each has its path before it.
"""

import re
from collections.abc import Mapping

import msgspec

from kubemtu.core import net

LONGEST = 1 << 16  # characters of a file; a CNI's has a few hundred
MOST = 32  # files of a node; a folder of a CNI holds one to five
STAMP = re.compile(r"([0-9]{1,12}) (/.*)")


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """The files that were shown, and a sentence for each that was left out."""

    files: tuple[net.NodeFile, ...] = ()
    remarks: tuple[str, ...] = ()


def parse(text: str, places: Mapping[str, str]) -> Listed:
    """Read the lines; `places` says of each path that was named in the container which it is on the node.

    A file's text is all that was printed: whoever keeps it strikes out first what is nobody's (core.disclosure.files).
    """
    stamps: dict[str, float] = {}
    lines: dict[str, list[str]] = {}
    for line in text.split("\n"):
        stamp = STAMP.fullmatch(line)
        if stamp is not None:
            if (path := _placed(stamp[2], places)) is not None:
                stamps[path] = float(stamp[1])
                lines.setdefault(path, [])
            continue
        inside, colon, content = line.partition(":")
        if colon and (path := _placed(inside, places)) is not None:
            lines.setdefault(path, []).append(content)
    found: list[net.NodeFile] = []
    remarks: list[str] = []
    for path, held in sorted(lines.items()):
        whole = "".join(f"{one}\n" for one in held)
        if len(whole) > LONGEST:
            remarks.append(f"{path}: longer than {LONGEST} characters, which no file of a CNI is; left out")
        elif len(found) >= MOST:
            remarks.append(f"more than {MOST} files of the CNI; {path} and those after it were left out")
            break
        else:
            found.append(net.NodeFile(path=path, text=whole, modified=stamps.get(path, 0.0)))
    return Listed(files=tuple(found), remarks=tuple(remarks))


def _placed(path: str, places: Mapping[str, str]) -> str | None:
    """Return the path on the node of one in the container; None where it is below nothing that was named."""
    for inside, outside in places.items():
        if path == inside:
            return outside
        if path.startswith(f"{inside.rstrip('/')}/"):
            return f"{outside.rstrip('/')}/{path[len(inside.rstrip('/')) + 1 :]}"
    return None
