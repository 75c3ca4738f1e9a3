"""Networks beside the pod network: what each definition gives a pod, what carries it on a node, and who uses it.

They are read and judged, and nothing here is ever changed: each has a path of its own, which no plan for the pod
network knows. A definition and a pod's annotations are those of the Kubernetes Network Custom Resource Definition
De-facto Standard (k8snetworkplumbingwg/multi-net-spec), whoever carries it out.
"""

import contextlib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from kubemtu.core import net, networks
from kubemtu.core.cluster import pods
from kubemtu.core.errors import Malformed
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import digits

KIND = "NetworkAttachmentDefinition"
_SOFT = frozenset({"veth", "tun"})  # ports of a bridge that lead into pods and guests
Above = Literal["", "refused", "lost"]


class AttachedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """One network that pods can be attached to besides their own. MTUs in bytes of the IP packet.

    `mtu` is what the definition itself gives, by the member that `by` names; None: none. `lower` is the device of the
    node that carries it (its master, its bridge), or the one of the default route where `by_default_route`. `above`
    says what becomes of an MTU larger than that device's: the plugin refuses the pod, or packets are lost.
    """

    namespace: str
    name: str
    place: str  # the object, as a finding names it
    made_from: str = ""  # the object that it is written from, where a change of it lasts
    plugin: str = ""  # the one that makes the pod's interface; empty: not known
    mtu: int | None = None
    by: str = ""
    lower: str = ""
    lower_is: str = ""  # what the plugin calls it: master, bridge, device
    made_of: str = ""  # the interface of which `lower` is made where it is missing, with the MTU of that
    by_default_route: bool = False
    made_by_chain: bool = False  # `lower` is made, with the pod or before it, where it is missing
    inherits: bool = False  # without a number a pod gets that of `lower`
    otherwise: int | None = None  # what it gets without either
    above: Above = ""
    node_end: int | None = (
        None  # what the node's end of a pod's veth keeps where a later plugin changes the pod's alone
    )
    veth_mtu: int | None = None  # of a second veth, by which its pods reach their node and Services
    veth_by: str = ""
    veth_always: bool = False  # every pod of it has that veth; else those whose own network it is
    refused: str = ""  # why no pod gets this network, as a sentence
    unknown: str = ""  # why it cannot be judged, as a sentence
    without_effect: tuple[str, ...] = ()  # members that speak of an MTU, and that no plugin reads

    @property
    def key(self) -> str:
        """Return namespace/name, by which annotations speak of it; a manifest may leave the namespace open."""
        return _key(self.namespace, self.name)


class NetworkUse(msgspec.Struct, frozen=True, kw_only=True):
    """One attachment of one running pod; `mtu` is what its network-status shows, `asked` what its annotation asks for.

    Both are in bytes; None: nothing is said.
    """

    pod: str
    node: str
    network: str
    interface: str = ""
    mtu: int | None = None
    asked: int | None = None
    primary: bool = False


