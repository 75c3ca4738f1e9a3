"""Decides what each route, sysctl and device of a node should be. Arithmetic only: values in, values out.

Why IPv4 and IPv6 are pinned differently (all measured, Linux 6.18):
- IPv4: `mtu lock LOW`. A plain `mtu` makes the sender drop the one segment that it had built for the old size, which
  stalls a flow of one-segment requests for 207-251 ms; with the lock the segment is fragmented instead: 3 ms at most.
- IPv6, when the device will end at LOW: net.ipv6.conf.<link>.mtu = LOW. IPv6 never fragments TCP, so the lock would
  stall (249-257 ms); the sysctl does not.
- IPv6, when the device will end above LOW: `mtu lock LOW`, because every change of a device's MTU overwrites the
  sysctl. Where the link still sends more than LOW, the sysctl goes first, and the lock finds nothing left to shrink.
"""

import ipaddress
from collections.abc import Collection, Sequence

import msgspec

from kubemtu.core import encap, headers, net
from kubemtu.core.change import migration
from kubemtu.core.text import wording
from kubemtu.node.change import destinations, journal, state
from kubemtu.node.kernel import links, routes
from kubemtu.node.kernel.remembered import remembered

_BOUNDS = f"an MTU lies between {encap.IPV4_MINIMUM} and {encap.LARGEST_MTU} bytes"
SHORTEST_PREFIX = 3  # characters of the name of a host end: the shortest of a known CNI is eni
_TCP = {4: 40, 6: 60}  # IP and TCP headers without options: MSS = MTU - 40 (RFC 9293 3.7.1), or - 60 (RFC 8200 8.3)


class Aim(msgspec.Struct, frozen=True, eq=False):
    """What one link's senders should keep to. `final` is where the device ends; `moved`: it should be there by now.

    Compared by identity, because it is looked up for every route: whoever has many routes makes each aim once.
    """

    low: int
    high: int
    final: int
    pinned: bool
    moved: bool
    restored: bool = False
    route: int | None = None  # the MTU that the route itself has at the end, where the CNI limits pods by it
    most: int | None = None  # what is sent at most by this route, where that depends on the destination
    follows: int | None = None  # what the device had: a route with the same number got it from who sized the device

    @property
    def grows(self) -> bool:
        """True when the device ends above what its senders are pinned to."""
        return self.final > self.low

    def advmss(self, family: int) -> int | None:
        """Return what a pinned route announces: as much as it ends with, so that connections can grow; None: its own.

        More than that, and a peer far away would send what the way from there does not carry.
        """
        end = self.final if self.most is None else min(self.final, self.most)
        return min(self.high, end) - _TCP[family] if end > self.low else None


@remembered(4096)
def metrics(original: routes.Metrics, family: int, aim: Aim) -> routes.Metrics:
    """Return the metrics that a route should have, given those that it had first and where its link is going.

    A route whose own MTU is small enough is its own pin. IPv4 does not clamp a route's MTU to the device's
    (net/ipv4/route.c, ipv4_mtu), so one above the device's new MTU is lowered with it. One that has the number of a
    tunnel goes along with that in both directions: the CNI's agent gives both the same.
    """
    own = routes.metric(original, routes.MTU)
    locked = bool((routes.metric(original, routes.LOCK) or 0) & routes.LOCKED)
    if not aim.pinned and aim.moved and aim.route is not None:
        return routes.with_mtu(original, aim.route, lock=locked)
    if not aim.pinned:
        goes_along = own is not None and (own > aim.final or own == aim.follows)
        ends = aim.moved and not aim.restored and goes_along
        return routes.with_mtu(original, aim.final, lock=locked) if ends else original
    if own is not None and own <= aim.low:
        return original
    if family == 6 and own is None and not aim.grows:
        return original
    return routes.with_mtu(original, aim.low, lock=True, advmss=aim.advmss(family))


def first_metrics(route: routes.Raw, aim: Aim, *, late: bool = False) -> routes.Metrics:
    """Return what a route that appeared after the others were recorded had of its own: our pin, if it has one, is not.

    `late`: nothing was recorded before the change, which may have pinned it to another size since. No CNI locks a
    route's MTU, so any lock is taken for a pin then, and with it an advmss above it, which only a pin makes sense of.
    """
    if not route.locked or route.mtu is None or not (route.mtu == aim.low or (late and route.mtu <= aim.high)):
        return route.metrics
    stripped = routes.with_mtu(route.metrics, None, lock=False)
    announced = aim.advmss(route.family)
    ours = announced is not None and route.advmss == announced
    ours = ours or (late and (route.advmss or 0) > route.mtu - _TCP[route.family])
    return routes.without_advmss(stripped) if ours else stripped


