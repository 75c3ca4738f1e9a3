"""Configuration: the number in the cluster against the path, and each node's files against the number."""

from collections.abc import Iterable

import msgspec

from kubemtu.core import codes, encap, places
from kubemtu.core.cluster import drift, goodput, pods
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.cluster.node_files import Rendered
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.rules import runtime
from kubemtu.core.text.wording import names, sizes

# A file system's clock and the API's whole seconds differ; an installer that lingers writes only after it has copied
# its binaries, and nothing says when it was done.
CLOCK_SLACK = 2.0
USUAL_NIC = 1500  # bytes, of the example where no NIC is known
COPYING = 10.0
LOOPBACK = 65536  # drivers/net/loopback.c


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report a wrong number (MTU119, MTU114), nodes with another (MTU103), edits on them (MTU110), junk (MTU122).

    And pods of the CNI that are down already because a key is missing (MTU108).
    """
    return (*_refused(topology), *_configured(topology), *_nodes(topology))


def _refused(topology: Topology) -> Iterable[Finding]:
    namespace = topology.state.daemonset.namespace if topology.state.daemonset is not None else ""
    for pod in topology.cni_pods:
        if pod.refused:
            yield codes.finding(
                codes.MTU108,
                places.on(pod.node, f"pod {namespace}/{pod.name}"),
                f"It is down already: {pod.refused}. Pods of this node keep what they have, and nothing here follows a"
                " change any more.",
                "Put the key back where it belongs; the kubelet then starts the container by itself.",
            )


def key_place(state: CniState) -> str:
    """Name the key that holds the MTU, most general first; the CNI where there is none."""
    key = next((key for key in state.mtu_keys if key.effective), next(iter(state.mtu_keys), None))
    return str(key) if key is not None else state.source or state.said


def _configured(topology: Topology) -> Iterable[Finding]:
    configured, carries = topology.born, topology.carries
    place = key_place(topology.state)
    if carries is None:
        yield from _whatever(topology, place)
    if configured is not None and topology.ipv6 and configured < encap.IPV6_MINIMUM:
        yield codes.finding(
            codes.MTU114,
            place,
            f"New pods get {configured}, and the pod network has IPv6, which needs 1280 on every link (RFC 8200, "
            "section 5): Linux takes IPv6 off an interface below it.",
            "Give it 1280 or more." if carries is None or carries >= encap.IPV6_MINIMUM else "Raise the NICs first.",
        )
    if carries is not None and topology.ipv6 and carries < encap.IPV6_MINIMUM:
        yield codes.finding(
            codes.MTU114,
            f"{_narrow(topology)}",
            f"The path between nodes carries {carries} bytes of a pod, and the pod network has IPv6, which needs 1280 "
            "(RFC 8200, section 5). No pod MTU suits both.",
            "Raise the MTU of the NICs, or take a layer of encapsulation away.",
        )
        return
    if carries is not None and carries < encap.IPV6_MINIMUM:
        yield codes.finding(
            codes.MTU114,
            _narrow(topology),
            f"The path between nodes carries {carries} bytes of a pod: IPv6 cannot live on it, because it needs 1280 on"
            " every link (RFC 8200, section 5). Nothing is lost as long as the pods have IPv4 only.",
            "Keep the pod network to IPv4, or raise the MTU of the NICs before it gets IPv6.",
            "warning",
        )
    if configured is None or carries is None or not _unfit(topology, configured, carries):
        return
    computed = topology.state.pod_mtu is None
    how = f"No MTU is configured, so {_computed(topology.state)} new pods get"
    yield _wrong(topology, configured, carries, place, how if computed else "New pods get")


def _unfit(topology: Topology, mtu: int, carries: int) -> bool:
    """Say whether a number is too large, gives away enough to be told of, or is small by a mistake that has a name."""
    if mtu > carries or not topology.wastes(mtu):
        return mtu > carries
    return _given_away(topology, mtu, carries) >= goodput.WORTH_A_NOTE or bool(_twice(topology.state, carries))


def _given_away(topology: Topology, mtu: int, carries: int) -> float:
    """Return the part of the goodput that pods of that MTU give away."""
    return goodput.lost(mtu, carries, topology.state.cost)


def _computed(state: CniState) -> str:
    """Say how the CNI comes to what new pods get, as the beginning of a sentence that ends with it."""
    return f"{state.said} takes {state.subtracts} off the NIC and" if state.subtracts else "the NIC's is taken and"


def _whatever(topology: Topology, place: str) -> Iterable[Finding]:
    """Judge where no NIC is known: what the CNI leaves is too much on any, when it takes off less than goes around."""
    state, nic = topology.state, USUAL_NIC
    if state.pod_mtu is not None or state.subtracts is None or not state.encapsulation_known:
        return
    carries = min((one.inner(nic) for one in state.encapsulation), default=nic)
    off = f"{state.subtracts} less than" if state.subtracts else "what"
    if carries < nic - state.subtracts:
        yield codes.finding(
            codes.MTU119,
            place,
            f"No MTU is configured, so new pods get {off} the NIC has, and the headers of {state.encapsulation_name}"
            f" take {nic - carries}: on NICs of {nic}, new pods get {nic - state.subtracts} and the path carries"
            f" {carries}. Packets of {sizes(carries + 1, nic - state.subtracts)} bytes do not fit.",
            "Configure the MTU: `kubemtu plan --nic-mtu N` computes it from the smallest NIC.",
        )


def _wrong(topology: Topology, mtu: int, carries: int, place: str, subject: str) -> Finding:
    working = " ▸ ".join(f"{layer.name} {layer.size}" for layer in topology.layers)
    by = f", as {topology.origin.says} says" if topology.origin is not None else ""
    last = next((key.written_by for key in topology.state.mtu_keys if key.effective and key.written_by), "")
    fact = f"{subject} {mtu}, but the path between nodes carries {carries} ({working}{by})."
    fact += f" The key was last written by {last}." if last else ""
    owner = topology.state.owner
    fact += f" It is kept by {owner}, which writes its own number back." if owner else ""
    fact += "".join(
        f" {key.ref}, which is made from it, was last written by {key.written_by}."
        for key in topology.state.mtu_keys
        if key.copied and key.written_by
    )
    best = topology.recommended or carries
    key, written = key_place(topology.state), _written(topology.state, best)
    aim, way = f"Set {'it' if key == place else key} to {written}", "shows the edit, `kubemtu apply` makes it"
    if topology.state.mtu_keys and topology.state.mtu_keys[0].ref.of_file:
        way = "shows the edit, and with --in-place FILE makes it"
    if not topology.state.mtu_keys:
        aim, way = f"Give pods {best}", "says what that takes"
    if mtu > carries:
        return codes.finding(
            codes.MTU119,
            place,
            f"{fact} Each of them will send packets of {sizes(carries + 1, mtu)} bytes that do not fit.",
            f"{aim}: `kubemtu plan` {way}.",
        )
    part = _given_away(topology, mtu, carries)
    fact += _twice(topology.state, carries)
    return codes.finding(
        codes.MTU119,
        place,
        f"{fact} TCP gets {part:.1%} less of a full link than it could.",
        f"{aim}, if the network between the nodes carries "
        f"{'that' if topology.origin is not None else 'what the NICs say'}.",
        "warning" if part >= goodput.WORTH_A_WARNING else "note",
    )


def _twice(state: CniState, carries: int) -> str:
    """Say so where somebody has taken the headers off already, and the CNI does it again."""
    key = next((key for key in state.mtu_keys if key.effective and key.value is not None), None)
    if key is None or key.means != "base" or not key.subtracts or key.value is None:
        return ""
    if not carries - state.reserves <= key.value <= carries:
        return ""
    who = state.said
    return f" The number there is the underlay's, and {who} takes {key.subtracts} off it: it was taken off twice."


def _written(state: CniState, pod_mtu: int) -> int:
    """Return the number as it stands in the key, which may count the underlay's packet instead of the pod's."""
    return pod_mtu + (state.mtu_keys[0].subtracts if state.mtu_keys else 0)


def _narrow(topology: Topology) -> str:
    node = topology.narrowest
    if topology.origin is not None:
        return str(topology.origin)
    return f"node {node.name}, {node.nic}" if node is not None and node.nic else "the NICs of the nodes"


def _nodes(topology: Topology) -> Iterable[Finding]:
    born: dict[tuple[int, str, str], list[Node]] = {}
    restart = _restart(topology)
    for node in topology.nodes:
        conflist = node.rendered
        if conflist is None:
            continue
        if conflist.plugins is None:
            yield codes.finding(
                codes.MTU122,
                places.on(node.name, conflist.path),
                "The file is not a CNI configuration: it is no JSON, or lists no plugins. No new pod starts here.",
                "Restart the CNI's pod on this node, which writes the file anew; if it comes back so, correct its "
                "template.",
            )
            continue
        if conflist.refused:
            type_, quotes = ("a text", "in") if conflist.as_text else ("an integer", "without")
            yield codes.finding(
                codes.MTU112,
                places.on(node.name, conflist.path),
                f"The MTU is {conflist.refused}; the plugin takes only {type_}, so no new pod starts here.",
                f"Write the number {quotes} quotes where the file is made from, then restart the CNI's pod here.",
            )
            continue
        if conflist.gives is not None and not encap.IPV4_MINIMUM <= conflist.gives <= encap.LARGEST_MTU:
            yield _impossible(node, conflist, conflist.gives)
            continue
        if runtime.foreign(node, topology):
            continue
        stale = _stale(topology, node, conflist, restart)
        if stale is not None:
            yield stale
        elif topology.bears(node) or topology.outside(node):
            continue  # its agent gives them the routes that go with it, or MTU132 says that it does not
        elif conflist.gives is not None and conflist.taken is None and _decided_here(topology, node, conflist):
            born.setdefault((conflist.gives, conflist.by, conflist.written_by), []).append(node)
    yield from _born(topology, born)


def _impossible(node: Node, conflist: Rendered, gives: int) -> Finding:
    """Report an MTU that no veth takes (drivers/net/veth.c veth_setup: ETH_MAX_MTU)."""
    loopback = (
        f" {LOOPBACK} is what a loopback device has: where the node's address is on that one, whoever takes the MTU of"
        " the device with the node's address finds this."
        if gives == LOOPBACK
        else ""
    )
    return codes.finding(
        codes.MTU112,
        places.on(node.name, conflist.by or conflist.path),
        f"The MTU is {gives}, and an interface of a pod takes {encap.IPV4_MINIMUM} to {encap.LARGEST_MTU}: no new pod"
        f" starts here.{loopback}",
        "Write a number that fits the NIC where the file is made from, then restart the CNI's pod here.",
    )


def _decided_here(topology: Topology, node: Node, conflist: Rendered) -> bool:
    """Return True where the node decides, or gives another number than the others because a file lacks there."""
    state = topology.state
    if state.pod_mtu is None:
        return True
    own = conflist.literal is None and not conflist.written_by and conflist.by != conflist.path
    return own and state.conflist_mtu is None and conflist.gives != state.pod_mtu and node.seen.seen_by == "agent"


def _born(topology: Topology, born: dict[tuple[int, str, str], list[Node]]) -> Iterable[Finding]:
    """Hold what each node decided against the path, where nothing is configured."""
    carries = topology.carries
    for (gives, by, daemon), nodes in born.items():
        if carries is not None and _unfit(topology, gives, carries):
            place = f"{'node' if len(nodes) == 1 else 'nodes'} {names(node.name for node in nodes)}, {by}"
            found = _wrong(topology, gives, carries, place, "No MTU is configured, so new pods here get")
            yield found if not daemon else _rewritten(topology, nodes, gives, daemon, found)


def _rewritten(topology: Topology, nodes: list[Node], gives: int, daemon: str, finding: Finding) -> Finding:
    """Say so where the daemon will write another number at its next start: the file was edited, or is old."""
    taken = topology.state.subtracts
    assumed = topology.assumed_nic if topology.assumed_by is None else None  # else it is the path's, and no NIC's
    nics = {node.nic_mtu if node.nic_mtu is not None else assumed for node in nodes}
    computed = {nic - taken for nic in nics if taken is not None and nic is not None}
    if len(computed) != 1 or gives in computed:
        return finding
    will = computed.pop()
    return msgspec.structs.replace(
        finding,
        message=f"{finding.message} {daemon.capitalize()} writes this file anew at each start and will write {will}"
        f" (the NIC less {taken}): an edit here does not last.",
        remedy=f"Restart {daemon} on this node, which writes {will}. Another number belongs into"
        f" {key_place(topology.state)}.",
    )


def _stale(topology: Topology, node: Node, conflist: Rendered, restart: str) -> Finding | None:
    state = topology.state
    if conflist.written_by and state.conflist_mtu is None:
        wanted, holds, path = state.pod_mtu, conflist.gives, conflist.by
        if wanted is None:
            return None
    else:
        if state.conflist_mtu is None and (state.conflist_template is None or _broken(state)):
            return None
        wanted, holds, path = state.conflist_mtu, conflist.literal, conflist.path
    room = topology.room(node)
    fits = None if room is None or conflist.gives is None else conflist.gives <= room
    template = state.conflist_template if path == conflist.path else None
    apart = drift.differences(template, conflist.text) if template is not None else ()
    if wanted == holds and not apart:
        return None
    here = f"The file says {holds or 'no MTU'}, the configuration {wanted or 'none'}" if wanted != holds else ""
    if apart:
        here += f"{'; besides, it' if here else 'The file'} differs from its template at {names(apart)}"
    # Another plugin's installer that chained itself in has written the file later, and nobody edited it.
    late = _edited(node.cni_pod, conflist.modified) and not (template and drift.chained(template, conflist.text))
    if path == conflist.path and (late or (apart and _unknown(node.cni_pod, conflist.modified))):
        by = (
            "it was written after the CNI's installer had finished here, so by somebody else"
            if late
            else "nobody but the CNI's installer should write it"
        )
        return codes.finding(
            codes.MTU110,
            places.on(node.name, path),
            f"{here}; {by}. It counts (new pods get {conflist.gives or 'what the plugin decides'}) until the CNI's pod "
            "restarts and writes it anew.",
            f"Change the configuration instead ({key_place(state)}): `kubemtu plan` shows how."
            if wanted != holds
            else f"Change its template instead, where that is wanted; if not: {restart}",
            "error" if fits is False and wanted != holds else "warning",
        )
    return codes.finding(
        codes.MTU103,
        places.on(node.name, path),
        f"{here}. New pods on this node get {conflist.gives or 'what the plugin decides'}: the CNI's pod here has not "
        "been restarted since the configuration changed.",
        restart,
        "warning" if fits else "error",
    )


def _restart(topology: Topology) -> str:
    """Say how the CNI is restarted, and what must come first: a pod that stays down takes its node's network along."""
    if topology.state.daemonset is None:
        return "restart the CNI on this node."
    namespace, name = topology.state.daemonset.namespace, topology.state.daemonset.name
    command = f"kubectl -n {namespace} rollout restart daemonset/{name}, or `kubemtu apply`."
    if any(finding.code == codes.MTU108.code for finding in topology.state.findings):
        return f"First put the missing key back ({codes.MTU108.code}), else no pod of {name} comes back; then {command}"
    if topology.without_nic:
        reader = topology.state.nic_reader or topology.state.said
        return f"First name a NIC that every node has ({codes.MTU109.code}), else {reader} exits; then {command}"
    return command


def _broken(state: CniState) -> bool:
    """Return True when no installer could render the configuration, which then says nothing about the nodes' files."""
    broken = {codes.MTU108.code, codes.MTU112.code, codes.MTU122.code}
    return any(found.code in broken for found in state.findings)


def _unknown(cni_pod: pods.CniPod | None, modified: float) -> bool:
    return cni_pod is None or cni_pod.installed is None or not modified


def _edited(cni_pod: pods.CniPod | None, modified: float) -> bool:
    if cni_pod is None or cni_pod.installed is None or not modified:
        return False
    return modified > cni_pod.installed + (COPYING if cni_pod.lingers else CLOCK_SLACK)
