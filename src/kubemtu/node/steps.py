"""Compares a node with the row it should be true to: what must be recorded first, what must be written, in which order.

Reads the state, asks the kernel for nothing. The stages are in the order in which they must happen when several are
due at once, as after a restart: pins from the pods outwards, devices, unpins in reverse.
"""

import functools
import ipaddress
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kubemtu.core import migration
from kubemtu.node import journal, links, routes, state, wanted

PODS, OVERLAY, PORTS = "pods", "overlay", "ports"


class Edit(msgspec.Struct, frozen=True, eq=False):
    """Give a route other metrics; `pod` None: it is the node's."""

    pod: state.Pod | None
    seen: routes.Raw
    metrics: routes.Metrics

    def __str__(self) -> str:
        """What it does, for a sentence."""
        mtu = routes.metric(self.metrics, routes.MTU)
        return f"{_place(self.pod)}: route {self.seen.destination} with {f'MTU {mtu}' if mtu else 'no MTU of its own'}"


class Conf(msgspec.Struct, frozen=True, eq=False):
    """Set net.ipv6.conf.<link>.mtu; `pod` None: on the node."""

    pod: state.Pod | None
    link: str
    mtu: int

    def __str__(self) -> str:
        """What it does, for a sentence."""
        return f"{_place(self.pod)}: net.ipv6.conf.{self.link}.mtu={self.mtu}"


class Ends(msgspec.Struct, frozen=True, eq=False):
    """Set both ends of one pod port, back to back."""

    pod: state.Pod
    host_mtu: int
    pod_mtu: int

    def __str__(self) -> str:
        """What it does, for a sentence."""
        return f"{_place(self.pod)}: host end {self.pod.host.name} MTU {self.host_mtu}, pod end MTU {self.pod_mtu}"


class Move(msgspec.Struct, frozen=True, eq=False):
    """Set the MTU of a tunnel or a bridge."""

    device: links.Device
    mtu: int

    def __str__(self) -> str:
        """What it does, for a sentence."""
        return f"{self.device.name}: MTU {self.mtu}"


Step = Edit | Conf | Ends | Move


def _place(pod: state.Pod | None) -> str:
    return f"pod {pod.name} ({pod.host.name})" if pod is not None else "node"


