"""What network tools of one node print, as values; what they leave out stays unknown, and is said.

Kinds of devices stand only in details (`ip -d`), namespaces of other ends by number (JSON), by name (text of iproute2
4.20 and later) or nowhere (busybox, ifconfig), MTUs of routes not in busybox.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from kubemtu.core import net, networks
from kubemtu.core.text import printable, wording

LINKS_MOST = 50_000  # of one output; a node has a few hundred
TWINS_MOST = 16  # routes to one destination by one device
REMARKS_MOST = 20  # sentences about one output; what is wrong a thousand times is said often enough
MTU_MOST = 2**31 - 1  # IFLA_MTU is an int in the kernel (include/linux/netdevice.h), a tun may have 65535, lo 65536
NAME = re.compile(r"(?!\.{1,2}$)[^\s/:]{1,15}")  # net/core/dev.c, dev_valid_name: fewer than IFNAMSIZ bytes
UNNUMBERED = 1 << 32  # in order behind every link that has an index
OTHER_NAMESPACE = -1
"""A namespace that has no number here: NETNSA_NSID_NOT_ASSIGNED in include/uapi/linux/net_namespace.h."""
Lack = Literal["route MTUs", "route locks"]
"""What a tool does not show of any route: its MTU, or whether that is locked."""
KIND_OF_TYPE = {"ipip": "ipip", "sit": "sit", "gre": "gre", "tunnel6": "ip6tnl", "gre6": "ip6gre"}
"""Kinds of devices by the link type that tools print without details (iproute2, lib/ll_types.c)."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One address of a link."""

    device: str
    """Name of the link."""
    text: str
    """The address, without prefix length."""
    length: int
    """Prefix length, in bits."""

    @property
    def routed(self) -> bool:
        """False for addresses of one link or host only: fe80::/10 and ::1 (RFC 4291, sections 2.5.6 and 2.5.3)."""
        return self.text != "::1" and networks.beyond_link(self.text)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What one output says, or several of one node together."""

    links: tuple[net.Link, ...] = ()
    """Links with their MTUs."""
    routes: tuple[net.Route, ...] = ()
    """Unicast routes of the main tables."""
    vpn_routes: tuple[tuple[str, net.Route], ...] = ()
    """Routes of the tables of VPNs (core.vpn), each with its table; one without a device leads back to the main one."""
    addresses: tuple[Address, ...] = ()
    """Addresses of the links."""
    namespaces: Mapping[str, str] = {}
    """Name of the namespace that the other end of a link is in, by the link's name, where it is printed."""
    ports: tuple[net.PodPort, ...] = ()
    """Pod ports whose both ends somebody saw."""
    inside: Mapping[str, "Output"] = {}
    """What was printed in other network namespaces of the node, by their names."""
    undetailed: frozenset[str] = frozenset()
    """Names of the links whose kind was not printed: it is inferred, or empty."""
    endless: frozenset[str] = frozenset()
    """Names of the links whose other end is not printed, or wrongly, whatever they are."""
    lacks: frozenset[Lack] = frozenset()
    """What the tool shows of no route."""
    remarks: tuple[str, ...] = ()
    """What was not understood, a sentence each."""

    @property
    def says(self) -> bool:
        """False when nothing of it can be used."""
        return bool(self.links or self.routes or self.addresses or self.ports or self.inside)


class PrintedLink(msgspec.Struct, frozen=True, kw_only=True):
    """One link as it was printed: others by name or index. `kind` is None where kinds were not printed."""

    index: int
    name: str
    mtu: int
    up: bool = True
    master: str | None = None
    parent: str | int | None = None  # what stands behind @, or its index
    netnsid: int | None = None  # of the parent
    netns: str | None = None
    ends: bool = True  # False: the tool shows no other ends, or wrongly
    kind: str | None = None
    link_type: str = ""
    vxlan: net.Vxlan | None = None


