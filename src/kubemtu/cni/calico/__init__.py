"""Calico, by its manifest or by the Tigera operator. What Felix makes of either is in `felix`.

By manifest, `veth_mtu` of the ConfigMap calico-config feeds the pods (CNI_MTU) and, through three more variables,
every tunnel. By operator, the Installation is the source; the ConfigMap, the DaemonSet and the variables are what the
operator makes of it and writes back (tigera/operator: pkg/render/node.go).
"""

from kubemtu.cni.calico import edits as calico_edits
from kubemtu.cni.calico import operator as calico_operator
from kubemtu.cni.calico.edits import CONFIG_MAP, NAMESPACE, CalicoParsed
from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import chart, daemonset, owners, reading, strays
from kubemtu.cni.programs import bootstrap, detection, felix, installer, kubelet
from kubemtu.cni.programs.felix import Felix
from kubemtu.core import codes, encap, net, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.objects import NODES, Object, Ref, config_map, daemonsets
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot

NAME = "calico"
AGENT = calico_operator.AGENT
CONFLIST = "10-calico.conflist"
WANTS = (
    *calico_operator.WANTS,
    config_map(NAMESPACE, CONFIG_MAP),
    config_map(NAMESPACE, owners.RKE_STORE),
    daemonsets(NAMESPACE),
    NODES,
    kubelet.WANT,
    chart.want(calico_edits.CHART),
    *felix.WANTS,
)

_STACKS: tuple[tuple[str, ...], ...] = (("vxlan",), ("ipip",), ("wireguard",), ())
_FELIX = "FelixConfiguration default"
KNOWLEDGE = Knowledge(
    recognised_by="Calico (Installation default, or ConfigMap kube-system/calico-config with DaemonSet calico-node)",
    ports=(net.PortRule(prefixes=(felix.PREFIX,)),),
    node_paths=(felix.MTU_FILE,),
    plugin_mtus=(felix.PLUGIN_MTU,),
    address_annotations=felix.ADDRESSES,
    calc_keys=(
        CalcKey("Calico, operator", "Installation default", "spec.calicoNetwork.mtu", "pod", _STACKS),
        CalcKey("Calico, manifest", "ConfigMap kube-system/calico-config", "veth_mtu", "pod", _STACKS),
        CalcKey("Calico, Felix", _FELIX, "vxlanMTU", "tunnel", (("vxlan",),)),
        CalcKey("Calico, Felix", _FELIX, "ipipMTU", "tunnel", (("ipip",),)),
        CalcKey("Calico, Felix", _FELIX, "wireguardMTU", "tunnel", (("wireguard",),)),
    ),
    values_keys=(
        ValuesKey(  # projectcalico/calico: charts/tigera-operator/values.yaml
            form="helm-values",
            path=calico_operator.CHART_KEY,
            counts="pod",
            file="values of the chart tigera-operator",
            variant="operator",
            signs=("installation", "tigeraOperator", "calicoctl", "defaultFelixConfiguration"),
        ),
        owners.by_chart(calico_edits.CHART, calico_operator.CHART_KEY, "pod", variant="operator"),
        owners.RKE_VALUES,
    ),
    words=("calico", "tigera"),
    edited=(
        rights.patch("configmaps", CONFIG_MAP),
        rights.patch("daemonsets", AGENT, group="apps"),
        *(rights.patch("felixconfigurations", group=group.partition("/")[0]) for group in felix.GROUPS),
        rights.patch("installations", "default", group=calico_operator.GROUP),
        chart.right(calico_edits.CHART),
    ),
)

