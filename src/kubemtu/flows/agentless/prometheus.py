"""Nodes as node_exporter shows them in a Prometheus: the MTU of every interface, and of nothing else.

There are no kinds of devices, no routes and no insides of pods among its metrics. So a host end is told by its name,
the way to the other nodes by the address that is known of a node, or where all that could lead there have the same MTU;
what cannot be told is said, and not guessed. The metrics: github.com/prometheus/node_exporter,
collector/netclass_linux.go and netdev_common.go (node_network_address_info, off unless it is asked for).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from kubemtu.cni import registry
from kubemtu.core import errors, net
from kubemtu.core.objects import NODES, Object, node_addresses
from kubemtu.core.printed import values
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.core.text import printable
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.agentless.promql import Prometheus, Series
from kubemtu.flows.agentless.sources import Shown
from kubemtu.kube import together

OLDEST = 180.0  # seconds; who scrapes less often than every two minutes sees gaps: lookback is five
DIFFERING = ("instance", "node", "kubernetes_node", "node_name", "host", "hostname", "namespace", "pod")
"""Labels that say which node a series is of, the one that counts first; `cluster` says which cluster."""
MATCH: Final = re.compile(
    r'[a-zA-Z_]\w*(?:=|!=|=~|!~)"(?:[^"\\\n]|\\.)*"(?:,[a-zA-Z_]\w*(?:=|!=|=~|!~)"(?:[^"\\\n]|\\.)*")*'
)
BRIDGE_PORT: Final = re.compile(r"veth[0-9a-f]{8}")
"""Names that the bridge plugin gives host ends (containernetworking/plugins, pkg/ip/link_linux.go, RandomVethName)."""
_ELSEWHERE: Final = re.compile(r"lo|veth.*|docker0|virbr.*|ifb\d+")


class NodeSeries(msgspec.Struct, kw_only=True):
    """What the metrics show of one target of node_exporter: MTUs and states by device, addresses with their device."""

    labels: tuple[str, ...]
    cluster: str = ""
    mtus: dict[str, int] = {}
    states: dict[str, str] = {}
    addresses: dict[str, str] = {}
    nodename: str = ""
    kernel: str = ""
    age: float | None = None

    @property
    def who(self) -> str:
        """Its labels, as a sentence names them."""
        named = (
            f"{label}={text}" for label, text in zip((*DIFFERING, "cluster"), (*self.labels, self.cluster), strict=True)
        )
        return printable.one_line(", ".join(each for each in named if not each.endswith("=")))


def checked(match: str) -> str:
    """Return label matchers as a query takes them. Raises UsageError for what is none."""
    if match and MATCH.fullmatch(match.strip().strip("{}")) is None:
        raise errors.UsageError(f'--prometheus-match takes matchers like cluster="prod",job="node", not {match!r:.80}')
    return match.strip().strip("{}")


async def observe(
    prometheus: Prometheus, snapshot: Snapshot, names: Sequence[str], now: float, match: str = ""
) -> Shown:
    """Return what the metrics show of these nodes. What could not be seen is an Unread; nothing is raised.

    `now` is the time of the cluster, `match` label matchers (PromQL, without braces) that narrow what is asked for.
    """
    try:
        found = await read(prometheus, checked(match))
    except errors.KubemtuError as error:
        return (), (Unread(what=f"Prometheus at {prometheus.where}", why="unreachable", message=str(error)),)
    several = sorted({each.cluster for each in found})
    if len(several) > 1:
        message = (
            f"Prometheus at {prometheus.where} has series of {len(several)} clusters ({listed(map(_quoted, several))}),"
            " and nodes of two may have the same names: name one, as"
            f" --prometheus-match 'cluster={_quoted(several[-1])}'"
        )
        return (), (Unread(what=f"Prometheus at {prometheus.where}", why="unreachable", message=message),)
    targets = by_node(found, snapshot)
    rule, own = _layout(snapshot)
    nodes = {node.name: node for node in snapshot.each(NODES.kind)}
    seen: list[net.NodeObservation] = []
    unread: list[Unread] = []
    for name in names:
        one = _chosen(targets.get(name, ()), bool(found), prometheus.where)
        if isinstance(one, str):
            unread.append(Unread(what=f"node {name}", why="unreachable", message=f"{one}: its interfaces are unknown."))
        else:
            seen.append(observation(name, one, _addresses(nodes.get(name)), rule, own, now))
    return tuple(seen), tuple(unread)


async def read(prometheus: Prometheus, match: str = "") -> list[NodeSeries]:
    """Ask for all that is of use, and sort it by target. Raises what `Prometheus.query` does."""
    labels = ", ".join((*DIFFERING, "cluster"))

    def metric(name: str, *more: str) -> str:
        return f"max by ({', '.join((labels, *more))}) (node_{name}{{{match}}})"

    age = f"time() - max by ({labels}) (timestamp(node_network_mtu_bytes{{{match}}}))"
    queries = (
        metric("network_mtu_bytes", "device"),
        metric("network_info", "device", "operstate", "adminstate"),
        metric("network_address_info", "device", "address"),
        metric("uname_info", "nodename", "release"),
        age,
    )
    return _sorted(*await together.gathered(prometheus.query(query) for query in queries))


def _sorted(
    mtus: Iterable[Series],
    states: Iterable[Series],
    addresses: Iterable[Series],
    unames: Iterable[Series],
    ages: Iterable[Series],
) -> list[NodeSeries]:
    targets: dict[tuple[str, ...], NodeSeries] = {}
    for each in mtus:
        key = _key(each)
        one = targets.get(key)
        if one is None:
            one = targets[key] = NodeSeries(labels=key[:-1], cluster=key[-1])
        size, device = each.number, each.metric.get("device", "")
        if size is not None and size == int(size) and values.mtu(int(size)) and values.is_name(device):
            one.mtus[device] = int(size)
    for each in states:
        if (one := targets.get(_key(each))) is not None:
            one.states[each.metric.get("device", "")] = _state(each.metric)
    for each in addresses:
        if (one := targets.get(_key(each))) is not None:
            one.addresses[each.metric.get("address", "")] = each.metric.get("device", "")
    for each in unames:
        if (one := targets.get(_key(each))) is not None:
            one.nodename = each.metric.get("nodename", "")
            one.kernel = each.metric.get("release", "")
    for each in ages:
        if (one := targets.get(_key(each))) is not None:
            one.age = each.number
    return list(targets.values())


def _key(series: Series) -> tuple[str, ...]:
    return (*(series.metric.get(label, "") for label in DIFFERING), series.metric.get("cluster", ""))


def _state(labels: Mapping[str, str]) -> str:
    """Return the state of a device: what it is set to counts where node_exporter shows that (1.4 and later)."""
    return "down" if labels.get("adminstate") == "down" else labels.get("operstate", "")


def by_node(series: Iterable[NodeSeries], snapshot: Snapshot) -> dict[str, list[NodeSeries]]:
    """Sort targets by the node that they are of: by a label that names it, its address, its host name, or its pod."""
    known, pods = _names(snapshot), _pods(snapshot)
    sorted_: dict[str, list[NodeSeries]] = {}
    for each in series:
        labels = dict(zip(DIFFERING, each.labels, strict=True))
        node = pods.get((labels.pop("namespace"), labels.pop("pod")))
        texts = (*labels.values(), _host(labels["instance"]), each.nodename)
        node = next((known[text] for text in texts if known.get(text)), "") or node
        if node:
            sorted_.setdefault(node, []).append(each)
    return sorted_


def _names(snapshot: Snapshot) -> dict[str, str]:
    """Return the names of the nodes by all that they are known by; empty for what two have."""
    known: dict[str, str] = {}
    for node in snapshot.each(NODES.kind):
        host = node.get("metadata", "labels", "kubernetes.io/hostname")
        texts = {node.name, *_addresses(node), *((host,) if isinstance(host, str) else ())}
        for text in texts:
            known[text] = "" if known.get(text, node.name) != node.name else node.name
    return {**known, **{node.name: node.name for node in snapshot.each(NODES.kind)}}


def _pods(snapshot: Snapshot) -> dict[tuple[str, str], str]:
    """Return the nodes of pods on their nodes' own networks, as node_exporter's are."""
    found: dict[tuple[str, str], str] = {}
    for pod in snapshot.each("Pod"):
        node, network = pod.get("spec", "nodeName"), pod.get("spec", "hostNetwork")
        if isinstance(node, str) and network is True:
            found[pod.namespace or "", pod.name] = node
    return found


def _addresses(node: Object | None) -> tuple[str, ...]:
    try:
        return node_addresses(node, ("InternalIP", "Hostname", "InternalDNS", "ExternalIP")) if node is not None else ()
    except errors.Malformed:
        return ()


def _host(instance: str) -> str:
    """Return the host of `host:port`, `[host]:port` or of itself."""
    host, colon, port = instance.rpartition(":")
    return host.strip("[]") if colon and port.isdecimal() and (":" not in host or host.startswith("[")) else instance


def _chosen(targets: Sequence[NodeSeries], any_at_all: bool, where: str) -> NodeSeries | str:
    """Return the target that shows a node; a sentence where none does, or two that differ."""
    if not any_at_all:
        return (
            f"Prometheus at {where} has no node_network_mtu_bytes: node_exporter is not scraped, or runs without its "
            "collector netclass"
        )
    if not targets:
        return f"no series of node_network_mtu_bytes in Prometheus at {where} can be told to be of this node"
    fresh = [each for each in targets if each.age is not None and each.age <= OLDEST]
    if not fresh:
        ages = [each.age for each in targets if each.age is not None]
        said = f"is {min(ages):.0f} s old" if ages else "has no time"
        return f"the newest sample of it in Prometheus at {where} {said}: node_exporter is not scraped there any more"
    newest = min(fresh, key=lambda each: each.age or 0.0)
    for other in fresh:
        for device in other.mtus.keys() & newest.mtus.keys():
            if other.mtus[device] != newest.mtus[device]:
                return (
                    f"two targets in Prometheus at {where} say that they are of this node and show different MTUs of "
                    f"{device} ({newest.who}; {other.who}): narrow them by --prometheus-match"
                )
    return newest


def _layout(snapshot: Snapshot) -> tuple[net.PortRule, frozenset[str]]:
    """Return how host ends are told, and which devices are the pod network's; nothing where it is not recognised."""
    try:
        state = registry.recognise(snapshot)
    except errors.KubemtuError:
        return net.PortRule(), frozenset()
    return state.ports, frozenset(name for name in (state.tunnel, state.bridge) if name)


