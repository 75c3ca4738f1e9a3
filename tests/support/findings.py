"""What `check` finds in a cluster, as short as tests compare it."""

from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide


def judged(snapshot: Snapshot, nic_mtu: int | None = None) -> list[tuple[str, str]]:
    """Return codes and severities of what is found; `nic_mtu` is the smallest NIC where none was seen."""
    return [(one.code, one.severity) for one in decide.check(snapshot, nic_mtu).findings]