auto_mtu = detection.auto_mtu


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe Calico, or return None when there is neither an Installation of it, nor its ConfigMap or DaemonSet.

    An Installation whose `cni.type` is another one (AmazonVPC, GKE, AzureVNET) only adds policy: the pods' MTU is that
    CNI's affair, and None is returned.
    """
    installation = calico_operator.installation(snapshot)
    if installation is not None:
        return _by_operator(installation, snapshot)
    config = snapshot.find("ConfigMap", CONFIG_MAP, NAMESPACE)
    agent = snapshot.find("DaemonSet", AGENT, NAMESPACE)
    if config is None and agent is None:
        return None
    return _by_manifest(config, agent, snapshot)


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edits that give new pods, and tunnels that are smaller, `target` bytes, and the restart of calico-node.

    By operator only the Installation is edited. Raises UsageError when a variable of the DaemonSet decides, or keeps a
    tunnel below `target`, and Malformed when the text to edit is broken.
    """
    encap.check(target)
    found = state.parsed
    assert isinstance(found, CalicoParsed)
    assert state.daemonset is not None
    if found.installation is not None:
        edits = calico_operator.edits(found.installation, target)
        if chart.releases(found.installation, calico_edits.CHART):
            why = "RKE2 renders the Installation from these values at every upgrade of the chart"
            edits += chart.edits(found.source, calico_operator.CHART_KEY, target, why, make=bool(edits))
    else:
        edits = calico_edits.of_manifest(found, state.daemonset, target)
    if not edits and all(held == target for held in found.rendered):
        return ()
    restart = plan.Rollout(
        ref=state.daemonset,
        why="install-cni writes each node's CNI configuration, and Felix reads its variables, when they start",
        conflist=state.conflist,
        mtu=target,
        rendered=calico_operator.RENDERING if found.installation is not None else None,
    )
    return (*edits, restart)


def _by_operator(installation: Object, snapshot: Snapshot) -> cni_state.CniState:
    out: list[Finding] = list(kubelet.findings(snapshot))
    installed = calico_operator.read(installation, out)
    agent = snapshot.find("DaemonSet", AGENT, calico_operator.NAMESPACE)
    policy = felix.read(snapshot, agent, felix.pools(snapshot, out) or installed.pools, out)
    if installed.mtu is not None:
        policy = felix.sized(policy, installed.mtu)
    found = installed.mtu or installed.observed or detection.unconfigured(policy, agent, snapshot, out)
    out += _contradictions(policy, found, f"{installation}, spec.calicoNetwork.mtu")
    key = cni_state.MtuKey(
        ref=reading.ref(installation, "installations"),
        path=calico_operator.PATH,
        means="pod",
        value=installed.mtu,
    )
    source = chart.of(calico_edits.CHART, snapshot)
    template = snapshot.find("ConfigMap", calico_operator.CONFIG_MAP, calico_operator.NAMESPACE)
    text = reading.value(template, out, "data", "config") if template is not None else None
    conflist = installer.path(agent, CONFLIST, snapshot, out)
    drifted = calico_operator.drift(template, text, installed.mtu, f"{installation}, {'.'.join(calico_operator.PATH)}")
    out += [drifted] if drifted is not None else []
    return _state(
        policy,
        variant="operator",
        pod_mtu=found,
        subtracts=detection.subtracts(policy, agent) if found is None else None,
        conflist_mtu=installed.mtu,
        keys=(key, *policy.keys, *_rendered(installed.mtu, template)),
        daemonset=calico_operator.daemonset_ref(snapshot),
        conflist=conflist,
        template=text,
        owner=_kept_by(installation, source, out),
        cautions=(calico_operator.KEEPS,),
        findings=out,
        parsed=CalicoParsed(
            installation=installation,
            source=source,
            rendered=installer.rendered(snapshot, conflist),
            policy=policy,
        ),
    )


def _rendered(mtu: int | None, template: Object | None) -> tuple[cni_state.MtuKey, ...]:
    """Return the place that the operator copies its number to, which is none to change."""
    if template is None:
        return ()
    where = calico_operator.RENDERING
    return (cni_state.MtuKey(ref=where.ref, path=where.path, means="pod", value=mtu, effective=False, copied=True),)


