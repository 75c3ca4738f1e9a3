"""kube-router as the pod network: --auto-mtu takes the NIC's MTU, and `mtu` of cni-conf.json counts without it.

Each version since v1.1 writes the MTU of the NIC that has the node's address into the CNI configuration of its node at
each start, v1.1 to v1.5 less IPIP's 20 where the overlay is on, and from v1.6 on nothing less. IPIP is used between
nodes of different networks only, unless --overlay-type is full (cloudnativelabs/kube-router at 7c2c2779:
pkg/options/options.go, pkg/controllers/routing/network_routes_controller.go, and the tags named here).
"""

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import conflist, daemonset, nic_mtu, owners, reading, strays
from kubemtu.cni.programs import installer, kubelet, ovs
from kubemtu.core import codes, encap, net, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Object, config_map, daemonsets
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import json_edit

NAME = "kube-router"
NAMESPACE = "kube-system"
AGENT = "kube-router"
CONFIG_MAP = "kube-router-cfg"
CNI_CONF = "cni-conf.json"
PLUGIN = "bridge"
BRIDGE = "kube-bridge"
CONFLIST = "/etc/cni/net.d/10-kuberouter.conflist"
TUNNELS = ("tun-", "tun6-")  # pkg/tunnels/linux_tunnels.go
AUTO_SINCE = (1, 1, 0)
NOTHING_LESS_SINCE = (1, 6, 0)  # cloudnativelabs/kube-router f97eb7cc
IPIP = 20
ONLY_ONCE = "! -f"  # in the script of install-cni: the file is written only where there is none
OFF = frozenset({"false", "0", "f"})
WANTS = (
    config_map(NAMESPACE, CONFIG_MAP),
    daemonsets(NAMESPACE),
    NODES,
    kubelet.WANT,
)
KNOWLEDGE = Knowledge(
    recognised_by="kube-router (DaemonSet kube-system/kube-router with --run-router)",
    ports=(net.PortRule(bridge=BRIDGE),),
    calc_keys=(
        CalcKey(
            "kube-router",
            f"ConfigMap {NAMESPACE}/{CONFIG_MAP}",
            f'{CNI_CONF} "mtu"',
            "pod",
            (("ipip",), ("udp",), ()),
            note="read only with --auto-mtu=false",
        ),
    ),
    words=("kube-router",),
    edited=(rights.patch("configmaps", CONFIG_MAP), rights.patch("daemonsets", AGENT, group="apps")),
)


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What kube-router is told, with its own defaults."""

    router: bool = True
    auto: bool = True
    overlay: bool = True
    full: bool = False  # tunnels between all nodes, not only between networks
    fou: bool = False
    version: tuple[int, int, int] | None = None

    @property
    def takes_nic(self) -> bool:
        """True when each node's own NIC decides, whatever the ConfigMap says."""
        return self.auto and (self.version is None or self.version >= AUTO_SINCE)

    @property
    def subtracts(self) -> int:
        """The bytes that this version takes off the NIC."""
        old = self.version is not None and self.version < NOTHING_LESS_SINCE
        return IPIP if self.overlay and old else 0


