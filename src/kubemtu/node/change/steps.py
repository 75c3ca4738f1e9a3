"""Compares a node with the row it should be true to: what must be written, in which order.

Reads the state, asks the kernel for nothing. The stages are in the order in which they must happen when several are
due at once, as after a restart: pins from the pods outwards, devices, unpins in reverse.
"""

from collections.abc import Iterator, Mapping

import msgspec

from kubemtu.node.change import destinations, journal, state, wanted
from kubemtu.node.change.view import View, place
from kubemtu.node.kernel import links, routes

PODS, OVERLAY, PORTS = "pods", "overlay", "ports"


class Edit(msgspec.Struct, frozen=True, eq=False):
    """Give a route other metrics; `pod` None: it is the node's."""

    pod: state.PodState | None
    seen: routes.Raw
    metrics: routes.Metrics

    def __str__(self) -> str:
        """Return what it does, for a sentence."""
        mtu = routes.metric(self.metrics, routes.MTU)
        return f"{place(self.pod)}: route {self.seen.destination} with {f'MTU {mtu}' if mtu else 'no MTU of its own'}"


class Conf(msgspec.Struct, frozen=True, eq=False):
    """Set net.ipv6.conf.<link>.mtu; `pod` None: on the node."""

    pod: state.PodState | None
    link: str
    mtu: int

    def __str__(self) -> str:
        """Return what it does, for a sentence."""
        return f"{place(self.pod)}: net.ipv6.conf.{self.link}.mtu={self.mtu}"


class Ends(msgspec.Struct, frozen=True, eq=False):
    """Set both ends of one pod port, back to back."""

    pod: state.PodState
    host_mtu: int
    pod_mtu: int

    def __str__(self) -> str:
        """Return what it does, for a sentence."""
        return f"{place(self.pod)}: host end {self.pod.host.name} MTU {self.host_mtu}, pod end MTU {self.pod_mtu}"


class Move(msgspec.Struct, frozen=True, eq=False):
    """Set the MTU of a tunnel or a bridge."""

    device: links.Device
    mtu: int

    def __str__(self) -> str:
        """Return what it does, for a sentence."""
        return f"{self.device.name}: MTU {self.mtu}"


class Add(msgspec.Struct, frozen=True, eq=False):
    """Add a route to a pod, by the next hop of one that it has."""

    pod: state.PodState
    way: routes.Raw
    network: str
    mtu: int
    metrics: routes.Metrics

    def __str__(self) -> str:
        """Return what it does, for a sentence."""
        return f"{place(self.pod)}: a route to {self.network} with MTU {self.mtu}"


class Remove(msgspec.Struct, frozen=True, eq=False):
    """Take a route away that kubemtu has added to a pod."""

    pod: state.PodState
    seen: routes.Raw

    def __str__(self) -> str:
        """Return what it does, for a sentence."""
        return f"{place(self.pod)}: taking away the route to {self.seen.destination}"


Step = Edit | Conf | Ends | Move | Add | Remove


