"""What Felix, Calico's agent, makes of its configuration: which encapsulations are on, and the MTU it finds by itself.

Read in projectcalico/calico at 87c15906: felix/dataplane/linux/int_dataplane.go:1731-1871 (detection),
felix/calc/encapsulation_resolver.go (pools), felix/config/config_params.go (sources and their order).

- A pool counts as soon as its mode is not Never; CrossSubnet counts in full. `spec.disabled` is not looked at,
  rightly: it only stops new addresses, and the pods that have one still use the tunnel.
- An environment variable hides the FelixConfiguration's field even when it says 0. An empty one is
  ignored, "none" is 0.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from kubemtu.cni.objects import daemonset, reading
from kubemtu.core import codes, encap, networks
from kubemtu.core.cluster import cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.core.snapshot import Snapshot

GROUPS = ("projectcalico.org/v3", "crd.projectcalico.org/v1")
WANTS = (
    Want(kind="FelixConfiguration", plural="felixconfigurations", api_versions=GROUPS),
    Want(kind="IPPool", plural="ippools", api_versions=GROUPS),
)
MTU_FILE = "/var/lib/calico/mtu"  # where Felix leaves what it found, for the CNI plugin
PREFIX = "cali"  # of the host ends of pods' veths, unless FELIX_INTERFACEPREFIX or the FelixConfiguration has another
PLUGIN_MTU = node_files.PluginRule(
    plugin="calico",
    file=MTU_FILE,
    # Without the file the veth stays as the kernel made it (projectcalico/calico: cni-plugin/pkg/plugin).
    otherwise=node_files.KERNEL_DEFAULT,
    waits="require_mtu_file",  # from v3.31 on: a pod fails to start instead
    otherwise_by=f"the kernel's default, without {MTU_FILE}",
)
ADDRESSES = ("projectcalico.org/IPv4Address", "projectcalico.org/IPv6Address")
"""Annotations of a Node, where its tunnels end (libcalico-go/lib/backend/k8s/resources/node.go)."""
STAYS = "Felix sets it again every few seconds: see its log for a refusal."
PATTERN = r"^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"


# A veth with both ends on the node, by which the node's own packets to Services pass the programs of the eBPF data
# plane (felix/dataplane/linux/dataplanedefs, bpf_ep_mgr.go): no end of it is a pod's.
BPF_DEVICES = ("bpfin.cali", "bpfout.cali")
BPF_BY = (
    "restart calico-node there: from v3.28.1 on Felix gives both the pods' MTU (projectcalico/calico#8922), an older"
    " one leaves them at 1500"
)


class Tunnel(msgspec.Struct, frozen=True, kw_only=True):
    """One encapsulation of Felix: how it is switched on, sized, and what its device is called."""

    encapsulation: str
    outer: str
    variable: str
    field: str
    device: str


TUNNELS: dict[str, Tunnel] = {
    "ipip": Tunnel(
        encapsulation="ipip", outer="ipv4", variable="FELIX_IPINIPMTU", field="ipipMTU", device="tunl0"
    ),
    "vxlan": Tunnel(
        encapsulation="vxlan", outer="ipv4", variable="FELIX_VXLANMTU", field="vxlanMTU", device="vxlan.calico"
    ),
    "vxlan over IPv6": Tunnel(
        encapsulation="vxlan", outer="ipv6", variable="FELIX_VXLANMTUV6", field="vxlanMTUV6", device="vxlan-v6.calico"
    ),
    "wireguard": Tunnel(
        encapsulation="wireguard",
        outer="ipv4",
        variable="FELIX_WIREGUARDMTU",
        field="wireguardMTU",
        device="wireguard.cali",
    ),
    "wireguard over IPv6": Tunnel(
        encapsulation="wireguard",
        outer="ipv6",
        variable="FELIX_WIREGUARDMTUV6",
        field="wireguardMTUV6",
        device="wg-v6.cali",
    ),
}  # fmt: skip
SWITCHES = {
    "ipip": ("FELIX_IPINIPENABLED", "ipipEnabled"),
    "vxlan": ("FELIX_VXLANENABLED", "vxlanEnabled"),
    "wireguard": ("FELIX_WIREGUARDENABLED", "wireguardEnabled"),
    "wireguard over IPv6": ("FELIX_WIREGUARDENABLEDV6", "wireguardEnabledV6"),
}
YES = frozenset({"true", "1", "yes", "y", "t"})


Held = Callable[[str], str]  # what a variable of the agent holds, "" where it is not set


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """One address pool and how packets between nodes are carried: modes as Calico writes them, "Never" for none."""

    cidr: str
    ipip: str = "Never"
    vxlan: str = "Never"


class Felix(msgspec.Struct, frozen=True, kw_only=True):
    """Felix' configuration, all sources joined.

    `on` names the keys of TUNNELS that are switched on, with the pool's mode; `sizes` the MTU of their devices that is
    configured, in bytes, only where one is.
    """

    on: Mapping[str, str]
    sizes: Mapping[str, int]
    pattern: str = PATTERN
    pools: tuple[Pool, ...] = ()
    prefixes: tuple[str, ...] = (PREFIX,)
    keys: tuple[cni_state.MtuKey, ...] = ()
    subnets: dict[str, str] = {}  # of each node, by its own address
    forced: frozenset[str] = frozenset()  # tunnels whose variable is set, which hides the FelixConfiguration

    @property
    def encapsulations(self) -> tuple[Encapsulation, ...]:
        """Every encapsulation that may carry a pod's packet."""
        return tuple(encap.parse(TUNNELS[name].encapsulation, outer=TUNNELS[name].outer) for name in self.on)

    @property
    def name(self) -> str:
        """The encapsulations as users say them."""
        return (
            ", ".join(name + (f" ({mode})" if mode == "CrossSubnet" else "") for name, mode in self.on.items())
            or "none"
        )

    @property
    def widest(self) -> str | None:
        """The key in TUNNELS of the encapsulation that costs most, None when there is none."""
        return max(self.on, key=cost, default=None)

    @property
    def automatic(self) -> bool:
        """True when the NIC decides: no tunnel is on, or one has no configured MTU."""
        return not self.on or any(name not in self.sizes for name in self.on)

    def pod_mtu(self, host: int) -> int:
        """Return the pod MTU that Felix writes for a host MTU, both in bytes of the IP packet."""
        sizes = [self.sizes.get(name, host - cost(name)) for name in self.on]
        return min(sizes, default=host)


