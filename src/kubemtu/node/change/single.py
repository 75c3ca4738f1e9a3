"""Changes one node on its own: what is asked of it, from what it shows; every phase after another; what came of it.

The other nodes are missing here: nobody pins their senders, and there are no barriers to wait at.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from kubemtu.core import encap, errors, headers, net
from kubemtu.core.change import migration
from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.text import wording
from kubemtu.node import observe
from kubemtu.node.change import engine as change_engine
from kubemtu.node.change import journal

NAME = "node-set"  # the journal of `kubemtu node set`


class PortLine(msgspec.Struct, frozen=True, kw_only=True):
    """One pod port. `lost` are the sizes, in bytes of the IP packet, that vanish between its ends without a trace."""

    host_link: str
    host_mtu: int
    netns: str
    pod_link: str
    pod_mtu: int
    addresses: tuple[str, ...] = ()
    lost: tuple[int, int] | None = None
    lost_direction: str = ""
    pins: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One node as people want to see it. MTUs in bytes of the IP packet."""

    nic: str | None
    nic_mtu: int | None
    tunnels: tuple[net.Link, ...] = ()
    bridge: net.Link | None = None
    ports: tuple[PortLine, ...] = ()
    pins: tuple[str, ...] = ()  # on the node's own routes
    journals: tuple[str, ...] = ()  # changes that can be taken back
    troubles: tuple[str, ...] = ()

    @property
    def sick(self) -> bool:
        """True when packets are lost, pins were left behind, or a pod could not be read."""
        return bool(self.pins or self.troubles or any(port.lost or port.pins for port in self.ports))


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did: every phase, and each pod before and after."""

    phases: tuple[migration.Applied, ...]
    before: tuple[PortLine, ...]
    after: tuple[PortLine, ...]
    notes: tuple[str, ...] = ()


def view(observation: net.NodeObservation, rule: net.PortRule, journals: Sequence[str]) -> NodeView:
    """Judge an observation, end against end."""
    default = next((route for route in observation.routes if route.destination == "default"), None)
    nic = observation.link(default.device) if default is not None else None
    return NodeView(
        nic=nic.name if nic else None,
        nic_mtu=nic.mtu if nic else None,
        tunnels=tuple(link for link in observation.links if link.kind in net.TUNNEL_KINDS),
        bridge=observation.link(rule.bridge) if rule.bridge else None,
        ports=tuple(map(port_line, observation.ports)),
        pins=tuple(_pin(route) for route in observation.routes if route.locked),
        journals=tuple(journals),
        troubles=observation.errors,
    )


def port_line(port: net.PodPort) -> PortLine:
    """Return a pod port, with the sizes that vanish between its ends."""
    assert port.pod_mtu is not None  # this node's own kernel showed it
    low, high = sorted((port.host_mtu, port.pod_mtu))
    outwards = port.pod_mtu > port.host_mtu
    pins = [_pin(route) for route in port.routes if route.locked]
    if port.ipv6_mtu is not None and port.ipv6_mtu < port.pod_mtu:
        pins.append(f"net.ipv6.conf.{port.pod_link}.mtu={port.ipv6_mtu}")
    return PortLine(
        host_link=port.host_link,
        host_mtu=port.host_mtu,
        netns=port.netns,
        pod_link=port.pod_link,
        pod_mtu=port.pod_mtu,
        addresses=port.addresses,
        lost=(low + VLAN_SLACK + 1, high) if high > low + VLAN_SLACK else None,
        lost_direction="" if high <= low + VLAN_SLACK else "from the pod" if outwards else "to the pod",
        pins=tuple(pins),
        others=port.others,
    )


def _pin(route: net.Route) -> str:
    return f"{route.destination} dev {route.device} mtu lock {route.mtu}"


def desired(
    observation: net.NodeObservation,
    rule: net.PortRule,
    *,
    mtu: int,
    tunnel: str | None,
    tunnel_mtu: int | None,
    bridge: str | None,
) -> migration.Desired:
    """Return what a change to `mtu` asks of the engine; raises UsageError for what cannot be."""
    device = _tunnel(observation, tunnel, tunnel_mtu)
    moved = observation.link(bridge or rule.bridge or "")
    if bridge is not None and moved is None:
        raise errors.UsageError(f"this node has no bridge {bridge}; `kubemtu node show` lists what it has")
    if not observation.ports:
        raise errors.UsageError(
            f"this node has no pod ports: no veth whose name begins with {' or '.join(rule.prefixes)}, and no port of "
            f"{rule.bridge}; name them with --prefix or --bridge"
        )
    _check_sizes(observation, mtu, device, tunnel_mtu)
    sizes = {mtu, *(size for port in observation.ports for size in port.ends)}
    return migration.Desired(
        migration=NAME,
        phase=migration.Phase.RECORD,
        pin_mtu=min(sizes),
        highest_mtu=max(sizes),
        ports=rule,
        pod_mtu=mtu,
        origin_mtu=_usual(observation.ports),
        tunnel=device.name if device else None,
        tunnel_mtu=tunnel_mtu,
        bridge=moved.name if moved else None,
    )


def _usual(ports: Sequence[net.PodPort]) -> int:
    """Return the MTU that most pods have: where an undo takes pods that were born meanwhile."""
    sizes = [port.ends[-1] for port in ports]
    return max(sizes, key=sizes.count)


def _tunnel(observation: net.NodeObservation, name: str | None, mtu: int | None) -> net.Link | None:
    tunnels = [link for link in observation.links if link.kind in net.TUNNEL_KINDS]
    if name is not None:
        if (found := observation.link(name)) is None:
            raise errors.UsageError(f"this node has no tunnel {name}; `kubemtu node show` lists what it has")
        return found
    if len(tunnels) > 1:
        names = ", ".join(link.name for link in tunnels)
        raise errors.UsageError(f"this node has several tunnels ({names}); name the pods' own with --tunnel")
    if mtu is not None and not tunnels:
        raise errors.UsageError("--tunnel-mtu is given, but this node has no tunnel; name it with --tunnel")
    return tunnels[0] if tunnels else None


def _check_sizes(observation: net.NodeObservation, mtu: int, tunnel: net.Link | None, tunnel_mtu: int | None) -> None:
    for option, size in (("--mtu", mtu), ("--tunnel-mtu", tunnel_mtu)):
        if size is not None and not encap.IPV4_MINIMUM <= size <= encap.LARGEST_MTU:
            raise errors.UsageError(
                f"{option} {size}: an MTU lies between {encap.IPV4_MINIMUM} and {encap.LARGEST_MTU} bytes"
            )
    with_ipv6 = [port.netns for port in observation.ports if port.ipv6_mtu is not None]
    if mtu < encap.IPV6_MINIMUM and with_ipv6:
        raise errors.UsageError(
            f"--mtu {mtu}: below {encap.IPV6_MINIMUM} the kernel takes every IPv6 address off a link for good, and "
            f"{wording.count(len(with_ipv6), 'pod')} here have IPv6 on; choose {encap.IPV6_MINIMUM} or more"
        )
    if tunnel is not None:
        lower = observation.link(tunnel.vxlan.lower) if tunnel.vxlan and tunnel.vxlan.lower else None
        cost = encap.vxlan(headers.IPV6 if tunnel.vxlan and tunnel.vxlan.ipv6_outer else headers.IPV4).cost
        if lower is not None and tunnel_mtu is not None and tunnel_mtu > lower.mtu - cost:
            raise errors.UsageError(
                f"--tunnel-mtu {tunnel_mtu}: {tunnel.name} adds {cost} bytes and {lower.name} carries {lower.mtu}, so "
                f"{lower.mtu - cost} is the most; raise {lower.name} and the network first"
            )
        most, whose = tunnel_mtu or tunnel.mtu, tunnel.name
        advice = "choose less, or raise it with --tunnel-mtu"
    else:
        found = view(observation, net.PortRule(), ())
        if found.nic_mtu is None:
            return
        most, whose, advice = (
            found.nic_mtu,
            found.nic or "the NIC",
            "choose less, or raise the NIC and the network first",
        )
    if mtu > most:
        raise errors.UsageError(f"--mtu {mtu} is more than {whose} carries, which is {most}; {advice}")


def begin(desired: migration.Desired, directory: Path) -> journal.Journal:
    """Return the journal to write into: a fresh one, or that of the same change when it was interrupted.

    Raises UsageError when the change that was interrupted is another one.
    """
    known = journal.Journal.open(NAME, directory)
    if known.ended:
        known.remove()
        return journal.Journal.open(NAME, directory)
    if known.began is not None and known.began.desired.pod_mtu != desired.pod_mtu:
        began = known.began.desired
        known.close()
        raise errors.UsageError(
            f"a change to MTU {began.pod_mtu} was begun here and has not ended: carry it on with the same --mtu, or "
            "take it back with `kubemtu node undo`"
        )
    return known


def walk(
    known: journal.Journal, desired: migration.Desired, phases: Sequence[migration.Phase], rule: net.PortRule
) -> Change:
    """Walk through all phases in their order. Raises NodeFailure at the first that is not reached."""
    if known.began is not None and not desired.restore:
        desired = known.began.desired  # carried on: the pins must be the same as before
    before = observe.observe("", ports=rule).ports
    reached = []
    with change_engine.Engine(known, trust=1.0) as engine:
        for phase in phases:
            one = engine.make_true(msgspec.structs.replace(desired, phase=phase))
            if not one.done:
                raise errors.NodeFailure(
                    f"stopped in phase {phase}: {'; '.join(one.failures)}. What was set before stays, and is in the "
                    "journal: the same command carries on, and `kubemtu node undo` returns"
                )
            reached.append(one)
        notes = engine.notes
    after = observe.observe("", ports=rule).ports
    return Change(
        phases=tuple(reached), before=tuple(map(port_line, before)), after=tuple(map(port_line, after)), notes=notes
    )
