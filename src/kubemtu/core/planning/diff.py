"""A plan for people's eyes: every edit as a unified diff, what it touches, and the way back."""

import difflib
from collections import Counter
from collections.abc import Iterator

import msgspec

from kubemtu.core.change import migration, undo
from kubemtu.core.change.plan import EditValue, Live, NodeTarget, Plan, Rollout
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.objects import Value, dotted, last
from kubemtu.core.text import yaml_edit
from kubemtu.core.text.wording import count, names

CUT = 60  # characters of a line that are shown


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan touches: CNI pods that restart, by node, and running pods that are changed, by node."""

    restarts: dict[str, str]
    touched: dict[str, int]


def unified(edit: EditValue) -> str:
    """Return the edit as a unified diff of the value's text, headed by the object and the path of the value."""
    place = f"{edit.ref}, {dotted(edit.path)}"
    was = f"{edit.ref} is not there" if edit.creates and edit.before is None else place
    lines = difflib.unified_diff(_lines(edit.before), _lines(edit.after), was, place, lineterm="")
    return "\n".join(lines)


def _lines(value: Value) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [yaml_edit.member(key, held) for key, held in value.items()]
    # An empty value and an absent key differ in everything that matters, so the empty one gets a line.
    return str(value).splitlines() or ['""']


def brief(edit: EditValue) -> str:
    """Return the edit in a few words: the key and what becomes of it (`mtu: 1450 → 8950`), or the lines that differ."""
    key = last(edit.path)
    if edit.creates:
        return "deleted, as it was made" if edit.after is None else f"made, with {key} {_quoted(edit.after)}"
    if edit.after is None:
        return f"{key} taken away"
    if edit.before is None:
        return f"{key} added, {_quoted(edit.after)}"
    lines = [line for line in difflib.ndiff(_lines(edit.before), _lines(edit.after)) if line[:2] in {"- ", "+ "}]
    gone = [line[2:].strip() for line in lines if line[0] == "-"]
    new = [line[2:].strip() for line in lines if line[0] == "+"]
    if not gone and not new:
        return f"{key}: only its line ends differ"
    if len(gone) == len(new) == 1:
        one_line = "\n" not in f"{edit.before}{edit.after}"
        return f"{key}{'' if one_line else ', 1 line changed'}: {' → '.join(map(_cut, _differing(gone[0], new[0])))}"
    parts = [
        f"{count(len(found), 'line')} {what}{f': {_cut(found[0])}' if len(found) == 1 else ''}"
        for found, what in ((gone, "removed"), (new, "added"))
        if found
    ]
    return f"{key}, {' and '.join(parts)}"


def _quoted(value: Value) -> str:
    if isinstance(value, dict):
        return _cut(", ".join(_lines(value)))
    return _cut(str(value)) or '""'


def _differing(old: str, new: str) -> tuple[str, str]:
    """Return two lines without what they have in common before the member that differs."""
    same = next((place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), len(old))
    start = max(old.rfind(sign, 0, same) + 1 for sign in ",{[")
    return (old[start:], new[start:]) if len(old) > CUT or len(new) > CUT else (old, new)


def _cut(text: str) -> str:
    text = " ".join(text.rstrip(",").split())
    return text if len(text) <= CUT else f"{text[: CUT - 1]}…"


def reach(whole: Plan, topology: Topology) -> Reach:
    """Return what the plan touches, as observed now."""
    daemonsets = {step.ref.name for step in whole.steps if isinstance(step, Rollout)}
    restarts = {pod.node: pod.name for pod in topology.cni_pods} if daemonsets else {}
    live = [node for step in whole.steps if isinstance(step, Live) for node in step.nodes]
    touched = {node.node: changed for node in live if (changed := _changing(node))}
    return Reach(restarts=restarts, touched=touched)


def _changing(node: NodeTarget) -> int:
    """Say how many pods of a node get another MTU; all where an older plan does not say."""
    return node.running if node.changing is None else node.changing


