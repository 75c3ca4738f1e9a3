"""One run of one MTUMigration: what is driven, how far it came, through which nodes, and who hears of it."""

import time

from kubemtu.core import net
from kubemtu.core.change import plan, undo
from kubemtu.flows.agents import events
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.flows.change import driver, messages, targets
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu


class Run:
    """What the steps, the phases and the checks of one run share."""

    def __init__(
        self,
        *,
        api: kube_api.Api,
        change: mtu.Migration,
        record: driver.Record,
        nodes: AgentWatch,
        on_event: events.OnEvent,
    ) -> None:
        self.api = api
        self.name = change.name
        self.plan = change.plan
        self.relief_only = change.direction == "relief"
        self.record = record
        self.nodes = nodes
        self.tell = on_event
        self.steps = undo.sequence(change.plan, change.progress)
        self.left: dict[str, None] = {}  # what nodes said that they leave as it is, in order
        self._joined: dict[str, net.NodeObservation] = {}
        self._began = time.monotonic()

    @property
    def progress(self) -> undo.Progress:
        """How far the change came."""
        return self.record.progress

    @property
    def forward(self) -> bool:
        """Whether this run makes the change, and does not take it back."""
        return self.progress.direction == "forward"

    @property
    def live(self) -> plan.Live | None:
        """The first step that changes running pods."""
        return next((step for step in self.steps if isinstance(step, plan.Live)), None)

    @property
    def last_live(self) -> plan.Live | None:
        """The step that says how everything should be in the end."""
        return plan.last_live(self.steps)

    @property
    def extends(self) -> bool:
        """True when all steps are done, and the last of them is led through its phases once more."""
        return self.forward and self.progress.phase is not None and self.progress.step >= len(self.steps)

    @property
    def holds(self) -> bool:
        """True when the nodes keep what the change made after its end."""
        last = self.last_live
        return self.forward and last is not None and last.hold

    def seconds(self) -> float:
        """Return how long this run has taken so far."""
        return round(time.monotonic() - self._began, 3)

    def note(self, text: str, node: str = "") -> None:
        """Tell something that is neither a step nor a phase."""
        self.tell(events.Event(kind="note", node=node, text=text))

    def targets(self, step: plan.Live) -> dict[str, plan.NodeTarget]:
        """Return what each node that is still there should be.

        Where others send less to a node that joined, it stays in once it was seen: its agent is then waited for.
        """
        observations = self.nodes.observations()
        if messages.by_destination(step):
            planned = {target.node for target in step.nodes}
            self._joined |= {name: seen for name, seen in observations.items() if name not in planned}
            observations = self._joined | observations
        present = targets.present(step, observations, self.nodes.pod_networks)
        return {name: target for name, target in present.items() if name not in self.nodes.gone}
