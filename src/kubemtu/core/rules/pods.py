"""Running pods: both ends of each port, against each other, against what new pods get, against what IPv6 needs."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from kubemtu.core import codes, encap, places
from kubemtu.core.cluster.topology import Node, Port, Topology
from kubemtu.core.codes import Finding, Severity
from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.text.wording import count, has, listed, names, sizes

K = TypeVar("K")
BOTH_ENDS = "Run `kubemtu apply`: it sets both ends of every pod without restarting one."


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report ends that differ (MTU105), pods unlike new ones (MTU104), routes (MTU115), IPv6 below 1280 (MTU114)."""
    found: list[Finding] = []
    for node in topology.nodes:
        found += _ends(node)
        found += _older(node, topology)
        found += _routes(node)
        found += _ipv6(node, topology)
    return tuple(found)


def grouped(ports: Iterable[Port], key: Callable[[Port], K]) -> dict[K, list[Port]]:
    """Sort ports into groups, in the order in which the groups first appear."""
    out: dict[K, list[Port]] = {}
    for port in ports:
        out.setdefault(key(port), []).append(port)
    return out


def _ends(node: Node) -> Iterable[Finding]:
    apart = [port for port in node.ports if port.at.differ]
    for (host, pod), ports in grouped(apart, lambda port: (port.at.ends[0], port.at.ends[-1])).items():
        yield codes.finding(
            codes.MTU105,
            places.on(node.name, listed("pod", [port.pod for port in ports])),
            _ends_message(host, pod, ports),
            BOTH_ENDS,
            "error" if abs(host - pod) > VLAN_SLACK else "warning",
        )


def _ends_message(host: int, pod: int, ports: list[Port]) -> str:
    inside = "/".join(dict.fromkeys(port.at.pod_link for port in ports))
    fact = (
        f"{count(len(ports), 'pod')} {has(len(ports))} {pod} inside ({inside}) and {host} at the host end "
        f"({names(port.at.host_link for port in ports)})."
    )
    low, high = min(host, pod) + VLAN_SLACK + 1, max(host, pod)
    if low > high:
        return f"{fact} The veth forgives {VLAN_SLACK} bytes, so nothing is lost yet, but the two must be equal."
    if host < pod:
        dropped = sum(min(port.at.host_rx_dropped, port.at.pod_tx_dropped) for port in ports)
        way = f"Every packet of {sizes(low, high)} bytes that they send, to anywhere, vanishes at the host end"
        counters = "rx_dropped of the host end = tx_dropped in the pod"
    else:
        dropped = sum(min(port.at.host_tx_dropped, port.at.pod_rx_dropped) for port in ports)
        way = f"Every packet of {sizes(low, high)} bytes that is sent to them vanishes at their own end"
        counters = "tx_dropped of the host end = rx_dropped in the pod"
    evidence = f"{dropped} so far: {counters}" if dropped else f"none yet: {counters} would count them"
    return (
        f"{fact} {way}, without an ICMP error ({evidence}). Bulk TCP may still pass, because segments that the kernel "
        "has not cut yet escape the check: single large packets and requests hang."
    )


def _older(node: Node, topology: Topology) -> Iterable[Finding]:
    born = node.rendered
    if born is None or born.gives is None or topology.held(node) is not None or topology.outside(node):
        return  # by a change in force agents decide what pods get: MTU132
    shown = [port for port in node.ports if port.shown is not None]
    older = [port for port in shown if port.shown != born.gives and not _right(port, born.gives, topology)]
    for (mtu, seen), ports in grouped(older, lambda port: (port.shown or 0, port.seen)).items():
        severity: Severity = "warning"
        if topology.carries is not None and mtu > topology.carries:
            severity = "warning" if all(topology.fits(node, port) for port in ports) else "error"
        yield codes.finding(
            codes.MTU104,
            places.on(node.name, listed("pod", [port.pod for port in ports])),
            f"{len(ports)} of {count(len(node.ports), 'pod')} {has(len(ports))} {mtu}"
            f"{'' if seen else ' at the host end (the own end was not seen)'}, but a pod created now gets "
            f"{born.gives} ({born.by}). A pod keeps the MTU that it was born with, whatever the configuration says "
            "afterwards.",
            "Run `kubemtu apply`, which changes running pods as they are, or restart these pods.",
            severity,
        )


def _right(port: Port, gives: int, topology: Topology) -> bool:
    """Return True when the pod is as it should be and the file on its node is not: other findings tell of the file."""
    fits = topology.carries is not None and port.shown is not None and port.shown <= topology.carries < gives
    return fits or port.shown == topology.state.pod_mtu


def _routes(node: Node) -> Iterable[Finding]:
    above: dict[tuple[str, int, int], list[Port]] = {}
    for port in node.ports:
        for route in port.at.routes:
            own = port.at.pod_mtu
            if own is not None and route.mtu is not None and route.device == port.at.pod_link and route.mtu > own:
                above.setdefault((route.destination, route.mtu, own), []).append(port)
    for (destination, mtu, device), ports in above.items():
        yield codes.finding(
            codes.MTU115,
            places.on(node.name, f"{listed('pod', [port.pod for port in ports])}, route {destination}"),
            f"The route says mtu {mtu}, its device has {device}. The kernel believes the route: packets of "
            f"{sizes(device + 1, mtu)} bytes are sent, and from {device + VLAN_SLACK + 1} on they vanish at the other "
            "end of the veth.",
            f"In each pod's network namespace: ip route change {destination} ... without mtu, or with mtu {device}.",
        )


def _ipv6(node: Node, topology: Topology) -> Iterable[Finding]:
    small = [port for port in node.ports if (port.ipv6 or topology.state.ipv6) and _ipv6_mtu(port) < encap.IPV6_MINIMUM]
    for mtu, ports in grouped(small, _ipv6_mtu).items():
        yield codes.finding(
            codes.MTU114,
            places.on(node.name, listed("pod", [port.pod for port in ports])),
            f"{count(len(ports), 'pod')} of a pod network with IPv6 {has(len(ports))} {mtu}. IPv6 needs 1280 on every "
            "link (RFC 8200, section 5): below that Linux takes every IPv6 address and route off the interface, and "
            "raising it again does not bring them back.",
            "Give the pod network 1280 or more, then restart these pods: their IPv6 addresses are gone.",
        )


def _ipv6_mtu(port: Port) -> int:
    own = port.at.ends[-1]  # a host end below 1280 has lost its own IPv6, and with it the pod's way out
    return min(own, port.at.ipv6_mtu or own)