def first_ipv6_mtu(device: links.Device, *, late: bool) -> int | None:
    """Return what to record of net.ipv6.conf.<link>.mtu; if `late`, a value below the device's is taken for our pin."""
    return device.mtu if late and device.ipv6_mtu is not None else device.ipv6_mtu


def conf(now: links.Device, was: tuple[int, int | None], aim: Aim, steering: Sequence[routes.Raw]) -> int | None:
    """Return the value that net.ipv6.conf.<link>.mtu should get, or None to leave it as it is.

    `was` are the recorded device MTU and sysctl; `steering` the IPv6 routes through the link that could be pinned.
    """
    if now.ipv6_mtu is None:
        return None
    if aim.pinned:
        unpinned = any(seen.family == 6 and (seen.mtu is None or seen.mtu > aim.low) for seen in steering)
        return aim.low if unpinned and now.ipv6_mtu > aim.low else None
    rest = aim.final if aim.moved else now.mtu
    if now.mtu != rest:
        return None  # its device goes first, and takes the sysctl along
    recorded_mtu, recorded = was
    deliberate = recorded is not None and recorded < recorded_mtu and recorded <= rest
    if deliberate:
        return recorded if now.ipv6_mtu != recorded else None
    followed = recorded is not None and recorded >= recorded_mtu  # whatever it was pinned to, it follows its device
    return rest if (followed or now.ipv6_mtu == aim.low) and now.ipv6_mtu != rest else None


def finals(port: journal.PortEntry, desired: migration.Desired) -> tuple[int, int]:
    """Return where the host end and the pod end of a port end, in bytes."""
    aim, origin = devices(desired)
    if not desired.restore:
        return aim, aim
    if port.born_later:
        return origin, origin
    return port.host_mtu, port.pod_mtu


def devices(desired: migration.Desired) -> tuple[int, int]:
    """Return the MTU that pods' devices get, and the one that they had before, in bytes."""
    return desired.device_mtu or desired.pod_mtu, desired.origin_device_mtu or desired.origin_mtu


def route_mtu(port: journal.PortEntry, desired: migration.Desired) -> int | None:
    """Return what the routes of a pod end at, in bytes, where the CNI limits pods by them; None: at what they had."""
    if desired.device_mtu is None:
        return None
    if not desired.restore:
        return desired.pod_mtu
    return desired.origin_mtu if port.born_later else None


def refusals(
    desired: migration.Desired,
    pods: Collection[state.PodState],
    devices: dict[str, links.Device],
    outward: Collection[int] = (),
) -> list[str]:
    """Say why nothing must be changed at all, a sentence each; `outward` as for `beyond`."""
    found = beyond(desired, devices, outward)
    if desired.restore or found:
        return found
    sizes = {"pod MTU": desired.pod_mtu, "pinMtu": desired.pin_mtu, "highestMtu": desired.highest_mtu}
    if desired.device_mtu is not None:
        sizes["device MTU"] = desired.device_mtu
        if desired.device_mtu < desired.pod_mtu:
            found.append(
                f"device MTU {desired.device_mtu} is below pod MTU {desired.pod_mtu}, to which routes limit the pods:"
                " what is larger would vanish at the device"
            )
    if desired.tunnel_mtu is not None:
        sizes["tunnel MTU"] = desired.tunnel_mtu
    for name, size in sizes.items():
        if not encap.IPV4_MINIMUM <= size <= encap.LARGEST_MTU:
            found.append(f"{name} {size} is out of range: {_BOUNDS}")
    if desired.pin_mtu > min(desired.pod_mtu, desired.highest_mtu):
        found.append(
            f"pinMtu {desired.pin_mtu} is above pod MTU {desired.pod_mtu} or highestMtu {desired.highest_mtu}: no pin "
            "would hold"
        )
    found += destinations.refusals(desired)
    smallest = min(desired.pin_mtu, desired.pod_mtu, desired.default_route_mtu or desired.pod_mtu)
    if smallest < encap.IPV6_MINIMUM:
        ends = [(pod.name, end) for pod in pods for end in (pod.pod, pod.host) if end is not None]
        with_ipv6 = [f"{end.name} of {name}" for name, end in ends if end.ipv6_mtu is not None]
        if with_ipv6:
            found.append(
                f"{smallest} is below 1280, at which the kernel takes every IPv6 address and route off a link for "
                f"good; IPv6 is on at {wording.names(with_ipv6)}. Choose 1280 or more"
            )
    found += _tunnel_refusals(desired, devices)
    if desired.bridge is not None and desired.bridge not in devices:
        found.append(f"this node has no bridge {desired.bridge}: name the right one, or none")
    return found