def _kept_by(installation: Object, source: chart.Chart, out: list[Finding]) -> str:
    """Return who writes the Installation back; of RKE2's chart, who writes its values."""
    if not chart.releases(installation, calico_edits.CHART):
        return owners.of(installation, out)
    place = f"{installation}, {'.'.join(calico_operator.PATH)}"
    live = installation.get(*calico_operator.PATH)
    found = chart.drift(source, calico_operator.CHART_KEY, place, live if isinstance(live, int) else None)
    out += [found] if found is not None else []
    return owners.of(source.held or installation, out)


def _by_manifest(config: Object | None, agent: Object | None, snapshot: Snapshot) -> cni_state.CniState:
    out: list[Finding] = list(kubelet.findings(snapshot))
    settings = installer.read(config, agent, snapshot, out) if config is not None else installer.InstallerSettings()
    pools = felix.pools(snapshot, out) or bootstrap.pools(config, agent, snapshot, out)
    policy = felix.read(snapshot, agent, pools or (), out)
    if config is None:
        effect = f"so the MTU that {agent} is given is unknown"
        out.append(reading.unread(f"ConfigMap {NAMESPACE}/{CONFIG_MAP}", effect, snapshot))
    known = pools is not None and (agent is not None or bool(policy.pools))
    if not known and pools is not None:
        out.append(
            codes.finding(
                codes.MTU117,
                "IPPool",
                "Neither an IPPool nor the DaemonSet calico-node was read: the encapsulation is unknown.",
                "Allow `list` on ippools, or add them to the files.",
            )
        )
    found = settings.mtu
    if settings.automatic:
        found = detection.unconfigured(policy, agent, snapshot, out)
    if config is not None:
        out += installer.without_effect(config, agent, settings)
        whole = not reading.is_patch(config, calico_edits.KNOWN_KEYS, snapshot)
        out += _missing(config, agent, settings) if whole else [reading.patch(config)]
    out += strays.in_config_map(config, agent, (installer.VETH,), installer.VETH)
    out += strays.in_environment(agent, f"{installer.VETH} of ConfigMap {CONFIG_MAP}")
    out += strays.misplaced(config, "data")
    out += _contradictions(policy, found, f"{config or agent}, {installer.VETH}", agent)
    owner, drifted = _owner(config or agent, snapshot, out)
    conflist = installer.path(agent, CONFLIST, snapshot, out)
    return _state(
        policy,
        variant="manifest" if settings.by_veth or config is None else "manifest (inline integer)",
        pod_mtu=found,
        fixed=_fixed(policy, agent),
        subtracts=detection.subtracts(policy, agent) if known and settings.automatic and found is None else None,
        conflist_mtu=settings.mtu,
        keys=(*(installer.keys(config, settings) if config is not None else ()), *policy.keys),
        daemonset=_daemonset(agent),
        conflist=conflist,
        template=settings.template.text if settings.template is not None else None,
        owner=owner,
        findings=[*out, *drifted],
        known=known,
        parsed=CalicoParsed(
            config=config,
            agent=agent,
            settings=settings,
            policy=policy,
            sources=calico_edits.sources(agent, snapshot),
            rendered=installer.rendered(snapshot, conflist),
        ),
    )


