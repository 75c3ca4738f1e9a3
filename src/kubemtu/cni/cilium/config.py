"""The objects of a Cilium, and what they say: its mode, and its base MTU with whoever sets it.

An agent takes each option from its flags, else from its environment (CILIUM_ and the option's name), else from the
ConfigMap, which its config-dir holds (cilium/cilium: pkg/option/config.go); what stands above it on some nodes is in
`nodes`.
"""

import msgspec

from kubemtu.cni.cilium import mtu as cilium_mtu
from kubemtu.cni.cilium.mtu import Mode, Version
from kubemtu.cni.objects import chart as charts
from kubemtu.cni.objects import daemonset, reading, strays
from kubemtu.core import codes, net
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot

NAMESPACES = ("kube-system", "cilium")
CONFIG_MAP = "cilium-config"
AGENT = "cilium"
FORKS = ("anetd",)  # another agent built from Cilium, beside a ConfigMap of the same name
CONTAINER = "cilium-agent"
HOST = "cilium_host"  # has the base MTU in every version: bpf/init.sh, pkg/datapath/loader/netlink.go setupBaseDevice
WIREGUARD = "cilium_wg0"
KEY = "mtu"
CHART = "rke2-cilium"
CHART_KEY = ("MTU",)
CHART_PATH = charts.PATH
ROUTE_MTU = "enable-route-mtu-for-cni-chaining"
UNCHAINED = ("", "none", "portmap")  # with portmap it is Cilium's own plugin that makes the interface
KNOWN_KEYS = ("cluster-name", "enable-ipv4", "identity-allocation-mode", "tunnel", "routing-mode")
KNOWN_MTU_KEYS = frozenset({KEY, ROUTE_MTU, "packetization-layer-pmtud-mode", "enable-pmtu-discovery"})
LEGACY = (1, 13, 0)  # stands for a version that is not known, and has the keys of one before v1.15
CHART_WANT = charts.want(CHART)


