"""What lies between the nodes: a bridge as the switch, a veth per NIC, and the MTU of each switch port.

The bridge neither answers nor explains: a frame that is too large for a port is dropped without a word, as a switch
does (net/bridge/br_forward.c, is_skb_forwardable). Offloads are off on both ends, or frames of 64 KiB would slip
through ports of any MTU.
"""

import contextlib

from kubemtu_lab import addressing, filesystem, kernel, nft
from kubemtu_lab import scene as scenes
from kubemtu_lab.rtnl import Rtnl

SWITCH = "fabric"


def port(place: int, nic: int) -> str:
    """Name the switch port of a NIC, by the place of the node (from 1) and the number of its NIC (from 0)."""
    return f"port-{place}" if nic == 0 else f"port-{place}.{nic}"


def build(rtnl: Rtnl, scene: scenes.Scene) -> None:
    """Make the switch, with the gateway's addresses on it."""
    rtnl.bring_up("lo")
    for filtered in ("iptables", "ip6tables", "arptables"):
        # Where br_netfilter is loaded a bridge is half a router: it would fragment what a switch drops
        # (net/bridge/br_netfilter_hooks.c, br_nf_dev_queue_xmit).
        with contextlib.suppress(FileNotFoundError):
            filesystem.write_sysctl(f"bridge/bridge-nf-call-{filtered}", 0)
    rtnl.add_bridge(SWITCH, mac="02:00:5e:00:00:fe")
    for nic in range(max(len(node.nics) for node in scene.nodes)):
        for family in scene.families:
            rtnl.add_address(SWITCH, addressing.on_link(addressing.gateway(family, nic)))


def try_vxlan(rtnl: Rtnl, families: addressing.Families) -> None:
    """Make sure that this kernel can make the overlay's device. Raises Refused."""
    lower, local = rtnl.device(SWITCH).index, addressing.gateway(families[0])
    rtnl.add_vxlan("try-vxlan", vni=1, port=8472, lower=lower, local=local, mtu=1400, mac="02:00:5e:00:00:ff")
    rtnl.delete_link("try-vxlan")


def plug(rtnl: Rtnl, node: scenes.Node, place: int, pid: int) -> None:
    """Plug the NICs of a node into the switch; `pid` is any process in the node's namespace. Raises Refused."""
    with kernel.network(pid) as netns:
        for number, nic in enumerate(node.nics):
            name = port(place, number)
            mac = f"02:00:5e:{number:02x}:01:{place:02x}"
            rtnl.add_veth(name, nic.name, peer_netns=netns, mtu=nic.mtu, peer_mtu=nic.mtu, peer_mac=mac)
            rtnl.no_segmentation_offload(name)
            rtnl.bring_up(name, master=SWITCH)


def strike(rtnl: Rtnl, scene: scenes.Scene) -> None:
    """Let every port take what the scene says, in the switch's namespace.

    Raises Refused, and Impossible where a port needs nft and cannot have it.
    """
    for place, node in enumerate(scene.nodes, 1):
        for number, nic in enumerate(node.nics):
            if nic.port_mtu is not None:
                set_port(rtnl, port(place, number), nic)


def set_port(rtnl: Rtnl, name: str, nic: scenes.Nic) -> None:
    """Let one switch port, in the switch's namespace, take what this NIC's `port_mtu` and `port_way` say.

    Without a `port_mtu` it takes what the NIC sends, as a port that was corrected. Raises as `strike`.
    """
    one_way = nic.port_mtu is not None and nic.port_way != "both"
    rtnl.set_mtu(name, nic.mtu if one_way else nic.port_mtu or nic.mtu)
    if nft.is_there():
        nft.load(nft.table("bridge", name, _one_way(name, nic) if one_way else ""))
    elif one_way:
        nft.program()


def _one_way(name: str, nic: scenes.Nic) -> str:
    """Return the rules of a port that drops in one direction; what nft measures here is the IP packet."""
    hook, side = ("postrouting", "oifname") if nic.port_way == "to-node" else ("prerouting", "iifname")
    rule = f'{side} "{name}" meta length > {nic.port_mtu} drop'
    return f"  chain port {{\n    type filter hook {hook} priority 0;\n    {rule}\n  }}\n"