class Stages:
    """What must be written, in order; a stage holds steps that do not depend on each other."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self.ambiguous: list[Edit] = []  # pins that the kernel might put on another route
        self._pins: dict[str, tuple[list[Step], list[Step]]] = {group: ([], []) for group in (PODS, OVERLAY, PORTS)}
        self._unpins: dict[str, tuple[list[Step], list[Step]]] = {group: ([], []) for group in (PORTS, OVERLAY, PODS)}
        self._tunnel: list[Step] = []
        self._ends: list[Step] = []
        self._bridge: list[Step] = []
        self._lowered: list[Step] = []
        self._added: list[Step] = []
        self._removed: list[Step] = []

    def __iter__(self) -> Iterator[list[Step]]:
        """Return the stages that are not empty.

        By destination, what makes packets smaller goes first, and what lets them be larger last: a default route comes
        down, added routes come (the smallest size first), then pins go off. Going back, added routes go while the pins
        are still on what takes their place.
        """
        ordered: list[list[Step]] = []
        for confs, edits in self._pins.values():  # the sysctl first: the lock must find nothing to shrink
            ordered += [confs, edits]
        ordered += [self._tunnel, self._ends, self._bridge]
        for group, (confs, edits) in self._unpins.items():
            if group == PODS:
                ordered += [self._lowered, self._added, self._removed]
            ordered += [edits, confs]
        return iter([stage for stage in ordered if stage])

    def add_pod(self, view: View, pod: state.PodState) -> None:
        """Return what one pod needs."""
        key = (view.key, pod.host.mtu)
        if pod.pod is None or pod.compared == key:
            return
        port = view.known.ports[pod.owner]
        aim = view.pod_aim(pod)
        confs, edits = (self._pins if aim.pinned else self._unpins)[PODS]
        known = view.known.originals.get(pod.owner, {})
        before = self._number()
        for seen in pod.routes:
            if not destinations.added(seen):
                first = known.get(seen.identity, seen)
                edit = _edit(pod, seen, known, view.pod_route_aim(pod, seen, first))
                self._add_edit(self._lowered if _lowers(view, edit) else edits, view, edit)
        self._add_destinations(view, pod, edits)
        mtu = wanted.conf(pod.pod, (port.pod_mtu, port.ipv6_mtu), aim, pod.routes)
        if mtu is not None:
            confs.append(Conf(pod, pod.pod.name, mtu))
        if view.row.moved:
            host_mtu, pod_mtu = wanted.finals(port, view.desired)
            if (pod.host.mtu, pod.pod.mtu) != (host_mtu, pod_mtu):
                self._ends.append(Ends(pod, host_mtu, pod_mtu))
        if self._number() == before:
            pod.compared = key

    def _number(self) -> int:
        """Return how many steps there are, but for those of the node itself."""
        groups = (self._pins[PODS], self._unpins[PODS], (self._lowered, self._added, self._removed))
        return len(self._ends) + len(self.ambiguous) + sum(len(one) for group in groups for one in group)

    def _add_destinations(self, view: View, pod: state.PodState, edits: list[Step]) -> None:
        """Note which routes a pod gets or loses, and which of those that were added should have another MTU."""
        ours = {seen.destination: seen for seen in pod.routes if destinations.added(seen)}
        if not (ours or view.limits.by_network):
            return
        unpinned = view.row.moved and not view.row.pods
        if unpinned and view.desired.restore:
            self._removed += [Remove(pod, seen) for seen in ours.values()]
            return
        there, ways = view.ways(pod)
        due = {way.network: way for way in ways if not way.left}
        for destination, seen in ours.items():
            way = due.get(destination)
            if unpinned and way is None:
                self._removed.append(Remove(pod, seen))
            elif unpinned and way is not None and not _leads_alike(seen, there[way.place]):
                self._added.append(Add(pod, there[way.place], destination, way.mtu, view.first_added(way.mtu)))
            elif (metrics := view.added_metrics(pod, seen)) != seen.metrics:
                edit = Edit(pod, seen, metrics)
                self._add_edit(self._lowered if _lowers(view, edit) else edits, view, edit)
        if unpinned:
            self._added += [
                Add(pod, there[way.place], network, way.mtu, view.first_added(way.mtu))
                for network, way in due.items()
                if network not in ours
            ]

    def add_node(self, view: View) -> None:
        """Return what the node itself needs: its routes to other nodes and to its pods, its tunnel and its bridge."""
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


def _leads_alike(one: routes.Raw, other: routes.Raw) -> bool:
    return (one.devices, one.gateway, one.source) == (other.devices, other.gateway, other.source)


def _lowers(view: View, edit: Edit | None) -> bool:
    """Return True for an edit in a row without pins that makes what a pod sends smaller, as for one born meanwhile."""
    if edit is None or edit.pod is None or edit.pod.pod is None or view.row.pods:
        return False
    mtu = routes.metric(edit.metrics, routes.MTU)
    return mtu is not None and mtu < state.sent(edit.pod.pod, edit.seen)


def _edit(
    pod: state.PodState | None, route: routes.Raw, known: Mapping[bytes, routes.Raw], aim: wanted.Aim
) -> Edit | None:
    original = known.get(route.identity, route)
    metrics = wanted.metrics(original.metrics, route.family, aim)
    return None if metrics == route.metrics else Edit(pod, route, metrics)


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
