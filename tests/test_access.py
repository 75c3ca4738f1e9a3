"""The table of rights: no command, no kind and no want is missing from it, and no role has more than its commands."""

import pytest

from kubemtu import access
from kubemtu.cli import main
from kubemtu.cni import registry
from kubemtu.core import rights
from kubemtu.core.objects import NODES, PODS, Want
from kubemtu.kube import crd, mtu


def test_every_command_says_what_it_needs() -> None:
    assert {name.partition(" ")[0] for name in access.commands()} == set(main.COMMANDS)


def test_every_kind_of_kubemtu_may_be_read_by_who_views() -> None:
    assert crd.plurals() == rights.KINDS
    verbs = {
        plural: set(rule.verbs)
        for rule in access.rules("view")
        if rule.group == "kubemtu.io" and not rule.names
        for plural in rule.resources
    }
    assert verbs == {plural: {"get", "list", "watch"} for plural in crd.plurals()}


def granted(rules: tuple[rights.Rule, ...], want: Want, api_version: str) -> bool:
    group = api_version.rpartition("/")[0]
    return any(
        rule.group == group
        and want.plural in rule.resources
        and ("get" if want.name else "list") in rule.verbs
        and (not rule.names or want.name in rule.names)
        for rule in rules
    )


@pytest.mark.parametrize(
    "want", [*registry.wants(), *registry.beside_wants(), NODES, PODS, mtu.NODES, mtu.MIGRATIONS], ids=str
)
def test_whatever_check_reads_may_be_read_by_who_views(want: Want) -> None:
    for api_version in want.api_versions:
        assert granted(access.rules("view"), want, api_version), (want, api_version)


def test_who_views_changes_nothing_and_reads_no_secret() -> None:
    for rule in access.rules("view"):
        assert set(rule.verbs) <= {"get", "list", "watch"}
        assert not {"secrets", "*"} & {*rule.resources, rule.group}


def test_an_operator_writes_only_what_a_change_needs() -> None:
    """Configuration by its name; no Secret, no pod, no role."""
    writing = [rule for rule in access.rules("operator") if {*rule.verbs} - {"get", "list", "watch"}]
    free = {(rule.group, one) for rule in writing if not rule.names for one in rule.resources}
    assert free <= {
        ("kubemtu.io", "mtuprobes"),
        ("kubemtu.io", "mtumigrations"),
        ("kubemtu.io", "mtumigrations/status"),
        ("kubemtu.io", "mtupolicies"),
        ("kubemtu.io", "nodemtus"),
        ("coordination.k8s.io", "leases"),
        ("crd.projectcalico.org", "felixconfigurations"),
        ("projectcalico.org", "felixconfigurations"),
        ("kubeovn.io", "subnets"),
    }
    leases = [rule for rule in writing if rule.resources == ("leases",) and not rule.names]
    assert [rule.verbs for rule in leases] == [("create",)]  # RBAC cannot bind `create` to a name


def test_whoever_may_view_a_cluster_may_view_this() -> None:
    view, operator = access.roles()
    assert view["metadata"] == {
        "name": "kubemtu-view",
        "labels": {"app.kubernetes.io/name": "kubemtu", "rbac.authorization.k8s.io/aggregate-to-view": "true"},
    }
    assert operator["metadata"] == {"name": "kubemtu-operator", "labels": {"app.kubernetes.io/name": "kubemtu"}}


def test_a_refusal_names_the_role_and_the_rule() -> None:
    assert access.ask_for("kubemtu.io", "nodemtus", "list") == (
        'ask for the ClusterRole kubemtu-view, which has it, or the rule {apiGroups: ["kubemtu.io"], resources: '
        "[nodemtus], verbs: [list]}"
    )

    assert access.ask_for("kubemtu.io", "mtuprobes", "create").startswith("ask for the ClusterRole kubemtu-operator,")
    assert (
        access.ask_for("", "pods", "delete") == 'ask for the rule {apiGroups: [""], resources: [pods], verbs: [delete]}'
    )


@pytest.mark.parametrize(
    ("line", "clause"),
    [
        ("check -o json", ""),
        ("plan", ""),
        ("node show", ""),
        ("check --as x --prove", "`kubemtu check --prove` as a whole needs the ClusterRole kubemtu-operator"),
        ("policy --path-mtu 9 --apply", "`kubemtu policy --apply` as a whole needs the ClusterRole kubemtu-operator"),
        ("relieve -y", "`kubemtu relieve` as a whole needs the ClusterRole kubemtu-operator"),
        ("uninstall", "`kubemtu uninstall` as a whole needs a cluster administrator"),
        ("", ""),
        ("nothing", ""),
    ],
)
def test_a_refused_command_says_what_it_needs_as_a_whole(line: str, clause: str) -> None:
    assert access.needed(line.split()) == clause
