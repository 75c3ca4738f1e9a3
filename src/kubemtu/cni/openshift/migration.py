"""spec.migration.mtu of OpenShift's network operator: what is asked for, how far it is, and why it would be refused.

While it lasts, devices have the larger of both numbers and routes the smaller, so nothing is lost; each node is
rebooted twice (openshift/enhancements: enhancements/network/allow-mtu-changes.md; the checks are those of
openshift/cluster-network-operator: pkg/network/ovn_kubernetes.go isOVNKubernetesChangeSafe).
"""

import msgspec

from kubemtu.cni.objects import reading
from kubemtu.core import codes, encap
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object

LEAST_IPV4 = 576  # bytes: pkg/network/mtu.go
MOST = 65536


class OpenShiftMigration(msgspec.Struct, frozen=True, kw_only=True):
    """One migration: the pods' MTU `before` and `to`, and the machines', in bytes; None what is not given."""

    before: int | None
    to: int | None
    machine: int | None

    @classmethod
    def of(cls, operator: Object | None, out: list[Finding]) -> "OpenShiftMigration | None":
        """Read the migration that is asked for; None when none is."""
        held = operator.get("spec", "migration", "mtu") if operator is not None else None
        if not isinstance(held, dict):
            return None
        place = f"{operator}, spec.migration.mtu"
        network, machine = held.get("network"), held.get("machine")
        inner = network if isinstance(network, dict) else {}
        outer = machine if isinstance(machine, dict) else {}
        return cls(
            before=reading.member(inner, "from", out, f"{place}.network"),
            to=reading.member(inner, "to", out, f"{place}.network"),
            machine=reading.member(outer, "to", out, f"{place}.machine"),
        )

    def finding(self, operator: Object, current: int | None, overhead: int, *, ipv6: bool) -> Finding:
        """Return MTU140: that it is under way, or, as an error, why the operator refuses it."""
        place = f"{operator}, spec.migration.mtu"
        against = self._against(current, overhead, ipv6=ipv6)
        if against:
            return codes.finding(
                codes.MTU140,
                place,
                f"The operator refuses this migration and is degraded: {against}.",
                "Correct it, or take it away: oc patch network.operator.openshift.io cluster --type=merge -p"
                ' \'{"spec": {"migration": null}}\'',
                "error",
            )
        return codes.finding(
            codes.MTU140,
            place,
            f"The pods' MTU goes from {self.before} to {self.to}, and the machines' to {self.machine}. Until both"
            " reboots of every node are over, devices have the larger number and routes the smaller, and nodes"
            " differ on purpose.",
            "Wait for the machine config pools (oc get mcp), then set the operator's own mtu to"
            f" {self.to} and migration to null, and wait again. Change nothing else meanwhile.",
        )

    def _against(self, current: int | None, overhead: int, *, ipv6: bool) -> str:
        """Return the first reason for which the operator refuses it; empty when it takes it."""
        if self.before is None or self.to is None or self.machine is None:
            return "network.from, network.to and machine.to must all be given"
        if current is not None and current not in {self.before, self.to}:
            return f"network.from is {self.before}, and {current} is in force"
        least = encap.IPV6_MINIMUM if ipv6 else LEAST_IPV4
        for name, size in (("network.to", self.to), ("machine.to", self.machine)):
            if not least <= size <= MOST:
                return f"{name} is {size}, and must be from {least} to {MOST}"
        if self.to + overhead > self.machine:
            return f"machine.to is {self.machine}, and must be at least {self.to + overhead} ({self.to} and {overhead})"
        return ""
