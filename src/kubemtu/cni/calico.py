"""Calico, by its manifest or by the Tigera operator. What Felix makes of either is in `felix`.

By manifest, `veth_mtu` of the ConfigMap calico-config feeds the pods (CNI_MTU) and, through three more variables,
every tunnel. By operator, the Installation is the source; the ConfigMap, the DaemonSet and the variables are what the
operator makes of it and writes back (tigera/operator: pkg/render/node.go).
"""

from kubemtu.cni import (
    bootstrap,
    calico_operator,
    daemonset,
    detection,
    felix,
    installer,
    kubelet,
    owners,
    reading,
    strays,
)
from kubemtu.cni.felix import Felix
from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.core import codes, encap, net, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Object, Ref, Want
from kubemtu.core.snapshot import Snapshot

NAME = "calico"
NAMESPACE = "kube-system"
CONFIG_MAP = "calico-config"
AGENT = "calico-node"
CONFLIST = "10-calico.conflist"
BACKEND = "calico_backend"
KNOWN_KEYS = (installer.CONFIG, BACKEND)  # what calico-node and install-cni need in every manifest
DAEMONSETS = ("apps/v1", "extensions/v1beta1")
WANTS = (
    *calico_operator.WANTS,
    Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), namespace=NAMESPACE, name=CONFIG_MAP),
    Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), namespace=NAMESPACE, name=owners.RKE_STORE),
    Want(kind="DaemonSet", plural="daemonsets", api_versions=DAEMONSETS, namespace=NAMESPACE),
    NODES,
    kubelet.WANT,
    *felix.WANTS,
)

