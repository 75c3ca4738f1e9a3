"""The objects of a canal and what its ConfigMap says: which era it is, what fills in the MTU, which keys it needs."""

from typing import Literal

import msgspec

from kubemtu.cni import conflist, daemonset, flanneld, netconf, reading, rke2
from kubemtu.core import codes
from kubemtu.core.errors import Malformed
from kubemtu.core.findings import Finding
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot

NAMESPACE = "kube-system"
CONFIG = "cni_network_config"
VETH = "veth_mtu"
NET_CONF = "net-conf.json"
KNOWN_KEYS = ("canal_iface", "masquerade", CONFIG, NET_CONF)  # what every era's DaemonSet needs
MAY_BE_EMPTY = frozenset({"canal_iface", "canal_iface_regex"})  # rendered as "" unless somebody chose a NIC
INSTALLER_DEFAULT = "1500"  # what install-cni takes for __CNI_MTU__ without CNI_MTU: cni-plugin/pkg/install/install.go

Era = Literal["A", "B", "B, none", "A or B", "C", "upstream"]
VARIANTS: dict[Era, str] = {
    "A": "era A (no MTU)",
    "B": "era B (inline integer)",
    "A or B": "era A or B (no MTU)",
    "B, none": "era B (no MTU)",
    "C": "era C (veth_mtu)",
    "upstream": "upstream (veth_mtu 0: automatic)",
}


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that make up one canal."""

    config: Object | None
    agent: Object | None
    chart: Object | None  # the HelmChartConfig
    is_rke2: bool

    @property
    def daemonset(self) -> Ref:
        """The address of the DaemonSet, also where it was not read."""
        if self.agent is not None:
            return reading.ref(self.agent, "daemonsets")
        name = rke2.AGENT if self.is_rke2 else "canal"
        return Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name=name, namespace=NAMESPACE)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the ConfigMap says about the pods' MTU.

    `mtu` in bytes, None for absent or automatic. `source` says what install-cni fills the placeholder from: the key
    veth_mtu, a variable that is something else, or nothing, and then it takes 1500.
    """

    template: conflist.Template | None
    veth: str | None
    mtu: int | None
    era: Era
    source: Literal["veth_mtu", "another variable", "nothing"] = "veth_mtu"


class Canal(msgspec.Struct, frozen=True, kw_only=True):
    """All that is read of one canal. `conf` is flannel's side, None where nothing of it could be read."""

    parts: Parts
    said: Said
    values: rke2.Values
    conf: netconf.NetConf | None
    agent: flanneld.Flanneld

    @property
    def tunnel_mtu(self) -> int | None:
        """The MTU in bytes that the configuration gives the tunnel device; None when the NIC decides."""
        return flanneld.tunnel_mtu(self.conf, self.agent) if self.conf is not None else None


def read(found: Parts, snapshot: Snapshot, out: list[Finding]) -> Canal:
    """Read all of one canal; what is broken goes to `out`."""
    values = rke2.read(found.chart, out)
    return Canal(
        parts=found,
        said=said(found, snapshot, out),
        values=values,
        conf=net_conf(found, values, out),
        agent=flanneld.read(found.agent, snapshot, out),
    )


def parts(snapshot: Snapshot) -> Parts | None:
    """Find canal by its ConfigMap or DaemonSet, or RKE2's HelmChartConfig; None when none of them is there."""
    for name, config_name, is_rke2 in (("canal", "canal-config", False), (rke2.AGENT, rke2.CONFIG_MAP, True)):
        config = snapshot.find("ConfigMap", config_name, NAMESPACE)
        agent = snapshot.find("DaemonSet", name, NAMESPACE)
        chart = rke2.chart(snapshot) if is_rke2 else None
        if config is not None or agent is not None or chart is not None:
            return Parts(config=config, agent=agent, chart=chart, is_rke2=is_rke2)
    return None


