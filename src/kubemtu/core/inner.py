"""Devices inside a pod by which others send than the pod itself: bridges of containers and of virtual machines, veths.

They are told from the links of the pod's namespace alone, whoever read those.
"""

from collections.abc import Sequence

from kubemtu.core import net

MOST = 8  # of a pod that are shown, the largest first
_OWN_KINDS = frozenset({"veth", "tun", "dummy"})  # of a bridge's ports that lead to nobody outside the pod


def devices(links: Sequence[net.Link], pod: net.Link) -> tuple[net.InnerDevice, ...]:
    """Return what forwards for others among the links of a pod's namespace; `pod` is the pod's own end of its veth.

    A second network of the pod is left out, with the bridge that it is a port of: its sizes are another network's.
    """
    ports: dict[str, list[net.Link]] = {}
    for link in links:
        if link.master is not None:
            ports.setdefault(link.master, []).append(link)
    found = [
        _bridge(link, ports.get(link.name, []), pod)
        for link in links
        if link.kind == "bridge" and not any(_elsewhere(port, pod) for port in ports.get(link.name, ()))
    ]
    found += [
        net.InnerDevice(name=link.name, kind=link.kind, mtu=link.mtu)
        for link in links
        if link.kind == "veth" and link.master is None and link.peer_netnsid not in {None, pod.peer_netnsid}
    ]
    return tuple(sorted(found, key=lambda one: (-one.sends, one.name))[:MOST])


def _bridge(bridge: net.Link, ports: Sequence[net.Link], pod: net.Link) -> net.InnerDevice:
    others = [port for port in ports if port.index != pod.index]
    return net.InnerDevice(
        name=bridge.name,
        kind=bridge.kind,
        mtu=bridge.mtu,
        ports=len(others),
        taps=sum(port.kind == "tun" for port in others),
        port_mtu=max((port.mtu for port in others), default=None),
        joined=len(others) < len(ports),
    )


def _elsewhere(port: net.Link, pod: net.Link) -> bool:
    """Return True when a bridge's port leads out of the pod by another way than the pod's own interface."""
    if port.index == pod.index:
        return False
    home = pod.peer_netnsid
    to_node = port.kind == "veth" and home is not None and home >= 0 and port.peer_netnsid == home  # else not printed
    return to_node or port.kind not in _OWN_KINDS
