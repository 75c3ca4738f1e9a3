"""What a CNI module must be: the module itself satisfies the Protocol, which `mypy --strict` checks in the registry."""

from typing import Protocol

from kubemtu.cni.knowledge import Knowledge
from kubemtu.core import objects, snapshot
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state


class Cni(Protocol):
    """One kind of pod network: how it is recognised, where it keeps its MTU, what it takes to change it."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a constant of the module
        """The word used in findings and on the command line."""
        ...

    @property
    def KNOWLEDGE(self) -> Knowledge:  # noqa: N802 - a constant of the module
        """What all that lies outside of the module must know of this CNI."""
        ...

    @property
    def WANTS(self) -> tuple[objects.Want, ...]:  # noqa: N802 - a constant of the module
        """What must be read before `read` can tell anything."""
        ...

    def read(self, snapshot: snapshot.Snapshot) -> cni_state.CniState | None:
        """Describe the pod network, or return None when it is another one.

        What is broken inside becomes a finding of the state; raises nothing but KubemtuError.
        """
        ...

    def steps(self, state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
        """List what gives new pods an MTU of `target` bytes: edits of the source of truth, then the restart.

        `state` is what `read` has returned, with what it has parsed: nothing is read a second time. Raises UsageError
        when the configuration has no key to change, saying where it is kept instead.
        """
        ...
