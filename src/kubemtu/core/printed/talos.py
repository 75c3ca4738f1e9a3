"""What `talosctl get links|routes|addresses -o yaml|json` prints, as values: a system without a shell has no `ip`.

One document is one resource (siderolabs/talos: pkg/machinery/resources/network, link_status.go, route_status.go,
address_status.go). A link tells neither the namespace of its other end nor what a VXLAN device is bound to.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kubemtu.core import vpn
from kubemtu.core.printed import addresses, values
from kubemtu.core.printed.addresses import PrintedRoute
from kubemtu.core.printed.values import Address, Output, PrintedLink, Remarks
from kubemtu.core.text import digits

SIGN = re.compile(r"^\s*\"?type\"?: \"?[A-Za-z]+\.net\.talos\.dev\b", re.MULTILINE)
LINKS = "LinkStatuses.net.talos.dev"


def looks_like(value: object) -> bool:
    """Say whether a document is a resource of a Talos node's network."""
    return _text(_part(value, "metadata").get("type")).endswith(".net.talos.dev")


def parse(documents: Iterable[tuple[int, object]]) -> dict[str, Output]:
    """Return what documents (line, value) say of each node, by what `talosctl` calls it: mostly its address."""
    by_node: dict[str, list[tuple[int, object]]] = {}
    for line, value in documents:
        node = value.get("node") if isinstance(value, dict) else None
        by_node.setdefault(_text(node), []).append((line, value))
    return {node: _output(listed) for node, listed in by_node.items()}


def _output(documents: Sequence[tuple[int, object]]) -> Output:
    remarks = Remarks()
    links: list[PrintedLink] = []
    routes: list[tuple[int, PrintedRoute]] = []
    found: list[Address] = []
    ends = {end.index: end for _, value in documents if (end := _end(value)) is not None}
    for line, value in documents:
        spec = _part(value, "spec")
        match _type(value):
            case "LinkStatuses.net.talos.dev":
                _take_link(_id(value), spec, ends, line, links, remarks)
            case "RouteStatuses.net.talos.dev":
                _take_route(spec, line, routes, remarks)
            case "AddressStatuses.net.talos.dev":
                _take_address(spec, line, found, remarks)
    # They come in the order of their names, the kernel asks them in the order of their priorities.
    in_order = [route for _, route in sorted(routes, key=lambda one: one[0])]
    led = addresses.routes(in_order, remarks)
    return values.output(links, routes=led.main, vpn_routes=led.vpn, addresses=found, remarks=remarks)


class _End(msgspec.Struct, frozen=True):
    """What tells whose other end a veth is: it names its peer by index alone, in whichever namespace that is."""

    index: int
    name: str
    peer: int


def _end(value: object) -> _End | None:
    spec = _part(value, "spec")
    index, peer = _number(spec.get("index")), _number(spec.get("linkIndex"))
    if _type(value) != LINKS or index is None or not values.is_name(_id(value)):
        return None
    return _End(index, _id(value), (peer or 0) if spec.get("kind") == "veth" else 0)


def _take_link(
    name: str, spec: Mapping[str, object], ends: Mapping[int, _End], line: int, links: list[PrintedLink], noted: Remarks
) -> None:
    index, mtu = _number(spec.get("index")), values.mtu(spec.get("mtu"))
    if not values.is_name(name) or index is None or mtu is None:
        noted.add(
            f"the link {values.quoted(name)} has the MTU {values.quoted(spec.get('mtu'))}, as none can have", line
        )
        return
    if len(links) >= values.LINKS_MOST:
        return
    parent = _number(spec.get("linkIndex")) or 0
    other = ends.get(parent)
    here = other is not None and other.peer == index  # two that name each other are in one namespace
    master = ends.get(_number(spec.get("masterIndex")) or 0)
    links.append(
        PrintedLink(
            index=index,
            name=name,
            mtu=mtu,
            up="UP" in _text(spec.get("flags")).split(","),
            master=master.name if master is not None else None,
            parent=other.name if here and other is not None else parent or None,
            netnsid=values.OTHER_NAMESPACE if parent and not here else None,
            kind=_text(spec.get("kind")),
            link_type=_text(spec.get("type")),
        )
    )


def _take_route(
    spec: Mapping[str, object], line: int, routes: list[tuple[int, PrintedRoute]], remarks: Remarks
) -> None:
    table = vpn.table(spec.get("table", "main"))
    if spec.get("type", "unicast") != "unicast" or table is None:
        return
    if "mtu" not in spec:
        remarks.lacks.add("route MTUs")
    device, to, gateway = (_text(spec.get(name)) for name in ("outLinkName", "dst", "gateway"))
    of_ipv6 = spec.get("family") == "inet6"
    route = PrintedRoute(
        destination=to if "/" in to else "default",  # Go writes no prefix where there is none
        devices=(device,) if values.is_name(device) else (),
        gateway=gateway if "." in gateway or ":" in gateway else None,
        of_ipv6=of_ipv6,
        hints=() if of_ipv6 else (addresses.UNSPECIFIED,),
        mtu=values.mtu(spec.get("mtu")),
        table=table,
        line=line,
    )
    routes.append((_number(spec.get("priority")) or 0, route))


def _take_address(spec: Mapping[str, object], line: int, found: list[Address], remarks: Remarks) -> None:
    text, _, length = _text(spec.get("address")).partition("/")
    address = addresses.address(spec.get("linkName"), text, digits.number(length, 3))
    if address is not None:
        found.append(address)
    else:
        remarks.add(f"{values.quoted(spec.get('address'))} is no address", line)


def _type(value: object) -> str:
    return _text(_part(value, "metadata").get("type"))


def _id(value: object) -> str:
    return _text(_part(value, "metadata").get("id"))


def _part(value: object, name: str) -> Mapping[str, object]:
    held = value.get(name) if isinstance(value, dict) else None
    return held if isinstance(held, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 else None
