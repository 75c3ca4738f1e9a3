"""Canal: Calico's policy and veths over flannel's tunnel, as Rancher's RKE and RKE2 and upstream's canal.yaml make it.

Who decides what: the CNI plugin of Calico sets the MTU of the pods, from `veth_mtu` or from an integer in the CNI
configuration; flannel sets the MTU of the tunnel, from the NIC or from Backend.MTU. Nothing compares the two.

    era A, B  rancher/kontainer-driver-metadata V112 ... V117   an integer in cni_network_config, or none at all
    era C     V115Privileged ... V3_28_1                        veth_mtu, put in by install-cni for __CNI_MTU__
    upstream  projectcalico/calico manifests/canal.yaml         as era C, with "0": Felix decides, blind to flannel
    RKE2      rancher/rke2-charts packages/rke2-canal           as era C, written by Helm from a HelmChartConfig
"""

import msgspec

from kubemtu.cni.canal import config, rke2
from kubemtu.cni.canal import edits as canal_edits
from kubemtu.cni.canal.config import NET_CONF, Canal
from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import chart, owners, reading, strays
from kubemtu.cni.programs import detection, felix, flanneld, installer, kubelet
from kubemtu.cni.programs.installer import CONFIG, VETH
from kubemtu.core import codes, encap, net, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, config_map, daemonsets
from kubemtu.core.snapshot import Snapshot

NAME = "canal"
NAMESPACE = config.NAMESPACE
_CHART = "HelmChartConfig kube-system/rke2-canal"
_CONFIG_MAP = "ConfigMap kube-system/canal-config"
_STACKS: tuple[tuple[str, ...], ...] = (("vxlan",), ())
KNOWLEDGE = Knowledge(
    recognised_by="canal (ConfigMap kube-system/canal-config or rke2-canal-config)",
    ports=(net.PortRule(prefixes=(felix.PREFIX,)),),
    node_paths=(felix.MTU_FILE,),
    plugin_mtus=(felix.PLUGIN_MTU,),
    address_annotations=(*flanneld.PUBLIC_ADDRESSES, *felix.ADDRESSES),
    calc_keys=(
        CalcKey("Canal, RKE1", "cluster.yml (Rancher: the Cluster)", "network.mtu", "pod", _STACKS),
        CalcKey("Canal without veth_mtu", _CONFIG_MAP, 'cni_network_config "mtu"', "pod", _STACKS),
        CalcKey("Canal with veth_mtu", _CONFIG_MAP, "veth_mtu", "pod", _STACKS),
        CalcKey("Canal, RKE2", _CHART, "calico.vethuMTU", "pod", flanneld.STACKS, flanneld.subtracts, "flannel"),
        CalcKey("Canal, RKE2", _CHART, "flannel.mtu", "base", flanneld.STACKS, flanneld.subtracts, "flannel"),
        CalcKey("Canal, RKE2", _CHART, "calico.vethuMTU", "pod", ((),)),
    ),
    values_keys=(
        owners.RKE_VALUES,
        owners.by_chart(rke2.AGENT, rke2.POD, "pod", variant="RKE2"),
    ),
    words=("canal", "calico", "flannel"),
    edited=(
        rights.patch("configmaps", "canal-config", rke2.CONFIG_MAP),
        rights.patch("daemonsets", "canal", rke2.AGENT, group="apps"),
        chart.right(rke2.AGENT),
    ),
)
WANTS = (
    config_map(NAMESPACE, "canal-config"),
    config_map(NAMESPACE, rke2.CONFIG_MAP),
    config_map(NAMESPACE, owners.RKE_STORE),
    kubelet.WANT,
    daemonsets(NAMESPACE),
    NODES,
    rke2.WANT,
    *felix.WANTS,
)


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe canal, or return None when there is neither a ConfigMap nor a DaemonSet nor a HelmChartConfig of it."""
    parts = config.parts(snapshot)
    if parts is None:
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    whole = config.read(parts, snapshot, out)
    settings, conf = whole.settings, whole.conf
    policy = felix.read(snapshot, parts.agent, felix.pools(snapshot, out), out)
    mtu = _pod_mtu(whole, policy, snapshot, out)
    out += config.missing(parts, settings, snapshot)
    out += strays.in_config_map(parts.config, parts.agent, (VETH,), f"{VETH} (net-conf.json has the tunnel's)")
    out += strays.in_environment(parts.agent, f"{VETH} of the ConfigMap")
    out += strays.misplaced(parts.config, "data")
    out += _without_effect(whole)
    out += _contradictions(whole, mtu, snapshot)
    old = flanneld.behind(conf, parts.daemonset, snapshot, out)
    flannels = (*((conf,) if conf is not None else ()), *old)
    names = [each.name for each in flannels] if conf is not None else ["unknown"]
    names = [name for name in (*names, policy.name) if name != "none"]
    owner, owned = _owner(whole, snapshot, out)
    conflist = installer.path(
        parts.agent,
        "10-calico.conflist" if whole.era in {"A", "A, integer"} else "10-canal.conflist",
        snapshot,
        out,
    )
    nic_names = whole.agent.nic_names or _named_nics(whole)
    return cni_state.CniState(
        name=NAME,
        variant=f"RKE2, {config.VARIANTS[whole.era]}" if parts.is_rke2 else config.VARIANTS[whole.era],
        encapsulation=tuple(
            dict.fromkeys((*(one for each in flannels for one in each.encapsulations), *policy.encapsulations))
        ),
        encapsulation_known=conf is not None and conf.known,
        encapsulation_name=", ".join(dict.fromkeys(names)) or "none",
        pod_mtu=mtu,
        # Felix does not see flannel's tunnel (int_dataplane.go:1731-1871), so it takes nothing off for it.
        subtracts=detection.subtracts(policy, parts.agent) if settings.automatic and mtu is None else None,
        conflist_mtu=settings.mtu,
        mtu_keys=_keys(whole),
        daemonset=parts.daemonset,
        conflist=conflist,
        conflist_template=settings.template.text if settings.template is not None else None,
        ports=net.PortRule(prefixes=policy.prefixes),
        tunnel=next((each.device for each in flannels if each.device is not None), None),
        other_tunnel=flanneld.other_tunnel(conf, _tunnel_key(whole)),
        tunnel_mtu=whole.tunnel_mtu,
        passed_by=frozenset(name for each in flannels if each.direct for name in (each.device, each.device6) if name),
        tunnel_key=_tunnel_key(whole),
        tunnel_stays=flanneld.STAYS,
        pod_networks=conf.networks if conf is not None else (),
        nic_names=nic_names,
        nic_key=f"{parts.config}, key canal_iface" if parts.config is not None else "",
        nic_reader="flanneld",
        owner=owner,
        ipv6=conf is not None and conf.ipv6,
        findings=tuple(dict.fromkeys((*out, *owned))),
        parsed=msgspec.structs.replace(
            whole, rendered=installer.rendered(snapshot, conflist), lacking=flanneld.lacking(nic_names, snapshot)
        ),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edits that give new pods `target` bytes, and the restart of canal.

    A lost canal_iface is restored first. With RKE2, the ConfigMap is edited as well as the HelmChartConfig, and before
    it: Helm would write the same, but some time after the restart. Raises UsageError when something else fills in the
    MTU, a key is missing whose value nobody can know, or a node lacks the NIC that flanneld is told to use, and
    Malformed when the text to edit is broken.
    """
    encap.check(target)
    whole = state.parsed
    assert isinstance(whole, Canal)
    parts, settings = whole.parts, whole.settings
    if parts.config is None and parts.chart is None:
        raise UsageError(f"The ConfigMap of {parts.daemonset} was not read, so nothing can be changed: allow it first.")
    edits = canal_edits.restored(parts, settings)
    if parts.config is not None:
        edits += installer.edits(parts.config, parts.daemonset, settings, target)
    edits += canal_edits.base_edits(whole, target)
    edits += canal_edits.chart_edits(whole, target, make=bool(edits))
    if not edits and all(held == target for held in whole.rendered):
        return ()
    flanneld.startable(state.nic_names, state.nic_key, whole.lacking)
    restart = plan.Rollout(
        ref=parts.daemonset,
        why="install-cni writes each node's CNI configuration when it starts; a changed ConfigMap restarts nothing",
        conflist=state.conflist,
        mtu=target,
    )
    return (*edits, restart)