def read(snapshot: Snapshot, agent: Object | None, pools: Iterable[Pool], out: list[Finding]) -> Felix:
    """Join the FelixConfiguration, the agent's environment and the pools; what is broken goes to `out`."""
    place = str(agent) if agent is not None else "FelixConfiguration"
    nobody: tuple[daemonset.Variable, ...] = ()
    known = {each.name for each in reading.attempt(lambda: daemonset.variables(agent), nobody, out, place)}
    environment = {}
    for name in known:
        if name.startswith("FELIX_"):
            environment[name] = daemonset.resolve(agent, name, snapshot) or ""
    config = next((each for each in ours(snapshot, "FelixConfiguration") if each.name == "default"), None)
    pools = tuple(pools)
    on = _on(config, environment, pools, out)
    sizes: dict[str, int] = {}
    keys = []
    for name, tunnel in TUNNELS.items():
        key, size = _size(config, environment, agent, tunnel, out)
        if size is not None:
            sizes[name] = size
        if key is not None:
            keys.append(key)
    prefixes = (
        environment.get("FELIX_INTERFACEPREFIX") or reading.text(config, out, "spec", "interfacePrefix") or PREFIX
    )
    return Felix(
        on=on,
        sizes=sizes,
        pattern=_pattern(config, environment, out),
        pools=pools,
        prefixes=tuple(part for part in prefixes.split(",") if part),
        keys=tuple(keys),
        subnets=_subnets(snapshot),
        forced=frozenset(name for name, tunnel in TUNNELS.items() if environment.get(tunnel.variable)),
    )


