"""Devices inside a pod by which others send than the pod itself: bridges of containers and of virtual machines, veths.

They are told from the links of the pod's namespace, which are read anyway: no second message, and no second namespace.
"""

from collections.abc import Sequence

from kubemtu.core import net
from kubemtu.node.kernel import links

MOST = 8  # of a pod that are shown, the largest first
_OWN_KINDS = frozenset({"veth", "tun", "dummy"})  # of ports that lead to nobody outside the pod


def devices(seen: Sequence[links.Device], pod: links.Device) -> tuple[net.InnerDevice, ...]:
    """Return what forwards for others among the links of a pod's namespace; `pod` is the pod's own end of its veth.

    A second network of the pod is left out, with the bridge that it is a port of: its sizes are another network's.
    """
    ports: dict[int, list[links.Device]] = {}
    for each in seen:
        if each.master is not None:
            ports.setdefault(each.master, []).append(each)
    found = [
        _bridge(each, ports.get(each.index, []), pod)
        for each in seen
        if each.kind == "bridge" and not any(_elsewhere(port, pod) for port in ports.get(each.index, ()))
    ]
    found += [
        net.InnerDevice(name=each.name, kind=each.kind, mtu=each.mtu)
        for each in seen
        if each.kind == "veth" and each.master is None and each.peer_netnsid not in {None, pod.peer_netnsid}
    ]
    return tuple(sorted(found, key=lambda one: (-one.sends, one.name))[:MOST])


def _bridge(bridge: links.Device, ports: Sequence[links.Device], pod: links.Device) -> net.InnerDevice:
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


def _elsewhere(port: links.Device, pod: links.Device) -> bool:
    """Return True when a bridge's port leads out of the pod by another way than the pod's own interface."""
    if port.index == pod.index:
        return False
    return port.kind not in _OWN_KINDS or (port.kind == "veth" and port.peer_netnsid == pod.peer_netnsid)