def _pod_mtu(whole: Canal, policy: felix.Felix, snapshot: Snapshot, out: list[Finding]) -> int | None:
    """Return what a new pod gets: the configured number, or what Calico does without one."""
    parts, settings = whole.parts, whole.settings
    if settings.mtu is not None:
        return settings.mtu
    if settings.template is None:
        by_chart = whole.values.pod or rke2.POD_DEFAULT
        return by_chart if parts.config is None and parts.chart is not None else None
    if not settings.automatic:
        return None
    return detection.unconfigured(policy, parts.agent, snapshot, out)


def _without_effect(whole: Canal) -> list[Finding]:
    parts, settings, conf = whole.parts, whole.settings, whole.conf
    if parts.config is None:
        return []
    out = installer.without_effect(parts.config, parts.agent, settings)
    if conf is not None:
        found = flanneld.without_effect(conf, whole.agent, f'{parts.config}, data["{NET_CONF}"]')
        out += [found] if found is not None else []
    return out


def _contradictions(whole: Canal, mtu: int | None, snapshot: Snapshot) -> list[Finding]:
    """Return MTU119 where the configuration alone shows that pods and tunnel cannot fit, whatever the NICs are."""
    parts, settings, conf, tunnel_mtu = whole.parts, whole.settings, whole.conf, whole.tunnel_mtu
    out = []
    if mtu is not None and tunnel_mtu is not None and conf is not None and mtu > tunnel_mtu:
        by_chart = parts.chart is not None and whole.values.base is not None
        key = "flannel.mtu" if by_chart else "Backend.MTU"
        place = (
            f"{parts.chart}, spec.valuesContent, {key}" if by_chart else f'{parts.config}, data["{NET_CONF}"], {key}'
        )
        out.append(
            codes.finding(
                codes.MTU119,
                place,
                f"New pods get {mtu}, but {key} {conf.base} makes the tunnel {tunnel_mtu}"
                f" ({conf.base} − {conf.subtracts}); packets of {tunnel_mtu + 1}-{mtu} bytes do not fit.",
                f"Set {key} to {mtu + conf.subtracts} where the NICs carry it, or the pods' MTU to {tunnel_mtu}.",
            )
        )
    chosen = whole.values.pod is not None or settings.mtu is not None
    if parts.chart is not None and not chosen and conf is not None and conf.subtracts > rke2.SUITS:
        out.append(
            codes.finding(
                codes.MTU119,
                f"{parts.chart}, spec.valuesContent, calico.vethuMTU",
                f"It is not set, so the chart gives pods {rke2.POD_DEFAULT}, which suits vxlan; flannel's {conf.kind}"
                f" takes {conf.subtracts} bytes: on NICs of 1500, packets of {1501 - conf.subtracts}-{rke2.POD_DEFAULT}"
                " bytes do not fit.",
                f"Set calico.vethuMTU to what the smallest NIC leaves: {1500 - conf.subtracts} on NICs of 1500.",
            )
        )
    if (
        settings.automatic
        and conf is not None
        and conf.subtracts
        and (mtu is None or not any(node.links for node in snapshot.nodes))
    ):
        gets = "Pods get the NIC's MTU or 1500" if mtu is None else f"Pods get {mtu}"
        where = f"data.{VETH}" if settings.placeholder else f"data.{CONFIG}"
        out.append(
            codes.finding(
                codes.MTU119,
                f"{parts.config}, {where}",
                f"No MTU is configured. {gets}, and flannel's {conf.kind} leaves {conf.subtracts} bytes less than"
                f" the NIC has: on NICs of 1500, packets of {1501 - conf.subtracts}-1500 bytes do not fit.",
                "Set it to what the smallest NIC leaves: `kubemtu plan` computes it from the nodes.",
            )
        )
    return out


