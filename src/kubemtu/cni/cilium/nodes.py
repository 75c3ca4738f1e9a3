"""What differs from node to node in a Cilium: bases that a CiliumNodeConfig gives, and what is not of pods alone.

A CiliumNodeConfig stands above the ConfigMap on the nodes that its selector matches: an empty one all of them, an
absent one none; of several the last by name counts, and an agent reads them when its pod starts (cilium/cilium:
pkg/option/resolver/resolver.go, Documentation/configuration/per-node-config.rst).
"""

from collections.abc import Iterable, Mapping

import msgspec

from kubemtu.cni.cilium import config as cilium_config
from kubemtu.cni.cilium.config import CiliumBase, CiliumParts
from kubemtu.cni.cilium.mtu import Mode
from kubemtu.cni.objects import reading
from kubemtu.core import codes, encap
from kubemtu.core.cluster import unfinished as changes
from kubemtu.core.codes import Finding
from kubemtu.core.headers import IPV4, IPV6
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text.wording import names

OVERRIDE = "CiliumNodeConfig"
NETKIT = frozenset({"netkit", "netkit-l2"})  # pkg/datapath/option: DatapathModeNetkit, DatapathModeNetkitL2
ENCRYPTS_NODES = "encrypt-node"
OPT_OUT = "node-encryption-opt-out-labels"


class Overridden(msgspec.Struct, frozen=True, kw_only=True):
    """What a CiliumNodeConfig says of the base MTU: as it is written, in bytes, and the nodes where it counts."""

    by: Object
    written: str
    mtu: int | None
    nodes: tuple[str, ...]

    @property
    def place(self) -> str:
        """The place of the number."""
        return f"{self.by}, spec.defaults.{cilium_config.KEY}"


def overridden(parts: CiliumParts, snapshot: Snapshot, out: list[Finding]) -> tuple[Overridden, ...]:
    """Return each CiliumNodeConfig that sets a base MTU, with the nodes where it does; what is broken goes to `out`."""
    listed = [each for each in snapshot.each(OVERRIDE, parts.daemonset.namespace) if _written(each) is not None]
    listed.sort(key=lambda each: str(each.get("metadata", "name")))
    decides: dict[str, int] = {}  # of each node: the place of the one that counts
    for index, each in enumerate(listed):
        for node in snapshot.each("Node"):
            if _matches(each, node):
                decides[node.name] = index
    made = []
    for index, each in enumerate(listed):
        held = _written(each)
        written = held if isinstance(held, str) else str(held)
        mtu = reading.mtu(written, out, f"{each}, spec.defaults.{cilium_config.KEY}")
        here = tuple(name for name, place in decides.items() if place == index)
        made.append(Overridden(by=each, written=written, mtu=mtu, nodes=here))
    return tuple(made)


def findings(overrides: Iterable[Overridden], snapshot: Snapshot, base: CiliumBase, mode: Mode | None) -> list[Finding]:
    """Return MTU111 for each that gives some nodes another base MTU than the rest, or none at all.

    Where a change in force has given nodes sizes of their own, that is as it should be.
    """
    if changes.held(snapshot):
        return []
    out = []
    listed = {node.name for node in snapshot.each("Node")}
    for each in overrides:
        if each.mtu is None or each.mtu == base.mtu:
            continue
        less = mode.subtracts if mode is not None else 0
        pods = f", so pods there send {each.mtu - less}" if less else ""
        if listed and not each.nodes:
            message = f"It selects no node that is there, or another stands above it: its {each.mtu} counts nowhere."
            out.append(codes.finding(codes.MTU111, each.place, message, "Correct spec.nodeSelector, or delete it."))
            continue
        who = f"{names(each.nodes)} {'takes' if len(each.nodes) == 1 else 'take'}" if each.nodes else "Some nodes take"
        rest = (
            f"{base.mtu or 'automatic'}, as the ConfigMap has it, counts nowhere."
            if listed and listed == {*each.nodes}
            else f"all others {base.mtu or 'what their NICs have'}: pods of the two kinds send different sizes."
        )
        out.append(
            codes.finding(
                codes.MTU111,
                each.place,
                f"{who} {each.mtu} as base MTU{pods}, and {rest}",
                f"Remove {cilium_config.KEY} there, or give all nodes the same: the smallest NIC decides for all.",
            )
        )
    return out