def steps(whole: Plan) -> Iterator[str]:
    """Return the steps in their order, a line each."""
    for step in whole.steps:
        match step:
            case EditValue() if step.creates:
                yield f"make {step.ref}, with {dotted(step.path)}: {step.why}"
            case EditValue():
                yield f"edit {step.ref}, {dotted(step.path)}: {step.why}"
            case Rollout():
                proof = f"; then every node's {step.conflist} must say {step.mtu}" if step.conflist and step.mtu else ""
                yield f"restart the pods of {step.ref} and wait until all are ready{proof}"
            case Live():
                yield _live(step)


def _live(step: Live) -> str:
    if step.only_hosts:
        return (
            f"pin the own routes of {count(len(step.nodes), 'node')}, to each other and to the API server, to"
            f" {step.host_mtu}, live; no pod is touched"
        )
    if step.relieves:
        running = sum(node.running for node in step.nodes)
        own = (
            f"; the nodes' own routes to each other and to the API server to {step.host_mtu}"
            if step.host_mtu is not None
            else ""
        )
        return (
            f"pin all senders to {step.pin_mtu}, live: those of {count(running, 'running pod')} and of "
            f"{count(len(step.nodes), 'node')}{own}; from then on nothing too large is sent, however long the rest "
            "takes"
        )
    running = sum(map(_changing, step.nodes))
    to = f"to {_aims(step)}" if step.nodes else ""
    tunnels = sorted({node.tunnel or "" for node in step.nodes if node.tunnel_mtu is not None})
    besides = f", and {names(tunnels)}," if tunnels else ""
    ends = f"both ends of {count(running, 'running pod')}" if running else "what is below the running pods"
    if running and step.by_route:
        ends = f"the routes of {count(running, 'running pod')}"
    pins = (
        "while all senders are pinned, pins off last"
        if step.start is migration.Phase.DEVICES
        else f"all senders pinned to {step.pin_mtu} first, devices next, pins off last"
    )
    routes = f", with {_routes(step)}" if step.hold else ""
    return f"take {ends} on {count(len(step.nodes), 'node')}{besides} {to}{routes}, live: {pins}; no pod restarts"


def _aims(step: Live) -> str:
    """Return the MTU that pods get; where it depends on their node, on how many of those each."""
    sizes = Counter(node.pod_mtu for node in step.nodes)
    if len(sizes) == 1:
        return str(next(iter(sizes)))
    return names(f"{mtu} on {count(nodes, 'node')}" for mtu, nodes in sorted(sizes.items(), reverse=True))


def _routes(step: Live) -> str:
    """Say which routes pods get besides, as it follows "with"."""
    most = max(len(node.network_mtus) for node in step.nodes)
    out = {node.default_route_mtu for node in step.nodes} - {None}
    said = [f"up to {count(most, 'route')} by destination in each pod"] if most else []
    said += [f"{min(mtu for mtu in out if mtu is not None)} by the default route"] if out else []
    return names(said)


def back(whole: Plan) -> Iterator[str]:
    """Return the steps that undo the whole plan, a line each."""
    for step in undo.undo(whole, len(whole.steps), None):
        match step:
            case EditValue() if step.creates:
                yield f"delete {step.ref}, if nobody has changed it"
            case EditValue():
                value = "remove the key" if step.after is None else f"back to {_short(step.after)}"
                yield f"edit {step.ref}, {dotted(step.path)}: {value}"
            case Rollout():
                yield f"restart the pods of {step.ref}"
            case Live() if step.lets_hosts_go:
                yield "take the nodes' own routes to each other and to the API server away"
            case Live() if step.relieves:
                yield f"pin all senders to {step.pin_mtu} again"
            case Live():
                yield "take every device and route back to what its node recorded, by the same phases"


def _short(value: str | int | dict[str, str]) -> str:
    if isinstance(value, int):
        return str(value)
    text = "\n".join(_lines(value))
    return f"{text!r}" if len(text) <= 20 and "\n" not in text else "the text it was, byte for byte"