def _keys(whole: Canal) -> tuple[cni_state.MtuKey, ...]:
    parts, settings, conf, values = whole.parts, whole.settings, whole.conf, whole.values
    keys = []
    if parts.chart is not None:
        ref = reading.ref(parts.chart, "helmchartconfigs")
        for path, means, number in ((rke2.POD, "pod", values.pod), (rke2.BASE, "base", values.base)):
            if means == "pod" or number is not None:
                keys.append(
                    cni_state.MtuKey(
                        ref=ref,
                        path=rke2.PATH,
                        inside=".".join(path),
                        means="pod" if means == "pod" else "base",
                        value=number,
                    )
                )
    if parts.config is None:
        return tuple(keys)
    keys += installer.keys(parts.config, settings)
    if conf is not None and conf.base is not None:
        keys.append(flanneld.base_key(parts.config, conf, whole.agent))
    return tuple(keys)


def _tunnel_key(whole: Canal) -> cni_state.MtuKey | None:
    """Return where flannel's tunnel is given its MTU: by the chart's values where a chart makes the ConfigMap."""
    key = flanneld.tunnel_key(whole.parts.config, whole.conf, whole.agent)
    if key is None or whole.parts.chart is None:
        return key
    ref, inside = reading.ref(whole.parts.chart, "helmchartconfigs"), ".".join(rke2.BASE)
    return msgspec.structs.replace(key, ref=ref, path=rke2.PATH, inside=inside)


def _named_nics(whole: Canal) -> tuple[str, ...]:
    """Return canal_iface where no DaemonSet was read that says so."""
    parts, values = whole.parts, whole.values
    held = parts.config.get("data", "canal_iface") if parts.config is not None else values.nic
    name = held if isinstance(held, str) and parts.agent is None else ""
    return (name,) if flanneld.NIC_NAME.fullmatch(name) else ()


def _owner(whole: Canal, snapshot: Snapshot, out: list[Finding]) -> tuple[str, tuple[Finding, ...]]:
    """Return who writes the source of truth back, and what has drifted from it already."""
    parts, settings = whole.parts, whole.settings
    if parts.config is None or not parts.is_rke2:
        by_rke, rendered = owners.rke_rendered(snapshot, "ConfigMap", "canal-config", out)
        if not by_rke:
            return owners.of(parts.config or parts.chart, out), ()
        drifted = (
            owners.drift(parts.config, rendered, (VETH, CONFIG, NET_CONF))
            if parts.config is not None and rendered is not None
            else None
        )
        return owners.RKE, (drifted,) if drifted is not None else ()
    place = f"{parts.config}, data.{VETH}"
    if parts.chart is None:
        return owners.without_values(rke2.AGENT), (chart.unwritten(whole.source, rke2.POD, place),)
    owner = owners.of(parts.chart, out)
    drifted = chart.drift(whole.source, rke2.POD, place, settings.mtu)
    return owner, (drifted,) if drifted is not None else ()
