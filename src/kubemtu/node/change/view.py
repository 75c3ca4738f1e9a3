"""A node's state seen with one Desired in mind: what must be recorded first, whose each route is, where devices go.

Reads the state, asks the kernel for nothing.
"""

import ipaddress
from collections.abc import Iterable, Iterator

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.core.text import wording
from kubemtu.node.change import destinations, journal, state, wanted
from kubemtu.node.kernel import links, routes
from kubemtu.node.kernel.remembered import remembered


def place(pod: state.PodState | None) -> str:
    """Return the name of a place in a sentence: a pod, or the node itself."""
    return f"pod {pod.name} ({pod.host.name})" if pod is not None else "node"


class View:
    """The state seen with one Desired in mind: which routes are whose, and where each device is going."""

    def __init__(self, now: state.State, desired: migration.Desired, known: journal.Journal) -> None:
        """Sort the node's routes into those to other nodes and those to its own pods."""
        self.now = now
        self.desired = desired
        self.known = known
        self.limits = destinations.limits(desired.network_mtus, desired.default_route_mtu)
        self._ways: dict[destinations.Shape, tuple[destinations.Way, ...]] = {}
        self._aims: dict[tuple[int, bool, bool, int | None, int | None, int | None], wanted.Aim] = {}
        self._route_aims: dict[int, wanted.Aim] = {}
        self.row = desired.row
        self.key = (
            self.row,
            desired.pin_mtu,
            desired.highest_mtu,
            desired.pod_mtu,
            desired.origin_mtu,
            desired.device_mtu,
            desired.origin_device_mtu,
            desired.network_mtus,
            desired.default_route_mtu,
            desired.restore,
        )
        self.bridge = now.devices.get(desired.bridge or desired.ports.bridge or "")
        self.tunnel = now.devices.get(desired.tunnel or "")
        self.ends = {pod.host.index: pod for pod in now.pods.values()}
        self.by_index = {device.index: device for device in now.devices.values()}
        lost = {now.devices[name].index for name in now.lost if name in now.devices}
        self._own = self.ends.keys() | lost | ({self.bridge.index} if self.bridge else set())
        self.overlay: list[routes.Raw] = []
        self.ports: list[routes.Raw] = []
        for seen in now.routes:
            if not self._own.isdisjoint(seen.devices):
                self.ports.append(seen)
            elif self._to_other_nodes(seen):
                self.overlay.append(seen)

    def _to_other_nodes(self, route: routes.Raw) -> bool:
        if self.tunnel is not None and self.tunnel.index in route.devices:
            return True
        return _within(route.destination, self.desired.pod_networks)

    def pod_aim(self, pod: state.PodState) -> wanted.Aim:
        """Return the MTU and the pin that senders inside a pod must keep to."""
        return self._aim(self._finals(pod)[1], pinned=self.row.pods, moved=self.row.moved)

    def pod_route_aim(self, pod: state.PodState, route: routes.Raw, first: routes.Raw) -> wanted.Aim:
        """Return what the senders inside a pod keep to on one of its routes; `first` is what was recorded of it.

        Where the CNI limits pods by route, those that lead through a gateway, or had an MTU of their own, end at it;
        and all at what is sent at most to where they lead, where that is less.
        """
        final = self._finals(pod)[1]
        route_mtu = wanted.route_mtu(self.known.ports[pod.owner], self.desired)
        if route.gateway is None and first.mtu is None:
            route_mtu = None
        most = self._most(route)
        if most is not None and not self.desired.restore and most < min(final, route_mtu or first.mtu or final):
            route_mtu = most
        return self._aim(final, pinned=self.row.pods, moved=self.row.moved, route=route_mtu, most=most)

    def _most(self, route: routes.Raw) -> int | None:
        """Return what is sent at most by a route, where that depends on where it leads; a link's own is not asked."""
        if not self.limits or (route.gateway is None and route.destination != "default"):
            return None
        return self.limits.of(route.family, route.destination)

    def added_metrics(self, pod: state.PodState, route: routes.Raw) -> routes.Metrics:
        """Return the metrics that a route which kubemtu has added to a pod should have now."""
        most = self.limits.by_network.get(route.destination, self.desired.pod_mtu)
        first = self.first_added(most)
        final = self._finals(pod)[1]
        if not (self.row.pods or self.row.moved):
            return route.metrics
        aim = self._aim(final, pinned=self.row.pods, moved=self.row.moved, most=most)
        return wanted.metrics(first, route.family, aim) if self.row.pods else first

    def first_added(self, mtu: int) -> routes.Metrics:
        """Return the metrics of an added route without a pin: none where it carries all that the device takes."""
        return () if mtu >= wanted.devices(self.desired)[0] else routes.with_mtu((), mtu, lock=False)

    def ways(self, pod: state.PodState) -> tuple[list[routes.Raw], tuple[destinations.Way, ...]]:
        """Return the routes of a pod that are not kubemtu's own, and by which of them each network is reached."""
        own = [seen for seen in pod.routes if not destinations.added(seen)]
        shape = destinations.shape(own, pod.others)
        if shape not in self._ways:
            self._ways[shape] = destinations.ways(self.limits, shape)
        return [*own, *pod.others], self._ways[shape]

    def left(self) -> Iterator[str]:
        """Return a sentence for each reason for which pods get no route towards a network of its own."""
        if not (self.limits and self.row.moved) or self.desired.restore:
            return
        yield from destinations.said(
            (place(pod), way, pod.pod.mtu)
            for pod in self.now.pods.values()
            if pod.pod is not None
            for way in self.ways(pod)[1]
            if way.left
        )

    def sent_by_network(self) -> tuple[net.NetworkMtu, ...]:
        """Return the largest packet in bytes that leaves towards each network, from a pod or the node itself; or 0."""
        most = dict.fromkeys(self.limits.by_network, 0)
        if not most:
            return ()
        for pod in self.now.pods.values():
            if pod.pod is not None:
                found = [(seen.family, seen.destination, state.sent(pod.pod, seen)) for seen in pod.routes]
                destinations.sizes(self.limits, found, most)
        found = [
            (seen.family, seen.destination, state.sent(self.by_index[index], seen))
            for seen in self.overlay
            for index in seen.devices
            if index in self.by_index
        ]
        destinations.sizes(self.limits, found, most)
        return tuple(net.NetworkMtu(network=network, mtu=mtu) for network, mtu in most.items())

    def host_aim(self, pod: state.PodState) -> wanted.Aim:
        """Return the MTU and the pin that the node must keep to when it sends to a pod."""
        return self._aim(self._finals(pod)[0], pinned=self.row.ports, moved=self.row.moved)

    def device_aim(self, device: links.Device, *, pinned: bool) -> wanted.Aim:
        """Return what the node keeps to on a tunnel, a bridge, or a device that is not kubemtu's to change."""
        final = self.final(device)
        stays = self.row.moved and device is self.tunnel  # a CNI may give its routes more than it could give the tunnel
        moved = self._moves(final) or stays
        recorded = self.known.devices.get(device.name) if device is self.tunnel and final is not None else None
        follows = recorded.mtu if recorded is not None else None
        return self._aim(device.mtu if final is None else final, pinned=pinned, moved=moved, follows=follows)

    def _moves(self, final: int | None) -> bool:
        return self.row.moved and final is not None

    def _aim(
        self,
        final: int,
        *,
        pinned: bool,
        moved: bool,
        route: int | None = None,
        most: int | None = None,
        follows: int | None = None,
    ) -> wanted.Aim:
        key = (final, pinned, moved, route, most, follows)
        if key not in self._aims:
            low, high, restored = self.desired.pin_mtu, self.desired.highest_mtu, self.desired.restore
            low = low if most is None else min(low, most)
            self._aims[key] = wanted.Aim(low, high, final, pinned, moved, restored, route, most, follows)
        return self._aims[key]

    def _finals(self, pod: state.PodState) -> tuple[int, int]:
        return wanted.finals(self.known.ports[pod.owner], self.desired)

    def final(self, device: links.Device) -> int | None:
        """Return where a tunnel or a bridge ends; None when it is not to be set.

        One that had the change's own MTU when a late journal found it goes back to what the plan says that it had.
        """
        if device.name == self.desired.tunnel and self.desired.tunnel_mtu is not None:
            aim, origin = self.desired.tunnel_mtu, self.desired.origin_tunnel_mtu
        elif device.name == self.desired.bridge:
            aim, origin = wanted.devices(self.desired)
        else:
            return None
        recorded = self.known.devices.get(device.name)
        if not self.desired.restore or recorded is None:
            return aim
        return origin if self.known.late and recorded.mtu == aim and origin is not None else recorded.mtu

    def remains(self) -> Iterator[str]:
        """Return a sentence for each thing that an undo leaves as it is, because nobody recorded what it was."""
        if not (self.desired.restore and self.row.moved and self.known.late):
            return
        if not self.row.pods:
            yield from self._sized()
        device, aim = self.tunnel, self.desired.tunnel_mtu
        if device is None or aim is None:
            return
        recorded = self.known.devices.get(device.name)
        if recorded is not None and recorded.mtu == aim and self.desired.origin_tunnel_mtu is None:
            yield (
                f"{device.name} keeps {device.mtu}: the node's journal of this change is gone, and nothing else tells "
                "what it had; the CNI gives it its own when it makes it anew"
            )

    def _sized(self) -> Iterator[str]:
        """Return a sentence for each route that keeps its size by destination, which may have been its own."""
        kept: dict[str, list[str]] = {}
        for pod in self.now.pods.values():
            for seen in pod.routes:
                if not destinations.added(seen) and seen.mtu is not None and seen.mtu == self._most(seen):
                    kept.setdefault(f"{seen.destination} keeps mtu {seen.mtu}", []).append(place(pod))
        for seen in self.overlay:
            if seen.mtu is not None and seen.mtu == self.limits.by_network.get(seen.destination):
                kept.setdefault(f"{seen.destination} keeps mtu {seen.mtu}", []).append("the node")
        for what, places in kept.items():
            yield (
                f"in {wording.names(places)}, the route {what}: the node's journal of this change is gone, and nothing "
                "else tells what it had; the CNI gives it its own when it makes it anew"
            )

    def restored(self) -> int | None:
        """Say how many pods have at both ends what was recorded of them before the change; None where nobody asks."""
        if not (self.desired.restore and self.row.moved):
            return None
        known = ((pod, self.known.ports.get(pod.owner)) for pod in self.now.pods.values())
        return sum(
            port is not None
            and not port.born_later
            and pod.pod is not None
            and (pod.host.mtu, pod.pod.mtu) == (port.host_mtu, port.pod_mtu)
            for pod, port in known
        )

    def unrecorded(self, pods: Iterable[state.PodState]) -> Iterator[journal.Entry]:
        """Yield entries for everything that the row may change and the journal does not know."""
        fresh = self.desired.phase is not migration.Phase.RECORD or self.desired.restore
        for pod in pods:
            if pod.owner not in self.known.ports and pod.pod is not None:
                yield _port(pod, pod.pod, born_later=fresh, late=self.known.late)
        for device in (self.tunnel, self.bridge):
            if device is not None and device.name not in self.known.devices:
                ipv6_mtu = wanted.first_ipv6_mtu(device, late=self.known.late)
                yield journal.DeviceEntry(link=device.name, index=device.index, mtu=device.mtu, ipv6_mtu=ipv6_mtu)

    def unrecorded_routes(self, pods: Iterable[state.PodState], *, node: bool) -> Iterator[journal.Entry]:
        """Return the entries of routes that are not recorded yet; the ports must have been recorded before."""
        late = self.known.late
        for pod in pods:
            known = self.known.originals.get(pod.owner)
            new = [
                seen
                for seen in pod.routes
                if (known is None or seen.identity not in known) and not destinations.added(seen)
            ]
            if new:
                bodies = [
                    seen.body
                    if known is None and not late
                    else _own_body(seen, self.pod_route_aim(pod, seen, seen), late=late)
                    for seen in new
                ]
                yield journal.RoutesEntry(owner=pod.owner, bodies=tuple(body.hex() for body in bodies))
        if node:
            known = self.known.originals.get(journal.NODE)
            new = [s for group in (self.overlay, self.ports) for s in group if known is None or s.identity not in known]
            if new:
                bodies = [
                    seen.body if known is None and not late else _own_body(seen, self.route_aim(seen), late=late)
                    for seen in new
                ]
                yield journal.RoutesEntry(owner=journal.NODE, bodies=tuple(body.hex() for body in bodies))

    def route_aim(self, route: routes.Raw) -> wanted.Aim:
        """Return the MTU and the pin that the node must keep to on one of its own routes.

        One that leads to exactly a network with a size of its own ends at that.
        """
        most = self.limits.by_network.get(route.destination)
        if most is not None and self._own.isdisjoint(route.devices):
            return self._limited_aim(route, most)
        devices = route.devices
        index = devices[0] if len(devices) == 1 else next((each for each in devices if each in self._own), devices[0])
        if index not in self._route_aims:
            self._route_aims[index] = self._link_aim(index)
        return self._route_aims[index]

    def _limited_aim(self, route: routes.Raw, most: int) -> wanted.Aim:
        first = self.known.originals.get(journal.NODE, {}).get(route.identity, route)
        devices = [self.by_index[index] for index in route.devices if index in self.by_index]
        finals = [(device, self.final(device)) for device in devices]
        final = min((device.mtu if end is None else end for device, end in finals), default=most)
        less = not self.desired.restore and most < min(final, first.mtu or final)
        moved = self.row.moved and (less or any(end is not None for _device, end in finals))
        return self._aim(final, pinned=self.row.overlay, moved=moved, route=most if less else None, most=most)

    def _link_aim(self, index: int) -> wanted.Aim:
        if (pod := self.ends.get(index)) is not None:
            return self.host_aim(pod)
        pinned = self.row.ports if index in self._own else self.row.overlay
        device = self.by_index.get(index)
        if device is None:
            return self._aim(self.desired.pin_mtu, pinned=pinned, moved=False)
        return self.device_aim(device, pinned=pinned)

    def notes(self) -> Iterator[str]:
        """Return what the user should know about routes that stay changed."""
        if not self.row.moved or self.desired.restore:
            return
        for pod in self.now.pods.values():
            yield from self._lowered(pod, pod.owner, pod.routes)
        yield from self._lowered(None, journal.NODE, [*self.overlay, *self.ports])

    def _lowered(self, pod: state.PodState | None, owner: str, routed: Iterable[routes.Raw]) -> Iterator[str]:
        known = self.known.originals.get(owner, {})
        for seen in routed:
            first = known.get(seen.identity)
            if first is None or first.mtu is None:
                continue
            aim = self.pod_aim(pod) if pod is not None else self.route_aim(seen)
            if aim.moved and first.mtu > aim.final:
                yield (
                    f"{place(pod)}: route {seen.destination} had MTU {first.mtu} of its own, above its device; "
                    f"it is lowered to {aim.final}"
                )


