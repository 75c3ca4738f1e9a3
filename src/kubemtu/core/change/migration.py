"""The live change of running pods, as a table: which phase holds which pins and which devices.

Two limits are in play, and confusing them is what loses packets. A *route* MTU limits what is sent; a *device* MTU
limits what is sent and what is received (veth and bridge drop what is larger, silently: include/linux/netdevice.h,
__is_skb_forwardable). So every sender of every node is pinned by route to the smaller of the old and new MTU first;
while all are pinned, devices may change in any order at any pace; then the pins go, in reverse. Between two phases
stands a barrier: no node enters the next before every node has reported this one done. (Where devices move only
later, after the configuration, one barrier stands behind all pins: see flows.change.phases.) The idea of two numbers is
OpenShift's "routable MTU" (openshift/enhancements: enhancements/network/allow-mtu-changes.md), made live.

The table is the whole engine: an agent makes its node true to the row its NodeMTU names, however it got there, so a
restart of anything just carries on, and a rollback is the same table with `devices` back at what was recorded.
"""

import enum
import ipaddress

import msgspec

from kubemtu.core import net

GROUP = "kubemtu.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FORGET = f"{GROUP}/forget"
"""Annotation of a NodeMTU, "true": its agent removes what it wrote down on the node, while nothing is asked of it."""

WIDEST = {4: 8, 6: 16}
"""Bits of the widest network of pods, by IP version: no cluster's pods have more than 10.0.0.0/8."""
_IPV4_IN_IPV6 = ipaddress.IPv6Network("::/80")

SPEC_UNREADABLE = "SpecUnreadable"
MIGRATION_NOT_FOUND = "MigrationNotFound"
OUTSIDE_POD_NETWORK = "OutsidePodNetwork"
OUT_OF_BOUNDS = "OutOfBounds"
UNKNOWN_HOST = "UnknownHost"
"""Why an agent refuses what is asked of its node: reasons of the condition `Accepted` of its NodeMTU."""


class Phase(enum.StrEnum):
    """Where a live change stands; each is entered by all nodes before any enters the next."""

    RECORD = "Record"
    PIN_PODS = "PinPods"
    PIN_OVERLAY = "PinOverlay"
    PIN_PORTS = "PinPorts"
    DEVICES = "Devices"
    UNPIN_PORTS = "UnpinPorts"
    UNPIN_OVERLAY = "UnpinOverlay"
    UNPIN_PODS = "UnpinPods"
    SETTLE = "Settle"


class PhaseState(msgspec.Struct, frozen=True):
    """What holds while a phase does: pins on the pods' routes, on the routes to other nodes, on the routes to ports.

    `hosts` is about the routes for the node's own traffic, where any are wanted; False leaves them.
    """

    pods: bool
    overlay: bool
    ports: bool
    moved: bool  # devices go where the change (or its undo) takes them; False: devices are left as they are
    flush: bool = False  # learned path MTUs are forgotten
    hosts: bool = True


TABLE: dict[Phase, PhaseState] = {
    Phase.RECORD: PhaseState(pods=False, overlay=False, ports=False, moved=False, hosts=False),
    Phase.PIN_PODS: PhaseState(pods=True, overlay=False, ports=False, moved=False),
    Phase.PIN_OVERLAY: PhaseState(pods=True, overlay=True, ports=False, moved=False),
    Phase.PIN_PORTS: PhaseState(pods=True, overlay=True, ports=True, moved=False),
    Phase.DEVICES: PhaseState(pods=True, overlay=True, ports=True, moved=True),
    Phase.UNPIN_PORTS: PhaseState(pods=True, overlay=True, ports=False, moved=True),
    Phase.UNPIN_OVERLAY: PhaseState(pods=True, overlay=False, ports=False, moved=True),
    Phase.UNPIN_PODS: PhaseState(pods=False, overlay=False, ports=False, moved=True),
    Phase.SETTLE: PhaseState(pods=False, overlay=False, ports=False, moved=True, flush=True),
}
ORDER: tuple[Phase, ...] = tuple(TABLE)