class CiliumParts(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that make up one Cilium."""

    config: Object | None = None
    agent: Object | None = None
    source: charts.Chart = charts.Chart(name=CHART)

    @property
    def chart(self) -> Object | None:
        """RKE2's HelmChartConfig."""
        return self.source.held

    @property
    def daemonset(self) -> Ref:
        """The address of the DaemonSet, also where it was not read."""
        namespace = self.config.namespace if self.config is not None else NAMESPACES[0]
        return daemonset.ref(self.agent, namespace, AGENT)

    @property
    def is_rke2(self) -> bool:
        """True when RKE2 has installed it."""
        return self.chart is not None or charts.releases(self.config, CHART)


class CiliumBase(msgspec.Struct, frozen=True, kw_only=True):
    """The base MTU as it is configured, in bytes of the underlay's packet; None: absent, automatic or broken.

    `shadow` names what stands above the ConfigMap and sets it, `broken` is True when the agent cannot start with it.
    """

    mtu: int | None = None
    in_config: int | None = None
    in_chart: int | None = None
    shadow: str = ""
    broken: bool = False


def parts(snapshot: Snapshot) -> CiliumParts | None:
    """Find Cilium by its ConfigMap or DaemonSet, or RKE2's HelmChartConfig; None when none of them is there."""
    source = charts.of(CHART, snapshot)
    for namespace in NAMESPACES:
        config = snapshot.find("ConfigMap", CONFIG_MAP, namespace)
        agent = snapshot.find("DaemonSet", AGENT, namespace)
        fork = any(snapshot.find("DaemonSet", name, namespace) for name in FORKS)
        if agent is not None or (config is not None and not fork):
            return CiliumParts(config=config, agent=agent, source=source)
    return CiliumParts(source=source) if source.held is not None else None


def chained(parts: CiliumParts) -> bool:
    """Return whether another CNI makes the pods' interfaces, and Cilium does not limit their routes either."""
    mode = parts.config.get("data", "cni-chaining-mode") if parts.config is not None else None
    return isinstance(mode, str) and mode not in UNCHAINED and not on(parts.config, ROUTE_MTU)


def mode(parts: CiliumParts, snapshot: Snapshot, out: list[Finding]) -> Mode | None:
    """Read how packets go from node to node; None where it cannot be told, which is in `out` then."""
    config = parts.config
    version = reading.attempt(lambda: daemonset.version(parts.agent, CONTAINER), None, out, str(parts.agent))
    if config is None:
        place = f"ConfigMap {parts.daemonset.namespace}/{CONFIG_MAP}"
        out.append(reading.unread(place, "so what goes around a packet is unknown", snapshot))
        return None
    out += _of_another_version(config, version)
    protocol = _protocol(config, version)
    egress = any(on(config, key) for key in ("enable-ipv4-egress-gateway", "enable-egress-gateway"))
    if protocol not in {"", "vxlan", "geneve"}:
        out.append(
            codes.finding(
                codes.MTU117,
                f"{config}, data",
                f"The tunnel protocol {protocol!r:.40} is none that Cilium knows: its agent exits on it.",
                "Write vxlan or geneve.",
            )
        )
        return None
    by_gateway = not protocol and egress
    return Mode(
        version=version if version is not None or not _legacy(config) else LEGACY,
        tunnel=protocol or (text(config, "tunnel-protocol") or "vxlan" if by_gateway else ""),
        egress=by_gateway,
        over_ipv6=text(config, "underlay-protocol") == "ipv6",
        ipv6_nodes=text(config, "enable-ipv4") not in {"", *reading.TRUE},
        wireguard=on(config, "enable-wireguard"),
        encapsulate=on(config, "wireguard-encapsulate"),
        ipsec=on(config, "enable-ipsec"),
        padded=padded(snapshot),
    )


def base(parts: CiliumParts, snapshot: Snapshot, out: list[Finding]) -> CiliumBase:
    """Read the base MTU; what is broken, and what another place overrides, goes to `out`."""
    in_chart = _chart(parts.chart, out)
    if parts.config is None:
        return CiliumBase(mtu=in_chart, in_chart=in_chart)
    broken: list[Finding] = []
    place = f"{parts.config}, data.{KEY}"
    in_config = reading.mtu(reading.value(parts.config, broken, "data", KEY), broken, place)
    out += broken
    said = CiliumBase(mtu=in_config, in_config=in_config, in_chart=in_chart, broken=bool(broken))
    above = _above(parts, out)
    if above is None:
        return said
    mtu, shadow = above
    if parts.config.get("data", KEY) is not None and mtu != in_config:
        out.append(
            codes.finding(
                codes.MTU111,
                place,
                f"{KEY} has no effect: {shadow} sets it to {mtu or 'automatic'}, which comes first.",
                f"Remove {shadow}, or set the MTU there.",
            )
        )
    return msgspec.structs.replace(said, mtu=mtu, shadow=shadow, broken=False)


def bases(snapshot: Snapshot) -> dict[str, int]:
    """Return the base MTU that each node's agent works with, as its device shows it."""
    links = {node.node: node.link(HOST) for node in snapshot.nodes}
    return {name: link.mtu for name, link in links.items() if link is not None}


def pod_networks(config: Object | None) -> tuple[str, ...]:
    """Return the networks that Cilium itself gives addresses of; empty where the nodes' podCIDRs say it."""
    if config is None or not text(config, "ipam").startswith("cluster-pool"):
        return ()
    keys = ("cluster-pool-ipv4-cidr", "cluster-pool-ipv6-cidr")
    return tuple(cidr for key in keys for cidr in text(config, key).replace(",", " ").split() if "/" in cidr)


def has_ipv6(config: Object | None) -> bool:
    """Return whether pods have IPv6."""
    return on(config, "enable-ipv6")


def padded(snapshot: Snapshot) -> bool | None:
    """Tell by the devices of a node how many bytes its agent takes off for WireGuard; None: no node shows it."""
    for node in snapshot.nodes:
        host, tunnel = node.link(HOST), node.link(WIREGUARD)
        less = _less(host, tunnel)
        if less in {cilium_mtu.WIREGUARD, cilium_mtu.PADDED}:
            return less == cilium_mtu.PADDED
    return None


def encrypts(config: Object) -> bool:
    """Return whether WireGuard is on."""
    return on(config, "enable-wireguard")


def _protocol(config: Object, version: Version | None) -> str:
    """Return the tunnel of the pods' packets by name, empty for native routing."""
    old, new = text(config, "tunnel"), text(config, "routing-mode")
    by_old = version < cilium_mtu.TUNNEL_KEY_UNTIL if version is not None else _legacy(config)
    if by_old and old:
        return "" if old == "disabled" else old
    if version is not None and version < cilium_mtu.MODES_SINCE:
        return "vxlan"
    return "" if new == "native" else text(config, "tunnel-protocol") or "vxlan"


def _legacy(config: Object) -> bool:
    """Return whether the keys of the tunnel are those of a version before v1.15."""
    return bool(text(config, "tunnel")) and not text(config, "routing-mode")


def _of_another_version(config: Object, version: Version | None) -> list[Finding]:
    """Return MTU111 for the keys of the tunnel that this version reads no longer, or not yet."""
    if version is None:
        return []
    number = ".".join(map(str, version))
    if version >= cilium_mtu.TUNNEL_KEY_UNTIL and text(config, "tunnel"):
        return [
            codes.finding(
                codes.MTU111,
                f"{config}, data.tunnel",
                f"Cilium {number} does not read tunnel any more; without routing-mode it uses vxlan.",
                "Write routing-mode (tunnel or native) and tunnel-protocol instead.",
            )
        ]
    if version >= cilium_mtu.MODES_SINCE:
        return []
    return [
        codes.finding(
            codes.MTU111,
            f"{config}, data.{key}",
            f"Cilium {number} does not read {key} yet; without tunnel it uses vxlan.",
            "Write tunnel (vxlan, geneve or disabled) instead.",
        )
        for key in ("routing-mode", "tunnel-protocol")
        if text(config, key)
    ]


def _above(parts: CiliumParts, out: list[Finding]) -> tuple[int | None, str] | None:
    """Return what a flag or a variable of the agent sets, and its place; None where neither does."""
    container = reading.attempt(lambda: daemonset.container(parts.agent, CONTAINER), None, [], str(parts.agent))
    flags = daemonset.flag_values(container, KEY)
    if flags:
        return reading.mtu(flags[-1], out, f"{parts.agent}, --{KEY}"), f"--{KEY} of {parts.daemonset}"
    variable = reading.attempt(lambda: daemonset.variable(parts.agent, "CILIUM_MTU"), None, [], str(parts.agent))
    if variable is not None and variable.value and variable.container == CONTAINER:
        place = f"{parts.agent}, variable CILIUM_MTU"
        return reading.mtu(variable.value, out, place), f"the variable CILIUM_MTU of {parts.daemonset}"
    return None


def _chart(chart: Object | None, out: list[Finding]) -> int | None:
    """Read the chart's value MTU; what is broken, or stands where nothing reads it, goes to `out`."""
    if chart is None:
        return None
    values = charts.values(chart, out)
    place = charts.place(chart)
    out += [
        reading.stray(f"{place}, {path}", path, "MTU, at the top")
        for path in strays.in_tree(values, {"MTU"}, ("mtu",))
        if path.lower().rpartition(".")[2] == "mtu"
    ]
    return charts.mtu(values, CHART_KEY, chart, out)


def _less(host: net.Link | None, tunnel: net.Link | None) -> int:
    return host.mtu - tunnel.mtu if host is not None and tunnel is not None else 0


def on(config: Object | None, key: str) -> bool:
    """Return whether a key of the ConfigMap is true."""
    return config is not None and text(config, key) in reading.TRUE


def text(config: Object, key: str) -> str:
    """Return a value of the ConfigMap as text; one that YAML made true or false is what was meant."""
    held = config.get("data", key)
    if isinstance(held, bool):
        return "true" if held else "false"
    return held.strip() if isinstance(held, str) else ""