_STACKS: tuple[tuple[str, ...], ...] = (("vxlan",), ("ipip",), ("wireguard",), ())
_FELIX = "FelixConfiguration default"
KNOWLEDGE = Knowledge(
    ports=(net.PortRule(prefixes=(felix.PREFIX,)),),
    node_paths=(felix.MTU_FILE,),
    plugin_mtus=(felix.PLUGIN_MTU,),
    address_annotations=(felix.ADDRESS,),
    calc_keys=(
        CalcKey("Calico, operator", "Installation default", "spec.calicoNetwork.mtu", "pod", _STACKS),
        CalcKey("Calico, manifest", "ConfigMap kube-system/calico-config", "veth_mtu", "pod", _STACKS),
        CalcKey("Calico, Felix", _FELIX, "vxlanMTU", "tunnel", (("vxlan",),)),
        CalcKey("Calico, Felix", _FELIX, "ipipMTU", "tunnel", (("ipip",),)),
        CalcKey("Calico, Felix", _FELIX, "wireguardMTU", "tunnel", (("wireguard",),)),
    ),
    words=("calico", "tigera"),
    edited=(
        rights.patch("configmaps", CONFIG_MAP),
        rights.patch("daemonsets", AGENT, group="apps"),
        *(rights.patch("felixconfigurations", group=group.partition("/")[0]) for group in felix.GROUPS),
        rights.patch("installations", "default", group=calico_operator.GROUP),
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


def steps(state: cni_state.CniState, target: int, snapshot: Snapshot) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edits that give new pods, and tunnels that are smaller, `target` bytes, and the restart of calico-node.

    By operator only the Installation is edited. Raises UsageError when a variable of the DaemonSet decides, or keeps a
    tunnel below `target`, and Malformed when the text to edit is broken.
    """
    encap.check(target)
    installation = calico_operator.installation(snapshot)
    if installation is not None:
        edits = calico_operator.edits(installation, target)
        agent = calico_operator.daemonset_ref(snapshot)
    else:
        edits, agent = _manifest_edits(target, snapshot)
    if not edits and not any(installer.stale(node, state.conflist, target) for node in snapshot.nodes):
        return ()
    restart = plan.Rollout(
        ref=agent,
        why="install-cni writes each node's CNI configuration, and Felix reads its variables, when they start",
        conflist=state.conflist,
        mtu=target,
    )
    return (*edits, restart)


def _by_operator(installation: Object, snapshot: Snapshot) -> cni_state.CniState:
    out: list[Finding] = list(kubelet.findings(snapshot))
    said = calico_operator.read(installation, out)
    agent = snapshot.find("DaemonSet", AGENT, calico_operator.NAMESPACE)
    policy = felix.read(snapshot, agent, felix.pools(snapshot, out) or said.pools, out)
    if said.mtu is not None:
        policy = felix.sized(policy, said.mtu)
    found = said.mtu or said.observed or detection.unconfigured(policy, agent, snapshot, out)
    out += _contradictions(policy, found, f"{installation}, spec.calicoNetwork.mtu")
    key = cni_state.MtuKey(
        ref=reading.ref(installation, "installations"),
        path=calico_operator.PATH,
        means="pod",
        value=said.mtu,
    )
    template = snapshot.find("ConfigMap", calico_operator.CONFIG_MAP, calico_operator.NAMESPACE)
    text = reading.value(template, out, "data", "config") if template is not None else None
    return _state(
        policy,
        variant="operator",
        pod_mtu=found,
        subtracts=detection.subtracts(policy, agent) if found is None else None,
        conflist_mtu=said.mtu,
        keys=(key, *policy.keys),
        daemonset=calico_operator.daemonset_ref(snapshot),
        conflist=installer.path(agent, CONFLIST, snapshot, out),
        template=text,
        owner=", ".join(filter(None, ("tigera operator", owners.of(installation, out)))),
        findings=out,
    )


def _by_manifest(config: Object | None, agent: Object | None, snapshot: Snapshot) -> cni_state.CniState:
    out: list[Finding] = list(kubelet.findings(snapshot))
    said = installer.read(config, agent, snapshot, out) if config is not None else installer.Said()
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
    found = said.mtu
    if said.automatic:
        found = detection.unconfigured(policy, agent, snapshot, out)
    if config is not None:
        out += installer.without_effect(config, agent, said)
        whole = not reading.is_patch(config, KNOWN_KEYS, snapshot)
        out += _missing(config, agent, said) if whole else [reading.patch(config)]
    out += strays.in_config_map(config, agent, (installer.VETH,), installer.VETH)
    out += strays.in_environment(agent, f"{installer.VETH} of ConfigMap {CONFIG_MAP}")
    out += strays.misplaced(config, "data")
    out += _contradictions(policy, found, f"{config or agent}, {installer.VETH}", agent)
    owner, drifted = _owner(config or agent, snapshot, out)
    return _state(
        policy,
        variant="manifest" if said.by_veth or config is None else "manifest (inline integer)",
        pod_mtu=found,
        fixed=_fixed(policy, agent),
        subtracts=detection.subtracts(policy, agent) if known and said.automatic and found is None else None,
        conflist_mtu=said.mtu,
        keys=(*(installer.keys(config, said) if config is not None else ()), *policy.keys),
        daemonset=_daemonset(agent),
        conflist=installer.path(agent, CONFLIST, snapshot, out),
        template=said.template.text if said.template is not None else None,
        owner=owner,
        findings=[*out, *drifted],
        known=known,
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
    findings: list[Finding],
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
        tunnel_mtu=policy.sizes.get(widest) if widest is not None else None,
        tunnel_stays=felix.STAYS,
        companions=felix.BPF_DEVICES,
        pod_networks=tuple(pool.cidr for pool in policy.pools if pool.cidr),
        owner=owner,
        ipv6=any(":" in pool.cidr for pool in policy.pools),
        findings=tuple(dict.fromkeys(findings)),
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


def _missing(config: Object, agent: Object | None, said: installer.Said) -> list[Finding]:
    return [
        codes.finding(
            codes.MTU108,
            f"{config}, key {key}",
            f"The key is missing, and {_daemonset(agent)} needs it: each of its pods that restarts stays down.",
            "Put the key back before anything restarts; take its value from the manifest that installed Calico.",
        )
        for key in _missing_keys(config, agent, said)
    ]


def _missing_keys(config: Object, agent: Object | None, said: installer.Said) -> tuple[str, ...]:
    needed = dict.fromkeys(KNOWN_KEYS, "") if agent is None else daemonset.needs(agent, config.name)
    if said.by_veth:
        needed.setdefault(installer.VETH, "install-cni")
    return tuple(key for key in needed if config.get("data", key) is None)


def _owner(found: Object | None, snapshot: Snapshot, out: list[Finding]) -> tuple[str, tuple[Finding, ...]]:
    by_rke, rendered = owners.rke_rendered(snapshot, "ConfigMap", CONFIG_MAP, out)
    if not by_rke:
        return owners.of(found, out), ()
    if found is None or found.kind != "ConfigMap" or rendered is None:
        return owners.RKE, ()
    drifted = owners.drift(found, rendered, (installer.VETH, installer.CONFIG))
    return owners.RKE, (drifted,) if drifted is not None else ()


def _daemonset(agent: Object | None) -> Ref:
    if agent is not None:
        return reading.ref(agent, "daemonsets")
    return Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name=AGENT, namespace=NAMESPACE)


def _manifest_edits(target: int, snapshot: Snapshot) -> tuple[list[plan.EditValue], Ref]:
    config = snapshot.find("ConfigMap", CONFIG_MAP, NAMESPACE)
    agent = snapshot.find("DaemonSet", AGENT, NAMESPACE)
    if config is None:
        raise UsageError(
            f"ConfigMap {NAMESPACE}/{CONFIG_MAP} was not read, and Calico by manifest keeps its MTU there: allow `get`"
            " on it, or change the variable CNI_MTU of the DaemonSet calico-node yourself."
        )
    said = installer.read(config, agent, snapshot, [])
    lost = [key for key in _missing_keys(config, agent, said) if key != installer.VETH]
    if lost:
        raise UsageError(
            f"{config} lacks {', '.join(lost)}, and {_daemonset(agent)} would not come back from a restart: put the key"
            " back first, from the CNI's own manifest."
        )
    edits = installer.edits(config, _daemonset(agent), said, target)
    pools = felix.pools(snapshot, []) or bootstrap.pools(config, agent, snapshot, [])
    policy = felix.read(snapshot, agent, pools or (), [])
    return edits + _tunnel_edits(policy, said, agent, target, snapshot), _daemonset(agent)


def _tunnel_edits(
    policy: Felix, said: installer.Said, agent: Object | None, target: int, snapshot: Snapshot
) -> list[plan.EditValue]:
    """Return the edits that keep tunnels from being smaller than the pods: those that veth_mtu does not feed."""
    out = []
    for name in policy.on:
        tunnel, size = felix.TUNNELS[name], policy.sizes.get(name)
        variable = daemonset.variable(agent, tunnel.variable)
        if size is None or size >= target or (variable is not None and variable.key == installer.VETH and said.by_veth):
            continue
        if variable is not None and variable.key is not None:
            out += _fed(variable, agent, target, snapshot, f"{tunnel.device} is sized by {tunnel.variable}, from here")
            continue
        key = next((key for key in policy.keys if key.path == ("spec", tunnel.field) and key.effective), None)
        if key is None:
            held = daemonset.resolve(agent, tunnel.variable, snapshot)
            raise UsageError(
                f"{_daemonset(agent)} sets {tunnel.variable} to {held!r}, which keeps {tunnel.device} below {target}:"
                f" raise it there to {target} first, then plan again."
            )
        why = f"{tunnel.device} must not be smaller than the pods that send through it"
        out += installer.edit(key.ref, key.path, key.value, target, why)
    return list(dict.fromkeys(out))


def _fed(
    variable: daemonset.Variable, agent: Object | None, target: int, snapshot: Snapshot, why: str
) -> list[plan.EditValue]:
    """Return the edit of the ConfigMap's key that fills a variable."""
    namespace = agent.namespace if agent is not None else NAMESPACE
    source = snapshot.find("ConfigMap", variable.config_map or "", namespace)
    if source is None or variable.key is None:
        raise UsageError(
            f"{variable.name} of {_daemonset(agent)} comes from ConfigMap {namespace}/{variable.config_map}, which was"
            " not read: allow `get` on it, then plan again."
        )
    held = source.get("data", variable.key)
    before = held if isinstance(held, str) else None
    return installer.edit(reading.ref(source, "configmaps"), ("data", variable.key), before, str(target), why)


def _fixed(policy: Felix, agent: Object | None) -> tuple[int, str] | None:
    """Return the MTU of the smallest tunnel that a literal of the DaemonSet sets, and that variable."""
    found = []
    for name in policy.on:
        tunnel, size = felix.TUNNELS[name], policy.sizes.get(name)
        variable = reading.attempt(lambda: daemonset.variable(agent, tunnel.variable), None, [], str(agent))  # noqa: B023
        if size is not None and variable is not None and variable.value and variable.key is None:
            found.append((size, f"{tunnel.variable} of {_daemonset(agent)}"))
    return min(found, default=None)