def said(found: Parts, snapshot: Snapshot, out: list[Finding]) -> Said:
    """Read the pods' MTU out of the ConfigMap; what is broken goes to `out`."""
    if found.config is None:
        missing = rke2.CONFIG_MAP if found.is_rke2 else "canal-config"
        if found.agent is not None:
            out.append(
                codes.finding(
                    codes.MTU117,
                    f"ConfigMap {NAMESPACE}/{missing}",
                    f"It was not read, so the MTU that {found.agent} is given is unknown.",
                    "Allow `get` on it, or add it to the files.",
                )
            )
        return Said(template=None, veth=None, mtu=None, era="C" if found.is_rke2 else "A or B")
    veth = reading.value(found.config, out, "data", VETH)
    text = reading.value(found.config, out, "data", CONFIG)
    if text is None:
        return Said(template=None, veth=veth, mtu=None, era="C" if veth is not None else "A or B")
    place = f"{found.config}, data.{CONFIG}"
    template = conflist.template(text, "calico", place, out)
    if not template.placeholder:
        return Said(template=template, veth=veth, mtu=template.mtu, era=_early(found, template, out))
    variable = reading.attempt(lambda: daemonset.variable(found.agent, "CNI_MTU"), None, out, str(found.agent))
    filled = reading.attempt(lambda: daemonset.resolve(found.agent, "CNI_MTU", snapshot), None, out, str(found.agent))
    source: Literal["veth_mtu", "another variable", "nothing"] = "veth_mtu"
    where = f"{found.config}, data.{VETH}"
    if found.agent is None or (variable is not None and variable.key == VETH):
        filled = veth
    elif variable is None:
        source, filled = "nothing", INSTALLER_DEFAULT
    else:
        source, where = "another variable", f"{found.agent}, variable CNI_MTU"
    mtu = reading.mtu(filled, out, where)
    if filled is not None and not filled.strip():
        out.append(
            codes.finding(
                codes.MTU122,
                where,
                'It is empty, so the CNI configuration becomes `"mtu": ,`, which is no JSON: install-cni aborts.',
                'Write the MTU as a quoted number, such as "1450".',
            )
        )
    era: Era = "upstream" if filled is not None and filled.strip() == "0" else "C"
    return Said(template=template, veth=veth, mtu=mtu, era=era, source=source)


def missing_keys(found: Parts, now: Said) -> dict[str, str]:
    """Return the keys that the DaemonSet needs and the ConfigMap lacks, each with the container that needs it."""
    if found.config is None:
        return {}
    try:
        needed = {each.key or "": each.container for each in daemonset.required(found.agent, found.config.name)}
    except Malformed:
        needed = {}
    if found.agent is None:
        needed = dict.fromkeys(KNOWN_KEYS, "")
    needed.setdefault(NET_CONF, "kube-flannel")  # it comes as a file of a volume, not as a variable
    if now.template is not None and now.template.placeholder and now.source == "veth_mtu":
        needed.setdefault(VETH, "install-cni")
    return {key: container for key, container in needed.items() if found.config.get("data", key) is None}


def missing(found: Parts, now: Said) -> tuple[Finding, ...]:
    """Return MTU108 for each key that is needed and not there."""
    out = []
    for key, container in missing_keys(found, now).items():
        who = f"container {container}" if container else "a container"
        effect = "flanneld exits without it" if key == NET_CONF else f"{who} does not start without it"
        restore = (
            ""
            if key not in MAY_BE_EMPTY
            else (
                f" Its usual value is the empty string: kubectl -n {NAMESPACE} patch configmap {found.config.name}"
                f' --type merge -p \'{{"data":{{"{key}":""}}}}\''
                if found.config is not None
                else ""
            )
        )
        out.append(
            codes.finding(
                codes.MTU108,
                f"{found.config}, key {key}",
                f"The key is missing, and {found.daemonset} needs it: {effect}, so each of its pods that restarts stays"
                " down. An empty value would do no harm; saving the ConfigMap in a user interface may have dropped it.",
                f"Put the key back before anything restarts.{restore}",
            )
        )
    return tuple(out)


def net_conf(found: Parts, values: rke2.Values, out: list[Finding]) -> netconf.NetConf | None:
    """Read flannel's side: net-conf.json, or what RKE2's chart will make of its values where only these are known."""
    if found.config is None:
        return values.net_conf() if found.chart is not None else None
    text = reading.value(found.config, out, "data", NET_CONF)
    return netconf.read(text, f'{found.config}, data["{NET_CONF}"]', out) if text is not None else None


def _early(found: Parts, template: conflist.Template, out: list[Finding]) -> Era:
    """Tell A from B: B renders an integer or an init container, A has install-cni as a third container."""
    if not template.absent:
        return "B"
    if found.agent is None:
        return "A or B"
    agent = found.agent
    nothing: tuple[Object, ...] = ()
    running = reading.attempt(lambda: tuple(daemonset.containers(agent, "running")), nothing, out, str(agent))
    return "A" if any(each.get("name") == "install-cni" for each in running) else "B, none"
