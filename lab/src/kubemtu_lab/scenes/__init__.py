"""Ready-made scenes, by name, and small functions that put one more fault into any of them."""

from collections.abc import Callable
from typing import Literal

from kubemtu.core import errors
from kubemtu_lab import scene
from kubemtu_lab.scenes import canal, flannel

SCENES: dict[str, scene.Scene] = {
    each.name: each
    for each in (
        canal.CANAL_1500,
        canal.CANAL_HALF_DONE,
        canal.CANAL_HEALTHY,
        canal.CANAL_VETH_MTU,
        canal.CANAL_JUMBO,
        canal.CANAL_MIXED_NICS,
        canal.CANAL_IFACE,
        canal.CANAL_BLACK_HOLE,
        flannel.FLANNEL,
        flannel.FLANNEL_HOST_GW,
        flannel.FLANNEL_1500,
        flannel.FLANNEL_DRIFT,
        flannel.FLANNEL_DUAL,
        flannel.FLANNEL_DUAL_1450,
        flannel.IPV6,
        flannel.IPV6_1450,
    )
}


def named(name: str) -> scene.Scene:
    """Return the scene of that name. Raises UsageError when there is none."""
    try:
        return SCENES[name]
    except KeyError:
        raise errors.UsageError(f"there is no scene {name}; choose one of: {', '.join(SCENES)}") from None


def lost_iface(base: scene.Scene) -> scene.Scene:
    """Somebody saved canal-config in a user interface that drops empty keys: canal_iface is gone (rancher#15010)."""
    return base.with_fault(
        scene.ConfigEdit(namespace="kube-system", name="canal-config", key="canal_iface", value=None)
    )


def veth_mtu_edited(base: scene.Scene, mtu: int) -> scene.Scene:
    """Somebody changed veth_mtu of era C and restarted nothing."""
    return base.with_fault(
        scene.ConfigEdit(namespace="kube-system", name="canal-config", key="veth_mtu", value=str(mtu))
    )


def only_host_ends(base: scene.Scene, mtu: int) -> scene.Scene:
    """Somebody set the host ends of all veths, and only those: every larger packet from a pod is dropped in silence."""
    ends = "cali*" if isinstance(base.cni, scene.Canal) else "veth*"
    return base.with_fault(*(scene.HandSet(node=node.name, links=ends, mtu=mtu) for node in base.nodes))


def icmp_filtered(base: scene.Scene) -> scene.Scene:
    """Have a firewall on every node swallow the node's own ICMP: senders never learn the path MTU."""
    return base.with_fault(*(scene.IcmpFiltered(node=node.name) for node in base.nodes))


def black_hole(
    base: scene.Scene, node: str, port_mtu: int, way: Literal["both", "to-node", "from-node"] = "both"
) -> scene.Scene:
    """Let the switch port of a node take less than its NIC sends, both ways or in one."""
    nics = base.nodes[base.number(node) - 1].nics
    first = scene.Nic(name=nics[0].name, mtu=nics[0].mtu, port_mtu=port_mtu, port_way=way)
    return base.with_nics(node, first, *nics[1:])


def udp_filtered(base: scene.Scene, port: int | None = None) -> scene.Scene:
    """Have a policy of every node drop the UDP that others send to its pods, or that to one port; ICMP and TCP pass."""
    return base.with_fault(*(scene.PolicyDropped(node=node.name, protocol="udp", port=port) for node in base.nodes))


def exec_broken(base: scene.Scene, how: scene.ExecFault, node: str = "") -> scene.Scene:
    """Have the commands in containers of a node, by default the last one, go wrong."""
    return base.with_fault(scene.ExecBroken(node=node or base.nodes[-1].name, how=how))


def _exec(how: scene.ExecFault) -> "Fault":
    return lambda found, _: exec_broken(found, how)


def _needs_mtu(name: str, make: Callable[[scene.Scene, int], scene.Scene]) -> "Fault":
    def checked(built: scene.Scene, mtu: int | None) -> scene.Scene:
        if mtu is None:
            raise errors.UsageError(f"the fault {name} needs an MTU: {name}=1400")
        return make(built, mtu)

    return checked


Fault = Callable[[scene.Scene, int | None], scene.Scene]
FAULTS: dict[str, tuple[Fault, str]] = {
    "lost-iface": (lambda found, _: lost_iface(found), "the empty key canal_iface was lost from canal-config"),
    "veth-mtu-edited": (_needs_mtu("veth-mtu-edited", veth_mtu_edited), "veth_mtu was changed, nothing restarted"),
    "only-host-ends": (_needs_mtu("only-host-ends", only_host_ends), "the host ends of running pods' veths were set"),
    "icmp-filtered": (lambda found, _: icmp_filtered(found), "every node's firewall swallows the node's own ICMP"),
    "udp-filtered": (lambda found, _: udp_filtered(found), "a policy drops the UDP that others send to pods"),
    "exec-hangs": (_exec("hangs"), "commands in containers of the last node never end"),
    "exec-floods": (_exec("floods"), "commands in containers of the last node write without end"),
    "exec-lies": (_exec("escapes"), "commands in containers of the last node write what a terminal would obey"),
    "exec-refused": (_exec("refused"), "the last node's kubelet refuses connections"),
    "exec-silent": (_exec("silent"), "the last node's kubelet does not answer to connections"),
}
"""What the command line can add to a scene: a function of the scene and an MTU, and what it does."""
