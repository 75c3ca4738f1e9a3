"""How a change is put into words while it is made: a line a step, a line a phase."""

from collections.abc import Iterable, Iterator, Mapping

from kubemtu.core.change import migration, plan
from kubemtu.core.objects import last
from kubemtu.core.planning import diff
from kubemtu.core.probe import proof
from kubemtu.core.text.wording import by_node, count
from kubemtu.flows.agents import events

HELD = (
    "in force until `kubemtu rollback`: agents keep this, and give it to pods that are born later; to nodes that join, "
    "`kubemtu apply` does"
)


def headline(step: plan.Step) -> str:
    """Return a step in one line, for people."""
    match step:
        case plan.EditValue() if step.creates:
            return f"{'make' if step.after is not None else 'delete'} {step.ref}: {step.why}"
        case plan.EditValue():
            return f"edit {step.ref}, {last(step.path)}: {step.why}"
        case plan.Rollout():
            return f"restart the pods of {step.ref}: {step.why}"
        case plan.Live():
            pods = count(sum(node.running for node in step.nodes), "running pod")
            if step.lets_hosts_go:
                return f"take the pins of the own traffic of {count(len(step.nodes), 'node')} back, live"
            if step.only_hosts:
                return f"pin the own traffic of {count(len(step.nodes), 'node')} to {step.host_mtu}, live: {step.why}"
            if step.relieves:
                return (
                    f"pin the senders of {pods} on {count(len(step.nodes), 'node')} to {step.pin_mtu}, live: {step.why}"
                )
            if step.restore:
                return f"take {pods} on {count(len(step.nodes), 'node')} back to what was recorded, live"
            return f"change {pods} on {count(len(step.nodes), 'node')}, live: {step.why}"


def edited(step: plan.EditValue, *, already: bool) -> str:
    """Return what an edit did, in one line."""
    return f"{step.ref}: {'was so already' if already else diff.brief(step)}"


def meaning(phase: migration.Phase, step: plan.Live) -> str:
    """Return what a phase does, for people."""
    if step.lets_hosts_go:
        return "nodes send freely to each other and to the API server"
    if step.only_hosts and step.relieves:
        return f"nodes send at most {step.host_mtu} to each other and to the API server"
    if step.relieves:
        return f"pods and nodes send at most {step.pin_mtu}"
    to = "what was recorded" if step.restore else by_node(step.pod_mtus or (step.pin_mtu,))
    if by_destination(step) and phase is migration.Phase.UNPIN_PODS:
        most = pod_target(step)
        return "added routes go, pods send freely" if step.restore else f"pods send {most} at most, by destination"
    if step.by_route and not step.restore and phase in {migration.Phase.DEVICES, migration.Phase.UNPIN_PODS}:
        devices = by_node([node.device_mtu or node.pod_mtu for node in step.nodes])
        stay = phase is migration.Phase.DEVICES
        return f"both ends of every veth stay at {devices}" if stay else f"the routes of pods go to {to}"
    return {
        migration.Phase.RECORD: "each node journals what it has",
        migration.Phase.PIN_PODS: f"pods send at most {step.pin_mtu}",
        migration.Phase.PIN_OVERLAY: f"nodes send at most {step.pin_mtu} to other nodes' pods",
        migration.Phase.PIN_PORTS: f"nodes send at most {step.pin_mtu} to their own pods",
        migration.Phase.DEVICES: f"both ends of every veth go to {to}",
        migration.Phase.UNPIN_PORTS: "nodes send freely to their own pods",
        migration.Phase.UNPIN_OVERLAY: "nodes send freely to other nodes' pods",
        migration.Phase.UNPIN_PODS: "pods send freely",
        migration.Phase.SETTLE: "learned path MTUs are forgotten",
    }[phase]


def phase_line(phase: migration.Phase, step: plan.Live, applied: Iterable[migration.Applied], seconds: float) -> str:
    """Say in one line that a phase is done."""
    told = list(applied)
    pods, changed = sum(one.pods for one in told), sum(one.settings_changed for one in told)
    counts = f"{count(len(told), 'node')}, {count(pods, 'pod')}, {count(changed, 'setting')}, {seconds * 1000:.0f} ms"
    return f"{phase:<13} {meaning(phase, step):<48}  {counts}"


def phase_events(
    phase: migration.Phase, step: plan.Live, applied: Mapping[str, migration.Applied], seconds: float
) -> Iterator[events.Event]:
    """Return what there is to tell of one phase, done: an event a node, and one for all."""
    for name, one in sorted(applied.items()):
        text = f"{phase}: {one.pods} pods, {one.settings_changed} changed, {one.duration_seconds * 1000:.0f} ms"
        yield events.Event(kind="node", node=name, text=text)
    yield events.Event(
        kind="phase",
        text=phase_line(phase, step, applied.values(), seconds),
        phase=phase,
        nodes=len(applied),
        pods=sum(one.pods for one in applied.values()),
        changed=sum(one.settings_changed for one in applied.values()),
        seconds=round(seconds, 4),
    )


def live(step: plan.Live, applied: Mapping[str, migration.Applied], changed: int) -> str:
    """Return what a live step did, in one line."""
    pods = sum(one.pods for one in applied.values())
    nodes = f"{count(len(applied), 'node')}, {count(changed, 'setting')} changed"
    if step.lets_hosts_go or step.only_hosts:
        return f"{nodes}; {meaning(step.until, step)}"
    where = f"{count(pods, 'pod')} on {nodes}"
    return f"{where}; none of them sends more than {step.pin_mtu}" if step.relieves else f"{where} in place"


def recorded(nodes: int) -> str:
    """Return what was recorded before the first step, in one line."""
    return f"{count(nodes, 'node')} {'has' if nodes == 1 else 'have'} written down what they have"


def surveyed(verdict: proof.Proof, size: int) -> str:
    """Return what was measured between the nodes, in one line; empty where there was nothing to measure."""
    if verdict.verdict == "held":
        return f"{verdict.arrived} of {verdict.probes} packets of {size} bytes between the nodes arrived"
    if verdict.unanswered:
        return "what the network between the nodes carries is not known: nothing is answered there"
    return ""


class Restart:
    """Counts the new pods of a restart, so that a large cluster is told of in ten lines and not in a thousand."""

    def __init__(self, tell: events.OnEvent, step: int) -> None:
        self._tell = tell
        self._step = step
        self._ready: dict[str, bool] = {}
        self._told = 0

    def node(self, node: str, text: str) -> None:
        """Hear what happens to the pod of one node, or, without one, what is waited for."""
        if not node:
            self._tell(events.Event(kind="progress", text=text, step=self._step))
            return
        self._tell(events.Event(kind="node", node=node, text=text, step=self._step))
        self._ready[node] = text.startswith("new pod") and text.endswith("is ready")
        ready, of = sum(self._ready.values()), len(self._ready)
        if ready > self._told and (ready == of or ready - self._told >= of / 10):
            self._told = ready
            line = f"{ready} of {of} new pods {'is' if ready == 1 else 'are'} ready"
            self._tell(events.Event(kind="progress", text=line, step=self._step))


def by_destination(step: plan.Live) -> bool:
    """Say whether what pods send depends on where to."""
    return any(node.network_mtus or node.default_route_mtu is not None for node in step.nodes)


def pod_target(step: plan.Live) -> int:
    """Return the pod MTU that the step leads to: the largest, where nodes differ."""
    return max((node.pod_mtu for node in step.nodes), default=step.pin_mtu)
