"""Networks beside the pod network, against the devices that carry them and the pods that use them.

They are told and never changed. Nothing here is an error: the pod network, which the verdict is about, is well all the
same.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kubemtu.core import codes
from kubemtu.core.cluster.attachments import AttachedNetwork, Carrier, NetworkUse
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.codes import Finding
from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.text.wording import count, names, verb

OWN = frozenset({codes.MTU138.code, codes.MTU139.code})  # which are of other networks alone
UNTOUCHED = "kubemtu changes no network beside the pod network."


class OtherNetwork(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One network beside the pod network, which is read and never changed. MTUs in bytes."""

    name: str
    """Namespace and name of its definition."""
    plugin: str
    """The plugin that makes the pods' interfaces; empty when not known."""
    device: str | None
    """What carries it on the nodes: its master, its bridge; null when none is named."""
    device_mtus: tuple[int, ...]
    """The MTUs that this has on the nodes, or its ports, smallest first, as far as that was seen."""
    mtu: int | None
    """What the definition gives a pod; null when it gives none."""
    new_pod_mtus: tuple[int, ...]
    """What a pod that is attached now gets on the nodes, smallest first, as far as it is known; none where every node
    refuses it."""
    pods: int
    """How many running pods are attached to it, by their annotations."""
    pod_mtus: tuple[int, ...] = ()
    """What these have by their network-status, smallest first, as far as that tells it."""
    own: int = 0
    """Of how many of those pods it is their own network, in place of the cluster's."""
    written_from: str | None = None
    """The object that the definition is written from, where a change of it lasts; null when nobody is known."""
    refused: bool = False
    """True where no new pod gets this network: its definition is refused, or every node refuses it."""
    refused_on: tuple[str, ...] = ()
    """The nodes that refuse each new pod of it, as far as they were seen: their device is missing, or too small."""


def lines(topology: Topology) -> tuple[OtherNetwork, ...]:
    """Return a line for each network beside the pod network, by namespace and name."""
    return tuple(_line(network, topology) for network in topology.beside.attachments)