@remembered(8192)
def _within(destination: str, networks: tuple[str, ...]) -> bool:
    """Return True when a route's destination lies inside one of the networks."""
    if destination == "default":
        return False
    where = ipaddress.ip_network(destination, strict=False)
    size = where.max_prefixlen
    number, length = int(where.network_address), where.prefixlen
    for network in map(ipaddress.ip_network, networks):
        shift = size - network.prefixlen
        same = network.max_prefixlen == size and length >= network.prefixlen
        if same and number >> shift == int(network.network_address) >> shift:
            return True
    return False


def _port(pod: state.PodState, end: links.Device, *, born_later: bool, late: bool) -> journal.PortEntry:
    return journal.PortEntry(
        netns=pod.name,
        inode=pod.inode,
        host_link=pod.host.name,
        host_index=pod.host.index,
        host_mtu=pod.host.mtu,
        host_ipv6_mtu=wanted.first_ipv6_mtu(pod.host, late=late),
        pod_link=end.name,
        pod_index=end.index,
        pod_mtu=end.mtu,
        ipv6_mtu=wanted.first_ipv6_mtu(end, late=late),
        born_later=born_later,
    )


def _own_body(route: routes.Raw, aim: wanted.Aim, *, late: bool) -> bytes:
    first = wanted.first_metrics(route, aim, late=late)
    return route.body if first == route.metrics else routes.replay(route, first)[2]