def _state(
    policy: Felix,
    *,
    variant: str,
    pod_mtu: int | None,
    subtracts: int | None,
    fixed: tuple[int, str] | None = None,
    conflist_mtu: int | None,
    keys: tuple[cni_state.MtuKey, ...],
    daemonset: Ref,
    conflist: str,
    template: str | None,
    owner: str,
    cautions: tuple[str, ...] = (),
    findings: list[Finding],
    parsed: CalicoParsed,
    known: bool = True,
) -> cni_state.CniState:
    """Join what both ways of installing have in common."""
    widest = policy.widest
    return cni_state.CniState(
        name=NAME,
        variant=variant,
        encapsulation=policy.encapsulations,
        encapsulation_known=known,
        encapsulation_name=policy.name if known else "unknown",
        pod_mtu=pod_mtu,
        subtracts=subtracts,
        fixed=fixed[0] if fixed is not None else None,
        fixed_by=fixed[1] if fixed is not None else "",
        conflist_mtu=conflist_mtu,
        mtu_keys=keys,
        daemonset=daemonset,
        conflist=conflist,
        conflist_template=template,
        ports=net.PortRule(prefixes=policy.prefixes),
        tunnel=felix.TUNNELS[widest].device if widest is not None else None,
        other_tunnel=felix.other_tunnel(policy),
        passed_by=frozenset(felix.TUNNELS[name].device for name, mode in policy.on.items() if mode == "CrossSubnet"),
        subnets=policy.subnets,
        tunnel_mtu=policy.sizes.get(widest) if widest is not None else None,
        tunnel_key=felix.tunnel_key(policy),
        tunnel_stays=felix.STAYS,
        companions=felix.BPF_DEVICES,
        companions_by=felix.BPF_BY,
        pod_networks=tuple(pool.cidr for pool in policy.pools if pool.cidr),
        owner=owner,
        cautions=cautions,
        ipv6=any(":" in pool.cidr for pool in policy.pools),
        findings=tuple(dict.fromkeys(findings)),
        parsed=parsed,
    )


def _contradictions(policy: Felix, mtu: int | None, place: str, agent: Object | None = None) -> list[Finding]:
    """Return MTU119 for each tunnel that is configured smaller than the pods that send through it."""
    return [
        codes.finding(
            codes.MTU119,
            place,
            f"New pods get {mtu}, but {felix.TUNNELS[name].device} is configured to {size}: packets of {size + 1}-{mtu}"
            " bytes do not fit.",
            f"Make both the same: {_sized_by(name, agent)}, and the pods' MTU.",
        )
        for name in policy.on
        if mtu is not None and (size := policy.sizes.get(name)) is not None and size < mtu
    ]


def _sized_by(name: str, agent: Object | None) -> str:
    """Name what sizes a tunnel: the ConfigMap's key that fills the variable, where one does."""
    tunnel = felix.TUNNELS[name]
    variable = reading.attempt(lambda: daemonset.variable(agent, tunnel.variable), None, [], str(agent))
    if variable is not None and variable.key is not None:
        return f"key {variable.key} of ConfigMap {variable.config_map} (it fills {tunnel.variable})"
    return f"{tunnel.variable} of the DaemonSet, or {tunnel.field} of the FelixConfiguration"


def _missing(config: Object, agent: Object | None, settings: installer.InstallerSettings) -> list[Finding]:
    return [
        codes.finding(
            codes.MTU108,
            f"{config}, key {key}",
            f"The key is missing, and {_daemonset(agent)} needs it: each of its pods that restarts stays down.",
            "Put the key back before anything restarts; take its value from the manifest that installed Calico.",
        )
        for key in calico_edits.missing_keys(config, agent, settings)
    ]


def _owner(resource: Object | None, snapshot: Snapshot, out: list[Finding]) -> tuple[str, tuple[Finding, ...]]:
    by_rke, rendered = owners.rke_rendered(snapshot, "ConfigMap", CONFIG_MAP, out)
    if not by_rke:
        return owners.of(resource, out), ()
    if resource is None or resource.kind != "ConfigMap" or rendered is None:
        return owners.RKE, ()
    drifted = owners.drift(resource, rendered, (installer.VETH, installer.CONFIG))
    return owners.RKE, (drifted,) if drifted is not None else ()


def _daemonset(agent: Object | None) -> Ref:
    return daemonset.ref(agent, NAMESPACE, AGENT)


def _fixed(policy: Felix, agent: Object | None) -> tuple[int, str] | None:
    """Return the MTU of the smallest tunnel that a literal of the DaemonSet sets, and that variable."""
    found = []
    for name in policy.on:
        tunnel, size = felix.TUNNELS[name], policy.sizes.get(name)
        variable = reading.attempt(lambda: daemonset.variable(agent, tunnel.variable), None, [], str(agent))  # noqa: B023
        if size is not None and variable is not None and variable.value and variable.key is None:
            found.append((size, f"{tunnel.variable} of {_daemonset(agent)}"))
    return min(found, default=None)
