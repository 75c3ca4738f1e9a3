"""Rules of RBAC as values, and the names of kubemtu's own roles and kinds (rbac.authorization.k8s.io/v1 PolicyRule)."""

from collections.abc import Iterable
from typing import Final

import msgspec

from kubemtu.core.change import migration

VIEW: Final = "kubemtu-view"
OPERATOR: Final = "kubemtu-operator"
GROUP: Final = migration.GROUP
KINDS: Final = ("mtumigrations", "mtupolicies", "mtuprobes", "nodemtus")
"""The plurals of kubemtu's own kinds, each of which whoever views may read."""
READ: Final = ("get", "list", "watch")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of RBAC; `names` restrict it to objects of these names, where they are known beforehand."""

    group: str = ""
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    def body(self) -> dict[str, object]:
        """Return the rule as a role has it."""
        made: dict[str, object] = {"apiGroups": [self.group], "resources": [*self.resources], "verbs": [*self.verbs]}
        return made | ({"resourceNames": [*self.names]} if self.names else {})

    def __str__(self) -> str:
        plurals = ", ".join(f"{one}.{self.group}" if self.group else one for one in self.resources)
        return f"{', '.join(self.verbs)} {plurals}" + (f" named {', '.join(self.names)}" if self.names else "")


EXEC: Final = Rule(resources=("pods/exec",), verbs=("create", "get"))
"""What running a command in a pod needs: a GET opens the WebSocket that carries it and is authorized as `get`, and from
Kubernetes 1.35 on as `create` too (kubernetes: pkg/features, AuthorizePodWebsocketUpgradeCreatePermission)."""

EXEC_ROLE: Final = (
    f"kubectl create clusterrole kubemtu-exec --verb={','.join(EXEC.verbs)} --resource={EXEC.resources[0]}"
)
"""What makes a role of that right, which none of kubemtu's own has."""

SURVEY: Final = (
    Rule(resources=("pods",), verbs=("create", "delete", "get", "list")),
    Rule(resources=("pods/log",), verbs=("get",)),
)
"""What looking at nodes by pods of our own needs, in the namespace where those are made."""
VALUES: Final = Rule(group="helm.cattle.io", resources=("helmchartconfigs",), verbs=("create", "delete"))
"""What giving a chart values needs that has none yet, and taking them away again, in the namespace of the charts."""
PROXY: Final = Rule(resources=("services/proxy",), verbs=("get",))
"""What asking a Service through the API server needs."""


def patch(plural: str, *names: str, group: str = "") -> Rule:
    """Return the right to change objects of these names; of any name where none is given."""
    return Rule(group=group, resources=(plural,), verbs=("patch",), names=names)


def merged(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules without repetition: those about the same resources and names become one."""
    verbs: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for rule in rules:
        held = verbs.setdefault((rule.group, rule.resources, rule.names), [])
        held += [verb for verb in rule.verbs if verb not in held]
    return tuple(
        Rule(group=group, resources=resources, names=names, verbs=tuple(held))
        for (group, resources, names), held in verbs.items()
    )


def named(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules with those made one that differ in their names alone, which then are in alphabetical order."""
    names: dict[tuple[str, tuple[str, ...], tuple[str, ...]], set[str]] = {}
    for rule in rules:
        names.setdefault((rule.group, rule.resources, rule.verbs), set()).update(rule.names)
    return tuple(
        Rule(group=group, resources=resources, verbs=verbs, names=tuple(sorted(held)))
        for (group, resources, verbs), held in names.items()
    )
