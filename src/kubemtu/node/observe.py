"""Looks at one node: links, routes, NICs to its peers, pod ports with both ends, files. Changes nothing."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kubemtu import files
from kubemtu.core import inner, net, vpn
from kubemtu.core.disclosure import files as disclosure_files
from kubemtu.core.errors import KubemtuError
from kubemtu.node import errors, ports
from kubemtu.node.change import hosts
from kubemtu.node.kernel import links, netlink, netns, routes

LARGEST_FILE = 1 << 16  # bytes; a CNI's file is a few hundred, and an object of the API holds 1.5 MB at most (etcd)
MOST_FILES = 32  # of a node; a folder of a CNI holds one to five
MOST_HOST_PINS = 100  # that are listed; to be named, not to be undone by
_NOT_COUNTED = frozenset({"lo"})


def observe(
    node: str,
    *,
    ports: net.Ports,
    peers: Sequence[str] = (),
    files: Sequence[str] = (),
    roots: netns.Roots | None = None,
) -> net.NodeObservation:
    """Everything that the node of the calling thread's network namespace shows.

    `peers` are addresses of other nodes: each yields the NIC that the kernel's routing takes, and of ways that are
    alike the first is told, since each of thousands of nodes would tell of all others. `files` are absolute paths or
    patterns of the node; one that is absent is left out. What cannot be read becomes one of `errors`; a pod that
    vanishes while it is read is left out. Raises Denied or Refused only when netlink itself is refused.
    """
    roots = roots or netns.Roots()
    troubles: list[str] = []
    try:
        sock = netlink.Socket()
    except OSError as error:
        raise errors.refusal("opening a netlink socket", error.errno or 0) from error
    with sock, netns.Opened() as opened:
        seen = links.devices(sock, counters=True)
        names = {each.index: each.name for each in seen}
        found = routes.dump(sock)
        return net.NodeObservation(
            node=node,
            links=tuple(links.link(each, names) for each in seen),
            routes=_routes(found, names),
            host_pins=tuple(each.destination for each in found if each.protocol == hosts.PROTOCOL)[:MOST_HOST_PINS],
            uplinks=tuple(_uplinks(sock, peers, {each.index: each for each in seen}, troubles)),
            ports=tuple(_ports(sock, seen, rule=ports, roots=roots, opened=opened, troubles=troubles)),
            files=tuple(sorted(_files(files, roots, troubles), key=lambda file: file.path)),
            errors=tuple(troubles),
            kernel=os.uname().release,
            observed_at=time.time(),
        )


def _routes(found: Iterable[routes.Raw], names: Mapping[int, str], only: int | None = None) -> tuple[net.Route, ...]:
    """Return unicast routes as values, one for each device of a route; `only` those of one link."""
    return tuple(
        routes.route(each, names.get(device, f"index {device}"))
        for each in found
        if each.kind == routes.UNICAST
        for device in each.devices
        if only is None or device == only
    )


def _uplinks(
    sock: netlink.Socket, peers: Sequence[str], devices: Mapping[int, links.Device], troubles: list[str]
) -> Iterator[net.Uplink]:
    try:
        ways = routes.lookup(sock, peers)
    except OSError:
        troubles.append(f"one of these is no IP address, so no NIC was looked up: {', '.join(peers)}")
        return
    yield from _told(peers, ways, devices, troubles)
    if any(each.name == vpn.KUBESPAN for each in devices.values()):
        for mark in vpn.KUBESPAN_MARKS:
            marked = _told(peers, routes.lookup(sock, peers, mark), devices, [], marked=True)
            if found := [way for way in marked if way.device == vpn.KUBESPAN]:
                yield from found
                return


def _told(
    peers: Sequence[str],
    ways: Sequence[routes.Lookup | errors.Refused],
    devices: Mapping[int, links.Device],
    troubles: list[str],
    *,
    marked: bool = False,
) -> Iterator[net.Uplink]:
    """Yield the ways as values, of those that are alike the first."""
    alike: set[tuple[object, ...]] = set()
    for peer, way in zip(peers, ways, strict=True):
        if isinstance(way, errors.Refused):
            troubles.append(str(way))
        elif not way.local and (device := devices.get(way.device)) is not None:
            limit = _limit(device, way.mtu) if ":" in peer else way.mtu
            shown = (device.name, device.mtu, limit, way.source)
            if shown not in alike:
                alike.add(shown)
                yield net.Uplink(
                    peer=peer,
                    device=device.name,
                    mtu=device.mtu,
                    route_mtu=limit,
                    source=way.source,
                    marked=marked,
                )


def _limit(device: links.Device, route_mtu: int | None) -> int | None:
    """Return what a route of IPv6 lets through, where that is less than the device: the kernel bounds each such route.

    Its bound, net.ipv6.conf.*.mtu, comes with router advertisements and from systemd-networkd (systemd/systemd#13914).
    """
    own = device.ipv6_mtu if device.ipv6_mtu is not None and device.ipv6_mtu < device.mtu else None
    return min((each for each in (route_mtu, own) if each is not None), default=None)


def _ports(
    sock: netlink.Socket,
    devices: Sequence[links.Device],
    *,
    rule: net.Ports,
    roots: netns.Roots,
    opened: netns.Opened,
    troubles: list[str],
) -> Iterator[net.PodPort]:
    names = {each.index: each.name for each in devices}
    ends = ports.covered(devices, rule)
    spaces = ports.behind(sock, (end.peer_netnsid for end in ends if end.peer_netnsid is not None), roots, opened)
    reachable: list[tuple[links.Device, netns.Netns]] = []
    for end in ends:
        space = spaces.get(end.peer_netnsid) if end.peer_netnsid is not None else None
        if space is not None:
            reachable.append((end, space))
        elif links.read(sock, end.index) is not None:
            troubles.append(ports.lost(end.name))
    visits = netns.each(
        [space.descriptor for _end, space in reachable],
        lambda place: _port(*reachable[place], names),
    )
    for (end, _space), visit in zip(reachable, visits, strict=True):
        if isinstance(visit, (KubemtuError, OSError)):
            if links.read(sock, end.index) is not None:
                troubles.append(f"{end.name}: its pod could not be read: {visit}")
        elif visit is not None:
            yield visit


def _port(end: links.Device, space: netns.Netns, names: Mapping[int, str]) -> net.PodPort | None:
    """Read one pod, on a thread that is inside it; None when the pod end is gone."""
    with netlink.Socket() as sock:
        seen = links.devices(sock, counters=True)
        pod = next((each for each in seen if each.index == end.peer_index), None)
        if pod is None:
            return None
        inside = {each.index: each.name for each in seen}
        return net.PodPort(
            netns=space.name,
            inode=space.inode,
            host_link=end.name,
            host_index=end.index,
            host_mtu=end.mtu,
            pod_link=pod.name,
            pod_index=pod.index,
            pod_mtu=pod.mtu,
            bridge=names.get(end.master) if end.master else None,
            addresses=links.addresses(sock).get(pod.index, ()),
            ipv6_mtu=pod.ipv6_mtu,
            routes=_routes(routes.dump(sock), inside, only=pod.index),
            others=tuple(sorted({each.name for each in seen} - {pod.name} - _NOT_COUNTED)),
            host_rx_dropped=end.drops.received,
            host_tx_dropped=end.drops.sent,
            pod_rx_dropped=pod.drops.received,
            pod_tx_dropped=pod.drops.sent,
            inner=_inner(seen, pod, inside),
        )


def _inner(seen: Sequence[links.Device], pod: links.Device, names: Mapping[int, str]) -> tuple[net.InnerDevice, ...]:
    """Return what forwards for others inside a pod; nearly all pods have nothing but lo and their own interface."""
    if all(each.index == pod.index or each.name in _NOT_COUNTED for each in seen):
        return ()
    return inner.devices([links.link(each, names) for each in seen], links.link(pod, names))


def _files(patterns: Iterable[str], roots: netns.Roots, troubles: list[str]) -> Iterator[net.NodeFile]:
    room = MOST_FILES
    for pattern in patterns:
        for place in sorted(roots.files.glob(pattern.lstrip("/"))) if "*" in pattern else [roots.file(pattern)]:
            path = "/" + str(place.relative_to(roots.files))
            try:
                content, modified = files.stamped(place, LARGEST_FILE)
            except FileNotFoundError:
                continue
            except files.TooLong:
                troubles.append(f"{path}: longer than {LARGEST_FILE} bytes, which no file of a CNI is; left out")
                continue
            except files.Unlike:
                troubles.append(f"{path}: no regular file, so it was not opened; take it away, or put a file there")
                continue
            except OSError as error:
                troubles.append(f"{path}: {error.strerror}; let kubemtu read it")
                continue
            if room == 0:
                troubles.append(f"more than {MOST_FILES} files fit {pattern}; the rest was left out")
                return
            room -= 1
            text = disclosure_files.shown(path, content.decode(errors="replace"))
            if text is not None:
                yield net.NodeFile(path=path, text=text, modified=modified)