def _subnets(snapshot: Snapshot) -> dict[str, str]:
    """Return the subnet that each node's own IPv4 address is in, as its annotation has it with the prefix length.

    Felix goes past the tunnel to a node whose address is in this one's (felix/calc/l3_route_resolver.go,
    nodeInOurSubnet).
    """
    found = {}
    for node in snapshot.each("Node"):
        network = networks.parsed(node.annotations.get(ADDRESSES[0], ""), 4)
        if network is not None and network.prefixlen < network.max_prefixlen:
            found[node.name] = str(network)
    return found


def sized(felix: Felix, mtu: int) -> Felix:
    """Return Felix as the operator makes it for an explicit MTU: one number for every tunnel that has none."""
    return msgspec.structs.replace(felix, sizes=dict.fromkeys(TUNNELS, mtu) | dict(felix.sizes))


def ours(snapshot: Snapshot, kind: str) -> tuple[Object, ...]:
    """Return the objects of a kind that are Calico's own: other projects have an IPPool too."""
    return tuple(
        each
        for each in snapshot.each(kind)
        if str(each.get("apiVersion")).partition("/")[0] in {group.partition("/")[0] for group in GROUPS}
    )


def pools(snapshot: Snapshot, out: list[Finding]) -> tuple[Pool, ...]:
    """Read all address pools; a mode that Calico does not know, and two modes at once, go to `out`."""
    found = []
    for each in ours(snapshot, "IPPool"):
        place = f"{each}"
        cidr = reading.text(each, out, "spec", "cidr") or ""
        modes = {field: _mode(each, field, out) for field in ("ipipMode", "vxlanMode")}
        if "Never" not in modes.values():
            out.append(
                codes.finding(
                    codes.MTU117,
                    place,
                    f"ipipMode is {modes['ipipMode']} and vxlanMode is {modes['vxlanMode']}; a pool can have only one,"
                    " and Calico refuses both. The MTU is computed for the larger cost.",
                    "Set one of the two to Never.",
                    "error",
                )
            )
        found.append(Pool(cidr=cidr, ipip=modes["ipipMode"], vxlan=modes["vxlanMode"]))
    return tuple(found)


def mode(text: str) -> str | None:
    """Return a pool's mode as Calico writes it; None for a word that is none. Absent and Off are Never."""
    known = {"": "Never", "off": "Never", "never": "Never", "always": "Always", "crosssubnet": "CrossSubnet"}
    return known.get(text.strip().lower().replace("-", ""))


def _on(
    config: Object | None, environment: Mapping[str, str], found: Iterable[Pool], out: list[Finding]
) -> dict[str, str]:
    on: dict[str, str] = {}
    for pool in found:
        if pool.ipip != "Never":
            on["ipip"] = _wider(on.get("ipip"), pool.ipip)
        if pool.vxlan != "Never":
            name = "vxlan over IPv6" if ":" in pool.cidr else "vxlan"
            on[name] = _wider(on.get(name), pool.vxlan)
    for name, (variable, field) in SWITCHES.items():
        said = environment.get(variable, "")
        switched = said.lower() in YES if said else _flag(config, field, out)
        if switched:
            on.setdefault(name, "Always")
        elif switched is False:
            on.pop(name, None)
    return {name: on[name] for name in TUNNELS if name in on}


def _wider(one: str | None, other: str) -> str:
    return "Always" if "Always" in (one, other) else other


