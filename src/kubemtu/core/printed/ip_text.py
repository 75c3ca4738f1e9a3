"""Text of `ip [-d] link` and `ip [-d] addr` as values: iproute2 3.x to 6.x and busybox (networking/libiproute).

busybox, and iproute2 before 4.0, look an index up in their own namespace: `eth0@eth0` is a veth whose other end is in
another one. They are told by the missing `group`, and what they show behind @ is not used.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kubemtu.core import net
from kubemtu.core.printed import addresses, values
from kubemtu.core.printed.values import Address, PrintedLink, Remarks
from kubemtu.core.text import digits

HEAD = re.compile(r"\s*(?:Deleted )?([0-9]{1,10}): ([^\s:]+): <([^>]*)>(.*)")
ADDRESS = re.compile(r"[0-9]{1,10}: (\S+)\s+(inet6?) (\S.*)")  # ip -o addr
OF_INDEX = re.compile(r"if([0-9]{1,10})")
KIND = re.compile(r"[a-z][a-z0-9_.-]*")
NO_KIND = frozenset({"inet", "inet6", "alias", "altname", "vf", "prog/xdp", "valid_lft"})


class _LinkLines(msgspec.Struct):
    """One link while its lines are read."""

    line: int
    index: int
    name: str
    parent: str
    up: bool
    words: Mapping[str, str]
    about: Mapping[str, str] = {}  # of its line link/...
    link_type: str = ""
    detailed: bool = False
    kind: str = ""
    vxlan: net.Vxlan | None = None


def links(lines: Iterable[tuple[int, str]], remarks: Remarks) -> tuple[list[PrintedLink], list[Address]]:
    """Read lines (number, text) of `ip link`, `ip addr` or both; what is no such line becomes a remark."""
    found: list[PrintedLink] = []
    held: list[Address] = []
    block: _LinkLines | None = None
    for number, whole in lines:
        for line in _unfolded(whole):
            head = HEAD.match(line)
            if head is not None:
                _close(block, found, remarks)
                block = _begin(number, head)
            elif (single := ADDRESS.match(line)) is not None:
                _take_address(single[1].partition("@")[0], single[2], single[3], number, held, remarks)
            elif block is not None and line[:1].isspace():
                _continue(block, number, line.split(), held, remarks)
            elif line.strip() and line.split()[0] != "valid_lft":
                remarks.add(f"is not understood: {values.quoted(line)}", number)
    _close(block, found, remarks)
    return found, held


def _unfolded(line: str) -> Iterator[str]:
    r"""Yield the lines that `ip -o` wrote as one: it puts `\` where a line would end."""
    yield from re.split(r"\\(?=\s)", line)


def _begin(number: int, head: re.Match[str]) -> _LinkLines:
    name, _, parent = head[2].rpartition("@") if "@" in head[2] else (head[2], "", "")
    words = head[4].split()
    return _LinkLines(
        line=number,
        index=int(head[1]),
        name=name,
        parent=parent,
        up="UP" in head[3].split(","),
        words=_pairs(words),
    )


def _pairs(words: list[str]) -> dict[str, str]:
    """Return each word with the one after it; the first of two that are alike counts."""
    return dict(reversed(list(itertools.pairwise(words))))


def _continue(block: _LinkLines, number: int, words: list[str], held: list[Address], remarks: Remarks) -> None:
    if not words:
        return
    first = words[0]
    if first.startswith("link/"):
        block.link_type, block.about = first.removeprefix("link/"), _pairs(words)
        block.detailed = "promiscuity" in words
    elif first in {"inet", "inet6"} and len(words) > 1:
        _take_address(block.name, first, " ".join(words[1:]), number, held, remarks)
    elif block.detailed and not block.kind and _is_kind(first):
        block.kind = first
        block.vxlan = _vxlan(_pairs(words)) if first == "vxlan" else None


def _is_kind(first: str) -> bool:
    """Say whether a line below the details of a link begins with its kind; bridge_slave is its master's."""
    return first not in NO_KIND and KIND.fullmatch(first) is not None and not first.endswith("_slave")


def _close(block: _LinkLines | None, found: list[PrintedLink], remarks: Remarks) -> None:
    if block is None or len(found) >= values.LINKS_MOST:
        return
    said = block.words.get("mtu")
    mtu = values.mtu(digits.number(said)) if said is not None else None
    if not values.is_name(block.name) or mtu is None:
        what = f"the MTU {values.quoted(said)}" if values.is_name(block.name) else "a name that no link can have"
        remarks.add(f"{values.quoted(block.name)} has {what}", block.line)
        return
    ends = "group" in block.words
    master = block.words.get("master")
    netnsid = block.about.get("link-netnsid")
    found.append(
        PrintedLink(
            index=block.index,
            name=block.name,
            mtu=mtu,
            up=block.up,
            master=master if values.is_name(master) else None,
            parent=_parent(block.parent, ends=ends),
            netnsid=_netnsid(netnsid) if netnsid is not None else None,
            netns=block.about.get("link-netns"),
            ends=ends,
            kind=block.kind if block.detailed else None,
            link_type=block.link_type,
            vxlan=block.vxlan,
        )
    )


def _parent(text: str, *, ends: bool) -> str | int | None:
    if (index := OF_INDEX.fullmatch(text)) is not None:
        return int(index[1])
    return text if ends and text not in {"", "NONE"} else None


def _netnsid(text: str) -> int:
    number = digits.number(text, 9)
    return number if number is not None else values.OTHER_NAMESPACE


def _vxlan(words: Mapping[str, str]) -> net.Vxlan:
    lower = words.get("dev")
    number = digits.number(words.get("dstport", ""), 5)
    return net.Vxlan(
        vni=digits.number(words.get("id", ""), 8) or 0,
        port=number or 4789,
        lower=lower if values.is_name(lower) else None,
        ipv6_outer=any(":" in words.get(key, "") for key in ("local", "remote", "group")),
    )


def _take_address(device: str, family: str, text: str, number: int, held: list[Address], remarks: Remarks) -> None:
    prefix, _, length = text.split(maxsplit=1)[0].partition("/")
    found = addresses.address(device, prefix, digits.number(length, 3))
    if found is not None and (":" in found.text) == (family == "inet6"):
        held.append(found)
    else:
        remarks.add(f"{values.quoted(prefix)} is no address of {family}", number)