class AttachedNetworks(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All networks beside the pod network, and the pods that use them; `unparsed` are pods whose annotation is none."""

    attachments: tuple[AttachedNetwork, ...] = ()
    uses: tuple[NetworkUse, ...] = ()
    unparsed: tuple[tuple[str, str], ...] = ()  # pod, annotation

    @functools.cached_property
    def by_network(self) -> dict[str, tuple[NetworkUse, ...]]:
        """The uses of each network, by namespace/name."""
        found: dict[str, list[NetworkUse]] = {}
        for use in self.uses:
            found.setdefault(use.network, []).append(use)
        return {network: tuple(uses) for network, uses in found.items()}

    def named(self, name: str) -> AttachedNetwork | None:
        """Return the network of a name, or namespace/name; None where there is none, or several."""
        space, _, last = name.rpartition("/")
        found = [one for one in self.attachments if one.name == last and space in {"", one.namespace}]
        return found[0] if len(found) == 1 else None

    def only(self, namespace: str) -> "AttachedNetworks":
        """Return what concerns one namespace: its pods, the networks defined there, and those that its pods use."""
        own = f"{namespace}/"
        uses = tuple(use for use in self.uses if use.pod.startswith(own))
        used = {use.network for use in uses}
        return AttachedNetworks(
            attachments=tuple(one for one in self.attachments if one.namespace == namespace or one.key in used),
            uses=uses,
            unparsed=tuple(each for each in self.unparsed if each[0].startswith(own)),
        )


class Carrier(msgspec.Struct, frozen=True, kw_only=True):
    """What carries a network on nodes that are alike in this: the device, and what it lets through, in bytes."""

    nodes: tuple[str, ...]
    device: str = ""
    there: bool = True  # the nodes have the device
    mtu: int | None = None  # the device's own
    limit: int | None = None  # None: nothing is known that limits it
    limited_by: str = ""  # the device whose MTU that is

    def refuses(self, network: AttachedNetwork) -> bool:
        """Say whether a pod that is to be attached to a network does not start here: its device is missing, or less."""
        if network.lower and not network.made_by_chain and not self.there:
            return True
        asked = network.mtu if network.above == "refused" else None
        return asked is not None and self.limit is not None and asked > self.limit

    def gives(self, network: AttachedNetwork) -> int | None:
        """Return what a pod that is attached to a network here gets, in bytes; None: not known, or it is refused."""
        if self.refuses(network):
            return None
        if network.mtu is not None:
            return network.mtu
        return self.mtu if network.inherits and self.mtu is not None else network.otherwise


class Carriers:
    """The devices of all observed nodes, looked up once for all networks that name the same one."""

    def __init__(self, observations: Iterable[net.NodeObservation]) -> None:
        self._seen = tuple(seen for seen in observations if seen.links)
        self._known: dict[tuple[str, str, bool, bool], tuple[tuple[Carrier, ...], dict[str, Carrier]]] = {}

    def of(self, network: AttachedNetwork) -> tuple[Carrier, ...]:
        """Return what carries a network, nodes that are alike together; empty where no node was observed."""
        return self._of(network)[0]

    def by_node(self, network: AttachedNetwork) -> dict[str, Carrier]:
        """Return what carries a network on each observed node."""
        return self._of(network)[1]

    def _of(self, network: AttachedNetwork) -> tuple[tuple[Carrier, ...], dict[str, Carrier]]:
        bridge = network.lower_is == "bridge"
        key = (network.lower, network.made_of, network.by_default_route, bridge)
        if key not in self._known:
            alike: dict[Carrier, list[str]] = {}
            for seen in self._seen:
                alike.setdefault(_carrier(network, seen), []).append(seen.node)
            made = tuple(msgspec.structs.replace(each, nodes=tuple(nodes)) for each, nodes in alike.items())
            self._known[key] = made, {node: each for each in made for node in each.nodes}
        return self._known[key]


def _carrier(network: AttachedNetwork, seen: net.NodeObservation) -> Carrier:
    device = network.lower or (_default_device(seen) if network.by_default_route else "")
    link = (seen.link(device) or (seen.link(network.made_of) if network.made_of else None)) if device else None
    if link is None:
        return Carrier(nodes=(), device=device, there=not device)
    if link.kind not in net.BRIDGE_KINDS and network.lower_is != "bridge":
        return Carrier(nodes=(), device=device, mtu=link.mtu, limit=link.mtu, limited_by=link.name)
    # A bridge carries what its ports carry that lead out of the node (net/bridge/br_forward.c).
    outward = [port for port in seen.links if port.master == link.name and port.kind not in _SOFT]
    narrow = min(outward, key=lambda port: port.mtu, default=None)
    return Carrier(
        nodes=(),
        device=device,
        mtu=link.mtu,
        limit=narrow.mtu if narrow is not None else None,
        limited_by=narrow.name if narrow is not None else "",
    )


def uses(snapshot: Snapshot) -> AttachedNetworks:
    """Return what running pods say of their other networks, without any definition."""
    found: list[NetworkUse] = []
    unparsed: list[tuple[str, str]] = []
    for pod in snapshot.of_kind("Pod"):
        notes = pod.annotations
        if notes and (node := pods.runs_on(pod)) is not None:
            with contextlib.suppress(Malformed):  # a pod without a name of text is nobody's
                found += _of_pod(pod, node, notes, unparsed)
    return AttachedNetworks(uses=tuple(found), unparsed=tuple(unparsed))


def _of_pod(pod: Object, node: str, notes: Mapping[str, str], unparsed: list[tuple[str, str]]) -> Iterator[NetworkUse]:
    namespace = pod.namespace or ""
    shown = [*_status(notes, namespace)]
    asked: list[tuple[str, str, int | None]] = []
    primary = ""
    for annotation in (pods.NETWORKS, pods.PRIMARY):
        held = notes.get(annotation, "")
        if not held.strip():
            continue
        selected = selections(held, namespace)
        if selected is None:
            unparsed.append((f"{namespace}/{pod.name}", annotation))
        elif annotation == pods.NETWORKS:
            asked += selected
        elif selected:
            primary = selected[0][0]
    for network, interface, mtu, default in shown:
        if default and not primary:
            continue  # the pod network itself
        wanted = next((size for name, _, size in asked if name == network), None)
        if not default:
            asked = _without(asked, network)
        yield NetworkUse(
            pod=f"{namespace}/{pod.name}",
            node=node,
            network=primary if default else network,
            interface=interface,
            mtu=mtu,
            asked=wanted,
            primary=default,
        )
    for network, interface, size in asked:  # no status: nobody has written one
        yield NetworkUse(pod=f"{namespace}/{pod.name}", node=node, network=network, interface=interface, asked=size)
    if primary and not any(default for *_, default in shown):
        yield NetworkUse(pod=f"{namespace}/{pod.name}", node=node, network=primary, primary=True)


def _without(asked: list[tuple[str, str, int | None]], network: str) -> list[tuple[str, str, int | None]]:
    """Take the first selection of a network away: a pod may be attached to one several times."""
    place = next((place for place, (name, *_) in enumerate(asked) if name == network), None)
    return asked if place is None else [*asked[:place], *asked[place + 1 :]]


def selections(text: str, namespace: str) -> list[tuple[str, str, int | None]] | None:
    """Read a selection of networks: (namespace/name, interface, MTU of cni-args) of each; None: it is none.

    A list in JSON, or names with commas between (k8snetworkplumbingwg/multus-cni: pkg/k8sclient/k8sclient.go
    parsePodNetworkAnnotation). `namespace` is where a name without one is looked for.
    """
    if not any(sign in text for sign in '[{"'):
        return _listed(text, namespace)
    try:
        listed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        return None
    found = []
    for each in (Object(body=body) for body in listed):
        try:
            name, space = each.text("name"), each.text("namespace") or namespace
            interface = each.text("interface") or ""
        except Malformed:
            return None
        if not name:
            return None
        found.append((_key(space, name), interface, _size(each.get("cni-args", "mtu"))))
    return found


def _listed(text: str, namespace: str) -> list[tuple[str, str, int | None]] | None:
    found: list[tuple[str, str, int | None]] = []
    for item in text.split(","):
        name, _, interface = item.strip().partition("@")
        space, slash, last = name.strip().rpartition("/")
        if not last.strip() or (slash and not space) or "/" in space:
            return None
        found.append((_key(space or namespace, last), interface.strip(), None))
    return found


def _status(notes: Mapping[str, str], namespace: str) -> Iterator[tuple[str, str, int | None, bool]]:
    """Yield (network, interface, MTU, default) of each entry of a network-status, by either of its names.

    `mtu` is there from network-attachment-definition-client v1.7.0 on (pkg/apis/k8s.cni.cncf.io/v1/types.go), and only
    of plugins that tell it.
    """
    text = next((notes[key] for key in pods.STATUS if key in notes), "")
    try:
        listed: object = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and isinstance(name := each.get("name"), str):
            interface = each.get("interface")
            yield (
                name if "/" in name or each.get("default") is True else _key(namespace, name),
                interface if isinstance(interface, str) else "",
                _size(each.get("mtu")),
                each.get("default") is True,
            )


def _size(held: object) -> int | None:
    """Return an MTU that somebody has written, as a number or as text; None for anything that is none."""
    if isinstance(held, str):
        held = digits.number(held)
    return held if isinstance(held, int) and not isinstance(held, bool) and held > 0 else None


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def _default_device(seen: net.NodeObservation) -> str:
    """Return the device of the node's default route, which a plugin takes where no master is named."""
    routes: Iterable[net.Route] = (route for route in seen.routes if route.destination in networks.ANYWHERE)
    return next((route.device for route in routes), "")