def _size(
    config: Object | None, environment: Mapping[str, str], agent: Object | None, tunnel: Tunnel, out: list[Finding]
) -> tuple[cni_state.MtuKey | None, int | None]:
    said = environment.get(tunnel.variable, "")
    forced = reading.mtu(None if said.lower() == "none" else said, out, f"{agent}, variable {tunnel.variable}")
    held = config.get("spec", tunnel.field) if config is not None else None
    if config is None or held is None:
        return None, forced
    place = f"{config}, spec.{tunnel.field}"
    if not isinstance(held, int) or isinstance(held, bool):
        out.append(
            codes.finding(codes.MTU112, place, f"The MTU is {held!r:.40}; it must be an integer.", "Write the number.")
        )
        return None, forced
    size = reading.bounded(held, out, place)
    shadowed = bool(said)
    if shadowed and size is not None and size != forced:
        out.append(
            codes.finding(
                codes.MTU111,
                place,
                f"{tunnel.field} is {size} but has no effect: {agent} sets {tunnel.variable} to {said!r}"
                f"{' (automatic)' if forced is None else ''}, and the environment wins.",
                f"Change {tunnel.variable} (Calico's own manifest fills it from veth_mtu), or remove it there.",
            )
        )
    key = cni_state.MtuKey(
        ref=reading.ref(config, "felixconfigurations"),
        path=("spec", tunnel.field),
        means="tunnel",
        value=size,
        effective=not shadowed,
    )
    return key, forced if shadowed else size


def _pattern(config: Object | None, environment: Mapping[str, str], out: list[Finding]) -> str:
    pattern = (
        environment.get("FELIX_MTUIFACEPATTERN") or reading.text(config, out, "spec", "mtuIfacePattern") or PATTERN
    )
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as why:
        out.append(
            codes.finding(
                codes.MTU117,
                "FelixConfiguration default, spec.mtuIfacePattern",
                f"The pattern {pattern!r:.60} cannot be read ({why}); Felix falls back to its default.",
                "Correct the regular expression.",
            )
        )
        return PATTERN
    return pattern


def _mode(pool: Object, field: str, out: list[Finding]) -> str:
    place = f"{pool}, spec.{field}"
    said = reading.text(pool, out, "spec", field) or ""
    known = mode(said)
    if known is None:
        out.append(codes.finding(codes.MTU117, place, f"{said!r:.40} is no mode.", "Use Never, Always or CrossSubnet."))
    return known or "Never"


def _flag(config: Object | None, field: str, out: list[Finding]) -> bool | None:
    if config is None:
        return None
    return reading.attempt(lambda: config.flag("spec", field), None, out, f"{config}, spec.{field}")


def tunnel_key(policy: Felix) -> cni_state.MtuKey | None:
    """Return where the widest tunnel is given an MTU of its own; None where something gives it one already."""
    return _tunnel_key(policy, policy.widest) if policy.widest is not None else None


def _tunnel_key(policy: Felix, name: str) -> cni_state.MtuKey | None:
    if name in policy.sizes or name in policy.forced:
        return None
    config = Ref(api_version=GROUPS[1], kind="FelixConfiguration", plural="felixconfigurations", name="default")
    return cni_state.MtuKey(ref=config, path=("spec", TUNNELS[name].field), means="tunnel", value=None)


def other_tunnel(policy: Felix) -> cni_state.OtherTunnel | None:
    """Return the tunnel of the other family of addresses than the widest one's, the costliest where there are several.

    vxlan.calico and vxlan-v6.calico, wireguard.cali and wg-v6.cali, or tunl0 and vxlan-v6.calico (felix/dataplane/linux
    int_dataplane.go): each carries packets of its own family.
    """
    if policy.widest is None:
        return None
    others = [name for name in policy.on if TUNNELS[name].outer != TUNNELS[policy.widest].outer]
    name = max(others, key=cost, default=None)
    if name is None:
        return None
    return cni_state.OtherTunnel(
        device=TUNNELS[name].device,
        encapsulation=encap.parse(TUNNELS[name].encapsulation, outer=TUNNELS[name].outer),
        key=_tunnel_key(policy, name),
    )


def cost(name: str) -> int:
    """Return the bytes that one of TUNNELS puts around a packet."""
    return encap.parse(TUNNELS[name].encapsulation, outer=TUNNELS[name].outer).cost
