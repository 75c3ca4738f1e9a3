"""What a change of the pods' MTU does to what runs inside them: nothing, and that is what it must be told of."""

from kubemtu.core.cluster import nesting
from kubemtu.core.cluster.nesting import Nested
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.text.wording import count, names

DEVICES_MOST = 4  # that are named by their sizes


def remains(topology: Topology, aim: int) -> tuple[str, ...]:
    """Say which pods hold containers or virtual machines that stay larger than pods of `aim` bytes; empty: none."""
    held = _larger(topology, aim, joined=False)
    if not held:
        return ()
    said = (
        f"What {count(len(held), 'pod')} {'runs' if len(held) == 1 else 'run'} inside ({names(held)}) stays as large as"
        f" it is, above {aim}: {_sizes(held)}. It hangs on large replies from outside the pod network, where they are"
        " not told; `kubemtu check` has the flags for each (MTU131)."
    )
    return (said,)


def warnings(topology: Topology, aim: int) -> tuple[str, ...]:
    """Say which virtual machines lose packets by the change, because a bridge joins them to the pod's own interface."""
    held = _larger(topology, aim, joined=True)
    if not held:
        return ()
    said = (
        f"Guests that are bridged to their pod's own interface keep {_sizes(held)} in {names(held)}: from the change"
        f" on, what they send above {aim} vanishes, until they are restarted or migrated."
    )
    return (said,)


def _larger(topology: Topology, aim: int, *, joined: bool) -> dict[str, tuple[Nested, ...]]:
    found = {
        port.pod: tuple(
            one for one in nesting.larger(port.at, port.about, aim) if one.attached and one.joined == joined
        )
        for _, port in topology.ports
        if port.at.inner
    }
    return {pod: nested for pod, nested in found.items() if nested}


def _sizes(held: dict[str, tuple[Nested, ...]]) -> str:
    return names(dict.fromkeys(f"{one.device} {one.size}" for nested in held.values() for one in nested), DEVICES_MOST)