def _line(network: AttachedNetwork, topology: Topology) -> OtherNetwork:
    on = topology.carriers.of(network)
    uses = topology.beside.by_network.get(network.key, ())
    refusing = [each for each in on if network.refused or each.refuses(network)]
    refused = bool(network.refused) or (bool(on) and len(refusing) == len(on) and _on_every_node(on, topology))
    new = {each.gives(network) for each in on} if on else {network.mtu}
    return OtherNetwork(
        name=network.key,
        plugin=network.plugin,
        device=next((each.device for each in on if each.device), network.lower) or None,
        device_mtus=tuple(sorted({each.limit for each in on if each.limit is not None})),
        mtu=network.mtu,
        new_pod_mtus=() if refused else tuple(sorted(size for size in new if size is not None)),
        pods=len({use.pod for use in uses}),
        pod_mtus=tuple(sorted({use.mtu for use in uses if use.mtu is not None})),
        own=len({use.pod for use in uses if use.primary}),
        written_from=network.made_from or None,
        refused=refused,
        refused_on=tuple(sorted(node for each in refusing for node in each.nodes)),
    )


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report other networks that do not fit what carries them, or that no pod gets (MTU138, MTU139, MTU111)."""
    found = [each for one in topology.beside.attachments for each in _of(one, topology)]
    return (*found, *_unparsed(topology))


def _of(network: AttachedNetwork, topology: Topology) -> Iterable[Finding]:
    if network.refused:
        yield codes.finding(
            codes.MTU139,
            network.place,
            f"{network.refused}: no pod starts with this network, and those that have it keep what they got.",
            f"{_where(network)}Correct it there. {UNTOUCHED}",
        )
        return
    if network.unknown and not topology.offline:  # of saved manifests nobody expects what nodes would tell
        yield codes.finding(
            codes.MTU139,
            network.place,
            f"{network.unknown}: what its pods have is not judged.",
            f"`ip link` in a pod of it shows what they got. {UNTOUCHED}",
            "note",
        )
    for member in network.without_effect:
        yield codes.finding(
            codes.MTU111,
            f"{network.place}, {member}",
            f"{network.plugin} reads no mtu: its pods keep the one that the device has.",
            f"{_where(network)}Take it out, and set it where the device gets it, or by the plugin tuning behind it.",
        )
    yield from _halves(network)
    on = topology.carriers.of(network)
    uses = topology.beside.by_network.get(network.key, ())
    yield from _above(network, on)
    yield from _missing(network, on, topology)
    yield from _unlike(network, topology.carriers.by_node(network), uses)
    yield from _older(network, topology.carriers.by_node(network), uses)
    yield from _service_veth(network, uses, topology)


def _above(network: AttachedNetwork, on: Iterable[Carrier]) -> Iterable[Finding]:
    """Report a number above what carries it: the plugin refuses the pod, or what is larger is lost."""
    if network.mtu is None or not network.above:
        return
    by_limit: dict[tuple[int, str], list[str]] = {}
    for each in on:
        slack = VLAN_SLACK if network.above == "lost" and each.limited_by != each.device else 0
        if each.limit is not None and network.mtu > each.limit + slack:
            by_limit.setdefault((each.limit, each.limited_by), []).extend(each.nodes)
    if not by_limit:
        return
    least = min(by_limit)[0]
    parts = []
    for (limit, device), nodes in sorted(by_limit.items()):
        port = f", which is a port of {network.lower}," if network.lower and device != network.lower else ""
        parts.append(f"{device}{port} has {limit} on {names(nodes)}")
    if network.above == "refused":
        so = f"{network.plugin} refuses every pod of this network there"
    else:
        above = "that" if len(parts) > 1 else str(least)
        so = f"pods start, and what they send by it above {above} is lost there without a word"
    devices = names(dict.fromkeys(device for _, device in sorted(by_limit)))
    yield codes.finding(
        codes.MTU138,
        f"{network.place}, {network.by}",
        f"It asks for {network.mtu}, and {names(parts)}: {so}.",
        f"{_where(network)}Write at most {least} there; or raise {devices} on those nodes, if all that is connected to"
        f" it carries {network.mtu}. {UNTOUCHED}",
    )


def _halves(network: AttachedNetwork) -> Iterable[Finding]:
    """Report a pod's end that a later plugin makes larger than the node's end of the same veth."""
    if network.node_end is not None and network.mtu is not None and network.mtu > network.node_end + VLAN_SLACK:
        yield codes.finding(
            codes.MTU138,
            f"{network.place}, {network.by}",
            f"It gives the pod's end {network.mtu}, and the node's end of the same veth keeps {network.node_end}, as"
            f" {network.plugin} has made it: what the pod sends above that is lost without a word.",
            f"{_where(network)}Give {network.plugin} the mtu {network.mtu} itself, and take it from the plugin behind."
            f" {UNTOUCHED}",
        )


def _missing(network: AttachedNetwork, on: Iterable[Carrier], topology: Topology) -> Iterable[Finding]:
    """Report a device that no node has, where nothing makes it and every node was seen."""
    listed = tuple(on)
    if not network.lower or network.made_by_chain or not listed or any(each.there for each in listed):
        return
    if not _on_every_node(listed, topology):
        return
    yield codes.finding(
        codes.MTU139,
        f"{network.place}, {network.lower_is}",
        f"No node has {network.lower}: {network.plugin} refuses every pod of this network.",
        f"{_where(network)}Name a device that the nodes have (`ip link`). {UNTOUCHED}",
    )


def _on_every_node(on: Sequence[Carrier], topology: Topology) -> bool:
    """Say whether every node of the cluster was seen."""
    return not topology.silent and sum(len(each.nodes) for each in on) == len(topology.nodes)


def _unlike(network: AttachedNetwork, on: Mapping[str, Carrier], uses: tuple[NetworkUse, ...]) -> Iterable[Finding]:
    """Report pods of one network that get different sizes because the device below them differs from node to node."""
    if network.mtu is not None or not network.inherits or len({use.pod for use in uses}) < 2:
        return
    by_size: dict[int, list[str]] = {}
    for node in sorted({use.node for use in uses} & on.keys()):
        if (size := on[node].gives(network)) is not None:
            by_size.setdefault(size, []).append(node)
    if len(by_size) > 1:
        said = names(f"{size} on {names(by_size[size])}" for size in sorted(by_size))
        yield codes.finding(
            codes.MTU138,
            network.place,
            f"It gives no mtu, so its pods take that of {network.lower or 'the default route'}: {said}. What the larger"
            f" ones send is more than the others take.",
            f"{_where(network)}Write the smallest of them, {min(by_size)}, as its mtu, or make the devices alike."
            f" {UNTOUCHED}",
        )


def _older(network: AttachedNetwork, on: Mapping[str, Carrier], uses: tuple[NetworkUse, ...]) -> Iterable[Finding]:
    """Report running pods that show another MTU than one that starts now would get."""
    differing: dict[tuple[int, int], list[NetworkUse]] = {}
    for use in uses:
        now = on[use.node].gives(network) if use.node in on else network.mtu
        if use.asked is not None:  # its own annotation overrules the definition, where a plugin takes it
            continue
        if use.mtu is not None and now is not None and use.mtu != now:
            differing.setdefault((use.mtu, now), []).append(use)
    for (has, now), listed in differing.items():
        pods = dict.fromkeys(f"{use.pod} {use.interface}".rstrip() for use in listed)
        yield codes.finding(
            codes.MTU138,
            f"{network.place}, {count(len(pods), 'pod')}: {names(pods)}",
            f"{count(len(pods), 'running pod')} {verb(len(pods), 'show')} {has} by network-status, and one that starts"
            f" now gets {now}: the definition, or the device below it, has changed since.",
            f"Start {'it' if len(pods) == 1 else 'them'} anew when {now} is right for all of this network; else"
            f" correct the definition first. {UNTOUCHED}",
            "note" if has < now else "warning",
        )


def _service_veth(network: AttachedNetwork, uses: tuple[NetworkUse, ...], topology: Topology) -> Iterable[Finding]:
    """Report a second veth to the node that lets through more than the pod network behind the node carries."""
    carries = topology.carries
    reached = network.veth_always or any(use.primary for use in uses)
    if network.veth_mtu is None or carries is None or not reached or network.veth_mtu <= carries:
        return
    yield codes.finding(
        codes.MTU138,
        f"{network.place}, veth0",
        f"Its pods reach Services and the cluster's own pods by veth0, which has {network.veth_mtu}"
        f" ({network.veth_by}), and the pod network behind the node carries {carries}: full packets hang where the"
        " node's ICMP does not come back to the pod (spidernet-io/spiderpool#5677).",
        f"Set vethMTU to {carries} in the SpiderCoordinator, or in the coordinator of this network. {UNTOUCHED}",
    )


def _unparsed(topology: Topology) -> Iterable[Finding]:
    for pod, annotation in topology.beside.unparsed:
        yield codes.finding(
            codes.MTU139,
            f"pod {pod}, {annotation}",
            "The annotation is neither names with commas between them nor a JSON list of objects with a name: which"
            " other networks the pod has is not known.",
            "Correct it in what makes the pod.",
            "note",
        )


def _where(network: AttachedNetwork) -> str:
    return f"It is written from {network.made_from}: change it there. " if network.made_from else ""
