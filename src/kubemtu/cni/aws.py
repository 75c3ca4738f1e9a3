"""The AWS VPC CNI: pods have addresses of the nodes' ENIs, nothing goes around their packets, the MTU is a text.

aws-node writes the MTU into 10-aws.conflist as a number in quotes: POD_MTU, which it knows from v1.16.4 on, else
AWS_VPC_ENI_MTU, else 9001. It gives AWS_VPC_ENI_MTU to every ENI when it starts, the node's own included. From v1.16.4
on it exits on a number that is none or out of bounds, which is 9001 in the plugin itself; before, both take 576 for
one that is too small and 9001 for all else (aws/amazon-vpc-cni-k8s: cmd/aws-vpc-cni/main.go,
pkg/networkutils/network.go GetEthernetMTU, GetPodMTU). Pods with a security group of their own hang on a branch ENI, by
a veth of the same size whose name begins with vlan.
"""

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import daemonset, environment, owners, reading
from kubemtu.cni.programs import kubelet
from kubemtu.core import codes, encap, net, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Object, daemonsets
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot

NAME = "aws-vpc-cni"
NAMESPACE = "kube-system"
AGENT = "aws-node"
CONFLIST = "/etc/cni/net.d/10-aws.conflist"
POD, ENI, IPV6 = "POD_MTU", "AWS_VPC_ENI_MTU", "ENABLE_IPv6"
PREFIX, BRANCH = "AWS_VPC_K8S_CNI_VETHPREFIX", "vlan"
DEFAULT, LEAST = 9001, 576  # bytes; defaultMTU and minMTUv4
POD_SINCE = (1, 16, 4)  # aws/amazon-vpc-cni-k8s#2791, and the check of both numbers with it: #2798
ADDON = "the EKS add-on vpc-cni (its configuration values: env.POD_MTU)"
KINDS = (("ENABLE_PREFIX_DELEGATION", "prefix delegation"), ("ENABLE_POD_ENI", "branch ENIs"))
WANTS = (
    daemonsets(NAMESPACE),
    NODES,
    kubelet.WANT,
)
_PLUGIN = node_files.PluginRule(
    plugin="aws-cni",
    quoted=(LEAST, DEFAULT, DEFAULT),
    otherwise=DEFAULT,
    otherwise_by="the plugin's own default",
)
KNOWLEDGE = Knowledge(
    recognised_by="the AWS VPC CNI (DaemonSet kube-system/aws-node)",
    ports=(net.PortRule(prefixes=("eni", BRANCH)),),
    plugin_mtus=(_PLUGIN,),
    calc_keys=(CalcKey("AWS VPC CNI", f"DaemonSet {NAMESPACE}/{AGENT}", POD, "pod", ((),)),),
    values_keys=(
        ValuesKey(  # aws/amazon-vpc-cni-k8s: charts/aws-vpc-cni/values.yaml, whose env is quoted by its template
            form="helm-values",
            path=("env", POD),
            counts="pod",
            file="values of the chart aws-vpc-cni",
            owner="Helm",
            signs=("eniConfig", "cniConfig", "originalMatchLabels"),
        ),
        ValuesKey(  # docs.aws.amazon.com/eks: UpdateAddon, configurationValues; variables are texts there
            form="eks-addon",
            path=("env", POD),
            counts="pod",
            file=(
                "configuration values of the add-on vpc-cni; they replace all that it has: merge them with what"
                " `aws eks describe-addon --cluster-name NAME --addon-name vpc-cni --query addon.configurationValues`"
                " prints, then give them to `aws eks update-addon --configuration-values`"
            ),
            owner="EKS add-on",
        ),
    ),
    words=("aws-node", "aws-cni"),
    edited=(rights.patch("daemonsets", AGENT, group="apps"),),
)