class Remarks:
    """Sentences about one output, so many as a person reads; each is fit for a terminal."""

    def __init__(self) -> None:
        self.lacks: set[Lack] = set()
        self._sentences: dict[str, None] = {}
        self._more = 0

    def add(self, sentence: str, line: int | None = None) -> None:
        """Note a sentence, once, with the line that it is about."""
        place = f"line {line}: " if line is not None else ""
        if len(self._sentences) < REMARKS_MOST:
            self._sentences[printable.one_line(f"{place}{sentence}")] = None
        else:
            self._more += 1

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them, and how many more there were."""
        more = (f"and {wording.count(self._more, 'more line')} of this kind",) if self._more else ()
        return (*self._sentences, *more)


def quoted(text: object) -> str:
    """Return what others wrote, short and printable, for a sentence."""
    return printable.one_line(f"{text!r:.60}")


def mtu(value: object) -> int | None:
    """Return an MTU in bytes, None for what no link can have."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= MTU_MOST else None


def is_name(value: object) -> bool:
    """Say whether a link can have that name."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None and len(value.encode(errors="replace")) < 16


def output(
    printed: Sequence[PrintedLink],
    *,
    routes: Sequence[net.Route] = (),
    vpn_routes: Mapping[str, Sequence[net.Route]] | None = None,
    addresses: Sequence[Address] = (),
    remarks: Remarks | None = None,
) -> Output:
    """Put together what was printed: ends are found by name, kinds that were not printed are inferred and said."""
    noted = remarks or Remarks()
    by_name: dict[str, PrintedLink] = {}
    for each in printed:
        if (first := by_name.setdefault(each.name, each)) is not each and first.mtu != each.mtu:
            noted.add(f"{each.name} has MTU {each.mtu} here and {first.mtu} further above: the first was taken")
    links = tuple(_link(each, by_name) for each in by_name.values())
    return Output(
        links=links,
        routes=tuple(dict.fromkeys(routes)),
        vpn_routes=tuple((table, each) for table, listed in (vpn_routes or {}).items() for each in listed),
        addresses=tuple(dict.fromkeys(addresses)),
        namespaces={each.name: each.netns for each in by_name.values() if each.netns},
        undetailed=frozenset(each.name for each in by_name.values() if each.kind is None),
        endless=frozenset(each.name for each in by_name.values() if not each.ends),
        lacks=frozenset(noted.lacks),
        remarks=noted.sentences,
    )


def _link(printed: PrintedLink, by_name: Mapping[str, PrintedLink]) -> net.Link:
    kind = printed.kind if printed.kind is not None else _inferred(printed, by_name)
    parent = printed.parent
    named = by_name.get(parent) if isinstance(parent, str) else None
    peer = parent if isinstance(parent, int) else named.index if named is not None else None
    netnsid = printed.netnsid
    if netnsid is None and (printed.netns is not None or (isinstance(parent, int) and peer is not None)):
        netnsid = OTHER_NAMESPACE
    return net.Link(
        index=printed.index,
        name=printed.name,
        mtu=printed.mtu,
        kind=kind,
        up=printed.up,
        master=printed.master,
        peer_index=peer if kind == "veth" else None,
        peer_netnsid=netnsid if kind == "veth" else None,
        vxlan=printed.vxlan,
    )


def _inferred(printed: PrintedLink, by_name: Mapping[str, PrintedLink]) -> str:
    """Infer a kind from what is printed without details.

    An Ethernet device whose other end is in another namespace is a veth on any node: macvlan and ipvlan have theirs
    there only inside of a pod. Two devices that name each other are a veth as well.
    """
    if kind := KIND_OF_TYPE.get(printed.link_type):
        return kind
    if printed.link_type not in {"ether", ""}:
        return ""
    if printed.netnsid is not None or printed.netns is not None or isinstance(printed.parent, int):
        return "veth"
    other = by_name.get(printed.parent) if isinstance(printed.parent, str) else None
    return "veth" if other is not None and other is not printed and other.parent == printed.name else ""


def together(parts: Sequence[Output]) -> Output:
    """Join what one text holds in several forms."""
    merged = joined(("", part) for part in parts)
    return msgspec.structs.replace(
        merged, remarks=tuple(dict.fromkeys(each for part in parts for each in part.remarks))
    )


def joined(outputs: Iterable[tuple[str, Output]]) -> Output:
    """Join outputs of one node, each with the name of the file it is from: of a link the one with most details counts.

    Where two say different MTUs of the same link, the first counts and that is a remark.
    """
    links: dict[str, tuple[str, net.Link]] = {}
    undetailed: set[str] = set()
    endless: set[str] = set()
    ports: dict[str, net.PodPort] = {}
    namespaces: dict[str, str] = {}
    inside: dict[str, Output] = {}
    routes: dict[net.Route, frozenset[Lack]] = {}  # with what no output that has it shows
    vpn_routes: dict[tuple[str, net.Route], None] = {}
    addresses: dict[Address, None] = {}
    remarks = Remarks()
    lacks: set[Lack] = set()
    for source, each in outputs:
        for route in each.routes:
            routes[route] = routes.get(route, each.lacks) & each.lacks
        vpn_routes |= dict.fromkeys(each.vpn_routes)
        namespaces |= each.namespaces
        inside = {**each.inside, **inside}
        addresses |= dict.fromkeys(each.addresses)
        ports = {port.host_link: port for port in each.ports} | ports
        for sentence in each.remarks:
            remarks.add(f"{source}: {sentence}")
        for link in each.links:
            known = links.get(link.name)
            if known is not None and known[1].mtu != link.mtu:
                remarks.add(
                    f"{link.name} has MTU {known[1].mtu} in {known[0]} and {link.mtu} in {source}: the first was "
                    "taken, so leave only the newer file there"
                )
            better = known is None or _gaps(link.name, each) < (link.name in undetailed) + (link.name in endless)
            if better:
                links[link.name] = (source, link if known is None else msgspec.structs.replace(link, mtu=known[1].mtu))
                undetailed = (undetailed - {link.name}) | (each.undetailed & {link.name})
                endless = (endless - {link.name}) | (each.endless & {link.name})
    kept = _without_twins(routes)
    lacks |= {"route MTUs" for each in kept if each.mtu is None and "route MTUs" in routes[each]}
    lacks |= {"route locks" for each in kept if each.mtu and not each.locked and "route locks" in routes[each]}
    return Output(
        links=tuple(sorted((link for _, link in links.values()), key=lambda link: link.index or UNNUMBERED)),
        routes=kept,
        vpn_routes=tuple(vpn_routes),
        addresses=tuple(addresses),
        namespaces=namespaces,
        ports=tuple(ports.values()),
        inside=inside,
        undetailed=frozenset(undetailed),
        endless=frozenset(endless),
        lacks=frozenset(lacks),
        remarks=remarks.sentences,
    )


def _gaps(name: str, output: Output) -> int:
    return (name in output.undetailed) + (name in output.endless)


def _without_twins(routes: Iterable[net.Route]) -> tuple[net.Route, ...]:
    """Leave out routes of which another output says more: busybox shows no MTU, JSON no lock, node show no gateway."""
    alike: dict[tuple[int, str, str], list[net.Route]] = {}
    for each in routes:
        alike.setdefault(_key(each), []).append(each)
    return tuple(
        each
        for each in routes
        if len(twins := alike[_key(each)]) > TWINS_MOST or not any(_says_more(other, each) for other in twins)
    )


def _says_more(other: net.Route, route: net.Route) -> bool:
    """Say whether everything that a route says stands in the other one too, and more."""
    pairs = ((getattr(other, name), getattr(route, name)) for name in ("gateway", "mtu", "locked", "advmss"))
    return other != route and all(not less or more == less for more, less in pairs)


def _key(route: net.Route) -> tuple[int, str, str]:
    return route.family, route.destination, route.device
