"""Scenes of Canal: Calico's veths and policy, flannel's VXLAN."""

from kubemtu_lab.scene import Canal, Nic, Reconfigured, Scene, nodes

CANAL_1500 = Scene(
    name="canal-1500",
    summary="Canal as RKE deployed it in 2018: no MTU is configured anywhere, pods got 1500, the overlay carries 1450",
    nodes=nodes(3, 2),
    cni=Canal(era="A"),
)
"""
    pod eth0 1500 -- cali 1500 -- [node] -- flannel.1 1450 -- eth0 1500 ==== port
                                       ^ 1451..1500 stop here with "fragmentation needed, MTU 1450"; same node: fine
"""

CANAL_HALF_DONE = CANAL_1500.replace(
    name="canal-half-done",
    summary="As canal-1500, then the CNI was told 1450 and restarted: new pods get 1450, those that run keep 1500",
    faults=(Reconfigured(cni=Canal(era="A", mtu=1450), restarted=True),),
)
"""
    canal-config: "mtu": 1450, rendered on every node        pod eth0 1500 -- cali 1500 -- [node] -- flannel.1 1450
"""

CANAL_HEALTHY = Scene(
    name="canal-healthy",
    summary='Canal with `"mtu": 1450` in its CNI JSON: every pod packet fits the overlay',
    nodes=nodes(3, 2),
    cni=Canal(era="B", mtu=1450),
    version="v1.17.2",
)
"""
    pod eth0 1450 -- cali 1450 -- [node] -- flannel.1 1450 -- eth0 1500 ==== port
"""

CANAL_VETH_MTU = Scene(
    name="canal-veth-mtu",
    summary="Canal with the key `veth_mtu` (RKE from 2020 on) at its default of 1450",
    nodes=nodes(3, 2),
    cni=Canal(era="C", mtu=1450),
    version="v1.28.12",
)
"""
    canal-config: veth_mtu "1450" -> CNI_MTU -> "mtu": __CNI_MTU__
    pod eth0 1450 -- cali 1450 -- [node] -- flannel.1 1450 -- eth0 1500 ==== port
"""

CANAL_JUMBO = Scene(
    name="canal-jumbo",
    summary="Jumbo frames everywhere below, and pods that still use 1450 of 8950 bytes",
    nodes=nodes(3, 2, Nic(mtu=9000)),
    cni=Canal(era="C", mtu=1450),
    version="v1.28.12",
)
"""
    pod eth0 1450 -- cali 1450 -- [node] -- flannel.1 8950 -- eth0 9000 ==== port
            ^ correct, but five times as many packets as needed
"""

CANAL_MIXED_NICS = (
    Scene(
        name="canal-mixed-nics",
        summary="node-2 has a jumbo NIC and node-3 one of 1400: the smallest overlay must decide for all pods",
        nodes=nodes(3, 2),
        cni=Canal(era="C", mtu=1450),
        version="v1.28.12",
    )
    .with_nics("node-2", Nic(mtu=9000))
    .with_nics("node-3", Nic(mtu=1400))
)
"""
    node-1  pods 1450 -- flannel.1 1450 -- eth0 1500 ====+
    node-2  pods 1450 -- flannel.1 8950 -- eth0 9000 ====+== switch
    node-3  pods 1450 -- flannel.1 1350 -- eth0 1400 ====+
                         ^ node-3 receives no more than 1400 of underlay, and nobody on the way tells so
"""

CANAL_IFACE = Scene(
    name="canal-iface",
    summary="Two networks: the default route leaves by eno1 (1500), canal_iface names the jumbo NIC ens5",
    nodes=nodes(3, 2),
    cni=Canal(era="A", iface="ens5"),
)
for _node in ("node-1", "node-2", "node-3"):
    CANAL_IFACE = CANAL_IFACE.with_nics(_node, Nic(name="eno1"), Nic(name="ens5", mtu=9000))
"""
    pod eth0 1500 -- cali 1500 -- [node] -- flannel.1 8950 -- ens5 9000 192.168.78.N ==== port
                                     |------------------------ eno1 1500 192.168.77.N ==== port, API
"""

CANAL_BLACK_HOLE = Scene(
    name="canal-black-hole",
    summary="A switch port on the way takes 1400 while every NIC says 1500: packets of 1355 and more vanish in silence",
    nodes=nodes(3, 2),
    cni=Canal(era="B", mtu=1450),
    version="v1.17.2",
).with_nics("node-2", Nic(port_mtu=1400))
"""
    node-1 pod 1450 -- flannel.1 1450 -- eth0 1500 ==== port 1500 --+
    node-2 pod 1450 -- flannel.1 1450 -- eth0 1500 ==== port 1400 --+   no ICMP: a switch sends none
"""
