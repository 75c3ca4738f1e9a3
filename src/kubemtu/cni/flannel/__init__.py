"""Flannel alone: by its manifest or chart, in RKE, or embedded in k3s, where the API holds no configuration at all.

flanneld writes /run/flannel/subnet.env when it starts, and the CNI plugin gives its FLANNEL_MTU to the bridge plugin as
the pods' MTU, unless `delegate.mtu` of the CNI configuration says otherwise (flannel-io/cni-plugin: flannel_linux.go).
So two numbers can be set: Backend.MTU, which is the underlay's and from which flannel subtracts, and delegate.mtu,
which is the pods' own.
"""

import re
from collections.abc import Callable

from kubemtu.cni.flannel import edits
from kubemtu.cni.flannel.edits import (
    CNI_CONF,
    CONFIG_MAP,
    CONFLIST,
    KNOWN_KEYS,
    NAMESPACES,
    NET_CONF,
    FlannelParsed,
    FlannelParts,
)
from kubemtu.cni.knowledge import CalcKey, Counts, Knowledge
from kubemtu.cni.objects import chart, owners, reading, strays
from kubemtu.cni.programs import delegate, flanneld, kubelet, netconf
from kubemtu.core import codes, encap, net, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.objects import NODES, Ref, config_map, daemonsets
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot

NAME = "flannel"
AGENTS = re.compile(r"kube-flannel(?:-ds(?:-.+)?)?")  # one for each architecture before v0.15; "kube-flannel" is RKE's
_BY_ARCHITECTURE = tuple(f"kube-flannel-ds-{each}" for each in ("amd64", "arm", "arm64", "ppc64le", "s390x"))
K3S_CONFLIST = "/var/lib/rancher/k3s/agent/etc/cni/net.d/10-flannel.conflist"
K3S_NET_CONF = "/var/lib/rancher/k3s/agent/etc/flannel/net-conf.json"
BRIDGE = "cni0"
WANTS = (
    *(config_map(namespace, CONFIG_MAP) for namespace in NAMESPACES),
    *(daemonsets(namespace) for namespace in NAMESPACES),
    NODES,
    kubelet.WANT,
    chart.want(edits.CHART),
)


