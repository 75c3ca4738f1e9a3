"""What `kubemtu node show -o json` prints, as values: the NIC, tunnels, the bridge, and both ends of every pod port."""

import re
from collections.abc import Iterator

import msgspec

from kubemtu.core import errors, net
from kubemtu.core.printed import addresses, ip_routes, values
from kubemtu.core.printed.values import Output, Remarks

KEYS = frozenset({"nic", "nic_mtu", "tunnels", "ports"})
CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


class _ShownVxlan(msgspec.Struct, frozen=True, kw_only=True):
    vni: int
    port: int = 4789
    lower: str | None = None
    ipv6_outer: bool = False


class _ShownLink(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    name: str
    mtu: int
    kind: str = ""
    up: bool = True
    master: str | None = None
    vxlan: _ShownVxlan | None = None

    def link(self) -> net.Link:
        """Return it as a link."""
        known = msgspec.structs.asdict(self)
        if self.vxlan is not None:
            known["vxlan"] = net.Vxlan(**msgspec.structs.asdict(self.vxlan))
        return net.Link(**known)


class _ShownPort(msgspec.Struct, frozen=True, kw_only=True):
    host_link: str
    host_mtu: int
    netns: str
    pod_link: str
    pod_mtu: int | None
    addresses: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()


class _ShownNode(msgspec.Struct, frozen=True, kw_only=True):
    nic: str | None
    nic_mtu: int | None
    tunnels: tuple[_ShownLink, ...] = ()
    bridge: _ShownLink | None = None
    ports: tuple[_ShownPort, ...] = ()
    pins: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def looks_like(value: object) -> bool:
    """Say whether a value is what `kubemtu node show` prints."""
    return isinstance(value, dict) and value.keys() >= KEYS


def parse(value: object) -> Output:
    """Return what it says: links, the default route's NIC, pod ports with both ends, pins as routes.

    Raises errors.Malformed with a sentence, to be put after the file's name, when it is not as `node show` prints it.
    """
    try:
        shown = msgspec.convert(_named(value), _ShownNode)
    except msgspec.ValidationError as why:
        raise errors.Malformed(f"is no output of `kubemtu node show`: {values.quoted(str(why))}") from why
    remarks = Remarks()
    for trouble in shown.troubles:
        remarks.add(trouble)
    for pin in shown.pins:
        remarks.add(f"a pin is left on the node: {pin}")
    for port, pin in ((each, pin) for each in shown.ports for pin in each.pins):
        remarks.add(f"a pin is left in the pod at {port.host_link}: {pin}")
    links = {each.name: each.link() for each in (*shown.tunnels, shown.bridge) if each is not None}
    if shown.nic is not None and shown.nic_mtu is not None:
        links.setdefault(shown.nic, net.Link(index=0, name=shown.nic, mtu=shown.nic_mtu))
    for port in shown.ports:
        links.setdefault(port.host_link, net.Link(index=0, name=port.host_link, mtu=port.host_mtu, kind="veth"))
    for name in [name for name, link in links.items() if not values.is_name(name) or values.mtu(link.mtu) is None]:
        remarks.add(f"{values.quoted(name)} has a name or an MTU that no link can have")
        del links[name]
    bridge = shown.bridge.name if shown.bridge is not None else None
    routes = [net.Route(family=4, destination="default", device=shown.nic)] if shown.nic in links else []
    pins = addresses.routes(ip_routes.routes(enumerate(shown.pins, 1), remarks), remarks).main
    return Output(
        links=tuple(links.values()),
        routes=tuple(dict.fromkeys([*pins, *(route for route in routes if not _pinned(route, pins))])),
        ports=tuple(_ports(shown, links, bridge)),
        undetailed=frozenset(links) - {link.name for link in shown.tunnels} - {bridge},
        endless=frozenset(links) - {link.name for link in shown.tunnels} - {bridge},
        remarks=remarks.sentences,
    )


def _ports(shown: _ShownNode, links: dict[str, net.Link], bridge: str | None) -> Iterator[net.PodPort]:
    for port in shown.ports:
        if port.host_link in links and (port.pod_mtu is None or values.mtu(port.pod_mtu) is not None):
            yield net.PodPort(
                netns=port.netns,
                inode=0,
                host_link=port.host_link,
                host_index=links[port.host_link].index,
                host_mtu=port.host_mtu,
                pod_link=port.pod_link,
                pod_index=0,
                pod_mtu=port.pod_mtu,
                bridge=bridge,
                addresses=port.addresses,
                others=port.others,
            )


def _pinned(route: net.Route, pins: list[net.Route]) -> bool:
    return any((pin.destination, pin.device) == (route.destination, route.device) for pin in pins)


def _named(value: object) -> object:
    """Return a value whose members are named with _ between words: of links they are printed in either way."""
    if isinstance(value, dict):
        return {CAPITAL.sub(r"_\1", str(key)).lower(): _named(each) for key, each in value.items()}
    return [_named(each) for each in value] if isinstance(value, list) else value
