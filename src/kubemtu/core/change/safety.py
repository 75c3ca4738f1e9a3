"""The invariant of a live change: on every hop that drops without a word, nobody sends what the receiver refuses.

`core.change.migration` is the table that keeps it; this is the check that the table's barriers were really waited for,
made from what the nodes report and not from what was asked of them. It is made before a phase begins, so that the
change stops one step early instead of one step late.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from kubemtu.core.change.migration import ORDER, TABLE, Applied, Phase


def may_enter(
    phase: Phase,
    applied: Mapping[str, Applied],
    nodes: Iterable[str],
    *,
    pin_mtu: int | None = None,
    networks: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Say why the nodes may not enter `phase` now, a sentence each; an empty list means that they may.

    `applied` is what each node reported last. `pin_mtu` is the MTU in bytes that senders are pinned to: with it,
    devices may move only when nobody sends more than the smallest MTU that any of them has, had or will have.
    `networks` are those of each node's own pods, where they are known: to pods that take less than others, nodes may
    send less than to others.
    """
    place = ORDER.index(phase)
    if place == 0:
        return []
    before = ORDER[place - 1]
    there: dict[str, Applied] = {}
    against: list[str] = []
    for node in nodes:
        report = applied.get(node)
        if report is None:
            against.append(f"node {node} has not reported {before}")
        elif report.phase not in (before, phase):
            against.append(f"node {node} reported {report.phase}, and {phase} follows {before}")
        elif report.failures:
            against.append(f"node {node} failed in {report.phase}: {report.failures[0]}")
        elif report.phase is before and not report.done:
            against.append(f"node {node} is not done with {before}")
        else:
            there[node] = report
    if against:
        return against
    if len({report.restore for report in there.values()}) > 1:
        forward = sorted(node for node, report in there.items() if not report.restore)
        return [f"some nodes go back while node {forward[0]} still goes forward"]
    if any(report.restore for report in there.values()) and not TABLE[before].ports:
        return []  # a rollback lets go of the pins over devices that may not have fitted each other before either
    return _sizes(phase, there, pin_mtu, networks or {})


def sent(report: Applied, networks: Sequence[str]) -> int | None:
    """Return the largest packet in bytes that a node and its pods may send to pods in these networks.

    None: they send to no pod. Where the report says nothing of such a network, nor of one around it, it is the largest
    that they send to anybody.
    """
    if report.largest_sent is None or not networks or not report.sent_by_network:
        return report.largest_sent
    return max(_towards(report, ipaddress.ip_network(network, strict=False)) for network in networks)


def _towards(report: Applied, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> int:
    assert report.largest_sent is not None
    around = [
        (one.prefixlen, sized.mtu)
        for sized in report.sent_by_network
        if (one := ipaddress.ip_network(sized.network, strict=False)).version == network.version
        and one.prefixlen <= network.prefixlen
        and int(network.network_address) >> (one.max_prefixlen - one.prefixlen)
        == int(one.network_address) >> (one.max_prefixlen - one.prefixlen)
    ]
    return max(around)[1] if around else report.largest_sent


def _sizes(
    phase: Phase, there: Mapping[str, Applied], pin_mtu: int | None, networks: Mapping[str, Sequence[str]]
) -> list[str]:
    """Hold the largest sender against the smallest receiver, where the phase before must already have made them fit."""
    pinned = TABLE[ORDER[ORDER.index(phase) - 1]]
    if not (pinned.pods and pinned.overlay and pinned.ports) and not pinned.moved:
        return []  # only some senders are pinned yet: what did not fit before the change may still not fit
    against: list[str] = []
    takes = sorted(
        ((report.smallest_accepted, node) for node, report in there.items() if report.smallest_accepted is not None),
        key=lambda pair: pair[0],
    )
    for node, report in there.items():
        if report.largest_sent is None:
            continue
        misfit = _misfit(report, takes, networks)
        if misfit is not None:
            size, smallest, receiver = misfit
            against.append(f"node {node} still sends {size} bytes, and a pod of node {receiver} takes {smallest}")
        elif pin_mtu is not None and TABLE[report.phase].ports and report.largest_sent > pin_mtu:
            against.append(f"node {node} still sends {report.largest_sent} bytes, and devices go down to {pin_mtu}")
    return against


def _misfit(
    report: Applied, takes: Sequence[tuple[int, str]], networks: Mapping[str, Sequence[str]]
) -> tuple[int, int, str] | None:
    """Return what is sent to the first node whose pods take less, what they take, and its name; None where all fits.

    `takes` is in order of size, so that it ends where nothing that is sent at all is too large.
    """
    for smallest, receiver in takes:
        if report.largest_sent is None or report.largest_sent <= smallest:
            return None
        size = sent(report, networks.get(receiver, ()))
        if size is not None and size > smallest:
            return size, smallest, receiver
    return None