_CHART = "HelmChartConfig kube-system/rke2-flannel"
_BASE: tuple[Counts, tuple[tuple[str, ...], ...], Callable[[encap.Stack], int], str] = (
    "base",
    flanneld.STACKS,
    flanneld.subtracts,
    "flannel",
)
KNOWLEDGE = Knowledge(
    recognised_by="Flannel (ConfigMap kube-flannel-cfg, or k3s's node annotations)",
    ports=(net.PortRule(bridge=BRIDGE),),
    node_paths=(flanneld.SUBNET_ENV,),
    plugin_mtus=(flanneld.PLUGIN_MTU,),
    address_annotations=flanneld.PUBLIC_ADDRESSES,
    calc_keys=(
        CalcKey("Flannel", "ConfigMap kube-flannel/kube-flannel-cfg", "Backend.MTU", *_BASE),
        CalcKey("Flannel, k3s", "the file of --flannel-conf", "Backend.MTU", *_BASE),
        CalcKey("Flannel, RKE2", _CHART, "flannel.mtu", *_BASE),
    ),
    saved_files=(
        ("subnet.env", flanneld.SUBNET_ENV),
        (NET_CONF, K3S_NET_CONF),
        ("flannel-conf.json", K3S_NET_CONF),
    ),
    values_keys=(
        ValuesKey(  # flannel-io/flannel: chart/kube-flannel/values.yaml, templates/config.yaml
            form="helm-values",
            path=("flannel", "mtu"),
            counts="base",
            file="values of the chart flannel",
            owner="Helm",
            signs=("flannel", "podCidr", "podCidrv6"),
        ),
        owners.by_chart(edits.CHART, edits.CHART_KEY, "base"),
    ),
    words=("flannel",),
    edited=(
        rights.patch("configmaps", CONFIG_MAP),
        rights.patch("daemonsets", "kube-flannel", "kube-flannel-ds", *_BY_ARCHITECTURE, group="apps"),
        chart.right(edits.CHART),
    ),
)


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe flannel, or return None when nothing of it is there."""
    parts = _parts(snapshot)
    if parts.config is None and not parts.agents:
        return _embedded(snapshot)
    out: list[Finding] = list(kubelet.findings(snapshot))
    agent = flanneld.read(parts.agent, snapshot, out)
    written, given = _conf(parts, out), _given(parts, out)
    conf = written if written is not None else flanneld.by_annotation(snapshot)
    tunnel_mtu = flanneld.tunnel_mtu(conf, agent) if conf is not None else None
    pod_mtu = given.mtu if given is not None and given.mtu is not None else tunnel_mtu
    out += _missing(parts, snapshot)
    out += _contradictions(parts, conf, given, tunnel_mtu)
    out += strays.in_config_map(parts.config, parts.agent, (), "Backend.MTU of net-conf.json")
    out += strays.in_environment(parts.agent, "Backend.MTU of net-conf.json")
    out += strays.misplaced(parts.config, "data")
    if conf is not None and parts.config is not None:
        found = flanneld.without_effect(conf, agent, f'{parts.config}, data["{NET_CONF}"]')
        out += [found] if found is not None else []
    old = flanneld.behind(conf, parts.daemonset, snapshot, out)
    return _state(
        conf,
        *old,
        variant="manifest",
        pod_mtu=pod_mtu,
        tunnel_mtu=tunnel_mtu,
        subtracts=conf.subtracts if pod_mtu is None and conf is not None and (given is None or given.usable) else None,
        conflist_mtu=given.mtu if given is not None else None,
        mtu_keys=_keys(parts, conf, given, agent),
        tunnel_key=flanneld.tunnel_key(parts.config, conf, agent),
        daemonset=parts.daemonset,
        conflist=CONFLIST,
        conflist_template=given.text if given is not None else None,
        nic_names=agent.nic_names,
        nic_key=f"{parts.agent}, --iface" if agent.nic_names else "",
        owner=_owner(parts, snapshot, out),
        findings=[*out, *_of_chart(parts, conf)],
        parsed=FlannelParsed(
            parts=parts,
            conf=written,
            given=given,
            agent=agent,
            tunnels=_tunnels(snapshot, written),
            born=tuple(filter(None, map(flanneld.PLUGIN_MTU.written, snapshot.nodes))),
            lacking=flanneld.lacking(agent.nic_names, snapshot),
        ),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edits that give new pods `target` bytes, and the restart of flannel.

    Backend.MTU gets `target` plus what flannel subtracts, and delegate.mtu, where there is one, `target` itself. A
    backend or a version that does not read Backend.MTU leaves only delegate.mtu. Raises UsageError for k3s, where there
    is neither, and where a node lacks the NIC that flanneld is told to use; Malformed when the text to edit is broken.
    """
    found = state.parsed
    assert isinstance(found, FlannelParsed)
    return edits.of(found, state, target)