class AwsParsed(msgspec.Struct, frozen=True, kw_only=True):
    """The DaemonSet, and its version; `born` is what the nodes' conflists hold, in bytes."""

    agent: Object
    version: tuple[int, int, int] | None
    ipv6: bool
    born: tuple[int | None, ...] = ()

    @property
    def knows_pod(self) -> bool:
        """True when the version reads POD_MTU; a version that is not known is taken for a newer one."""
        return self.version is None or self.version >= POD_SINCE


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the AWS VPC CNI, or return None when there is no DaemonSet aws-node, or one that no node runs.

    Who puts another network in its place often leaves it there, for nodes of a label that none has.
    """
    agent = snapshot.find("DaemonSet", AGENT, NAMESPACE)
    if agent is None or (not snapshot.offline and agent.get("status", "desiredNumberScheduled") == 0):
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    variables = environment.held(agent, AGENT, out)
    version = reading.attempt(lambda: daemonset.version(agent, AGENT), None, out, str(agent))
    ipv6 = _value(variables.get(IPV6)) in reading.TRUE
    parsed = AwsParsed(agent=agent, version=version, ipv6=ipv6, born=_born(snapshot))
    eni = _size(parsed, variables.get(ENI), out) if ENI in variables else DEFAULT
    pod = eni
    if POD in variables:
        pod = _size(parsed, variables.get(POD), out) if parsed.knows_pod else eni
        out += [] if parsed.knows_pod else [_too_old(parsed)]
    out += environment.strays(agent, AGENT, {POD, ENI}, POD if parsed.knows_pod else ENI)
    if pod is not None and eni is not None and pod > eni:
        out.append(_above(agent, pod, eni))
    kinds = [name for variable, name in KINDS if _value(variables.get(variable)) in reading.TRUE]
    number = [f"v{'.'.join(map(str, version))}"] if version is not None else []
    prefix = _value(variables.get(PREFIX)) or "eni"
    return cni_state.CniState(
        name=NAME,
        variant=", ".join([*number, *kinds]),
        pod_mtu=pod,
        conflist_mtu=pod,
        mtu_keys=_keys(parsed, pod, eni, given=POD in variables),
        source=f"{ENI} of DaemonSet {NAMESPACE}/{AGENT}",
        daemonset=reading.ref(agent, "daemonsets"),
        conflist=CONFLIST,
        ports=net.PortRule(prefixes=(prefix, BRANCH)),
        plugin_mtus=() if parsed.knows_pod else (msgspec.structs.replace(_PLUGIN, raised=True),),
        owner=", ".join(filter(None, (ADDON if _by_addon(agent) else "", owners.of(agent, out)))),
        ipv6=ipv6,
        findings=tuple(dict.fromkeys(out)),
        parsed=parsed,
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit of POD_MTU, which the ENIs do not follow, and the restart of aws-node.

    Raises UsageError before v1.16.4, where pods have what the ENIs have, and for what aws-node would not take.
    """
    encap.check(target)
    found = state.parsed
    assert isinstance(found, AwsParsed)
    assert state.daemonset is not None
    least = encap.IPV6_MINIMUM if found.ipv6 else LEAST
    if not least <= target <= DEFAULT:
        raise UsageError(f"aws-node takes an MTU from {least} to {DEFAULT} only, and exits on {target}.")
    if not found.knows_pod:
        raise UsageError(
            f"Before v1.16.4 pods have what the ENIs have: {ENI} of {state.daemonset} sets the nodes' own interfaces as"
            f" well, which kubemtu never changes. Bring the CNI to v1.16.4 or newer, which knows {POD}; or"
            f" give {ENI} the value {target} yourself: each node's own connections change with it."
        )
    edits = environment.edits(found.agent, AGENT, POD, target, f"new pods get {target}; the ENIs keep what they have")
    if state.pod_mtu == target:
        edits = []
    if not edits and all(held == target for held in found.born):
        return ()
    restart = plan.Rollout(
        ref=state.daemonset,
        why="aws-node writes each node's CNI configuration when it starts",
        conflist=CONFLIST,
        mtu=target,
    )
    return (*edits, restart)


def _size(parsed: AwsParsed, variable: daemonset.Variable | None, out: list[Finding]) -> int | None:
    """Read one variable as aws-node does; what it does not take goes to `out`, and is 576 or 9001 where it goes on."""
    if variable is None or (variable.value is None and variable.config_map is not None):
        return None
    said = variable.value or ""
    least = encap.IPV6_MINIMUM if parsed.ipv6 and parsed.knows_pod else LEAST
    number = int(said) if reading.NUMBER.fullmatch(said) else None
    if number is not None and least <= number <= DEFAULT:
        return number
    what = "no number" if number is None else f"none from {least} to {DEFAULT}"
    taken = None
    fate = "aws-node exits on it, so its node gets no new pods"
    if not parsed.knows_pod:
        taken = LEAST if number is not None and number < LEAST else DEFAULT
        fate = f"it is not used, and pods get {taken}"
    out.append(
        codes.finding(
            codes.MTU112,
            f"{parsed.agent}, variable {variable.name}",
            f"The MTU is {said!r:.40}, which is {what}: {fate}.",
            f'Write a number from {least} to {DEFAULT}, in quotes as any variable, such as "1500".',
        )
    )
    return taken


def _too_old(parsed: AwsParsed) -> Finding:
    number = ".".join(map(str, parsed.version or ()))
    return codes.finding(
        codes.MTU111,
        f"{parsed.agent}, variable {POD}",
        f"Version {number} does not know {POD} yet (it came with v1.16.4): pods get what {ENI} says.",
        f"Bring the CNI to v1.16.4 or newer, or use {ENI}, which sizes the nodes' own interfaces as well.",
    )


def _above(agent: Object, pod: int, eni: int) -> Finding:
    return codes.finding(
        codes.MTU119,
        f"{agent}, variable {POD}",
        f"New pods get {pod}, but the ENIs get {eni} ({ENI}): packets of {eni + 1}-{pod} bytes do not fit.",
        f"Set {POD} to {eni} or less, or remove it: pods then get what the ENIs have.",
    )


def _keys(parsed: AwsParsed, pod: int | None, eni: int | None, *, given: bool) -> tuple[cni_state.MtuKey, ...]:
    """Return POD_MTU, which is the one to change, and the ENIs' number; nothing where only the ENIs' decides."""
    if not parsed.knows_pod:
        return ()
    ref = reading.ref(parsed.agent, "daemonsets")
    keys = []
    for name, value, effective in ((POD, pod if given else None, True), (ENI, eni, not given)):
        try:
            path = environment.place(parsed.agent, AGENT, name)
        except UsageError:
            return ()
        listed = path if path[-1] == "value" else path[:-1]
        keys.append(cni_state.MtuKey(ref=ref, path=listed, inside=name, means="pod", value=value, effective=effective))
    return tuple(keys)


def _born(snapshot: Snapshot) -> tuple[int | None, ...]:
    found = [node_files.of(node, CONFLIST, KNOWLEDGE.plugin_mtus) for node in snapshot.nodes]
    return tuple(one.literal for one in found if one is not None)


def _by_addon(agent: Object) -> bool:
    """Return whether EKS keeps the DaemonSet as an add-on: it applies it as the manager "eks"."""
    listed = agent.get("metadata", "managedFields")
    return isinstance(listed, list) and any(isinstance(each, dict) and each.get("manager") == "eks" for each in listed)


def _value(variable: daemonset.Variable | None) -> str:
    return variable.value or "" if variable is not None else ""