class View:
    """The state seen with one Desired in mind: which routes are whose, and where each device is going."""

    def __init__(self, now: state.State, desired: migration.Desired, known: journal.Journal) -> None:
        """Sorts the node's routes into those to other nodes and those to its own pods."""
        self.now = now
        self.desired = desired
        self.known = known
        self._aims: dict[tuple[int, bool, bool], wanted.Aim] = {}
        self._route_aims: dict[int, wanted.Aim] = {}
        self.row = desired.row
        self.key = (self.row, desired.low, desired.high, desired.pod_mtu, desired.origin_mtu, desired.restore)
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

    def _to_other_nodes(self, seen: routes.Raw) -> bool:
        if self.tunnel is not None and self.tunnel.index in seen.devices:
            return True
        return _within(seen.destination, self.desired.pod_networks)

    def pod_aim(self, pod: state.Pod) -> wanted.Aim:
        """What the senders inside a pod keep to."""
        return self._aim(self._finals(pod)[1], pinned=self.row.pods, moved=self.row.moved)

    def host_aim(self, pod: state.Pod) -> wanted.Aim:
        """What the node keeps to when it sends to a pod."""
        return self._aim(self._finals(pod)[0], pinned=self.row.ports, moved=self.row.moved)

    def device_aim(self, device: links.Device, *, pinned: bool) -> wanted.Aim:
        """What the node keeps to on a tunnel, a bridge, or a device that is not kubemtu's to change."""
        final = self.final(device)
        return self._aim(device.mtu if final is None else final, pinned=pinned, moved=self._moves(final))

    def _moves(self, final: int | None) -> bool:
        return self.row.moved and final is not None

    def _aim(self, final: int, *, pinned: bool, moved: bool) -> wanted.Aim:
        key = (final, pinned, moved)
        if key not in self._aims:
            low, high, restored = self.desired.low, self.desired.high, self.desired.restore
            self._aims[key] = wanted.Aim(low, high, final, pinned, moved, restored)
        return self._aims[key]

    def _finals(self, pod: state.Pod) -> tuple[int, int]:
        return wanted.finals(self.known.ports[pod.owner], self.desired)

    def final(self, device: links.Device) -> int | None:
        """Where a tunnel or a bridge ends; None when it is not to be set."""
        recorded = self.known.devices.get(device.name)
        if device.name == self.desired.tunnel and self.desired.tunnel_mtu is not None:
            return recorded.mtu if self.desired.restore and recorded else self.desired.tunnel_mtu
        if device.name == self.desired.bridge:
            return recorded.mtu if self.desired.restore and recorded else self.desired.pod_mtu
        return None

    def unrecorded(self, pods: Iterable[state.Pod]) -> Iterator[journal.Entry]:
        """Entries for everything that the row may change and the journal does not know."""
        fresh = self.desired.phase is not migration.Phase.RECORD or self.desired.restore
        for pod in pods:
            if pod.owner not in self.known.ports and pod.pod is not None:
                yield _port(pod, pod.pod, born_later=fresh)
        for device in (self.tunnel, self.bridge):
            if device is not None and device.name not in self.known.devices:
                yield journal.Device(link=device.name, index=device.index, mtu=device.mtu, ipv6_mtu=device.ipv6_mtu)

    def unrecorded_routes(self, pods: Iterable[state.Pod], *, node: bool) -> Iterator[journal.Entry]:
        """The same for routes; the ports must have been recorded before."""
        for pod in pods:
            known = self.known.originals.get(pod.owner)
            new = [seen for seen in pod.routes if known is None or seen.identity not in known]
            if new:
                aim = self.pod_aim(pod)
                bodies = [seen.body if known is None else _own_body(seen, aim) for seen in new]
                yield journal.Routes(owner=pod.owner, bodies=tuple(body.hex() for body in bodies))
        if node:
            known = self.known.originals.get(journal.NODE)
            new = [s for group in (self.overlay, self.ports) for s in group if known is None or s.identity not in known]
            if new:
                bodies = [seen.body if known is None else _own_body(seen, self.route_aim(seen)) for seen in new]
                yield journal.Routes(owner=journal.NODE, bodies=tuple(body.hex() for body in bodies))

    def route_aim(self, seen: routes.Raw) -> wanted.Aim:
        """What the node keeps to on one of its own routes."""
        devices = seen.devices
        index = devices[0] if len(devices) == 1 else next((each for each in devices if each in self._own), devices[0])
        if index not in self._route_aims:
            self._route_aims[index] = self._link_aim(index)
        return self._route_aims[index]

    def _link_aim(self, index: int) -> wanted.Aim:
        if (pod := self.ends.get(index)) is not None:
            return self.host_aim(pod)
        pinned = self.row.ports if index in self._own else self.row.overlay
        device = self.by_index.get(index)
        if device is None:
            return self._aim(self.desired.low, pinned=pinned, moved=False)
        return self.device_aim(device, pinned=pinned)

    def notes(self) -> Iterator[str]:
        """What the user should know about routes that stay changed."""
        if not self.row.moved or self.desired.restore:
            return
        for pod in self.now.pods.values():
            yield from self._lowered(pod, pod.owner, pod.routes)
        yield from self._lowered(None, journal.NODE, [*self.overlay, *self.ports])

    def _lowered(self, pod: state.Pod | None, owner: str, found: Iterable[routes.Raw]) -> Iterator[str]:
        known = self.known.originals.get(owner, {})
        for seen in found:
            first = known.get(seen.identity)
            if first is None or first.mtu is None:
                continue
            aim = self.pod_aim(pod) if pod is not None else self.route_aim(seen)
            if aim.moved and first.mtu > aim.final:
                yield (
                    f"{_place(pod)}: route {seen.destination} had MTU {first.mtu} of its own, above its device; "
                    f"it is lowered to {aim.final}"
                )


@functools.lru_cache(maxsize=8192)
def _within(destination: str, networks: tuple[str, ...]) -> bool:
    """True when a route's destination lies inside one of the networks."""
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


def _port(pod: state.Pod, end: links.Device, *, born_later: bool) -> journal.Port:
    return journal.Port(
        netns=pod.name,
        inode=pod.inode,
        host_link=pod.host.name,
        host_index=pod.host.index,
        host_mtu=pod.host.mtu,
        host_ipv6_mtu=pod.host.ipv6_mtu,
        pod_link=end.name,
        pod_index=end.index,
        pod_mtu=end.mtu,
        ipv6_mtu=end.ipv6_mtu,
        born_later=born_later,
    )


def _own_body(seen: routes.Raw, aim: wanted.Aim) -> bytes:
    first = wanted.first_metrics(seen, aim)
    return seen.body if first == seen.metrics else routes.replay(seen, first)[2]


