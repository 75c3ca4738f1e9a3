"""Who needs which rights: the one table that the shipped roles, docs/access.md and the words of refusals come from.

A rule is one of RBAC's (rbac.authorization.k8s.io/v1 PolicyRule). Whatever reads is in `kubemtu-view`, which is added
to the cluster's own `view`; whatever measures or changes is in `kubemtu-operator`, which has all of view's rules too.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from kubemtu.core.change import migration

Role = Literal["nobody", "view", "operator", "administrator", "agent"]
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
        """The rule as a role has it."""
        made: dict[str, object] = {"apiGroups": [self.group], "resources": [*self.resources], "verbs": [*self.verbs]}
        return made | ({"resourceNames": [*self.names]} if self.names else {})

    def __str__(self) -> str:
        plurals = ", ".join(f"{one}.{self.group}" if self.group else one for one in self.resources)
        return f"{', '.join(self.verbs)} {plurals}" + (f" named {', '.join(self.names)}" if self.names else "")


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What one command needs: the least role that has it, and the rules; `note` says what a role cannot."""

    role: Role
    rules: tuple[Rule, ...] = ()
    note: str = ""


# What kubemtu.cni reads of each CNI (registry.wants), and the one key of each that it may edit.
CONFIGS = (
    "calico-config",
    "canal-config",
    "cni-config",
    "kube-flannel-cfg",
    "kubelet-config",
    "rke-network-plugin",
    "rke2-canal-config",
)
EDITED = ("calico-config", "canal-config", "kube-flannel-cfg", "rke2-canal-config")
DAEMONSETS = (
    "calico-node",
    "canal",
    "kube-flannel",
    "kube-flannel-ds",
    "kube-flannel-ds-amd64",
    "kube-flannel-ds-arm",
    "kube-flannel-ds-arm64",
    "kube-flannel-ds-ppc64le",
    "kube-flannel-ds-s390x",
    "rke2-canal",
)
_CALICO = ("crd.projectcalico.org", "projectcalico.org")

_OBSERVE = (
    Rule(resources=("nodes", "pods"), verbs=READ),
    Rule(resources=("configmaps",), verbs=("get",), names=CONFIGS),
    Rule(group="apps", resources=("daemonsets",), verbs=READ),
    Rule(group="extensions", resources=("daemonsets",), verbs=READ),
    *(Rule(group=group, resources=("felixconfigurations", "ippools"), verbs=READ) for group in _CALICO),
    Rule(group="operator.tigera.io", resources=("installations",), verbs=READ),
    Rule(group="helm.cattle.io", resources=("helmchartconfigs",), verbs=READ),
    Rule(group=GROUP, resources=KINDS, verbs=READ),
)
_SERVICES = (
    Rule(resources=("services",), verbs=READ),
    Rule(group="discovery.k8s.io", resources=("endpointslices",), verbs=READ),
)
_DEFINED = (
    Rule(
        group="apiextensions.k8s.io",
        resources=("customresourcedefinitions",),
        verbs=("get",),
        names=tuple(f"{plural}.{GROUP}" for plural in KINDS),
    ),
)
_MEASURE = (Rule(group=GROUP, resources=("mtuprobes",), verbs=("create", "delete")),)
_DRIVE = (
    Rule(group=GROUP, resources=("mtumigrations",), verbs=("create", "patch", "delete")),
    Rule(group=GROUP, resources=("mtumigrations/status",), verbs=("patch",)),
    Rule(group=GROUP, resources=("nodemtus",), verbs=("create", "patch")),
    Rule(group="coordination.k8s.io", resources=("leases",), verbs=("get", "patch"), names=("kubemtu",)),
    Rule(group="coordination.k8s.io", resources=("leases",), verbs=("create",)),
    *_DEFINED,
)
_CONFIGURE = (
    Rule(resources=("configmaps",), verbs=("patch",), names=EDITED),
    Rule(group="apps", resources=("daemonsets",), verbs=("patch",), names=DAEMONSETS),
    *(Rule(group=group, resources=("felixconfigurations",), verbs=("patch",)) for group in _CALICO),
    Rule(group="operator.tigera.io", resources=("installations",), verbs=("patch",), names=("default",)),
    Rule(group="helm.cattle.io", resources=("helmchartconfigs",), verbs=("patch",), names=("rke2-canal",)),
)
_ON_DELETE = (
    "Where the CNI's DaemonSet has the update strategy OnDelete, also delete pods in its namespace: RBAC cannot bind "
    "that to one DaemonSet, so no role of kubemtu has it."
)
_ADMINISTRATOR = (
    "A cluster administrator (cluster-admin): it writes CustomResourceDefinitions, admission policies, cluster roles "
    "and a namespace, and who makes a role must have all that the role gives."
)

