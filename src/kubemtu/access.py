"""Who needs which rights: the one table that the shipped roles, docs/access.md and the words of refusals come from.

A rule is one of RBAC's (rbac.authorization.k8s.io/v1 PolicyRule). Whatever reads is in `kubemtu-view`, which is added
to the cluster's own `view`; whatever measures or changes is in `kubemtu-operator`, which has all of view's rules too.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from kubemtu.core import rights
from kubemtu.core.cluster import service_networks
from kubemtu.core.rights import GROUP, KINDS, OPERATOR, READ, VIEW, Rule

Role = Literal["nobody", "view", "operator", "administrator", "agent"]


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What one command needs: the least role that has it, and the rules; `note` says what a role cannot."""

    role: Role
    rules: tuple[Rule, ...] = ()
    note: str = ""


_SERVICES = (
    Rule(resources=("services",), verbs=READ),
    Rule(group="discovery.k8s.io", resources=("endpointslices",), verbs=READ),
)
_SERVICE_NETWORKS = (  # of `--egress-mtu`
    Rule(group="networking.k8s.io", resources=(service_networks.CIDRS.plural,), verbs=READ),
    Rule(resources=("configmaps",), verbs=("get",), names=(service_networks.KUBEADM.name or "",)),
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
_ON_DELETE = (
    "Where the CNI's DaemonSet has the update strategy OnDelete, also delete pods in its namespace: RBAC cannot bind "
    "that to one DaemonSet, so no role of kubemtu has it."
)
_VALUES = (
    f"Where a chart of the server has no HelmChartConfig yet, also {', '.join(rights.VALUES.verbs)} on "
    f"{rights.VALUES.resources[0]}, which no role of kubemtu has. See below."
)
_EXEC = (
    f"Also {', '.join(rights.EXEC.verbs)} on {rights.EXEC.resources[0]}, which no role of kubemtu has: whoever has it "
    "can run anything in those pods. See below."
)
_SURVEY = (
    f"Also {'; '.join(map(str, rights.SURVEY))}, in one namespace whose pods may use their node's network: no role of "
    "kubemtu has that, for whoever makes such pods sees the node's traffic."
)
_PROMETHEUS = (
    f"Of a Service (NAMESPACE/SERVICE:PORT) also {', '.join(rights.PROXY.verbs)} on {rights.PROXY.resources[0]}, which "
    "no role of kubemtu has; of a URL nothing more of the cluster."
)
_ADMINISTRATOR = (
    "A cluster administrator (cluster-admin): it writes CustomResourceDefinitions, admission policies, cluster roles "
    "and a namespace, and who makes a role must have all that the role gives."
)


def commands() -> dict[str, Needs]:
    """Return what each command needs, by its name on the command line, with all CNIs that the registry knows."""
    from kubemtu.cni import registry  # noqa: PLC0415 - an agent that is refused nothing loads no CNI: a megabyte a node

    observe = tuple(_observe())
    configure = rights.named(rule for known in registry.knowledge() for rule in known.edited)
    drive = (*observe, *_SERVICE_NETWORKS, *_SERVICES, *_MEASURE, *_DRIVE)
    return {
        "check": Needs(role="view", rules=observe),
        "check --exec": Needs(role="view", rules=observe, note=_EXEC),
        "check --survey": Needs(role="view", rules=observe, note=_SURVEY),
        "check --prometheus": Needs(role="view", rules=observe, note=_PROMETHEUS),
        "check --prove": Needs(role="operator", rules=(*observe, *_MEASURE)),
        "why": Needs(role="operator", rules=(*observe, *_SERVICES, *_MEASURE)),
        "probe": Needs(role="operator", rules=(*observe, *_SERVICES, *_MEASURE)),
        "why-not": Needs(role="view", rules=observe),
        "plan": Needs(role="view", rules=(*observe, *_SERVICE_NETWORKS)),
        "apply": Needs(role="operator", rules=(*drive, *configure), note=f"{_ON_DELETE} {_VALUES}"),
        "rollback": Needs(role="operator", rules=(*drive, *configure), note=f"{_ON_DELETE} {_VALUES}"),
        "policy": Needs(role="nobody", note="Prints an object; with --apply as the next line."),
        "policy --apply": Needs(
            role="operator",
            rules=(
                *observe,
                *_DEFINED,
                Rule(group=GROUP, resources=("mtupolicies",), verbs=("create", "patch")),
            ),
        ),
        "relieve": Needs(role="operator", rules=drive),
        "explain": Needs(role="nobody"),
        "calc": Needs(role="nobody"),
        "node": Needs(role="nobody", note="No API; NET_ADMIN, SYS_ADMIN and NET_RAW on its own machine."),
        "install": Needs(role="administrator", note=_ADMINISTRATOR),
        "uninstall": Needs(role="administrator", note=_ADMINISTRATOR),
        "lab": Needs(role="nobody"),
        "demo": Needs(role="nobody"),
        "agent": Needs(role="agent", note="Has a ServiceAccount of its own, kubemtu-agent, which `install` makes."),
    }


def _observe() -> Iterator[Rule]:
    """Yield what every look at a cluster reads: ConfigMaps by their names alone, for others hold what is nobody's."""
    from kubemtu.cni import registry  # noqa: PLC0415 - as above

    wants = (*registry.wants(), *registry.beside_wants())
    maps = sorted({want.name for want in wants if want.plural == "configmaps" and want.name})
    yield Rule(resources=("nodes", "pods"), verbs=READ)
    yield Rule(resources=("configmaps",), verbs=("get",), names=tuple(maps))
    by_group: dict[str, set[str]] = {}
    for want in wants:
        for version in want.api_versions:
            if want.plural not in {"configmaps", "nodes"}:
                by_group.setdefault(version.rpartition("/")[0], set()).add(want.plural)
    for group, plurals in sorted(by_group.items()):
        yield Rule(group=group, resources=tuple(sorted(plurals)), verbs=READ)
    yield Rule(group=GROUP, resources=KINDS, verbs=READ)


def rules(role: Literal["view", "operator"]) -> tuple[Rule, ...]:
    """Return the rules of a role for people: all that the commands need that it is for, merged."""
    of = {"view"} if role == "view" else {"view", "operator"}
    return rights.merged(rule for needs in commands().values() if needs.role in of for rule in needs.rules)


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
    verbs = rights.EXEC.verbs if not group and plural in rights.EXEC.resources else (verb,)
    return f'ask for {role}the rule {{apiGroups: ["{group}"], resources: [{plural}], verbs: [{", ".join(verbs)}]}}'


def needed(words: Sequence[str]) -> str:
    """Return what a command needs as a whole, as a clause, where that is more than `kubemtu-view`; else nothing.

    `words` are those of its command line. Who lacks one right of it lacks others, and shall not ask for each in turn.
    """
    known = commands()
    name = words[0] if words else ""
    name = next((f"{name} {one}" for one in words if f"{name} {one}" in known), name)
    needs = known.get(name)
    role = {"operator": f"the ClusterRole {OPERATOR}", "administrator": "a cluster administrator"}
    return f"`kubemtu {name}` as a whole needs {role[needs.role]}" if needs is not None and needs.role in role else ""


def markdown() -> str:
    """Return docs/access.md."""
    lines = [
        "# Who needs which rights",
        "",
        "Made from `kubemtu.access` by `make docs`. `kubemtu install` makes both roles; `kubemtu-view` is added",
        "to the cluster's own `view`, `edit` and `admin`. Bind one of them for the whole cluster, as a pod network is:",
        "",
        "```",
        "kubectl create clusterrolebinding mtu-operators --clusterrole=kubemtu-operator --group=GROUP",
        "```",
        "",
        "| command | role | beside what a role can hold |",
        "|---|---|---|",
    ]
    for name, needs in commands().items():
        role = {"view": f"`{VIEW}`", "operator": f"`{OPERATOR}`", "nobody": "none"}.get(needs.role, needs.role)
        lines.append(f"| `kubemtu {name}` | {role} | {needs.note} |")
    for name, which in ((VIEW, rules("view")), (OPERATOR, rules("operator"))):
        lines += ["", f"## {name}", "", "| API group | resources | verbs | names |", "|---|---|---|---|"]
        for rule in which:
            group = f"`{rule.group}`" if rule.group else "core"
            names = ", ".join(rule.names) or "all"
            lines.append(f"| {group} | {', '.join(rule.resources)} | {', '.join(rule.verbs)} | {names} |")
    return "\n".join([*lines, *_optional()]) + "\n"


def _optional() -> Iterator[str]:
    """Yield what docs/access.md says of the rights that no role has."""
    yield from ("", "## Commands in pods", "")
    yield "`--exec` runs read-only commands (`kubemtu check --show-commands` prints them all) in pods that run already."
    yield f"The right to do so is `{rights.EXEC}`: `get` alone before Kubernetes 1.35, and `create` too from then on."
    yield "It is a strong one, for the CNI's pods are privileged: whoever has it can run anything in them as root of"
    yield "their node. So it is in no role of kubemtu. Bind it where the CNI's pods are, and only to who may do that:"
    yield from ("", "```")
    yield rights.EXEC_ROLE
    yield "kubectl -n kube-system create rolebinding mtu-exec --clusterrole=kubemtu-exec --group=GROUP"
    yield "```"
    verbs, resource = ",".join(rights.VALUES.verbs), f"{rights.VALUES.resources[0]}.{rights.VALUES.group}"
    yield from ("", "## Values of a chart", "")
    yield "Where a server deploys the network as a chart and nobody has given that chart values, `kubemtu apply` makes"
    yield "a HelmChartConfig with the MTU alone, and `kubemtu rollback` deletes it again unless somebody else has"
    yield "written to it. RBAC cannot bind `create` to a name, and who may make these objects gives any chart of that"
    yield "namespace any values: so this right is in no role of kubemtu. Without it `apply` ends with 4 before anything"
    yield "is begun; let who has it apply what `kubemtu plan -o helmchartconfig` prints, which is edited from then on:"
    yield from ("", "```")
    yield f"kubectl -n kube-system create role kubemtu-values --verb={verbs} --resource={resource}"
    yield "kubectl -n kube-system create rolebinding mtu-values --role=kubemtu-values --group=GROUP"
    yield "```"


def _role(name: str, rules: Sequence[Rule], labels: dict[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "kubemtu", **labels}},
        "rules": [rule.body() for rule in rules],
    }


def _has(role: Literal["view", "operator"], wanted: Rule) -> bool:
    return any(
        rule.group == wanted.group
        and {*wanted.resources} <= {*rule.resources}
        and {*wanted.verbs} <= {*rule.verbs}
        and (not rule.names or (wanted.names and {*wanted.names} <= {*rule.names}))
        for rule in rules(role)
    )
