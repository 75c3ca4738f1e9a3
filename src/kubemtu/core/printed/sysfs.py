"""What `find` and `grep` print of /sys/class/net, as values: each line is the path of a file and a line that it holds.

    /sys/class/net/cali0123/mtu:1450

A device says its MTU, index, flags and ARP type, and its kind where the driver gives one (DEVTYPE in `uevent`;
net/core/net-sysfs.c). A veth gives none; but the index of its other end (`iflink`) is another than its own. Not shown
are what makes a VXLAN device (but for the device that it is bound to), and the other end's namespace: where a node is a
container itself, its NIC and a pod's end may have each other's index by chance, so every veth is taken to lead away.
"""

import re
from collections.abc import Mapping

from kubemtu.core import net
from kubemtu.core.printed import values
from kubemtu.core.printed.values import Output, PrintedLink, Remarks
from kubemtu.core.text import digits

FOLDER = "/sys/class/net/"
FILES = ("mtu", "ifindex", "iflink", "type", "flags", "uevent", "tun_flags")
"""The files of a device that are looked at; beside them its bridge's index, in `master/ifindex`."""
LINE = re.compile(r"/sys/class/net/+([^\s/:]{1,15})/((?:master/)?[a-z_]{1,16}):(.*)")
LINES_MOST = 1_000_000
UP = 0x1  # IFF_UP (include/uapi/linux/if.h)
ETHERNET = 1  # include/uapi/linux/if_arp.h, as those below
KINDS = {768: "ipip", 769: "ip6tnl", 776: "sit", 778: "gre", 823: "ip6gre"}
OWN_KINDS = frozenset({"bridge", "vxlan", "geneve", "wireguard", "bond", "vlan", "macvlan", "ipvlan", "macsec", "dsa"})


def parse(text: str) -> Output:
    """Read the lines. What is no such line, or no link that can be, is a remark; nothing is raised."""
    remarks = Remarks()
    devices: dict[str, dict[str, str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if number > LINES_MOST or len(devices) > values.LINKS_MOST:
            remarks.add(f"more than {values.LINKS_MOST} devices: the rest was left out", number)
            break
        found = LINE.fullmatch(line)
        if found is not None:
            facts = devices.setdefault(found[1], {})
            name, value = found[2], found[3]
            if name == "uevent":
                key, _, value = value.partition("=")
                name = f"uevent {key}"
            facts.setdefault(name, value)
        elif line.strip() and not line.startswith(FOLDER):
            remarks.add(f"is no file of a network device: {values.quoted(line)}", number)
    links = [link for name, facts in devices.items() if (link := _link(name, facts, devices, remarks)) is not None]
    if links:
        remarks.lacks.add("route MTUs")
    return values.output(links, remarks=remarks)


def _link(
    name: str, facts: Mapping[str, str], devices: Mapping[str, Mapping[str, str]], remarks: Remarks
) -> PrintedLink | None:
    index, mtu = digits.number(facts.get("ifindex", "")), values.mtu(digits.number(facts.get("mtu", "")))
    if index is None or mtu is None:
        if facts.keys() & {"ifindex", "mtu"}:
            lacks = "mtu" if mtu is None else "ifindex"
            remarks.add(f"{values.quoted(name)}: {lacks} is {values.quoted(facts.get(lacks))}: it was left out")
        return None
    kind = _kind(facts)
    lower = digits.number(facts.get("iflink", "")) or index
    return PrintedLink(
        index=index,
        name=name,
        mtu=mtu,
        up=bool((_hexadecimal(facts.get("flags", "")) or 0) & UP),
        master=_named(facts.get("master/ifindex"), devices),
        parent=lower if kind == "veth" else None,
        kind=kind,
        vxlan=_vxlan(lower, index, devices) if kind == "vxlan" else None,
    )


def _kind(facts: Mapping[str, str]) -> str:
    own = facts.get("uevent DEVTYPE", "")
    if own:
        return own if own in OWN_KINDS else ""
    if "tun_flags" in facts:
        return "tun"
    number = digits.number(facts.get("type", ""))
    if number == ETHERNET:
        lower = facts.get("iflink", "0")
        return "veth" if lower not in {"0", facts.get("ifindex", "")} else ""
    return KINDS.get(number or 0, "")


def _vxlan(lower: int, index: int, devices: Mapping[str, Mapping[str, str]]) -> net.Vxlan | None:
    """Return what is known of a VXLAN device: the one that it is bound to, as its `iflink`; None without one."""
    bound = _named(str(lower), devices) if lower != index else None
    return net.Vxlan(vni=0, lower=bound) if bound is not None else None


def _named(index: str | None, devices: Mapping[str, Mapping[str, str]]) -> str | None:
    return next((name for name, facts in devices.items() if index and facts.get("ifindex") == index), None)


def _hexadecimal(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", text) else None