class Desired(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one node should be: the `spec` of its NodeMTU. MTUs in bytes of the IP packet.

    In a row with `moved`, `restore` False takes devices to `pod_mtu` and `tunnel_mtu`; True takes each back to what the
    node's journal recorded for it (pods that the journal does not know, because they were born later, to `origin_mtu`).
    In every other row devices are left as they are, whatever they are.

    Where the CNI limits by their routes what pods send, `device_mtu` says what the devices have, and the routes of pods
    that lead to others get `pod_mtu` once no pin is on them. An undo gives each route back what was recorded of it.

    Where what is sent depends on the destination, `pod_mtu` is the most that a pod sends to anybody. Each of
    `network_mtus` is a route that is added to every pod, by the gateway of its default route, and `default_route_mtu`
    is the MTU of that default route itself. An undo takes the added routes away.
    """

    migration: str  # the name of the MTUMigration: the journal's name on the node
    phase: Phase
    pin_mtu: int  # the smaller of the old and the new MTU: what senders are pinned to meanwhile
    highest_mtu: int  # the larger of them
    ports: net.PortRule
    pod_mtu: int
    origin_mtu: int
    device_mtu: int | None = (
        None  # of both ends of pods' veths, where pods' routes get `pod_mtu`; None: the ends get it
    )
    origin_device_mtu: int | None = None  # the same before the change, beside `origin_mtu`
    tunnel: str | None = None
    tunnel_mtu: int | None = None
    origin_tunnel_mtu: int | None = None  # what the tunnel had when the change was planned, where no journal tells
    bridge: str | None = None
    pod_networks: tuple[str, ...] = ()
    host_mtu: int | None = None  # what the node itself sends at most to these hosts; None leaves its own traffic alone
    host_addresses: tuple[str, ...] = ()
    network_mtus: tuple[net.NetworkMtu, ...] = ()  # by destination: each is a route of its own in every pod
    default_route_mtu: int | None = None  # what pods send at most by their default routes; None: those as before
    restore: bool = False
    epoch: int = (
        0  # of the driver that asks; an agent obeys no earlier one than it has heard (core.change.undo.Progress)
    )

    @property
    def row(self) -> PhaseState:
        """The row of the table that this phase holds."""
        return TABLE[self.phase]

    @property
    def pins_hosts(self) -> bool:
        """True while the routes to `host_addresses` are pinned.

        They are from the first pin on and stay after the last phase, for no NIC is changed and the path has not become
        wider; an undo takes them off with the pods' pins.
        """
        return self.row.hosts and (self.row.pods or not self.restore)


class Applied(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report what one node is after its agent has applied a Desired: part of the `status` of its NodeMTU.

    `largest_sent` is the largest packet that any pinned or unpinned sender of the node may still send to a pod or over
    the overlay, `sent_by_network` the same towards single networks, `smallest_accepted` the smallest maximum of its
    pods: what every pod still takes (bytes of the IP packet; None: no pods). `refused_reason` is a reason, such as
    MIGRATION_NOT_FOUND, where nothing was changed because the spec is one that no agent obeys; `failures` then say why.
    """

    phase: Phase
    restore: bool
    done: bool
    pods: int
    settings_changed: int  # in the kernel, for this spec: 0 when the node was already true
    largest_sent: int | None = None
    smallest_accepted: int | None = None
    sent_by_network: tuple[net.NetworkMtu, ...] = ()  # of `network_mtus`: the largest that is still sent towards each
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what is left as it is, for it is somebody else's: no failure, but to be known
    duration_seconds: float = 0.0
    pods_restored: int | None = (
        None  # pods that have at both ends what the journal recorded of them; None: going forward
    )
    not_restored: tuple[
        str, ...
    ] = ()  # what stays as the change made it, for nothing tells what it was, a sentence each
    refused_reason: str = ""


# Where a rollback steps in: it never drops a pin that the half-done change still stands on.
UNDO_FROM: dict[Phase, Phase] = {
    Phase.RECORD: Phase.PIN_PODS,
    Phase.PIN_PODS: Phase.PIN_PODS,
    Phase.PIN_OVERLAY: Phase.PIN_OVERLAY,
    Phase.PIN_PORTS: Phase.PIN_PORTS,
    Phase.DEVICES: Phase.DEVICES,
    Phase.UNPIN_PORTS: Phase.PIN_PORTS,
    Phase.UNPIN_OVERLAY: Phase.PIN_OVERLAY,
    Phase.UNPIN_PODS: Phase.PIN_PODS,
    Phase.SETTLE: Phase.PIN_PODS,
}


def wider(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Say whether a network holds more than the pods of any cluster: agents refuse to touch a route to it."""
    return network.prefixlen < WIDEST[network.version]


def mapped(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Say whether these are IPv4's addresses in IPv6's notation (RFC 4291, section 2.5.5): no packet goes to them."""
    return network.version == 6 and network.subnet_of(_IPV4_IN_IPV6)


def after(phase: Phase) -> Phase | None:
    """Return the phase that follows, or None at the end."""
    place = ORDER.index(phase) + 1
    return ORDER[place] if place < len(ORDER) else None


def span(first: Phase, last: Phase) -> tuple[Phase, ...]:
    """Return the phases from one to another, both included, in order; none when `last` comes before `first`."""
    return ORDER[ORDER.index(first) : ORDER.index(last) + 1]