COMMANDS: Final[dict[str, Needs]] = {
    "check": Needs(role="view", rules=_OBSERVE),
    "check --prove": Needs(role="operator", rules=(*_OBSERVE, *_MEASURE)),
    "why": Needs(role="operator", rules=(*_OBSERVE, *_SERVICES, *_MEASURE)),
    "probe": Needs(role="operator", rules=(*_OBSERVE, *_SERVICES, *_MEASURE)),
    "plan": Needs(role="view", rules=_OBSERVE),
    "apply": Needs(role="operator", rules=(*_OBSERVE, *_SERVICES, *_MEASURE, *_DRIVE, *_CONFIGURE), note=_ON_DELETE),
    "rollback": Needs(role="operator", rules=(*_OBSERVE, *_SERVICES, *_MEASURE, *_DRIVE, *_CONFIGURE), note=_ON_DELETE),
    "policy": Needs(role="nobody", note="Prints an object; with --apply as the next line."),
    "policy --apply": Needs(
        role="operator",
        rules=(
            *_OBSERVE,
            *_DEFINED,
            Rule(group=GROUP, resources=("mtupolicies",), verbs=("create", "patch")),
        ),
    ),
    "relieve": Needs(role="operator", rules=(*_OBSERVE, *_SERVICES, *_MEASURE, *_DRIVE)),
    "calc": Needs(role="nobody"),
    "node": Needs(role="nobody", note="No API; NET_ADMIN, SYS_ADMIN and NET_RAW on its own machine."),
    "install": Needs(role="administrator", note=_ADMINISTRATOR),
    "uninstall": Needs(role="administrator", note=_ADMINISTRATOR),
    "lab": Needs(role="nobody"),
    "demo": Needs(role="nobody"),
    "agent": Needs(role="agent", note="Has a ServiceAccount of its own, kubemtu-agent, which `install` makes."),
}
"""What each command needs, by its name on the command line; a test holds it against the commands there are."""


def rules(role: Literal["view", "operator"]) -> tuple[Rule, ...]:
    """Return the rules of a role for people: all that the commands need that it is for, merged."""
    of = {"view"} if role == "view" else {"view", "operator"}
    return merged(rule for needs in COMMANDS.values() if needs.role in of for rule in needs.rules)


def merged(found: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules without repetition: those about the same resources and names become one."""
    verbs: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for rule in found:
        held = verbs.setdefault((rule.group, rule.resources, rule.names), [])
        held += [verb for verb in rule.verbs if verb not in held]
    return tuple(
        Rule(group=group, resources=resources, names=names, verbs=tuple(held))
        for (group, resources, names), held in verbs.items()
    )


def roles() -> tuple[dict[str, object], ...]:
    """Return the ClusterRoles for people, as the API takes them."""
    return (
        _role(VIEW, rules("view"), {"rbac.authorization.k8s.io/aggregate-to-view": "true"}),
        _role(OPERATOR, rules("operator"), {}),
    )


def ask_for(group: str, plural: str, verb: str, name: str | None = None) -> str:
    """Return the rule to ask for, and the shipped role that has it, where one has; `plural` may name a subresource."""
    wanted = Rule(group=group, resources=(plural,), verbs=(verb,), names=(name,) if name else ())
    having = VIEW if _has("view", wanted) else OPERATOR if _has("operator", wanted) else None
    role = f"the ClusterRole {having}, which has it, or " if having else ""
    return f'ask for {role}the rule {{apiGroups: ["{group}"], resources: [{plural}], verbs: [{verb}]}}'


def needed(words: Sequence[str]) -> str:
    """Return what a command needs as a whole, as a clause, where that is more than `kubemtu-view`; else nothing.

    `words` are those of its command line. Who lacks one right of it lacks others, and shall not ask for each in turn.
    """
    name = words[0] if words else ""
    name = next((f"{name} {one}" for one in words if f"{name} {one}" in COMMANDS), name)
    needs = COMMANDS.get(name)
    role = {"operator": f"the ClusterRole {OPERATOR}", "administrator": "a cluster administrator"}
    return f"`kubemtu {name}` as a whole needs {role[needs.role]}" if needs is not None and needs.role in role else ""


def markdown() -> str:
    """Return docs/access.md."""
    lines = [
        "# Who needs which rights",
        "",
        "Made from `kubemtu.core.access` by `make docs`. `kubemtu install` makes both roles; `kubemtu-view` is added",
        "to the cluster's own `view`, `edit` and `admin`. Bind one of them for the whole cluster, as a pod network is:",
        "",
        "```",
        "kubectl create clusterrolebinding mtu-operators --clusterrole=kubemtu-operator --group=GROUP",
        "```",
        "",
        "| command | role | beside what a role can hold |",
        "|---|---|---|",
    ]
    for name, needs in COMMANDS.items():
        role = {"view": f"`{VIEW}`", "operator": f"`{OPERATOR}`", "nobody": "none"}.get(needs.role, needs.role)
        lines.append(f"| `kubemtu {name}` | {role} | {needs.note} |")
    for name, which in ((VIEW, rules("view")), (OPERATOR, rules("operator"))):
        lines += ["", f"## {name}", "", "| API group | resources | verbs | names |", "|---|---|---|---|"]
        for rule in which:
            group = f"`{rule.group}`" if rule.group else "core"
            names = ", ".join(rule.names) or "all"
            lines.append(f"| {group} | {', '.join(rule.resources)} | {', '.join(rule.verbs)} | {names} |")
    return "\n".join(lines) + "\n"


def _role(name: str, held: Sequence[Rule], labels: dict[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "kubemtu", **labels}},
        "rules": [rule.body() for rule in held],
    }


def _has(role: Literal["view", "operator"], wanted: Rule) -> bool:
    return any(
        rule.group == wanted.group
        and {*wanted.resources} <= {*rule.resources}
        and {*wanted.verbs} <= {*rule.verbs}
        and (not rule.names or (wanted.names and {*wanted.names} <= {*rule.names}))
        for rule in rules(role)
    )