def observation(
    node: str, target: NodeSeries, addresses: Sequence[str], rule: net.PortRule, own: frozenset[str], now: float
) -> net.NodeObservation:
    """Return a node as its metrics show it; `own` are the pod network's devices, `now` the time of the cluster."""
    remarks: list[str] = []
    ports = {name for name in target.mtus if _is_port(name, rule)}
    links = tuple(
        net.Link(
            index=0,
            name=name,
            mtu=mtu,
            kind="veth" if name in ports else "",
            peer_netnsid=values.OTHER_NAMESPACE if name in ports else None,
            up=target.states.get(name) != "down",
        )
        for name, mtu in sorted(target.mtus.items())
    )
    uplink = _uplink(target, ports | own, addresses, remarks)
    return net.NodeObservation(
        node=node,
        links=links,
        uplinks=(uplink,) if uplink is not None else (),
        ports=tuple(_port(name, target.mtus[name]) for name in sorted(ports)),
        errors=tuple(remarks),
        kernel=printable.one_line(target.kernel[:100]),
        observed_at=now - max(target.age or 0.0, 0.0),
        seen_by="prometheus",
    )


def _is_port(name: str, rule: net.PortRule) -> bool:
    """Say whether a device is a pod's host end, by its name: the metrics show neither kinds nor bridges."""
    link = net.Link(index=0, name=name, mtu=0, kind="veth", peer_netnsid=values.OTHER_NAMESPACE)
    return rule.covers(link) or (rule.bridge is not None and BRIDGE_PORT.fullmatch(name) is not None)


