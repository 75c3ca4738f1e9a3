"""The other tools: how each is asked for the MTU of a path, and how its answer is read.

Each is given what helps it most among its own options: no names to look up, the interface, the largest size to try.
The bisecting loop over `ping` is what people write; it tries the interface's own MTU first, believes a router at once,
and asks three times, a second each, only where nothing comes back.
"""

import re
from collections.abc import Callable
from typing import Final, Literal

import msgspec

Family = Literal[4, 6]
SMALLEST: Final = 576  # bytes that every IPv4 host takes: RFC 791 3.1
BISECT: Final = """
low=$((SMALLEST - 1)) high=$((TOP + 1)) size=TOP
while [ $((high - low)) -gt 1 ]; do
  arrived=
  for try in 1 2 3; do
    said=$(ping -n -M do -c 1 -W 1 -s $((size - HEADERS)) ADDRESS 2>&1) && arrived=1 && break
    case $said in *mtu*) break ;; esac
  done
  if [ $arrived ]; then low=$size; else high=$size; fi
  size=$(((low + high) / 2))
done
echo $low
"""


class Answer(msgspec.Struct, frozen=True):
    """What a tool says: the text for the table, the size if it is one, in bytes, and whether it is right."""

    text: str
    size: int | None = None
    right: bool = False


NONE: Final = Answer("no answer")


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One tool. `words` makes its command, of its program, the address, and the MTU of the own interface.

    `waits`: "always" where it takes seconds on every path, "in silence" where only a black hole makes it wait long,
    "little" where it may be run again and again.
    """

    name: str
    program: str
    package: str
    source: Literal["Debian", "PyPI"]
    words: Callable[[str, str, int], tuple[str, ...]]
    read: Callable[[str], Answer]
    families: tuple[Family, ...] = (4, 6)
    waits: Literal["always", "in silence", "little"] = "little"


def _bisect(_program: str, address: str, top: int) -> tuple[str, ...]:
    headers = 48 if ":" in address else 28
    script = (
        BISECT.replace("SMALLEST", str(SMALLEST))
        .replace("TOP", str(top))
        .replace("HEADERS", str(headers))
        .replace("ADDRESS", address)
    )
    return ("sh", "-c", script)


def _scamper(program: str, address: str, _top: int) -> tuple[str, ...]:
    method = " -P udp" if ":" in address else ""  # its default over IPv6 gets no answer here
    return (program, "-I", f"trace -M{method} {address}")


def _automtu(program: str, address: str, top: int) -> tuple[str, ...]:
    most = str(top - 28)
    words = ("--egress-if", "e0", "--pmtu-target", address, "--pmtu-max-payload", most, "--dry-run")
    return (program, *words, "--print-mtu", "effective")


def _matched(pattern: str, plus: int = 0) -> Callable[[str], Answer]:
    """Read the last match of a pattern as the size."""

    def read(text: str) -> Answer:
        found = re.findall(pattern, text, re.MULTILINE)
        if not found or int(found[-1]) <= 0:
            return NONE
        size = int(found[-1]) + plus
        return Answer(str(size), size)

    return read


def _nmap(text: str) -> Answer:
    if found := re.search(r"PMTU == (\d+)", text):
        return Answer(found[1], int(found[1]))
    if found := re.search(r"(\d+) <= PMTU < (\d+)", text):
        return Answer(f"{found[1]} to {int(found[2]) - 1}")
    return NONE


def _bisected(text: str) -> Answer:
    found = _matched(r"^(\d{3,})$")(text)
    return NONE if found.size == SMALLEST - 1 else found


def _hops(text: str) -> Answer:
    """Return what scamper says of the last hop, if that is the other end."""
    lines = text.rstrip().splitlines()
    reached = len(lines) > 1 and f" {lines[0].rsplit(' ', 1)[-1]} " in lines[-1]
    return _matched(r"\[\*?mtu: (\d+)\]")(lines[-1]) if reached else NONE


def _reached(text: str) -> Answer:
    """Return what tracepath says at its end, unless it never reached the other end."""
    found = re.findall(r"Resume: pmtu (\d+)", text)
    return Answer(found[-1], int(found[-1])) if found else NONE


PEERS: Final = (
    Peer(
        name="ping, bisecting",
        program="ping",
        package="iputils-ping",
        source="Debian",
        words=_bisect,
        read=_bisected,
        waits="in silence",
    ),
    Peer(
        name="tracepath",
        program="tracepath",
        package="iputils-tracepath",
        source="Debian",
        words=lambda program, address, _: (program, "-n", address),
        read=_reached,
        waits="in silence",
    ),
    Peer(
        name="scamper",
        program="scamper",
        package="scamper",
        source="Debian",
        words=_scamper,
        read=_hops,
        waits="in silence",
    ),
    Peer(
        name="nmap path-mtu",
        program="nmap",
        package="nmap",
        source="Debian",
        words=lambda program, address, _: (program, "-n", "-Pn", "--script", "path-mtu", address),
        read=_nmap,
        families=(4,),
    ),
    Peer(
        name="automtu",
        program="automtu",
        package="automtu",
        source="PyPI",
        words=_automtu,
        read=_matched(r"^(\d{3,})$"),
    ),
    Peer(
        name="mtuprobe",
        program="mtuprobe",
        package="mtuprobe",
        source="PyPI",
        words=lambda program, address, top: (program, "-q", "-s", str(max(top, 3000)), address),
        read=_matched(r"^(\d{2,})$", plus=28),  # it prints the payload of an echo request
        families=(4,),
        waits="always",
    ),
    Peer(
        name="pmtu-diag",
        program="pmtu-diag",
        package="pmtu-diag",
        source="PyPI",
        words=lambda program, address, top: (program, "--max", str(top), address),
        read=_matched(r"Forward path MTU \(verified\): *(\d+)"),
        families=(4,),
        waits="always",
    ),
)
