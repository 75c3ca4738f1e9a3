"""Which capabilities this process has, and those that the work on a node needs.

Source: capabilities(7), include/uapi/linux/capability.h; each need was tried by leaving that one out.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from kubemtu.core import errors

NET_BROADCAST: Final = "CAP_NET_BROADCAST"
NUMBERS: Final[Mapping[str, int]] = {
    NET_BROADCAST: 11,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_ADMIN": 21,
}
SET: Final = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN")
"""What changing pods needs: setns(), and links, routes and sysctls of the namespace entered."""
MEASURE: Final = (*SET, "CAP_NET_RAW")
"""What measuring from pods needs as well: raw sockets."""


def missing(names: Iterable[str]) -> list[str]:
    """Return those of the capabilities that this process has not in effect."""
    status = Path("/proc/self/status").read_text()
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return [name for name in names if not effective & (1 << NUMBERS[name])]


def require(names: Iterable[str], advice: str) -> None:
    """Raise Forbidden where one of the capabilities is missing; the sentence ends with what to do."""
    lacking = missing(names)
    if lacking:
        raise errors.Forbidden(f"this needs {' and '.join(lacking)}, to enter the pods' network namespaces; {advice}")
