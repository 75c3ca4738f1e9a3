"""What was printed on one node, as an observation: what an agent would have seen of it, and what is not told."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from kubemtu.core import inner, net
from kubemtu.core.printed import values
from kubemtu.core.printed.uplinks import uplinks
from kubemtu.core.printed.values import Output
from kubemtu.core.text import wording

HOST_ROUTES = {4: "/32", 6: "/128"}


def observed(
    node: str,
    output: Output,
    *,
    peers: Sequence[str],
    rules: net.Ports,
    own: Sequence[str] = (),
    files: Sequence[net.NodeFile] = (),
    seen_by: net.SeenBy = "files",
    kernel: str = "",
) -> net.NodeObservation:
    """Return what the output (of several files: `values.joined`) says of one node; what is not told is in `errors`.

    `peers` are addresses of other nodes, `own` those by which this one is known. `rules` tell pod ports from other
    links; a link that is printed without its other end is one by its name. Of pod ports the host's end is known, and
    the pod's own where somebody looked (`output.ports`).
    """
    ports = tuple(_ports(output, rules))
    ways = uplinks(output.links, output.routes, output.addresses, peers, own, output.vpn_routes)
    veths = {port.host_link for port in ports}
    return net.NodeObservation(
        node=node,
        links=tuple(_as_port(link) if link.name in veths else link for link in output.links),
        routes=output.routes,
        uplinks=ways,
        ports=ports,
        files=tuple(files),
        errors=(*output.remarks, *_gaps(output, ports, ways)),
        kernel=kernel,
        seen_by=seen_by,
    )


def _ports(known: Output, rule: net.Ports) -> Iterator[net.PodPort]:
    """Yield the pod ports: those whose both ends somebody saw, and of the others the host's end."""
    seen = {port.host_link: port for port in known.ports}
    routed = _routed(known.routes)
    ends = _ends(known.inside)
    for link in known.links:
        if (port := seen.get(link.name)) is not None:
            yield msgspec.structs.replace(
                port, host_index=link.index or port.host_index, pod_index=link.peer_index or 0, bridge=link.master
            )
        elif rule.covers(_as_port(link) if link.name in known.endless and not link.kind else link):
            port = net.PodPort(
                netns=known.namespaces.get(link.name, ""),
                inode=0,
                host_link=link.name,
                host_index=link.index,
                host_mtu=link.mtu,
                pod_link="",
                pod_index=link.peer_index or 0,
                pod_mtu=None,
                bridge=link.master,
                addresses=tuple(routed.get(link.name, ())),
            )
            end = ends.get((link.index, port.pod_index))
            yield _whole(port, *end) if end is not None else port


def _ends(inside: Mapping[str, Output]) -> Mapping[tuple[int, int], tuple[str, Output, net.Link]]:
    """Return the pods' ends that were printed in their namespaces, by both indexes: that of the host's end is its own.

    Two nodes may have the same pair, but not two veths of one node.
    """
    return {
        (link.peer_index, link.index): (name, output, link)
        for name, output in inside.items()
        for link in output.links
        if link.kind == "veth" and link.peer_index is not None and link.peer_netnsid is not None
    }


def _whole(port: net.PodPort, name: str, output: Output, end: net.Link) -> net.PodPort:
    """Return a port with its pod's own end, as it was printed in the pod's namespace."""
    own = [each.text for each in output.addresses if each.device == end.name and each.routed]
    return msgspec.structs.replace(
        port,
        netns=name,
        pod_link=end.name,
        pod_mtu=end.mtu,
        addresses=tuple(own) or port.addresses,
        routes=tuple(route for route in output.routes if route.device == end.name),
        others=tuple(sorted({link.name for link in output.links} - {"lo", end.name})),
        inner=inner.devices(output.links, end),
    )


def _as_port(link: net.Link) -> net.Link:
    """Return a link as the veth that its name says it to be."""
    number = link.peer_netnsid if link.peer_netnsid is not None else values.OTHER_NAMESPACE
    return msgspec.structs.replace(link, kind="veth", peer_netnsid=number)


def _routed(routes: Iterable[net.Route]) -> Mapping[str, Sequence[str]]:
    """Return the addresses that a node routes to one device, each by a route of its own: those of the pod behind it."""
    found: dict[str, list[str]] = {}
    for route in routes:
        if route.gateway is None and route.destination.endswith(HOST_ROUTES[route.family]):
            found.setdefault(route.device, []).append(route.destination.removesuffix(HOST_ROUTES[route.family]))
    return found


def _gaps(known: Output, ports: Sequence[net.PodPort], ways: Sequence[net.Uplink]) -> Iterator[str]:
    """Say what the outputs do not tell, and which command does."""
    by_name = [port.host_link for port in ports if port.host_link in known.endless and port.pod_mtu is None]
    if by_name:
        yield (
            f"pod ports were told by their names alone ({wording.names(by_name)}), because busybox ip, iproute2 before "
            "3.12, ifconfig and node_exporter show no other ends: `ip -d link` of iproute2 does"
        )
    default = any(route.destination == "default" for route in known.routes)
    bound = any(link.vxlan is not None and link.vxlan.lower for link in known.links)
    if known.links and not (ways or default or bound):
        yield "which NIC leads to the other nodes is not told: `ip route` tells it"
    if not known.links:
        yield "no link and no MTU is told: `ip -d link` tells them"
    if "route MTUs" in known.lacks:
        yield "busybox ip, `route`, `ip -j` before 5.3 and talosctl show no MTUs of routes: `ip route` of iproute2 does"
    if "route locks" in known.lacks:
        yield "JSON of ip does not say whether the MTU of a route is locked, as a pin is: `ip route` without -j does"
