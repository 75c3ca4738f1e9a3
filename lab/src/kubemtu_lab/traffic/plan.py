"""Which flows run between which pods, and how many packets a second they make. Pure: no clock, no socket.

    pod  ──UDP, DF, at the limit──▶ pod     every ordered pair, same node and across
    node ──UDP, DF, at the limit──▶ pod     a hostNetwork sender on every node
    pod  ──TCP, one segment asked─▶ pod     established; small answers
    pod  ──TCP, connect per ask───▶ pod     a new connection each time; an answer of one full segment
    pod  ──TCP, many segments─────▶ pod     each pod to the next one only
    pod  ──TCP, idle──────────────▶ pod     asks once at the start and once at the end

One full segment is the shape that the wrong change kills: longer writes leave as GSO packets, which slip past the size
check of a veth and come back as an ICMP message (Linux net/core/dev.c, is_skb_forwardable).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

PORT = 5201  # UDP and TCP, in every pod

Style = Literal["established", "connect", "idle"]


class FlowEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace where traffic starts, and where it arrives too unless `network` is "node" (a hostNetwork sender)."""

    name: str
    node: str
    addresses: tuple[str, ...]  # IPv4 and IPv6, without prefix length
    network: Literal["pod", "node"] = "pod"
    device: str = "eth0"


class UdpFlow(msgspec.Struct, frozen=True, kw_only=True):
    """Datagrams with DF from one place to another, each as large as the kernel lets the sender send."""

    id: int
    source: str
    target: str
    address: str
    per_second: float


class TcpFlow(msgspec.Struct, frozen=True, kw_only=True):
    """Questions and answers. Sizes in bytes of TCP payload; 0 means one full segment, as the asked kernel says."""

    id: int
    source: str
    target: str
    address: str
    per_second: float
    style: Style
    question: int = 0
    answer: int = 64


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All places and all flows between them; ids are unique over both kinds."""

    places: tuple[FlowEnd, ...]
    udp: tuple[UdpFlow, ...] = ()
    tcp: tuple[TcpFlow, ...] = ()

    @property
    def packets_per_second(self) -> float:
        """An estimate of the IP packets a second, at an MTU of 1500: what two cores must carry."""
        return sum(flow.per_second for flow in self.udp) + sum(flow.per_second * _packets(flow) for flow in self.tcp)


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Events a second over all flows of a kind together, so that a larger lab is not a heavier one."""

    udp: float = 1500.0  # datagrams, pod to pod
    udp_from_nodes: float = 300.0  # datagrams, node to pod
    established: float = 240.0  # questions
    connect: float = 40.0  # connections
    bulk: float = 15.0  # questions of `bulk_bytes`
    bulk_bytes: int = 20_000


def _packets(flow: TcpFlow) -> float:
    segments = max(1, -(-flow.question // 1448)) + max(1, -(-flow.answer // 1448))
    return segments + (8 if flow.style == "connect" else 1)  # handshake, FINs; a bare ACK now and then


def _legs(sources: Sequence[FlowEnd], targets: Sequence[FlowEnd]) -> list[tuple[str, str, str]]:
    """Return every (source, target, address) of which both ends speak the address family."""
    return [
        (source.name, target.name, address)
        for source, target in itertools.product(sources, targets)
        if source.name != target.name
        for address in target.addresses
        if any((":" in mine) == (":" in address) for mine in source.addresses)
    ]


def _share(total: float, legs: Sequence[object]) -> float:
    return total / len(legs) if legs else 0.0


def everyone(places: Sequence[FlowEnd], rates: Rates | None = None) -> Plan:
    """Plan every kind of flow between all places.

    Raises ValueError when two places have one name.
    """
    if len({place.name for place in places}) != len(places):
        raise ValueError("two places of the traffic plan have the same name")
    rates = rates or Rates()
    pods = [place for place in places if place.network == "pod"]
    nodes = [place for place in places if place.network == "node"]
    ids = itertools.count(1)
    pairs, from_nodes = _legs(pods, pods), _legs(nodes, pods)
    udp = [
        UdpFlow(id=next(ids), source=source, target=target, address=address, per_second=_share(rates.udp, pairs))
        for source, target, address in pairs
    ]
    udp += [
        UdpFlow(
            id=next(ids),
            source=source,
            target=target,
            address=address,
            per_second=_share(rates.udp_from_nodes, from_nodes),
        )
        for source, target, address in from_nodes
    ]
    return Plan(places=tuple(places), udp=tuple(udp), tcp=tuple(_tcp(ids, pods, pairs, rates)))


def _tcp(
    ids: Iterator[int], pods: Sequence[FlowEnd], pairs: Sequence[tuple[str, str, str]], rates: Rates
) -> Iterator[TcpFlow]:
    followers = {pod.name: pods[(at + 1) % len(pods)].name for at, pod in enumerate(pods)}
    ring = [leg for leg in pairs if followers[leg[0]] == leg[1]]
    shapes: list[tuple[Sequence[tuple[str, str, str]], Style, float, int, int]] = [
        (pairs, "established", rates.established, 0, 64),
        (pairs, "connect", rates.connect, 0, 0),
        (ring, "established", rates.bulk, rates.bulk_bytes, 64),
        (pairs, "idle", 0.0, 0, 0),
    ]
    for legs, style, total, question, answer in shapes:
        for source, target, address in legs:
            yield TcpFlow(
                id=next(ids),
                source=source,
                target=target,
                address=address,
                per_second=_share(total, legs),
                style=style,
                question=question,
                answer=answer,
            )
