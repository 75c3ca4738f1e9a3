"""Keeps one node true between two phases: hears every change of links and routes, and corrects what it made wrong.

A pod that is born meanwhile gets its pins and both its ends within milliseconds, because its link is announced before
anything runs in it; a CNI that writes a route or an MTU back is overruled. Correction happens on every event whose
state is wrong, not once per name: whoever rewrites links in a loop would win against a listener that acts once.
"""

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.node import errors
from kubemtu.node.change import engine
from kubemtu.node.kernel import links, netlink, routes

_LINKS = frozenset({netlink.RTM_NEWLINK, netlink.RTM_DELLINK})
_ROUTES = frozenset({netlink.RTM_NEWROUTE, netlink.RTM_DELROUTE})


class Watch:
    """A listener that corrects through an Engine. Give `fileno()` to an event loop, call `drain()` when it is readable.

    Call `sweep()` about once a second as well: a pod's namespace may get its name after its link was announced, and a
    deleted one without a link makes no event. Neither call may run at the same time as another call of the Engine.
    """

    def __init__(self, engine: engine.Engine, desired: migration.Desired) -> None:
        """Start listening in the calling thread's namespace, which must be the engine's. Raises Denied or Refused."""
        self.engine = engine
        self.desired = desired
        self._listener = netlink.Monitor()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something happened."""
        return self._listener.fileno()

    @property
    def everywhere(self) -> bool:
        """Whether the pods' own events are heard as well."""
        return self._listener.everywhere

    def close(self) -> None:
        """Stop listening; the engine stays open."""
        self._listener.close()

    def drain(self) -> migration.Applied | None:
        """Read all events and correct what they made wrong; None when nothing was.

        When the kernel had to drop events, everything is read again.
        """
        try:
            events = list(self._listener.events())
        except errors.Overrun:
            return self.engine.make_true(self.desired)
        scope = _Scope(self.engine, self.desired.ports)
        for event in events:
            scope.take(event)
        if not (scope.pods or scope.node):
            return None
        return self.engine.make_true(self.desired, only=scope.pods, node=scope.node)

    def sweep(self) -> migration.Applied | None:
        """Let go of namespaces that have ended, and try again where a pod's namespace was not found."""
        self.engine.state.prune()
        lost = [self.engine.state.devices[name].index for name in self.engine.state.lost]
        return self.engine.make_true(self.desired, only=lost, node=False) if lost else None


class _Scope:
    """What the events are about that do not show what the engine believes."""

    def __init__(self, engine: engine.Engine, rule: net.PortRule) -> None:
        self._state = engine.state
        self._rule = rule
        self._by_number = {pod.host.peer_netnsid: pod for pod in engine.state.pods.values()}
        self._names = {device.index: device.name for device in engine.state.devices.values()}
        self.pods: set[int] = set()
        self.node = False

    def take(self, event: netlink.Notification) -> None:
        if event.kind in _ROUTES:
            self._take_route(event)
        elif event.kind in _LINKS and event.nsid is None:
            self._take_own_link(links.unpack(event.body), gone=event.kind == netlink.RTM_DELLINK)
        elif event.kind in _LINKS:
            self._take_pod_link(event)

    def _take_route(self, event: netlink.Notification) -> None:
        if event.nsid is None:
            if event.port != self._state.sock.port and routes.raw(event.body).steers:
                self.node = True
            return
        pod = self._by_number.get(event.nsid)
        if pod is not None and event.port != pod.sock.port:
            pod.spoil()
            self.pods.add(pod.host.index)

    def _take_own_link(self, device: links.Device, *, gone: bool) -> None:
        pod = self._state.pods.get(device.index)
        if gone:
            if pod is not None:
                self._state.drop(device.index)
            return
        if pod is not None:
            if device.mtu != pod.host.mtu or device.peer_netnsid != pod.host.peer_netnsid:
                self.pods.add(device.index)
                self.node = True
            return
        known = self._state.devices.get(device.name)
        if known is None or (known.index, known.mtu, known.master) != (device.index, device.mtu, device.master):
            if device.peer_netnsid is not None and self._rule.covers(links.link(device, self._names)):
                self.pods.add(device.index)
            self.node = True

    def _take_pod_link(self, event: netlink.Notification) -> None:
        pod = self._by_number.get(event.nsid)
        if pod is None:
            return
        seen = links.unpack(event.body)
        wrong = pod.pod is None or seen.mtu != pod.pod.mtu
        if seen.index == pod.host.peer_index and (event.kind == netlink.RTM_DELLINK or wrong):
            pod.spoil()
            self.pods.add(pod.host.index)
