"""What Felix finds by itself where no MTU is configured: the NICs that it looks at, and what it takes off for tunnels.

Read in projectcalico/calico at 87c15906: felix/dataplane/linux/int_dataplane.go:1731-1871.
"""

import re
from collections.abc import Iterable

from kubemtu.cni.objects import daemonset, reading
from kubemtu.cni.programs import felix
from kubemtu.cni.programs.felix import Felix
from kubemtu.core import codes, net, places
from kubemtu.core.cluster import node_files
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import digits

FALLBACK = 1460  # bytes: int_dataplane.go, when no NIC matches
CNI_READS_FILE_SINCE = (3, 17, 0)  # Calico's CNI plugin; before it, an mtu of 0 meant the kernel's default


def auto_mtu(nics: Iterable[net.Link], pattern: str, encaps: Iterable[Encapsulation]) -> int:
    """Return the pod MTU, in bytes, that Felix finds for a node without any configured one.

    The smallest MTU among NICs that are up and match `pattern` (1460 when none does), minus the largest cost.
    Raises re.error when the pattern is none.
    """
    host = min((nic.mtu for nic in nics if nic.up and re.search(pattern, nic.name)), default=FALLBACK)
    return host - max((each.cost for each in encaps), default=0)


def subtracts(policy: Felix, agent: Object | None) -> int | None:
    """Return the bytes that Felix takes off a NIC for new pods; None where a number or an old CNI decides."""
    version = reading.attempt(lambda: daemonset.version(agent, "install-cni", "calico-node"), None, [], str(agent))
    if any(name in policy.sizes for name in policy.on) or (version is not None and version < CNI_READS_FILE_SINCE):
        return None
    return max((felix.cost(name) for name in policy.on), default=0)


def undetected(snapshot: Snapshot, pattern: str) -> tuple[Finding, ...]:
    """Return MTU120 for each node whose NIC to its peers does not match the pattern."""
    out = []
    for node in snapshot.nodes:
        missed = sorted({uplink.device for uplink in node.uplinks if not re.search(pattern, uplink.device)})
        if all(_same(node, device, pattern) for device in missed):
            continue
        seen = sorted(link.name for link in node.links if link.up and re.search(pattern, link.name))
        takes = f"it takes {', '.join(seen)} instead" if seen else f"it takes {FALLBACK} bytes instead"
        out.append(
            codes.finding(
                codes.MTU120,
                places.on(node.node, ", ".join(missed)),
                f"Pods' packets leave through {', '.join(missed)}, which mtuIfacePattern does not match; {takes}.",
                f"Set mtuIfacePattern of the FelixConfiguration default to a pattern that matches {', '.join(missed)},"
                " or set the MTU explicitly.",
            )
        )
    return tuple(out)


def _same(node: net.NodeObservation, device: str, pattern: str) -> bool:
    """Return True when a device is missed and nothing is lost by it: Felix finds the same MTU at its slaves."""
    link, matched = node.link(device), [each for each in node.links if each.up and re.search(pattern, each.name)]
    smallest = min((each.mtu for each in matched), default=None)
    return link is not None and link.mtu == smallest and any(each.master == device for each in matched)


def unconfigured(policy: Felix, agent: Object | None, snapshot: Snapshot, out: list[Finding]) -> int | None:
    """Return the MTU in bytes of a new pod where the CNI configuration gives none; None when it cannot be known.

    From v3.17 the plugin takes what Felix has found; before, and without a file of Felix, the kernel's default stays.
    NICs that the detection misses go to `out`.
    """
    if agent is None:
        return None
    version = reading.attempt(lambda: daemonset.version(agent, "install-cni", "calico-node"), None, out, str(agent))
    if version is not None and version < CNI_READS_FILE_SINCE:
        return node_files.KERNEL_DEFAULT
    if not policy.automatic:
        return policy.pod_mtu(0)
    out += undetected(snapshot, policy.pattern)
    sizes = set()
    for node in snapshot.nodes:
        written = node.file(felix.MTU_FILE)
        size = digits.number(written.text.strip()) if written is not None else None
        if size is not None:
            sizes.add(size)
        elif node.links:
            sizes.add(policy.pod_mtu(auto_mtu(node.links, policy.pattern, ())))
    return sizes.pop() if len(sizes) == 1 else None
