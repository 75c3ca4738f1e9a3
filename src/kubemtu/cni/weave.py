"""Weave Net: WEAVE_MTU of the container weave is the pods' own; without it 1376, whatever the NIC has.

1376 is what is left of 1460 by VXLAN's 50 and the 34 that ESP may take (weaveworks/weave at 8c847638: net/bridge.go).
weave sets its datapath to that number whenever it starts, and makes the veth between it and the bridge once: the
bridge keeps the smallest of its ports, and new pods get what the bridge has (net/veth.go), so that a new number reaches
nobody until the bridge is made anew (weave#3293).
"""

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import daemonset, environment, owners, reading
from kubemtu.cni.programs import kubelet
from kubemtu.core import codes, encap, net, places, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.objects import NODES, Object, config_map, daemonsets
from kubemtu.core.snapshot import Snapshot

NAME = "weave"
NAMESPACE = "kube-system"
AGENT = "weave-net"
CONTAINER = "weave"
VARIABLE = "WEAVE_MTU"
VARIABLES = (VARIABLE,)
SLEEVE_ONLY = "WEAVE_NO_FASTDP"
PASSWORD = "WEAVE_PASSWORD"  # noqa: S105 - the variable's name: that it is there says that ESP is used
DEFAULT = 1376  # bytes
BRIDGE = "weave"
ONCE = "vethwe-bridge"
ANEW = "a reboot makes it anew, and with Docker `weave reset` and a restart"  # not with containerd: weave#3817
CONFLIST = "/etc/cni/net.d/10-weave.conflist"
WANTS = (
    daemonsets(NAMESPACE),
    config_map(NAMESPACE, owners.RKE_STORE),
    NODES,
    kubelet.WANT,
)
KNOWLEDGE = Knowledge(
    recognised_by="Weave Net (DaemonSet kube-system/weave-net)",
    ports=(net.PortRule(bridge=BRIDGE),),
    calc_keys=(
        CalcKey(
            "Weave Net",
            f"DaemonSet {NAMESPACE}/{AGENT}",
            VARIABLE,
            "pod",
            (("vxlan",), ("esp-transport", "vxlan")),
            note="its bridge keeps the old number until it is made anew",
        ),
    ),
    words=("weave",),
    edited=(rights.patch("daemonsets", AGENT, group="apps"),),
)


class WeaveParsed(msgspec.Struct, frozen=True):
    """What is read of one Weave Net."""

    agent: Object
    mtu: int | None


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe Weave Net, or return None when its DaemonSet is not there."""
    # Its manifests until v2.0 name no namespace.
    agent = next((one for one in snapshot.each("DaemonSet") if _is_agent(one)), None)
    if agent is None:
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    variables = environment.held(agent, CONTAINER, out)
    place = f"{agent}, variable {VARIABLE}"
    said = variables.get(VARIABLE)
    filled = reading.attempt(lambda: daemonset.resolve(agent, VARIABLE, snapshot), None, out, str(agent))
    mtu = reading.mtu(filled, out, place) if said is not None else None
    out += environment.strays(agent, CONTAINER, VARIABLES, VARIABLE)
    sleeve, encrypted = _set(variables.get(SLEEVE_ONLY)), PASSWORD in variables
    if sleeve:
        out.append(_sleeve(agent))
    broken = (filled or "").strip() not in {"", "0"} and mtu is None
    pod_mtu = mtu or (None if sleeve or broken else DEFAULT)
    fixed = min((link.mtu for node in snapshot.nodes if (link := node.link(ONCE)) is not None), default=None)
    out += _stuck(snapshot, pod_mtu)
    vxlan = encap.vxlan()
    by_rke, _ = owners.rke_rendered(snapshot, "DaemonSet", AGENT, out)
    return cni_state.CniState(
        name=NAME,
        variant="sleeve" if sleeve else "fast datapath" + (", encrypted" if encrypted else ""),
        encapsulation=() if sleeve else (encap.within(encap.esp_transport(), vxlan) if encrypted else vxlan,),
        encapsulation_known=not sleeve,
        encapsulation_name="unknown" if sleeve else "vxlan in ipsec" if encrypted else "vxlan",
        pod_mtu=pod_mtu,
        fixed=fixed,
        fixed_by=f"{ONCE}, which is made once ({ANEW})," if fixed is not None else "",
        mtu_keys=_keys(agent, mtu),
        daemonset=reading.ref(agent, "daemonsets"),
        conflist=CONFLIST,
        ports=net.PortRule(bridge=BRIDGE),
        bridge=BRIDGE,
        owner=owners.RKE if by_rke else owners.of(agent, out),
        findings=tuple(dict.fromkeys(out)),
        parsed=WeaveParsed(agent, mtu),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit of WEAVE_MTU, and the restart; the bridge is led along with the running pods.

    Raises UsageError where something else fills the variable.
    """
    encap.check(target)
    found = state.parsed
    assert isinstance(found, WeaveParsed)
    assert state.daemonset is not None
    if (found.mtu or DEFAULT) == target:
        return ()
    why = f"weave gives its datapath, and the bridge that it makes, {target}"
    edits = environment.edits(found.agent, CONTAINER, VARIABLE, target, why)
    if not edits:
        return ()
    return (*edits, plan.Rollout(ref=state.daemonset, why=f"weave reads {VARIABLE} only when it starts"))


def _is_agent(resource: Object) -> bool:
    return resource.get("metadata", "name") == AGENT and resource.get("metadata", "namespace") in {None, NAMESPACE}


def _set(variable: daemonset.Variable | None) -> bool:
    """Return True for a variable that launch.sh takes as set: any text but an empty one."""
    return variable is not None and (bool(variable.value) or variable.config_map is not None)


def _keys(agent: Object, mtu: int | None) -> tuple[cni_state.MtuKey, ...]:
    """Return the place of the variable; none in a DaemonSet that has no such container."""
    containers = agent.get(*environment.CONTAINERS)
    if not isinstance(containers, list) or not any(
        isinstance(each, dict) and each.get("name") == CONTAINER for each in containers
    ):
        return ()
    path = environment.place(agent, CONTAINER, VARIABLE)
    ref = reading.ref(agent, "daemonsets")
    return (cni_state.MtuKey(ref=ref, path=path, inside=VARIABLE, means="pod", value=mtu),)


def _stuck(snapshot: Snapshot, pod_mtu: int | None) -> list[Finding]:
    """Return MTU103 for each node whose bridge has another number than is configured: new pods there get that."""
    out = []
    for node in snapshot.nodes:
        bridge = node.link(BRIDGE)
        if bridge is None or pod_mtu is None or bridge.mtu == pod_mtu:
            continue
        out.append(
            codes.finding(
                codes.MTU103,
                places.on(node.node, BRIDGE),
                f"The bridge has {bridge.mtu}, and {VARIABLE} says {pod_mtu}: new pods here get {bridge.mtu}, whatever"
                " weave was told since the bridge was made.",
                f"`kubemtu apply` leads the bridge and its pods to {pod_mtu} as they run; {ANEW}.",
                "error" if bridge.mtu > pod_mtu else "warning",
            )
        )
    return out


def _sleeve(agent: Object) -> Finding:
    return codes.finding(
        codes.MTU117,
        f"{agent}, variable {SLEEVE_ONLY}",
        "Only sleeve is used: a program wraps each packet, and finds by itself what the path carries, so what it takes"
        " cannot be read.",
        "Measure it with `kubemtu probe`, and give the MTU with --mtu; the fast datapath is faster, too.",
    )
