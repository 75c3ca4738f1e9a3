"""Scenes of kube-flannel: the bridge cni0, and VXLAN."""

from kubemtu.lab.scene import ConfigEdit, Flannel, Scene, nodes

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

FLANNEL_DUAL = FLANNEL.replace(
    name="flannel-dual",
    summary="kube-flannel with IPv4 and IPv6: two VXLAN devices, and the larger outer header decides",
    dual_stack=True,
)
"""
    pod eth0 1430 -- veth 1430 -- cni0 1430 -- [node] --+-- flannel.1    1450 (50 of headers over IPv4)
                                                        +-- flannel-v6.1 1430 (70 over IPv6) -- eth0 1500 ==== port
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
    faults=(
        ConfigEdit(
            namespace="kube-flannel",
            name="kube-flannel-cfg",
            key="net-conf.json",
            value='{\n  "Network": "10.244.0.0/16",\n  "Backend": {\n    "Type": "vxlan",\n    "MTU": 1400\n  }\n}\n',
        ),
    ),
)
"""
    kube-flannel-cfg: MTU 1400        devices: flannel.1 1450, cni0 1450, pods 1450
"""
