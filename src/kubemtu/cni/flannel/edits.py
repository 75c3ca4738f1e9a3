"""What is read of one flannel, and the edits that change its MTU: Backend.MTU, delegate.mtu, or both."""

import msgspec

from kubemtu.cni.objects import chart, daemonset, reading
from kubemtu.cni.programs import delegate, flanneld, installer, netconf
from kubemtu.core import encap
from kubemtu.core.change import plan
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Object, Ref
from kubemtu.core.text import json_edit

NAMESPACES = ("kube-flannel", "kube-system")
CONFIG_MAP = "kube-flannel-cfg"
NET_CONF = flanneld.NET_CONF
CNI_CONF = "cni-conf.json"
KNOWN_KEYS = (CNI_CONF, NET_CONF)
CONFLIST = "/etc/cni/net.d/10-flannel.conflist"
CHART = "rke2-flannel"
CHART_KEY = ("flannel", "mtu")  # rancher/rke2-charts: packages/rke2-flannel, as in flannel-io/flannel's own chart
K3S = (
    "k3s runs flannel inside itself and keeps no MTU in the API: give the servers and agents a file with Backend.MTU by"
    " --flannel-conf (in /etc/rancher/k3s/config.yaml: flannel-conf), or set the MTU of the NICs, then restart k3s."
)

FILES_ALONE = (
    "No object of flannel's was read, only files of its own, so there is nothing in the API to change: add its"
    " ConfigMap and DaemonSet to the files (`kubectl get configmaps,daemonsets -A -o yaml`). Where it has none (k3s,"
    " MicroK8s), write Backend.MTU into the net-conf.json that it starts with, and restart it."
)


class FlannelParts(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that make up one flannel; without any it is k3s, or only a node's files were read."""

    config: Object | None = None
    agents: tuple[Object, ...] = ()
    source: chart.Chart = chart.Chart(name=CHART)

    @property
    def is_rke2(self) -> bool:
        """True when RKE2's server deploys it."""
        return chart.releases(self.config, CHART)

    @property
    def agent(self) -> Object | None:
        """The DaemonSet, the first of several."""
        return self.agents[0] if self.agents else None

    @property
    def daemonset(self) -> Ref:
        """The address of the DaemonSet, also where it was not read."""
        namespace = self.config.namespace if self.config is not None else NAMESPACES[0]
        return daemonset.ref(self.agent, namespace, "kube-flannel-ds")


class FlannelParsed(msgspec.Struct, frozen=True, kw_only=True):
    """All that is read of one flannel: what its ConfigMap says, and what its nodes have."""

    parts: FlannelParts
    conf: netconf.NetConf | None = None
    given: delegate.Given | None = None
    agent: flanneld.Flanneld = flanneld.Flanneld()
    tunnels: frozenset[int | None] = frozenset()  # MTUs of the tunnel device, None for a node without it
    born: tuple[int, ...] = ()  # what each node's flanneld has written for new pods
    lacking: tuple[str, ...] = ()  # nodes without any of the NICs that flanneld is told to use
    embedded: bool = False  # nodes say that k3s runs it


def place(parts: FlannelParts, key: str) -> str:
    """Name a key of the ConfigMap."""
    return f'{parts.config}, data["{key}"]'


def of(parsed: FlannelParsed, state: CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """Return the edits that give new pods `target` bytes, and the restart; see `flannel.steps`."""
    encap.check(target)
    parts, conf, given = parsed.parts, parsed.conf, parsed.given
    if parts.config is None:
        if not parts.agents:
            raise UsageError(K3S if parsed.embedded else FILES_ALONE)
        raise UsageError(f"ConfigMap {CONFIG_MAP} was not read: allow `get` on it first.")
    lost = [key for key in KNOWN_KEYS if parts.config.get("data", key) is None]
    if lost:
        raise UsageError(
            f"{parts.config} lacks {', '.join(lost)}, and flannel would not come back from a restart: put the key back"
            " first, from flannel's own manifest."
        )
    honoured = conf is not None and flanneld.honours(conf, parsed.agent)
    ref, edits = reading.ref(parts.config, "configmaps"), []
    pinned = given is not None and not given.absent
    # Where the pods' own number is set, and the NICs give the tunnel the same without flannel's, let them.
    if conf is not None and honoured and not (pinned and conf.base is None and parsed.tunnels == {target}):
        text, base = parts.config.text("data", NET_CONF) or "", target + conf.subtracts
        after = json_edit.set_member(text, ("Backend", "MTU"), base, fold=True, source=place(parts, NET_CONF))
        why = f"flannel subtracts {conf.subtracts} and gives the tunnel and new pods {target}"
        edits += installer.edit(ref, ("data", NET_CONF), text, after, why)
    if pinned or not honoured:
        text = parts.config.text("data", CNI_CONF) or ""
        after = delegate.write(text, target, place(parts, CNI_CONF))
        edits += installer.edit(ref, ("data", CNI_CONF), text, after, f"new pods get {target}")
    if parts.is_rke2 and conf is not None and honoured:
        why = "RKE2 renders flannel's ConfigMap from these values at every upgrade of the chart"
        edits += chart.edits(parts.source, CHART_KEY, target + conf.subtracts, why, make=bool(edits))
    literal = pinned or not honoured
    if not edits and (literal or all(held == target for held in parsed.born)):
        return ()
    flanneld.startable(state.nic_names, state.nic_key, parsed.lacking)
    agents = [reading.ref(each, "daemonsets") for each in parts.agents] or [parts.daemonset]
    restarts = [
        plan.Rollout(
            ref=agent,
            why="flanneld reads its configuration only when it starts, and writes subnet.env then",
            conflist=CONFLIST if literal else None,
            mtu=target if literal else None,
        )
        for agent in agents
    ]
    return (*edits, *restarts)
