"""The edits that change the MTU of Calico by manifest: veth_mtu, or an integer, and what keeps a tunnel below it."""

from collections.abc import Mapping

import msgspec

from kubemtu.cni.objects import chart, daemonset, reading
from kubemtu.cni.programs import felix, installer
from kubemtu.core.change.plan import EditValue
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot

NAMESPACE = "kube-system"
CONFIG_MAP = "calico-config"
CHART = "rke2-calico"
KNOWN_KEYS = (installer.CONFIG, "calico_backend")  # what calico-node and install-cni need in every manifest


class CalicoParsed(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of one Calico: its Installation, or what a manifest has made; `sources` by their names."""

    policy: felix.Felix
    installation: Object | None = None
    config: Object | None = None
    agent: Object | None = None
    settings: installer.InstallerSettings = installer.InstallerSettings()
    sources: Mapping[str, Object] = msgspec.field(default_factory=dict)  # ConfigMaps that fill variables of the agent
    source: chart.Chart = chart.Chart(name=CHART)
    rendered: tuple[int | None, ...] = ()  # what each node's CNI configuration holds


def sources(agent: Object | None, snapshot: Snapshot) -> dict[str, Object]:
    """Return the ConfigMaps that variables of the agent come from, by name, as far as they were read."""
    try:
        variables = daemonset.variables(agent)
    except Malformed:
        return {}
    namespace = agent.namespace if agent is not None else NAMESPACE
    names = dict.fromkeys(each.config_map for each in variables if each.config_map)
    found = {name: snapshot.find("ConfigMap", name, namespace) for name in names}
    return {name: source for name, source in found.items() if source is not None}


def missing_keys(config: Object, agent: Object | None, settings: installer.InstallerSettings) -> tuple[str, ...]:
    """Return the keys that the DaemonSet needs and the ConfigMap lacks."""
    needed = dict.fromkeys(KNOWN_KEYS, "") if agent is None else daemonset.needs(agent, config.name)
    if settings.by_veth:
        needed.setdefault(installer.VETH, "install-cni")
    return tuple(key for key in needed if config.get("data", key) is None)


def of_manifest(parsed: CalicoParsed, agent: Ref, target: int) -> list[EditValue]:
    """Return the edits that give new pods, and tunnels that are smaller, `target` bytes.

    Raises UsageError when a variable of the DaemonSet decides, or keeps a tunnel below `target`, and Malformed.
    """
    if parsed.config is None:
        raise UsageError(
            f"ConfigMap {NAMESPACE}/{CONFIG_MAP} was not read, and Calico by manifest keeps its MTU there: allow `get`"
            " on it, or change the variable CNI_MTU of the DaemonSet calico-node yourself."
        )
    lost = [key for key in missing_keys(parsed.config, parsed.agent, parsed.settings) if key != installer.VETH]
    if lost:
        raise UsageError(
            f"{parsed.config} lacks {', '.join(lost)}, and {agent} would not come back from a restart: put the key"
            " back first, from the CNI's own manifest."
        )
    return installer.edits(parsed.config, agent, parsed.settings, target) + _of_tunnels(parsed, agent, target)


def _of_tunnels(parsed: CalicoParsed, agent: Ref, target: int) -> list[EditValue]:
    """Return the edits that keep tunnels from being smaller than the pods: those that veth_mtu does not feed."""
    out = []
    for name in parsed.policy.on:
        tunnel, size = felix.TUNNELS[name], parsed.policy.sizes.get(name)
        variable = daemonset.variable(parsed.agent, tunnel.variable)
        fed = variable is not None and variable.key == installer.VETH and parsed.settings.by_veth
        if size is None or size >= target or fed:
            continue
        if variable is not None and variable.key is not None:
            why = f"{tunnel.device} is sized by {tunnel.variable}, from here"
            out += _of_source(variable, parsed, agent, target, why)
            continue
        keys = parsed.policy.keys
        key = next((key for key in keys if key.path == ("spec", tunnel.field) and key.effective), None)
        if key is None:
            held = (variable.value or "") if variable is not None else None
            raise UsageError(
                f"{agent} sets {tunnel.variable} to {held!r}, which keeps {tunnel.device} below {target}:"
                f" raise it there to {target} first, then plan again."
            )
        why = f"{tunnel.device} must not be smaller than the pods that send through it"
        out += installer.edit(key.ref, key.path, key.value, target, why)
    return list(dict.fromkeys(out))


def _of_source(
    variable: daemonset.Variable, parsed: CalicoParsed, agent: Ref, target: int, why: str
) -> list[EditValue]:
    """Return the edit of the ConfigMap's key that fills a variable."""
    source = parsed.sources.get(variable.config_map or "")
    if source is None or variable.key is None:
        namespace = parsed.agent.namespace if parsed.agent is not None else NAMESPACE
        raise UsageError(
            f"{variable.name} of {agent} comes from ConfigMap {namespace}/{variable.config_map}, which was"
            " not read: allow `get` on it, then plan again."
        )
    held = source.get("data", variable.key)
    before = held if isinstance(held, str) else None
    return installer.edit(reading.ref(source, "configmaps"), ("data", variable.key), before, str(target), why)