def _port(name: str, mtu: int) -> net.PodPort:
    return net.PodPort(
        netns="", inode=0, host_link=name, host_index=0, host_mtu=mtu, pod_link="", pod_index=0, pod_mtu=None
    )


def _uplink(
    target: NodeSeries, taken: Iterable[str], addresses: Sequence[str], remarks: list[str]
) -> net.Uplink | None:
    """Return the way to the other nodes: by the node's address, else one of several that all have the same MTU."""
    named = [target.addresses[address] for address in addresses if target.addresses.get(address) in target.mtus]
    if named:
        return net.Uplink(peer="", device=named[0], mtu=target.mtus[named[0]], source=None)
    could = [*_candidates(target, taken)]
    if not could:
        remarks.append("no interface among the metrics can lead to the other nodes: give its MTU by --nic-mtu")
        return None
    sizes = {target.mtus[name] for name in could}
    if len(sizes) == 1:
        return net.Uplink(peer="", device=could[0], mtu=target.mtus[could[0]])
    said = listed(f"{name} {target.mtus[name]}" for name in could)
    remarks.append(
        f"which interface leads to the other nodes is not among the metrics ({said}): give its MTU by --nic-mtu, or "
        "let node_exporter show addresses (--collector.netdev.address-info)"
    )
    return None


def _candidates(target: NodeSeries, taken: Iterable[str]) -> Iterator[str]:
    """Yield the devices that could lead to the other nodes: those that are up, and nothing of pods or containers."""
    inner = frozenset(taken)
    for name in sorted(target.mtus):
        if name not in inner and not _ELSEWHERE.fullmatch(name) and target.states.get(name, "up") == "up":
            yield name


def _quoted(text: str) -> str:
    return '"' + printable.one_line(text[:60]) + '"'
