"""OpenShift SDN of OpenShift 3, which no operator watches: networkConfig.mtu of the node-config ConfigMaps.

It is the pods' own, VXLAN's 50 less than the NIC; the daemon sdn reads it when it starts, gives tun0 and new pods that
number, and leaves running pods (openshift/origin at release-3.11: pkg/network/node/node.go, pkg/network/node/
sdn_controller.go).
"""

import msgspec

from kubemtu.cni.knowledge import CalcKey
from kubemtu.cni.objects import owners, reading
from kubemtu.cni.programs import installer, kubelet, ovs
from kubemtu.core import codes, encap, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Object, config_map, daemonsets
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import yaml_edit

NAMESPACE = "openshift-sdn"
AGENT = "sdn"
NODE_NAMESPACE = "openshift-node"
GROUPS = ("master", "infra", "compute", "master-infra", "all-in-one")
PREFIX = "node-config-"
KEY = "node-config.yaml"
PATH = ("networkConfig", "mtu")
GATEWAY = "tun0"
DEFAULT = 1450  # bytes: openshift/openshift-ansible: roles/openshift_node_group, openshift_node_sdn_mtu over 1500
WANTS = (
    daemonsets(NAMESPACE),
    *(config_map(NODE_NAMESPACE, f"{PREFIX}{group}") for group in GROUPS),
)
CALC_KEYS = (
    CalcKey(
        "OpenShift 3, SDN", f"ConfigMaps {NODE_NAMESPACE}/{PREFIX}*", f"{KEY} networkConfig.mtu", "pod", (("vxlan",),)
    ),
)
EDITED = (
    rights.patch("configmaps", *(f"{PREFIX}{group}" for group in GROUPS)),
    rights.patch("daemonsets", AGENT, group="apps"),
)


class SdnParsed(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one OpenShift 3: each group of nodes has a ConfigMap, with the MTU in it."""

    agent: Object | None
    configs: tuple[tuple[Object, int | None], ...] = ()


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe OpenShift SDN, or return None when neither its DaemonSet nor a node-config of it is there."""
    agent = snapshot.find("DaemonSet", AGENT, NAMESPACE)
    out: list[Finding] = list(kubelet.findings(snapshot))
    configs = tuple(
        (config, _mtu(config, out))
        for config in snapshot.each("ConfigMap", NODE_NAMESPACE)
        if str(config.get("metadata", "name")).startswith(PREFIX)
    )
    if agent is None and not configs:
        return None
    if not configs:
        effect = f"so the MTU that {agent} is given is unknown"
        out.append(reading.unread(f"ConfigMaps {NODE_NAMESPACE}/{PREFIX}*", effect, snapshot))
    sizes = {mtu for _, mtu in configs if mtu is not None}
    out += _apart(configs, sizes)
    return cni_state.CniState(
        name="openshift",
        variant="OpenShift 3, SDN",
        encapsulation=(encap.vxlan(),),
        encapsulation_name="vxlan",
        pod_mtu=max(sizes, default=None),
        mtu_keys=tuple(
            cni_state.MtuKey(
                ref=reading.ref(config, "configmaps"),
                path=("data", KEY),
                inside=".".join(PATH),
                means="pod",
                value=mtu,
            )
            for config, mtu in configs
        ),
        computed_by=AGENT,
        daemonset=reading.ref(agent, "daemonsets") if agent is not None else None,
        ports=ovs.PORTS,
        bridge=GATEWAY,
        owner=owners.of(configs[0][0] if configs else agent, out),
        findings=tuple(dict.fromkeys(out)),
        parsed=SdnParsed(agent=agent, configs=configs),
    )


def steps(parsed: SdnParsed, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit of each node-config, and the restart of the daemon. Raises UsageError when none was read."""
    if not parsed.configs:
        raise UsageError(f"No ConfigMap {NODE_NAMESPACE}/{PREFIX}* was read: allow `get` on them, then plan again.")
    edits = []
    for config, _ in parsed.configs:
        text = config.text("data", KEY) or ""
        after = yaml_edit.set_value(text, PATH, target, source=f'{config}, data["{KEY}"]')
        why = f"sdn gives {GATEWAY} and new pods {target}"
        edits += installer.edit(reading.ref(config, "configmaps"), ("data", KEY), text, after, why)
    if not edits:
        return ()
    if parsed.agent is None:
        raise UsageError(f"DaemonSet {NAMESPACE}/{AGENT} was not read, which must be restarted: allow `get` on it.")
    ref = reading.ref(parsed.agent, "daemonsets")
    return (*edits, plan.Rollout(ref=ref, why="sdn reads networkConfig.mtu only when it starts"))


def _mtu(config: Object, out: list[Finding]) -> int | None:
    place = f'{config}, data["{KEY}"]'
    text = reading.value(config, out, "data", KEY)
    values = reading.tree(text or "", out, place, "and the node exits on it")
    held = values.get(PATH[0])
    return reading.member(held, PATH[1], out, f"{place}, {PATH[0]}") if isinstance(held, dict) else None


def _apart(configs: tuple[tuple[Object, int | None], ...], sizes: set[int]) -> list[Finding]:
    """Return MTU119 where groups of nodes are given different numbers."""
    if len(sizes) < 2:
        return []
    small, large = min(sizes), max(sizes)
    lower = next(config for config, mtu in configs if mtu == small)
    return [
        codes.finding(
            codes.MTU119,
            f'{lower}, data["{KEY}"], {".".join(PATH)}',
            f"Pods of these nodes get {small}, of others up to {large}: packets of {small + 1}-{large} bytes are"
            " dropped where they arrive, without an ICMP error.",
            "Give all groups of nodes one number: `kubemtu plan` shows it.",
        )
    ]