class KubeRouterParsed(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one kube-router."""

    agent: Object | None
    config: Object | None
    text: str | None
    flags: Flags
    nics: frozenset[int | None] = frozenset()


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe kube-router, or return None when it is not there, or routes nothing: a firewall or a proxy only."""
    agent = snapshot.find("DaemonSet", AGENT, NAMESPACE)
    config = snapshot.find("ConfigMap", CONFIG_MAP, NAMESPACE)
    if agent is None and config is None:
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    flags = _flags(agent, out)
    if not flags.router:
        return None
    text = reading.value(config, out, "data", CNI_CONF) if config is not None else None
    place = f'{config}, data["{CNI_CONF}"]'
    template = conflist.template(text, PLUGIN, place, out) if text is not None else None
    literal = template.mtu if template is not None else None
    if config is None:
        effect = f"so what {agent} writes to its nodes is unknown"
        out.append(reading.unread(f"ConfigMap {NAMESPACE}/{CONFIG_MAP}", effect, snapshot))
    if agent is None:
        effect = "so neither whether it takes the NIC's MTU (--auto-mtu) nor what goes around a packet is known"
        out.append(reading.unread(f"DaemonSet {NAMESPACE}/{AGENT}", effect, snapshot))
    else:
        out += _without_effect(flags, literal, place, template)
    out += strays.misplaced(config, "data")
    tunnels = [link for node in snapshot.nodes for link in node.links if link.name.startswith(TUNNELS)]
    around = _around(flags, used=flags.full or bool(tunnels), families=ovs.families(snapshot))
    counts = not flags.takes_nic and template is not None
    pod_mtu = (literal or node_files.KERNEL_DEFAULT) if counts else None
    ref = reading.ref(config, "configmaps") if config is not None else None
    inside = template.inside if template is not None else "mtu"
    key = (
        cni_state.MtuKey(ref=ref, path=("data", CNI_CONF), inside=inside, means="pod", value=literal, effective=counts)
        if ref is not None
        else None
    )
    return cni_state.CniState(
        name=NAME,
        variant=_variant(agent, flags),
        encapsulation=around,
        encapsulation_known=agent is not None,
        encapsulation_name=_name(flags, used=bool(around)) if agent is not None else "unknown",
        pod_mtu=pod_mtu,
        subtracts=flags.subtracts if flags.takes_nic and agent is not None else None,
        conflist_mtu=literal if counts else None,
        mtu_keys=(key,) if key is not None and counts else (),
        source=f"{agent or config}, --auto-mtu" if flags.takes_nic else "",
        daemonset=reading.ref(agent, "daemonsets") if agent is not None else None,
        conflist=_path(agent, snapshot, out),
        conflist_template=None,  # kube-router writes its node's ranges of addresses into the file
        ports=net.PortRule(bridge=BRIDGE),
        bridge=BRIDGE,
        owner=owners.of(config or agent, out),
        ipv6=ovs.has_ipv6(snapshot),
        findings=tuple(dict.fromkeys(out)),
        parsed=KubeRouterParsed(agent=agent, config=config, text=text, flags=flags, nics=nic_mtu.nics(snapshot)),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit of the CNI configuration, and the restart, where install-cni writes it anew.

    Raises UsageError where the NIC decides, and where the file of each node stays as it was written first.
    """
    encap.check(target)
    found = state.parsed
    assert isinstance(found, KubeRouterParsed)
    if found.flags.takes_nic and found.nics == {target + found.flags.subtracts}:
        return ()
    if found.agent is None or found.config is None or found.text is None:
        lacks = f"DaemonSet {NAMESPACE}/{AGENT}" if found.agent is None else f"ConfigMap {NAMESPACE}/{CONFIG_MAP}"
        raise UsageError(f"{lacks} was not read: allow `get` on it, then plan again.")
    place = f'{found.config}, data["{CNI_CONF}"]'
    once = _installs_once(found.agent)
    removed = f"remove {state.conflist} on each node, which install-cni writes only where there is none"
    if found.flags.takes_nic:
        raise UsageError(
            f"{found.agent} takes each NIC's MTU{f' less {IPIP}' if found.flags.subtracts else ''} (--auto-mtu): give"
            f' the NICs another, or set --auto-mtu=false and "mtu": {target} in {place}'
            f"{f', {removed},' if once else ''} and restart it."
        )
    after = json_edit.set_plugin_mtu(found.text, PLUGIN, target, source=place)
    ref = reading.ref(found.config, "configmaps")
    edits = installer.edit(ref, ("data", CNI_CONF), found.text, after, f"new pods get {target}")
    if not edits:
        return ()
    if once:
        raise UsageError(f'Set "mtu": {target} in {place}, {removed}, and restart {found.agent}.')
    restart = plan.Rollout(
        ref=reading.ref(found.agent, "daemonsets"),
        why="install-cni writes each node's CNI configuration when it starts",
        conflist=state.conflist,
        mtu=target,
    )
    return (*edits, restart)


def _variant(agent: Object | None, flags: Flags) -> str:
    if agent is None:
        return "flags not read"
    return "auto-mtu" if flags.takes_nic else "mtu of the CNI configuration"


def _flags(agent: Object | None, out: list[Finding]) -> Flags:
    container = reading.attempt(lambda: daemonset.container(agent, AGENT), None, out, str(agent))
    version = reading.attempt(lambda: daemonset.version(agent, AGENT), None, out, str(agent))

    def last(flag: str) -> str:
        return (daemonset.flag_values(container, flag) or ("",))[-1].lower()

    return Flags(
        router=last("run-router") not in OFF,
        auto=last("auto-mtu") not in OFF,
        overlay=last("enable-overlay") not in OFF,
        full=last("overlay-type") == "full",
        fou=last("overlay-encap") == "fou",
        version=version,
    )


def _around(flags: Flags, *, used: bool, families: tuple[str, ...]) -> tuple[Encapsulation, ...]:
    """Return what is around packets between nodes, where tunnels are used at all; FoU puts them into UDP."""
    if not flags.overlay or not used:
        return ()
    return ovs.over("udp" if flags.fou else "ipip", families)


def _name(flags: Flags, *, used: bool) -> str:
    if not flags.overlay:
        return "none"
    kind = "ipip in udp (fou)" if flags.fou else "ipip"
    return kind if used else f"none ({kind} between networks)"


def _without_effect(flags: Flags, literal: int | None, place: str, template: conflist.Template | None) -> list[Finding]:
    """Return MTU111 for a number that --auto-mtu writes over."""
    if literal is None or template is None or not flags.takes_nic:
        return []
    return [
        codes.finding(
            codes.MTU111,
            f"{place}, {template.inside}",
            f"It says {literal} and has no effect: kube-router writes the NIC's over it at each start (--auto-mtu).",
            "Remove it, or start kube-router with --auto-mtu=false.",
        )
    ]


def _path(agent: Object | None, snapshot: Snapshot, out: list[Finding]) -> str:
    held = reading.attempt(
        lambda: daemonset.resolve(agent, "KUBE_ROUTER_CNI_CONF_FILE", snapshot), None, out, str(agent)
    )
    return held or CONFLIST


def _installs_once(agent: Object) -> bool:
    container = reading.attempt(lambda: daemonset.container(agent, "install-cni"), None, [], str(agent))
    return any(ONLY_ONCE in word for word in daemonset.arguments(container))