class Stages:
    """What must be written, in order; a stage holds steps that do not depend on each other."""

    def __init__(self) -> None:
        """Nothing to do."""
        self.ambiguous: list[Edit] = []  # pins that the kernel might put on another route
        self._pins: dict[str, tuple[list[Step], list[Step]]] = {group: ([], []) for group in (PODS, OVERLAY, PORTS)}
        self._unpins: dict[str, tuple[list[Step], list[Step]]] = {group: ([], []) for group in (PORTS, OVERLAY, PODS)}
        self._tunnel: list[Step] = []
        self._ends: list[Step] = []
        self._bridge: list[Step] = []

    def __iter__(self) -> Iterator[list[Step]]:
        """The stages that are not empty."""
        ordered: list[list[Step]] = []
        for confs, edits in self._pins.values():  # the sysctl first: the lock must find nothing to shrink
            ordered += [confs, edits]
        ordered += [self._tunnel, self._ends, self._bridge]
        for confs, edits in self._unpins.values():
            ordered += [edits, confs]
        return iter([stage for stage in ordered if stage])

    def add_pod(self, view: View, pod: state.Pod) -> None:
        """What one pod needs."""
        key = (view.key, pod.host.mtu)
        if pod.pod is None or pod.compared == key:
            return
        port = view.known.ports[pod.owner]
        aim = view.pod_aim(pod)
        confs, edits = (self._pins if aim.pinned else self._unpins)[PODS]
        known = view.known.originals.get(pod.owner, {})
        before = len(edits) + len(confs) + len(self._ends) + len(self.ambiguous)
        for seen in pod.routes:
            self._add_edit(edits, view, _edit(pod, seen, known, aim))
        mtu = wanted.conf(pod.pod, (port.pod_mtu, port.ipv6_mtu), aim, pod.routes)
        if mtu is not None:
            confs.append(Conf(pod, pod.pod.name, mtu))
        if view.row.moved:
            host_mtu, pod_mtu = wanted.finals(port, view.desired)
            if (pod.host.mtu, pod.pod.mtu) != (host_mtu, pod_mtu):
                self._ends.append(Ends(pod, host_mtu, pod_mtu))
        if len(edits) + len(confs) + len(self._ends) + len(self.ambiguous) == before:
            pod.compared = key

    def add_node(self, view: View) -> None:
        """What the node itself needs: its routes to other nodes and to its pods, its tunnel and its bridge."""
        known = view.known.originals.get(journal.NODE, {})
        row = view.row
        for group, found, pinned in ((OVERLAY, view.overlay, row.overlay), (PORTS, view.ports, row.ports)):
            confs, edits = (self._pins if pinned else self._unpins)[group]
            by_device: dict[int, list[routes.Raw]] = {}
            for seen in found:
                self._add_edit(edits, view, _edit(None, seen, known, view.route_aim(seen)))
                if seen.family == 6:
                    for index in seen.devices:
                        by_device.setdefault(index, []).append(seen)
            confs += _confs(view, by_device, pinned=pinned)
        for device, moves in ((view.tunnel, self._tunnel), (view.bridge, self._bridge)):
            final = view.final(device) if device is not None and row.moved else None
            if device is None or final is None or device.mtu == final:
                continue
            # A bridge that nobody has set follows its ports by itself, and stays so if it is left alone until they
            # have moved (net/bridge/br_if.c, br_mtu_auto_adjust): it comes in the next round, if it still differs.
            if moves is self._bridge and any(step.pod.host.master == device.index for step in self._ports_moving()):
                continue
            moves.append(Move(device, final))

    def _add_edit(self, edits: list[Step], view: View, edit: Edit | None) -> None:
        if edit is None:
            return
        if edit.seen.slot not in (edit.pod.shared if edit.pod is not None else view.now.shared):
            edits.append(edit)
        elif not view.desired.restore:  # a way back must not end at a route that could never be pinned
            self.ambiguous.append(edit)

    def _ports_moving(self) -> Iterator[Ends]:
        return (step for step in self._ends if isinstance(step, Ends))


def _edit(pod: state.Pod | None, seen: routes.Raw, known: Mapping[bytes, routes.Raw], aim: wanted.Aim) -> Edit | None:
    original = known.get(seen.identity, seen)
    metrics = wanted.metrics(original.metrics, seen.family, aim)
    return None if metrics == seen.metrics else Edit(pod, seen, metrics)


def _confs(view: View, by_device: Mapping[int, list[routes.Raw]], *, pinned: bool) -> Iterator[Conf]:
    for index, steering in by_device.items():
        if (pod := view.ends.get(index)) is not None:
            port = view.known.ports[pod.owner]
            was, device, aim = (port.host_mtu, port.host_ipv6_mtu), pod.host, view.host_aim(pod)
        elif (other := view.by_index.get(index)) is not None and other.name in view.known.devices:
            recorded, device = view.known.devices[other.name], other
            was, aim = (recorded.mtu, recorded.ipv6_mtu), view.device_aim(device, pinned=pinned)
        else:
            continue  # another device of the node: its sysctl counts for everything else, too
        mtu = wanted.conf(device, was, aim, steering)
        if mtu is not None:
            yield Conf(None, device.name, mtu)