def bases(overrides: Iterable[Overridden], base: CiliumBase, names_there: Iterable[str]) -> Mapping[str, int | None]:
    """Return the base MTU that is configured for each node, in bytes; None: its agent finds one, or cannot start."""
    own = {name: each.mtu for each in overrides for name in each.nodes}
    return {name: own.get(name, base.mtu) for name in names_there}


def netkit(parts: CiliumParts, snapshot: Snapshot) -> list[Finding]:
    """Return MTU118 where pods hang on netkit devices, which agents neither find nor change.

    A netkit pair compares no sizes, so two ends that differ lose nothing by it (drivers/net/netkit.c, netkit_xmit);
    Cilium's agents set both, and the route (cilium/cilium: pkg/mtu/endpoint_updater.go).
    """
    if not hangs_on_netkit(parts) or not snapshot.nodes:
        return []
    message = (
        "Pods hang on netkit devices and not on veths: what MTU they have was not seen, and no change of kubemtu"
        " reaches or pins them. From v1.17 on Cilium's own agents change them when they restart."
    )
    remedy = "In a pod: `ip link show eth0` is the base MTU, `ip route show default` has what it sends."
    return [codes.finding(codes.MTU118, f"{parts.config}, data.datapath-mode", message, remedy)]


def hangs_on_netkit(parts: CiliumParts) -> bool:
    """Return whether pods hang on netkit devices."""
    return parts.config is not None and cilium_config.text(parts.config, "datapath-mode") in NETKIT


def encryption(parts: CiliumParts, snapshot: Snapshot, mode: Mode | None) -> list[Finding]:
    """Return MTU142 where the nodes' own packets are encrypted too, by routes that know nothing of it.

    Only the pods' routes are given less; a node's own leave by the NIC's MTU and grow in cilium_wg0 behind it
    (cilium/cilium#37919), where they are cut, or lost (cilium/cilium#46100, cilium/cilium#47176).
    """
    config = parts.config
    if config is None or mode is None or not mode.wireguard or not cilium_config.on(config, ENCRYPTS_NODES):
        return []
    nics = [way.mtu for node in snapshot.nodes for way in node.uplinks]
    outer = IPV6 if mode.over_ipv6 or mode.ipv6_nodes else IPV4
    cost = encap.wireguard(outer).cost
    known = f" (NICs of {min(nics)}: {min(nics) - cost + 1}-{min(nics)})" if nics else ""
    spared = cilium_config.text(config, OPT_OUT) or "node-role.kubernetes.io/control-plane"
    return [
        codes.finding(
            codes.MTU142,
            f"{config}, data.{ENCRYPTS_NODES}",
            f"Packets of the nodes themselves are encrypted as well, which takes {cost} bytes, and their routes do not"
            f" know it: the largest{known} no longer fit the NIC once they are encrypted. They travel in two pieces,"
            f" of which Cilium drops some, or vanish where the network takes none. Nodes with {spared} are left out.",
            f'Write {ENCRYPTS_NODES}: "false", or give the nodes\' routes to each other an MTU of {cost} less'
            " (`ip route change ... mtu N`): no object of the API holds that.",
        )
    ]


def _written(each: Object) -> object:
    return each.get("spec", "defaults", cilium_config.KEY)


def _matches(each: Object, node: Object) -> bool:
    """Say whether a CiliumNodeConfig selects a Node, as a LabelSelector does (k8s.io/apimachinery meta/v1)."""
    selector = each.get("spec", "nodeSelector")
    if not isinstance(selector, dict):
        return False
    wanted, terms = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if not isinstance(wanted, dict) or not isinstance(terms, list):
        return False
    labels = node.labels
    return wanted.items() <= labels.items() and all(_holds(term, labels) for term in terms)


def _holds(term: object, labels: Mapping[str, str]) -> bool:
    if not isinstance(term, dict):
        return False
    key, values = term.get("key"), term.get("values") or []
    held = labels.get(key) if isinstance(key, str) else None
    there = held is not None
    among = there and isinstance(values, list) and held in values
    return {"In": among, "NotIn": not among, "Exists": there, "DoesNotExist": not there}.get(
        str(term.get("operator")), False
    )
