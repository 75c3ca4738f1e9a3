"""What a node and its pods are at this moment, read again and again through sockets that stay open.

A socket in a pod's namespace keeps that namespace alive, so a pod whose host end is gone is let go at once, and one
whose namespace has lost its name is let go by `prune`.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence

from kubemtu.core import net
from kubemtu.core.errors import KubemtuError
from kubemtu.node import errors, ports
from kubemtu.node.kernel import links, netlink, netns, routes


class PodState:
    """One pod port: its two ends as last read, and the socket inside."""

    __slots__ = (
        "compared",
        "host",
        "inode",
        "name",
        "others",
        "owner",
        "pod",
        "read_at",
        "routes",
        "sends",
        "shared",
        "sock",
        "stale_link",
        "stale_routes",
    )

    def __init__(self, host: links.Device, space: netns.Netns, sock: netlink.Socket) -> None:
        """Hold a pod that has been found and not been read."""
        self.host = host
        self.name = space.name
        self.inode = space.inode
        self.owner = f"{space.inode}/{host.index}"
        self.sock = sock
        self.pod: links.Device | None = None
        self.routes: list[routes.Raw] = []  # those that steer packets to the pod link
        self.others: list[routes.Raw] = []  # those that steer packets to other links of the pod
        self.shared: frozenset[bytes] = frozenset()  # slots that two routes have, so that a replay might hit either
        self.sends: int | None = None  # the largest packet that its routes let out, in bytes
        self.stale_link = self.stale_routes = True
        self.compared: object = None  # what this state was compared with and found right
        self.read_at = 0.0

    @property
    def stale(self) -> bool:
        """True when something here may differ from what was read."""
        return self.stale_link or self.stale_routes

    def spoil(self) -> None:
        """Mark everything as to be read again."""
        self.stale_link = self.stale_routes = True

    def read(self) -> bool:
        """Read what is stale again; False when the pod is gone. Raises Refused with a sentence."""
        index = self.host.peer_index or 0
        asked = [links.ask(index)] if self.stale_link else []
        if self.stale_routes:
            asked.append((routes.ASK[0], netlink.DUMP, routes.ASK[1]))
        answers = self.sock.exchange(asked)
        if self.stale_link:
            link = answers[0]
            if link.code in errors.GONE:
                self.pod = None
                return False
            link.check(f"{self.name}: reading the pod's link")
            self.pod = links.device(link.bodies[0])
        if self.stale_routes:
            table = answers[-1].bodies
            if answers[-1].code or answers[-1].interrupted:
                table = self.sock.dump(*routes.ASK, f"{self.name}: reading the pod's routes")
            steering, self.shared = routes.steering(tuple(table))
            self.routes = [seen for seen in steering if index in seen.devices]
            self.others = [seen for seen in steering if index not in seen.devices]
        self.stale_link = self.stale_routes = False
        self.settle()
        self.read_at = time.monotonic()
        return True

    def settle(self) -> None:
        """Draw the conclusions from what has just been read."""
        self.compared = None
        if self.pod is not None:
            self.sends = max((sent(self.pod, seen) for seen in self.routes), default=None)

    def take_routes(self, answers: Sequence[netlink.Reply]) -> None:
        """Take the routes that the kernel showed when it accepted them; read all again when one is missing."""
        self.routes, whole = taken(self.routes, answers)
        self.stale_routes = self.stale_routes or not whole
        self.settle()

    def take_link(self, answer: netlink.Reply) -> None:
        """Take the pod end from the answer to a question about it."""
        if answer.bodies:
            self.pod = links.device(answer.bodies[0])
            self.settle()
        else:
            self.stale_link = True


def taken(known: list[routes.Raw], answers: Sequence[netlink.Reply]) -> tuple[list[routes.Raw], bool]:
    """Return the routes with those in the answers in their places, and whether every answer had its place."""
    shown = [routes.raw(answer.bodies[-1]) for answer in answers if answer.bodies]
    by_identity = {seen.identity: seen for seen in shown}
    renewed = [by_identity.get(seen.identity, seen) for seen in known]
    whole = len(shown) == len(answers) and by_identity.keys() <= {seen.identity for seen in known}
    return renewed, whole


def sent(now: links.Device, route: routes.Raw) -> int:
    """Return the largest packet in bytes that a route through this link lets the kernel send.

    IPv4 takes a route's MTU as it is, even above the device's (net/ipv4/route.c, ipv4_mtu).
    """
    if route.mtu is not None:
        return route.mtu
    return now.mtu if route.family == 4 or now.ipv6_mtu is None else now.ipv6_mtu


class State:
    """The node of the thread that makes this, and the pods behind its ports."""

    def __init__(self, roots: netns.Roots) -> None:
        """Open the node's own socket. Raises Denied or Refused."""
        try:
            self.sock = netlink.Socket()
        except OSError as error:
            raise errors.refusal("opening a netlink socket", error.errno or 0) from error
        self.roots = roots
        self.pods: dict[int, PodState] = {}  # by the index of the host end
        self.devices: dict[str, links.Device] = {}  # the node's links, by name
        self.routes: list[routes.Raw] = []  # the node's, those that steer packets
        self.stale_routes = True
        self.shared: frozenset[bytes] = frozenset()
        self._rule: net.PortRule | None = None
        self.lost: dict[str, str] = {}  # host end -> why its pod end cannot be reached

    def close(self) -> None:
        """Close every socket, and let go of every namespace."""
        for pod in self.pods.values():
            pod.sock.close()
        self.pods.clear()
        self.sock.close()

    def find(self, rule: net.PortRule) -> None:
        """Read the node's links; open the pods that are new, and let go of those that are gone."""
        seen = links.devices(self.sock)
        self.devices = {each.name: each for each in seen}
        ends = ports.covered(seen, rule, known=self.pods if rule == self._rule else {})
        self._rule = rule
        present = {end.index for end in ends}
        for index in self.pods.keys() - present:
            self.drop(index)
        new = []
        for end in ends:
            known = self.pods.get(end.index)
            if known is not None and known.host.peer_netnsid == end.peer_netnsid:
                known.host = end
            else:
                self.drop(end.index)
                new.append(end)
        self.lost = {}
        if new:
            self._open(new)

    def _open(self, new: Sequence[links.Device]) -> None:
        with netns.Opened() as opened:
            numbers = {end.peer_netnsid for end in new if end.peer_netnsid is not None}
            others = [pod.inode for pod in self.pods.values() if pod.host.peer_netnsid not in numbers]
            spaces = ports.behind(self.sock, numbers, self.roots, opened, besides=others)
            found = [
                (end, space)
                for end in new
                if (space := spaces.get(-1 if end.peer_netnsid is None else end.peer_netnsid)) is not None
            ]
            sockets = netns.sockets([space.descriptor for _end, space in found])
        for (end, space), sock in zip(found, sockets, strict=True):
            if isinstance(sock, errors.Denied):
                raise sock
            if isinstance(sock, (KubemtuError, OSError)):
                self.lost[end.name] = f"{end.name}: its pod's namespace {space.name} could not be entered: {sock}"
            else:
                self.pods[end.index] = PodState(end, space, sock)
        for end in new:
            if end.index not in self.pods and end.name not in self.lost and links.read(self.sock, end.index):
                self.lost[end.name] = ports.lost(end.name)

    def drop(self, index: int) -> None:
        """Let go of one pod."""
        if (pod := self.pods.pop(index, None)) is not None:
            pod.sock.close()

    def prune(self) -> None:
        """Let go of pods whose namespace has neither a name nor a process any more. 250 pods: half a millisecond."""
        held = {pod.inode for pod in self.pods.values()}
        if held and (held := held - netns.named_inodes(self.roots)):
            device, own = netns.identity(self.sock)
            with netns.Opened() as opened:
                held -= {each.inode for each in netns.unnamed(self.roots, opened, {own}, device)}
        for index in [index for index, pod in self.pods.items() if pod.inode in held]:
            self.drop(index)

    def read_routes(self) -> None:
        """Read the node's own routes."""
        self.routes = [seen for seen in routes.dump(self.sock) if seen.steers]
        self.shared = routes.shared(self.routes)
        self.stale_routes = False

    def outward(self) -> frozenset[int]:
        """Return the indexes of the devices by which the node's default routes lead."""
        return frozenset(index for seen in self.routes if seen.destination == "default" for index in seen.devices)

    def take_routes(self, answers: Sequence[netlink.Reply]) -> None:
        """Take the node's routes that the kernel showed when it accepted them."""
        self.routes, whole = taken(self.routes, answers)
        self.stale_routes = self.stale_routes or not whole

    def take_host(self, pod: PodState, answer: netlink.Reply) -> None:
        """Take a host end from the answer to a question about it."""
        if answer.bodies:
            pod.host = links.device(answer.bodies[0])
            self.devices[pod.host.name] = pod.host

    def read_pods(self, pods: Iterable[PodState]) -> None:
        """Read pods again; one that is gone is let go."""
        for pod in list(pods):
            if not pod.read():
                self.drop(pod.host.index)

    def write_all(self, writes: Sequence[tuple[PodState | None, str, str]]) -> list[KubemtuError | OSError | None]:
        """Write sysctls (path below /proc/sys, value), each inside its pod's namespace (None: the node's).

        One thread visits all, since /proc/sys/net shows the namespace of whoever looks (fs/proc/proc_sysctl.c). A
        write that fails yields its error.
        """
        by_place: dict[PodState | None, list[int]] = {}
        for number, (pod, _path, _value) in enumerate(writes):
            by_place.setdefault(pod, []).append(number)
        groups = list(by_place.values())

        def spaces() -> Iterator[int]:
            for pod in by_place:
                descriptor = (pod.sock if pod is not None else self.sock).namespace()
                try:
                    yield descriptor
                finally:
                    os.close(descriptor)

        results: list[KubemtuError | OSError | None] = [None] * len(writes)
        visits = netns.each(spaces(), lambda place: [self._write(*writes[number][1:]) for number in groups[place]])
        for group, visit in zip(groups, visits, strict=True):
            for place, number in enumerate(group):
                results[number] = visit[place] if isinstance(visit, list) else visit
        return results

    def _write(self, path: str, value: str) -> OSError | None:
        try:
            descriptor = os.open(f"{self.roots.sysctl}/{path}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            return error
        return None
