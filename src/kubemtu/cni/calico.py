"""Calico, by its manifest or by the Tigera operator. What Felix makes of either is in `felix`.

By manifest, `veth_mtu` of the ConfigMap calico-config feeds the pods (CNI_MTU) and, through three more variables,
every tunnel. By operator, the Installation is the source; the ConfigMap, the DaemonSet and the variables are what the
operator makes of it and writes back (tigera/operator: pkg/render/node.go).
"""

from kubemtu.cni import calico_operator, daemonset, felix, installer, kubelet, owners, reading
from kubemtu.cni.felix import Felix, Pool
from kubemtu.core import cnistate, codes, encap, net, plan
from kubemtu.core.errors import UsageError
from kubemtu.core.findings import Finding
from kubemtu.core.objects import Object, Ref, Want
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
    Want(kind="Node", plural="nodes", api_versions=("v1",)),
    kubelet.WANT,
    *felix.WANTS,
)

auto_mtu = felix.auto_mtu


def read(snapshot: Snapshot) -> cnistate.CniState | None:
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


def steps(state: cnistate.CniState, target: int, snapshot: Snapshot) -> tuple[plan.EditValue | plan.Rollout, ...]:
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


def _by_operator(installation: Object, snapshot: Snapshot) -> cnistate.CniState:
    out: list[Finding] = list(kubelet.findings(snapshot))
    said = calico_operator.read(installation, out)
    agent = snapshot.find("DaemonSet", AGENT, calico_operator.NAMESPACE)
    policy = felix.read(snapshot, agent, felix.pools(snapshot, out) or said.pools, out)
    if said.mtu is not None:
        policy = felix.sized(policy, said.mtu)
    found = said.mtu or said.observed or felix.unconfigured(policy, agent, snapshot, out)
    out += _contradictions(policy, found, f"{installation}, spec.calicoNetwork.mtu")
    key = cnistate.MtuKey(
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
        conflist_mtu=said.mtu,
        keys=(key, *policy.keys),
        daemonset=calico_operator.daemonset_ref(snapshot),
        conflist=installer.path(agent, CONFLIST, snapshot, out),
        template=text,
        owner=", ".join(filter(None, ("tigera operator", owners.of(installation, out)))),
        findings=out,
    )


def _by_manifest(config: Object | None, agent: Object | None, snapshot: Snapshot) -> cnistate.CniState:
    out: list[Finding] = list(kubelet.findings(snapshot))
    said = installer.read(config, agent, snapshot, out) if config is not None else installer.Said()
    policy = felix.read(snapshot, agent, felix.pools(snapshot, out) or _bootstrap(agent, snapshot, out), out)
    if config is None:
        out.append(
            codes.finding(
                codes.MTU117,
                f"ConfigMap {NAMESPACE}/{CONFIG_MAP}",
                f"It was not read, so the MTU that {agent} is given is unknown.",
                "Allow `get` on it, or add it to the files.",
            )
        )
    known = agent is not None or bool(policy.pools)
    if not known:
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
        found = felix.unconfigured(policy, agent, snapshot, out)
    if config is not None:
        out += installer.without_effect(config, agent, said)
        out += _missing(config, agent, said)
    out += _contradictions(policy, found, f"{config or agent}, {installer.VETH}")
    owner, drifted = _owner(config or agent, snapshot, out)
    return _state(
        policy,
        variant="manifest" if said.by_veth or config is None else "manifest (inline integer)",
        pod_mtu=found,
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
    conflist_mtu: int | None,
    keys: tuple[cnistate.MtuKey, ...],
    daemonset: Ref,
    conflist: str,
    template: str | None,
    owner: str,
    findings: list[Finding],
    known: bool = True,
) -> cnistate.CniState:
    """Join what both ways of installing have in common."""
    widest = policy.widest
    return cnistate.CniState(
        name=NAME,
        variant=variant,
        encapsulation=policy.encapsulations,
        encapsulation_known=known,
        encapsulation_name=policy.name if known else "unknown",
        pod_mtu=pod_mtu,
        conflist_mtu=conflist_mtu,
        mtu_keys=keys,
        daemonset=daemonset,
        conflist=conflist,
        conflist_template=template,
        ports=net.PortRule(prefixes=policy.prefixes),
        tunnel=felix.TUNNELS[widest].device if widest is not None else None,
        tunnel_mtu=policy.sizes.get(widest) if widest is not None else None,
        pod_networks=tuple(pool.cidr for pool in policy.pools if pool.cidr),
        owner=owner,
        ipv6=any(":" in pool.cidr for pool in policy.pools),
        findings=tuple(dict.fromkeys(findings)),
    )


def _contradictions(policy: Felix, mtu: int | None, place: str) -> list[Finding]:
    """Return MTU119 for each tunnel that is configured smaller than the pods that send through it."""
    return [
        codes.finding(
            codes.MTU119,
            place,
            f"New pods get {mtu}, but {felix.TUNNELS[name].device} is configured to {size}: packets of {size + 1}-{mtu}"
            " bytes do not fit.",
            f"Make both the same: {felix.TUNNELS[name].variable} of the DaemonSet, or"
            f" {felix.TUNNELS[name].field} of the FelixConfiguration, and the pods' MTU.",
        )
        for name in policy.on
        if mtu is not None and (size := policy.sizes.get(name)) is not None and size < mtu
    ]


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


def _bootstrap(agent: Object | None, snapshot: Snapshot, out: list[Finding]) -> tuple[Pool, ...]:
    """Return the pools that calico-node makes when it starts and finds none, from its CALICO_IPV?POOL_ variables."""
    if agent is None:
        return ()

    def held(name: str) -> str:
        return reading.attempt(lambda: daemonset.resolve(agent, name, snapshot), None, out, str(agent)) or ""

    found = []
    for family, usual in (("IPV4", "192.168.0.0/16"), ("IPV6", "")):
        cidr = held(f"CALICO_{family}POOL_CIDR") or usual
        if cidr:
            ipip = felix.mode(held(f"CALICO_{family}POOL_IPIP"))
            vxlan = felix.mode(held(f"CALICO_{family}POOL_VXLAN"))
            found.append(Pool(cidr=cidr, ipip=ipip or "Never", vxlan=vxlan or "Never"))
    return tuple(found)


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
    policy = felix.read(snapshot, agent, felix.pools(snapshot, []) or _bootstrap(agent, snapshot, []), [])
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
        key = next((key for key in policy.keys if key.path == ("spec", tunnel.field) and key.effective), None)
        if key is None:
            held = daemonset.resolve(agent, tunnel.variable, snapshot)
            raise UsageError(
                f"{_daemonset(agent)} sets {tunnel.variable} to {held!r}, which keeps {tunnel.device} below {target}:"
                f" raise it there to {target} first, then plan again."
            )
        why = f"{tunnel.device} must not be smaller than the pods that send through it"
        out += installer.edit(key.ref, key.path, key.value, target, why)
    return out
