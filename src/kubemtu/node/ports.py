"""Matches the host ends of pod ports with the namespaces behind them.

One dump of the node's links tells, for every veth, the peer's index and the number of the peer's namespace
(IFLA_LINK, IFLA_LINK_NETNSID); RTM_GETNSID tells the number of each namespace that has a name. 250 pods: 6 ms.
"""

from collections.abc import Container, Iterable, Mapping

from kubemtu.core import net
from kubemtu.node.kernel import links, netlink, netns


def covered(
    devices: Iterable[links.Device], rule: net.Ports, *, known: Container[int] = frozenset()
) -> list[links.Device]:
    """Return the host ends of pod ports among a node's links; those with a `known` index need no second thought."""
    kept = list(devices)
    names = {each.index: each.name for each in kept}
    return [
        each
        for each in kept
        if each.peer_netnsid is not None and (each.index in known or rule.covers(links.link(each, names)))
    ]


def behind(
    sock: netlink.Socket,
    numbers: Iterable[int],
    roots: netns.Roots,
    opened: netns.Opened,
    *,
    besides: Iterable[int] = (),
) -> Mapping[int, netns.Netns]:
    """Return the namespaces that `sock`'s own namespace gives those numbers, by number; those not found are left out.

    `besides` are inodes of namespaces that are known to have other numbers.

    Processes are searched only for what the named namespaces leave open, because /proc takes 4-11 µs per process.
    """
    wanted = set(numbers)
    device, inode = netns.identity(sock)
    seen = {inode, *besides}
    found: dict[int, netns.Netns] = {}
    for search in (netns.named, netns.unnamed):
        if wanted - found.keys():
            candidates = search(roots, opened, seen, device)
            given = sock.nsids([each.descriptor for each in candidates])
            found |= {number: each for number, each in zip(given, candidates, strict=True) if number in wanted}
    return found


def lost(host_link: str) -> str:
    """Return the sentence about a port whose pod end cannot be reached."""
    return (
        f"{host_link}: the network namespace of its pod was found neither by name (/run/netns, /run/docker/netns) nor "
        "through /proc; its pod end cannot be read or set. Let kubemtu see the folder in which the node's runtime "
        "names it, or the node's processes (hostPID, and the capability SYS_PTRACE)"
    )
