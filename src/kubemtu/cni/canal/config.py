"""The objects of a canal and what its ConfigMap says: which era it is, what fills in the MTU, which keys it needs."""

from typing import Literal

import msgspec

from kubemtu.cni.canal import rke2
from kubemtu.cni.objects import chart, daemonset, reading
from kubemtu.cni.programs import flanneld, installer, netconf
from kubemtu.cni.programs.installer import CONFIG, VETH
from kubemtu.core import codes
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot

NAMESPACE = "kube-system"
NET_CONF = flanneld.NET_CONF
KNOWN_KEYS = ("canal_iface", "masquerade", CONFIG, NET_CONF)  # what every era's DaemonSet needs
MAY_BE_EMPTY = frozenset({"canal_iface", "canal_iface_regex"})  # rendered as "" unless somebody chose a NIC

Era = Literal["A", "A, integer", "B", "B, none", "A or B", "C", "upstream"]
VARIANTS: dict[Era, str] = {
    "A": "era A (no MTU)",
    "A, integer": "era A (inline integer)",
    "B": "era B (inline integer)",
    "A or B": "era A or B (no MTU)",
    "B, none": "era B (no MTU)",
    "C": "era C (veth_mtu)",
    "upstream": "upstream (veth_mtu 0: automatic)",
}


class CanalParts(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that make up one canal."""

    config: Object | None
    agent: Object | None
    chart: Object | None  # the HelmChartConfig
    is_rke2: bool

    @property
    def daemonset(self) -> Ref:
        """The address of the DaemonSet, also where it was not read."""
        return daemonset.ref(self.agent, NAMESPACE, rke2.AGENT if self.is_rke2 else "canal")


class Canal(msgspec.Struct, frozen=True, kw_only=True):
    """All that is read of one canal. `conf` is flannel's side, None where nothing of it could be read."""

    parts: CanalParts
    settings: installer.InstallerSettings
    era: Era
    values: rke2.Values
    conf: netconf.NetConf | None
    agent: flanneld.Flanneld
    source: chart.Chart = chart.Chart(name=rke2.AGENT)
    rendered: tuple[int | None, ...] = ()  # what each node's CNI configuration holds
    lacking: tuple[str, ...] = ()  # nodes without any of the NICs that flanneld is told to use

    @property
    def tunnel_mtu(self) -> int | None:
        """The MTU in bytes that the configuration gives the tunnel device; None when the NIC decides."""
        return flanneld.tunnel_mtu(self.conf, self.agent) if self.conf is not None else None


def read(parts: CanalParts, snapshot: Snapshot, out: list[Finding]) -> Canal:
    """Read all of one canal; what is broken goes to `out`."""
    values = rke2.read(parts.chart, out)
    now = settings(parts, snapshot, out)
    return Canal(
        parts=parts,
        settings=now,
        era=era(parts, now, out),
        values=values,
        conf=net_conf(parts, values, out) or flanneld.by_annotation(snapshot),
        agent=flanneld.read(parts.agent, snapshot, out),
        source=chart.of(rke2.AGENT, snapshot),
    )


def parts(snapshot: Snapshot) -> CanalParts | None:
    """Find canal by its ConfigMap or DaemonSet, or RKE2's HelmChartConfig; None when none of them is there."""
    for name, config_name, is_rke2 in (("canal", "canal-config", False), (rke2.AGENT, rke2.CONFIG_MAP, True)):
        config = snapshot.find("ConfigMap", config_name, NAMESPACE)
        agent = snapshot.find("DaemonSet", name, NAMESPACE)
        values = rke2.chart(snapshot) if is_rke2 else None
        if config is not None or agent is not None or values is not None:
            return CanalParts(config=config, agent=agent, chart=values, is_rke2=is_rke2)
    return None


def settings(parts: CanalParts, snapshot: Snapshot, out: list[Finding]) -> installer.InstallerSettings:
    """Read the pods' MTU out of the ConfigMap; what is broken goes to `out`."""
    if parts.config is not None:
        return installer.read(parts.config, parts.agent, snapshot, out)
    if parts.agent is not None:
        name = rke2.CONFIG_MAP if parts.is_rke2 else "canal-config"
        effect = f"so the MTU that {parts.agent} is given is unknown"
        out.append(reading.unread(f"ConfigMap {NAMESPACE}/{name}", effect, snapshot))
    return installer.InstallerSettings()


def era(parts: CanalParts, now: installer.InstallerSettings, out: list[Finding]) -> Era:
    """Tell the era from the objects: A has install-cni as a third container, B an init container, C a placeholder."""
    if parts.is_rke2 or now.placeholder or now.template is None:
        return "upstream" if now.filled is not None and now.filled.strip() == "0" else "C"
    if parts.agent is None:
        return "A or B" if now.template.absent else "B"
    agent = parts.agent
    nothing: tuple[Object, ...] = ()
    running = reading.attempt(lambda: tuple(daemonset.containers(agent, "running")), nothing, out, str(agent))
    if any(each.get("name") == "install-cni" for each in running):
        return "A" if now.template.absent else "A, integer"  # RKE never wrote one then: somebody else has
    return "B, none" if now.template.absent else "B"


def missing_keys(parts: CanalParts, now: installer.InstallerSettings) -> dict[str, str]:
    """Return the keys that the DaemonSet needs and the ConfigMap lacks, each with the container that needs it."""
    if parts.config is None:
        return {}
    needed = dict.fromkeys(KNOWN_KEYS, "") if parts.agent is None else daemonset.needs(parts.agent, parts.config.name)
    needed.setdefault(NET_CONF, "kube-flannel")  # it comes as a file of a volume, not as a variable
    if now.by_veth:
        needed.setdefault(VETH, "install-cni")
    return {key: container for key, container in needed.items() if parts.config.get("data", key) is None}


def missing(parts: CanalParts, now: installer.InstallerSettings, snapshot: Snapshot) -> tuple[Finding, ...]:
    """Return MTU108 for each key that is needed and not there; of a patch, which leaves out what it keeps, MTU117."""
    if parts.config is not None and reading.is_patch(parts.config, KNOWN_KEYS, snapshot):
        return (reading.patch(parts.config),)
    out = []
    for key, container in missing_keys(parts, now).items():
        who = f"container {container}" if container else "a container"
        effect = "flanneld exits without it" if key == NET_CONF else f"{who} does not start without it"
        why, restore = "", ""
        if key in MAY_BE_EMPTY and parts.config is not None:
            why = " An empty value would do no harm; saving the ConfigMap in a user interface may have dropped it."
            restore = (
                f" Its usual value is the empty string: kubectl -n {NAMESPACE} patch configmap {parts.config.name}"
                f' --type merge -p \'{{"data":{{"{key}":""}}}}\''
            )
        out.append(
            codes.finding(
                codes.MTU108,
                f"{parts.config}, key {key}",
                f"The key is missing, and {parts.daemonset} needs it: {effect}, so each of its pods that restarts stays"
                f" down.{why}",
                f"Put the key back before anything restarts.{restore}",
            )
        )
    return tuple(out)


def net_conf(parts: CanalParts, values: rke2.Values, out: list[Finding]) -> netconf.NetConf | None:
    """Read flannel's side: net-conf.json, or what RKE2's chart will make of its values where only these are known."""
    if parts.config is None:
        return values.net_conf() if parts.chart is not None else None
    text = reading.value(parts.config, out, "data", NET_CONF)
    return netconf.read(text, f'{parts.config}, data["{NET_CONF}"]', out) if text is not None else None
