"""Scenes of kube-flannel: the bridge cni0, and VXLAN."""

from kubemtu_lab import addressing
from kubemtu_lab.scene import Flannel, Reconfigured, Scene, nodes

FLANNEL = Scene(
    name="flannel",
    summary="kube-flannel as it comes: pods take 1450 from subnet.env, all is well",
    nodes=nodes(3, 2),
    cni=Flannel(),
    version="v1.30.4",
)
"""
    pod eth0 1450 -- veth 1450 -- cni0 1450 -- [node] -- flannel.1 1450 -- eth0 1500 ==== port
"""

FLANNEL_HOST_GW = FLANNEL.replace(
    name="flannel-host-gw",
    summary="kube-flannel without a tunnel: the nodes route for each other, and pods have what the NICs have",
    cni=Flannel(backend="host-gw"),
)
"""
    pod eth0 1500 -- veth 1500 -- cni0 1500 -- [node] -- eth0 1500 ==== port
"""

FLANNEL_DUAL = FLANNEL.replace(
    name="flannel-dual",
    summary="kube-flannel with IPv4 and IPv6, and Backend.MTU 1480, because the headers over IPv6 take 70",
    cni=Flannel(backend_mtu=1480),
    families=addressing.DUAL,
)
"""
    pod eth0 1430 -- veth 1430 -- cni0 1430 -- [node] --+-- flannel.1    1430
                                                        +-- flannel-v6.1 1430 -- eth0 1500 ==== port
"""

FLANNEL_DUAL_1450 = FLANNEL_DUAL.replace(
    name="flannel-dual-1450",
    summary="kube-flannel with IPv4 and IPv6 as it comes: it subtracts 50 for both, and the overlay over IPv6 takes 70",
    cni=Flannel(),
)
"""
    pod eth0 1450 -- veth 1450 -- cni0 1450 -- [node] --+-- flannel.1    1450
                                                        +-- flannel-v6.1 1430 -- eth0 1500 ==== port
                                             IPv6 of 1431..1450 stops here ^ with "packet too big, MTU 1430"
"""

IPV6 = FLANNEL_DUAL.replace(
    name="ipv6",
    summary="kube-flannel in a cluster of IPv6 alone, API, nodes and pods, with Backend.MTU 1480: pods take 1430",
    families=addressing.IPV6,
)
"""
    pod eth0 1430 -- veth 1430 -- cni0 1430 -- [node] -- flannel-v6.1 1430 -- eth0 1500 fd00:77::N ==== port
                                                         40 + 8 + 8 + 14 = 70 bytes around each packet
"""

IPV6_1450 = IPV6.replace(
    name="ipv6-1450",
    summary="kube-flannel in a cluster of IPv6 alone as it comes: it subtracts 50, and the overlay takes 70",
    cni=Flannel(),
)
"""
    pod eth0 1450 -- veth 1450 -- cni0 1450 -- [node] -- flannel-v6.1 1430 -- eth0 1500 fd00:77::N ==== port
                                                      ^ 1431..1450 stop here with "packet too big, MTU 1430"
"""

FLANNEL_1500 = Scene(
    name="flannel-1500",
    summary="kube-flannel whose delegate was told 1500: pods send what the overlay cannot carry",
    nodes=nodes(3, 2),
    cni=Flannel(delegate_mtu=1500),
    version="v1.30.4",
)
"""
    pod eth0 1500 -- veth 1500 -- cni0 1500 -- [node] -- flannel.1 1450 -- eth0 1500 ==== port
"""

FLANNEL_DRIFT = FLANNEL.replace(
    name="flannel-drift",
    summary="Backend.MTU was edited to 1400 after the pods had started, and nothing was restarted",
    faults=(Reconfigured(cni=Flannel(backend_mtu=1400), restarted=False),),
)
"""
    kube-flannel-cfg: MTU 1400        devices: flannel.1 1450, cni0 1450, pods 1450
"""