def beyond(desired: migration.Desired, devices: dict[str, links.Device], outward: Collection[int] = ()) -> list[str]:
    """Say why what is asked for lies outside the pod network, a sentence each: then it is no change of the pod network.

    `outward` are the indexes of the devices of default routes: a bridge among them, or a switch's own port, holds the
    node's NIC (br0, br-ex), and is no more the pods' than that.

    Whoever may write a NodeMTU says what to change, so the node holds it against what its devices are: a NIC is never a
    tunnel or a bridge, and a network of everything would take the node's own routes.
    """
    found = []
    tunnel = devices.get(desired.tunnel or "")
    if tunnel is not None and tunnel.kind not in net.TUNNEL_KINDS:
        found.append(f"{tunnel.name} is {_kind(tunnel)}, no tunnel: kubemtu changes no other device of a node")
    bridge = devices.get(desired.bridge or desired.ports.bridge or "")
    if bridge is not None and bridge.kind not in net.BRIDGE_KINDS:
        found.append(f"{bridge.name} is {_kind(bridge)}, no bridge: kubemtu changes no other device of a node")
    elif bridge is not None and bridge.index in outward:
        found.append(f"{bridge.name} is the node's own way out, by its default route: kubemtu changes no such device")
    wide = [prefix for prefix in desired.ports.prefixes if len(prefix) < SHORTEST_PREFIX]
    if wide:
        found.append(f"{wide[0]!r} begins the names of far more links than those of pods: name a longer prefix")
    for network in (*desired.pod_networks, *(one.network for one in desired.network_mtus)):
        try:
            parsed = ipaddress.ip_network(network, strict=False)
        except ValueError:
            found.append(f"{network!r:.60} is no network of pods: write it as 10.42.0.0/16")
            continue
        if migration.wider(parsed):
            found.append(f"{network} is no network of pods: it holds the addresses of others too")
        elif migration.mapped(parsed):
            found.append(f"{network} is IPv4 in IPv6's notation, to which no packet goes: write it as 10.42.0.0/16")
    for name, size in (
        ("origin MTU", desired.origin_mtu),
        ("origin tunnel MTU", desired.origin_tunnel_mtu),
        ("origin device MTU", desired.origin_device_mtu),
    ):
        if size is not None and not encap.IPV4_MINIMUM <= size <= encap.LARGEST_MTU:
            found.append(f"{name} {size} is out of range: {_BOUNDS}")
    return found


def _kind(device: links.Device) -> str:
    return f"a device of kind {device.kind}" if device.kind else "a NIC"


def _tunnel_refusals(desired: migration.Desired, devices: dict[str, links.Device]) -> list[str]:
    if desired.tunnel is None or desired.tunnel_mtu is None:
        return []
    tunnel = devices.get(desired.tunnel)
    if tunnel is None:
        return [f"this node has no tunnel {desired.tunnel}: name the right one, or none"]
    if desired.tunnel_mtu < encap.IPV6_MINIMUM and tunnel.ipv6_mtu is not None:
        return [f"{desired.tunnel}: {desired.tunnel_mtu} is below 1280, and IPv6 is on: choose 1280 or more"]
    already = tunnel.mtu == desired.tunnel_mtu and desired.phase is not migration.Phase.RECORD
    return [] if already else exceeds(tunnel, desired.tunnel_mtu, devices)  # a NIC that shrank later stops no unpin


def exceeds(tunnel: links.Device, mtu: int, devices: dict[str, links.Device]) -> list[str]:
    """Return a sentence when the tunnel's packets would not fit its lower device; the kernel checks that at times."""
    if tunnel.vxlan is None or tunnel.vxlan[2] is None:
        return []
    lower = next((device for device in devices.values() if device.index == tunnel.vxlan[2]), None)
    cost = encap.vxlan(headers.IPV6 if tunnel.vxlan[3] else headers.IPV4).cost
    if lower is None or mtu <= lower.mtu - cost:
        return []
    most = lower.mtu - cost
    sentence = f"{tunnel.name} cannot have MTU {mtu}: it adds {cost} bytes to what {lower.name} carries, {lower.mtu}"
    return [f"{sentence}, so {most} is the most. Raise {lower.name} and the network first, or choose less"]