def _embedded(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the flannel inside k3s by what nodes say of themselves, or by the files of one, saved in a folder."""
    conf = flanneld.by_annotation(snapshot)
    files = [file for node in snapshot.nodes for file in node.files]
    written = {mtu for file in files if (mtu := _subnet(file)) is not None}
    saved = next((file for file in files if _is_net_conf(file)), None)
    if conf is None and not (snapshot.offline and (written or saved is not None)):
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    is_k3s = any("+k3s" in str(node.get("status", "nodeInfo", "kubeletVersion")) for node in snapshot.each("Node"))
    by_nodes_alone = snapshot.offline and not (is_k3s or written or saved is not None)
    if by_nodes_alone:  # as in a dump of some namespaces: that it is in no file does not say that it is nowhere
        effect = "so whether it gives the backend an MTU of its own is unknown"
        out.append(reading.unread(f"ConfigMap {CONFIG_MAP}", effect, snapshot))
    if saved is not None:
        conf = netconf.read(saved.text, f"file {saved.path}", out) or conf
    elif conf is None:
        out.append(
            codes.finding(
                codes.MTU117,
                "net-conf.json",
                "Only subnet.env was read: it says what flannel gives to pods, not what it puts around their packets.",
                "Add flannel's net-conf.json, or the Node objects, to the files.",
            )
        )
    tunnel_mtu = flanneld.tunnel_mtu(conf, flanneld.Flanneld()) if conf is not None else None
    agreed = written.pop() if conf is None and len(written) == 1 else None
    return _state(
        conf,
        variant="k3s embedded" if is_k3s else "by its nodes alone" if by_nodes_alone else "without objects in the API",
        pod_mtu=tunnel_mtu or agreed,
        tunnel_mtu=tunnel_mtu,
        subtracts=conf.subtracts if conf is not None and tunnel_mtu is None else None,
        source="Backend.MTU in the file that k3s gets by --flannel-conf" if is_k3s else "Backend.MTU in net-conf.json",
        conflist=K3S_CONFLIST,
        owner=f"k3s ({K3S_NET_CONF} is written at every start)" if is_k3s else "",
        findings=out,
        parsed=FlannelParsed(parts=FlannelParts(), embedded=is_k3s),
    )


def _state(
    conf: netconf.NetConf | None,
    *old: netconf.NetConf,
    variant: str,
    pod_mtu: int | None,
    tunnel_mtu: int | None,
    conflist: str,
    owner: str,
    findings: list[Finding],
    subtracts: int | None = None,
    source: str = "",
    conflist_mtu: int | None = None,
    mtu_keys: tuple[cni_state.MtuKey, ...] = (),
    tunnel_key: cni_state.MtuKey | None = None,
    daemonset: Ref | None = None,
    conflist_template: str | None = None,
    nic_names: tuple[str, ...] = (),
    nic_key: str = "",
    parsed: FlannelParsed | None = None,
) -> cni_state.CniState:
    """Join what is flannel's wherever it runs: the bridge, the tunnel, the encapsulation; `old` still runs as well."""
    flannels = (*((conf,) if conf is not None else ()), *old)
    names = dict.fromkeys(each.name for each in flannels if each.name != "none")
    return cni_state.CniState(
        name=NAME,
        variant=variant,
        encapsulation=tuple(dict.fromkeys(one for each in flannels for one in each.encapsulations)),
        encapsulation_known=conf is not None and conf.known,
        encapsulation_name=(", ".join(names) or "none") if conf is not None else "unknown",
        pod_mtu=pod_mtu,
        subtracts=subtracts,
        source=source,
        conflist_mtu=conflist_mtu,
        mtu_keys=mtu_keys,
        daemonset=daemonset,
        conflist=conflist,
        conflist_template=conflist_template,
        ports=net.PortRule(bridge=BRIDGE),
        bridge=BRIDGE,
        tunnel=next((each.device for each in flannels if each.device is not None), None),
        other_tunnel=flanneld.other_tunnel(conf, tunnel_key),
        tunnel_mtu=tunnel_mtu,
        passed_by=frozenset(name for each in flannels if each.direct for name in (each.device, each.device6) if name),
        tunnel_key=tunnel_key,
        tunnel_stays=flanneld.STAYS,
        pod_networks=conf.networks if conf is not None else (),
        nic_names=nic_names,
        nic_key=nic_key,
        nic_reader="flanneld",
        owner=owner,
        ipv6=conf is not None and conf.ipv6,
        findings=tuple(dict.fromkeys(findings)),
        parsed=parsed or FlannelParsed(parts=FlannelParts()),
    )


def _parts(snapshot: Snapshot) -> FlannelParts:
    for namespace in NAMESPACES:
        config = snapshot.find("ConfigMap", CONFIG_MAP, namespace)
        agents = tuple(
            found
            for found in snapshot.each("DaemonSet", namespace)
            if isinstance(name := found.get("metadata", "name"), str) and AGENTS.fullmatch(name)
        )
        if config is not None or agents:
            return FlannelParts(config=config, agents=agents, source=chart.of(edits.CHART, snapshot))
    return FlannelParts()


def _conf(parts: FlannelParts, out: list[Finding]) -> netconf.NetConf | None:
    if parts.config is None:
        return None
    text = reading.value(parts.config, out, "data", NET_CONF)
    return netconf.read(text, edits.place(parts, NET_CONF), out) if text is not None else None


def _given(parts: FlannelParts, out: list[Finding]) -> delegate.Given | None:
    if parts.config is None:
        return None
    text = reading.value(parts.config, out, "data", CNI_CONF)
    return delegate.read(text, edits.place(parts, CNI_CONF), out) if text is not None else None


def _missing(parts: FlannelParts, snapshot: Snapshot) -> list[Finding]:
    if parts.config is None:
        effect = f"so the backend and the MTU that {parts.agent} is given are unknown"
        return [reading.unread(f"ConfigMap {CONFIG_MAP}", effect, snapshot)]
    if reading.is_patch(parts.config, KNOWN_KEYS, snapshot):
        return [reading.patch(parts.config)]
    return [
        codes.finding(
            codes.MTU108,
            f"{parts.config}, key {key}",
            "The key is missing, and flannel exits without it: each of its pods that restarts stays down.",
            "Put the key back before anything restarts; take its value from flannel's own manifest.",
        )
        for key in KNOWN_KEYS
        if parts.config.get("data", key) is None
    ]


def _contradictions(
    parts: FlannelParts, conf: netconf.NetConf | None, given: delegate.Given | None, tunnel_mtu: int | None
) -> list[Finding]:
    if given is None or given.mtu is None or tunnel_mtu is None or conf is None or given.mtu <= tunnel_mtu:
        return []
    return [
        codes.finding(
            codes.MTU119,
            f"{edits.place(parts, CNI_CONF)}, {given.inside}",
            f"New pods get {given.mtu}, but Backend.MTU {conf.base} makes the tunnel {tunnel_mtu} ({conf.base} −"
            f" {conf.subtracts}): packets of {tunnel_mtu + 1}-{given.mtu} bytes do not fit.",
            "Remove delegate.mtu, so that flannel gives pods what the tunnel has.",
        )
    ]


def _keys(
    parts: FlannelParts, conf: netconf.NetConf | None, given: delegate.Given | None, agent: flanneld.Flanneld
) -> tuple[cni_state.MtuKey, ...]:
    if parts.config is None:
        return ()
    ref, out = reading.ref(parts.config, "configmaps"), []
    honoured = conf is not None and flanneld.honours(conf, agent)
    if given is not None and (not given.absent or not honoured):
        out.append(
            cni_state.MtuKey(
                ref=ref,
                path=("data", CNI_CONF),
                inside=given.inside,
                means="pod",
                value=given.mtu,
                effective=given.usable,
            )
        )
    if conf is not None and (honoured or conf.base is not None):
        out.append(flanneld.base_key(parts.config, conf, agent))
    return tuple(out)


def _owner(parts: FlannelParts, snapshot: Snapshot, out: list[Finding]) -> str:
    by_rke, _ = owners.rke_rendered(snapshot, "ConfigMap", CONFIG_MAP, out)
    # RKE refuses network.mtu for flannel (cluster/validation.go), so there is no source to change instead.
    if by_rke:
        return "RKE (which has no MTU setting for flannel)"
    by_values = parts.is_rke2 and parts.source.held is not None
    return owners.of(parts.source.held if by_values else parts.config or parts.agent, out)


def _of_chart(parts: FlannelParts, conf: netconf.NetConf | None) -> list[Finding]:
    """Return what differs between RKE2's values and the ConfigMap that its chart has rendered from them."""
    if not parts.is_rke2 or conf is None:
        return []
    place = f"{edits.place(parts, NET_CONF)}, Backend.MTU"
    found = chart.drift(parts.source, edits.CHART_KEY, place, conf.base)
    return [found] if found is not None else []


def _tunnels(snapshot: Snapshot, conf: netconf.NetConf | None) -> frozenset[int | None]:
    """Return the MTUs that the tunnel device has on the nodes, None for one without it."""
    device = conf.device if conf is not None else None
    links = [node.link(device) if device is not None else None for node in snapshot.nodes]
    return frozenset(link.mtu if link is not None else None for link in links)


def _subnet(file: net.NodeFile) -> int | None:
    return flanneld.PLUGIN_MTU.read(file.text) if file.path.endswith("subnet.env") else None


def _is_net_conf(file: net.NodeFile) -> bool:
    return file.path.endswith((NET_CONF, "flannel-conf.json"))
